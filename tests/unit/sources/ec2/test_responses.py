from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from dynsrv.errors import SourceError
from dynsrv.sources.ec2 import responses
from tests.fakes.ec2 import an_instance
from tests.unit.sources.ec2.parsing import parsed

LOGIN_PAGE = "<html><body>Please log in</body></html>"

INSTANCES = """\
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>8f7724cf</requestId>
  <reservationSet>
    <item>
      <reservationId>r-1</reservationId><ownerId>123456789012</ownerId><groupSet/>
      <instancesSet>
        <item>
          <instanceId>i-0a</instanceId><imageId>ami-1</imageId>
          <instanceState><code>16</code><name>running</name></instanceState>
          <privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><dnsName/>
          <privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>198.51.100.1</ipAddress>
          <placement><availabilityZone>eu-central-1a</availabilityZone></placement>
          <tagSet>
            <item><key>app</key><value>web</value></item>
            <item><key>empty</key><value/></item>
          </tagSet>
          <networkInterfaceSet>
            <item><networkInterfaceId>eni-1</networkInterfaceId><ipv6AddressesSet/></item>
            <item>
              <networkInterfaceId>eni-2</networkInterfaceId>
              <ipv6AddressesSet>
                <item><ipv6Address>2001:db8::1</ipv6Address></item>
                <item><ipv6Address>2001:db8::2</ipv6Address></item>
              </ipv6AddressesSet>
            </item>
          </networkInterfaceSet>
        </item>
        <item>
          <instanceId>i-0b</instanceId><instanceState><code>48</code><name>terminated</name></instanceState>
          <privateDnsName/><dnsName/><reason>User initiated</reason>
        </item>
      </instancesSet>
    </item>
    <item><reservationId>r-2</reservationId><instancesSet/></item>
  </reservationSet>
</DescribeInstancesResponse>"""

GROUPS = """\
<DescribeAutoScalingGroupsResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
  <DescribeAutoScalingGroupsResult>
    <AutoScalingGroups>
      <member>
        <AutoScalingGroupName>web</AutoScalingGroupName><MinSize>0</MinSize>
        <Instances>
          <member>
            <InstanceId>i-0a</InstanceId><LifecycleState>Terminating:Wait</LifecycleState>
            <HealthStatus>Healthy</HealthStatus>
          </member>
        </Instances>
      </member>
      <member><AutoScalingGroupName>empty</AutoScalingGroupName><Instances/></member>
    </AutoScalingGroups>
  </DescribeAutoScalingGroupsResult>
  <ResponseMetadata><RequestId>7c6e177f</RequestId></ResponseMetadata>
</DescribeAutoScalingGroupsResponse>"""

HOOKS = """\
<DescribeLifecycleHooksResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
  <DescribeLifecycleHooksResult>
    <LifecycleHooks>
      <member>
        <AutoScalingGroupName>web</AutoScalingGroupName><LifecycleHookName>drain</LifecycleHookName>
        <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>
        <GlobalTimeout>172800</GlobalTimeout><HeartbeatTimeout>300</HeartbeatTimeout>
        <DefaultResult>CONTINUE</DefaultResult>
      </member>
    </LifecycleHooks>
  </DescribeLifecycleHooksResult>
</DescribeLifecycleHooksResponse>"""


def the_instance(**keys: Any) -> responses.Instance:
    (instance,) = responses.instances({"Reservations": [{"Instances": [an_instance(**keys)]}]})
    return instance


def test_instances_are_read_as_botocore_parses_them() -> None:
    first, second = responses.instances(parsed("DescribeInstances", INSTANCES))
    assert (first.id, first.state) == ("i-0a", "running")
    assert (first.private_address, first.public_address) == ("10.0.0.1", "198.51.100.1")
    assert first.tags["app"] == "web"
    assert (second.id, second.state) == ("i-0b", "terminated")


def test_the_ipv6_address_is_the_first_of_the_first_interface_that_has_one() -> None:
    first, second = responses.instances(parsed("DescribeInstances", INSTANCES))
    assert first.ipv6_address == "2001:db8::1"
    assert second.ipv6_address == ""


def test_an_instance_that_has_ended_has_no_address_and_no_tag() -> None:
    _, ended = responses.instances(parsed("DescribeInstances", INSTANCES))
    assert (ended.private_address, ended.public_address, dict(ended.tags)) == ("", "", {})


def test_an_empty_tag_is_not_the_same_as_none() -> None:
    first, _ = responses.instances(parsed("DescribeInstances", INSTANCES))
    assert first.tags.get("empty") == ""
    assert first.tags.get("App") is None


def test_groups_are_read_with_their_members() -> None:
    web, empty = responses.groups(parsed("DescribeAutoScalingGroups", GROUPS))
    assert (web.name, [(one.id, one.state) for one in web.members]) == ("web", [("i-0a", "Terminating:Wait")])
    assert (empty.name, empty.members) == ("empty", ())


def test_hooks_are_read_with_their_heartbeat() -> None:
    (hook,) = responses.hooks(parsed("DescribeLifecycleHooks", HOOKS))
    transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    assert (hook.name, hook.group, hook.transition, hook.heartbeat) == ("drain", "web", transition, 300)


def test_a_hook_that_does_not_say_waits_an_hour_as_aws_documents() -> None:
    text = HOOKS.replace("<HeartbeatTimeout>300</HeartbeatTimeout>", "")
    (hook,) = responses.hooks(parsed("DescribeLifecycleHooks", text))
    assert hook.heartbeat == 3600


def test_an_answer_without_anything_is_an_answer() -> None:
    empty = '<DescribeInstancesResponse xmlns="x"><requestId>1</requestId><reservationSet/></DescribeInstancesResponse>'
    assert responses.instances(parsed("DescribeInstances", empty)) == ()
    assert responses.groups({"AutoScalingGroups": []}) == ()
    assert responses.hooks({"LifecycleHooks": []}) == ()


def test_a_login_page_is_not_taken_for_an_answer_without_instances() -> None:
    with pytest.raises(SourceError) as caught:
        responses.instances(parsed("DescribeInstances", LOGIN_PAGE))
    assert caught.value.reason == "invalid"
    assert str(caught.value) == (
        "the response is not from AWS (Reservations: Field required); is there a proxy or a login page in between?"
    )


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (responses.instances, "Reservations"),
        (responses.groups, "AutoScalingGroups"),
        (responses.hooks, "LifecycleHooks"),
    ],
)
@pytest.mark.parametrize("page", [{}, {"ResponseMetadata": {}}, {"KEY": None}, {"KEY": "x"}, {"KEY": [5]}], ids=str)
def test_whatever_else_comes_is_invalid_and_never_half_taken(
    read: Callable[[Mapping[str, Any]], object], key: str, page: dict[str, Any]
) -> None:
    with pytest.raises(SourceError, match=f"not from AWS \\({key}") as caught:
        read({name.replace("KEY", key): value for name, value in page.items()})
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("key", ["InstanceId", "State"])
def test_an_instance_without_an_id_or_a_state_is_invalid(key: str) -> None:
    keys = an_instance()
    del keys[key]
    with pytest.raises(SourceError, match=f"Reservations.0.Instances.0.{key}: Field required"):
        responses.instances({"Reservations": [{"Instances": [keys]}]})


def test_what_is_invalid_is_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        responses.instances({"Reservations": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_keys_that_nobody_needs_are_ignored() -> None:
    keys = an_instance() | {"Architecture": "arm64", "CpuOptions": {"CoreCount": 1}, "Monitoring": None}
    (instance,) = responses.instances({"Reservations": [{"Instances": [keys], "OwnerId": "1"}], "NextToken": "x"})
    assert instance == the_instance()


def test_equal_answers_are_equal_instances_in_whatever_order_their_tags_come() -> None:
    assert the_instance(tags={"a": "1", "b": "2"}) == the_instance(tags={"b": "2", "a": "1"})
    assert the_instance(tags={"a": "1"}) != the_instance(tags={"a": "2"})


@pytest.mark.parametrize("keys", [{"Tags": 5}, {"Tags": [{"Value": "x"}]}, {"State": {}}, {"InstanceId": 5}], ids=str)
def test_an_instance_with_parts_that_are_none_is_invalid(keys: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="not from AWS") as caught:
        responses.instances({"Reservations": [{"Instances": [an_instance() | keys]}]})
    assert caught.value.reason == "invalid"


def test_what_was_read_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        the_instance().id = "i-2"  # type: ignore[misc]
