"""What does one HAProxy process hold? Servers with HAProxy's own numbers, and how they change (measured on 2.6-3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# srv_admin_state
MAINT = 0x01
DRAIN = 0x08
# srv_op_state
DOWN = 0
UP = 2
# srv_check_state
CONFIGURED = 2
ENABLED = 4
PAUSED = 8
AGENT = 16
# srv_check_result
NO_RESULT = 0
FAILED = 2
PASSED = 3

_DYNAMIC = {"roundrobin", "leastconn", "first", "random", "sticky", "consistent"}


@dataclass(slots=True)
class FakeServer:
    """A server. One of the configuration file by default: ready, up, without a check."""

    name: str
    address: str = "127.0.0.1"
    port: int = 80
    id: int = 0
    weight: int = 1
    initial_weight: int = 1
    maxconn: int = 0
    admin: int = 0
    operational: int = UP
    check_state: int = 0
    check_result: int = NO_RESULT
    agent_state: int = 0
    options: tuple[str, ...] = ()
    backup: bool = False
    referenced: bool = False
    """By the configuration: it can never be deleted."""
    changed_at: float = 0.0
    sessions: int = 0
    total: int = 0
    """Sessions that ever began."""
    queued: int = 0
    closing: int = 0
    """Sessions that were told to end, and have not yet."""
    idle: int = 0
    """Idle connections to the server."""
    passed_once: bool = False
    """Whether a check of it ever passed."""

    @property
    def in_maintenance(self) -> bool:
        """Whether it can be deleted, as far as its state goes."""
        return bool(self.admin & MAINT)

    @property
    def takes_traffic(self) -> bool:
        """Whether a new request, one that sticks to no server, may be given to it."""
        return not self.admin & (MAINT | DRAIN) and self.operational != DOWN and self.weight > 0

    @property
    def checked(self) -> bool:
        """Whether HAProxy runs its check now."""
        return self.check_state & (CONFIGURED | ENABLED | PAUSED) == CONFIGURED | ENABLED

    def set_state(self, state: str, process: Process) -> None:
        """Change the administrative state to ready, drain or maint, with all that follows from it."""
        before = self.admin
        if state == "maint":
            if self.in_maintenance:
                return
            self.admin = MAINT
            self.operational = DOWN
            if self.check_state & ENABLED:
                self.check_state |= PAUSED
        else:
            self.admin = DRAIN if state == "drain" else 0
            if before & MAINT:
                self.check_state &= ~PAUSED
                waits = self.check_state & ENABLED and "init-state down" in " ".join(self.options)
                self.operational = DOWN if waits else UP
        if (before | self.admin) & MAINT or (process.number < (3, 0) and before != self.admin):
            self.changed_at = process.now()  # from 3.0 on, drain is no change of the state

    def hear_agent(self, reply: str, process: Process) -> None:
        """Do what the agent of the server says: a percentage, ready, drain, maint, up or down."""
        if not self.agent_state & ENABLED:
            return
        for word in reply.split():
            if word.endswith("%"):
                self.weight = self.initial_weight * int(word[:-1]) // 100
            elif word in {"up", "down"}:
                if not self.in_maintenance:
                    self.operational = UP if word == "up" else DOWN
            else:
                self.set_state(word, process)

    def run_check(self, *, passes: bool, process: Process) -> None:
        """Run the check as often as its result needs to count."""
        self.check_result = PASSED if passes else FAILED
        self.passed_once |= passes
        operational = UP if passes else DOWN
        if not self.in_maintenance and self.operational != operational:
            self.operational = operational
            self.changed_at = process.now()


@dataclass(slots=True)
class FakeBackend:
    """A backend of the configuration file. *algorithm* `consistent` stands for a hash with `hash-type consistent`."""

    name: str = "be_app"
    servers: list[FakeServer] = field(default_factory=list)
    algorithm: str = "roundrobin"
    mode: str = "http"
    cookie: str = ""
    id: int = 0

    @property
    def dynamic(self) -> bool:
        """Whether its algorithm allows servers to be added at runtime."""
        return self.algorithm in _DYNAMIC

    def find(self, name: str) -> FakeServer | None:
        """Return the server of this name."""
        return next((server for server in self.servers if server.name == name), None)

    def add(self, server: FakeServer) -> None:
        """Add *server*, with the lowest free id if it brings none."""
        taken = {other.id for other in self.servers}
        if not server.id:
            server.id = next(number for number in range(1, len(taken) + 2) if number not in taken)
        self.servers.append(server)


@dataclass(slots=True)
class Process:
    """A HAProxy process, with its own copy of what the configuration file says."""

    version: str
    number: tuple[int, int]
    pid: int
    started: int
    now: Callable[[], float]
    backends: dict[str, FakeBackend]
    stopping: bool = False

    def servers(self) -> Iterator[FakeServer]:
        """Yield all servers of all backends."""
        for backend in self.backends.values():
            yield from backend.servers

    def settle(self) -> None:
        """Let what HAProxy does a moment later happen: cut sessions end, idle connections of maintenance close."""
        for server in self.servers():
            server.closing = 0
            if server.in_maintenance:
                server.idle = 0

    def refusal_to_delete(self, server: FakeServer) -> str | None:
        """Return why *server* cannot be deleted now, in the order in which HAProxy looks."""
        if server.referenced:
            return "This server cannot be removed at runtime due to other configuration elements pointing to it."
        if not server.in_maintenance:
            return "Only servers in maintenance mode can be deleted."
        idle = 0 if (3, 0) <= self.number < (3, 3) else server.idle  # 3.0-3.2 close them themselves
        if server.sessions + server.queued + server.closing + idle:
            return "Server still has connections attached to it, cannot remove it."
        return None
