"""What does the status page consist of? One file that needs only the API, and may run only its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from aiohttp import web


def routes() -> list[web.RouteDef]:
    """Return the route of the status page."""
    text = _assembled()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hashes(text, 'script')}",
            f"style-src {_hashes(text, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})

    return [web.get("/", page)]


def _assembled() -> str:
    """Return the page as one file, with its style and its script."""
    folder = resources.files("dynsrv.web")
    text, style, script = (
        folder.joinpath(f"page.{ending}").read_text(encoding="utf-8") for ending in ("html", "css", "js")
    )
    return text.replace("<style></style>", f"<style>\n{style}</style>").replace(
        "<script></script>", f"<script>\n{script}</script>"
    )


def _hashes(text: str, element: str) -> str:
    """Return what the content security policy allows: the page's own elements of this name."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
