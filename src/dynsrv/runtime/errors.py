"""What can go wrong between a program and the Runtime API, one class per reaction.

RuntimeApiError
├── InvalidArgument         nothing was sent: the argument cannot be encoded as one word of one command
├── NotSent                 nothing was sent: safe to retry
│   ├── ConnectFailed       connection refused, no such socket, no permission, no trust
│   ├── ConnectTimeout      the connection was accepted, but no command was answered
│   ├── PoolTimeout         every connection of the pool is in use
│   └── OtherProcess        not the expected HAProxy process, or one that is stopping
├── OutcomeUnknown          may have run: observe before anything else
│   ├── ReplyTimeout        no reply in time
│   ├── ReplyTooLarge       the reply does not end
│   ├── ConnectionLost      the connection ended before the reply did
│   ├── DyingProcess        the process that answered is stopping: it may have run, but without lasting effect
│   └── UnknownReply        the reply is not a known sentence
└── Refused                 HAProxy refused: nothing changed
    ├── PermissionDenied    the socket's level is too low
    ├── CommandUnsupported  this HAProxy has no such command
    ├── BackendUnsupported  this backend does not accept servers at runtime
    ├── NoSuchBackend
    ├── NoSuchServer
    ├── NameTaken           a server of this name exists
    ├── IdTaken             a server of this id exists
    ├── NotInMaintenance    only servers in maintenance can be deleted
    ├── StillInUse          it still has connections: retry later
    ├── Referenced          the configuration refers to the server: it can never be deleted
    ├── ProxyDisabled       the process is an old worker: connect again
    └── BadArgument         a keyword or a value that this HAProxy does not accept
"""

from __future__ import annotations


class RuntimeApiError(Exception):
    """Root of this library's errors."""


class InvalidArgument(RuntimeApiError, ValueError):
    """An argument that cannot be encoded as one word of one command."""

    def __init__(self, what: str, found: object, expected: str) -> None:
        super().__init__(f"{what}: found {found!r}, expected {expected}")
        self.what = what
        self.found = found
        self.expected = expected


class NotSent(RuntimeApiError):
    """Nothing was sent; a retry cannot do anything twice."""


class ConnectFailed(NotSent):
    """The address does not accept connections. *reason* is missing, permission, refused, tls or unreachable."""

    def __init__(self, address: str, reason: str, problem: str) -> None:
        super().__init__(f"{address}: {problem}")
        self.address = address
        self.reason = reason


class ConnectTimeout(NotSent):
    """No connection, or no answer on a new one, within *timeout* seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        super().__init__(
            f"{address}: a new connection was not answered within {timeout:g} s; either HAProxy hangs, or all"
            " connections of the stats socket are in use (`stats maxconn`, 10 by default)"
        )
        self.address = address
        self.timeout = timeout


class PoolTimeout(NotSent):
    """None of the pool's *size* connections became free within *timeout* seconds."""

    def __init__(self, address: str, size: int, timeout: float) -> None:
        super().__init__(f"{address}: all {size} connections were in use for {timeout:g} s")
        self.address = address
        self.size = size
        self.timeout = timeout


class OtherProcess(NotSent):
    """The process behind the address is not the expected one, or it is stopping."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"{address}: {problem}")
        self.address = address


class OutcomeUnknown(RuntimeApiError):
    """The command may or may not have run; only an observation shows."""


class ReplyTimeout(OutcomeUnknown):
    """No reply to *command* within *timeout* seconds; *replies* of *commands* had arrived."""

    def __init__(self, address: str, command: str, timeout: float, *, replies: int, commands: int) -> None:
        super().__init__(
            f"{address}: no reply to `{command}` within {timeout:g} s ({replies} of {commands} replies had arrived)"
        )
        self.address = address
        self.command = command
        self.timeout = timeout
        self.replies = replies
        self.commands = commands


class ReplyTooLarge(OutcomeUnknown):
    """The reply to *command* had not ended when more than *limit* bytes of it, and of those before it, had come."""

    def __init__(self, address: str, command: str, limit: int, *, replies: int, commands: int) -> None:
        super().__init__(
            f"{address}: the reply to `{command}` had not ended after {limit} bytes ({replies} of {commands} replies"
            " had come)"
        )
        self.address = address
        self.command = command
        self.limit = limit
        self.replies = replies
        self.commands = commands


class ConnectionLost(OutcomeUnknown):
    """The connection ended before the reply to *command* did."""

    def __init__(self, address: str, command: str, cause: str, *, replies: int, commands: int) -> None:
        super().__init__(
            f"{address}: connection ended before the reply to `{command}` did: {cause}"
            f" ({replies} of {commands} replies had arrived)"
        )
        self.address = address
        self.command = command
        self.cause = cause
        self.replies = replies
        self.commands = commands


class DyingProcess(OutcomeUnknown):
    """HAProxy process *pid* began to stop (a reload) while it answered."""

    def __init__(self, address: str, pid: int) -> None:
        super().__init__(f"{address}: HAProxy process {pid} is stopping; its answers do not count")
        self.address = address
        self.pid = pid


class _Answered(RuntimeApiError):
    """HAProxy's reply to one command: *command* is the line sent, *sentence* the whole reply."""

    def __init__(self, command: str, sentence: str) -> None:
        shown = " ".join(sentence.split()) or "(an empty reply)"
        super().__init__(f"`{command}`: {shown[:500]}")
        self.command = command
        self.sentence = sentence


class UnknownReply(_Answered, OutcomeUnknown):
    """A reply that is not in the table of known sentences, or a dump that cannot be read because of a *problem*."""

    def __init__(self, command: str, sentence: str, *, problem: str = "") -> None:
        super().__init__(command, sentence)
        self.problem = problem

    def __str__(self) -> str:
        if not self.problem:
            return super().__str__()
        return f"`{self.command}`: the reply cannot be read: {self.problem[:500]}"


class Refused(_Answered):
    """HAProxy refused, and changed nothing."""


class PermissionDenied(Refused):
    """The stats socket's level is below what the command needs."""


class CommandUnsupported(Refused):
    """This HAProxy does not support the command, or only in experimental mode."""


class BackendUnsupported(Refused):
    """The backend's algorithm or mode does not accept servers at runtime."""


class NoSuchBackend(Refused):
    """No backend of this name."""


class NoSuchServer(Refused):
    """No server of this name in the backend."""


class NameTaken(Refused):
    """The backend has a server of this name already."""


class IdTaken(Refused):
    """The backend has a server of this id already."""


class NotInMaintenance(Refused):
    """Only a server in maintenance can be deleted."""


class StillInUse(Refused):
    """The server has connections, sessions or queued requests."""


class Referenced(Refused):
    """HAProxy's configuration refers to the server (`use-server`, `track`, a sample fetch, `resolvers`)."""


class ProxyDisabled(Refused):
    """The backend is stopped: the process is an old worker after a reload."""


class BadArgument(Refused):
    """A keyword that this HAProxy does not support for servers added at runtime, or an invalid value."""
