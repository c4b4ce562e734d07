"""A configuration file that cannot be kept current changes nothing in HAProxy, and somebody hears of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.api import Api
from tests.integration.support.config_files import MARKED, MARKS, keeping, kept, kept_ports
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, binary, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers


def _outside(text: str) -> tuple[str, str]:
    """Return what is before and behind the servers."""
    before, _, rest = text.partition("# dynsrv begin\n")
    return before, rest.partition("# dynsrv end")[2]


async def _degraded(api: Api, what: str) -> None:
    async def told() -> bool:
        status, answer = await api.text("/readyz")
        assert status == 200, answer
        return what in answer

    await eventually(told, what=f"/readyz says {what!r}")


@pytest.mark.any_version
async def test_a_file_without_marks_is_reported_everywhere_and_mended_without_a_restart(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    haproxy = await a_haproxy()
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy), web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want(servers)
    checked = await controller.run("check")
    assert checked.code == 1
    assert "no lines `# dynsrv begin` and `# dynsrv end`" in checked.out
    await controller.start()
    await serves(haproxy, servers)
    api = await Api(unused_tcp_port).ready()
    await _degraded(api, "no lines `# dynsrv begin` and `# dynsrv end`")
    (file,) = (await api.status())["proxies"][0]["config_files"]
    assert file["path"] == str(haproxy.configuration)
    assert "no lines `# dynsrv begin`" in file["error"]
    assert 'dynsrv_config_file_current{backend="be_app",proxy="lb1"} 0.0' in (await api.text("/metrics"))[1]
    controller.want(servers[:1])  # which waits for nothing
    await serves(haproxy, servers[:1])
    assert (await controller.run("render", "--mark", "be_app")).code == 0
    await eventually(lambda: kept_ports(haproxy.configuration) == {servers[0].port}, within=5)
    await controller.logged(Event.CONFIG_FILE_RECOVERED)
    (file,) = (await api.status())["proxies"][0]["config_files"]
    assert file["error"] is None
    assert file["written"] is not None
    assert controller.log.read_text().count(Event.CONFIG_FILE_FAILED) == 1
    assert (await controller.run("check")).code == 0


@pytest.mark.any_version
async def test_a_new_file_that_haproxy_refuses_does_not_replace_the_old_one(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, version: str
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(3)
    validate = [str(binary(version)), "-c", "-f", "{path}"]
    controller = dynsrv(haproxy, proxies=keeping(haproxy, validate=validate))
    controller.want(servers[:2])
    await controller.start()
    await serves(haproxy, servers[:2])
    await eventually(lambda: len(kept(haproxy.configuration)) == 2, within=5)
    # somebody breaks another part of it
    broken = haproxy.configuration.read_text().replace("timeout connect 5s", "timeout conect 5s")
    haproxy.configuration.write_text(broken)
    controller.want(servers)
    await serves(haproxy, servers)
    line = await controller.logged(Event.CONFIG_FILE_FAILED)
    assert "reason=validation" in line
    assert "timeout" in line
    assert haproxy.configuration.read_text() == broken
    controller.want(servers[:1])
    await serves(haproxy, servers[:1])  # not even a drain waits for it
    haproxy.configuration.write_text(broken.replace("timeout conect", "timeout connect"))
    await eventually(lambda: kept_ports(haproxy.configuration) == {servers[0].port}, within=5)


@pytest.mark.any_version
async def test_a_template_is_followed_and_never_written(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    template = tmp_path / "haproxy.cfg.in"
    template.write_bytes(haproxy.configuration.read_bytes())
    servers = await web_servers(2)
    controller = dynsrv(haproxy, proxies=keeping(haproxy, template=str(template)))
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    ports = {server.port for server in servers}
    await eventually(lambda: kept_ports(haproxy.configuration) == ports, within=5)
    for number in range(3):
        text = template.read_text().replace("retries 3", f"# change {number}\n    retries 3")
        new = template.with_suffix(".new")
        new.write_text(text)
        new.rename(template)

        def followed(text: str = text) -> bool:
            return haproxy.configuration.read_text().count("# change") == text.count("# change")

        await eventually(followed, within=5)
        assert kept_ports(haproxy.configuration) == ports
        assert template.read_text() == text


@pytest.mark.any_version
async def test_configuration_management_and_dynsrv_write_one_file_and_neither_loses_its_part(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(4)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    path = haproxy.configuration
    original = path.read_text()
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)

    def manage(number: int) -> None:
        """Write the file as it should be, which has no servers, as a tool does that knows nothing of dynsrv."""
        text = original.replace("retries 3", f"retries 3 # {number}")
        if number % 2:
            new = path.with_suffix(".ansible")
            new.write_text(text)
            new.rename(path)
        else:
            path.write_text(text)

    number = 0
    until = time.monotonic() + 8
    while time.monotonic() < until:
        number += 1
        await asyncio.to_thread(manage, number)
        controller.want(servers[: 1 + number % 4])
        await asyncio.sleep(0.03 * (number % 7))
        assert f"retries 3 # {number}" in path.read_text()  # nobody put an older one back
    controller.want(servers)
    await serves(haproxy, servers)
    await eventually(lambda: kept_ports(path) == {server.port for server in servers}, within=10)
    assert f"retries 3 # {number}" in path.read_text()
    assert _outside(path.read_text()) == _outside(original.replace("retries 3", f"retries 3 # {number}"))


@pytest.mark.any_version
async def test_killed_again_and_again_dynsrv_leaves_a_whole_file(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await eventually(lambda: len(kept(haproxy.configuration)) == 3, within=5)
    original = _outside(haproxy.configuration.read_text())
    for number in range(15):
        controller.want(servers[: 1 + number % 3])
        await asyncio.sleep(0.02 * (number % 8))
        await controller.stop(signal.SIGKILL)
        assert _outside(haproxy.configuration.read_text()) == original
        assert kept(haproxy.configuration)
        await controller.start()
    controller.want(servers)
    await eventually(lambda: len(kept(haproxy.configuration)) == 3, within=10)


@pytest.mark.any_version
async def test_a_file_in_a_folder_that_is_not_dynsrvs_is_refused_with_the_remedy(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    # root may write anywhere but there
    path = Path("/proc/self/haproxy.cfg" if os.geteuid() == 0 else "/haproxy.cfg")
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(1)
    proxies = keeping(haproxy, template=str(haproxy.configuration))
    proxies[0]["config_file"]["path"] = str(path)
    controller = dynsrv(haproxy, proxies=proxies)
    controller.want(servers)
    rendered = await controller.run("render")
    assert rendered.code == 1
    assert str(path) in rendered.err
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.CONFIG_FILE_FAILED)


@pytest.mark.any_version
async def test_check_compares_what_the_lines_would_inherit_and_which_file_haproxy_reads(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(backend=f"balance roundrobin\ndefault-server inter 5s rise 7\n{MARKS}")
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want(await web_servers(1))
    assert (await controller.run("check")).code == 0  # the servers of the test have inter and rise of their own
    text = haproxy.configuration.read_text()
    haproxy.configuration.write_text(text.replace("rise 7", "slowstart 9s"))
    checked = await controller.run("check")
    assert checked.code == 1
    assert "`default-server` gives its lines `slowstart 9s`" in checked.out

    haproxy.configuration.write_text(text)
    live = await controller.run("check", "--live")
    assert live.code == 0, live
    other = tmp_path / "other.cfg"
    other.write_text(text)
    proxies = keeping(haproxy)
    proxies[0]["config_file"]["path"] = str(other)
    elsewhere = dynsrv(haproxy, proxies=proxies)
    live = await elsewhere.run("check", "--live")
    assert live.code == 1
    assert f"does not read {other}: it was started with -f {haproxy.configuration}" in live.out
    without = dynsrv(haproxy)
    live = await without.run("check", "--live")
    assert live.code == 0, live
    assert "warning: without a config_file, a reload of HAProxy loses its servers" in live.out


async def _two_sections(haproxy: HAProxy, folder: Path) -> list[Path]:
    """Move the backend of *haproxy* into a file of its own, and return the files."""
    text = haproxy.configuration.read_text()
    head, _, backend = text.partition("\nbackend be_app")
    first, second = folder / "10-main.cfg", folder / "20-app.cfg"
    first.write_text(f"{head}\n")
    second.write_text(f"backend be_app{backend}")
    return [first, second]


@pytest.mark.any_version
async def test_of_several_files_the_one_with_the_section_is_kept(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    folder = tmp_path / "conf.d"
    folder.mkdir()
    first, second = await _two_sections(haproxy, folder)
    servers = await web_servers(2)
    proxies = [
        {"name": "lb1", "address": str(haproxy.socket), "config_files": [{"path": str(first)}, {"path": str(second)}]}
    ]
    controller = dynsrv(haproxy, proxies=proxies)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await eventually(lambda: kept_ports(second) == {server.port for server in servers}, within=5)
    assert Event.CONFIG_FILE_FAILED not in controller.log.read_text()
    controller.want(servers[:1])
    await serves(haproxy, servers[:1])
    assert kept_ports(second) == {servers[0].port}
    assert (await controller.run("render", "--check")).code == 0


@pytest.mark.any_version
async def test_two_haproxies_that_read_one_file_find_what_serves_on_either(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, other = await a_haproxy(backend=MARKED), await a_haproxy(backend=MARKED)
    servers = await web_servers(3)
    proxies = keeping(one, other)
    proxies[1]["config_file"] = proxies[0]["config_file"]
    controller = dynsrv(one, other, proxies=proxies)
    controller.want(servers)
    await controller.start()
    await serves(one, servers)
    await serves(other, servers)
    ports = {server.port for server in servers}
    await eventually(lambda: kept_ports(one.configuration) == ports, within=5)
    await other.stop()
    await eventually(lambda: kept_ports(one.configuration) == ports, within=5)
    controller.want(servers[:1])
    await serves(one, servers[:1])
    await eventually(lambda: kept_ports(one.configuration) == {servers[0].port}, within=5)
