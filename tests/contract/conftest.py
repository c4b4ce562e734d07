"""Each promise of a source is tested on a stage of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.contract.consul_stage import ConsulStage
from tests.contract.ec2_stage import Ec2Stage
from tests.contract.file_stage import FileStage
from tests.contract.stage import RemoteStage, Stage
from tests.fakes.loop import FakeTimeLoop

REMOTE: Mapping[str, type[RemoteStage]] = {"consul": ConsulStage, "ec2": Ec2Stage}
STAGES: Mapping[str, type[Stage]] = {"file": FileStage, **REMOTE}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """No test waits: timeouts and pauses end as soon as there is nothing else to do."""
    return {"fake time": FakeTimeLoop}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage of each kind."""
    return STAGES[request.param](tmp_path, monkeypatch)


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteStage:
    """A stage of each kind that sends requests."""
    return REMOTE[request.param](tmp_path, monkeypatch)
