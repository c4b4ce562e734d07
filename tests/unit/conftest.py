from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.fakes.loop import FakeTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """No unit test waits: time-outs and sleeps are over as soon as there is nothing else to do."""
    return {"fake time": FakeTimeLoop}
