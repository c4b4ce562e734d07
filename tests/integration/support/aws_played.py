"""What of AWS is played here, because moto has it not: pages of instances, states in between, lifecycle actions.

All of this is our own idea of AWS, made after its API reference. Nothing of it was seen at AWS itself:

- `MaxResults` counts instances; moto counts reservations.
- An instance is told as pending, stopping or shutting-down for as long as a test wants; moto's skip these states.
- An instance of an Auto Scaling group may be in any lifecycle state; moto's are InService or Standby.
- An instance that waits to end does so until its lifecycle action is completed, or until a heartbeat time-out passes
  without a heartbeat; then it is terminated. moto has hooks, but no actions.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from tests.integration.support.aws import GROUP, Aws, form, parse
from tests.integration.support.between import Answer, Request, ask

XML = (("Content-Type", "text/xml;charset=UTF-8"),)

_EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"
_AUTO_SCALING = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
_AT_ONCE = 1000
"""More reservations than any test has."""
_KEPT = 8
"""So many questions may be halfway through their pages."""
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass(frozen=True)
class Scope:
    """What a signature tells of a request: with which key, and for which region and service, in AWS' short words."""

    key: str
    region: str
    service: str


def scope_of(request: Request) -> Scope:
    """Return the scope of a signed request."""
    scope = request.headers.get("authorization", "").partition("Credential=")[2].partition(",")[0]
    key, _, region, service, _ = scope.split("/") if scope.count("/") == 4 else [""] * 5
    return Scope(key, region, service)


def refusal(status: int, code: str, message: str, *, service: str) -> Answer:
    """Return an error as *service* writes it."""
    told = f"<Code>{code}</Code><Message>{message}</Message>"
    if service == "ec2":
        body = f"<Response><Errors><Error>{told}</Error></Errors><RequestID>0</RequestID></Response>"
    else:
        body = f"<ErrorResponse><Error><Type>Sender</Type>{told}</Error><RequestId>0</RequestId></ErrorResponse>"
    return Answer(status, XML, body.encode())


class Instances:
    """Answers DescribeInstances, in pages.

    `states` has what is told of an instance instead of its real state. A page has `at_most` so many instances, even if
    more are asked for, as AWS may do. While `frozen`, a question is answered as it was answered last, or at `thaw`:
    moto takes seconds for a thousand instances. The last time, it took `seconds`.
    """

    def __init__(self, aws: Aws) -> None:
        self.states: dict[str, str] = {}
        self.at_most = _AT_ONCE
        self.frozen = False
        self.seconds = 0.0
        self._aws = aws
        self._serials = itertools.count(1)
        self._pages: dict[str, list[Answer]] = {}  # by serial, of the latest questions
        self._last: dict[bytes, Answer] = {}  # by question

    async def told(self, request: Request) -> Answer:
        if token := request.form.get("NextToken"):
            serial, _, number = token.partition(".")
            return self._pages[serial][int(number)]
        if self.frozen and (known := self._last.get(request.body)):
            return known
        return await self._asked(request)

    async def thaw(self, request: Request) -> None:
        """Ask what *request* asked, and answer so from now on."""
        await self._asked(request)

    async def _asked(self, request: Request) -> Answer:
        all_at_once = form({**request.form, "MaxResults": str(_AT_ONCE)}, request.headers)
        began = time.monotonic()
        real = await ask(self._aws.url, all_at_once)
        self.seconds = time.monotonic() - began
        if real.status == 200:
            real = self._first_page(real, min(int(request.form.get("MaxResults", _AT_ONCE)), self.at_most))
        self._last[request.body] = real
        return real

    def _first_page(self, real: Answer, size: int) -> Answer:
        root = parse(real.body)
        reservations = root.find("reservationSet")
        assert reservations is not None
        for instance in reservations.iterfind("item/instancesSet/item"):
            if state := self.states.get(instance.findtext("instanceId", "")):
                _put(instance, "instanceState/name", state)
                _put(instance, "instanceState/code", str(_CODES[state]))
        serial = str(next(self._serials))
        parts = list(_parts(reservations, size)) or [[]]
        pages = []
        for number, part in enumerate(parts, 1):
            reservations[:] = part
            _remove(root, "nextToken")
            if number < len(parts):
                ElementTree.SubElement(root, "nextToken").text = f"{serial}.{number}"
            pages.append(replace(real, body=_text(root, _EC2)))
        # What is frozen is asked for again and again.
        for old in list(self._pages)[: 0 if self.frozen else -_KEPT]:
            del self._pages[old]
        self._pages[serial] = pages
        return pages[0]


def without_reservations(answer: Answer) -> Answer:
    """Return what EC2 answers if no instance matches."""
    root = parse(answer.body)
    _remove(root, "nextToken")
    (reservations,) = root.findall("reservationSet")
    reservations.clear()
    return replace(answer, body=_text(root, _EC2))


def lasting(answer: Answer, seconds: float) -> Answer:
    """Return an answer of STS' whose credentials last so long from now."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    text = re.sub(
        "<Expiration>.*</Expiration>", f"<Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration>", answer.body.decode()
    )
    return replace(answer, body=text.encode())


@dataclass
class Action:
    """A lifecycle action of an instance that waits to end, and what dynsrv did about it; times are monotonic."""

    instance: str
    group: str
    hook: str
    heartbeat: float
    lasts_until: float = 0.0
    heartbeats: list[float] = field(default_factory=list)
    completions: list[float] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    expired: bool = False

    @property
    def over(self) -> bool:
        return self.expired or bool(self.completions)


class Lifecycle:
    """Answers for Auto Scaling. `states` has what is told of an instance instead of its real lifecycle state.

    `at_end` is done with an instance whose action is over, before it is terminated.
    """

    def __init__(self, aws: Aws) -> None:
        self.at_end: Callable[[str], Awaitable[None]] | None = None
        self.states: dict[str, str] = {}
        self.actions: dict[str, Action] = {}
        self._aws = aws
        self._tasks: set[asyncio.Task[None]] = set()

    async def hold(self, instance: str, *, hook: str = "drain", group: str = GROUP) -> Action:
        """Let Auto Scaling begin to terminate *instance*, which waits from now on for its hook."""
        hooks = await self._aws.ask("autoscaling", "DescribeLifecycleHooks", AutoScalingGroupName=group)
        (heartbeat,) = [
            float(one.findtext("HeartbeatTimeout", ""))
            for one in hooks.iterfind(".//LifecycleHooks/member")
            if one.findtext("LifecycleHookName") == hook
        ]
        action = Action(instance, group, hook, heartbeat, lasts_until=time.monotonic() + heartbeat)
        self.actions[instance] = action
        self.states[instance] = "Terminating:Wait"
        self._tasks.add(asyncio.create_task(self._live(action)))
        return action

    async def _live(self, action: Action) -> None:
        """Wait for the end of an action, and then end its instance."""
        while not action.over:
            await asyncio.sleep(0.02)
            action.expired = not action.completions and time.monotonic() > action.lasts_until
        self.states[action.instance] = "Terminating:Proceed"
        if self.at_end is not None:
            await self.at_end(action.instance)
        ended = {"InstanceId": action.instance, "ShouldDecrementDesiredCapacity": True}
        await self._aws.ask("autoscaling", "TerminateInstanceInAutoScalingGroup", **ended)
        del self.states[action.instance]

    async def close(self) -> None:
        """Fail if an instance could not be ended."""
        for task in self._tasks:
            if not task.done():
                task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def told(self, request: Request) -> Answer:
        """Answer DescribeAutoScalingGroups."""
        real = await ask(self._aws.url, request)
        if real.status != 200 or not self.states:
            return real
        root = parse(real.body)
        for member in root.iterfind(".//Instances/member"):
            if state := self.states.get(member.findtext("InstanceId", "")):
                _put(member, "LifecycleState", state)
        return replace(real, body=_text(root, _AUTO_SCALING))

    def act(self, request: Request) -> Answer:
        """Answer RecordLifecycleActionHeartbeat and CompleteLifecycleAction."""
        asked = request.form
        operation, instance = asked["Action"], asked["InstanceId"]
        action = self.actions.get(instance)
        if action is None or action.over or (action.group, action.hook) != _hook(request):
            problem = f"No active Lifecycle Action found with instance ID {instance}"
            return refusal(400, "ValidationError", problem, service="autoscaling")
        if operation == "RecordLifecycleActionHeartbeat":
            action.heartbeats.append(request.at)
            action.lasts_until = time.monotonic() + action.heartbeat
        else:
            action.completions.append(request.at)
            action.results.append(asked["LifecycleActionResult"])
        root = ElementTree.Element(f"{operation}Response")
        ElementTree.SubElement(root, f"{operation}Result")
        ElementTree.SubElement(ElementTree.SubElement(root, "ResponseMetadata"), "RequestId").text = "0"
        return Answer(200, XML, _text(root, _AUTO_SCALING))


def _hook(request: Request) -> tuple[str, str]:
    return request.form["AutoScalingGroupName"], request.form["LifecycleHookName"]


def _parts(reservations: Iterable[ElementTree.Element], size: int) -> Iterator[list[ElementTree.Element]]:
    """Yield whole reservations of at most *size* instances together, or one that has more."""
    part: list[ElementTree.Element] = []
    number = 0
    for reservation in reservations:
        own = len(reservation.findall("instancesSet/item"))
        if part and number + own > size:
            yield part
            part, number = [], 0
        part.append(reservation)
        number += own
    if part:
        yield part


def _put(element: ElementTree.Element, path: str, text: str) -> None:
    found = element.find(path)
    assert found is not None, path
    found.text = text


def _remove(element: ElementTree.Element, path: str) -> None:
    for found in element.findall(path):
        element.remove(found)


def _text(root: ElementTree.Element, namespace: str) -> bytes:
    root.set("xmlns", namespace)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text
