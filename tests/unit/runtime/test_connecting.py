from __future__ import annotations

import asyncio
import errno
import os
import pwd
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from dynsrv.runtime import Address, TcpAddress, UnixAddress, errors
from dynsrv.runtime.connecting import Streams, connect, open_streams
from dynsrv.runtime.connection import Connection
from tests.fakes.haproxy import FakeHAProxy
from tests.fakes.streams import Cut, Hang, Reset, Wire

UNIX = UnixAddress("/run/haproxy/admin.sock")
TCP = TcpAddress("127.0.0.1", 9999)
TLS = TcpAddress("lb1.example", 9999, tls=True)
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def an_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


async def the_failure(error: OSError, address: Address = UNIX) -> errors.ConnectFailed:
    wire = Wire(FakeHAProxy())
    wire.refusals = [error]
    with pytest.raises(errors.ConnectFailed) as caught:
        await connect(address, timeout=2, opener=wire)
    assert caught.value.address == str(address)
    assert isinstance(caught.value, errors.NotSent)
    return caught.value


async def never(_: Address) -> Streams:
    await asyncio.Event().wait()
    raise AssertionError


async def connected(wire: Wire) -> Connection:
    return await connect(UNIX, timeout=2, opener=wire)


@pytest.mark.parametrize(
    ("number", "address", "reason", "sentence"),
    [
        (
            errno.ENOENT,
            UNIX,
            "missing",
            f"{UNIX}: no such socket: HAProxy is not running, or its `stats socket` has another path",
        ),
        (
            errno.ECONNREFUSED,
            UNIX,
            "refused",
            "unix:///run/haproxy/admin.sock: connection refused (the socket was left behind by a HAProxy that is gone)",
        ),
        (
            errno.ECONNREFUSED,
            TCP,
            "refused",
            "tcp://127.0.0.1:9999: connection refused: HAProxy is not running, or its `stats socket` has another port",
        ),
        (errno.ENOTSOCK, UNIX, "missing", "unix:///run/haproxy/admin.sock: this is a file, not a socket"),
        (errno.EHOSTUNREACH, TCP, "unreachable", "tcp://127.0.0.1:9999: No route to host"),
        (errno.EMFILE, UNIX, "unreachable", "unix:///run/haproxy/admin.sock: Too many open files"),
    ],
)
async def test_why_there_is_no_connection_is_said_in_plain_words(
    number: int, address: Address, reason: str, sentence: str
) -> None:
    failure = await the_failure(an_error(number), address)
    assert failure.reason == reason
    assert str(failure) == sentence


async def test_an_error_without_a_number_is_told_as_it_is() -> None:
    failure = await the_failure(OSError("Multiple exceptions: one, two"), TCP)
    assert str(failure) == "tcp://127.0.0.1:9999: Multiple exceptions: one, two"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
async def test_who_may_not_connect_is_told_who_may_and_what_to_write(number: int, tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    socket.touch(mode=0o600)
    failure = await the_failure(an_error(number), UnixAddress(str(socket)))
    assert failure.reason == "permission"
    me = pwd.getpwuid(os.geteuid()).pw_name
    mode = stat.filemode(socket.stat().st_mode)
    assert str(failure) == (
        f"unix://{socket}: permission denied for user {me} (the socket is {mode}, of user {me}):"
        " set `user`, `group` and `mode` on HAProxy's `stats socket` line"
    )


async def test_who_may_not_even_see_the_socket_is_told_to_look_at_the_folders(tmp_path: Path) -> None:
    failure = await the_failure(an_error(errno.EACCES), UnixAddress(str(tmp_path / "hidden" / "admin.sock")))
    assert "(a directory in the socket's path is not accessible)" in str(failure)


async def test_a_port_that_may_not_be_used_has_no_owner_to_tell() -> None:
    assert ": permission denied for user" in str(await the_failure(an_error(errno.EACCES), TCP))
    assert "(" not in str(await the_failure(an_error(errno.EACCES), TCP))


async def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
    assert "permission denied for uid 3999999999" in str(await the_failure(an_error(errno.EACCES), TCP))


async def test_a_connection_knows_who_answered() -> None:
    haproxy = FakeHAProxy("3.2.26-1")
    connection = await connected(Wire(haproxy))
    assert (connection.process.pid, connection.process.version) == (haproxy.process.pid, "3.2.26-1")
    assert connection.reusable


@pytest.mark.parametrize("version", ["2.4.0", "2.5.0"])
async def test_what_is_experimental_is_allowed_on_each_connection_where_it_is(version: str) -> None:
    wire = Wire(FakeHAProxy(version))
    for _ in range(2):
        await connected(wire)
        assert wire.connections[-1].received == ["prompt", "show info", "experimental-mode on"]


@pytest.mark.parametrize("version", ["2.2.9", "2.6.12", "3.2.26"])
async def test_nothing_more_is_said_where_nothing_is_experimental(version: str) -> None:
    wire = Wire(FakeHAProxy(version))
    await connected(wire)
    assert wire.connections[-1].received == ["prompt", "show info"]


async def test_a_connection_that_nobody_answers_is_given_up_in_time() -> None:
    wire = Wire(FakeHAProxy())
    for after in (0, 1, 3, 10):
        wire.faults = [Hang(after)]
        began = asyncio.get_running_loop().time()
        with pytest.raises(errors.ConnectTimeout, match=r"not answered within 2 s; .*`stats maxconn`"):
            await connected(wire)
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
    assert wire.open == []


async def test_an_opening_that_takes_too_long_is_given_up_in_time() -> None:
    with pytest.raises(errors.ConnectTimeout) as caught:
        await connect(UNIX, timeout=2, opener=never)
    assert caught.value.timeout == 2
    assert isinstance(caught.value, errors.NotSent)


@pytest.mark.parametrize("fault", [Cut(0), Cut(5), Reset(0), Reset(5)])
async def test_a_greeting_that_fails_leaves_nothing_open_and_was_nobody_s_command(fault: Cut | Reset) -> None:
    wire = Wire(FakeHAProxy())
    wire.faults = [fault]
    with pytest.raises(errors.ConnectFailed, match="no answer from a Runtime API: ") as caught:
        await connected(wire)
    assert caught.value.reason == "unreachable"
    assert wire.open == []


async def test_what_answers_but_is_no_haproxy_is_told_with_what_it_said() -> None:
    wire = Wire(FakeHAProxy())
    wire.faults = [Hang(0)]
    wire.before_line = lambda _: wire.connections[-1].say("220 mail.example ESMTP\n> ")
    with pytest.raises(errors.ConnectFailed, match=r"`prompt`: 220 mail\.example ESMTP"):
        await connected(wire)
    assert wire.open == []


async def test_a_cancelled_greeting_leaves_nothing_open() -> None:
    wire = Wire(FakeHAProxy())
    wire.faults = [Hang(0)]
    connecting = asyncio.create_task(connected(wire))
    await asyncio.sleep(1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert wire.open == []


async def test_a_cancelled_opening_stays_a_cancellation() -> None:
    connecting = asyncio.create_task(connect(UNIX, timeout=2, opener=never))
    await asyncio.sleep(1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


async def test_a_greeting_may_come_in_any_pieces() -> None:
    wire = Wire(FakeHAProxy("2.5.0"))
    wire.piece = 1
    assert (await connected(wire)).reusable


@pytest.mark.parametrize(
    ("address", "arguments", "opened"),
    [
        (UNIX, {}, ("/run/haproxy/admin.sock", {})),
        (TCP, {}, ("127.0.0.1", 9999, {})),
        (TLS, {}, ("lb1.example", 9999, {"ssl": CONTEXT, "server_hostname": "lb1.example"})),
        (TLS, {"server_name": "lb1"}, ("lb1.example", 9999, {"ssl": CONTEXT, "server_hostname": "lb1"})),
    ],
)
async def test_an_address_says_how_it_is_opened(
    address: Address, arguments: dict[str, Any], opened: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    async def open_connection(*where: object, **how: object) -> None:
        asked.append((*where, how))

    monkeypatch.setattr(asyncio, "open_unix_connection", open_connection)
    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    await open_streams(address, tls=lambda: CONTEXT, **arguments)
    assert asked == [opened]


def an_ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1)")
    error.reason = reason
    return error


def a_verification_error(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message} (_ssl.c:1)")
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            a_verification_error("certificate has expired"),
            (
                "HAProxy's certificate is not valid: certificate has expired (ca_file sets the trusted CA, server_name "
                "its name)"
            ),
        ),
        (
            an_ssl_error("TLSV1_ALERT_UNKNOWN_CA"),
            "HAProxy rejects dynsrv's certificate, or requires one and received none (tlsv1 alert unknown ca)",
        ),
        (
            an_ssl_error("WRONG_VERSION_NUMBER"),
            (
                "the other side does not use TLS (wrong version number): HAProxy ignores `ssl` on a `stats socket` "
                "line; add a `listen` section with `mode tcp` and `bind … ssl` that forwards to the stats socket, or "
                "write tcp://"
            ),
        ),
        (an_ssl_error("NO_SHARED_CIPHER"), "TLS failed: no shared cipher"),
    ],
)
async def test_why_there_is_no_tls_is_said_in_plain_words(error: ssl.SSLError, sentence: str) -> None:
    failure = await the_failure(error, TLS)
    assert failure.reason == "tls"
    assert str(failure) == f"tcp+tls://lb1.example:9999: {sentence}"


async def test_a_certificate_that_is_refused_after_the_handshake_is_a_matter_of_tls_still() -> None:
    wire = Wire(FakeHAProxy())
    wire.faults = [Reset(0, an_ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))]
    with pytest.raises(
        errors.ConnectFailed, match=r"requires one and received none \(tlsv13 alert certificate required\)$"
    ):
        await connect(TLS, timeout=2, opener=wire)


async def test_what_an_opener_says_of_certificates_is_told_as_it_is() -> None:
    said = errors.ConnectFailed(str(TLS), "tls", "tls.ca_file /ca.pem: there is no such file")

    async def opener(_: Address) -> Streams:
        raise said

    with pytest.raises(errors.ConnectFailed) as caught:
        await connect(TLS, timeout=2, opener=opener)
    assert caught.value is said


@pytest.mark.parametrize(("address", "hinted"), [(TCP, True), (TLS, False), (UNIX, False)])
async def test_where_plain_text_gets_no_answer_tls_may_be_meant(address: Address, hinted: bool) -> None:  # noqa: FBT001
    wire = Wire(FakeHAProxy())
    wire.faults = [Cut(0)]
    with pytest.raises(errors.ConnectFailed, match="no answer from a Runtime API") as caught:
        await connect(address, timeout=2, opener=wire)
    assert str(caught.value).endswith("; if it expects TLS, write tcp+tls://") is hinted
