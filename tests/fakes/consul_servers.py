"""What would Consul's servers answer now? As 1.8.7, without time: whoever blocks asks again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from dynsrv.sources.consul.transport import Response
from tests.fakes.consul_asked import Asked
from tests.fakes.consul_catalog import Catalog, FakeInstance
from tests.fakes.consul_words import (
    ACLS_OFF,
    BAD_FILTER,
    MAY_NOT,
    NO_DATACENTER,
    NO_LEADER,
    NO_NAMESPACES,
    NOT_VERIFIED,
    TOKEN_UNKNOWN,
    TOO_MANY_PERMISSIONS,
    Acl,
)

MOST_PERMISSIONS = 64


class Servers:
    """Consul's servers with *instances*, and what they make of questions and of their token."""

    def __init__(self, *instances: FakeInstance) -> None:
        self.catalog = Catalog()
        for instance in instances:
            self.catalog.put(instance)
        self.acl: Acl | None = None
        """None: ACLs are off."""
        self.tells_of_filtering = False
        """Whether it says that something was left out of an answer, as 1.11 and later do."""
        self.leader = True
        """Without one, only stale questions are answered."""
        self.verified = True
        """Whether most servers still follow the leader."""
        self.not_caught_up: Catalog | None = None
        """What a leader knows that still reads its log: all but consistent questions are answered from that."""
        self._rotation = 0

    def reply(self, asked: Asked, *, behind: Catalog | None = None) -> Response:
        """Answer at once; *behind* is what stale questions are answered from, if not what the leader knows."""
        match asked.path:
            case "/v1/status/leader":
                return _json("10.0.0.100:8300" if self.leader else "")
            case "/v1/agent/self":
                config = {"Datacenter": "dc1", "NodeName": "n0", "Version": "1.8.7"}
                return _json({"Config": config}) if self.acl is None else MAY_NOT
            case "/v1/internal/acl/authorize":
                return self._authorize(asked)
            case _:
                return self._of_the_catalog(asked, behind)

    def _of_the_catalog(self, asked: Asked, behind: Catalog | None) -> Response:
        if asked.one("dc") not in {None, "dc1"}:
            return NO_DATACENTER
        if asked.one("ns") is not None:
            return NO_NAMESPACES
        if self.acl is not None and not self.acl.known:
            return TOKEN_UNKNOWN
        if not self.leader and asked.consistency != "stale":
            return NO_LEADER
        if not self.verified and asked.consistency == "consistent":
            return NOT_VERIFIED
        catalog = self.catalog
        if asked.consistency != "consistent":
            catalog = self.not_caught_up or catalog
        if asked.consistency == "stale":
            catalog = behind or catalog
        if asked.service is not None:
            return self._instances(catalog, asked, asked.service)
        services = {one.service: list(one.tags) for one in catalog.instances.values() if self._may_read(one)}
        return _json(services, catalog.index)

    def _may_read(self, one: FakeInstance) -> bool:
        return self.acl is None or (self.acl.allows("service", one.service) and self.acl.allows("node", one.node))

    def _authorize(self, asked: Asked) -> Response:
        if self.acl is None:
            return ACLS_OFF
        for key in asked.tenancy:
            return Response(400, f'Bad request: Failed to decode request body: json: unknown field "{key}"'.encode())
        if asked.one("dc") not in {None, "dc1"}:
            return NO_DATACENTER
        if not self.acl.known:
            return TOKEN_UNKNOWN
        if len(asked.permissions) > MOST_PERMISSIONS:
            return TOO_MANY_PERMISSIONS
        wanted = [one.partition(" ") for one in asked.permissions]
        return _json(
            [
                {"Resource": resource, "Segment": name, "Access": "read", "Allow": self.acl.allows(resource, name)}
                for resource, _, name in wanted
            ]
        )

    def _instances(self, catalog: Catalog, asked: Asked, service: str) -> Response:
        found = [one for one in catalog.of(service) if set(asked.all("tag")) <= set(one.tags)]
        if (expression := asked.one("filter")) is not None:
            if not (comparison := re.fullmatch(r'Service\.Meta\.(\w+) == "(\w*)"', expression)):
                assert " == " not in expression, f"a filter that the fake does not understand: {expression}"
                return BAD_FILTER
            key, value = comparison.groups()
            found = [one for one in found if one.meta.get(key) == value]
        if asked.one("near") is not None and found:  # round-trip times change all the time
            self._rotation += 1
            found = found[self._rotation % len(found) :] + found[: self._rotation % len(found)]
        seen = [one for one in found if self._may_read(one)]
        reply = _json([catalog.shown(one) for one in seen], catalog.index_of(service))
        return replace(reply, filtered=self.tells_of_filtering and seen != found)


def _json(value: Any, index: int | None = None) -> Response:
    return Response(200, json.dumps(value).encode(), index)
