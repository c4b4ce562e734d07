"""A dynsrv whose status page is open in a browser, and what one waits for on it."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import yaml

from tests.integration.support.browser import Chromium, StatusPage
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

TOKEN = "open sesame"
HOSTILE = "<img src=x onerror=document.title='owned'>"


class Site:
    """A dynsrv with its HAProxys and its web servers, and the pages that are open of it."""

    def __init__(self, a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, browser: Chromium) -> None:
        self._a_haproxy = a_haproxy
        self._web_servers = web_servers
        self._dynsrv = dynsrv
        self._browser = browser
        self.port = 0
        self.pages: list[StatusPage] = []
        self.may_fail = False
        """Whether the browser may tell of requests that failed."""
        self.haproxys: list[HAProxy] = []
        self.controller: Dynsrv

    @property
    def haproxy(self) -> HAProxy:
        return self.haproxys[0]

    async def install(
        self, *, proxies: int = 1, haproxy: str | None = None, token: str | None = TOKEN, **settings: Any
    ) -> None:
        """Start HAProxys whose backend has the lines *haproxy*, and write dynsrv's configuration."""
        self.haproxys = [await self._a_haproxy(backend=haproxy) for _ in range(proxies)]
        web: dict[str, object] = {"listen": f"127.0.0.1:{self.port}"}
        if token is not None:
            web["token_file"] = "token"
        self.controller = self._dynsrv(*self.haproxys, web=web, **{"resync": {"interval": "1s"}, **settings})
        if token is not None:
            (self.controller.folder / "token").write_text(f"{token}\n")

    async def begin(self, number: int = 3, **arguments: Any) -> StatusPage:
        """Install, let so many servers serve, whose names are app-0, app-1, …, and open the page."""
        await self.install(**arguments)
        servers = await self._web_servers(number)
        self.controller.want(named(server, f"app-{index}") for index, server in enumerate(servers))
        await self.controller.start()
        for haproxy in self.haproxys:
            await serves(haproxy, servers)
        return await self.open()

    async def open(self, **arguments: Any) -> StatusPage:
        """Open the page."""
        self.pages.append(await self._browser.open(self.port, **arguments))
        return self.pages[-1]

    @property
    def wanted(self) -> list[dict[str, Any]]:
        """What the file of servers has."""
        return list(yaml.safe_load(self.controller.servers_file.read_text())["servers"])

    async def status(self) -> Any:
        """Return what the API tells."""
        url = f"http://127.0.0.1:{self.port}/api/v1/status"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.json()

    async def complaints(self) -> list[str]:
        """Return what the browser complains of in any page."""
        every = [text for page in self.pages for text in await page.complaints()]
        return [text for text in every if not (self.may_fail and "Failed to load resource" in text)]


def named(server: WebServer, name: str) -> dict[str, object]:
    """Return the endpoint of *server* under a name that a test can rely on."""
    return {**server.endpoint, "name": name}


async def shows(page: StatusPage, *names: str) -> None:
    """Wait until *page* shows exactly these servers."""

    async def exactly() -> bool:
        servers = await page.servers()
        assert servers.keys() == set(names), servers
        return True

    await eventually(exactly)


async def says(page: StatusPage, server: str, why: str | re.Pattern[str]) -> None:
    """Wait until the last words on *server* are *why*."""

    async def said() -> bool:
        words = await page.why(server)
        matches = why.fullmatch(words) if isinstance(why, re.Pattern) else words == why
        assert matches, await page.servers()
        return True

    await eventually(said)


async def mentions(page: StatusPage, words: str) -> None:
    """Wait until the summary has *words* in it."""

    async def mentioned() -> bool:
        found = await page.findings()
        assert words in " ".join(found), found
        return True

    await eventually(mentioned)
