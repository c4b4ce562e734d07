"""Which endpoints follow from EC2's instances? By their states, addresses and tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dynsrv.documents.messages import show
from dynsrv.model import Endpoint, EndpointState, Location, Snapshot, host_port
from dynsrv.sources import endpoint_values as values
from dynsrv.sources.ec2.responses import Instance, Inventory
from dynsrv.sources.ec2.values import AddressKind
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules

TERMINATING_WAIT = "Terminating:Wait"
"""Auto Scaling keeps such an instance until its lifecycle action is completed, or the hook's timeout expires."""

_TERMINATING = ("Terminating", "Terminated")
_OUT_OF_SERVICE = ("Standby", "EnteringStandby", "Detaching", "Detached", "Quarantined", "ReplacingRootVolume")
_WARM_POOL = "Warmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceMapper:
    """Maps instances to endpoints, at the port of *port* or *port_tag*.

    An instance that is stopping or terminating has endpoints that drain; with *removes_terminating* it has none.
    """

    port: int | None = None
    port_tag: str | None = None
    address: AddressKind = AddressKind.PRIVATE
    weight_tag: str | None = None
    removes_terminating: bool = False
    rules: EndpointRules = ANY_ENDPOINT

    def snapshot(self, inventory: Inventory) -> Snapshot:
        """Return the endpoints of the instances, in the order of their ids.

        Invalid tags are ignored, and reported in the snapshot's notes. Of two instances at the same address and port,
        the one that does not drain counts: the address of the other was reassigned.
        """
        notes: list[str] = []
        endpoints: dict[Location, tuple[str, Endpoint]] = {}
        for instance in sorted(inventory.instances, key=lambda one: one.id):
            state = self._state(instance, inventory)
            if state is None:
                continue
            for endpoint in self._endpoints(instance, state, notes):
                location = (endpoint.address, endpoint.port)
                other, known = endpoints.get(location, ("", None))
                if known is None or known.state is EndpointState.DRAIN:
                    endpoints[location] = (instance.id, endpoint)
                elif endpoint.state is EndpointState.READY:
                    notes.append(f"{instance.id} is ignored: {other} has {endpoint}, too")
        return Snapshot(tuple(endpoint for _, endpoint in endpoints.values()), notes=tuple(notes))

    def locations(self, instance: Instance) -> frozenset[Location]:
        """Return the locations of the servers of an instance, whatever its state."""
        endpoints = self._endpoints(instance, EndpointState.READY, [])
        return frozenset((endpoint.address, endpoint.port) for endpoint in endpoints)

    def _state(self, instance: Instance, inventory: Inventory) -> EndpointState | None:
        """Return the state of the endpoints of an instance; None: it has none."""
        terminating = None if self.removes_terminating else EndpointState.DRAIN
        if instance.state in {"shutting-down", "stopping"}:
            return terminating
        if instance.state != "running":
            return None  # pending, stopped, terminated
        if inventory.members is None:
            return EndpointState.READY
        if (member := inventory.members.get(instance.id)) is None or member.state.startswith(_WARM_POOL):
            return None  # in a warm pool, which Auto Scaling does not list; or no longer in the group
        if member.state.startswith(_TERMINATING):
            return terminating
        return EndpointState.DRAIN if member.state.startswith(_OUT_OF_SERVICE) else EndpointState.READY

    def _endpoints(self, instance: Instance, state: EndpointState, notes: list[str]) -> Iterator[Endpoint]:
        """Yield an endpoint for each port of an instance."""
        try:
            address, ports = self._address(instance), self._ports(instance)
            names = [values.name(instance.id if len(ports) == 1 else f"{instance.id}-{port}") for port in ports]
        except ValueError as error:
            notes.append(f"{instance.id} is ignored: {error}")
            return
        weight = self._weight(instance, notes)
        for name, port in zip(names, ports, strict=True):
            try:
                self.rules.check(address, port)
            except ValueError as error:
                notes.append(f"{instance.id} is left out: found {host_port(address, port)}, {error}")
                continue
            yield Endpoint(address, port, name=name, weight=weight, state=state)

    def _address(self, instance: Instance) -> str:
        text = {
            AddressKind.PRIVATE: instance.private_address,
            AddressKind.PUBLIC: instance.public_address,
            AddressKind.IPV6: instance.ipv6_address,
        }[self.address]
        if not text:
            raise ValueError(f"it has no {self.address} address")
        return values.address(text)

    def _ports(self, instance: Instance) -> tuple[int, ...]:
        if self.port_tag is None:
            return () if self.port is None else (self.port,)
        text = instance.tags.get(self.port_tag)
        if text is None:
            raise ValueError(f"it has no tag {self.port_tag}")
        try:
            return tuple(dict.fromkeys(values.port(values.number(port.strip())) for port in text.split(",")))
        except ValueError as error:
            problem = f"found {show(text)} in its tag {self.port_tag}, {error}, or several with commas"
            raise ValueError(problem) from None

    def _weight(self, instance: Instance, notes: list[str]) -> int | None:
        text = instance.tags.get(self.weight_tag) if self.weight_tag else None
        if text is None:
            return None
        try:
            return values.weight(values.number(text.strip()))
        except ValueError as error:
            notes.append(f"{instance.id}: its tag {self.weight_tag} is ignored: found {show(text)}, {error}")
            return None
