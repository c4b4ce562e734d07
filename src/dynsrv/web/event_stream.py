"""What is new? Told to everyone who follows, each at their own pace: first everything, then what changed."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

PERIOD = 0.5
"""Seconds between two looks at what is new, while anybody follows."""

KEPT = 60
"""Differences that are kept for those who are slow; who is slower begins anew."""

HEARTBEAT = 15.0
"""Seconds without news after which that is told, so that a broken connection is noticed."""

_AT_ONCE = 200  # rows that are written before others get their turn

Rows = Iterable[tuple[str, Mapping[str, Any]]]


class StatusSection(NamedTuple):
    """Some rows by their keys, and the *state* that they are made of: while that is equal, so are the rows."""

    name: str
    state: tuple[object, ...]
    rows: Callable[[], Rows]


class ChangeFeed:
    """Keeps what *read* tells, as JSON, and what changed in it, while it has followers."""

    def __init__(self, read: Callable[[], Iterable[StatusSection]]) -> None:
        self._read = read
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._parts: dict[str, tuple[tuple[object, ...], dict[str, str]]] = {}
        self._version = 0  # 0: nobody has looked yet
        self._rows: dict[str, str] = {}  # those of all parts
        self._differences: deque[tuple[int, dict[str, None]]] = deque(maxlen=KEPT)  # the keys alone: rows may be large
        self._events: dict[int | None, str] = {}  # what is new since a version, written once for all who are there
        self._news = asyncio.Event()

    async def subscribe(self) -> AsyncGenerator[str, None]:
        """Yield JSON objects: `set` has rows by their keys, `unset` the keys that are gone.

        The first has `reset`: what was known before does not count. An empty text says that nothing is new.

        Raises:
            Exception: what *read* raised.
        """
        self._followers += 1
        try:
            if self._task is None or self._task.done():
                self._news = asyncio.Event()  # one that the task before does not know
                self._task = asyncio.create_task(self._run(), name="board")
            while not self._version:
                await self._told()
            version = self._version
            yield self._since(None)
            while True:
                if self._version == version:
                    await self._told()
                behind, version = version, self._version
                yield self._since(behind)
        finally:
            self._followers -= 1
            if not self._followers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._parts, self._rows = {}, {}
                self._version = 0
                self._differences.clear()
                self._events.clear()

    async def _told(self) -> None:
        """Wait for news, or for so long that their absence is one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await self._news.wait()
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        try:
            while True:
                if await self._look():
                    news, self._news = self._news, asyncio.Event()
                    news.set()
                await asyncio.sleep(PERIOD)
        except Exception:
            self._news.set()  # those who follow have to know
            raise

    async def _look(self) -> bool:
        """Take in what is there now, and return whether that is another than before."""
        before = self._parts
        sections = {}
        for name, state, rows in self._read():
            known = before.get(name)
            if known is not None and known[0] == state:
                sections[name] = known
                continue
            sections[name] = (state, await _written(rows()))
        changed: dict[str, None] = {}
        for name in before.keys() | sections.keys():
            _, old = before.get(name, ((), {}))
            _, new = sections.get(name, ((), {}))
            if old is not new:
                changed |= dict.fromkeys(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        self._parts = sections
        if not changed and self._version:
            return False
        self._rows = {key: row for _, rows in sections.values() for key, row in rows.items()}
        self._version += 1
        self._differences.append((self._version, changed))
        self._events.clear()
        return True

    def _since(self, version: int | None) -> str:
        """Return what is new since *version*; None, or one that is too old: everything."""
        if version == self._version:
            return ""
        if version is not None and version + 1 < self._differences[0][0]:
            version = None
        if version not in self._events:
            self._events[version] = self._everything() if version is None else self._changed(version)
        return self._events[version]

    def _everything(self) -> str:
        return _event(self._rows.items(), [], reset=True)

    def _changed(self, version: int) -> str:
        keys: dict[str, None] = {}
        for number, difference in self._differences:
            if number > version:
                keys |= difference
        rows = ((key, self._rows[key]) for key in keys if key in self._rows)
        return _event(rows, [key for key in keys if key not in self._rows], reset=False)


async def _written(rows: Rows) -> dict[str, str]:
    written = {}
    for number, (key, data) in enumerate(rows, 1):
        written[key] = json.dumps(data, separators=(",", ":"))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return written


def _event(rows: Iterable[tuple[str, str]], unset: list[str], *, reset: bool) -> str:
    content = ",".join(f"{json.dumps(key)}:{row}" for key, row in rows)
    return f'{{"reset":{json.dumps(reset)},"set":{{{content}}},"unset":{json.dumps(unset)}}}'
