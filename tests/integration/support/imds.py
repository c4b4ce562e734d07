"""Who gives credentials to what runs in AWS: the metadata service of an instance, version 2, and that of a container.

Both are our own, made after Amazon's documentation of them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Literal

from tests.integration.support.between import Answer, Between, Request

Fault = Literal[
    "refuses",  # 403, as where the metadata service is switched off
    "no-role",  # the instance has none
]

ROLE = "dynsrv-role"
NO_KEY = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
"""For an environment: a variable that is empty counts as none."""

_CONTAINER = "/v2/credentials/0"
_CREDENTIALS = "/latest/meta-data/iam/security-credentials/"
_TEXT = (("Content-Type", "text/plain"),)
_TOKEN = "a-token"


class Imds(Between[Fault]):
    """Gives credentials of one role, which last six hours, and for a container 12 minutes.

    botocore asks for others 15 minutes before the end, so that a container asks at each use. For an instance it moves
    the end by lot where it is near. `rotate` makes others; the old ones are given out no more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generation = 1

    @property
    def key(self) -> str:
        """The id of the key that is given out now."""
        return f"ASIAROLE{self._generation}"

    @property
    def on_an_instance(self) -> dict[str, str]:
        """The environment of a process that takes this for its instance's."""
        return {**NO_KEY, "AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.url}/"}

    @property
    def in_a_container(self) -> dict[str, str]:
        """The environment of a process that takes this for its container's."""
        return {**NO_KEY, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}{_CONTAINER}"}

    def rotate(self) -> None:
        self._generation += 1

    def _fault_of(self, request: Request) -> Fault | None:
        return self.fault

    async def _make(self, request: Request, fault: Fault | None, *, again: bool) -> Answer:
        if fault == "refuses":
            return Answer(403, _TEXT, b"")
        if request.path == _CONTAINER:
            return self._credentials(minutes=12)
        if request.method == "PUT" and request.path == "/latest/api/token":
            lasts = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            return Answer(200, (*_TEXT, ("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", lasts)), _TOKEN.encode())
        if request.headers.get("x-aws-ec2-metadata-token") != _TOKEN:
            return Answer(401, _TEXT, b"")
        if fault == "no-role" or request.path not in {_CREDENTIALS, f"{_CREDENTIALS}{ROLE}"}:
            return Answer(404, _TEXT, b"")
        if request.path == _CREDENTIALS:
            return Answer(200, _TEXT, ROLE.encode())
        return self._credentials(minutes=360)

    def _credentials(self, *, minutes: float) -> Answer:
        now = datetime.now(UTC)
        told = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "Expiration": f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}",
            "AccessKeyId": self.key,
            "SecretAccessKey": "secret",
            "Token": f"session-of-{self.key}",
        }
        return Answer(200, (("Content-Type", "application/json"),), json.dumps(told).encode())
