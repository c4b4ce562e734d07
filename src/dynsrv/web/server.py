"""How is HTTP served? All routes as one application, and the port that it listens on."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import web, web_response
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dynsrv.documents.problems import unreadable
from dynsrv.documents.values import is_loopback
from dynsrv.errors import ConfigurationError
from dynsrv.logs import Event, get_logger
from dynsrv.web import api, page
from dynsrv.web.connections import (
    BACKLOG,
    HANDSHAKE_TIMEOUT,
    IDLE_TIMEOUT,
    BoundedConnections,
    connection_limit,
    log_accept_errors,
)
from dynsrv.web.interfaces import OperatorActions, StatusReader

_SHUTDOWN_TIMEOUT = 0.5  # seconds that requests in progress get at the end
_MAX_BODY = 16 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

log = get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    reader: StatusReader, operator: OperatorActions, *, token_file: Path | None, hosts: Collection[str] | None = None
) -> web.Application:
    """Return the application that serves the status of *reader*.

    Requests that change something go to *operator* if they have the token in *token_file*; without such a file they are
    all refused. With *hosts*, requests for any but these and this machine are refused: otherwise, a web page whose name
    resolves to 127.0.0.1 could read everything.
    """
    middlewares: list[Middleware] = [_errors_as_json] if hosts is None else [_only_for(hosts), _errors_as_json]
    app = web.Application(middlewares=middlewares, client_max_size=_MAX_BODY)
    app.on_response_prepare.append(_add_headers)
    app.add_routes([*_health(reader), *page.routes(), *api.routes(reader, operator, token_file)])
    return app


def _health(reader: StatusReader) -> list[web.RouteDef]:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(reader.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if reasons := list(reader.not_ready()):
            return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons))
        return web.Response(text="".join(f"degraded: {reason}\n" for reason in reader.degraded()) or "ok\n")

    return [web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _only_for(hosts: Collection[str]) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "localhost")
        name, _, port = host.rpartition(":")
        name = (name if name and port.isdigit() else host).strip("[]").lower()
        if not is_loopback(name) and name not in hosts:
            message = "send a Host of localhost or 127.0.0.1, or add the name to web.hosts"
            return api.error_response(403, f"requests for this host are refused: {message}")
        return await handler(request)

    return check


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors below /api as JSON."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if request.path.startswith("/api/"):
            return api.error_response(error.status, error.reason.lower(), headers=error.headers)
        response = web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Forbid what a page of another site could do with an answer."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


class _AiohttpErrors(logging.Handler):
    """Writes aiohttp's errors to dynsrv's log, but not those of clients that speak no HTTP or disconnect."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError | ConnectionError):
            log.error(Event.HTTP_REQUEST_FAILED, error=record.getMessage(), exc_info=record.exc_info)


web_response.SERVER_SOFTWARE = "dynsrv"  # type: ignore[attr-defined]  # of answers to malformed requests, too

_logger = logging.getLogger("dynsrv.web")
_logger.propagate = False
_logger.addHandler(_AiohttpErrors(logging.WARNING))


def tls_context(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context for a certificate and its key, which may be in one file.

    Raises:
        ConfigurationError: the certificate or its key cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    where = f"web.tls.cert_file: {cert_file}"
    try:
        cert_file.read_bytes()
        if key_file is not None:
            where = f"web.tls.key_file: {key_file}"
            key_file.read_bytes()
        where = f"web.tls: {cert_file}{f' and {key_file}' if key_file else ''}"
        # without a password, OpenSSL would ask for one on the terminal if the key is encrypted
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        reason = f" ({error.reason})" if error.reason else ""
        raise ConfigurationError(where, f"expected a certificate and its key, not encrypted, in PEM{reason}") from None
    except OSError as error:
        raise ConfigurationError(where, unreadable(error)) from None
    return context


@asynccontextmanager
async def serving(
    app: web.Application, *, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve *app* on *host* and *port* inside the block.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_logger,
        handler_cancellation=True,  # or a handler would go on for a client that has disconnected
        shutdown_timeout=_SHUTDOWN_TIMEOUT,
        keepalive_timeout=IDLE_TIMEOUT,
    )
    await runner.setup()
    server = runner.server
    assert server is not None
    bounded = BoundedConnections(server, lambda: server.connections, limit=connection_limit())
    server.request_handler = partial(bounded.handle, handler=server.request_handler)
    loop = asyncio.get_running_loop()
    log_accept_errors(loop)
    listener: asyncio.Server | None = None
    try:
        try:
            handshake = HANDSHAKE_TIMEOUT if tls is not None else None
            listener = await loop.create_server(
                bounded, host, port, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=handshake
            )
        except OSError as error:
            problem = f"cannot listen on {host}:{port}: {error.strerror}; change it, or turn it off with `web: null`"
            raise ConfigurationError("web.listen", problem) from error
        yield
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()
