"""What stands between dynsrv and AWS: it does to the answers what AWS, networks and portals do on a bad day.

moto has none of a bad day, and not all of a good one: `aws_played` tells what is played here in its stead.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, get_args

from tests.integration.support.aws import Aws
from tests.integration.support.aws_played import (
    XML,
    Instances,
    Lifecycle,
    lasting,
    refusal,
    scope_of,
    without_reservations,
)
from tests.integration.support.between import Answer, Between, Request, Reset, ask, send_half

Fault = Literal[
    "throttled",  # as EC2 says it: 503
    "throttling",  # as Auto Scaling and STS say it: 400
    "unavailable",
    "unauthorized",  # as EC2 says it
    "access-denied",  # as Auto Scaling and STS say it
    "auth-failure",
    "request-expired",
    "expired-token",
    "bad-filter",
    "500",
    "502",  # a load balancer's page
    "html",  # 200 with a login page
    "redirect",  # 302 to a login page
    "other-xml",  # 200 with XML that is none of AWS'
    "not-xml",  # 200, but half of the real answer
    "empty",  # the real answer without a single reservation
    "truncated",  # the real answer, cut in the middle: fewer bytes than promised
    "reset",  # RST
    "silent",  # never an answer
]
FAULTS: tuple[Fault, ...] = get_args(Fault)


_REFUSALS: dict[Fault, tuple[int, str, str]] = {
    "throttled": (503, "RequestLimitExceeded", "Request limit exceeded."),
    "throttling": (400, "Throttling", "Rate exceeded"),
    "unavailable": (503, "Unavailable", "The service is unavailable. Please try again shortly."),
    "unauthorized": (403, "UnauthorizedOperation", "You are not authorized to perform this operation."),
    "access-denied": (403, "AccessDenied", "User: anonymous is not authorized to perform this action"),
    "auth-failure": (401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
    "request-expired": (400, "RequestExpired", "Request has expired."),
    "expired-token": (403, "ExpiredToken", "The security token included in the request is expired"),
    "bad-filter": (400, "InvalidParameterValue", "The filter 'bogus' is invalid"),
    "500": (500, "InternalError", "An internal error has occurred"),
}
_LOGIN = "/login"
_HTML = (("Content-Type", "text/html"),)


class FaultyAws(Between[Fault]):
    """Forwards to *aws*; if that is gone, connections are closed.

    `only` restricts the fault to one action, `later_pages` to the questions for another page than the first. Of `keys`,
    if there are any, one has to sign, and a role is assumed for `role_lasts` seconds.
    `instances` and `lifecycle` are what is played of EC2 and of Auto Scaling.
    """

    def __init__(self, aws: Aws, *, fault: Fault | None = None, port: int = 0) -> None:
        super().__init__(fault=fault, port=port)
        self.aws = aws
        self.only: str | None = None
        self.later_pages = False
        self.keys: set[str] = set()
        self.role_lasts: float | None = None
        self.instances = Instances(aws)
        self.lifecycle = Lifecycle(aws)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        await self.lifecycle.close()

    def asked(self, action: str) -> list[Request]:
        """Return the requests for *action*."""
        return [request for request in self.requests if request.form.get("Action") == action]

    def _fault_of(self, request: Request) -> Fault | None:
        of_this_action = self.only in {None, request.form.get("Action")}
        if self.keys and scope_of(request).key not in self.keys:
            return "auth-failure"
        return self.fault if of_this_action and (not self.later_pages or "NextToken" in request.form) else None

    async def _make(self, request: Request, fault: Fault | None, *, again: bool) -> Answer:
        if request.path == _LOGIN or fault == "html":
            # Such pages tell the time or a number of the request.
            page = f"<html><title>Please log in</title><body>Request {len(self.requests)}<br></body></html>"
            return Answer(200, _HTML, page.encode())
        if fault is not None and fault in _REFUSALS:
            return refusal(*_REFUSALS[fault], service=scope_of(request).service)
        match fault:
            case "502":
                return Answer(502, _HTML, b"<html><body><h1>502 Bad Gateway</h1></body></html>")
            case "redirect":
                return Answer(302, (("Location", f"{self.url}{_LOGIN}"),), b"")
            case "other-xml":
                return Answer(200, XML, b'<?xml version="1.0"?><rss version="2.0"><channel/></rss>')
            case "reset":
                raise Reset
            case "silent":
                await asyncio.Event().wait()
            case _:
                pass
        answer = await self._real(request)
        match fault:
            case "empty" if request.form["Action"] == "DescribeInstances":
                return without_reservations(answer)
            case "not-xml":
                return Answer(200, answer.headers, answer.body[: len(answer.body) // 2])
            case _:
                return answer

    async def _real(self, request: Request) -> Answer:
        match request.form.get("Action"):
            case "DescribeInstances":
                return await self.instances.told(request)
            case "DescribeAutoScalingGroups":
                return await self.lifecycle.told(request)
            case "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction":
                return self.lifecycle.act(request)
            case "AssumeRole" if self.role_lasts is not None:
                return lasting(await ask(self.aws.url, request), self.role_lasts)
            case _:
                return await ask(self.aws.url, request)

    async def _send(self, answer: Answer, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
        if fault == "truncated":
            return await send_half(answer, writer)
        return await super()._send(answer, fault, writer)
