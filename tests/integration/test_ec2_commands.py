"""The commands ask AWS themselves: what `check --live` tells, and what `plan` and `apply` do without a daemon."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.support.aws import GROUP, Aws, from_ec2
from tests.integration.support.aws_faults import Fault, FaultyAws
from tests.integration.support.controller import Finished, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.imds import NO_KEY
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

HIDES_THE_EXTRA = """
import sys
from importlib.machinery import PathFinder


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {"aiobotocore", "botocore"} else super().find_spec(name, path, target)


sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


async def _check(
    on_ec2: Install,
    haproxy: HAProxy,
    *,
    environment: Mapping[str, str] | None = None,
    **sources: Mapping[str, object],
) -> dict[str, list[str]]:
    """Return what `check --live` says of each source, and that it fails if anything is bad."""
    backends = [{"name": name, "source": source} for name, source in sources.items()]
    checked: Finished = await on_ec2(haproxy, backends=backends, environment=environment or {}).run("check", "--live")
    found = defaultdict(list)
    for line in checked.out.splitlines():
        verdict, what, *words = line.split()
        if what == "source":
            found[words[1]].append(f"{verdict}: {' '.join(words[3:])}")
    assert checked.code == (1 if "bad" in checked.out else 0), checked
    assert not checked.err, checked
    return found


async def test_check_live_tells_what_it_finds_in_aws(haproxy: HAProxy, aws: Aws, on_ec2: Install) -> None:
    await aws.a_group()
    await aws.a_hook(heartbeat=300)
    launched = [(await aws.launch(address="127.0.0.1", tags={"ports": str(port)}))[0] for port in range(81, 85)]
    await aws.attach(*launched[:3])
    await aws.enter_standby(launched[0])
    await aws.stop(launched[3])
    found = await _check(
        on_ec2,
        haproxy,
        be_app=from_ec2(aws.url),
        group=from_ec2(aws.url, auto_scaling_group=GROUP, complete_lifecycle=True),
    )
    assert found["be_app"] == [
        "good: the credentials come from env",
        "good: EC2 answers: 4 instances: 3 running, 1 stopped",
        "good: 3 endpoints",
    ]
    assert found["group"] == [
        "good: the credentials come from env",
        "good: EC2 answers: 3 instances: 3 running",
        "good: the Auto Scaling group web has 3 instances: 2 InService, 1 Standby",
        "good: its lifecycle hook drain waits for dynsrv, 300 s after each heartbeat",
        "good: 3 endpoints",
    ]


async def test_check_live_tells_what_is_wrong_and_what_to_do(haproxy: HAProxy, aws: Aws, on_ec2: Install) -> None:
    (own,) = await aws.launch(address="127.0.0.1", tags={"ports": "http"})
    await aws.a_group()
    await aws.attach(own)
    found = await _check(
        on_ec2,
        haproxy,
        none=from_ec2(aws.url, filters={"tag:app": "wbe"}),
        wrong=from_ec2(aws.url),
        group=from_ec2(aws.url, auto_scaling_group="wbe"),
        hook=from_ec2(aws.url, auto_scaling_group=GROUP, complete_lifecycle=True, port=80),
        gone=from_ec2("http://127.0.0.1:9", port=80),
        profile=from_ec2(aws.url, profile="wbe"),
    )
    told = {name: sentences[-1] for name, sentences in found.items()}
    tag = f'{own} is ignored: found "http" in its tag ports, expected a port from 1 to 65535, or several with commas'
    assert told.pop("profile").endswith(
        "The config profile (wbe) could not be found; provide some as for every AWS tool: "
        "environment, profile, container or instance role"
    )
    where = "in eu-central-1:"
    assert told == {
        "wrong": f"bad: no instance can be used: {tag}",
        "none": "bad: EC2 has no instance that matches",
        "group": f"bad: DescribeAutoScalingGroups {where} there is no Auto Scaling group wbe",
        "hook": f"bad: DescribeLifecycleHooks {where} the Auto Scaling group web has no termination lifecycle hook; "
        "add one, or remove complete_lifecycle",
        "gone": f'bad: DescribeInstances {where} Could not connect to the endpoint URL: "http://127.0.0.1:9/"',
    }


async def test_check_live_without_credentials(haproxy: HAProxy, aws: Aws, on_ec2: Install) -> None:
    found = await _check(on_ec2, haproxy, be_app=from_ec2(aws.url), environment=NO_KEY)
    assert "Unable to locate credentials; provide some as for every AWS tool" in found["be_app"][-1]


@pytest.mark.parametrize("fault", ["unauthorized", "bad-filter", "html"])
async def test_check_live_tells_what_aws_says(
    haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install, *, fault: Fault
) -> None:
    faulty_aws.fault = fault
    (line,) = (await _check(on_ec2, haproxy, be_app=from_ec2(faulty_aws.url)))["be_app"][1:]
    sentences: dict[Fault, str] = {
        "unauthorized": "AWS denied access (UnauthorizedOperation): You are not authorized to perform this",
        "bad-filter": "AWS rejected the request (InvalidParameterValue): The filter 'bogus' is invalid",
        "html": "is there a proxy or a login page in between?",
    }
    assert line.startswith("bad: DescribeInstances in eu-central-1: ")
    assert sentences[fault] in line


async def test_plan_and_apply_ask_aws_themselves(
    haproxy: HAProxy, faulty_aws: FaultyAws, web_servers: WebServers, on_ec2: Install
) -> None:
    aws = faulty_aws.aws
    servers = await web_servers(3)
    launched = [await aws.launch_for(server) for server in servers[:2]]
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url)})
    planned = await controller.run("plan", "--json")
    assert planned.code == 2, planned
    (backend,) = planned.json["backends"]
    added = {step["server"]: step["port"] for step in backend["steps"] if step["step"] == "add"}
    assert added == {f"dyn-{one}": server.port for one, server in zip(launched, servers, strict=False)}
    assert await haproxy.servers() == {}
    applied = await controller.run("apply")
    assert applied.code == 0, applied
    assert "be_app on lb1: in sync after" in applied.out
    await serves(haproxy, servers[:2])

    await aws.launch_for(servers[2])
    await aws.terminate(launched[0])
    assert (await controller.run("apply")).code == 0
    await serves(haproxy, servers[1:])
    assert (await controller.run("plan")).code == 0

    faulty_aws.fault = "auth-failure"
    for command in ("plan", "apply"):
        failed = await controller.run(command)
        assert failed.code == 1, failed
        assert "AWS rejected the credentials (AuthFailure)" in failed.out
    await serves(haproxy, servers[1:])


async def test_without_the_extra_it_is_told_how_to_install_it_and_other_sources_go_on(
    haproxy: HAProxy, web_servers: WebServers, on_ec2: Install, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDES_THE_EXTRA)
    hidden = {"PYTHONPATH": str(tmp_path)}
    controller = on_ec2(haproxy, backend={"source": from_ec2("http://127.0.0.1:9")}, environment=hidden)
    for command in ("check", "plan", "run"):
        refused = await controller.run(command)
        assert refused.code == 1, refused
        needs = "found ec2, which needs an extra that is not installed; pip install 'dynsrv[ec2]'"
        assert f"backends[0].source.kind: {needs}" in refused.err
        assert "Traceback" not in refused.err
    controller = on_ec2(haproxy, environment=hidden)
    servers = await web_servers(1)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
