"""The status page tells the truth, live and in plain sentences, and lets whoever has the token act."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import yaml

from tests.integration.support.browser import DESKTOP, PHONE, Chromium, StatusPage, chromium
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

TOKEN = "open sesame"
LONGEST_TASK = 200  # ms
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


@pytest.fixture
def version() -> str:
    """One HAProxy version: the page does not know which one it is."""
    return "3.2"


@pytest.fixture
async def browser(stack: AsyncExitStack) -> Chromium:
    return await stack.enter_async_context(chromium())


@pytest.fixture
async def site(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, browser: Chromium, *, unused_tcp_port: int
) -> AsyncIterator[Site]:
    """A site that is not begun. At the end no page may have complained: no error, nothing that its policy forbids."""
    site = Site(a_haproxy, web_servers, dynsrv, browser)
    site.port = unused_tcp_port
    yield site
    assert await site.complaints() == []


@pytest.fixture
async def dead(stack: AsyncExitStack) -> WebServer:
    """A web server that was never started."""
    return await stack.enter_async_context(WebServer())


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


async def says(page: StatusPage, server: str, why: str) -> None:
    """Wait until the last words on *server* are *why*."""

    async def said() -> bool:
        assert await page.why(server) == why, await page.servers()
        return True

    await eventually(said)


async def mentions(page: StatusPage, words: str) -> None:
    """Wait until the summary has *words* in it."""

    async def mentioned() -> bool:
        found = await page.findings()
        assert words in " ".join(found), found
        return True

    await eventually(mentioned)


# ---- what is shown


async def test_the_page_shows_what_is_there_and_follows_every_change(site: Site, web_servers: WebServers) -> None:
    page = await site.begin(2)
    assert await page.verdict() == "Everything is in line"
    assert await page.findings() == []
    first, second = site.wanted
    cells = (await page.servers())["dyn-app-0"]
    assert cells[:6] == ["dyn-app-0", f"127.0.0.1:{first['port']}", "yes", "ready / up", "passed", "100"]
    assert cells[6:] == ["", "", "as desired", "Hold"]
    assert await page.page.get_by_text("2 desired, 2 live, 2 get requests").count() == 1
    proxies = await page.page.locator("#proxies tr").inner_text()
    assert str(site.haproxy.socket) in proxies
    assert "answers" in proxies
    assert re.search(
        r"file\s+answers\s+\S+ \(\d+ s ago\)\s+2\s+nothing", await page.page.locator("#sources").inner_text()
    )

    (third,) = await web_servers(1)
    site.controller.want([first, {**second, "weight": 7}, named(third, "new")])

    async def followed() -> bool:
        servers = await page.servers()
        assert servers["dyn-app-1"][5] == "7"
        assert servers["dyn-new"][2:5] == ["yes", "ready / up", "passed"]
        return await page.verdict() == "Everything is in line"

    await eventually(followed)
    newest = await page.page.locator("#history tr").first.inner_text()
    assert re.search(r"\d\d:\d\d:\d\d\s+be_app on lb1\s+\w[\w ]+\s+dyn-(new|app-1)\s+done\s", newest)
    site.controller.want([first])
    await shows(page, "dyn-app-0")


async def test_servers_that_are_not_ours_are_muted_and_cannot_be_held(site: Site) -> None:
    await site.install(haproxy="balance roundrobin\nserver static 127.0.0.1:9 disabled")
    site.controller.want([])
    await site.controller.start()
    page = await site.open()
    await says(page, "static", "not ours")
    assert await page.row("static").get_attribute("class") == "foreign"
    assert await page.row("static").get_by_role("button").count() == 0


async def test_an_endpoint_that_haproxy_does_not_take_is_missing_and_haproxys_words_are_text(site: Site) -> None:
    await site.install()
    site.controller.want([{"name": "odd", "address": "127.0.0.1", "port": 9, "options": ["on-error <b>bold</b>"]}])
    await site.controller.start()
    page = await site.open()
    await says(page, "127.0.0.1:9", "not added yet")
    await page.tells("Problem be_app on lb1: No server gets requests, and 1 is desired.")
    (problem,) = [one for one in await page.findings() if "did not add" in one]
    assert problem.startswith("Problem be_app on lb1: HAProxy did not add dyn-odd: ")
    assert "'<b>bold</b>'" in problem
    assert await page.page.locator("b:text-is('bold')").count() == 0


async def test_a_lost_connection_is_told_and_the_page_goes_on_by_itself(site: Site) -> None:
    site.may_fail = True
    page = await site.begin()
    await site.controller.stop()
    await mentions(page, ": what is shown is old. It is tried again every few seconds.")
    assert re.match(r"Problem Not connected to dynsrv since \d\d:\d\d:\d\d: ", (await page.findings())[0])
    assert await page.page.locator("#lost").is_visible()
    assert await page.page.title() == "1 problem - dynsrv"
    assert len(await page.servers()) == 3
    await site.controller.start()

    async def well() -> bool:
        return await page.verdict() == "Everything is in line"

    await eventually(well)
    assert await page.page.locator("#lost").is_hidden()


# ---- why a server gets no requests: the sentences, whole


async def test_a_check_that_fails(site: Site, web_servers: WebServers, dead: WebServer) -> None:
    up, goes_down = await web_servers(2)
    await site.install()
    site.controller.want([named(up, "up"), named(goes_down, "down"), named(dead, "new")])
    await site.controller.start()
    page = await site.open()
    await says(page, "dyn-new", "its check fails; it gets no request until one passes")
    await page.tells("Warning be_app on lb1: 1 server gets no requests, because its check fails: dyn-new.")
    await goes_down.stop()
    await page.tells("Warning be_app on lb1: 2 servers get no requests, because their checks fail: dyn-down, dyn-new.")
    assert (await page.servers())["dyn-down"][2:5] == ["no", "ready / down", "failed"]
    assert await page.why("dyn-down") == "its check fails; it gets no request until one passes"
    assert await page.verdict() == "1 warning"


async def test_a_guard_that_refuses(site: Site) -> None:
    page = await site.begin(4, backend={"limits": {}})
    site.controller.want(site.wanted[:1])
    await page.tells(
        "Problem be_app on lb1: The guard refuses to take servers away: 3 of 4 serving servers would go, 3 fewer than"
        " served within the last 60 s, and at most 2 may (limits.max_removed: 50%); if that is meant, use dynsrv apply"
        " --force, or the button of this backend."
    )
    assert await page.why("dyn-app-1") == "the source no longer wants it; the guard keeps it (limits.max_removed)"


async def test_a_server_that_an_operator_holds(site: Site) -> None:
    page = await site.begin()
    await site.haproxy.do("set server be_app/dyn-app-1 state drain")
    await page.tells("Note be_app on lb1: 1 server is held by an operator: dyn-app-1.")
    cells = (await page.servers())["dyn-app-1"]
    assert cells[2:4] == ["no", "drain / up"]
    assert re.fullmatch(r"\d+ s", cells[7])
    assert cells[8] == "held by operator: put into drain by hand; to release it, set it ready again"


async def test_a_source_that_fails_with_hostile_text_in_its_error(site: Site) -> None:
    page = await site.begin()
    new = site.controller.folder / "new"
    new.write_text(yaml.safe_dump({"servers": [{"address": HOSTILE, "port": 80}]}))
    new.rename(site.controller.servers_file)
    await mentions(page, "The source (file) fails")
    answered = (await site.status())["sources"][0]["last_answer"]
    await page.tells(
        f"Problem be_app: The source (file) fails: {site.controller.servers_file}:2: servers[0].address: found"
        f' "{HOSTILE}", expected an IPv4 or IPv6 address such as 10.0.0.1 or ::1, without port and brackets. The'
        f" servers stay as it wanted them at {answered[11:19]}, when it last answered."
    )
    assert "fails (invalid)" in await page.page.locator("#sources").inner_text()
    assert await page.page.locator("img").count() == 0
    assert await page.page.title() == "1 problem - dynsrv"
    assert await page.why("dyn-app-1") == "as desired"


async def test_a_backend_that_is_rejected(site: Site, web_servers: WebServers) -> None:
    await site.install(haproxy="balance static-rr")
    site.controller.want(await web_servers(2))
    await site.controller.start()
    page = await site.open()
    await mentions(page, "It cannot be managed")
    version = (await site.status())["proxies"][0]["version"]
    await page.tells(
        "Problem be_app on lb1: It cannot be managed: its algorithm (static-rr) takes no servers at runtime. HAProxy"
        f" {version} says: Backend must use a dynamic load balancing to support dynamic servers. Use `balance"
        " roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
    )
    assert await page.page.get_by_text("cannot be managed", exact=True).count() == 1


async def test_a_haproxy_that_does_not_answer(site: Site) -> None:
    page = await site.begin()
    await site.haproxy.stop(kill=True)
    await page.tells(
        f"Problem lb1 does not answer: unix://{site.haproxy.socket}: nobody listens (the socket is left over from a"
        " HAProxy that is gone). Its servers are shown as they were last seen, and cannot be changed until it answers."
    )
    await says(page, "dyn-app-1", "HAProxy does not answer; last seen: as desired")
    assert (await page.servers())["dyn-app-1"][2] == "unknown"
    assert await page.page.get_by_text("HAProxy does not answer", exact=True).count() == 1


# ---- what one can do


async def test_whoever_has_the_token_holds_and_releases_a_server(site: Site) -> None:
    page = await site.begin()
    await page.row("dyn-app-1").get_by_role("button", name="Hold dyn-app-1").click()
    await page.dialog.get_by_label("maintenance").check()
    await page.answer("Done: be_app on lb1.", token=TOKEN)
    assert (await site.haproxy.servers())["dyn-app-1"].maintenance
    await page.page.keyboard.press("Escape")
    await page.tells("Note be_app on lb1: 1 server is held by an operator: dyn-app-1.")
    await page.row("dyn-app-1").get_by_role("button", name="Release dyn-app-1").click()
    assert await page.dialog.get_by_label("Token").is_hidden()
    await page.answer("Done: be_app on lb1.")
    assert (await site.haproxy.servers())["dyn-app-1"].ready


async def test_a_wrong_token_changes_nothing_and_may_be_corrected(site: Site) -> None:
    site.may_fail = True
    page = await site.begin()
    await page.row("dyn-app-1").get_by_role("button").click()
    await page.answer("Nothing was done: that is not the token of web.token_file.", token="open barley")
    assert (await site.haproxy.servers())["dyn-app-1"].ready
    await page.answer("Done: be_app on lb1.", token=TOKEN)
    assert (await site.haproxy.servers())["dyn-app-1"].draining


async def test_without_a_token_file_the_page_says_that_nobody_may_change_anything(site: Site) -> None:
    site.may_fail = True
    page = await site.begin(token=None)
    await page.page.get_by_role("button", name="Look again now").click()
    sentence = "Nothing was done: nothing can be changed over HTTP: the configuration has no web.token_file."
    await page.answer(sentence, token="any")


async def test_what_was_not_done_is_told_in_words(site: Site) -> None:
    site.may_fail = True
    page = await site.begin(resync={"interval": "1h"})
    await site.haproxy.do("set server be_app/dyn-app-1 state maint")
    await page.row("dyn-app-1").get_by_role("button").click()
    await page.answer("Nothing was done: the server dyn-app-1 is in maint already.", token=TOKEN)
    await site.haproxy.stop(kill=True)
    await page.answer("be_app on lb1: not done: lb1: ")
    await site.controller.stop()
    await page.answer("Nobody knows whether it was done: dynsrv did not answer (Failed to fetch).")


async def test_the_guard_is_overridden_from_the_page(site: Site) -> None:
    page = await site.begin(4, backend={"limits": {}})
    override = page.page.get_by_role("button", name="Override the guard for 10 minutes")
    assert await override.is_hidden()
    site.controller.want(site.wanted[:1])
    await override.click()
    await page.answer("Done: be_app on lb1.", token=TOKEN)
    await shows(page, "dyn-app-0")
    (note,) = await page.findings()
    assert re.fullmatch(r"Note be_app on lb1: The guard is overridden until .*\d\d:\d\d:\d\d\.", note)


async def test_a_server_is_held_on_all_proxies_if_that_is_wanted(site: Site) -> None:
    page = await site.begin(2, proxies=2)
    await page.row("dyn-app-1").first.get_by_role("button").click()
    await page.dialog.get_by_label("on all 2 proxies that have be_app: lb1, lb2").check()
    await page.answer("Done: be_app on lb1, be_app on lb2.", token=TOKEN)
    for haproxy in site.haproxys:
        assert (await haproxy.servers())["dyn-app-1"].draining


# ---- for everybody


async def test_the_filter_and_the_dialog_work_by_keyboard_alone(site: Site) -> None:
    page = await site.begin()
    press = page.page.keyboard.press
    focused = "(element) => element === document.activeElement && getComputedStyle(element).outlineWidth"

    async def tab_to(selector: str) -> None:
        for _ in range(20):
            await press("Tab")
            if outline := await page.page.locator(selector).evaluate(focused):
                assert outline == "3px", f"it is not seen that {selector} has the focus"
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    await tab_to("#filter")
    await page.page.keyboard.type("APP-2")
    await shows(page, "dyn-app-2")
    assert await page.page.get_by_text("1 of 3 servers").count() == 1
    await tab_to("#wrong-only")
    await press("Space")
    await shows(page)
    await press("Space")
    await shows(page, "dyn-app-2")
    await tab_to(".servers button")
    await press("Enter")
    assert await page.dialog.get_by_role("heading", name="Hold dyn-app-2?").is_visible()
    await press("Escape")
    await eventually(page.dialog.is_hidden)
    assert await page.page.locator(".servers button").evaluate(focused)


async def test_the_focus_stays_where_it_is_while_servers_come_and_go(site: Site, web_servers: WebServers) -> None:
    page = await site.begin()
    await page.row("dyn-app-2").get_by_role("button").focus()
    await site.haproxy.do("set server be_app/dyn-app-2 state maint")  # which moves its row to the top
    (another,) = await web_servers(1)
    site.controller.want([*site.wanted, named(another, "app-0a")])
    await says(page, "dyn-app-0a", "as desired")
    await page.tells("Note be_app on lb1: 1 server is held by an operator: dyn-app-2.")
    assert next(iter(await page.servers())) == "dyn-app-2"
    assert await page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Release dyn-app-2"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_nothing_stands_in_anybodys_way_and_nothing_is_wider_than_the_window(
    site: Site, dead: WebServer, *, dark: bool, size: tuple[int, int]
) -> None:
    await site.begin(6, backend={"limits": {}})
    page = await site.open(dark=dark, size=size)

    async def is_good() -> None:
        assert await page.barriers() == []
        assert await page.overflow() == 0

    await is_good()
    await site.haproxy.do("set server be_app/dyn-app-1 state maint")
    site.controller.want([*site.wanted[:2], named(dead, "new-" + 60 * "x")])
    await mentions(page, "because its check fails: dyn-new-xxx")
    site.controller.servers_file.write_text("servers: [")
    await mentions(page, "The source (file) fails")
    await is_good()
    await page.row("dyn-app-0").get_by_role("button").click()
    await is_good()
    await page.page.keyboard.press("Escape")
    await site.haproxy.stop(kill=True)
    await mentions(page, "lb1 does not answer")
    await is_good()


async def test_with_two_thousand_servers_the_page_never_freezes(site: Site) -> None:
    await site.install(backend={"server": {"check": False}})
    fleet: list[dict[str, object]] = [
        {"name": f"app-{one}", "address": f"127.66.{one // 250}.{one % 250 + 1}", "port": 8080} for one in range(2000)
    ]
    site.controller.want(fleet)
    await site.controller.start()
    await site.controller.logged("backend is as the source wants it", within=60)
    page = await site.open()

    async def shown(number: int) -> None:
        async def so_many() -> bool:
            return await page.page.locator(".servers tbody tr").count() == number

        await eventually(so_many)

    async def all_told(column: int, text: str, number: int) -> None:
        async def told() -> bool:
            return sum(cells[column] == text for cells in (await page.servers()).values()) == number

        await eventually(told)

    await page.page.get_by_role("button", name="Show all 2,000").click()
    await shown(2000)
    site.controller.want({**one, "weight": 50} for one in fleet)
    await all_told(5, "50", 2000)
    await page.filter.press_sequentially("app-19", delay=50)
    await shown(111)
    await page.filter.fill("")
    await shown(2000)
    site.controller.want({**one, "state": "drain"} if number % 2 else one for number, one in enumerate(fleet))
    await all_told(3, "drain / up", 1000)
    await page.page.keyboard.press("End")
    await asyncio.sleep(2)  # in which the ages of a thousand drains go on
    longest = await page.longest_task()
    print(f"the longest task with 2,000 servers took {longest:.0f} ms")
    assert longest < LONGEST_TASK
