"""The status page tells the truth, live and in plain sentences."""

from __future__ import annotations

import re
import signal

import pytest
import yaml

from tests.integration.support.status_site import HOSTILE, Site, mentions, named, says, shows
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version


# ---- what is shown


async def test_the_page_shows_what_is_there_and_follows_every_change(site: Site, web_servers: WebServers) -> None:
    page = await site.begin(2)
    assert await page.verdict() == "Everything is in sync"
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
        return await page.verdict() == "Everything is in sync"

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
    await says(page, "static", "not managed by dynsrv")
    assert await page.row("static").get_attribute("class") == "foreign"
    assert await page.row("static").get_by_role("button").count() == 0


async def test_an_endpoint_that_haproxy_does_not_take_is_missing_and_haproxys_words_are_text(site: Site) -> None:
    await site.install()
    site.controller.want([{"name": "odd", "address": "127.0.0.1", "port": 9, "options": ["on-error <b>bold</b>"]}])
    await site.controller.start()
    page = await site.open()
    await says(page, "127.0.0.1:9", "not added yet")
    await page.tells("Problem be_app on lb1: No server gets requests, although 1 is desired.")
    (problem,) = [one for one in await page.findings() if "did not add" in one]
    assert problem.startswith("Problem be_app on lb1: HAProxy did not add dyn-odd: ")
    assert "'<b>bold</b>'" in problem
    assert await page.page.locator("b:text-is('bold')").count() == 0


async def test_a_lost_connection_is_told_and_the_page_goes_on_by_itself(site: Site) -> None:
    site.may_fail = True
    page = await site.begin()
    await site.controller.stop()
    await mentions(page, ": this data is old. Reconnecting every few seconds.")
    assert re.match(r"Problem Not connected to dynsrv since \d\d:\d\d:\d\d: ", (await page.findings())[0])
    assert await page.page.locator("#lost").is_visible()
    assert await page.page.title() == "1 problem - dynsrv"
    assert len(await page.servers()) == 3
    await site.controller.start()

    async def well() -> bool:
        return await page.verdict() == "Everything is in sync"

    await eventually(well)
    assert await page.page.locator("#lost").is_hidden()


CHECK_FAILS = re.compile(
    r"its health check is failing \(L4CON, .*(?i:refused).*\); it receives no requests until a check passes"
)

# ---- why a server gets no requests: the sentences, whole


async def test_a_check_that_fails(site: Site, web_servers: WebServers, dead: WebServer) -> None:
    up, goes_down = await web_servers(2)
    await site.install()
    site.controller.want([named(up, "up"), named(goes_down, "down"), named(dead, "new")])
    await site.controller.start()
    page = await site.open()
    await says(page, "dyn-new", CHECK_FAILS)
    await page.tells("Warning be_app on lb1: 1 server gets no requests, because its check fails: dyn-new.")
    await goes_down.stop()
    await page.tells("Warning be_app on lb1: 2 servers get no requests, because their checks fail: dyn-down, dyn-new.")
    assert (await page.servers())["dyn-down"][2:5] == ["no", "ready / down", "failed"]
    assert CHECK_FAILS.fullmatch(await page.why("dyn-down"))
    assert await page.verdict() == "1 warning"


async def test_a_guard_that_refuses(site: Site) -> None:
    page = await site.begin(4, backend={"limits": {"max_removed": 0}})
    site.controller.want(site.wanted[:1])
    await page.tells(
        "Problem be_app on lb1: The guard blocks removals: 3 of 4 serving servers would be removed: 0 now,"
        " 3 not: at most 0 of 4 may be removed within 60 s (limits.max_removed: 0); if this is"
        " intended, run dynsrv apply --force, or use the button of this backend."
    )
    assert await page.why("dyn-app-1") == "no longer listed by the source; kept by the guard (limits.max_removed)"


async def test_a_server_that_an_operator_holds(site: Site) -> None:
    page = await site.begin()
    await site.haproxy.do("set server be_app/dyn-app-1 state drain")
    await page.tells("Note be_app on lb1: 1 server is held by an operator: dyn-app-1.")
    cells = (await page.servers())["dyn-app-1"]
    assert cells[2:4] == ["no", "drain / up"]
    assert re.fullmatch(r"\d+ s", cells[7])
    assert cells[8] == "held by an operator: put into drain by hand; set it to ready to release it"


async def test_a_configuration_that_was_refused(site: Site) -> None:
    page = await site.begin()
    good = site.controller.configuration.read_text()
    site.controller.configuration.write_text(good + "nonsense: 1\n")
    site.controller.signal(signal.SIGHUP)
    await mentions(page, "The configuration file is invalid, so the previous configuration is in use: ")
    await mentions(page, "nonsense: unknown key")
    site.controller.configuration.write_text(good)
    site.controller.signal(signal.SIGHUP)

    async def well() -> bool:
        return await page.verdict() == "Everything is in sync"

    await eventually(well)


async def test_a_source_that_fails_with_hostile_text_in_its_error(site: Site) -> None:
    page = await site.begin()
    new = site.controller.folder / "new"
    new.write_text(yaml.safe_dump({"servers": [{"address": HOSTILE, "port": 80}]}))
    new.rename(site.controller.servers_file)
    await mentions(page, "The source (file) fails")
    answered = (await site.status())["sources"][0]["last_answer"]
    await page.tells(
        f"Problem be_app: The source (file) fails: {site.controller.servers_file}:2: servers[0].address: found"
        f' "{HOSTILE}", expected an IPv4 or IPv6 address such as 10.0.0.1 or ::1, without port and brackets. dynsrv'
        f" keeps the servers of its last answer, from {answered[11:19]}."
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
    await mentions(page, "Cannot be managed")
    version = (await site.status())["proxies"][0]["version"]
    await page.tells(
        "Problem be_app on lb1: Cannot be managed: its algorithm (static-rr) does not accept servers at runtime."
        f" HAProxy {version} says: Backend must use a dynamic load balancing to support dynamic servers. Use `balance"
        " roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
    )
    assert await page.page.get_by_text("cannot be managed", exact=True).count() == 1


async def test_a_haproxy_that_does_not_answer(site: Site) -> None:
    page = await site.begin()
    await site.haproxy.stop(kill=True)
    await page.tells(
        f"Problem lb1 does not answer: unix://{site.haproxy.socket}: connection refused (the socket was left behind by"
        " a HAProxy that is gone). Its servers are shown as last observed, and cannot be changed until it answers."
    )
    await says(page, "dyn-app-1", "HAProxy does not answer; last observed: as desired")
    assert (await page.servers())["dyn-app-1"][2] == "unknown"
    assert await page.page.get_by_text("HAProxy does not answer", exact=True).count() == 1
