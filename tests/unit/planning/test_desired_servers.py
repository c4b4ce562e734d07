from __future__ import annotations

from itertools import islice

import pytest

from dynsrv.model import Endpoint, Snapshot
from dynsrv.planning import DesiredServer, Policy, desired_servers, naming
from tests.fakes.builders import a_policy, a_server, an_endpoint


def the_target(endpoint: Endpoint, policy: Policy | None = None) -> DesiredServer:
    (target,) = desired_servers(Snapshot((endpoint,)), policy or a_policy()).values()
    return target


def test_a_target_is_found_by_address_and_port() -> None:
    found = desired_servers(Snapshot((an_endpoint(1), an_endpoint(1, port=81), an_endpoint(2))), a_policy())
    assert list(found) == [("10.0.0.1", 80), ("10.0.0.1", 81), ("10.0.0.2", 80)]
    assert desired_servers(Snapshot(()), a_policy()) == {}


@pytest.mark.parametrize(("own", "target"), [(None, 70), (0, 0), (7, 7)])
def test_what_an_endpoint_says_of_itself_comes_before_what_the_policy_says(own: int | None, target: int) -> None:
    policy = a_policy(weight=70, maxconn=70)
    assert the_target(Endpoint("10.0.0.1", 80, weight=own), policy).weight == target
    assert the_target(Endpoint("10.0.0.1", 80, maxconn=own), policy).maxconn == target


def test_an_option_of_an_endpoint_s_replaces_the_one_of_the_same_keyword() -> None:
    policy = a_policy(options=("check", "inter 2s", "rise 2"))
    own = Endpoint("10.0.0.1", 80, options=("inter 9s", "backup"))
    assert the_target(own, policy).options == ("check", "rise 2", "inter 9s", "backup")
    assert the_target(an_endpoint(), policy).options == ("check", "inter 2s", "rise 2")


def test_the_check_of_an_endpoint_with_its_own_way_to_connect_connects_like_its_traffic() -> None:
    def options(*own: str) -> tuple[str, ...]:
        return the_target(Endpoint("10.0.0.1", 80, options=own), a_policy(options=("check",))).options

    assert options("send-proxy") == ("check", "send-proxy", "check-send-proxy")
    assert options("ssl", "verify none", "sni str(a.example)")[4:] == ("check-ssl", "check-sni a.example")
    assert options("send-proxy", "port 81") == ("check", "send-proxy", "port 81")
    assert options("backup") == ("check", "backup")


def test_the_id_is_that_of_the_options_that_the_server_gets() -> None:
    own = Endpoint("10.0.0.1", 80, options=("inter 9s",))
    assert the_target(own).id == next(naming.ids(own, ("check", "inter 9s")))
    assert the_target(own).id != the_target(an_endpoint()).id


def test_a_server_was_made_for_a_target_if_its_id_is_one_of_those_that_it_may_have() -> None:
    target = the_target(an_endpoint())
    assert all(target.made(a_server(id=server_id)) for server_id in islice(target.ids(), 8))
    assert not target.made(a_server(id=7))
    assert not target.made(a_server(options=("check", "inter 9s")))


def test_a_maxconn_makes_no_other_server() -> None:
    assert the_target(Endpoint("10.0.0.1", 80, maxconn=5)).made(a_server())


def test_what_is_the_same_as_before_is_not_made_again() -> None:
    policy = a_policy()
    before = desired_servers(Snapshot((an_endpoint(1), an_endpoint(2, weight=7))), policy)
    snapshot = Snapshot((an_endpoint(1), an_endpoint(2, weight=8), an_endpoint(3)))
    found = desired_servers(snapshot, policy, before=before)
    assert found == desired_servers(snapshot, policy)
    assert found["10.0.0.1", 80] is before["10.0.0.1", 80]
