"""Clients of the real aiobotocore, made and closed: they ask nothing, and read no file but the test's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import AioSession
from botocore.exceptions import NoCredentialsError, NoRegionError, ProfileNotFound
from botocore.loaders import Loader

from dynsrv.sources.ec2 import account
from dynsrv.sources.ec2.account import Account, Clients

ROLE = "arn:aws:iam::123456789012:role/dynsrv"
KEY = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "hunter2"}


@pytest.fixture(autouse=True)
def _on_a_machine_that_knows_nothing_of_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path / "models"))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment."""
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def the_clients(region: str | None = "eu-central-1", **keys: str) -> AsyncIterator[Clients]:
    clients = Clients(Account(region, **keys))
    try:
        yield clients
    finally:
        await clients.close()


def test_the_extra_is_there_where_the_tests_run() -> None:
    assert account.installed()


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services for which clients were created."""
    services: list[str] = []
    create_client = AioSession.create_client

    def create(session: AioSession, service: str, **keys: Any) -> Any:
        services.append(service)
        return create_client(session, service, **keys)

    monkeypatch.setattr(AioSession, "create_client", create)
    return services


@pytest.mark.usefixtures("key")
async def test_a_client_is_created_on_its_first_use_and_then_kept(created: list[str]) -> None:
    async with the_clients() as clients:
        assert created == []
        scaling = await clients.get("autoscaling")
        assert await clients.get("autoscaling") is scaling
        assert scaling.meta.region_name == "eu-central-1"
        assert scaling.meta.endpoint_url == "https://autoscaling.eu-central-1.amazonaws.com"
    assert created == ["autoscaling"]


@pytest.mark.usefixtures("key")
async def test_each_client_is_created_once_however_many_need_it(created: list[str]) -> None:
    async with the_clients() as clients:
        first, _, second = await asyncio.gather(*(clients.get(one) for one in ("ec2", "autoscaling", "ec2")))
        assert first is second
    assert created == ["ec2", "autoscaling"]


@pytest.mark.usefixtures("key")
async def test_a_client_waits_as_long_and_asks_as_often_as_is_written_here() -> None:
    async with the_clients() as clients:
        config = (await clients.get("autoscaling")).meta.config
    assert (config.connect_timeout, config.read_timeout) == (account.CONNECT_TIMEOUT, account.READ_TIMEOUT)
    assert config.retries == {"mode": "standard", "total_max_attempts": account.ATTEMPTS}
    assert "dynsrv/" in config.user_agent_extra


@pytest.mark.usefixtures("key")
async def test_the_address_may_be_another_than_aws_own() -> None:
    async with the_clients(endpoint_url="http://127.0.0.1:4566") as clients:
        assert (await clients.get("autoscaling")).meta.endpoint_url == "http://127.0.0.1:4566"


@pytest.mark.usefixtures("key")
async def test_without_any_region_botocore_says_so() -> None:
    async with the_clients(region=None) as clients:
        with pytest.raises(NoRegionError):
            await clients.get("autoscaling")


# ---- credentials


@pytest.mark.usefixtures("key")
async def test_credentials_may_come_from_the_environment() -> None:
    async with the_clients() as clients:
        assert await clients.credentials_method() == "env"


async def test_a_profile_may_have_the_credentials_and_the_region(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile web]\nregion = eu-west-1\n")
    (tmp_path / "credentials").write_text("[web]\naws_access_key_id = AKIATEST\naws_secret_access_key = hunter2\n")
    async with the_clients(region=None, profile="web") as clients:
        assert await clients.credentials_method() == "shared-credentials-file"
        assert (await clients.get("ec2")).meta.region_name == "eu-west-1"


async def test_a_profile_that_does_not_exist_is_told() -> None:
    async with the_clients(profile="web") as clients:
        with pytest.raises(ProfileNotFound, match="web"):
            await clients.get("autoscaling")


async def test_without_credentials_botocore_says_so() -> None:
    async with the_clients() as clients:
        with pytest.raises(NoCredentialsError):
            await clients.credentials_method()


async def test_a_role_cannot_be_assumed_without_credentials() -> None:
    async with the_clients(role_arn=ROLE) as clients:
        with pytest.raises(NoCredentialsError):
            await clients.get("autoscaling")


class FakeSts:
    """Gives credentials of a role."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def __aenter__(self) -> FakeSts:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def assume_role(self, **keys: str) -> dict[str, Any]:
        self.asked.append(keys)
        key = {"AccessKeyId": "ASIATEST", "SecretAccessKey": "hunter3", "SessionToken": "t"}
        return {"Credentials": {**key, "Expiration": "2099-01-01T00:00:00Z"}}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("external_id", [None, "x1"])
async def test_a_role_is_assumed_with_the_credentials_that_are_found_and_once_while_they_last(
    external_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sts = FakeSts()
    made: list[dict[str, Any]] = []
    real = AioSession.create_client

    def create_client(session: AioSession, service: str, **keys: Any) -> Any:
        if service != "sts":
            return real(session, service, **keys)
        made.append(keys)
        return sts

    monkeypatch.setattr(AioSession, "create_client", create_client)
    keys = {} if external_id is None else {"external_id": external_id}
    async with the_clients(role_arn=ROLE, endpoint_url="http://a", **keys) as clients:
        client = await clients.get("ec2")
        assert sts.asked == []
        assert await clients.credentials_method() == "assume-role"
        for _ in range(2):  # each is signed with the credentials
            url = await client.generate_presigned_url("describe_instances")
            assert "Credential=ASIATEST%2F" in url
            assert "Security-Token=t" in url
        assert "ASIATEST" in await (await clients.get("autoscaling")).generate_presigned_url("describe_tags")
    asked = {"RoleArn": ROLE, "RoleSessionName": "dynsrv"}
    assert sts.asked == [asked if external_id is None else asked | {"ExternalId": external_id}]
    assert (made[0]["region_name"], made[0]["endpoint_url"]) == ("eu-central-1", "http://a")
    assert made[0]["aws_access_key_id"] == KEY["AWS_ACCESS_KEY_ID"]


@pytest.mark.usefixtures("key")
async def test_no_secret_is_shown() -> None:
    async with the_clients(role_arn=ROLE) as clients:
        assert "hunter2" not in repr(clients)
