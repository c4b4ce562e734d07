"""What will be done, what has to happen first, and what was the result? Steps and plans, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal, NamedTuple

from dynsrv.errors import DynsrvError


@dataclass(frozen=True, slots=True)
class Add:
    """Add a server; it starts in maintenance, with its check disabled."""

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
    """Enable the server's health check, which HAProxy runs in maintenance, too."""

    kind: ClassVar[Literal["enable_health"]] = "enable_health"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class EnableAgent:
    """Start the server's agent check, which from then on decides about its weight and its state."""

    kind: ClassVar[Literal["enable_agent"]] = "enable_agent"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class DisableAgent:
    """Stop the server's agent check, so that it cannot end a drain."""

    kind: ClassVar[Literal["disable_agent"]] = "disable_agent"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Admit:
    """Put the server into service."""

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
    """Change the limit of concurrent connections in place; 0: no limit."""

    kind: ClassVar[Literal["set_maxconn"]] = "set_maxconn"
    server: str
    maxconn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Send the server no new requests except those with persistence."""

    kind: ClassVar[Literal["drain"]] = "drain"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Disable:
    """Put the server into maintenance: running requests continue, new ones go elsewhere."""

    kind: ClassVar[Literal["disable"]] = "disable"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class CloseSessions:
    """Close the remaining sessions."""

    kind: ClassVar[Literal["close_sessions"]] = "close_sessions"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the server; HAProxy refuses while it is in use."""

    kind: ClassVar[Literal["delete"]] = "delete"
    server: str
    reason: str


Step = (
    Add
    | EnableHealth
    | EnableAgent
    | DisableAgent
    | Admit
    | SetWeight
    | SetMaxconn
    | Drain
    | Disable
    | CloseSessions
    | Delete
)
StepKind = Literal[
    "add",
    "enable_health",
    "enable_agent",
    "disable_agent",
    "admit",
    "set_weight",
    "set_maxconn",
    "drain",
    "disable",
    "close_sessions",
    "delete",
]


class Rule(StrEnum):
    """The rules of the guard, named after the keys of `limits`."""

    MAX_REMOVED = "max_removed"
    MIN_READY = "min_ready"
    ON_EMPTY = "on_empty"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A removal that the guard blocks. *reason* has the rule's key, the numbers, and what to do."""

    rule: Rule
    reason: str


class WaitsFor(StrEnum):
    """What has to happen before a server's next step."""

    CHECK = "check"
    SESSIONS = "sessions"
    SUCCESSOR = "successor"
    GUARD = "guard"
    CONFIG_FILE = "config_file"
    OPERATOR = "operator"  # of a hold: no wait of a plan has it
    AGENT = "agent"  # as above


@dataclass(frozen=True, slots=True)
class Hold:
    """A server that an operator, or its agent, put into maintenance or drain; it stays there until it is set to ready.

    *waits_for*: OPERATOR or AGENT, whose matter that is.
    """

    server: str
    reason: str
    waits_for: WaitsFor = WaitsFor.OPERATOR


@dataclass(frozen=True, slots=True)
class Wait:
    """A server whose next step has to wait, and why. *deadline* is in seconds from now; None: no deadline."""

    server: str
    waits_for: WaitsFor
    reason: str
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps from observed to desired, in the order in which they may be sent, and what has to be waited for."""

    steps: tuple[Step, ...] = ()
    waits: tuple[Wait, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    holds: tuple[Hold, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether servers are added."""
        return any(isinstance(step, Add) for step in self.steps)

    @property
    def converged(self) -> bool:
        """Whether HAProxy is as desired, except for held servers: no steps, no waits, no refusals."""
        return not (self.steps or self.waits or self.refusals)


class Outcome(StrEnum):
    """The result of a step."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class StepResult(NamedTuple):
    """A step and its result; *detail* is HAProxy's reply. *expected*: a refusal that a retry in the next pass resolves.

    *command* is the line that was sent, empty if it could not be encoded. *seconds* is HAProxy's time for it: the mean
    over the batch.
    """

    step: Step
    outcome: Outcome
    detail: str = ""
    expected: bool = False
    command: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of each step, in the order of the steps.

    With an *error*, all steps from the batch on that it cut short are *unanswered*: they may have been sent or not.
    """

    results: tuple[StepResult, ...] = ()
    unanswered: tuple[Step, ...] = ()
    error: DynsrvError | None = None
