"""How is a connection opened? Connects, greets HAProxy, and explains a failure in plain words."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import ssl
import stat
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import assert_never

from dynsrv.runtime.address import Address, TcpAddress, UnixAddress
from dynsrv.runtime.capabilities import Capabilities
from dynsrv.runtime.commands import experimental_mode, info, prompt
from dynsrv.runtime.connection import MAX_BYTES, Connection
from dynsrv.runtime.errors import ConnectFailed, ConnectTimeout, OutcomeUnknown
from dynsrv.runtime.events import Hook
from dynsrv.runtime.replies import Ok

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Opener = Callable[[Address], Awaitable[Streams]]
"""Opens the byte streams of a new connection; raises OSError or ConnectFailed."""


@cache
def _system_authorities() -> ssl.SSLContext:
    return ssl.create_default_context()  # takes 20 ms


async def open_streams(
    address: Address,
    *,
    tls: Callable[[], ssl.SSLContext] = _system_authorities,
    server_name: str | None = None,
) -> Streams:
    """Open a unix socket, a TCP connection, or one with TLS.

    *tls* is called in a thread for each TLS connection, because certificates may change; *server_name* is the name
    in HAProxy's certificate, by default the host of *address*. Use `functools.partial` to make an opener from it.
    """
    match address:
        case UnixAddress(path=path):
            return await asyncio.open_unix_connection(path)
        case TcpAddress(host=host, port=port, tls=False):
            return await asyncio.open_connection(host, port)
        case TcpAddress(host=host, port=port):
            context = await asyncio.to_thread(tls)
            return await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name or host)
        case _:
            assert_never(address)


async def connect(
    address: Address,
    *,
    timeout: float,
    hook: Hook | None = None,
    opener: Opener = open_streams,
    max_bytes: int = MAX_BYTES,
) -> Connection:
    """Open a connection, make it interactive and identify the process, within *timeout* seconds.

    *max_bytes* limits what is read in one exchange.

    Raises:
        ConnectFailed, ConnectTimeout: with the reason, and what to do about it.
    """
    connection: Connection | None = None
    try:
        async with asyncio.timeout(timeout):
            connection = Connection(address, *await opener(address), hook=hook, max_bytes=max_bytes)
            await _greet(connection, timeout)
    except TimeoutError:
        if connection is not None:
            connection.close()
        raise ConnectTimeout(str(address), timeout) from None
    except OSError as error:
        raise _connect_failed(address, error) from error
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, OutcomeUnknown):  # none of the caller's commands was sent yet
            raise _no_runtime_api(address, error) from error
        raise
    return connection


async def _greet(connection: Connection, timeout: float) -> None:
    # longer than the deadline in `connect`, so that a hanging greeting is a ConnectTimeout
    interactive_reply, info_reply = await connection.exchange([prompt(), info()], timeout=timeout * 2)
    for reply in (interactive_reply, info_reply):
        if not isinstance(reply, Ok):
            raise reply
    assert isinstance(info_reply, Ok)
    connection.process = info_reply.value
    if Capabilities.of(info_reply.value.version).experimental_mode:
        await connection.exchange([experimental_mode()], timeout=timeout * 2)


def _no_runtime_api(address: Address, error: OutcomeUnknown) -> ConnectFailed:
    """Return the error for a listener that did not complete the greeting."""
    if isinstance(error.__cause__, ssl.SSLError):  # with TLS 1.3, our certificate is rejected only after the handshake
        return ConnectFailed(str(address), "tls", _tls_problem(error.__cause__))
    hint = ""
    if isinstance(address, TcpAddress) and not address.tls:
        hint = "; if it expects TLS, write tcp+tls://"
    return ConnectFailed(str(address), "unreachable", f"no answer from a Runtime API: {error}{hint}")


def _tls_problem(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = error.verify_message.rstrip(".")
        return f"HAProxy's certificate is not valid: {problem} (ca_file sets the trusted CA, server_name its name)"
    said = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in said and ("certificate" in said or "unknown ca" in said):
        return f"HAProxy rejects dynsrv's certificate, or requires one and received none ({said})"
    if said in {"wrong version number", "record layer failure", "packet length too long"}:
        # 2.6-3.4: TLS keywords on a `stats socket` line are accepted and ignored
        return (
            f"the other side does not use TLS ({said}): HAProxy ignores `ssl` on a `stats socket` line; add a `listen` "
            "section with `mode tcp` and `bind … ssl` that forwards to the stats socket, or write tcp://"
        )
    return f"TLS failed: {said}"


def _connect_failed(address: Address, error: OSError) -> ConnectFailed:
    """Return the error for an address that cannot be connected to, in terms of what has to be fixed."""
    if isinstance(error, ssl.SSLError):
        return ConnectFailed(str(address), "tls", _tls_problem(error))
    path = address.path if isinstance(address, UnixAddress) else None
    remedy = "set `user`, `group` and `mode` on HAProxy's `stats socket` line"
    match error.errno:
        case errno.ENOENT:
            reason = "missing"
            problem = "no such socket: HAProxy is not running, or its `stats socket` has another path"
        case errno.EACCES | errno.EPERM:
            reason = "permission"
            problem = f"permission denied for {_user(os.geteuid())}{_ownership(path)}: {remedy}"
        case errno.ECONNREFUSED:
            reason = "refused"
            problem = "connection refused" + (
                " (the socket was left behind by a HAProxy that is gone)"
                if path
                else ": HAProxy is not running, or its `stats socket` has another port"
            )
        case errno.ENOTSOCK:
            reason = "missing"
            problem = "this is a file, not a socket"
        case _:
            reason = "unreachable"
            problem = error.strerror or str(error)
    return ConnectFailed(str(address), reason, problem)


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"


def _ownership(path: str | None) -> str:
    """Who may use the socket, as far as that is visible."""
    if path is None:
        return ""
    try:
        status = Path(path).stat()
    except OSError:
        return " (a directory in the socket's path is not accessible)"
    return f" (the socket is {stat.filemode(status.st_mode)}, of {_user(status.st_uid)})"
