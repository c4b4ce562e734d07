from __future__ import annotations

from dynsrv.sources.source import SharedResources


class Thing:
    pass


class NewThing(Thing):
    pass


def test_what_sources_share_is_found_by_its_key_and_kept_while_one_of_them_holds_it() -> None:
    shared = SharedResources()
    one, other = shared.get("a", Thing), shared.get("b", Thing)
    assert shared.get("a", Thing) is one
    assert other is not one
    del one
    assert isinstance(shared.get("a", NewThing), NewThing)
    assert shared.get("b", Thing) is other
