from __future__ import annotations

import pytest

from dynsrv.errors import BackendRejected
from dynsrv.haproxy.support import check_keywords
from tests.fakes.behind import Behind
from tests.fakes.builders import a_backend, a_process
from tests.fakes.streams import Hang


async def the_rejection(behind: Behind, backend: str = "be_app", *, adds: bool = False) -> BackendRejected:
    """The error of whoever observes a backend, or *adds* to it."""
    observed = await behind.proxy.observe(backend, with_maxconn=False) if adds else None
    with pytest.raises(BackendRejected) as caught:
        await (behind.proxy.check_accepts(observed) if observed else behind.proxy.observe(backend, with_maxconn=False))
    assert (caught.value.backend, caught.value.proxy) == (backend, "lb1")
    assert behind.haproxy.changes == []
    return caught.value


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("2.6.12", "Backend must use a dynamic load balancing to support dynamic servers."),
        (
            "3.4.7",
            "Backend does not support dynamic servers : backend 'be_app' uses a non dynamic load balancing method.",
        ),
    ],
)
async def test_a_static_algorithm_is_rejected_with_its_name_and_the_remedy(version: str, says: str) -> None:
    rejection = await the_rejection(Behind(version, algorithm="static-rr"))
    assert rejection.reason == "algorithm"
    assert str(rejection) == (
        "backend be_app on lb1: its algorithm (static-rr) does not accept servers at runtime."
        f" HAProxy {version} says: {says}"
        " Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
    )


@pytest.mark.parametrize("version", ["3.0.11", "3.2.26", "3.4.7"])
async def test_a_backend_of_mode_log_is_rejected_for_its_mode(version: str) -> None:
    rejection = await the_rejection(Behind(version, mode="log"))
    assert rejection.reason == "mode"
    assert "Use `mode http` or `mode tcp`." in str(rejection)


async def test_a_backend_with_log_in_its_name_is_not_taken_for_one_of_mode_log() -> None:
    behind = Behind("3.4.7", name="catalog", algorithm="static-rr")
    assert (await the_rejection(behind, "catalog")).reason == "algorithm"


async def test_an_unknown_backend_is_rejected_with_where_to_look() -> None:
    rejection = await the_rejection(Behind(), "nope")
    assert rejection.reason == "missing"
    assert "HAProxy has no such backend." in str(rejection)
    assert "haproxy.cfg" in rejection.remedy


@pytest.mark.parametrize("level", ["user", "operator"])
async def test_too_low_a_level_is_rejected_with_what_to_write(level: str) -> None:
    rejection = await the_rejection(Behind(level=level))
    assert rejection.reason == "level"
    assert rejection.remedy == "Write `level admin` on the `stats socket` line."


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ("2.2.9", "cannot add servers"),
        ("2.4.9", "crashes when servers are added"),
        ("2.5.0", "crashes when servers are added"),
    ],
)
async def test_too_old_a_haproxy_is_rejected_without_trying(version: str, fault: str) -> None:
    behind = Behind(version)
    assert str(await the_rejection(behind)) == (
        f"backend be_app on lb1: HAProxy {version} {fault} at runtime. dynsrv needs HAProxy 2.5.1 or later."
    )
    assert not any(line.startswith("add") for line in behind.haproxy.journal)


async def test_a_haproxy_that_says_something_new_is_rejected_with_what_it_says() -> None:
    behind = Behind(algorithm="random")
    info = behind.haproxy.answer("show info")

    def say(line: str) -> None:
        if "probe" in line:
            behind.wire.connections[0].spoil(Hang())
            behind.wire.connections[0].say(f"Ask again\n tomorrow.\n\n> {info}\n> ")

    behind.wire.before_line = say
    rejection = await the_rejection(behind, adds=True)
    assert rejection.reason == "unknown"
    assert "HAProxy 3.2.26-1 says: Ask again tomorrow. See HAProxy's log." in str(rejection)


def probes(behind: Behind) -> int:
    """How often HAProxy was asked in a way that it logs an alert of."""
    return sum("probe" in line for line in behind.haproxy.journal)


@pytest.mark.parametrize("algorithm", ["roundrobin", "leastconn", "first"])
async def test_a_backend_whose_algorithm_always_accepts_servers_is_not_asked(algorithm: str) -> None:
    behind = Behind(algorithm=algorithm)
    await behind.proxy.check_accepts(await behind.observed())
    assert probes(behind) == 0


@pytest.mark.parametrize("algorithm", ["random", "sticky", "consistent"])
async def test_another_backend_is_asked_once_for_each_process_when_servers_are_to_be_added(algorithm: str) -> None:
    behind = Behind(algorithm=algorithm)
    for processes in (1, 2):
        several = [await behind.observed() for _ in range(3)]
        assert probes(behind) == processes - 1
        for observed in several:
            await behind.proxy.check_accepts(observed)
        assert probes(behind) == processes
        behind.haproxy.reload()


async def test_what_haproxy_shows_of_a_backend_is_asked_for_once_in_each_process() -> None:
    behind = Behind(algorithm="random")

    def asked() -> int:
        return sum(line.startswith("show cli level") for line in behind.haproxy.journal)

    for processes in (1, 2):
        for _ in range(3):
            await behind.observed()
        assert asked() == processes
        behind.haproxy.reload()


async def test_a_hash_that_accepts_no_servers_is_rejected_when_servers_are_to_be_added() -> None:
    behind = Behind(algorithm="map-based")
    await behind.observed()
    rejection = await the_rejection(behind, adds=True)
    assert rejection.reason == "algorithm"
    assert "its algorithm (source) does not accept servers at runtime." in str(rejection)


async def test_a_rejected_backend_is_asked_again_because_a_reload_may_have_mended_it() -> None:
    behind = Behind(algorithm="static-rr")
    await the_rejection(behind)
    behind.haproxy.backend().algorithm = "leastconn"
    assert (await behind.observed()).servers == ()


@pytest.mark.parametrize(
    ("version", "options", "unknown"),
    [
        ("3.2.26", ("check", "inter 2s", "init-state down"), None),
        ("3.0.11", ("check", "init-state down"), "init-state down"),
        ("2.6.12", ("guid x", "cookie a"), "guid x, cookie a"),
        ("unknown", ("guid x",), None),
    ],
)
def test_options_that_the_version_lacks_are_rejected_before_anything_is_sent(
    version: str, options: tuple[str, ...], unknown: str | None
) -> None:
    backend = a_backend(process=a_process(version=version))
    if unknown is None:
        check_keywords(backend, options, proxy="lb1")
        return
    with pytest.raises(BackendRejected, match=f"does not support these server options: {unknown}") as caught:
        check_keywords(backend, options, proxy="lb1")
    assert caught.value.reason == "options"
