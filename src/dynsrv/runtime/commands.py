"""How is a change said? Every command of the Runtime API that a controller of servers needs, typed and safe.

Each function returns a `Command` and raises `InvalidArgument` where an argument could not be written as exactly the
word that it is: no name, address or keyword can end a command or begin another.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from dynsrv.runtime.errors import InvalidArgument
from dynsrv.runtime.replies import Command, expect_sentence, expect_silence
from dynsrv.runtime.tables import (
    BackendStat,
    ProcessInfo,
    ServersReader,
    ServerStat,
    ServerState,
    read_backend_stat,
    read_info,
    read_servers_stat,
    read_servers_state,
)

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_:.-]+", re.ASCII)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_SPECIAL = re.compile(r"([ ;\\])")
_MAX_LINE = 16_000  # bytes; below tune.bufsize (16384), whose exact limit differs by version
_MAX_WORDS = 64  # 2.6 and 3.0 drop the words after the 64th without a word
_MAX_ID = 268_435_456
"""Ids above are folded together by consistent hashing (2.6-3.4)."""


class State(StrEnum):
    """The administrative states of `set server … state`."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@lru_cache(maxsize=1024)  # servers of one backend share their words
def quote(word: str) -> str:
    """Write *word* so that HAProxy reads it as one word: spaces, semicolons and backslashes get a backslash.

    Raises:
        InvalidArgument: it is empty, has control or non-ASCII characters, or has `<<`: 2.6 takes that at the end of a
            line for the beginning of a payload, and waits for more.
    """
    if not word or not word.isascii() or not word.isprintable() or "<<" in word:
        raise InvalidArgument("word", word, "printable ASCII, not empty, without `<<`")
    return _SPECIAL.sub(r"\\\1", word)


def _name(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(what, name, "letters, digits and _ : . - only")
    return name


def _server(backend: str, server: str) -> str:
    return f"{_name('backend', backend)}/{_name('server', server)}"


def _within(what: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise InvalidArgument(what, number, f"{low} to {high}")
    return number


def _host_port(address: str, port: int) -> str:
    if _IPV4.fullmatch(address):
        return f"{address}:{_within('port', port, 1, 65535)}"
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        # HAProxy takes `256.1.1.1` and any host name, and registers a server that has no address
        raise InvalidArgument("address", address, "an IPv4 or IPv6 address") from None
    if "%" in address:
        raise InvalidArgument("address", address, "an address without a zone")
    return f"[{host.compressed}]:{_within('port', port, 1, 65535)}"


def _line(*words: str) -> str:
    line = " ".join(words)
    if len(line) > _MAX_LINE or len(words) > _MAX_WORDS:
        raise InvalidArgument(
            "command",
            f"{line[:60]}…",
            f"at most {_MAX_WORDS} words and {_MAX_LINE} characters ({len(words)} and {len(line)} here)",
        )
    return line


def add_server(
    backend: str,
    server: str,
    address: str,
    port: int,
    *,
    id: int,
    weight: int,
    keywords: Iterable[str] = (),
) -> Command[None]:
    """Add a server, in maintenance and with its check off.

    *id* is always sent: without one 2.6 puts all servers of a consistent hash and of `random` on the same nodes, and
    2.6-3.2 search for a free one in time that grows with the backend. *keywords* are single words, in order.
    """
    line = _line(
        "add",
        "server",
        _server(backend, server),
        _host_port(address, port),
        "id",
        str(_within("id", id, 1, _MAX_ID)),
        "weight",
        str(_within("weight", weight, 0, 256)),
        *(quote(word) for word in keywords),
    )
    return Command("add server", line, expect_sentence("New server registered."))


def probe_backend(backend: str) -> Command[None]:
    """Ask whether servers can be added to *backend* at runtime, without adding one.

    It is `add server` without an address: HAProxy complains of the backend first, of the address last. It logs one
    line of level alert for it.
    """
    line = f"add server {_server(backend, 'probe')}"
    # 2.6-3.4: 'server' expects <name> and <addr>[:<port>] as arguments.
    return Command("add server", line, expect_sentence("expects <name> and <addr>", "same name in backend"))


def delete_server(backend: str, server: str) -> Command[None]:
    """Delete a server that is in maintenance and that nothing uses."""
    return Command("del server", f"del server {_server(backend, server)}", expect_sentence("Server deleted."))


def enable_health(backend: str, server: str) -> Command[None]:
    """Start the server's health check; it runs in maintenance too."""
    return Command("enable health", f"enable health {_server(backend, server)}", expect_silence)


def enable_server(backend: str, server: str) -> Command[None]:
    """End the server's maintenance or drain."""
    return Command("enable server", f"enable server {_server(backend, server)}", expect_silence)


def set_state(backend: str, server: str, state: State) -> Command[None]:
    """Set the administrative state."""
    return Command("set server state", f"set server {_server(backend, server)} state {state.value}", expect_silence)


def set_weight(backend: str, server: str, weight: int) -> Command[None]:
    """Set the weight, 0 to 256."""
    line = f"set server {_server(backend, server)} weight {_within('weight', weight, 0, 256)}"
    return Command("set server weight", line, expect_silence)


def set_maxconn(backend: str, server: str, maxconn: int) -> Command[None]:
    """Set the bound on concurrent connections, 0 for none."""
    line = f"set maxconn server {_server(backend, server)} {_within('maxconn', maxconn, 0, 2**31 - 1)}"
    return Command("set maxconn server", line, expect_silence)


def shutdown_sessions(backend: str, server: str) -> Command[None]:
    """Cut every session of the server: its clients see a reset, a closed connection or a 502."""
    line = f"shutdown sessions server {_server(backend, server)}"
    return Command("shutdown sessions server", line, expect_silence)


def wait_removable(backend: str, server: str, *, seconds: float) -> Command[None]:
    """Wait until the server can be deleted, `StillInUse` after *seconds* (3.0 and later).

    It holds up whatever is sent behind it on the same connection.
    """
    milliseconds = _within("milliseconds", round(seconds * 1000), 1, 2**31 - 1)
    line = f"wait {milliseconds} srv-removable {_server(backend, server)}"
    return Command("wait srv-removable", line, expect_sentence("Done."), expected_seconds=seconds)


def info() -> Command[ProcessInfo]:
    """Ask which process answers."""
    return Command("show info", "show info", read_info)


def servers_state(backend: str) -> Command[tuple[ServerState, ...]]:
    """Ask for all servers of a backend: 100 bytes and 1 µs of HAProxy's a server."""
    return Command("show servers state", f"show servers state {_name('backend', backend)}", read_servers_state)


def servers_state_cached(backend: str, reader: ServersReader[T]) -> Command[tuple[T, ...]]:
    """Ask the same, with a *reader* that remembers what it read the last time."""
    return Command("show servers state", f"show servers state {_name('backend', backend)}", reader.read)


def backend_stat(backend: str | int) -> Command[tuple[BackendStat, ...]]:
    """Ask for the statistics of a backend as a whole, by its name or its id.

    HAProxy takes a name for the frontend's, if there is one of that name, and then answers nothing.
    """
    which = _name("backend", backend) if isinstance(backend, str) else _within("id", backend, 1, 2**31 - 1)
    return Command("show stat", f"show stat {which} 2 -1", read_backend_stat)


def servers_stat(backend_id: int, server_id: int = -1) -> Command[tuple[ServerStat, ...]]:
    """Ask for the statistics of one server, or of all: 350 bytes and 3 µs of HAProxy's a server.

    By the backend's id, because HAProxy takes a name for the frontend's, if there is one of that name.
    """
    line = f"show stat {_within('id', backend_id, 1, 2**31 - 1)} 4 {server_id:d}"
    return Command("show stat", line, read_servers_stat)


def cli_level() -> Command[str]:
    """Ask for the level of the connection: user, operator or admin."""

    def read(text: str) -> str:
        if text not in {"user", "operator", "admin"}:
            raise ValueError(text)
        return text

    return Command("show cli level", "show cli level", read)


def prompt() -> Command[None]:
    """Keep the connection open for more than one command."""
    return Command("prompt", "prompt", expect_silence)


def experimental_mode() -> Command[None]:
    """Allow this connection what 2.4 and 2.5 call experimental."""
    return Command("experimental-mode", "experimental-mode on", expect_silence)
