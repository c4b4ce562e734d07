"""Waiting for a condition with a deadline: the only way in which these tests wait."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

_INTERVAL = 0.02


async def eventually(condition: Callable[[], Any], *, within: float = 30.0, what: str = "") -> Any:
    """Return the first truthy value of *condition*, asked again and again; fail after *within* seconds.

    *condition* may be a coroutine function. An AssertionError in it counts as "not yet", and is shown if it stays.
    """
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or inspect.getsource(condition).strip()}\nlast: {last}")
        await asyncio.sleep(_INTERVAL)
