"""Whatever file hangs, SIGTERM ends dynsrv within five seconds; other signals do not end it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

WITHIN = 5.0


async def test_an_audit_file_that_hangs_does_not_delay_the_end(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, other = await web_servers(2)
    controller = dynsrv(haproxy, audit={"path": "audit.jsonl"})
    controller.want([one])
    await controller.start()
    await serves(haproxy, [one])
    audit = controller.folder / "audit.jsonl"
    audit.unlink()
    os.mkfifo(audit)  # opening it for writing waits for somebody who reads
    controller.want([one, other])
    await controller.logged(Event.AUDIT_WRITE_FAILED)
    began = time.monotonic()
    assert await controller.stop() == 0
    assert time.monotonic() - began < WITHIN
    assert controller.lines(Event.STOPPED_EARLY)


async def test_a_configuration_file_that_hangs_does_not_delay_the_end(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(1)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    controller.configuration.unlink()
    os.mkfifo(controller.configuration)
    controller.signal(signal.SIGHUP)
    with controller.configuration.open("wb", buffering=0):  # returns once dynsrv reads it
        began = time.monotonic()
        assert await controller.stop() == 0
    assert time.monotonic() - began < WITHIN


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
async def test_signals_of_log_rotation_do_not_end_it(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, number: signal.Signals
) -> None:
    one, other = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want([one])
    await controller.start()
    await serves(haproxy, [one])
    controller.signal(number)
    controller.want([one, other])
    await serves(haproxy, [one, other])
    assert await controller.stop() == 0
