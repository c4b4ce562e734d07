from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from dynsrv.sources.ec2 import source
from dynsrv.sources.ec2.account import Account
from dynsrv.sources.ec2.aws import Aws
from tests.contract.stage import RemoteStage
from tests.fakes.ec2 import FakeAws, an_instance, refusal
from tests.fakes.ec2_clients import REGION, an_aws


class Ec2Stage(RemoteStage):
    """An AWS in memory, behind the clients that the real `Aws` uses."""

    kind = "ec2"
    settings: ClassVar[Mapping[str, object]] = {"region": REGION, "filters": {"tag:app": "web"}, "port": 80}

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self._fake = FakeAws()

        def create(account: Account) -> Aws:
            return an_aws(self._fake, region=account.region)

        monkeypatch.setattr(source, "Aws", create)

    def set(self, *hosts: int) -> None:
        """See `Stage`."""
        instances = [an_instance(host, tags={"app": "web"}) for host in hosts]
        self._fake.instances = {each["InstanceId"]: each for each in instances}

    def break_(self) -> None:
        """See `Stage`."""
        self._fake.troubles["DescribeInstances"] = refusal("InternalError", status=500)

    def cut(self) -> None:
        """See `Stage`."""
        self._fake.page = 1
        self.break_()  # of the last page only

    def heal(self) -> None:
        """See `Stage`."""
        self._fake.troubles.clear()
        self._fake.page = None
        self._fake.latency = 0.0

    @property
    def requests(self) -> int:
        """See `RemoteStage`."""
        return len([each for each in self._fake.asked if each.operation != "close"])

    @property
    def open(self) -> int:
        """See `RemoteStage`."""
        return self._fake.open

    def hang(self) -> None:
        """See `RemoteStage`."""
        self._fake.latency = 1e6
