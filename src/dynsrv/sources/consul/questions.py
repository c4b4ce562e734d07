"""What is Consul asked? Questions as values: a path, parameters, and a body where one is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote


class Consistency(StrEnum):
    """How much a server has to make sure before it answers, in Consul's words."""

    DEFAULT = "default"
    STALE = "stale"  # any server answers, with what it knows, which may be old
    CONSISTENT = "consistent"  # the leader answers, after most servers said that it leads


@dataclass(frozen=True, slots=True)
class Question:
    """One request to Consul's HTTP API. With a *body* it is a POST, otherwise a GET."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: str | None = None


LEADER = Question("/v1/status/leader")
"""Answered without a token, with `""` where there is no leader."""

AGENT = Question("/v1/agent/self")
"""Needs agent:read."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which instances of a service are meant. Equal queries have equal answers."""

    service: str
    tags: tuple[str, ...] = ()
    filter: str | None = None
    datacenter: str | None = None
    namespace: str | None = None
    partition: str | None = None
    near: str | None = None
    stale: bool = False

    def instances(self, consistency: Consistency | None = None) -> Question:
        """Return the question for the instances, whatever their health; by default as consistent as configured.

        Consul could leave out what does not pass (`passing`), but it would leave out what is in maintenance, too.
        """
        if consistency is None:
            consistency = Consistency.STALE if self.stale else Consistency.DEFAULT
        params = [("tag", tag) for tag in self.tags]
        params += [("filter", self.filter)] if self.filter else []
        params += [("near", self.near)] if self.near else []
        params += [(consistency.value, "")] if consistency is not Consistency.DEFAULT else []
        return Question(f"/v1/health/service/{quote(self.service, safe='')}", (*params, *self._place()))

    def services(self) -> Question:
        """Return the question for the names of all services, of which the token may read some."""
        return Question("/v1/catalog/services", self._place())

    def permission(self, nodes: Iterable[str]) -> Question:
        """Return the question whether the token may read the service and *nodes*.

        Consul's own web page asks it, too (`/v1/internal/acl/authorize`, 1.8 to 1.22). No reading tells: what a
        token may not see is left out of a good answer.
        """
        tenancy = {"Namespace": self.namespace, "Partition": self.partition}
        wanted = [
            {"Resource": resource, "Access": "read", "Segment": name}
            | {key: value for key, value in tenancy.items() if value}
            for resource, name in [("service", self.service), *(("node", node) for node in nodes)]
        ]
        place = tuple(one for one in self._place() if one[0] == "dc")
        return Question("/v1/internal/acl/authorize", place, json.dumps(wanted))

    def _place(self) -> tuple[tuple[str, str], ...]:
        place = {"dc": self.datacenter, "ns": self.namespace, "partition": self.partition}
        return tuple((key, value) for key, value in place.items() if value)
