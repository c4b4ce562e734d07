"""An event loop whose time passes only when there is nothing else to do: a time-out of an hour is over at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it, except while a thread works for it."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._threads = 0
        super().__init__(_Selector(self._passed))

    def time(self) -> float:
        """Return the seconds that have passed for this loop."""
        return self._seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As every loop does, and count the threads that work."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _passed(self, seconds: float) -> bool:
        """Let *seconds* pass, if there is nobody to wait for."""
        if self._threads:
            return False
        self._seconds += seconds
        return True


class _Selector(selectors.DefaultSelector):
    """Waits for real only where something outside of the loop can end it."""

    def __init__(self, passed: Callable[[float], bool]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is not None and self._passed(timeout):
            return events
        return super().select(0.05 if timeout is None else min(timeout, 0.05))
