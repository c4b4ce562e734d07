from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from dynsrv.sources.consul import source
from dynsrv.sources.consul.transport import Response
from tests.contract.stage import RemoteStage
from tests.fakes.consul import A, Asked, FakeConsul, Trouble, an_instance


class ConsulStage(RemoteStage):
    """A Consul in memory, behind the transport of real agents and watches."""

    kind = "consul"
    settings: ClassVar[Mapping[str, object]] = {"address": A, "service": "web"}

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self._consul = FakeConsul()
        monkeypatch.setattr(source, "HttpTransport", lambda *_: self._consul)

    def set(self, *hosts: int) -> None:
        """See `Stage`."""
        known = {int(one.address.rpartition(".")[2]): one for one in self._consul.catalog.of("web")}
        for host in hosts:
            if host not in known:
                self._consul.catalog.put(an_instance(host))
        for host, instance in known.items():
            if host not in hosts:
                self._consul.catalog.remove(instance.node, instance.id)
        self._consul.tell()

    def break_(self) -> None:
        """See `Stage`."""
        self._consul.agent.fail(Trouble.DOWN)

    def cut(self) -> None:
        """See `Stage`."""
        self._consul.agent.between = _cut
        self._consul.write()
        self._consul.agent.ignores_index = True  # so that a query that blocks already is answered, too
        self._consul.tell()

    def heal(self) -> None:
        """See `Stage`."""
        self._consul.agent.between = lambda _, response: response
        self._consul.agent.ignores_index = False
        self._consul.agent.fail(None)

    @property
    def requests(self) -> int:
        """See `RemoteStage`."""
        return len(self._consul.asked)

    @property
    def open(self) -> int:
        """See `RemoteStage`."""
        return self._consul.entered

    def hang(self) -> None:
        """See `RemoteStage`."""
        self._consul.agent.fail(Trouble.SILENT)


def _cut(_: Asked, response: Response) -> Response:
    return replace(response, body=response.body[:-5])
