"""What Consul answers of a service: as its JSON has it, of which a test names only what matters to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dynsrv.sources.consul import responses
from dynsrv.sources.consul.responses import Instance


def a_check(status: str = "passing", *, id: str = "service:web1", output: str = "") -> dict[str, Any]:
    """A check as an answer has it."""
    return {"Node": "n1", "CheckID": id, "Name": "a check", "Status": status, "Output": output, "Definition": {}}


def a_registration(
    id: str = "web1",
    *,
    address: str = "10.0.0.1",
    port: int = 80,
    tagged: Mapping[str, tuple[str, int]] | None = None,
    meta: Mapping[str, str] | None = None,
    weights: tuple[int, int] = (1, 1),
    node: str = "n1",
    node_address: str = "10.9.0.1",
    node_tagged: Mapping[str, str] | None = None,
    checks: Iterable[str | dict[str, Any]] = ("passing",),
) -> dict[str, Any]:
    """One instance as an answer has it. *weights* are those of passing and warning; *checks* may be words of status."""
    return {
        "Node": {"ID": "", "Node": node, "Address": node_address, "TaggedAddresses": node_tagged, "Meta": None},
        "Service": {
            "ID": id,
            "Service": "web",
            "Tags": [],
            "Address": address,
            "TaggedAddresses": tagged and {tag: {"Address": one[0], "Port": one[1]} for tag, one in tagged.items()},
            "Meta": meta,
            "Port": port,
            "Weights": {"Passing": weights[0], "Warning": weights[1]},
            "EnableTagOverride": False,
        },
        "Checks": [a_check(check) if isinstance(check, str) else check for check in checks],
    }


def instances_of(*registrations: dict[str, Any]) -> tuple[Instance, ...]:
    """What is read of an answer with *registrations*."""
    return responses.instances(json.dumps(registrations).encode())


def an_instance(id: str = "web1", **registered: Any) -> Instance:
    """What is read of one registration."""
    (instance,) = instances_of(a_registration(id, **registered))
    return instance
