"""What can go wrong between a program and the Runtime API, one class per reaction.

RuntimeApiError
├── InvalidArgument         nothing was sent: the argument cannot be written as one word of one command
├── NotSent                 nothing was sent: safe to try again
│   ├── ConnectFailed       nobody listens, no such socket, no permission, no trust
│   ├── ConnectTimeout      the connection was taken, but no command was answered
│   ├── PoolTimeout         every connection of the pool is lent
│   └── OtherProcess        another HAProxy process than expected, or one that is stopping
├── OutcomeUnknown          may have run: observe before anything else
│   ├── ReplyTimeout        no reply in time
│   ├── ConnectionLost      the connection ended before the reply did
│   ├── DyingProcess        the process that answered stopped meanwhile: it may have run, but where it no longer counts
│   └── UnknownReply        the reply is no sentence that we know
└── Refused                 HAProxy said no: nothing changed
    ├── PermissionDenied    the socket's level is too low
    ├── CommandUnsupported  this HAProxy has no such command
    ├── BackendUnsupported  this backend takes no servers at runtime
    ├── NoSuchBackend
    ├── NoSuchServer
    ├── NameTaken           a server of this name exists
    ├── IdTaken             a server of this id exists
    ├── NotInMaintenance    only servers in maintenance can be deleted
    ├── StillInUse          connections are left: try again later
    ├── Referenced          the configuration refers to the server: it can never be deleted
    ├── ProxyDisabled       the process is an old worker: connect again
    └── BadArgument         a keyword or a value that this HAProxy does not take
"""

from __future__ import annotations


class RuntimeApiError(Exception):
    """Root of this library's errors."""


class InvalidArgument(RuntimeApiError, ValueError):
    """An argument that cannot be written as one word of one command."""

    def __init__(self, what: str, found: object, expected: str) -> None:
        super().__init__(f"{what}: found {found!r}, expected {expected}")
        self.what = what
        self.found = found
        self.expected = expected


class NotSent(RuntimeApiError):
    """Nothing was sent; trying again cannot do anything twice."""


class ConnectFailed(NotSent):
    """The address takes no connection. *reason* is missing, permission, refused, tls or unreachable."""

    def __init__(self, address: str, reason: str, problem: str) -> None:
        super().__init__(f"{address}: {problem}")
        self.address = address
        self.reason = reason


class ConnectTimeout(NotSent):
    """No connection, or no answer on a new one, within *timeout* seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        super().__init__(
            f"{address}: a new connection was not answered within {timeout:g} s; either HAProxy hangs, or as many"
            " connections are open as the stats socket serves (`stats maxconn`, 10 by default)"
        )
        self.address = address
        self.timeout = timeout


class PoolTimeout(NotSent):
    """None of the pool's *size* connections came back within *timeout* seconds."""

    def __init__(self, address: str, size: int, timeout: float) -> None:
        super().__init__(f"{address}: all {size} connections were in use for {timeout:g} s")
        self.address = address
        self.size = size
        self.timeout = timeout


class OtherProcess(NotSent):
    """The process behind the address is not the one that the caller means, or it is stopping."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"{address}: {problem}")
        self.address = address


class OutcomeUnknown(RuntimeApiError):
    """The command may have run or not; only looking tells."""


class ReplyTimeout(OutcomeUnknown):
    """No reply to *command* within *timeout* seconds; *replies* of *commands* had come."""

    def __init__(self, address: str, command: str, timeout: float, *, replies: int, commands: int) -> None:
        super().__init__(
            f"{address}: no reply to `{command}` within {timeout:g} s ({replies} of {commands} replies had come)"
        )
        self.address = address
        self.command = command
        self.timeout = timeout
        self.replies = replies
        self.commands = commands


class ConnectionLost(OutcomeUnknown):
    """The connection ended before the reply to *command* did."""

    def __init__(self, address: str, command: str, cause: str, *, replies: int, commands: int) -> None:
        super().__init__(
            f"{address}: connection ended before the reply to `{command}` did: {cause}"
            f" ({replies} of {commands} replies had come)"
        )
        self.address = address
        self.command = command
        self.cause = cause
        self.replies = replies
        self.commands = commands


class DyingProcess(OutcomeUnknown):
    """HAProxy process *pid* was told to stop (a reload) while it answered."""

    def __init__(self, address: str, pid: int) -> None:
        super().__init__(f"{address}: HAProxy process {pid} is stopping; what it answered does not count")
        self.address = address
        self.pid = pid


class _Answered(RuntimeApiError):
    """HAProxy's word on one command: *command* is the line sent, *sentence* the whole reply."""

    def __init__(self, command: str, sentence: str) -> None:
        shown = " ".join(sentence.split()) or "(an empty reply)"
        super().__init__(f"`{command}`: {shown[:500]}")
        self.command = command
        self.sentence = sentence


class UnknownReply(_Answered, OutcomeUnknown):
    """A reply that is none of the sentences that we know."""


class Refused(_Answered):
    """HAProxy said no, and changed nothing."""


class PermissionDenied(Refused):
    """The stats socket's level is below what the command needs."""


class CommandUnsupported(Refused):
    """This HAProxy has no such command, or has it only in experimental mode."""


class BackendUnsupported(Refused):
    """The backend's algorithm or mode takes no servers at runtime."""


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
    """The configuration refers to the server (`use-server`, `track`, a sample fetch, `resolvers`): it stays."""


class ProxyDisabled(Refused):
    """The backend is stopped: the process is an old worker after a reload."""


class BadArgument(Refused):
    """A keyword that this HAProxy does not know or take for servers added at runtime, or a bad value."""
