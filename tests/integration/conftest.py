"""Fixtures of the tests on real HAProxy.

A test that asks for `haproxy` runs on every supported version. One whose promise does not depend on HAProxy is marked
any_version: it runs on one of them, unless pytest has the option --all-versions.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.aws import Aws, environment
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.browser import Chromium, chromium
from tests.integration.support.consul import Cluster, Consul, StartConsul
from tests.integration.support.containers import NOT_RUN, Engine, need_an_engine, remove_leftovers
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.ec2_group import EndingGroup
from tests.integration.support.fork_server import ForkServer
from tests.integration.support.haproxy import VERSIONS, HAProxy, StartHAProxy
from tests.integration.support.moto import Moto
from tests.integration.support.ports import a_port
from tests.integration.support.status_site import Site
from tests.integration.support.web_servers import WebServer, WebServers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.integration)
    if not config.getoption("all_versions"):
        config.hook.pytest_deselected(items=[item for item in items if not _is_chosen(item)])
        items[:] = filter(_is_chosen, items)


def _is_chosen(item: pytest.Item) -> bool:
    """Choose one version for a test that is marked any_version: always the same, and each for a quarter of them."""
    callspec: Any = getattr(item, "callspec", None)
    if callspec is None or "version" not in callspec.params or item.get_closest_marker("any_version") is None:
        return True
    version = str(callspec.params["version"])
    test = item.nodeid.replace(version, "")
    return version == VERSIONS[zlib.crc32(test.encode()) % len(VERSIONS)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell of tests that were not run, louder than pytest does."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ())]
    if not_run := [reason for reason in reasons if NOT_RUN in reason]:
        terminalreporter.section(f"{len(not_run)} TESTS OF CONTAINERS NOT RUN", red=True, bold=True)
        terminalreporter.line(not_run[0], red=True)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each supported HAProxy version in turn."""
    return str(request.param)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a test opens is closed in reverse order."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def unused_tcp_port() -> Iterator[int]:
    """A port of 127.0.0.1 that stays free until the test takes it: pytest-asyncio's own may be gone by then."""
    with a_port() as port:
        yield port


@pytest.fixture
def a_haproxy(version: str, stack: AsyncExitStack) -> StartHAProxy:
    """Start a HAProxy of the version under test, configured as the arguments say."""

    async def start(**arguments: Any) -> HAProxy:
        haproxy = HAProxy(arguments.pop("version", version), **arguments)
        stack.push_async_callback(haproxy.close)
        await haproxy.start()
        return haproxy

    return start


@pytest.fixture
async def haproxy(a_haproxy: StartHAProxy) -> HAProxy:
    """A HAProxy with the shipped configuration."""
    return await a_haproxy()


@pytest.fixture
def web_servers(stack: AsyncExitStack) -> WebServers:
    """Start so many web servers."""

    async def start(number: int) -> list[WebServer]:
        return [await (await stack.enter_async_context(WebServer())).start() for _ in range(number)]

    return start


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer | None]:
    """What starts dynsrv. A file whose tests are about the start itself has None instead: then it is executed."""
    with ForkServer() as server:
        yield server


@pytest.fixture
def dynsrv(fork_server: ForkServer | None, stack: AsyncExitStack, tmp_path: Path) -> Install:
    """Install dynsrv for these HAProxys; a daemon that still runs at the end is stopped, and has to stop in time."""

    def install(*proxies: HAProxy, **settings: Any) -> Dynsrv:
        controller = Dynsrv(tmp_path, *proxies, server=fork_server, **settings)
        stack.callback(lambda: print(controller.log.read_text() if controller.log.exists() else "no daemon"))
        stack.push_async_callback(controller.stop)
        return controller

    return install


@pytest.fixture(scope="session")
def an_engine() -> None:
    """Docker answers, and has nothing of tests that are gone."""
    need_an_engine()
    remove_leftovers()


@pytest.fixture
def engine(an_engine: None, stack: AsyncExitStack, tmp_path: Path) -> Engine:
    """Docker, with a network on which there is nothing yet."""
    return Engine(stack, tmp_path)


@pytest.fixture
def a_consul(stack: AsyncExitStack) -> StartConsul:
    """Start a Consul, configured as the arguments say."""

    async def start(**arguments: Any) -> Consul:
        return await stack.enter_async_context(Consul(**arguments))

    return start


@pytest.fixture
async def consul(a_consul: StartConsul) -> Consul:
    """A Consul without ACLs that forgets everything when it ends."""
    return await a_consul()


@pytest.fixture
async def cluster(stack: AsyncExitStack) -> Cluster:
    """Three Consul servers with a leader."""
    return await stack.enter_async_context(Cluster())


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """The process behind `aws`; its first start takes a second or two, and to forget all, some milliseconds."""
    with Moto() as moto:
        yield moto


@pytest.fixture
async def aws(moto: Moto) -> AsyncIterator[Aws]:
    """An AWS in which there is nothing yet."""
    asked = moto.log.stat().st_size
    yield await moto.empty()
    print("--- what moto was asked last", *moto.log.read_bytes()[asked:].decode().splitlines()[-30:], sep="\n")


@pytest.fixture
async def faulty_aws(aws: Aws, stack: AsyncExitStack) -> FaultyAws:
    """What dynsrv takes for AWS."""
    return await stack.enter_async_context(FaultyAws(aws))


@pytest.fixture
def on_ec2(faulty_aws: FaultyAws, dynsrv: Install, tmp_path: Path) -> Install:
    """Install dynsrv with a key for AWS, and with nothing that this machine knows of AWS; AWS ends after it."""

    def install(*proxies: HAProxy, **settings: Any) -> Dynsrv:
        variables = settings.pop("environment", {})
        return dynsrv(*proxies, environment=environment(tmp_path, **variables), **settings)

    return install


@pytest.fixture
async def group(faulty_aws: FaultyAws, web_servers: WebServers) -> EndingGroup:
    """A group of two instances that wait to end."""
    group = EndingGroup(faulty_aws, await web_servers(2))
    await group.prepare()
    return group


@pytest.fixture
async def browser(stack: AsyncExitStack) -> Chromium:
    """A browser that has no page open."""
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
