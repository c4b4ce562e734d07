"""A status that changes, and someone who subscribes to its changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Any, Self

from dynsrv.api_model import MissingServer
from dynsrv.model import host_port
from dynsrv.web.event_stream import ChangeFeed, Rows, StatusSection


class ScriptedStatus:
    """A number for each row by its key, in sections by their names, and the feed of what changes in them."""

    def __init__(self, **sections: Mapping[str, int]) -> None:
        self.sections = {name: dict(numbers) for name, numbers in sections.items()}
        self.reads = 0
        """How often it was read."""
        self.written: list[str] = []
        """The sections whose rows were read."""
        self.broken: Exception | None = None
        self.feed = ChangeFeed(self.read)

    def read(self) -> Iterator[StatusSection]:
        """Yield all sections."""
        self.reads += 1
        for name, numbers in self.sections.items():
            yield StatusSection(name, tuple(numbers.items()), partial(self._rows, name, dict(numbers)))
        if self.broken is not None:
            raise self.broken

    @property
    def rows(self) -> dict[str, Any]:
        """All rows of all sections, as a subscriber gets them."""
        return {key: a_row(number) for numbers in self.sections.values() for key, number in numbers.items()}

    def _rows(self, name: str, numbers: Mapping[str, int]) -> Rows:
        self.written.append(name)
        return [(key, _row(number)) for key, number in numbers.items()]


def _row(number: int) -> MissingServer:
    return MissingServer(backend="be_app", proxy="lb1", address="10.0.0.1", port=number, why="")


def a_row(number: int) -> dict[str, Any]:
    """Return the row that stands for *number*, as a subscriber gets it."""
    return asdict(_row(number))


class Subscriber:
    """Applies each event to its *rows*, as the API's description says. Subscribes inside of its block."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._events = feed.subscribe()
        self._closing = aclosing(self._events)
        self.events: list[dict[str, Any]] = []
        self.rows: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        await self._closing.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._closing.__aexit__(kind, error, traceback)

    async def read(self) -> bytes:
        """Wait for the next event, apply it, and return its text: empty if it is a heartbeat."""
        text = await anext(self._events)
        if text:
            event = json.loads(text)
            self.events.append(event)
            if event["reset"]:
                self.rows.clear()
            for key in event["unset"]:
                self.rows.pop(key, None)
            self.rows |= event["set"]
        return text

    async def next_change(self) -> dict[str, Any]:
        """Wait for the next event that is no heartbeat, and return it."""
        while not await self.read():
            pass
        return self.events[-1]


def rows_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows that a subscriber has who knows what *status* (of /api/v1/status) says."""
    rows = {"dynsrv": status["dynsrv"]}
    rows |= {f"proxy:{one['proxy']}": one for one in status["proxies"]}
    rows |= {f"source:{one['backend']}@{one['proxies'][0]}": one for one in status["sources"]}
    rows |= {f"change:{one['number']}": one for one in status["changes"]}
    for backend in status["backends"]:
        where = f"{backend['backend']}@{backend['proxy']}"
        rows[f"backend:{where}"] = {key: value for key, value in backend.items() if key not in {"servers", "missing"}}
        rows |= {f"server:{where}:{one['name']}": one for one in backend["servers"]}
        rows |= {f"missing:{where}:{host_port(one['address'], one['port'])}": one for one in backend["missing"]}
    return rows
