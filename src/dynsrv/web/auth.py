"""Who may change something? Whoever sends the token, unless the request comes from a page of another site."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from dynsrv.documents.problems import unreadable
from dynsrv.web.interfaces import RequestRefused


async def check(request: web.Request, token_file: Path | None) -> None:
    """Raise `RequestRefused` unless *request* has the token, which is read from *token_file* for each request."""
    if token_file is None:
        raise RequestRefused(403, "nothing can be changed over HTTP: the configuration has no web.token_file")
    origin = request.headers.get("Origin")
    if origin is not None and _host(origin) != request.host:
        raise RequestRefused(403, f"pages of {origin[:100]} may not change anything here")
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not shown.strip():
        raise RequestRefused(401, "send the token in web.token_file: Authorization: Bearer <token>")
    try:
        token = (await asyncio.to_thread(token_file.read_bytes)).strip()  # in a thread: a network file system may hang
    except OSError as error:
        raise RequestRefused(503, f"web.token_file: {unreadable(error)}") from None
    if not token:
        raise RequestRefused(503, "web.token_file: it is empty; write a token to it")
    if not hmac.compare_digest(shown.strip().encode(errors="surrogateescape"), token):
        raise RequestRefused(401, "wrong token: send the one in web.token_file")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
