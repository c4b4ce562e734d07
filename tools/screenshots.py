"""Take the screenshots of the status page that the documentation shows.

    python -m tools.screenshots [--into docs]    # in the project's folder, after make haproxy browser

Each shows a real dynsrv, real HAProxies and real servers; nothing is drawn by hand. The letters are this machine's:
those of Debian's package fonts-noto-core look well.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.integration.support.browser import Chromium, StatusPage, chromium
from tests.integration.support.controller import Dynsrv
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually

HAPROXY = "3.2"
WEB = "127.0.0.1:9106"
BACKENDS = {"be_app": ["lb1", "lb2"], "be_api": ["lb1"]}
DESKTOP = (1280, 800)
PHONE = (390, 1560)  # longer than a phone: as if scrolled
FEW, MANY = 6, 2000

Servers = dict[str, list[dict[str, object]]]


class Scene:
    """HAProxies, servers, and a dynsrv that keeps the ones as a file says."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._release = asyncio.Event()
        self.listeners: dict[str, asyncio.Server] = {}

    async def begin(self, *, proxies: int, **server: object) -> None:
        """Start everything but the servers; *server* is what the added ones get."""
        self.haproxys = [HAProxy(HAPROXY, extra="\nbackend be_api\n    balance roundrobin\n") for _ in range(proxies)]
        for haproxy in self.haproxys:
            self._stack.push_async_callback(haproxy.close)
            await haproxy.start()
        names = {f"lb{number}" for number in range(1, proxies + 1)}
        backends = [
            {
                "name": name,
                "proxies": [one for one in there if one in names],
                "source": {"kind": "file", "path": f"{name}.yaml"},
                "server": {"inter": "200ms", "fall": 1, "rise": 1, **server},
                "drain": {"timeout": "5m"},
            }
            for name, there in BACKENDS.items()
        ]
        self.dynsrv = Dynsrv(
            self._folder, *self.haproxys, backends=backends, web={"listen": WEB}, resync={"interval": "1s"}
        )
        self._stack.push_async_callback(self.dynsrv.stop)
        self._stack.callback(self._release.set)

    async def run(self, servers: Servers) -> None:
        """Start dynsrv, and wait until all *servers* serve wherever they shall."""
        self.want(servers)
        await self.dynsrv.start()
        for backend, those in servers.items():
            for name in BACKENDS[backend][: len(self.haproxys)]:
                haproxy = self.haproxys[int(name.removeprefix("lb")) - 1]
                await eventually(partial(_ready, haproxy, backend, len(those)), within=60)

    def want(self, servers: Servers) -> None:
        """Write what the source wants."""
        for backend, those in servers.items():
            self.write(backend, yaml.safe_dump({"servers": those}))

    def write(self, backend: str, text: str) -> None:
        """Write the file of a backend's source."""
        new = self._folder / "new"
        new.write_text(text)
        new.rename(self._folder / f"{backend}.yaml")

    async def listen(self, servers: Iterable[dict[str, object]]) -> None:
        """Start what answers at the addresses of *servers*."""
        for one in servers:
            listener = await asyncio.start_server(self._answer, str(one["address"]), int(str(one["port"])))
            self._stack.callback(listener.close)
            self.listeners[str(one["name"])] = listener

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if b"/slow" in line:
            await self._release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1")
        writer.close()


async def _ready(haproxy: HAProxy, backend: str, number: int) -> bool:
    return sum(row.ready and row.operational == 2 for row in (await haproxy.servers(backend)).values()) == number


def fleet(name: str, number: int, *, third: int) -> list[dict[str, object]]:
    """Return endpoints on loopback addresses of their own."""
    return [
        {"name": f"{name}-{one}", "address": f"127.{third}.{one // 250}.{one % 250 + 1}", "port": 8080}
        for one in range(1, number + 1)
    ]


async def healthy(scene: Scene, browser: Chromium, folder: Path) -> None:
    """Everything works; one server drains, and has requests left."""
    apps, apis = fleet("app", FEW, third=20), fleet("api", 3, third=21)
    await scene.begin(proxies=2)
    await scene.listen([*apps, *apis])
    await scene.run({"be_app": apps, "be_api": apis})
    slow = [asyncio.create_task(request(scene.haproxys[0].frontend, "/slow", timeout=60)) for _ in range(2 * FEW)]
    await asyncio.sleep(1)
    scene.want({"be_app": apps[1:]})
    await asyncio.sleep(12)
    page = await open_page(browser, DESKTOP)
    await shoot(page, folder / "status-page.png")
    for one in slow:
        one.cancel()


async def degraded(scene: Scene, browser: Chromium, folder: Path) -> None:
    """Nearly everything is wrong that can be."""
    apps, apis = fleet("app", FEW, third=20), fleet("api", 3, third=21)
    await scene.begin(proxies=2)
    await scene.listen([*apps, *apis])
    await scene.run({"be_app": apps, "be_api": apis})
    await scene.haproxys[0].do("set server be_app/dyn-app-2 state maint")
    scene.listeners["app-1"].close()
    scene.write("be_api", "servers:\n  - {address: api-4.example, port: 8080}\n")
    await asyncio.sleep(2)
    scene.want({"be_app": apps[:2]})
    await scene.haproxys[1].stop(kill=True)
    await asyncio.sleep(6)
    page = await open_page(browser, DESKTOP)
    await shoot(page, folder / "status-page-degraded.png")
    page = await open_page(browser, PHONE, dark=True)
    await shoot(page, folder / "status-page-phone.png")


async def many(scene: Scene, browser: Chromium, folder: Path) -> None:
    """Two thousand servers, of which a few need a look."""
    await scene.begin(proxies=1, check=False)
    await scene.run({"be_app": fleet("app", MANY, third=20), "be_api": fleet("api", 3, third=21)})
    for one in ("17", "1234"):
        await scene.haproxys[0].do(f"set server be_app/dyn-app-{one} state maint")
    scene.want(
        {
            "be_app": [
                {**one, "weight": 50} if number % 20 == 0 else one
                for number, one in enumerate(fleet("app", MANY, third=20))
            ]
        }
    )
    await asyncio.sleep(3)
    page = await open_page(browser, DESKTOP)
    await shoot(page, folder / "status-page-2000.png")


async def open_page(browser: Chromium, size: tuple[int, int], **more: Any) -> StatusPage:
    """Open the page, and wait until its times have settled."""
    page = await browser.open(int(WEB.rpartition(":")[2]), size=size, **more)
    await asyncio.sleep(1.5)
    return page


async def shoot(page: StatusPage, path: Path) -> None:
    """Take what the window shows."""
    print(f"{path}: {len(await page.page.screenshot(path=path)) / 1000:.0f} kB")


async def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Take the screenshots of the status page.")
    parser.add_argument("--into", type=Path, default=Path("docs"), help="folder (default: %(default)s)")
    into: Path = parser.parse_args().into
    async with chromium() as browser:
        for story in (healthy, degraded, many):
            async with AsyncExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dynsrv-")))
                await story(Scene(stack, folder), browser, into)


if __name__ == "__main__":
    asyncio.run(main())
