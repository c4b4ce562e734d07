"""Somebody reloads HAProxy under load, while servers come and go: nothing is lost, and nothing that left comes back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.integration.support.churn import churn
from tests.integration.support.config_files import MARKED, keeping
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy


async def _restart(haproxy: HAProxy, way: str) -> None:
    match way:
        case "-sf":
            await haproxy.replace(listeners=True)
        case "SIGUSR2":
            await haproxy.reload()
        case _:
            await haproxy.stop(kill=True)
            await haproxy.start()


@pytest.mark.parametrize("way", ["-sf", "SIGUSR2", "SIGKILL"])
async def test_whoever_reloads_or_restarts_haproxy_loses_no_request_for_want_of_a_server(
    a_haproxy: StartHAProxy, dynsrv: Install, tmp_path: Path, way: str
) -> None:
    haproxy = await a_haproxy(backend=MARKED, level="admin expose-fd listeners", master_worker=way == "SIGUSR2")
    audit = tmp_path / "audit.log"
    controller = dynsrv(
        haproxy, proxies=keeping(haproxy), audit={"path": str(audit)}, resync={"interval": "30s", "probe": "200ms"}
    )
    times = 2 if way == "SIGKILL" else 5
    outcome = await churn(haproxy, controller, [partial(_restart, haproxy, way)] * times, audit=audit)
    assert outcome.drained > 5
    assert outcome.without_a_server == 0, outcome
    if way != "SIGKILL":  # which cuts connections
        assert not outcome.failed, outcome
    assert not outcome.late
    assert outcome.planned == 0
    assert outcome.kept == outcome.serving


@pytest.mark.any_version
async def test_without_the_file_the_same_reloads_cost_requests(
    a_haproxy: StartHAProxy, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(backend=MARKED, master_worker=True)
    audit = tmp_path / "audit.log"
    controller = dynsrv(haproxy, audit={"path": str(audit)}, resync={"interval": "30s", "probe": "200ms"})
    outcome = await churn(haproxy, controller, [haproxy.reload] * 3, audit=audit)
    assert outcome.without_a_server > 0
