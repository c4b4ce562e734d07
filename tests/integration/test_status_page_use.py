"""Whoever has the token acts on the page, and everybody can use it: by keyboard, on a phone, with 2,000 servers."""

from __future__ import annotations

import asyncio
import re

import pytest

from dynsrv.logs import Event
from tests.integration.support.browser import DESKTOP, PHONE
from tests.integration.support.status_site import TOKEN, Site, mentions, named, says, shows
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version

LONGEST_TASK = 500  # ms; the page draws for ten at a time, but other tests take the processors away


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
    await page.answer("Nothing was done: wrong token: send the one in web.token_file.", token="open barley")
    assert (await site.haproxy.servers())["dyn-app-1"].ready
    await page.answer("Done: be_app on lb1.", token=TOKEN)
    assert (await site.haproxy.servers())["dyn-app-1"].draining


async def test_without_a_token_file_the_page_says_that_nobody_may_change_anything(site: Site) -> None:
    site.may_fail = True
    page = await site.begin(token=None)
    await page.page.get_by_role("button", name="Reconcile now").click()
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
    await page.answer("Unknown whether it was done: dynsrv did not answer (Failed to fetch).")


async def test_the_guard_is_overridden_from_the_page(site: Site) -> None:
    page = await site.begin(4, backend={"limits": {"max_removed": 0}})
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
    await site.controller.logged(Event.BACKEND_IN_SYNC, within=60)
    page = await site.open()

    async def shown(number: int) -> None:
        async def so_many() -> bool:
            return await page.page.locator(".servers tbody tr").count() == number

        await eventually(so_many)

    async def all_told(column: int, text: str, number: int) -> None:
        async def told() -> bool:
            return sum(cells[column] == text for cells in (await page.servers()).values()) == number

        await eventually(told)

    # not by a click of the mouse, which misses what moves just then, as everything does on a page that is new
    await page.page.get_by_role("button", name="Show all 2,000").dispatch_event("click")
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
    assert longest < LONGEST_TASK
