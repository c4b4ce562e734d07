"""A registration may ask for more by its meta; what it asks wrongly is ignored, told once and counted."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dynsrv.logs import Event
from tests.integration.support.consul import Consul
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import StartHAProxy
from tests.integration.support.views import start_views
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

LISTED = {"options_from_source": ["backup", "on-error", "no-such-option", "send-proxy-v2"]}


async def test_meta_asks_for_what_haproxy_shall_do(a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul) -> None:
    meta = {
        "dynsrv-weight": "50",
        "dynsrv-maxconn": "7",
        "dynsrv-options": "backup; on-error mark-down",
        "dynsrv-name": "web-1",
        "version": "2",
    }
    await consul.register("web", address="127.0.0.1", port=81, meta=meta, weights={"Passing": 10, "Warning": 1})
    await consul.register("web", address="127.0.0.1", port=82)
    views = await start_views(a_haproxy, dynsrv, consul, backend=LISTED, app={})
    await views.show(app={81: 50, 82: 1})
    row = (await views.rows("app"))[81]
    assert row.name == "dyn-web-1"
    assert await views.stat("app", "dyn-web-1", "slim", "bck") == ["7", "1"]
    assert await views.stat("app", "dyn-127.0.0.1:82", "slim", "bck") == ["", "0"]

    await consul.register("web", address="127.0.0.1", port=81, meta={**meta, "dynsrv-weight": "0"})
    await views.show(app={81: 0, 82: 100})
    assert (await views.rows("app"))[81].id == row.id  # changed in place


async def test_options_that_haproxy_refuses_keep_out_none_but_who_asked_for_them(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    await consul.register("web", address="127.0.0.1", port=81, meta={"dynsrv-options": "no-such-option"})
    await consul.register("web", address="127.0.0.1", port=82)
    views = await start_views(a_haproxy, dynsrv, consul, backend=LISTED, app={})
    await views.show(app={82: "ready"})
    line = await views.controller.logged(Event.COMMAND_REJECTED)
    assert "unknown keyword 'no-such-option'" in line
    await consul.register("web", address="127.0.0.1", port=83)
    await consul.deregister("web-82")
    await views.show(app={83: "ready"})


async def test_a_registration_cannot_change_the_operators_tls_or_where_connections_go(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    evil = "verifyhost evil.example; ssl-min-ver SSLv3; ciphers NULL; addr 192.0.2.1; port 22; track app/web; backup"
    await consul.register("web", address="127.0.0.1", port=81, meta={"dynsrv-options": evil})
    operator = {"options_from_source": ["backup"]}
    views = await start_views(a_haproxy, dynsrv, consul, backend=operator, app={})
    await views.show(app={81: "ready"})
    assert await views.stat("app", "dyn-127.0.0.1:81", "bck", "tracked") == ["1", ""]
    finished = await views.controller.run("check", "--live")
    assert finished.code != 0
    for keyword in ("verifyhost", "ssl-min-ver", "ciphers", "addr", "port", "track"):
        assert f"{keyword} is not in the backend's options_from_source" in finished.out + finished.err


async def test_meta_that_is_wrong_is_ignored_logged_once_and_counted(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul, *, unused_tcp_port: int
) -> None:
    meta = {
        "dynsrv-weight": "300",
        "dynsrv-maxconn": "many",
        "dynsrv-options": "send-proxy-v2\nshutdown",
        "dynsrv-name": "a name",
    }
    await consul.register("web", address="127.0.0.1", port=81, meta=meta)
    await consul.register("web", address="127.0.0.1", port=82, meta={"dynsrv-options": "backup; check; weight 1"})
    await consul.register("web", address="web.example", port=83)
    await consul.register("web", address="127.0.0.1", status="passing", id="no-port")
    views = await start_views(a_haproxy, dynsrv, consul, web=f"127.0.0.1:{unused_tcp_port}", app={})
    await views.show(app={81: 100, 82: 100})
    assert set(await views.haproxy.servers("app")) == {"dyn-127.0.0.1:81", "dyn-127.0.0.1:82"}
    assert await views.stat("app", "dyn-127.0.0.1:82", "bck") == ["0"]
    wrong = [
        'web-81 on consul: meta dynsrv-weight is ignored: found "300", expected a whole number from 0 to 256',
        'web-81 on consul: meta dynsrv-maxconn is ignored: found "many", expected a whole number from 0',
        'web-81 on consul: meta dynsrv-options is ignored: found "send-proxy-v2\\nshutdown", but "\\n" could end the',
        'web-81 on consul: meta dynsrv-name is ignored: found "a name", expected 1 to 100 letters, digits',
        'web-82 on consul: meta dynsrv-options is ignored: found "backup; check; weight 1", but check does not belong',
        'web-83 on consul is ignored: found "web.example" and port 83, expected an IPv4 or IPv6 address: HAProxy',
        'no-port on consul is ignored: found "127.0.0.1" and port 0, expected a port from 1 to 65535',
    ]
    await eventually(lambda: _counted(unused_tcp_port, len(wrong)))
    await consul.register("web", address="127.0.0.1", port=84)  # they are seen again, and told no more
    await views.show(app={81: 100, 82: 100, 84: 100})
    log = views.controller.log.read_text().replace("\\\\", "\\")
    for sentence in wrong:
        assert log.count(sentence) == 1, sentence
    assert log.count(Event.SOURCE_DATA_IGNORED) == len(wrong)

    await consul.register("web", address="127.0.0.1", port=81)
    await eventually(lambda: _counted(unused_tcp_port, len(wrong) - 4))


async def test_no_usable_instance_at_all_is_an_error_and_not_an_empty_service(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    await consul.register("web", address="127.0.0.1", port=81)
    views = await start_views(a_haproxy, dynsrv, consul, app={})
    await views.show(app={81: "ready"})
    await consul.register("web", id="web-81", address="web.example", port=81)
    line = await views.controller.logged(Event.SOURCE_FAILED)
    assert 'no instance can be used: web-81 on consul is ignored: found "web.example"' in line
    await views.show(app={81: "ready"})
    await consul.register("web", id="web-81", address="127.0.0.1", port=82)
    await views.show(app={82: "ready"})


async def _counted(port: int, ignored: int) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "dynsrv_source_ignored"]
    assert [sample.value for sample in family.samples] == [ignored]
    return True
