"""What AWS answered to one look, of which a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynsrv.sources.ec2 import responses
from dynsrv.sources.ec2.responses import Inventory, Member
from tests.fakes.ec2 import GROUP


def a_look(*instances: dict[str, Any], states: Mapping[str, str] | None = None, requested_at: float = 0.0) -> Inventory:
    """A look at instances. *states* are those in Auto Scaling, by id; None: no group was asked for."""
    members = None if states is None else {one: Member(GROUP, state) for one, state in states.items()}
    return Inventory(requested_at, responses.instances({"Reservations": [{"Instances": list(instances)}]}), members)
