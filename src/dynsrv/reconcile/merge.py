"""What do several sources list together? One snapshot, merged from the latest one of each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from dynsrv.model import Endpoint, Location, Snapshot


@dataclass(frozen=True, slots=True)
class Merged:
    """One snapshot made from several. *conflicts* has a sentence for each endpoint that sources disagree about."""

    snapshot: Snapshot
    conflicts: tuple[str, ...] = ()


def merge(snapshots: Sequence[Snapshot | None]) -> Merged | None:
    """Return the union of *snapshots* by address and port, in their order, or None if one of them is unknown.

    An endpoint that several sources list has the attributes of the first.
    """
    known = [snapshot for snapshot in snapshots if snapshot is not None]
    if len(known) < len(snapshots):
        return None
    if len(known) == 1:
        return Merged(known[0])
    union: dict[Location, tuple[int, Endpoint]] = {}
    conflicts: list[str] = []
    for number, snapshot in enumerate(known, start=1):
        for endpoint in snapshot.endpoints:
            first, kept = union.setdefault((endpoint.address, endpoint.port), (number, endpoint))
            if kept != endpoint:
                differences = ", ".join(_differences(kept, endpoint))
                conflicts.append(f"{endpoint}: source {number} has {differences}; source {first} is used")
    notes = tuple(note for snapshot in known for note in snapshot.notes)
    return Merged(Snapshot(tuple(endpoint for _, endpoint in union.values()), notes), tuple(conflicts))


def _differences(kept: Endpoint, other: Endpoint) -> Iterator[str]:
    for field in fields(Endpoint):
        used, ignored = getattr(kept, field.name), getattr(other, field.name)
        if used != ignored:
            yield f"{field.name} {_shown(ignored)} instead of {_shown(used)}"


def _shown(value: object) -> str:
    if value is None or value == ():
        return "unset"
    return " ".join(value) if isinstance(value, tuple) else str(value)
