"""What did HAProxy answer? Every sentence that dynsrv relies on, in one table, with its class of reply.

Sentences are searched inside the reply, never compared with all of it: newer versions put warnings in front
(`Ignoring cookie as HTTP mode is disabled.\\nNew server registered.`). All were measured on 2.6, 3.0, 3.2 and 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dynsrv.runtime.errors import (
    BackendUnsupported,
    BadArgument,
    CommandUnsupported,
    IdTaken,
    NameTaken,
    NoSuchBackend,
    NoSuchServer,
    NotInMaintenance,
    PermissionDenied,
    ProxyDisabled,
    Referenced,
    Refused,
    StillInUse,
    UnknownReply,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

REFUSALS: tuple[tuple[str, type[Refused]], ...] = (
    ("Permission denied", PermissionDenied),
    ("Unknown command", CommandUnsupported),
    ("restricted to experimental mode only", CommandUnsupported),  # 2.4, 2.5
    ("Backend must use a dynamic load balancing", BackendUnsupported),  # to 3.2
    ("Backend does not support dynamic servers", BackendUnsupported),  # 3.3
    ("Dynamic servers cannot be used with", BackendUnsupported),  # mode log: to 3.2
    ("No such backend.", NoSuchBackend),
    ("Can't find backend.", NoSuchBackend),  # show servers state
    ("No such proxy.", NoSuchBackend),  # show stat
    ("No such server.", NoSuchServer),
    ("Already exists a server with the same name", NameTaken),
    ("already used at", IdTaken),  # 'id' : custom id 1 already used at <file>:<line>
    ("Only servers in maintenance mode can be deleted", NotInMaintenance),
    ("Server still has connections attached", StillInUse),
    ("Wait delay expired.", StillInUse),  # wait … srv-removable
    ("cannot be removed at runtime due to other configuration", Referenced),
    ("Proxy is disabled.", ProxyDisabled),
    # what `add server` and `set server` say about their arguments
    ("Require 'backend/server'", BadArgument),
    ("unknown keyword", BadArgument),
    ("is not accepted for dynamic server", BadArgument),
    ("is not permitted in server name", BadArgument),
    ("expects <name> and <addr>", BadArgument),
    ("invalid port", BadArgument),
    ("port range not permitted", BadArgument),
    ("invalid character", BadArgument),
    ("is not within 0 and 256", BadArgument),
    ("can only be between 0 and 256", BadArgument),
    ("verify is enabled by default but no CA file", BadArgument),
    ("unable to", BadArgument),  # load <ca-file>, stat SSL certificate, find required server, use … for tracking
    ("unknown MUX protocol", BadArgument),
    ("MUX protocol is not usable", BadArgument),
    ("unsupported transport", BadArgument),
    ("does not have agent port", BadArgument),
    ("Health check was not configured", BadArgument),
    ("Agent was not configured", BadArgument),
    ("health checks are not enabled", BadArgument),
    ("agent checks are not enabled", BadArgument),
    ("expects 'ready', 'drain' and 'maint'", BadArgument),
    ("Too many arguments", BadArgument),
    ("Invalid duration", BadArgument),
    ("Missing server name", BadArgument),
    ("has to be", BadArgument),  # 'ws' has to be 'auto', 'h1' or 'h2'.
    ("unexpected character", BadArgument),
    ("unknown verify method", BadArgument),
    ("unknown ssl/tls version", BadArgument),
    ("is suspiciously small", BadArgument),  # 3.2: a time in milliseconds without its unit
    ("' expects ", BadArgument),  # '<keyword>' expects <argument>
    (" expects an ", BadArgument),
    ("missing ", BadArgument),
)
"""Sentences, or the parts that all versions share, and their meanings. The first match counts."""


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """Success: *value* is the result of the command, *text* HAProxy's reply if it is not a value."""

    value: T_co
    text: str = field(default="", compare=False)


Reply = Ok[T] | Refused | UnknownReply
"""The reply to one command. The last two are exceptions, to raise or to inspect."""


@dataclass(frozen=True, slots=True)
class Command(Generic[T_co]):
    """One command: the *line* to send, without its line feed, and how to read the reply.

    *name* is the command without its arguments. *read* returns the value of a successful reply, and raises ValueError
    for any other. *expected_seconds* is how long HAProxy may take by design before it answers (`wait`).
    """

    name: str
    line: str
    read: Callable[[str], T_co]
    expected_seconds: float = 0.0

    def classify(self, text: str) -> Reply[T_co]:
        """Classify *text*, the reply without its prompt."""
        try:
            value = self.read(text)
            return Ok(value, text if value is None else "")
        except ValueError as error:
            problem = "" if str(error) == text else str(error)
        for sentence, refusal in REFUSALS:
            if sentence in text:
                return refusal(self.line, text)
        return UnknownReply(self.line, text, problem=problem)


def expect_silence(text: str) -> None:
    """Accept only an empty reply."""
    if text:
        raise ValueError(text)


def expect_sentence(*expected: str) -> Callable[[str], None]:
    """Return a reader that accepts one of these sentences, whatever warnings precede it."""

    def read(text: str) -> None:
        if not any(one in text for one in expected):
            raise ValueError(text)

    return read
