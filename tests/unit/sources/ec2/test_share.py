"""What one backend knows of an instance that waits to end, by its last look at AWS and by what HAProxy had since."""

from __future__ import annotations

from dynsrv.model import Location, Server
from dynsrv.sources.ec2.lifecycle import BackendShare
from tests.fakes.builders import a_server, an_endpoint
from tests.fakes.ec2 import GROUP, an_instance
from tests.unit.sources.ec2.looks import a_look
from tests.unit.sources.ec2.stage import at

WAITS = "Terminating:Wait"


def a_share(*waiting: int, there: tuple[int, ...] = (), requested_at: float = 10.0) -> BackendShare:
    """A backend that has looked, and saw these instances wait, and those only be there."""
    share = BackendShare("be_app", [GROUP])
    take(share, *waiting, there=there, requested_at=requested_at)
    return share


def take(share: BackendShare, *waiting: int, there: tuple[int, ...] = (), requested_at: float = 10.0) -> None:
    states = {f"i-{one}": WAITS for one in waiting} | {f"i-{one}": "InService" for one in there}
    look = a_look(*(an_instance(one) for one in (*waiting, *there)), states=states, requested_at=requested_at)
    share.update(look, {f"i-{one}": frozenset[Location]({at(one)}) for one in waiting})


def servers(*numbers: int) -> list[Server]:
    return [a_server(an_endpoint(number)) for number in numbers]


def test_who_has_not_looked_lets_nobody_go() -> None:
    share = BackendShare("be_app", [GROUP])
    share.observed([])
    assert not share.released("i-1", since=0)
    assert (share.terminating, share.requested_at) == ({}, float("-inf"))


def test_who_looked_knows_who_waits_and_in_which_group() -> None:
    share = a_share(1, 2, there=(3,))
    assert share.terminating == {"i-1": GROUP, "i-2": GROUP}
    assert share.requested_at == 10


def test_before_haproxy_was_looked_at_nobody_is_let_go() -> None:
    share = a_share(1)
    assert not share.released("i-1", since=10)
    share.observed(servers(1))
    assert not share.released("i-1", since=10)
    share.observed(servers(2))
    assert share.released("i-1", since=10)


def test_a_server_of_the_instance_at_another_port_holds_it_and_one_of_another_instance_does_not() -> None:
    share = a_share(1)
    for name, held in [
        ("dyn-i-1", True),
        ("dyn-i-1-8080", True),
        ("dyn-i-1-2f", True),
        ("dyn-i-12", False),
        ("i-2", False),
    ]:
        share.observed([a_server(an_endpoint(9, port=8080), name=name)])
        assert share.released("i-1", since=10) is not held, name


def test_a_look_from_before_the_instance_waited_does_not_count_whatever_it_saw() -> None:
    for share in (a_share(), a_share(1), a_share(there=(1,))):
        share.observed([])
        assert not share.released("i-1", since=10.1)


def test_an_instance_that_is_not_among_those_of_the_backend_is_no_matter_of_it() -> None:
    assert a_share(there=(2,)).released("i-1", since=10)


def test_an_instance_that_another_look_saw_wait_but_this_one_did_not_is_held() -> None:
    share = a_share(there=(1,))
    share.observed([])
    assert not share.released("i-1", since=10)


def test_when_another_instance_begins_to_wait_haproxy_has_to_be_looked_at_again_for_all() -> None:
    share = a_share(1)
    share.observed([])
    take(share, 1, 2, requested_at=15)
    assert not share.released("i-1", since=10)
    assert not share.released("i-2", since=15)
    share.observed(servers(2))
    assert share.released("i-1", since=10)
    assert not share.released("i-2", since=15)


def test_when_one_of_those_who_wait_is_gone_what_is_known_of_the_others_stays() -> None:
    share = a_share(1, 2)
    share.observed(servers(2))
    take(share, 1, requested_at=15)
    assert share.released("i-1", since=10)
    take(share, 1, 2, requested_at=20)
    assert not share.released("i-2", since=10)


def test_while_nobody_waits_nobody_looks_through_the_servers() -> None:
    share = a_share(there=(1,))
    looked_through = iter(servers(1))
    share.observed(looked_through)
    assert len(list(looked_through)) == 1
