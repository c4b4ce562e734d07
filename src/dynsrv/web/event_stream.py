"""What changed? A feed of changes that each subscriber reads at their own pace: first everything, then differences."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from dynsrv.api_model import Row, to_json
from dynsrv.web.slices import in_slices

PERIOD = 0.5
"""Seconds between two comparisons with what was known before, while there are subscribers."""

KEPT = 60
"""Differences that are kept for slow subscribers; one who is slower starts over with everything."""

HEARTBEAT = 15.0
"""Seconds without a change after which subscribers are sent a sign of life, so that they notice a broken connection."""

Rows = Iterable[tuple[str, Row]]


class StatusSection(NamedTuple):
    """Some rows by their keys, and the *state* that they are made from: while that is equal, so are the rows."""

    name: str
    state: tuple[object, ...]
    rows: Callable[[], Rows]


class ChangeFeed:
    """Keeps the rows that *read* returns, as JSON, and their last changes, while there are subscribers."""

    def __init__(self, read: Callable[[], Iterable[StatusSection]]) -> None:
        self._read = read
        self._subscribers = 0
        self._task: asyncio.Task[None] | None = None
        self._sections: dict[str, tuple[tuple[object, ...], dict[str, bytes]]] = {}
        self._version = 0  # 0: nothing was read yet
        self._rows: dict[str, bytes] = {}  # those of all sections
        self._differences: deque[tuple[int, dict[str, None]]] = deque(maxlen=KEPT)  # the keys alone: rows may be large
        self._events: dict[int | None, bytes] = {}  # by the version that they start from, shared by all subscribers
        self._changed = asyncio.Event()

    async def subscribe(self) -> AsyncGenerator[bytes, None]:
        """Yield events as JSON (see `api_model.Event`), and an empty one after each `HEARTBEAT` without any.

        The first one has `reset`, as has the next one of a subscriber who was too slow.

        Raises:
            Exception: what *read* raised.
        """
        self._subscribers += 1
        try:
            if self._task is None or self._task.done():
                self._changed = asyncio.Event()  # one that the task before does not know
                self._task = asyncio.create_task(self._run(), name="change feed")
            while not self._version:
                await self._wait()
            version = self._version
            yield self._delta_since(None)
            while True:
                if self._version == version:
                    await self._wait()
                behind, version = version, self._version
                yield self._delta_since(behind)
        finally:
            self._subscribers -= 1
            if not self._subscribers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._sections, self._rows = {}, {}
                self._version = 0
                self._differences.clear()
                self._events.clear()

    async def _wait(self) -> None:
        """Wait for a change, but no longer than `HEARTBEAT`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await self._changed.wait()
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        try:
            while True:
                if await self._refresh():
                    changed, self._changed = self._changed, asyncio.Event()
                    changed.set()
                await asyncio.sleep(PERIOD)
        except Exception:
            self._changed.set()  # or the subscribers would wait for a task that has ended
            raise

    async def _refresh(self) -> bool:
        """Read everything, and return whether anything changed. Rows are written only if their section's state did."""
        before = self._sections
        sections = {}
        for name, state, rows in self._read():
            known = before.get(name)
            if known is not None and known[0] == state:
                sections[name] = known
                continue
            sections[name] = (state, dict(await in_slices((key, to_json(row)) for key, row in rows())))
        changed: dict[str, None] = {}
        for name in before.keys() | sections.keys():
            _, old = before.get(name, ((), {}))
            _, new = sections.get(name, ((), {}))
            if old is not new:
                changed |= dict.fromkeys(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        self._sections = sections
        if not changed and self._version:
            return False
        self._rows = {key: row for _, rows in sections.values() for key, row in rows.items()}
        self._version += 1
        self._differences.append((self._version, changed))
        self._events.clear()
        return True

    def _delta_since(self, version: int | None) -> bytes:
        """Return the event that leads from *version* to now; from None, or a version that is too old: everything."""
        if version == self._version:
            return b""
        if version is not None and version + 1 < self._differences[0][0]:
            version = None
        if version not in self._events:
            self._events[version] = self._everything() if version is None else self._difference(version)
        return self._events[version]

    def _everything(self) -> bytes:
        return _event(self._rows.items(), [], reset=True)

    def _difference(self, version: int) -> bytes:
        keys: dict[str, None] = {}
        for number, difference in self._differences:
            if number > version:
                keys |= difference
        rows = ((key, self._rows[key]) for key in keys if key in self._rows)
        return _event(rows, [key for key in keys if key not in self._rows], reset=False)


def _event(rows: Iterable[tuple[str, bytes]], unset: list[str], *, reset: bool) -> bytes:
    """Return an `api_model.Event` of serialised rows: serialising thousands again would block the event loop."""
    content = b",".join(b"%b:%b" % (json.dumps(key).encode(), row) for key, row in rows)
    return b'{"reset":%b,"set":{%b},"unset":%b}' % (json.dumps(reset).encode(), content, json.dumps(unset).encode())
