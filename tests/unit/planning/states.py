"""Every state in which HAProxy may hold one server, and everything that may be wanted of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from dynsrv.model import Endpoint, EndpointState
from dynsrv.planning import Admission, DrainTimeoutAction, Policy, naming
from tests.fakes.builders import CHECKED, a_policy, an_endpoint
from tests.fakes.haproxy import FakeServer
from tests.fakes.haproxy_process import CONFIGURED, DOWN, DRAIN, ENABLED, FAILED, MAINT, NO_RESULT, PASSED, PAUSED, UP
from tests.unit.planning.world import DRAIN_TIMEOUT, is_held

NAME = "dyn-10.0.0.1:80"
OTHER = ("check", "inter 9s")
UNCHECKED: tuple[str, ...] = ()
DESIRES: tuple[tuple[Endpoint, ...], ...] = ((), *((an_endpoint(state=state),) for state in EndpointState))


@dataclass(frozen=True, slots=True)
class State:
    """One state in which HAProxy may hold a server: bits and numbers as it prints them."""

    admin: int
    check_state: int
    check_result: int
    weight: int = 100
    sessions: int = 0

    @property
    def held(self) -> bool:
        """Whether an operator put a server there."""
        return is_held(self.server(()))

    def server(self, options: tuple[str, ...], name: str = NAME) -> FakeServer:
        """Return a server in this state, with the id that dynsrv gives it for *options*."""
        down = self.admin == MAINT or self.check_result == FAILED
        return FakeServer(
            name=name,
            address="10.0.0.1",
            port=80,
            id=next(naming.ids(an_endpoint(), options)),
            weight=self.weight,
            admin=self.admin,
            operational=DOWN if down else UP,
            check_state=self.check_state,
            check_result=self.check_result,
            passed_once=self.check_result == PASSED,
            sessions=self.sessions,
            idle=self.sessions,
        )


SERVING = State(admin=0, check_state=CONFIGURED | ENABLED, check_result=PASSED)


def states(options: tuple[str, ...]) -> Iterator[State]:
    """Yield every state in which a server with *options* can be."""
    on = CONFIGURED | ENABLED
    checks = [(CONFIGURED, NO_RESULT), *((on, result) for result in (NO_RESULT, FAILED, PASSED))]
    paused = [(on | PAUSED, result) for result in (NO_RESULT, FAILED, PASSED)]
    for admin, weight, sessions in product((0, DRAIN, MAINT), (0, 100), (0, 1)):
        if "check" not in options:
            yield State(admin, 0, NO_RESULT, weight, sessions)
            continue
        for check_state, check_result in [*checks, *(paused if admin == MAINT else [])]:
            yield State(admin, check_state, check_result, weight, sessions)


def policies(options: tuple[str, ...] = CHECKED) -> list[Policy]:
    """Return the policies for servers with *options* that make a difference."""
    choices = [(Admission.AFTER_CHECK, DrainTimeoutAction.CLOSE), (Admission.AFTER_CHECK, DrainTimeoutAction.WAIT)]
    if options:
        choices.append((Admission.IMMEDIATELY, DrainTimeoutAction.CLOSE))
    return [
        a_policy(admission=admission, on_drain_timeout=on_drain_timeout, options=options, drain_timeout=DRAIN_TIMEOUT)
        for admission, on_drain_timeout in choices
    ]
