"""How is a request sent to an agent? By aiohttp: one request, one response or one error."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import zlib
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from yarl import URL

from dynsrv.errors import SourceError
from dynsrv.sources.consul.auth import Auth
from dynsrv.sources.consul.requests import Request

CONNECT_TIMEOUT = 5.0
MAX_RESPONSE = 64 * 2**20
"""Bytes; an instance takes 1 to 2 KiB."""

_DROPPED = (
    "closed the connection without a response: it stopped, or has more connections from here than its "
    "limits.http_max_conns_per_client (200) allows"
)


class AgentFailed(SourceError):
    """This agent cannot answer; another one may be able to."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of any status. *index* is None if Consul sent none; *seconds* is how long the body took to arrive."""

    status: int
    body: bytes
    index: int | None = None
    filtered: bool = False
    """Whether Consul left out what the token may not read; since 1.11, and not for the anonymous token."""
    location: str | None = None
    seconds: float = 0.0


class Transport(Protocol):
    """Sends one request to one agent."""

    async def send(self, address: str, request: Request, *, timeout: float) -> Response:
        """Return the complete response, within *timeout* seconds.

        Raises:
            AgentFailed: there is none.
            SourceError: nothing was sent: a token or a certificate cannot be read.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Connections:
    """The open connections to one Consul, for all sources. The last user that leaves the context closes them."""

    def __init__(self) -> None:
        self._sessions: dict[str, aiohttp.ClientSession] = {}  # by unix socket; TCP has one for all
        self._entered = 0

    async def __aenter__(self) -> Self:
        self._entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:
            sessions, self._sessions = self._sessions, {}
            for session in sessions.values():
                await session.close()

    def session(self, unix: str | None) -> aiohttp.ClientSession:
        """Return the session that sends requests, through the *unix* socket or over TCP."""
        key = unix or ""
        if key not in self._sessions:
            # The budget limits the number of connections.
            connector = aiohttp.UnixConnector(unix, limit=0) if unix else aiohttp.TCPConnector(limit=0)
            self._sessions[key] = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_once,), auto_decompress=False
            )
        return self._sessions[key]


class HttpTransport:
    """HTTP over TCP, TLS and unix sockets, with the credentials of *auth*. It may be entered several times."""

    def __init__(self, auth: Auth, connections: Connections) -> None:
        self._auth = auth
        self._connections = connections

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connections.__aexit__(kind, error, traceback)

    async def send(self, address: str, request: Request, *, timeout: float) -> Response:
        """See `Transport`."""
        credentials = await asyncio.to_thread(self._auth.read)
        url, unix = _url(address, request)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            async with self._connections.session(unix).request(
                "GET" if request.body is None else "POST",
                url,
                data=request.body,
                headers={**credentials.headers, "Accept-Encoding": "gzip"},
                ssl=credentials.tls,
                server_hostname=credentials.server_name,
                allow_redirects=False,
                timeout=limits,
            ) as response:
                return await _read(response, address)
        except TimeoutError:
            raise AgentFailed("timeout", f"{address} did not respond in time") from None
        except aiohttp.ClientSSLError as error:
            raise AgentFailed("tls", f"{address}: {_tls_problem(error)}") from None
        except aiohttp.ClientConnectorError as error:
            raise AgentFailed("unreachable", f"cannot connect to {address}: {_os_message(error.os_error)}") from None
        except aiohttp.ClientPayloadError:
            raise AgentFailed("unreachable", f"{address} sent an incomplete response") from None
        except _Dropped as error:
            if error.alert is not None:
                raise AgentFailed("tls", f"{address} closed the connection: {_alert(error.alert)}") from None
            raise AgentFailed("unreachable", f"{address} {_DROPPED}") from None
        except aiohttp.ClientError as error:
            raise AgentFailed("invalid", f"{address} does not speak HTTP like Consul: {error}") from None


class _Dropped(Exception):
    """The connection was closed before there was a response. *alert* is the TLS alert, if there was one."""

    def __init__(self, alert: ssl.SSLError | None) -> None:
        super().__init__(alert)
        self.alert = alert


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET whose connection was dropped.

    Its index may be of a state that Consul has lost: Consul would not respond until the wait is over.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        # With TLS 1.3, the demand for a client certificate arrives only after the handshake.
        cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else None
        raise _Dropped(cause) from error


class Body:
    """The body of an answer, decompressed piece by piece, so that a few bytes cannot become gigabytes.

    Raises:
        ValueError: an encoding that was not asked for.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in {"identity", "gzip"}:
            raise ValueError(f"an answer in the encoding {encoding[:40]!r}, expected gzip or none")
        self.content = bytearray()
        self._unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if encoding == "gzip" else None

    def add(self, chunk: bytes) -> None:
        """Add what was received next.

        Raises:
            ValueError: more than `MAX_RESPONSE` bytes, or not gzip.
        """
        if self._unzip is not None:
            try:
                chunk = self._unzip.decompress(chunk, MAX_RESPONSE + 1 - len(self.content))
            except zlib.error:
                raise ValueError("an answer that is not gzip, though it says so") from None
        self.content += chunk
        if len(self.content) > MAX_RESPONSE:
            raise ValueError(f"more than {MAX_RESPONSE} bytes")


async def _read(response: aiohttp.ClientResponse, address: str) -> Response:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        body = Body(response.headers.get("Content-Encoding", "identity").lower())
        async for chunk in response.content.iter_any():
            body.add(chunk)
    except ValueError as error:
        raise AgentFailed("invalid", f"{address} sent {error}") from None
    index = response.headers.get("X-Consul-Index", "")
    return Response(
        status=response.status,
        body=bytes(body.content),
        index=int(index) if index.isascii() and index.isdigit() else None,
        filtered=response.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true",
        location=response.headers.get("Location"),
        seconds=loop.time() - began,
    )


def _url(address: str, request: Request) -> tuple[URL, str | None]:
    """Return the URL, and the unix socket to send it through."""
    scheme, _, rest = address.partition("://")
    base, unix = ("http://localhost", rest) if scheme == "unix" else (address.rstrip("/"), None)
    return URL(base + request.path, encoded=True).extend_query(request.params), unix


def _os_message(error: OSError) -> str:
    # asyncio replaces the system's message with its own; the numbers of a failed name resolution are not errno's
    if isinstance(error, socket.gaierror) or not error.errno or error.errno < 0:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _alert(error: ssl.SSLError) -> str:
    message = (error.reason or str(error)).lower().replace("_", " ")
    remedy = "; it requires a valid client certificate: see tls.cert_file" if "certificate" in message else ""
    return f"{message}{remedy}"


def _tls_problem(error: aiohttp.ClientSSLError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not valid: {error.certificate_error}"
    return f"no TLS connection: {error.os_error if hasattr(error, 'os_error') else error}"
