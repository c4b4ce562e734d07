"""What does a test tell and ask AWS? Over a client of its own, which repeats nothing and hides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode
from xml.etree import ElementTree

from tests.integration.support.between import Request, ask
from tests.integration.support.web_servers import WebServer

REGION = "eu-central-1"
GROUP = "web"
"""The Auto Scaling group of most tests."""

Service = Literal["ec2", "autoscaling", "sts"]

_VERSIONS: dict[Service, str] = {"ec2": "2016-11-15", "autoscaling": "2011-01-01", "sts": "2011-06-15"}
_IN_ONE_RESERVATION = 10
_IMAGE = "ami-12345678"


def from_ec2(url: str, **keys: object) -> dict[str, object]:
    """Return the source that follows the instances tagged app=web of the AWS at *url*, with *keys* besides.

    It asks every second; each instance's tag `ports` says what it serves.
    """
    own: dict[str, object] = {"filters": {"tag:app": "web"}, "port_tag": "ports", "interval": "1s"}
    if keys.keys() & {"auto_scaling_group", "filters"}:
        del own["filters"]
    if "port" in keys:
        del own["port_tag"]
    return {"kind": "ec2", "region": REGION, "endpoint_url": url, **own, **keys}


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a dynsrv with a key of its own, and nothing that this machine knows of AWS.

    *variables* come after that; its files of configuration and credentials would be in *folder*.
    """
    return {
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws-credentials"),
        **variables,
    }


def parse(body: bytes) -> ElementTree.Element:
    """Return an answer without its namespace."""
    root = ElementTree.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def signed(service: Service, *, key: str = "AKIATEST", region: str = REGION) -> dict[str, str]:
    """Return the headers by which moto knows who asks which service; it does not look at the signature."""
    scope = f"{key}/20260101/{region}/{service}/aws4_request"
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    }


@dataclass(frozen=True)
class Instance:
    """What EC2 tells of an instance; an address that it has not is empty."""

    id: str
    state: str
    address: str
    public: str
    ipv6: str


class Aws:
    """What a test does in AWS, as an operator would. `launched` has the private address of each by its id."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.launched: dict[str, str] = {}

    async def ask(self, service: Service, action: str, **parameters: object) -> ElementTree.Element:
        """Do *action*, with the names of the API reference, and return the answer, which has to be a good one."""
        asked = {"Action": action, "Version": _VERSIONS[service], **_flat(parameters, service)}
        answer = await ask(self.url, form(asked, signed(service)))
        assert answer.status == 200, f"{action}: {answer.status} {answer.body.decode()}"
        return parse(answer.body)

    async def launch(
        self,
        number: int = 1,
        *,
        tags: Mapping[str, str] | None = None,
        address: str | None = None,
        subnet: str | None = None,
        ipv6: bool = False,
        type: str = "t3.micro",
    ) -> list[str]:
        """Launch so many instances, ten in a reservation, and return their ids.

        They have the tag app=web and *tags*. Without an *address* moto chooses one for each, in *subnet* from there.
        """
        tagged = [{"Key": key, "Value": value} for key, value in {"app": "web", **(tags or {})}.items()]
        asked: dict[str, object] = {
            "ImageId": _IMAGE,
            "InstanceType": type,
            "TagSpecification": [{"ResourceType": "instance", "Tag": tagged}],
            **({"PrivateIpAddress": address} if address else {}),
            **({"SubnetId": subnet} if subnet else {}),
            **({"Ipv6AddressCount": 1} if ipv6 else {}),
        }
        ids: list[str] = []
        while len(ids) < number:
            some = min(_IN_ONE_RESERVATION, number - len(ids))
            launched = await self.ask("ec2", "RunInstances", MinCount=some, MaxCount=some, **asked)
            own = _texts(launched, "instancesSet/item/instanceId")
            self.launched |= zip(own, _texts(launched, "instancesSet/item/privateIpAddress"), strict=True)
            ids += own
        return ids

    async def launch_for(self, server: WebServer, **tags: str) -> str:
        """Launch an instance whose address is *server*'s and whose tag `ports` is its port."""
        (own,) = await self.launch(address=server.host, tags={"ports": str(server.port), **tags})
        return own

    async def tag(self, instance: str, **tags: str) -> None:
        """Give *instance* these tags, and keep its others."""
        tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
        await self.ask("ec2", "CreateTags", ResourceId=[instance], Tag=tagged)

    async def stop(self, *instances: str) -> None:
        await self.ask("ec2", "StopInstances", InstanceId=instances)

    async def start(self, *instances: str) -> None:
        await self.ask("ec2", "StartInstances", InstanceId=instances)

    async def terminate(self, *instances: str) -> None:
        await self.ask("ec2", "TerminateInstances", InstanceId=instances)

    async def instances(self) -> dict[str, Instance]:
        """Return what there is, by id, and what there was."""
        told = await self.ask("ec2", "DescribeInstances", MaxResults=1000)
        found = [_instance(item) for item in told.iterfind("reservationSet/item/instancesSet/item")]
        return {one.id: one for one in found}

    async def a_subnet(self, network: str = "10.1.0.0/16") -> str:
        """Make a network with one subnet, whose instances get public addresses, and IPv6 ones if they want."""
        vpc = await self.ask("ec2", "CreateVpc", CidrBlock=network, AmazonProvidedIpv6CidrBlock=True)
        (block,) = _texts(vpc, ".//ipv6CidrBlock")
        (own,) = _texts(vpc, "vpc/vpcId")
        asked = {"VpcId": own, "CidrBlock": network, "Ipv6CidrBlock": block.replace("/56", "/64")}
        (subnet,) = _texts(await self.ask("ec2", "CreateSubnet", **asked), "subnet/subnetId")
        public = {"Value": True}
        await self.ask("ec2", "ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch=public)
        return subnet

    async def a_group(self, name: str = GROUP, *, desired: int = 0, subnet: str | None = None) -> None:
        """Make an Auto Scaling group, which launches *desired* instances."""
        where = {"VPCZoneIdentifier": subnet} if subnet else {"AvailabilityZones": [f"{REGION}a"]}
        configuration = {"LaunchConfigurationName": f"{name}-launches"}
        launches = {"ImageId": _IMAGE, "InstanceType": "t3.micro"}
        await self.ask("autoscaling", "CreateLaunchConfiguration", **configuration, **launches)
        size = {"MinSize": 0, "MaxSize": 100, "DesiredCapacity": desired}
        await self._of_group("CreateAutoScalingGroup", name, **configuration, **size, **where)

    async def members(self, group: str = GROUP) -> dict[str, str]:
        """Return the lifecycle states of the group's instances, by id."""
        told = await self.ask("autoscaling", "DescribeAutoScalingGroups", AutoScalingGroupNames=[group])
        found = told.findall(".//Instances/member")
        return {one.findtext("InstanceId", ""): one.findtext("LifecycleState", "") for one in found}

    async def scale(self, desired: int, *, group: str = GROUP) -> None:
        """Let the group launch instances, or terminate some of its own choice."""
        await self._of_group("SetDesiredCapacity", group, DesiredCapacity=desired)

    async def attach(self, *instances: str, group: str = GROUP) -> None:
        await self._of_group("AttachInstances", group, InstanceIds=instances)

    async def detach(self, *instances: str, group: str = GROUP) -> None:
        await self._of_group("DetachInstances", group, InstanceIds=instances, ShouldDecrementDesiredCapacity=True)

    async def enter_standby(self, *instances: str, group: str = GROUP) -> None:
        await self._of_group("EnterStandby", group, InstanceIds=instances, ShouldDecrementDesiredCapacity=True)

    async def exit_standby(self, *instances: str, group: str = GROUP) -> None:
        await self._of_group("ExitStandby", group, InstanceIds=instances)

    async def a_hook(
        self, name: str = "drain", *, group: str = GROUP, heartbeat: float = 30, transition: str = "TERMINATING"
    ) -> None:
        """Let the group hold its instances at their termination, or with *transition* LAUNCHING at their launch.

        AWS takes *heartbeat* time-outs of 30 s and more; moto, any.
        """
        asked = {"LifecycleTransition": f"autoscaling:EC2_INSTANCE_{transition}", "HeartbeatTimeout": int(heartbeat)}
        await self._of_group("PutLifecycleHook", group, LifecycleHookName=name, **asked)

    async def _of_group(self, action: str, group: str, **parameters: object) -> None:
        await self.ask("autoscaling", action, AutoScalingGroupName=group, **parameters)


def form(parameters: Mapping[str, str], headers: Mapping[str, str]) -> Request:
    """Return the request that asks for *parameters*."""
    body = urlencode(parameters).encode()
    return Request("POST", "/", {**headers, "content-length": str(len(body))}, body)


def _flat(parameters: Mapping[str, object], service: Service) -> dict[str, str]:
    """Return *parameters* as AWS wants them in a form: `Tag.1.Key`, and of other services `Tags.member.1.Key`."""
    flat: dict[str, str] = {}

    def add(name: str, value: object) -> None:
        match value:
            case Mapping():
                for key, inner in value.items():
                    add(f"{name}.{key}" if name else key, inner)
            case str() | int() | float():
                flat[name] = str(value).lower() if isinstance(value, bool) else str(value)
            case Sequence():
                for number, inner in enumerate(value, 1):
                    add(f"{name}.{number}" if service == "ec2" else f"{name}.member.{number}", inner)
            case _:
                raise TypeError(f"{name}: {value!r}")

    add("", parameters)
    return flat


def _instance(item: ElementTree.Element) -> Instance:
    names = (
        "instanceId",
        "instanceState/name",
        "privateIpAddress",
        "ipAddress",
        ".//ipv6AddressesSet/item/ipv6Address",
    )
    return Instance(*(item.findtext(name, "") for name in names))


def _texts(element: ElementTree.Element, path: str) -> list[str]:
    return [one.text or "" for one in element.iterfind(path)]
