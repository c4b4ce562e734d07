"""What is to be done, what is waited for, and what became of it? Steps and plans, as frozen values that do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal, NamedTuple

from dynsrv.errors import DynsrvError


@dataclass(frozen=True, slots=True)
class Add:
    """Add a server; it starts in maintenance, with its check not enabled."""

    kind: ClassVar[Literal["add"]] = "add"
    server: str
    id: int
    address: str
    port: int
    weight: int
    options: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class EnableHealth:
    """Let HAProxy run the server's check, which it does in maintenance too."""

    kind: ClassVar[Literal["enable_health"]] = "enable_health"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Admit:
    """Let the server receive requests."""

    kind: ClassVar[Literal["admit"]] = "admit"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Change the weight in place."""

    kind: ClassVar[Literal["set_weight"]] = "set_weight"
    server: str
    weight: int
    reason: str


@dataclass(frozen=True, slots=True)
class SetMaxconn:
    """Change the bound on concurrent connections in place; 0: no bound."""

    kind: ClassVar[Literal["set_maxconn"]] = "set_maxconn"
    server: str
    maxconn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the server no new requests but those that stick to it."""

    kind: ClassVar[Literal["drain"]] = "drain"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Disable:
    """Put the server into maintenance: running requests go on, nothing new comes."""

    kind: ClassVar[Literal["disable"]] = "disable"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class CloseSessions:
    """Cut the sessions that are left."""

    kind: ClassVar[Literal["close_sessions"]] = "close_sessions"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the server; HAProxy refuses as long as anything uses it."""

    kind: ClassVar[Literal["delete"]] = "delete"
    server: str
    reason: str


Step = Add | EnableHealth | Admit | SetWeight | SetMaxconn | Drain | Disable | CloseSessions | Delete
StepKind = Literal[
    "add", "enable_health", "admit", "set_weight", "set_maxconn", "drain", "disable", "close_sessions", "delete"
]


class Rule(StrEnum):
    """The rules of the guard, by the keys of `limits` that set them."""

    MAX_REMOVED = "max_removed"
    MIN_READY = "min_ready"
    ON_EMPTY = "on_empty"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A removal that the guard does not let through. *reason* has the rule's key, the numbers, and what to do."""

    rule: Rule
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A server that an operator put into maintenance or drain by hand, and that stays there until set ready again."""

    server: str
    reason: str


class WaitsFor(StrEnum):
    """What has to happen in HAProxy before a server's next step."""

    CHECK = "check"
    SESSIONS = "sessions"
    SUCCESSOR = "successor"
    GUARD = "guard"
    OPERATOR = "operator"  # of a hold: no wait of a plan has it


@dataclass(frozen=True, slots=True)
class Wait:
    """A server that has no next step yet, and why. *deadline* is in seconds from now; None: there is none."""

    server: str
    waits_for: WaitsFor
    reason: str
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps from observed to desired, in the order in which they may be sent, and what is waited for."""

    steps: tuple[Step, ...] = ()
    waits: tuple[Wait, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    holds: tuple[Hold, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether HAProxy is as desired, but for what an operator holds: nothing to do, to wait for, or refused."""
        return not (self.steps or self.waits or self.refusals)


class Outcome(StrEnum):
    """What HAProxy made of a step."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class StepResult(NamedTuple):
    """A step and HAProxy's word on it: *detail*. *expected*: a refusal that the next pass mends by trying again.

    *command* is the line that was sent, empty if it could not be written. *seconds* is HAProxy's time for it: the mean
    of those that were sent at once.
    """

    step: Step
    outcome: Outcome
    detail: str = ""
    expected: bool = False
    command: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of each step of a plan, in the plan's order; of those that were sent before an *error*, if any."""

    results: tuple[StepResult, ...] = ()
    error: DynsrvError | None = None
