"""With web.tls everything is told over HTTPS alone; without, it is told that everybody who comes by may read."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, done
from tests.integration.support.certificates import Certificates, make_certificates
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.crowd import is_connected
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

EXPECTED = "expected a certificate and its key, not encrypted, in PEM"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "tls")


def _pair(certificates: Certificates, folder: Path) -> dict[str, str]:
    """The server's certificate and its key, by paths that begin at the folder of the configuration file."""
    pair = certificates.server
    return {
        "cert_file": str(pair.certificate.relative_to(folder)),
        "key_file": str(pair.key.relative_to(folder)),
    }


async def test_everything_is_told_over_https_and_nothing_over_http(
    haproxy: HAProxy, dynsrv: Install, certificates: Certificates, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    tls = _pair(certificates, tmp_path)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token", "tls": tls})
    controller.want([])
    await controller.start()
    api = await Api(unused_tcp_port, tls=certificates.context()).ready()
    assert (await api.status())["proxies"][0]["proxy"] == "lb1"
    assert await api.reconcile() == (200, done("lb1"))
    assert (await api.text("/metrics"))[0] == (await api.text("/"))[0] == 200
    async with api.following() as following:
        await eventually(lambda: "proxy:lb1" in following.rows)

    with pytest.raises(aiohttp.ClientError):
        await Api(unused_tcp_port).text("/healthz")
    stranger = ssl.create_default_context()
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await Api(unused_tcp_port, tls=stranger).text("/healthz")
    old = certificates.context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiohttp.ClientError):
        await Api(unused_tcp_port, tls=old).text("/healthz")
    assert await api.answers()
    assert await controller.stop() == 0
    assert "Traceback" not in controller.log.read_text()
    assert not controller.lines(Event.WEB_EXPOSED)


async def test_a_client_that_does_not_finish_its_handshake_disturbs_nobody(
    haproxy: HAProxy, dynsrv: Install, certificates: Certificates, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    tls = _pair(certificates, tmp_path)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}", "tls": tls})
    await controller.start()
    api = await Api(unused_tcp_port, tls=certificates.context()).ready()
    _, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    assert await api.answers()
    client = writer.get_extra_info("sockname")
    assert is_connected(unused_tcp_port, client)
    writer.transport.abort()
    await eventually(lambda: not is_connected(unused_tcp_port, client))
    assert await controller.stop() == 0
    assert "Traceback" not in controller.log.read_text()


async def test_a_certificate_in_one_file_with_its_key_will_do(
    haproxy: HAProxy, dynsrv: Install, certificates: Certificates, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    pair = certificates.server
    (tmp_path / "both.pem").write_text(pair.certificate.read_text() + pair.key.read_text())
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}", "tls": {"cert_file": "both.pem"}})
    await controller.start()
    await Api(unused_tcp_port, tls=certificates.context()).ready()


def _encrypted(key: Path) -> bytes:
    whole = serialization.load_pem_private_key(key.read_bytes(), password=None)
    encryption = serialization.BestAvailableEncryption(b"abc")
    return whole.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


async def test_what_is_wrong_with_a_certificate_is_told_at_the_start(
    dynsrv: Install, certificates: Certificates, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    good = _pair(certificates, tmp_path)
    certificate, key = tmp_path / good["cert_file"], tmp_path / good["key_file"]
    other = certificates.client.key.relative_to(tmp_path)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "secret").write_bytes(_encrypted(key))
    missing = "there is no such file; write it, or correct the path"
    for tls, sentence in (
        ({**good, "cert_file": "none"}, f"web.tls.cert_file: {tmp_path}/none: {missing}"),
        ({**good, "key_file": "none"}, f"web.tls.key_file: {tmp_path}/none: {missing}"),
        ({**good, "key_file": "."}, f"web.tls.key_file: {tmp_path}: a directory; name the file in it"),
        ({**good, "cert_file": "text"}, f"web.tls: {tmp_path}/text and {key}: {EXPECTED}"),
        ({**good, "key_file": "text"}, f"web.tls: {certificate} and {tmp_path}/text: {EXPECTED}"),
        ({**good, "key_file": "secret"}, f"web.tls: {certificate} and {tmp_path}/secret: {EXPECTED}"),
        ({"cert_file": good["cert_file"]}, f"web.tls: {certificate}: {EXPECTED}"),
        (
            {**good, "key_file": str(other)},
            f"web.tls: {certificate} and {tmp_path}/{other}: {EXPECTED} (KEY_VALUES_MISMATCH)",
        ),
    ):
        controller = dynsrv(web={"listen": f"127.0.0.1:{unused_tcp_port}", "tls": tls}, proxies=[{"address": "/none"}])
        finished = await controller.run("run")
        assert finished.code == 1, finished
        assert finished.err == f"dynsrv: {sentence}\n"


@pytest.mark.parametrize(("listen", "warns"), [("0.0.0.0", 1), ("[::]", 1), ("127.0.0.1", 0), ("[::1]", 0)])
async def test_that_everybody_may_read_is_told_once_where_that_is_so(
    haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int, *, listen: str, warns: int
) -> None:
    controller: Dynsrv = dynsrv(haproxy, web={"listen": f"{listen}:{unused_tcp_port}"})
    await controller.start()
    await controller.logged(Event.STARTED)
    assert await controller.stop() == 0
    assert len(controller.lines(Event.WEB_EXPOSED)) == warns
