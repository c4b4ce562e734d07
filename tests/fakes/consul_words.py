"""What does Consul refuse, and with which words? As measured on 1.8.7; errors have the index 1 where they have one."""

from __future__ import annotations

from dataclasses import dataclass, field

from dynsrv.sources.consul.transport import Response

NO_LEADER = Response(500, b"No cluster leader", 1)
NOT_VERIFIED = Response(500, b"leadership lost while committing log", 1)
NO_DATACENTER = Response(500, b"No path to datacenter", 1)
BAD_FILTER = Response(500, b"Failed to create boolean expression evaluator: 1:3 (2): no match found", 1)
NO_NAMESPACES = Response(
    400, b'Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'
)
TOKEN_UNKNOWN = Response(403, b"ACL not found", 1)
MAY_NOT = Response(403, b"Permission denied")
ACLS_OFF = Response(401, b"ACL support disabled")
TOO_MANY_PERMISSIONS = Response(400, b"Bad request: Refusing to process more than 64 authorizations at once")


@dataclass
class Acl:
    """What the token may do. *services* and *nodes* are prefixes that it may read, but for what is *denied*."""

    known: bool = True
    services: tuple[str, ...] = ("",)
    nodes: tuple[str, ...] = ("",)
    denied: set[str] = field(default_factory=set)

    def allows(self, resource: str, name: str) -> bool:
        """Return whether the token may read it; the name "" stands for any."""
        prefixes = {"service": self.services, "node": self.nodes}[resource]
        return any(name.startswith(prefix) for prefix in prefixes) and f"{resource} {name}" not in self.denied
