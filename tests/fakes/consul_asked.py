"""What was Consul asked? A question taken apart, and nothing passes that dynsrv has no reason to ask."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from dynsrv.sources.consul.requests import Request

_SERVICE = "/v1/health/service/"
_PLACE = {"dc", "ns", "partition"}
_TENANCY = {"Namespace", "Partition"}
_KNOWN = {
    _SERVICE: _PLACE | {"tag", "filter", "near", "stale", "consistent", "index", "wait"},
    "/v1/internal/acl/authorize": {"dc"},
    "/v1/catalog/services": _PLACE,
    "/v1/status/leader": set(),
    "/v1/agent/self": set(),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and when and where it was asked. The *index* 0 is none; *wait* is in seconds.

    *tenancy* are the keys of its permissions that only Consul Enterprise knows.
    """

    at: float
    address: str
    path: str
    params: tuple[tuple[str, str], ...]
    service: str | None
    permissions: list[str]
    tenancy: set[str]
    index: int
    wait: float

    @classmethod
    def read(cls, question: Request, *, at: float, address: str) -> Self:
        """Take *question* apart. Raises AssertionError: Consul, or dynsrv, has no such."""
        path, params = question.path, dict(question.params)
        service = unquote(path.removeprefix(_SERVICE)) if path.startswith(_SERVICE) else None
        assert service is None or (service and path.removeprefix(_SERVICE).count("/") == 0), f"no service: {path}"
        known = _KNOWN.get(path if service is None else _SERVICE)
        assert known is not None, f"an unknown path: {path}"
        assert params.keys() <= known, f"{path} with unknown parameters: {params.keys() - known}"
        twice = [key for key, count in Counter(key for key, _ in question.params).items() if count > 1]
        assert set(twice) <= {"tag"}, f"{path} with {twice} given twice"
        assert params.keys() & {"stale", "consistent"} != {"stale", "consistent"}, "conflicting semantics (400)"
        assert ("index" in params) is ("wait" in params), f"an index goes with a wait: {params}"
        wait = re.fullmatch(r"([1-9][0-9]*)ms", params.get("wait", "1ms"))
        assert wait is not None, f"a wait that Go does not understand, or that the fake does not: {params['wait']}"
        seconds = int(wait[1]) / 1000 if "wait" in params else 0.0
        assert seconds <= 60, f"a wait of {seconds} s: an index of the past would hide changes for all of it"
        index = int(params.get("index", "1"))
        assert index >= 1, f"index={index} does not block"
        wanted = _permissions(question.body, needed=path.endswith("/authorize"))
        return cls(
            at=at,
            address=address,
            path=path,
            params=question.params,
            service=service,
            permissions=[f"{one['Resource']} {one['Segment']}" for one in wanted],
            tenancy={key for one in wanted for key in one} & _TENANCY,
            index=index if "index" in params else 0,
            wait=seconds,
        )

    @property
    def consistency(self) -> str:
        """How much a server has to make sure: default, stale or consistent."""
        return next((key for key, _ in self.params if key in {"stale", "consistent"}), "default")

    def all(self, key: str) -> list[str]:
        """Return all values of a parameter."""
        return [value for name, value in self.params if name == key]

    def one(self, key: str) -> str | None:
        """Return the value of a parameter; None: there is none."""
        return next(iter(self.all(key)), None)


def _permissions(body: str | None, *, needed: bool) -> list[dict[str, str]]:
    assert (body is not None) is needed, f"a body that does not belong there, or none that does: {body}"
    wanted: list[dict[str, str]] = json.loads(body) if body else []
    for one in wanted:
        assert one.keys() - _TENANCY == {"Resource", "Access", "Segment"}, f"an unknown permission: {one}"
        assert one["Resource"] in {"service", "node"}, f"an unknown resource: {one}"
        assert one["Access"] == "read", f"dynsrv only reads: {one}"
    return wanted
