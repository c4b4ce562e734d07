"""The Runtime API over TLS: a `listen` section of HAProxy's own speaks it, and wants a certificate of dynsrv's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.certificates import Certificates, Pair, make_certificates
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates")


@pytest.fixture
def port() -> Iterator[int]:
    with a_port() as port:
        yield port


def _behind_tls(haproxy: HAProxy, certificates: Certificates, port: int) -> str:
    """Return the sections that pass TLS on *port* on to the stats socket, as docs/configuration.md tells to."""
    pem = certificates.authority.with_name("haproxy.pem")
    pem.write_text(certificates.server.certificate.read_text() + certificates.server.key.read_text())
    return f"""
listen runtime_api
    mode tcp
    bind 127.0.0.1:{port} ssl crt {pem} ca-file {certificates.authority} verify required
    server stats_socket unix@{haproxy.socket}
"""


@pytest.fixture
async def haproxy(a_haproxy: StartHAProxy, certificates: Certificates, port: int) -> HAProxy:
    """A HAProxy that is reloaded by its master."""
    haproxy = await a_haproxy(master_worker=True)
    haproxy.configure(extra=_behind_tls(haproxy, certificates, port))
    await haproxy.reload()
    return haproxy


def _proxy(port: int, **tls: object) -> list[dict[str, object]]:
    return [{"name": "lb1", "address": f"tcp+tls://127.0.0.1:{port}", "tls": tls}]


def _all_of(certificates: Certificates) -> dict[str, str]:
    return {
        "ca_file": str(certificates.authority),
        "cert_file": str(certificates.client.certificate),
        "key_file": str(certificates.client.key),
    }


async def test_servers_come_and_go_over_tls_and_a_reload_is_noticed(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, certificates: Certificates, port: int
) -> None:
    servers = await web_servers(3)
    probe = {"interval": "1h", "probe": "200ms"}
    controller = dynsrv(proxies=_proxy(port, **_all_of(certificates)), resync=probe)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.sent > 200)
        controller.want(servers[1:])
        await serves(haproxy, servers[1:])
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 200)
    assert not counts.failed, counts
    await haproxy.reload()
    await controller.logged(Event.HAPROXY_RELOADED)
    await serves(haproxy, servers[1:])


@pytest.mark.any_version
async def test_the_name_in_haproxys_certificate_may_be_another_than_the_address(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, certificates: Certificates, port: int
) -> None:
    servers = await web_servers(1)
    tls = {**_all_of(certificates), "server_name": "server.dc1.consul"}
    controller = dynsrv(proxies=_proxy(port, **tls))
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)


def _copy(pair: Pair, into: Pair) -> None:
    shutil.copy(pair.certificate, into.certificate)
    shutil.copy(pair.key, into.key)


@pytest.mark.any_version
async def test_a_certificate_that_is_renewed_is_read_again(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, certificates: Certificates, port: int, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path / "others").client
    shown = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    _copy(stranger, shown)
    servers = await web_servers(1)
    # relative paths begin at the configuration file
    tls = {"ca_file": str(certificates.authority), "cert_file": "cert.pem", "key_file": "key.pem"}
    controller = dynsrv(proxies=_proxy(port, **tls), resync={"probe": "100ms"})
    controller.want(servers)
    await controller.start()
    line = await controller.logged(Event.HAPROXY_UNREACHABLE)
    assert "rejects dynsrv's certificate, or requires one and received none (tlsv1 alert unknown ca)" in line
    assert await haproxy.servers() == {}
    _copy(certificates.client, shown)
    await serves(haproxy, servers)


@pytest.mark.any_version
async def test_what_is_wrong_with_tls_is_told_as_such(
    haproxy: HAProxy, dynsrv: Install, *, certificates: Certificates, port: int, tmp_path: Path
) -> None:
    good = _all_of(certificates)
    others = str(make_certificates(tmp_path / "others").authority)
    wrong: list[tuple[dict[str, object], str]] = [
        ({**good, "ca_file": others}, "HAProxy's certificate is not valid: unable to get local issuer certificate"),
        ({**good, "server_name": "lb2"}, "Hostname mismatch, certificate is not valid for 'lb2'"),
        ({"ca_file": good["ca_file"]}, "requires one and received none (tlsv13 alert certificate required)"),
        ({**good, "ca_file": "none.pem"}, f"tls.ca_file {tmp_path}/none.pem: there is no such file; write it"),
        ({**good, "key_file": others}, "expected a certificate and its key, not encrypted, in PEM"),
    ]
    for tls, sentence in wrong:
        controller = dynsrv(proxies=_proxy(port, **tls))
        controller.want([])
        finished = await controller.run("check", "--live")
        assert finished.code == 1
        assert f"tcp+tls://127.0.0.1:{port}: " in finished.out + finished.err
        assert sentence in finished.out + finished.err, finished


async def test_a_stats_socket_line_ignores_tls_which_is_told_before_anybody_relies_on_it(
    a_haproxy: StartHAProxy, dynsrv: Install, *, certificates: Certificates, port: int
) -> None:
    haproxy = await a_haproxy()
    _behind_tls(haproxy, certificates, port)  # writes the file
    pem = certificates.authority.with_name("haproxy.pem")
    tls = f"ssl crt {pem} ca-file {certificates.authority} verify required"
    haproxy.configure(extra=f"\nglobal\n    stats socket ipv4@127.0.0.1:{port} level admin {tls}\n")
    await haproxy.replace()
    controller = dynsrv(proxies=_proxy(port, **_all_of(certificates)))
    controller.want([])
    finished = await controller.run("check", "--live")
    assert finished.code == 1
    assert "HAProxy ignores `ssl` on a `stats socket` line; add a `listen` section" in finished.out + finished.err
    plain = dynsrv(proxies=[{"name": "lb1", "address": f"tcp://127.0.0.1:{port}"}])
    assert (await plain.run("check", "--live")).code == 0, "whoever reaches the port is let in without a certificate"


async def test_an_address_without_tls_that_gets_keys_of_tls_is_refused(
    dynsrv: Install, *, certificates: Certificates
) -> None:
    proxies = [{"name": "lb1", "address": "tcp://127.0.0.1:9999", "tls": _all_of(certificates)}]
    finished = await dynsrv(proxies=proxies).run("check")
    assert finished.code == 1
    assert "proxies[0].tls: the address tcp://127.0.0.1:9999 does not use TLS; write tcp+tls://" in finished.err
