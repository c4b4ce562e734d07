"""What is Consul asked? Requests as values: a path, parameters, and a body where one is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote


class Consistency(StrEnum):
    """Consul's consistency modes: how much a server verifies before it answers."""

    DEFAULT = "default"
    STALE = "stale"  # any server answers from its own state, which may be old
    CONSISTENT = "consistent"  # the leader answers, once a quorum has confirmed that it leads


@dataclass(frozen=True, slots=True)
class Request:
    """One request to Consul's HTTP API: a POST if it has a *body*, otherwise a GET."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: str | None = None


LEADER = Request("/v1/status/leader")
"""Needs no token; the response is `""` if there is no leader."""

AGENT = Request("/v1/agent/self")
"""Needs agent:read."""


@dataclass(frozen=True, slots=True)
class Query:
    """Selects instances of a service. Equal queries have equal results."""

    service: str
    tags: tuple[str, ...] = ()
    filter: str | None = None
    datacenter: str | None = None
    namespace: str | None = None
    partition: str | None = None
    near: str | None = None
    stale: bool = False

    def instances(self, consistency: Consistency | None = None) -> Request:
        """Return the request for the instances, whatever their health; by default as consistent as configured.

        Consul's parameter `passing` is of no use: it would leave out instances in maintenance, too.
        """
        if consistency is None:
            consistency = Consistency.STALE if self.stale else Consistency.DEFAULT
        params = [("tag", tag) for tag in self.tags]
        params += [("filter", self.filter)] if self.filter else []
        params += [("near", self.near)] if self.near else []
        params += [(consistency.value, "")] if consistency is not Consistency.DEFAULT else []
        return Request(f"/v1/health/service/{quote(self.service, safe='')}", (*params, *self._tenancy()))

    def services(self) -> Request:
        """Return the request for the names of all services that the token may read."""
        return Request("/v1/catalog/services", self._tenancy())

    def permission(self, nodes: Iterable[str]) -> Request:
        """Return the request for whether the token may read the service and *nodes*.

        Consul's web UI sends it, too (`/v1/internal/acl/authorize`, 1.8 to 1.22). Reading does not answer that: what
        the token may not see is left out of a response with status 200.
        """
        tenancy = {"Namespace": self.namespace, "Partition": self.partition}
        permissions = [
            {"Resource": resource, "Access": "read", "Segment": name}
            | {key: value for key, value in tenancy.items() if value}
            for resource, name in [("service", self.service), *(("node", node) for node in nodes)]
        ]
        datacenter = tuple(param for param in self._tenancy() if param[0] == "dc")
        return Request("/v1/internal/acl/authorize", datacenter, json.dumps(permissions))

    def _tenancy(self) -> tuple[tuple[str, str], ...]:
        params = {"dc": self.datacenter, "ns": self.namespace, "partition": self.partition}
        return tuple((key, value) for key, value in params.items() if value)
