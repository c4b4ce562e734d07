"""A proxy in the words of the model, and the FakeHAProxy behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynsrv.haproxy.proxy import HAProxy
from dynsrv.model import Backend
from dynsrv.runtime import Client
from dynsrv.steps import Outcome, Step
from tests.fakes.haproxy import FakeBackend, FakeHAProxy
from tests.fakes.streams import Wire


class Behind:
    """A proxy, and the HAProxy behind it."""

    def __init__(
        self,
        version: str = "3.2.26-1",
        *,
        level: str = "admin",
        proxy: str = "lb1",
        others: Iterable[str] = (),
        **backend: Any,
    ) -> None:
        backends = [FakeBackend(**backend), *map(FakeBackend, others)]
        self.haproxy = FakeHAProxy(version, level=level, backends=backends)
        self.wire = Wire(self.haproxy)
        self.client = Client("/run/haproxy/admin.sock", opener=self.wire, reply_timeout=1, connect_timeout=1)
        self.proxy = HAProxy(proxy, self.client)

    async def observed(self, *, with_maxconn: bool = False) -> Backend:
        """Observe the backend."""
        return await self.proxy.observe("be_app", with_maxconn=with_maxconn)

    async def outcomes(self, *steps: Step) -> list[tuple[Outcome, str, bool]]:
        """Apply *steps* and return what became of each: its outcome, HAProxy's word, and whether it was expected."""
        applied = await self.proxy.apply(await self.observed(), steps)
        assert applied.error is None
        return [(one.outcome, one.detail, one.expected) for one in applied.results]
