"""Whatever stands before Consul's API, dynsrv gets through with what it was given: tokens, sockets, certificates."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.certificates import Certificates, Pair, make_certificates
from tests.integration.support.consul import Consul, StartConsul
from tests.integration.support.controller import Dynsrv, Install, from_consul, register
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version

RULES = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }'


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates")


async def _follows(consul: Consul, controller: Dynsrv, haproxy: HAProxy, servers: list[WebServer]) -> None:
    """Let the first be registered before the daemon starts and the second after; both have to serve."""
    first, second = servers
    await register(consul, first)
    await controller.start()
    await serves(haproxy, [first])
    await register(consul, second)
    await serves(haproxy, [first, second])
    assert not controller.lines(Event.SOURCE_FAILED)


async def test_a_token_in_the_configuration(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(acl=True)
    token = await consul.a_token(await consul.a_policy("dynsrv", RULES))
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url, token=token)})
    await _follows(consul, controller, haproxy, await web_servers(2))
    assert token not in controller.log.read_text()


async def test_a_token_and_an_address_in_the_environment(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(acl=True)
    token = await consul.a_token(await consul.a_policy("dynsrv", RULES))
    environment = {"CONSUL_HTTP_ADDR": consul.url.removeprefix("http://"), "CONSUL_HTTP_TOKEN": token}
    controller = dynsrv(haproxy, backend={"source": {"kind": "consul", "service": "web"}}, environment=environment)
    await _follows(consul, controller, haproxy, await web_servers(2))


async def test_a_token_in_a_file_is_rotated_without_anybody_noticing(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install, *, tmp_path: Path
) -> None:
    consul = await a_consul(acl=True)
    policy = await consul.a_policy("dynsrv", RULES)
    old, new = await consul.a_token(policy), await consul.a_token(policy)
    file = tmp_path / "token"
    file.write_text(f"{old}\n")
    servers = await web_servers(4)
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url, token_file="token", wait="1s")})
    await _follows(consul, controller, haproxy, servers[:2])
    async with load(haproxy.frontend) as counts:
        # the order of a careful rotation
        _replace(file, new)
        await consul.delete_token(old)
        begun = time.monotonic()
        await register(consul, servers[2])
        await serves(haproxy, servers[:3])
        assert time.monotonic() - begun < 10
        # and that of a careless one: for some time there is no token that works
        noticed = len(controller.lines(Event.SOURCE_FAILED))
        await consul.delete_token(new)
        await eventually(lambda: len(controller.lines(Event.SOURCE_FAILED)) > noticed)
        line = await controller.logged(Event.SOURCE_FAILED)
        assert "reason=acl" in line
        assert "ACL not found; Consul does not know the token" in line
        await serves(haproxy, servers[:3])
        await register(consul, servers[3])
        _replace(file, await consul.a_token(policy))
        await serves(haproxy, servers)
    assert not counts.failed
    assert len(controller.lines(Event.SOURCE_RECOVERED)) == len(controller.lines(Event.SOURCE_FAILED))
    assert not controller.lines(Event.SERVER_DRAINING)


async def test_a_token_that_loses_its_rights_takes_no_server_away(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(acl=True)
    token = await consul.a_token(await consul.a_policy("dynsrv", RULES))
    servers = await web_servers(2)
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url, token=token, wait="1s")})
    await _follows(consul, controller, haproxy, servers)
    await consul.a_policy("dynsrv", 'service "web" { policy = "read" }')  # Consul now answers 200, with nothing
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=acl" in line
    assert "the token may not read node consul; give it (without one: the anonymous token) a policy with" in line
    await serves(haproxy, servers)
    await consul.a_policy("dynsrv", RULES)
    await controller.logged(Event.SOURCE_RECOVERED)
    assert not controller.lines(Event.SERVER_DRAINING)


async def test_a_unix_socket(haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install) -> None:
    consul = await a_consul(unix_socket=True)
    controller = dynsrv(haproxy, backend={"source": from_consul(f"unix://{consul.unix_socket}")})
    await _follows(consul, controller, haproxy, await web_servers(2))


@pytest.mark.parametrize("tls", [{}, {"server_name": "server.dc1.consul"}], ids=["its address", "its name"])
async def test_https_with_an_authority_of_ones_own(
    haproxy: HAProxy,
    a_consul: StartConsul,
    web_servers: WebServers,
    dynsrv: Install,
    *,
    certificates: Certificates,
    tls: dict[str, str],
) -> None:
    consul = await a_consul(certificates=certificates)
    source = from_consul(consul.https_url, tls={"ca_file": str(certificates.authority), **tls})
    controller = dynsrv(haproxy, backend={"source": source})
    await _follows(consul, controller, haproxy, await web_servers(2))


async def test_mutual_tls_with_certificates_in_the_environment(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install, *, certificates: Certificates
) -> None:
    consul = await a_consul(certificates=certificates, verify_clients=True)
    assert consul.https_url is not None
    environment = {
        "CONSUL_HTTP_ADDR": consul.https_url.removeprefix("https://"),
        "CONSUL_HTTP_SSL": "true",
        "CONSUL_CACERT": str(certificates.authority),
        "CONSUL_CLIENT_CERT": str(certificates.client.certificate),
        "CONSUL_CLIENT_KEY": str(certificates.client.key),
    }
    controller = dynsrv(haproxy, backend={"source": {"kind": "consul", "service": "web"}}, environment=environment)
    await _follows(consul, controller, haproxy, await web_servers(2))


async def test_a_client_certificate_that_is_renewed_is_read_again(
    haproxy: HAProxy,
    a_consul: StartConsul,
    web_servers: WebServers,
    dynsrv: Install,
    *,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    consul = await a_consul(certificates=certificates, verify_clients=True)
    stranger = make_certificates(tmp_path / "others").client
    pair = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    _copy(stranger, pair)
    source = from_consul(
        consul.https_url,
        tls={"ca_file": str(certificates.authority), "cert_file": "cert.pem", "key_file": "key.pem"},
    )
    controller = dynsrv(haproxy, backend={"source": source})
    (server,) = await web_servers(1)
    await register(consul, server)
    await controller.start()
    await controller.logged(Event.SOURCE_FAILED)
    assert await haproxy.servers() == {}
    _copy(certificates.client, pair)
    await serves(haproxy, [server])


async def test_what_is_wrong_with_a_certificate_is_told_as_such(
    haproxy: HAProxy, a_consul: StartConsul, dynsrv: Install, *, certificates: Certificates, tmp_path: Path
) -> None:
    consul = await a_consul(certificates=certificates)
    authority = str(certificates.authority)
    others = str(make_certificates(tmp_path / "others").authority)
    (tmp_path / "text.pem").write_text("text")
    wrong: dict[str, tuple[dict[str, str], str]] = {
        "others": ({"ca_file": others}, f"{consul.https_url}: its certificate is not valid: "),
        "systems": ({}, f"{consul.https_url}: its certificate is not valid: "),
        "name": ({"ca_file": authority, "server_name": "server.dc2.consul"}, "not valid for 'server.dc2.consul'"),
        "none": ({"ca_file": "none.pem"}, f"tls.ca_file {tmp_path}/none.pem: there is no such file; write it"),
        "text": ({"ca_file": "text.pem"}, f"tls.ca_file {tmp_path}/text.pem: expected certificates in PEM"),
    }
    backends = [{"name": name, "source": from_consul(consul.https_url, tls=tls)} for name, (tls, _) in wrong.items()]
    controller = dynsrv(haproxy, backends=backends)
    await controller.start()
    for name, (_, sentence) in wrong.items():
        line = await controller.logged(Event.SOURCE_FAILED, f"backend={name} ")
        assert "reason=tls" in line, line
        assert sentence in line, line


async def test_a_client_certificate_that_consul_wants_is_told_as_such(
    haproxy: HAProxy, a_consul: StartConsul, dynsrv: Install, *, certificates: Certificates
) -> None:
    consul = await a_consul(certificates=certificates, verify_clients=True)
    source = from_consul(consul.https_url, tls={"ca_file": str(certificates.authority)})
    controller = dynsrv(haproxy, backend={"source": source})
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=tls" in line, line
    assert f"{consul.https_url} closed the connection: " in line


async def test_of_several_addresses_the_next_is_asked_when_one_fails(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    first, second = await a_consul(node="first"), await a_consul(node="second")
    servers = await web_servers(3)
    await register(second, servers[0])
    await first.kill()
    controller = dynsrv(haproxy, backend={"source": from_consul([first.url, second.url], wait="1s")})
    await controller.start()
    await serves(haproxy, servers[:1])
    line = await controller.logged(Event.CONSUL_AGENT_SWITCHED)
    assert f"agent={second.url}" in line
    assert f"cannot connect to {first.url}: Connection refused" in line
    await register(second, servers[1])
    await serves(haproxy, servers[:2])
    await first.start()
    await register(first, servers[0], servers[2])
    await second.kill()
    await serves(haproxy, [servers[0], servers[2]])  # the first again, in a circle
    assert not controller.lines(Event.SOURCE_FAILED)


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(f"{text}\n")
    new.rename(file)


def _copy(source: Pair, target: Pair) -> None:
    target.key.write_bytes(source.key.read_bytes())
    target.certificate.write_bytes(source.certificate.read_bytes())
