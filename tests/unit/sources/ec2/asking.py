"""Those who ask an AWS in memory, and what they are refused."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from dynsrv.errors import SourceError
from tests.fakes.ec2 import FakeAws

ALL: tuple[tuple[str, tuple[str, ...]], ...] = ()


async def error_of(asking: Awaitable[object]) -> SourceError:
    """Return the error that a question ends with."""
    with pytest.raises(SourceError) as caught:
        await asking
    return caught.value


def a_group(*numbers: int) -> FakeAws:
    """An AWS with one group, which has a hook at termination."""
    fake = FakeAws()
    fake.group(*numbers)
    fake.hook()
    return fake
