"""Whatever happens, a subscriber who applies every event has exactly the current rows."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dynsrv.web.event_stream import KEPT, PERIOD
from tests.fakes.loop import FakeTimeLoop
from tests.fakes.subscriber import ScriptedStatus, Subscriber

ROWS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)
SECTIONS = st.sampled_from(["one", "two", "three"])


class Story(RuleBasedStateMachine):
    """Sections come, change and go; subscribers come, read as often as they like, and go."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=FakeTimeLoop)
        self.status = ScriptedStatus()
        self.subscribers: list[Subscriber] = []

    @initialize(rows=ROWS)
    def begin(self, rows: dict[str, int]) -> None:
        self.change("one", rows)

    @rule(section=SECTIONS, rows=ROWS)
    def change(self, section: str, rows: dict[str, int]) -> None:
        # a key belongs to one section at a time, as those of servers do
        for name, known in self.status.sections.items():
            if name != section:
                for key in rows:
                    known.pop(key, None)
        self.status.sections[section] = dict(rows)

    @rule(section=SECTIONS)
    def remove(self, section: str) -> None:
        self.status.sections.pop(section, None)

    @rule(periods=st.integers(0, 3))
    def pass_time(self, periods: int) -> None:
        self._runner.run(asyncio.sleep(periods * PERIOD))

    @precondition(lambda self: self.subscribers)
    @rule()
    def fall_far_behind(self) -> None:
        async def changes() -> None:
            for number in range(KEPT + 2):
                self.status.sections["number"] = {"number": number}
                await asyncio.sleep(PERIOD)

        self._runner.run(changes())

    @precondition(lambda self: len(self.subscribers) < 4)
    @rule()
    def subscribe(self) -> None:
        subscriber = Subscriber(self.status.feed)
        self._runner.run(subscriber.read())
        self.subscribers.append(subscriber)

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data(), times=st.integers(1, 3))
    def read(self, data: st.DataObject, times: int) -> None:
        subscriber = data.draw(st.sampled_from(self.subscribers))
        for _ in range(times):
            self._runner.run(subscriber.read())

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        subscriber = self.subscribers.pop(data.draw(st.integers(0, len(self.subscribers) - 1)))
        self._runner.run(subscriber.__aexit__(None, None, None))

    @rule()
    def catch_up(self) -> None:
        async def all_read() -> None:
            await asyncio.sleep(2 * PERIOD)
            for subscriber in self.subscribers:
                while await subscriber.read():
                    pass

        self._runner.run(all_read())
        for subscriber in self.subscribers:
            assert subscriber.rows == self.status.rows

    @invariant()
    def the_first_event_has_everything(self) -> None:
        for subscriber in self.subscribers:
            assert subscriber.events[0]["reset"]

    def teardown(self) -> None:
        self.catch_up()
        for subscriber in self.subscribers:
            self._runner.run(subscriber.__aexit__(None, None, None))
        self._runner.close()


TestStory = Story.TestCase
TestStory.settings = settings(stateful_step_count=25)
