"""What does dynsrv tell over HTTP? Metrics, and whether it lives and is ready."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from dynsrv.errors import ConfigurationError

_SHUTDOWN_TIMEOUT = 0.5  # seconds that running answers get at the end

Reasons = Callable[[], Iterable[str]]


def application(registry: CollectorRegistry, *, not_ready: Reasons, degraded: Reasons) -> web.Application:
    """Return the application that answers `/metrics`, `/healthz` and `/readyz`.

    `/readyz` is 503 as long as there are reasons for *not_ready*; 200 with those for *degraded* if there are any.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if reasons := list(not_ready()):
            return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons))
        return web.Response(text="".join(f"degraded: {reason}\n" for reason in degraded()) or "ok\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app


@asynccontextmanager
async def serving(app: web.Application, *, host: str, port: int) -> AsyncIterator[None]:
    """Serve *app* on *host* and *port* inside the block.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            problem = f"cannot listen on {host}:{port}: {error.strerror}; change it, or turn it off with `web: null`"
            raise ConfigurationError("web.listen", problem) from error
        yield
    finally:
        await runner.cleanup()
