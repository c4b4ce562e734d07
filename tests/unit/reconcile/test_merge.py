from __future__ import annotations

from dynsrv.model import Endpoint, EndpointState, Snapshot
from dynsrv.reconcile.merge import Merged, merge
from tests.fakes.builders import an_endpoint

ONE, TWO, THREE = (an_endpoint(host) for host in (1, 2, 3))


def merged(*snapshots: Snapshot) -> Merged:
    found = merge(snapshots)
    assert found is not None
    return found


def test_one_snapshot_is_as_its_source_says() -> None:
    snapshot = Snapshot((TWO, ONE), notes=("web-7 has no address",))
    assert merged(snapshot).snapshot is snapshot
    assert merged(snapshot).conflicts == ()


def test_several_make_a_union_in_their_order() -> None:
    found = merged(Snapshot((TWO,)), Snapshot(()), Snapshot((THREE, TWO, ONE)))
    assert found == Merged(Snapshot((TWO, THREE, ONE)))


def test_while_one_is_unknown_nothing_is_known_which_is_not_the_same_as_an_empty_one() -> None:
    some, none = Snapshot((ONE,)), Snapshot(())
    for unknown in ((None,), (None, some), (some, None), (none, None, some)):
        assert merge(unknown) is None
    assert merged(none, none).snapshot == none


def test_the_same_address_with_another_port_is_another_endpoint() -> None:
    other = an_endpoint(1, port=81)
    assert merged(Snapshot((ONE,)), Snapshot((other,))) == Merged(Snapshot((ONE, other)))


def test_the_first_one_s_attributes_win_and_each_difference_is_reported() -> None:
    first = Endpoint("10.0.0.1", 80, weight=50, options=("inter 2s",))
    second = Endpoint("10.0.0.1", 80, name="web-1", state=EndpointState.DRAIN, weight=50)
    third = Endpoint("10.0.0.1", 80, weight=7, maxconn=10, options=("inter 2s",))
    found = merged(Snapshot((first,)), Snapshot((TWO, second)), Snapshot((third,)))
    assert found.snapshot.endpoints == (first, TWO)
    of_second = "name web-1 instead of unset, state drain instead of ready, options unset instead of inter 2s"
    assert found.conflicts == (
        f"10.0.0.1:80: source 2 has {of_second}; source 1 is used",
        "10.0.0.1:80: source 3 has weight 7 instead of 50, maxconn 10 instead of unset; source 1 is used",
    )


def test_what_the_sources_could_not_use_is_kept() -> None:
    found = merged(Snapshot((ONE,), notes=("a",)), Snapshot((), notes=("b", "c")))
    assert found.snapshot.notes == ("a", "b", "c")
