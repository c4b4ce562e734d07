"""What happens in the demo? Seven phases; each ends when HAProxy is in sync, or fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from dynsrv.demo.fleet import NORMAL_WEIGHT, Fleet, web_name
from dynsrv.demo.load import Load
from dynsrv.demo.observer import Observer
from dynsrv.demo.view import View
from dynsrv.errors import DynsrvError

_DEADLINE = 20.0  # seconds to wait for any condition
_REQUESTS = 900  # between two phases, so that viewers can follow and the load can detect losses

PHASES = (
    "Service discovery lists 3 web servers, and HAProxy has none. Requests start.",
    "Scale up to 8. No new server receives requests before its first passed check.",
    "web-8 is a small machine: weight 25 instead of 100, a quarter of the requests.",
    "Scale down to 4. The removed servers finish their requests first.",
    "web-6 crashes. HAProxy retries its unanswered requests on other servers, until its check fails.",
    "Service discovery notices: web-6 is removed, and web-9 replaces it.",
    "Scale down to 3.",
)


class PhaseFailed(DynsrvError):
    """A phase did not reach its goal in time."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A completed phase, and the seconds until HAProxy was in sync."""

    sentence: str
    seconds: float


class Scenario:
    """Runs the phases. *tasks* runs the load, which starts with the first servers."""

    def __init__(self, *, fleet: Fleet, observer: Observer, load: Load, view: View, tasks: asyncio.TaskGroup) -> None:
        self._fleet = fleet
        self._observer = observer
        self._load = load
        self._view = view
        self._tasks = tasks
        self._number = 0  # of the current phase
        self.completed: list[Phase] = []

    async def run(self) -> None:
        """Run all phases.

        Raises:
            PhaseFailed: a phase did not reach its goal in time.
        """
        actions = (self._start, self._scale_up, self._weigh, self._scale_down, self._crash, self._replace, self._shrink)
        for sentence, action in zip(PHASES, actions, strict=True):
            self._number += 1
            self._view.begin(self._number, sentence)
            began = time.monotonic()
            await action()
            phase = Phase(sentence, time.monotonic() - began)
            self.completed.append(phase)
            self._view.end(phase.seconds)
            await self._serve()

    async def _start(self) -> None:
        await self._publish(dict.fromkeys(await self._fleet.start(3), NORMAL_WEIGHT))
        self._load.start(self._tasks)

    async def _scale_up(self) -> None:
        await self._publish(self._fleet.wanted | dict.fromkeys(await self._fleet.start(5), NORMAL_WEIGHT))

    async def _weigh(self) -> None:
        await self._publish(self._fleet.wanted | {"web-8": 25})

    async def _scale_down(self) -> None:
        await self._publish(self._without("web-1", "web-2", "web-3", "web-4"))

    async def _crash(self) -> None:
        await self._until(lambda: self._fleet.answering("web-6") > 0, "a request at web-6")
        lost = self._fleet.kill("web-6")
        self._view.note(f"web-6 crashed; unanswered requests: {lost}")
        await self._until(self._is_down, "HAProxy's check of web-6 fails")
        self._view.note("HAProxy's check of web-6 failed")

    async def _replace(self) -> None:
        await self._publish(self._without("web-6") | dict.fromkeys(await self._fleet.start(1), NORMAL_WEIGHT))

    async def _shrink(self) -> None:
        await self._publish(self._without("web-5"))

    def _is_down(self) -> bool:
        return not any(server.serving for server in self._observer.servers if web_name(server) == "web-6")

    def _without(self, *names: str) -> dict[str, int]:
        return {name: weight for name, weight in self._fleet.wanted.items() if name not in names}

    async def _publish(self, wanted: dict[str, int]) -> None:
        """List *wanted*, wait until HAProxy is in sync, and only then stop the web servers that are not listed."""
        self._fleet.publish(wanted)
        await self._until(lambda: self._fleet.is_live(self._observer.servers), f"HAProxy has {', '.join(wanted)}")
        self._fleet.stop_unlisted()

    async def _serve(self) -> None:
        """Wait until every serving server has answered some requests."""
        sent = self._load.sent + _REQUESTS
        answered = self._load.answered.copy()
        serving = [web_name(server) for server in self._observer.servers if server.serving]

        def enough() -> bool:
            return self._load.sent >= sent and all(self._load.answered[name] > answered[name] for name in serving)

        await self._until(enough, f"{_REQUESTS} more requests, answered by {', '.join(serving)}")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                await self._observer.until(condition)
        except TimeoutError:
            problem = f"timeout after {_DEADLINE:g} s: {what}"
            found = ", ".join(f"{one.name} {one.admin} {one.operational}" for one in self._observer.servers)
            raise PhaseFailed(f"phase {self._number}: {problem}; HAProxy has: {found or 'no server'}") from None
