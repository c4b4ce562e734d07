"""Whatever happens, whoever applies what the board tells has exactly what there is."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dynsrv.web.event_stream import KEPT, PERIOD
from tests.fakes.loop import FakeTimeLoop
from tests.fakes.news import Follower, Things

ROWS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)
PARTS = st.sampled_from(["one", "two", "three"])


class Story(RuleBasedStateMachine):
    """Parts come, change and go; followers come, listen as often as they like, and go."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=FakeTimeLoop)
        self.things = Things()
        self.followers: list[Follower] = []

    @initialize(rows=ROWS)
    def begin(self, rows: dict[str, int]) -> None:
        self.change("one", rows)

    @rule(part=PARTS, rows=ROWS)
    def change(self, part: str, rows: dict[str, int]) -> None:
        # a key is one part's at a time, as those of servers are
        for name, known in self.things.sections.items():
            if name != part:
                for key in rows:
                    known.pop(key, None)
        self.things.sections[part] = dict(rows)

    @rule(part=PARTS)
    def remove(self, part: str) -> None:
        self.things.sections.pop(part, None)

    @rule(looks=st.integers(0, 3))
    def pass_time(self, looks: int) -> None:
        self._runner.run(asyncio.sleep(looks * PERIOD))

    @precondition(lambda self: self.followers)
    @rule()
    def fall_far_behind(self) -> None:
        async def changes() -> None:
            for number in range(KEPT + 2):
                self.things.sections["number"] = {"number": number}
                await asyncio.sleep(PERIOD)

        self._runner.run(changes())

    @precondition(lambda self: len(self.followers) < 4)
    @rule()
    def come(self) -> None:
        follower = Follower(self.things.board)
        self._runner.run(follower.listen())
        self.followers.append(follower)

    @precondition(lambda self: self.followers)
    @rule(data=st.data(), times=st.integers(1, 3))
    def listen(self, data: st.DataObject, times: int) -> None:
        follower = data.draw(st.sampled_from(self.followers))
        for _ in range(times):
            self._runner.run(follower.listen())

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        follower = self.followers.pop(data.draw(st.integers(0, len(self.followers) - 1)))
        self._runner.run(follower.__aexit__(None, None, None))

    @rule()
    def catch_up(self) -> None:
        async def all_listen() -> None:
            await asyncio.sleep(2 * PERIOD)
            for follower in self.followers:
                while await follower.listen():
                    pass

        self._runner.run(all_listen())
        for follower in self.followers:
            assert follower.rows == self.things.rows

    @invariant()
    def only_the_first_event_or_one_after_a_long_silence_begins_anew(self) -> None:
        for follower in self.followers:
            assert follower.events[0]["reset"]

    def teardown(self) -> None:
        self.catch_up()
        for follower in self.followers:
            self._runner.run(follower.__aexit__(None, None, None))
        self._runner.close()


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
