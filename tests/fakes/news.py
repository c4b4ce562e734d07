"""What a board tells, and someone who follows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self

from dynsrv.model import host_port
from dynsrv.web.event_stream import ChangeFeed, Rows, StatusSection


class Things:
    """What there is to tell: rows by their keys, in parts by their names."""

    def __init__(self, **sections: Mapping[str, object]) -> None:
        self.sections = {name: dict(rows) for name, rows in sections.items()}
        self.looks = 0
        """How often somebody looked."""
        self.written: list[str] = []
        """The parts whose rows were asked for."""
        self.broken: Exception | None = None
        self.board = ChangeFeed(self.read)

    def read(self) -> Iterator[StatusSection]:
        """Yield all parts."""
        self.looks += 1
        for name, rows in self.sections.items():
            yield StatusSection(name, tuple(rows.items()), partial(self._rows, name, dict(rows)))
        if self.broken is not None:
            raise self.broken

    @property
    def rows(self) -> dict[str, Any]:
        """All rows of all parts, as a follower gets them."""
        return {key: {"is": value} for rows in self.sections.values() for key, value in rows.items()}

    def _rows(self, name: str, rows: Mapping[str, object]) -> Rows:
        self.written.append(name)
        return [(key, {"is": value}) for key, value in rows.items()]


class Follower:
    """Applies what it is told, as the description of the API says. Follows inside of its block."""

    def __init__(self, board: ChangeFeed) -> None:
        self._news = board.subscribe()
        self._closing = aclosing(self._news)
        self.events: list[dict[str, Any]] = []
        self.rows: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        await self._closing.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._closing.__aexit__(kind, error, traceback)

    async def listen(self) -> str:
        """Wait for the next event, apply it, and return its text."""
        text = await anext(self._news)
        if text:
            event = json.loads(text)
            self.events.append(event)
            if event["reset"]:
                self.rows.clear()
            for key in event["unset"]:
                self.rows.pop(key, None)
            self.rows |= event["set"]
        return text

    async def hears(self) -> dict[str, Any]:
        """Wait for the next event that has news, and return it."""
        while not await self.listen():
            pass
        return self.events[-1]


def rows_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows that a follower of the events has, who knows as much as *status* (of /api/v1/status) tells."""
    rows = {"dynsrv": status["dynsrv"]}
    rows |= {f"proxy:{one['proxy']}": one for one in status["proxies"]}
    rows |= {f"source:{one['backend']}@{one['proxies'][0]}": one for one in status["sources"]}
    rows |= {f"change:{one['number']}": one for one in status["changes"]}
    for backend in status["backends"]:
        where, of = f"{backend['backend']}@{backend['proxy']}", {key: backend[key] for key in ("backend", "proxy")}
        rows[f"backend:{where}"] = {key: value for key, value in backend.items() if key not in {"servers", "missing"}}
        rows |= {f"server:{where}:{one['name']}": of | one for one in backend["servers"]}
        rows |= {f"missing:{where}:{host_port(one['address'], one['port'])}": of | one for one in backend["missing"]}
    return rows
