"""Which endpoints do Consul's instances stand for? Addresses, weights and states, and what a registration asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from dynsrv.documents.messages import show
from dynsrv.model import MAX_WEIGHT, Endpoint, EndpointState, Snapshot
from dynsrv.sources import endpoint_values as values
from dynsrv.sources.consul.answers import Instance, Status, Weights
from dynsrv.sources.consul.values import OnCritical

T = TypeVar("T")

META_PREFIX = "dynsrv-"
"""What the keys of a service's meta begin with that are meant for dynsrv."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How instances are understood. *tagged_address* None: as Consul's own DNS, the service's, else the node's."""

    on_critical: OnCritical = OnCritical.REMOVE
    only_passing: bool = False
    tagged_address: str | None = None

    def snapshot(self, instances: Collection[Instance]) -> Snapshot:
        """Return what *instances* call for, in their order.

        Consul gives the weight 1 to who was registered without one; where all have that, nobody gave weights, and
        the endpoints have none.

        Invalid values of a registration are ignored, and reported in the snapshot's notes. Of two at the same address
        and port, the healthier is used.
        """
        notes: list[str] = []
        weighted = any(instance.service.weights != Weights() for instance in instances)
        best: dict[tuple[str, int], tuple[int, Endpoint]] = {}
        for instance in instances:
            endpoint = self._endpoint(instance, notes, weighted=weighted)
            if endpoint is None:
                continue
            location, rank = (endpoint.address, endpoint.port), _RANK[instance.status]
            if location not in best or rank < best[location][0]:
                best[location] = (rank, endpoint)
        return Snapshot(tuple(endpoint for _, endpoint in best.values()), notes=tuple(notes))

    def _endpoint(self, instance: Instance, notes: list[str], *, weighted: bool) -> Endpoint | None:
        state = self._state(instance.status)
        if state is None:
            return None
        try:
            address, port = self._location(instance)
        except ValueError as error:
            notes.append(f"{instance} is left out: {error}")
            return None
        meta = _Meta(instance, notes)
        weight = meta.read("weight", lambda text: values.weight(values.number(text)))
        return Endpoint(
            address,
            port,
            name=meta.read("name", values.name),
            weight=_weight(instance, notes) if weight is None and weighted else weight,
            state=state,
            maxconn=meta.read("maxconn", lambda text: values.maxconn(values.number(text))),
            options=meta.read("options", _options) or (),
        )

    def _location(self, instance: Instance) -> tuple[str, int]:
        """Return address and port of an instance, by Consul's own rules for a tagged address (`translate_wan_addrs`).

        Raises:
            ValueError: there is none that HAProxy could take.
        """
        service, node, tag = instance.service, instance.node, self.tagged_address
        address, port = service.address or node.address, service.port
        if tag is not None:
            if tag in service.tagged_addresses:
                tagged = service.tagged_addresses[tag]
                address, port = tagged.address, tagged.port or port
            elif tag in node.tagged_addresses and (not service.address or tag not in _EVERYWHERE):
                address = node.tagged_addresses[tag]
            elif tag not in _EVERYWHERE:
                raise ValueError(f"neither its service nor its node has the tagged address {show(tag)}")
        try:
            return values.address(address), values.port(port)
        except ValueError as error:
            raise ValueError(f"found {show(address)} and port {port}, {error}") from None

    def _state(self, status: Status) -> EndpointState | None:
        if status is Status.MAINTENANCE:
            return EndpointState.DRAIN
        if status is Status.CRITICAL or (status is Status.WARNING and self.only_passing):
            match self.on_critical:
                case OnCritical.REMOVE:
                    return None
                case OnCritical.DRAIN:
                    return EndpointState.DRAIN
                case OnCritical.KEEP:
                    return EndpointState.READY
        return EndpointState.READY


_EVERYWHERE = ("lan", "wan")
"""Tags without which the plain address is meant, as in Consul's own `translate_wan_addrs`."""

_RANK = {Status.PASSING: 0, Status.WARNING: 1, Status.MAINTENANCE: 2, Status.CRITICAL: 3}


class _Meta:
    """What a registration asks of dynsrv. Whoever may register a service wrote it, so nothing of it is trusted."""

    def __init__(self, instance: Instance, notes: list[str]) -> None:
        self._instance = instance
        self._notes = notes

    def read(self, key: str, check: Callable[[str], T]) -> T | None:
        """Return the checked value of *key*; None: there is none, or none that could be used."""
        text = self._instance.service.meta.get(META_PREFIX + key)
        if text is None:
            return None
        try:
            return check(text)
        except ValueError as error:
            self._notes.append(f"{self._instance}: meta {META_PREFIX}{key} is ignored: found {show(text)}, {error}")
            return None


def _options(text: str) -> tuple[str, ...]:
    return values.options([option for part in text.split(";") if (option := part.strip())])


def _weight(instance: Instance, notes: list[str]) -> int:
    """Return the weight that Consul says, in HAProxy's bounds."""
    weights = instance.service.weights
    weight = weights.warning if instance.status is Status.WARNING else weights.passing
    if weight > MAX_WEIGHT:
        notes.append(f"{instance}: its weight {weight} counts as {MAX_WEIGHT}, the highest of HAProxy")
    return max(0, min(weight, MAX_WEIGHT))
