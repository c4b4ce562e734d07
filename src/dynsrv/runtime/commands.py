"""Which commands are there? Every command of the Runtime API that managing servers requires, typed and safe.

Each function returns a `Command` and raises `InvalidArgument` if an argument cannot be encoded as exactly one word: no
name, address or keyword can end a command or begin another.
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
    CheckStat,
    ProcessInfo,
    ServersReader,
    ServerStat,
    ServerState,
    read_backend_stat,
    read_checks_stat,
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
_MAX_WORDS = 64  # 2.6 and 3.0 silently drop the words after the 64th
_MAX_ID = 268_435_456
"""Consistent hashing maps higher ids to the same positions (2.6-3.4)."""


class State(StrEnum):
    """The administrative states of `set server … state`."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@lru_cache(maxsize=1024)  # servers of one backend share most words
def quote(word: str) -> str:
    """Encode *word* so that HAProxy parses it as one word: spaces, semicolons and backslashes are escaped.

    Raises:
        InvalidArgument: it is empty, has control or non-ASCII characters, or contains `<<`: at the end of a line, 2.6
            treats that as the start of a payload, and waits for more.
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
        # HAProxy accepts `256.1.1.1` and any host name, and registers a server without an address
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
    """Add a server, in maintenance and with its check disabled.

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
    """Test whether servers can be added to *backend* at runtime, without adding one.

    This is `add server` without an address: HAProxy complains about the backend first and about the address last. It
    logs one line of level alert.
    """
    line = f"add server {_server(backend, 'probe')}"
    # 2.6-3.4: 'server' expects <name> and <addr>[:<port>] as arguments.
    return Command("add server", line, expect_sentence("expects <name> and <addr>", "same name in backend"))


def delete_server(backend: str, server: str) -> Command[None]:
    """Delete a server that is in maintenance and not in use."""
    return Command("del server", f"del server {_server(backend, server)}", expect_sentence("Server deleted."))


def enable_health(backend: str, server: str) -> Command[None]:
    """Enable the server's health check, which also runs in maintenance."""
    return Command("enable health", f"enable health {_server(backend, server)}", expect_silence)


def enable_agent(backend: str, server: str) -> Command[None]:
    """Start the server's agent check, whose replies change its weight and its state."""
    return Command("enable agent", f"enable agent {_server(backend, server)}", expect_silence)


def disable_agent(backend: str, server: str) -> Command[None]:
    """Stop the server's agent check."""
    return Command("disable agent", f"disable agent {_server(backend, server)}", expect_silence)


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
    """Set the limit of concurrent connections; 0: no limit."""
    line = f"set maxconn server {_server(backend, server)} {_within('maxconn', maxconn, 0, 2**31 - 1)}"
    return Command("set maxconn server", line, expect_silence)


def shutdown_sessions(backend: str, server: str) -> Command[None]:
    """Close every session of the server: clients see a reset, a closed connection or a 502."""
    line = f"shutdown sessions server {_server(backend, server)}"
    return Command("shutdown sessions server", line, expect_silence)


def wait_removable(backend: str, server: str, *, seconds: float) -> Command[None]:
    """Wait until the server can be deleted, `StillInUse` after *seconds* (3.0 and later).

    It delays everything that is sent after it on the same connection.
    """
    milliseconds = _within("milliseconds", round(seconds * 1000), 1, 2**31 - 1)
    line = f"wait {milliseconds} srv-removable {_server(backend, server)}"
    return Command("wait srv-removable", line, expect_sentence("Done."), expected_seconds=seconds)


def info() -> Command[ProcessInfo]:
    """Query which process answers."""
    return Command("show info", "show info", read_info)


def servers_state(backend: str) -> Command[tuple[ServerState, ...]]:
    """Query all servers of a backend. Costs HAProxy 1 µs and 100 bytes per server."""
    return Command("show servers state", f"show servers state {_name('backend', backend)}", read_servers_state)


def servers_state_cached(backend: str, reader: ServersReader[T]) -> Command[tuple[T, ...]]:
    """Like `servers_state`, with a *reader* that caches what it parsed before."""
    return Command("show servers state", f"show servers state {_name('backend', backend)}", reader.read)


def backend_stat(backend: str | int) -> Command[tuple[BackendStat, ...]]:
    """Query the statistics of a backend as a whole, by its name or its id.

    HAProxy takes a name for the frontend's, if there is one of that name, and then answers nothing.
    """
    which = _name("backend", backend) if isinstance(backend, str) else _within("id", backend, 1, 2**31 - 1)
    return Command("show stat", f"show stat {which} 2 -1", read_backend_stat)


def servers_stat(backend_id: int, server_id: int = -1) -> Command[tuple[ServerStat, ...]]:
    """Query the statistics of one server, or of all. Costs HAProxy 3 µs and 350 bytes per server.

    Uses the backend's id, because HAProxy resolves a name to a frontend of that name, if there is one.
    """
    line = f"show stat {_within('id', backend_id, 1, 2**31 - 1)} 4 {server_id:d}"
    return Command("show stat", line, read_servers_stat)


def checks_stat(backend_id: int, server_id: int = -1) -> Command[tuple[CheckStat, ...]]:
    """Query the last health check of one server, or of all: the same reply as for `servers_stat`."""
    line = f"show stat {_within('id', backend_id, 1, 2**31 - 1)} 4 {server_id:d}"
    return Command("show stat", line, read_checks_stat)


def cli_level() -> Command[str]:
    """Query the level of the connection: user, operator or admin."""

    def read(text: str) -> str:
        if text not in {"user", "operator", "admin"}:
            raise ValueError(text)
        return text

    return Command("show cli level", "show cli level", read)


def prompt() -> Command[None]:
    """Keep the connection open for more than one command."""
    return Command("prompt", "prompt", expect_silence)


def experimental_mode() -> Command[None]:
    """Enable experimental commands on this connection (2.4 and 2.5)."""
    return Command("experimental-mode", "experimental-mode on", expect_silence)
