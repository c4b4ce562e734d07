"""What is tagged wrongly keeps out none but itself, and is told once and counted."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dynsrv.logs import Event
from tests.integration.support.aws import Aws, from_ec2
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import StartHAProxy
from tests.integration.support.views import start_views_of
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version


async def _instance(aws: Aws, **tags: str) -> str:
    return (await aws.launch(address="127.0.0.1", tags=tags))[0]


async def test_wrong_tags_are_told_once_and_counted_and_the_other_instances_go_on(
    a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install, *, unused_tcp_port: int
) -> None:
    good = await _instance(aws, ports="81", weight="7")
    heavy = await _instance(aws, ports="82", weight="many")
    heavier = await _instance(aws, ports="83", weight="257")
    expected = "expected a port from 1 to 65535, or several with commas"
    wrong = {
        f"{heavy}: its tag weight is ignored": 'found "many", expected a whole number',
        f"{heavier}: its tag weight is ignored": 'found "257", expected a whole number from 0 to 256',
        f"{await _instance(aws)} is ignored": "it has no tag ports",
        f"{await _instance(aws, ports='')} is ignored": f'found "" in its tag ports, {expected}',
        f"{await _instance(aws, ports='http')} is ignored": f'found "http" in its tag ports, {expected}',
        f"{await _instance(aws, ports='84,')} is ignored": f'found "84," in its tag ports, {expected}',
        f"{await _instance(aws, ports='65536')} is ignored": f'found "65536" in its tag ports, {expected}',
        f"{await _instance(aws, ports='80; del')} is ignored": f'found "80; del" in its tag ports, {expected}',
        f"{await _instance(aws, ports='٨٠')} is ignored": expected,
    }
    source = from_ec2(aws.url, weight_tag="weight")
    views = await start_views_of(a_haproxy, on_ec2, web=f"127.0.0.1:{unused_tcp_port}", app=source)
    await views.show(app={81: 7, 82: 100, 83: 100})
    await eventually(lambda: _counted(unused_tcp_port, len(wrong)))
    await _instance(aws, ports="85")  # they are seen again, and told no more
    await views.show(app={81: 7, 82: 100, 83: 100, 85: 100})
    log = views.controller.log.read_text().replace("\\", "")
    for what, problem in wrong.items():
        (line,) = [line for line in log.splitlines() if what in line]
        assert Event.SOURCE_DATA_IGNORED in line
        assert problem in line, line
    assert log.count(Event.SOURCE_DATA_IGNORED) == len(wrong)

    await aws.tag(heavy, weight="8")
    await views.show(app={81: 7, 82: 8, 83: 100, 85: 100})
    await eventually(lambda: _counted(unused_tcp_port, len(wrong) - 1))
    await aws.terminate(good)
    await views.show(app={82: 8, 83: 100, 85: 100})


async def test_of_two_instances_at_one_address_and_port_one_is_told(
    a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install
) -> None:
    first, second = sorted([await _instance(aws, ports="81"), await _instance(aws, ports="81,82")])
    views = await start_views_of(a_haproxy, on_ec2, app=from_ec2(aws.url))
    await views.show(app={81: "ready", 82: "ready"})
    line = await views.controller.logged(Event.SOURCE_DATA_IGNORED)
    assert f"{second} is ignored: {first} has 127.0.0.1:81, too" in line


async def test_an_address_that_an_instance_has_not_is_told(a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install) -> None:
    plain = await aws.a_subnet("10.1.0.0/16")
    (without,) = await aws.launch(subnet=plain)
    (with_ipv6,) = await aws.launch(subnet=plain, ipv6=True)
    views = await start_views_of(a_haproxy, on_ec2, app=from_ec2(aws.url, port=81, address="ipv6"))
    await views.show(app={81: "ready"})
    assert set(await views.haproxy.servers("app")) == {f"dyn-{with_ipv6}"}
    line = await views.controller.logged(Event.SOURCE_DATA_IGNORED)
    assert f"{without} is ignored: it has no ipv6 address" in line


async def test_no_usable_instance_at_all_is_an_error_and_not_an_empty_fleet(
    a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install
) -> None:
    own = await _instance(aws, ports="81")
    views = await start_views_of(a_haproxy, on_ec2, app=from_ec2(aws.url))
    await views.show(app={81: "ready"})
    await aws.tag(own, ports="none")
    line = await views.controller.logged(Event.SOURCE_FAILED)
    assert "reason=invalid" in line
    assert f'no instance can be used: {own} is ignored: found "none" in its tag ports' in line
    await views.show(app={81: "ready"})
    await aws.tag(own, ports="82")
    await views.show(app={82: "ready"})


async def _counted(port: int, ignored: int) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "dynsrv_source_ignored"]
    assert [sample.value for sample in family.samples] == [ignored]
    return True
