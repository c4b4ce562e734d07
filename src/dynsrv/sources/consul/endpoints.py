"""Which endpoints follow from Consul's instances? Addresses, weights, states, and what their registrations ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from dynsrv.documents.messages import show
from dynsrv.model import MAX_WEIGHT, Endpoint, EndpointState, Snapshot
from dynsrv.sources import endpoint_values as values
from dynsrv.sources.consul.responses import Instance, Status, Weights
from dynsrv.sources.consul.values import OnCritical
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules

T = TypeVar("T")

META_PREFIX = "dynsrv-"
"""The prefix of the keys in a service's meta that are meant for dynsrv."""


@dataclass(frozen=True, slots=True)
class InstanceMapper:
    """Maps instances to endpoints.

    Without a *tagged_address*, the address is that of the service, or else of its node, as in Consul's DNS.
    """

    on_critical: OnCritical = OnCritical.REMOVE
    only_passing: bool = False
    tagged_address: str | None = None
    rules: EndpointRules = ANY_ENDPOINT

    def snapshot(self, instances: Collection[Instance]) -> Snapshot:
        """Return the endpoints of *instances*, in their order.

        Consul gives weight 1 to instances that were registered without one; if all have it, the endpoints have none.

        What is invalid in a registration is ignored, and reported in the snapshot's notes. Of two instances at the same
        address and port, the healthier one counts.
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
            notes.append(f"{instance} is ignored: {error}")
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
            options=self._options(meta),
        )

    def _location(self, instance: Instance) -> tuple[str, int]:
        """Return address and port of an instance; for a tagged address by Consul's own rules (`translate_wan_addrs`).

        Raises:
            ValueError: it has none that HAProxy accepts.
        """
        service, node, tag = instance.service, instance.node, self.tagged_address
        address, port = service.address or node.address, service.port
        if tag is not None:
            if tag in service.tagged_addresses:
                tagged = service.tagged_addresses[tag]
                address, port = tagged.address, tagged.port or port
            elif tag in node.tagged_addresses and (not service.address or tag not in _WITH_DEFAULT):
                address = node.tagged_addresses[tag]
            elif tag not in _WITH_DEFAULT:
                raise ValueError(f"neither its service nor its node has the tagged address {show(tag)}")
        try:
            address, port = values.address(address), values.port(port)
            self.rules.check(address, port)
            return address, port
        except ValueError as error:
            raise ValueError(f"found {show(address)} and port {port}, {error}") from None

    def _options(self, meta: _Meta) -> tuple[str, ...]:
        """Return the options that the operator lets registrations have; each of the others is noted."""
        usable = []
        for option in meta.read("options", _options) or ():
            try:
                self.rules.check_registered_option(option)
                usable.append(option)
            except ValueError as error:
                meta.ignore("options", option, error)
        return tuple(usable)

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


_WITH_DEFAULT = ("lan", "wan")
"""Tags that stand for the plain address where it is not tagged, as in Consul's `translate_wan_addrs`."""

_RANK = {Status.PASSING: 0, Status.WARNING: 1, Status.MAINTENANCE: 2, Status.CRITICAL: 3}


class _Meta:
    """What a registration asks of dynsrv. It is not trusted: whoever may register a service wrote it."""

    def __init__(self, instance: Instance, notes: list[str]) -> None:
        self._instance = instance
        self._notes = notes

    def read(self, key: str, check: Callable[[str], T]) -> T | None:
        """Return the value of *key*, as *check* returns it; None: it is missing or invalid."""
        text = self._instance.service.meta.get(META_PREFIX + key)
        if text is None:
            return None
        try:
            return check(text)
        except ValueError as error:
            self.ignore(key, text, error)
            return None

    def ignore(self, key: str, text: str, error: ValueError) -> None:
        """Note that *text*, of the value of *key*, is not used."""
        self._notes.append(f"{self._instance}: meta {META_PREFIX}{key} is ignored: found {show(text)}, {error}")


def _options(text: str) -> tuple[str, ...]:
    return values.options([option for part in text.split(";") if (option := part.strip())])


def _weight(instance: Instance, notes: list[str]) -> int:
    """Return Consul's weight within HAProxy's bounds."""
    weights = instance.service.weights
    weight = weights.warning if instance.status is Status.WARNING else weights.passing
    if weight > MAX_WEIGHT:
        notes.append(f"{instance}: its weight {weight} is reduced to {MAX_WEIGHT}, the highest that HAProxy accepts")
    return max(0, min(weight, MAX_WEIGHT))
