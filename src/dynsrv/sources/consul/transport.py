"""How does a question reach an agent, and its answer come back? One request by aiohttp, one answer or one error."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from yarl import URL

from dynsrv.errors import SourceError
from dynsrv.sources.consul.access import Access
from dynsrv.sources.consul.questions import Question

CONNECT_TIMEOUT = 5.0
MAX_ANSWER = 64 * 2**20
"""Bytes; an instance takes 1 to 2 KiB."""

_DROPPED = (
    "closed the connection without an answer: it ended, or has more connections from here than its "
    "limits.http_max_conns_per_client (200) allows"
)


class AgentFailed(SourceError):
    """This agent cannot tell, and another one may be able to."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of whatever status. *index* is None where Consul told none; *seconds* is how long the body took."""

    status: int
    body: bytes
    index: int | None = None
    filtered: bool = False
    """Whether Consul left out what the token may not read; newer than 1.10, and not of the anonymous token."""
    location: str | None = None
    seconds: float = 0.0


class Transport(Protocol):
    """Sends one question to one agent."""

    async def send(self, address: str, question: Question, *, timeout: float) -> Reply:
        """Return the answer, read to its end, within *timeout* seconds.

        Raises:
            AgentFailed: there is none.
            SourceError: there is nothing to ask with: a token or a certificate cannot be read.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Connections:
    """The open connections to one Consul, whoever asks. They are closed when nobody is left who entered this."""

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
        """Return what sends requests, through a *unix* socket or over TCP."""
        key = unix or ""
        if key not in self._sessions:
            # How many connections there may be is the budget's to say.
            connector = aiohttp.UnixConnector(unix, limit=0) if unix else aiohttp.TCPConnector(limit=0)
            self._sessions[key] = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_once,)
            )
        return self._sessions[key]


class HttpTransport:
    """HTTP over TCP, TLS and unix sockets, with what *access* reads. It may be entered several times."""

    def __init__(self, access: Access, connections: Connections) -> None:
        self._access = access
        self._connections = connections

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connections.__aexit__(kind, error, traceback)

    async def send(self, address: str, question: Question, *, timeout: float) -> Reply:
        """See `Transport`."""
        credentials = await asyncio.to_thread(self._access.read)
        url, unix = _url(address, question)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            async with self._connections.session(unix).request(
                "GET" if question.body is None else "POST",
                url,
                data=question.body,
                headers=credentials.headers,
                ssl=credentials.tls,
                server_hostname=credentials.server_name,
                allow_redirects=False,
                timeout=limits,
            ) as response:
                return await _read(response, address)
        except TimeoutError:
            raise AgentFailed("timeout", f"{address} did not answer in time") from None
        except aiohttp.ClientSSLError as error:
            raise AgentFailed("tls", f"{address}: {_tls_problem(error)}") from None
        except aiohttp.ClientConnectorError as error:
            raise AgentFailed("unreachable", f"{address} cannot be connected to: {_plain(error.os_error)}") from None
        except aiohttp.ClientPayloadError:
            raise AgentFailed("unreachable", f"{address} did not send the whole of its answer") from None
        except _Dropped as error:
            if error.alert is not None:
                raise AgentFailed("tls", f"{address} ended the connection: {_alert(error.alert)}") from None
            raise AgentFailed("unreachable", f"{address} {_DROPPED}") from None
        except aiohttp.ClientError as error:
            raise AgentFailed("invalid", f"{address} does not speak HTTP as Consul does: {error}") from None


class _Dropped(Exception):
    """The connection was closed before there was an answer. *alert*: what TLS said of it."""

    def __init__(self, alert: ssl.SSLError | None) -> None:
        super().__init__(alert)
        self.alert = alert


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET whose connection was dropped once more.

    It would be asked with an index that may be one of the past: Consul would not answer until the wait is over.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        # With TLS 1.3, the demand for a client certificate arrives only after the handshake.
        cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else None
        raise _Dropped(cause) from error


async def _read(response: aiohttp.ClientResponse, address: str) -> Reply:
    loop = asyncio.get_running_loop()
    began = loop.time()
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER:
            raise AgentFailed("invalid", f"{address} sent more than {MAX_ANSWER} bytes")
    index = response.headers.get("X-Consul-Index", "")
    return Reply(
        status=response.status,
        body=b"".join(chunks),
        index=int(index) if index.isascii() and index.isdigit() else None,
        filtered=response.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true",
        location=response.headers.get("Location"),
        seconds=loop.time() - began,
    )


def _url(address: str, question: Question) -> tuple[URL, str | None]:
    """Return the URL, and the unix socket to send it through."""
    scheme, _, rest = address.partition("://")
    base, unix = ("http://localhost", rest) if scheme == "unix" else (address.rstrip("/"), None)
    return URL(base + question.path, encoded=True).extend_query(question.params), unix


def _plain(error: OSError) -> str:
    # asyncio writes its own sentence over the system's; the numbers of a failed name resolution are not errno's
    if isinstance(error, socket.gaierror) or not error.errno or error.errno < 0:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _alert(error: ssl.SSLError) -> str:
    said = (error.reason or str(error)).lower().replace("_", " ")
    wanted = "; it wants a good certificate of dynsrv's, which tls.cert_file names" if "certificate" in said else ""
    return f"{said}{wanted}"


def _tls_problem(error: aiohttp.ClientSSLError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not good: {error.certificate_error}"
    return f"no TLS connection: {error.os_error if hasattr(error, 'os_error') else error}"
