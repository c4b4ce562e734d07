"""What happens in the demo? Seven acts, each of which ends when HAProxy is as it should be, or fails."""

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

_DEADLINE = 20.0  # seconds for any one thing to happen
_REQUESTS = 900  # between two acts, for who watches to see, and for the load to find out what was lost

ACTS = (
    "Service discovery lists 3 web servers, and HAProxy has none. Requests begin.",
    "Scale up to 8. None gets a request before its first passed check.",
    "web-8 is a small machine: weight 25 instead of 100, a quarter of the requests.",
    "Scale down to 4. The others finish what they are answering, then they go.",
    "web-6 dies without notice. HAProxy sends what it left unanswered to others, until its check fails.",
    "Discovery notices, too: web-6 goes, and web-9 takes its place.",
    "Scale down to 3.",
)


class StoryFailed(DynsrvError):
    """What an act waits for did not happen."""


@dataclass(frozen=True, slots=True)
class Act:
    """An act that was played, and how many seconds it took until HAProxy was as it should be."""

    sentence: str
    seconds: float


class Story:
    """Plays the acts. *tasks* runs the load, which begins with the first servers."""

    def __init__(self, *, fleet: Fleet, observer: Observer, load: Load, view: View, tasks: asyncio.TaskGroup) -> None:
        self._fleet = fleet
        self._observer = observer
        self._load = load
        self._view = view
        self._tasks = tasks
        self._number = 0  # of the act that is played
        self.played: list[Act] = []

    async def play(self) -> None:
        """Play all acts.

        Raises:
            StoryFailed: something did not happen in time.
        """
        acts = (self._open, self._scale_up, self._weigh, self._scale_down, self._lose, self._replace, self._retire)
        for sentence, action in zip(ACTS, acts, strict=True):
            self._number += 1
            self._view.begin(self._number, sentence)
            began = time.monotonic()
            await action()
            act = Act(sentence, time.monotonic() - began)
            self.played.append(act)
            self._view.end(act.seconds)
            await self._serve()

    async def _open(self) -> None:
        await self._want(dict.fromkeys(await self._fleet.start(3), NORMAL_WEIGHT))
        self._load.start(self._tasks)

    async def _scale_up(self) -> None:
        await self._want(self._fleet.wanted | dict.fromkeys(await self._fleet.start(5), NORMAL_WEIGHT))

    async def _weigh(self) -> None:
        await self._want(self._fleet.wanted | {"web-8": 25})

    async def _scale_down(self) -> None:
        await self._want(self._without("web-1", "web-2", "web-3", "web-4"))

    async def _lose(self) -> None:
        await self._until(lambda: self._fleet.answering("web-6") > 0, "a request at web-6")
        lost = self._fleet.kill("web-6")
        self._view.tell(f"web-6 died; requests it left unanswered: {lost}")
        await self._until(self._is_seen_down, "HAProxy's check of web-6 fails")
        self._view.tell("HAProxy's check of web-6 failed")

    async def _replace(self) -> None:
        await self._want(self._without("web-6") | dict.fromkeys(await self._fleet.start(1), NORMAL_WEIGHT))

    async def _retire(self) -> None:
        await self._want(self._without("web-5"))

    def _is_seen_down(self) -> bool:
        return not any(server.serving for server in self._observer.servers if web_name(server) == "web-6")

    def _without(self, *names: str) -> dict[str, int]:
        return {name: weight for name, weight in self._fleet.wanted.items() if name not in names}

    async def _want(self, wanted: dict[str, int]) -> None:
        """List *wanted*, wait until HAProxy is in line, and only then stop those that are no longer wanted."""
        self._fleet.publish(wanted)
        await self._until(lambda: self._fleet.is_live(self._observer.servers), f"HAProxy has {', '.join(wanted)}")
        self._fleet.stop_unlisted()

    async def _serve(self) -> None:
        """Let requests pass, until every server that serves has answered some."""
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
            problem = f"waited in vain for {_DEADLINE:g} s: {what}"
            found = ", ".join(f"{one.name} {one.admin} {one.operational}" for one in self._observer.servers)
            raise StoryFailed(f"act {self._number}: {problem}; HAProxy has: {found or 'no server'}") from None
