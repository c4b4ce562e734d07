"""What do Consul's servers know? Instances, and the index at which each service last changed, counted as in 1.8.7."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FakeInstance:
    """An instance as it was registered, and what its one check says."""

    service: str
    node: str
    id: str
    address: str = ""
    port: int = 80
    node_address: str = "10.0.9.9"
    status: str = "passing"
    maintenance: bool = False
    output: str = "HTTP GET: 200 OK"
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    weights: tuple[int, int] = (1, 1)


def an_instance(host: int = 1, *, service: str = "web", **more: Any) -> FakeInstance:
    """An instance of `web` at 10.0.0.*host*:80, on a node of its own, `n1` for the host 1."""
    return FakeInstance(service, f"n{host}", f"{service}-{host}", address=f"10.0.0.{host}", **more)


class Catalog:
    """Each write gives Consul a new index, but only those that change something move the index of a service."""

    def __init__(self, *, index: int = 10) -> None:
        self.index = index
        self.instances: dict[tuple[str, str], FakeInstance] = {}  # by node and id
        self._changed: dict[str, int] = {}  # by service
        self._tables = index  # of any instance
        self._extinct = 0  # when the last instance of any service went
        self._maintained: set[str] = set()

    def copy(self) -> Catalog:
        """Return another one that knows the same."""
        other = copy(self)
        other.instances, other._changed = dict(self.instances), dict(self._changed)
        other._maintained = set(self._maintained)
        return other

    def write(self) -> None:
        """Change something that has nothing to do with services, such as a key and its value."""
        self.index += 1

    def put(self, instance: FakeInstance) -> None:
        """Register an instance; what is there already as it is changes nothing."""
        self.write()
        key = (instance.node, instance.id)
        if self.instances.get(key) != instance:
            self.instances[key] = instance
            self._changed[instance.service] = self._tables = self.index

    def remove(self, node: str, id: str) -> None:
        """Deregister an instance. Raises KeyError."""
        self.write()
        service = self.instances.pop((node, id)).service
        self._changed[service] = self._tables = self.index
        if not self.of(service):
            del self._changed[service]
            self._extinct = self.index

    def maintain(self, node: str, *, on: bool) -> None:
        """Put all instances of a node into maintenance, or out of it."""
        self.write()
        (self._maintained.add if on else self._maintained.discard)(node)
        for instance in self.instances.values():
            if instance.node == node:
                self._changed[instance.service] = self._tables = self.index

    def of(self, service: str) -> list[FakeInstance]:
        """Return the instances of a service."""
        return [instance for instance in self.instances.values() if instance.service == service]

    def index_of(self, service: str) -> int:
        """Return the index of an answer about a service.

        Of one that does not exist it moves when another loses its last instance; until that happened once, with
        every registration.
        """
        return self._changed.get(service) or self._extinct or self._tables

    def shown(self, instance: FakeInstance) -> dict[str, Any]:
        """Return an instance as `/v1/health/service` does."""
        passing, warning = instance.weights
        checks = [("serfHealth", "passing", "Agent alive and reachable")]
        checks.append((f"service:{instance.id}", instance.status, instance.output))
        if instance.maintenance:
            checks.append((f"_service_maintenance:{instance.id}", "critical", ""))
        if instance.node in self._maintained:
            checks.append(("_node_maintenance", "critical", ""))
        return {
            "Node": {
                "ID": "",
                "Node": instance.node,
                "Address": instance.node_address,
                "Datacenter": "dc1",
                "TaggedAddresses": None,
                "Meta": None,
                "CreateIndex": 1,
                "ModifyIndex": 1,
            },
            "Service": {
                "ID": instance.id,
                "Service": instance.service,
                "Tags": list(instance.tags),
                "Address": instance.address,
                "Meta": instance.meta or None,
                "Port": instance.port,
                "Weights": {"Passing": passing, "Warning": warning},
                "EnableTagOverride": False,
                "Proxy": {"MeshGateway": {}, "Expose": {}},
                "Connect": {},
                "CreateIndex": 1,
                "ModifyIndex": self._changed[instance.service],
            },
            "Checks": [
                {
                    "Node": instance.node,
                    "CheckID": name,
                    "Name": name,
                    "Status": status,
                    "Notes": "",
                    "Output": output,
                    "Definition": {},
                    "CreateIndex": 1,
                    "ModifyIndex": self._changed[instance.service],
                }
                for name, status, output in checks
            ],
        }
