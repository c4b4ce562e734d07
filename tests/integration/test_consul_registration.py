"""What an instance says of itself in Consul counts in HAProxy: its health, its weights, its address, its tags."""

from __future__ import annotations

import pytest

from tests.integration.support.consul import Consul
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import StartHAProxy
from tests.integration.support.views import start_views

pytestmark = pytest.mark.any_version


async def test_what_consuls_checks_find_becomes_what_was_configured_for_it(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    await consul.register("web", address="127.0.0.1", port=81)
    await consul.register("web", address="127.0.0.1", port=82)
    views = await start_views(
        a_haproxy,
        dynsrv,
        consul,
        removes={},
        drains={"on_critical": "drain"},
        keeps={"on_critical": "keep"},
        strict={"only_passing": True},
        strict_drains={"only_passing": True, "on_critical": "drain"},
    )
    both = {81: "ready", 82: "ready"}
    everywhere = dict.fromkeys(("removes", "drains", "keeps", "strict", "strict_drains"), both)
    await views.show(**everywhere)
    first = (await views.rows("drains"))[81]

    await consul.set_status("web-81", "warning")
    gone, drained = {82: "ready"}, {81: "drain", 82: "ready"}
    await views.show(removes=both, drains=both, keeps=both, strict=gone, strict_drains=drained)
    await consul.set_status("web-81", "critical")
    await views.show(removes=gone, drains=drained, keeps=both, strict=gone, strict_drains=drained)
    await consul.set_status("web-81", "passing")
    await views.show(**everywhere)
    assert (await views.rows("drains"))[81].id == first.id  # it was never taken out

    await consul.set_status("web-81", "critical")
    await consul.set_status("web-82", "critical")
    await views.show(removes={}, drains={81: "drain", 82: "drain"}, keeps=both, strict={})


async def test_maintenance_of_a_service_or_of_its_node_is_a_drain_until_it_is_over(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    await consul.register("web", address="127.0.0.1", port=81)
    await consul.register("web", address="127.0.0.1", port=82)
    await consul.register_many("web", [("127.0.0.2", 83)])  # on another node
    views = await start_views(a_haproxy, dynsrv, consul, app={}, keeps={"on_critical": "keep"})
    ready = {81: "ready", 82: "ready", 83: "ready"}
    await views.show(app=ready, keeps=ready)
    ids = {port: row.id for port, row in (await views.rows("app")).items()}

    await consul.service_maintenance("web-81", enable=True)
    one_out = {**ready, 81: "drain"}
    await views.show(app=one_out, keeps=one_out)
    await consul.node_maintenance(enable=True)
    node_out = {81: "drain", 82: "drain", 83: "ready"}
    await views.show(app=node_out, keeps=node_out)
    await consul.service_maintenance("web-81", enable=False)
    await consul.set_status("web-82", "critical")  # as it is while somebody works at it
    await consul.register("web", address="127.0.0.1", port=84)
    await views.show(app={**node_out, 84: "drain"}, keeps={**node_out, 84: "drain"})
    await consul.set_status("web-82", "passing")
    await consul.deregister("web-84")
    await consul.node_maintenance(enable=False)
    await views.show(app=ready, keeps=ready)
    assert {port: row.id for port, row in (await views.rows("app")).items()} == ids


async def test_weights_count_as_soon_as_one_instance_has_some(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    for port in (81, 82):
        await consul.register("web", address="127.0.0.1", port=port)
    views = await start_views(a_haproxy, dynsrv, consul, app={})
    await views.show(app={81: 100, 82: 100})  # server.weight, since Consul's default says nothing
    await consul.register("web", address="127.0.0.1", port=83, weights={"Passing": 10, "Warning": 3})
    await views.show(app={81: 1, 82: 1, 83: 10})
    await consul.set_status("web-83", "warning")
    await views.show(app={81: 1, 82: 1, 83: 3})
    await consul.set_status("web-83", "passing")
    await consul.register("web", address="127.0.0.1", port=83, weights={"Passing": 1000, "Warning": 3})
    await views.show(app={81: 1, 82: 1, 83: 256})
    line = await views.controller.logged("web-83 on consul")
    assert "its weight 1000 is reduced to 256, the highest that HAProxy accepts" in line
    await consul.deregister("web-83")
    await views.show(app={81: 100, 82: 100})


async def test_the_address_is_the_services_or_its_nodes_or_the_tagged_one(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    tagged = {"wan": ("192.0.2.1", 8081), "rack": ("192.0.2.9", 9081)}
    await consul.register("web", address="10.0.0.1", port=81, tagged_addresses=tagged)
    await consul.register("web", address="10.0.0.2", port=82)
    await consul.register("web", address="", port=83)
    await consul.register("web", address="::1", port=84)
    views = await start_views(
        a_haproxy, dynsrv, consul, plain={}, wan={"tagged_address": "wan"}, rack={"tagged_address": "rack"}
    )

    async def addresses(backend: str) -> set[str]:
        return {f"{row.address} {row.port}" for row in (await views.haproxy.servers(backend)).values()}

    await views.show(
        plain=dict.fromkeys((81, 82, 83, 84), "ready"),
        wan=dict.fromkeys((8081, 82, 83, 84), "ready"),
        rack={9081: "ready"},
    )
    assert await addresses("plain") == {"10.0.0.1 81", "10.0.0.2 82", "127.0.0.1 83", "::1 84"}
    assert await addresses("wan") == {"192.0.2.1 8081", "10.0.0.2 82", "127.0.0.1 83", "::1 84"}
    assert await addresses("rack") == {"192.0.2.9 9081"}
    line = await views.controller.logged("web-82 on consul is ignored")
    assert 'neither its service nor its node has the tagged address "rack"' in line


async def test_tags_and_a_filter_choose_among_the_instances(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul
) -> None:
    await consul.register("web", address="127.0.0.1", port=81, tags=["http", "blue"], meta={"version": "1"})
    await consul.register("web", address="127.0.0.1", port=82, tags=["http"], meta={"version": "2"})
    await consul.register("web", address="127.0.0.1", port=83, tags=["blue"], meta={"version": "2"})
    views = await start_views(
        a_haproxy,
        dynsrv,
        consul,
        both={"tags": ["http", "blue"]},
        http={"tags": ["http"]},
        second={"filter": 'Service.Meta.version == "2"'},
        narrow={"tags": ["http"], "filter": 'Service.Meta.version == "2"'},
    )
    await views.show(
        both={81: "ready"},
        http={81: "ready", 82: "ready"},
        second={82: "ready", 83: "ready"},
        narrow={82: "ready"},
    )
    await consul.register("web", address="127.0.0.1", port=83, tags=["http", "blue"], meta={"version": "1"})
    await views.show(
        both={81: "ready", 83: "ready"},
        http={81: "ready", 82: "ready", 83: "ready"},
        second={82: "ready"},
        narrow={82: "ready"},
    )
