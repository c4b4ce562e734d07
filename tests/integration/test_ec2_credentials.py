"""dynsrv finds its credentials and its region as every tool of AWS does, and goes on by itself when they change."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.aws import Aws, from_ec2
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.aws_played import scope_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.imds import NO_KEY, Fault, Imds
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

# Which HAProxy it is makes no difference to AWS.
pytestmark = pytest.mark.any_version

LOOKS = "DescribeInstances"
ROLE = "arn:aws:iam::123456789012:role/reader"
ELSEWHERE = "eu-west-1"


def write_key(folder: Path, key: str, *, profile: str = "default") -> None:
    """Write AWS' file of credentials, as a careful writer does."""
    file = folder / "aws-credentials"
    new = file.with_suffix(".new")
    new.write_text(f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
    new.rename(file)


def keys(faulty_aws: FaultyAws, action: str = LOOKS) -> list[str]:
    """Return the keys that signed the questions until now."""
    return [scope_of(request).key for request in faulty_aws.asked(action)]


@pytest.fixture
async def imds(stack: AsyncExitStack) -> Imds:
    """What dynsrv takes for its instance's metadata service."""
    return await stack.enter_async_context(Imds())


@pytest.fixture
async def server(aws: Aws, web_servers: WebServers) -> WebServer:
    """That of the only instance."""
    (server,) = await web_servers(1)
    await aws.launch_for(server)
    return server


def _said_once(controller: Dynsrv, event: Event) -> bool:
    return len(controller.lines(event)) == 1


async def test_without_credentials_nothing_is_asked_until_there_are_some(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, on_ec2: Install, *, tmp_path: Path
) -> None:
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url)}, environment=NO_KEY)
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=credentials" in line
    assert "Unable to locate credentials; provide some as for every AWS tool" in line
    assert not faulty_aws.requests
    write_key(tmp_path, "AKIALATER")
    await serves(haproxy, [server])
    assert set(keys(faulty_aws)) == {"AKIALATER"}
    assert _said_once(controller, Event.SOURCE_FAILED)


@pytest.mark.parametrize("fault", ["refuses", "no-role"])
async def test_an_instance_without_a_role_is_told_and_its_role_is_used_as_soon_as_it_has_one(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, imds: Imds, *, on_ec2: Install, fault: Fault
) -> None:
    imds.fault = fault
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url)}, environment=imds.on_an_instance)
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=credentials" in line
    assert not faulty_aws.requests
    imds.fault = None
    await serves(haproxy, [server])
    assert set(keys(faulty_aws)) == {imds.key}
    assert faulty_aws.requests[-1].headers["x-amz-security-token"] == f"session-of-{imds.key}"
    assert {request.method for request in imds.requests} == {"GET", "PUT"}  # the PUT is that of version 2
    assert _said_once(controller, Event.SOURCE_FAILED)


async def test_credentials_of_an_instance_that_aws_refuses_are_asked_for_anew(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, imds: Imds, *, on_ec2: Install
) -> None:
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url)}, environment=imds.on_an_instance)
    await controller.start()
    await serves(haproxy, [server])
    imds.rotate()
    faulty_aws.keys = {imds.key}
    await controller.logged(Event.SOURCE_RECOVERED)
    assert keys(faulty_aws)[-1] == imds.key
    await serves(haproxy, [server])


async def test_the_credentials_of_a_container_are_renewed_before_they_end(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, imds: Imds, *, on_ec2: Install
) -> None:
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url)}, environment=imds.in_a_container)
    await controller.start()
    await serves(haproxy, [server])
    for _ in range(2):
        imds.rotate()
        await eventually(lambda: keys(faulty_aws)[-1] == imds.key)
    assert not controller.lines(Event.SOURCE_FAILED)


async def test_credentials_that_cannot_be_renewed_do_until_their_end_and_the_log_has_dynsrvs_own_lines_only(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, imds: Imds, *, on_ec2: Install
) -> None:
    backend = {"source": from_ec2(faulty_aws.url)}
    controller = on_ec2(haproxy, backend=backend, environment=imds.in_a_container, log={"format": "json"})
    await controller.start()
    await serves(haproxy, [server])
    imds.fault = "refuses"
    asked, looks = len(imds.requests), len(keys(faulty_aws))
    await eventually(lambda: len(imds.requests) > asked and len(keys(faulty_aws)) > looks)
    await controller.stop()
    assert not [line for line in controller.log_data() if line["event"] == Event.SOURCE_FAILED]


async def test_a_key_that_ends_is_told_and_its_successor_in_the_file_is_used(
    haproxy: HAProxy,
    faulty_aws: FaultyAws,
    server: WebServer,
    web_servers: WebServers,
    *,
    on_ec2: Install,
    tmp_path: Path,
) -> None:
    write_key(tmp_path, "AKIAFIRST", profile="web")
    source = from_ec2(faulty_aws.url, profile="web")
    controller = on_ec2(haproxy, backend={"source": source}, environment=NO_KEY)
    await controller.start()
    await serves(haproxy, [server])
    assert set(keys(faulty_aws)) == {"AKIAFIRST"}
    faulty_aws.keys = {"AKIASECOND"}
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=credentials" in line
    assert "AWS rejected the credentials (AuthFailure)" in line
    (another,) = await web_servers(1)
    await faulty_aws.aws.launch_for(another)
    write_key(tmp_path, "AKIASECOND", profile="web")
    await serves(haproxy, [server, another])
    assert _said_once(controller, Event.SOURCE_FAILED)
    assert _said_once(controller, Event.SOURCE_RECOVERED)


async def test_a_profile_that_does_not_exist_is_told(haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install) -> None:
    source = from_ec2(faulty_aws.url, profile="wbe")
    controller = on_ec2(haproxy, backend={"source": source}, environment=NO_KEY)
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=credentials" in line
    assert "The config profile (wbe) could not be found" in line


async def test_a_role_is_assumed_and_assumed_again_before_its_credentials_end(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, on_ec2: Install
) -> None:
    faulty_aws.role_lasts = 12 * 60  # botocore renews 15 minutes before the end, so each time
    source = from_ec2(faulty_aws.url, role_arn=ROLE, external_id="dynsrv-7")
    controller = on_ec2(haproxy, backend={"source": source})
    await controller.start()
    await serves(haproxy, [server])
    await eventually(lambda: len(faulty_aws.asked("AssumeRole")) >= 3)
    for request in faulty_aws.asked("AssumeRole"):
        assert request.form["RoleArn"] == ROLE
        assert request.form["ExternalId"] == "dynsrv-7"
        assert scope_of(request).key == "AKIATEST"
    await eventually(lambda: len(set(keys(faulty_aws))) >= 2)
    assert all(key.startswith("ASIA") for key in keys(faulty_aws))
    assert not controller.lines(Event.SOURCE_FAILED)


async def test_a_role_that_may_not_be_assumed_is_told(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, on_ec2: Install
) -> None:
    faulty_aws.only, faulty_aws.fault = "AssumeRole", "access-denied"
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url, role_arn=ROLE)})
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=denied" in line
    assert "AWS denied access (AccessDenied): " in line
    assert not faulty_aws.asked(LOOKS)
    faulty_aws.fault = None
    await serves(haproxy, [server])


@pytest.mark.parametrize(
    ("key", "variables"),
    [
        (ELSEWHERE, {}),
        (ELSEWHERE, {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}),
        (None, {"AWS_REGION": ELSEWHERE, "AWS_DEFAULT_REGION": "us-east-1"}),
        (None, {"AWS_DEFAULT_REGION": ELSEWHERE}),
        (None, {}),  # by the profile
    ],
)
async def test_the_region_is_that_of_the_configuration_the_environment_or_the_profile(
    haproxy: HAProxy,
    faulty_aws: FaultyAws,
    on_ec2: Install,
    tmp_path: Path,
    *,
    key: str | None,
    variables: dict[str, str],
) -> None:
    if key is None and not variables:
        (tmp_path / "aws-config").write_text(f"[default]\nregion = {ELSEWHERE}\n")
    source = from_ec2(faulty_aws.url, region=key)
    if key is None:
        del source["region"]
    controller = on_ec2(haproxy, backend={"source": source}, environment=variables)
    await controller.start()
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
    assert {scope_of(request).region for request in faulty_aws.requests} == {ELSEWHERE}


async def test_no_region_at_all_is_told(haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install) -> None:
    source = from_ec2(faulty_aws.url)
    del source["region"]
    controller = on_ec2(haproxy, backend={"source": source})
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "no region is known; write the key region, or set AWS_REGION" in line
    assert not faulty_aws.requests


async def test_a_region_that_does_not_exist_is_told(haproxy: HAProxy, on_ec2: Install) -> None:
    source = from_ec2("", region="eu-nowhere-1")
    del source["endpoint_url"]
    controller = on_ec2(haproxy, backend={"source": source})
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=unreachable" in line
    assert "ec2.eu-nowhere-1.amazonaws.com" in line


async def test_the_endpoint_may_be_in_the_environment(
    haproxy: HAProxy, faulty_aws: FaultyAws, server: WebServer, on_ec2: Install
) -> None:
    source = from_ec2(faulty_aws.url)
    del source["endpoint_url"]
    controller = on_ec2(haproxy, backend={"source": source}, environment={"AWS_ENDPOINT_URL": faulty_aws.url})
    await controller.start()
    await serves(haproxy, [server])
    assert "secret" not in controller.log.read_text()
