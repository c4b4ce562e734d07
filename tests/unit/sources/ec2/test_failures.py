from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError

from dynsrv.errors import SourceError
from dynsrv.sources.ec2.failures import translating_errors
from tests.fakes.ec2 import refusal
from tests.unit.sources.ec2.parsing import parsed

URL = "https://ec2.eu-central-1.amazonaws.com/"
REMEDY = "provide some as for every AWS tool: environment, profile, container or instance role"
BETWEEN = "is there a proxy or a login page in between?"


def told_of(error: BaseException) -> tuple[str, str]:
    """The reason and the sentence that come of an exception."""
    with pytest.raises(SourceError) as caught, translating_errors("DescribeInstances in eu-central-1"):
        raise error
    where, _, sentence = str(caught.value).partition(": ")
    assert where == "DescribeInstances in eu-central-1"
    return caught.value.reason, sentence


def test_what_goes_well_is_left_alone() -> None:
    with translating_errors("x"):
        pass


# ---- what AWS refuses

REFUSED = {
    "throttled": ["RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled", "SlowDown"],
    "denied": ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"],
    "credentials": [
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ],
    "request": ["InvalidParameterValue", "ValidationError", "FilterLimitExceeded", "SomethingNew"],
}
SENTENCES = {
    "throttled": "AWS throttles the requests",
    "denied": "AWS denied access",
    "credentials": "AWS rejected the credentials",
    "request": "AWS rejected the request",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_aws_refuses_is_told_by_its_code_and_in_its_words(reason: str) -> None:
    for code in REFUSED[reason]:
        assert told_of(refusal(code, "Because.")) == (reason, f"{SENTENCES[reason]} ({code}): Because.")


@pytest.mark.parametrize("code", ["InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable"])
def test_a_failure_of_aws_own_is_told_with_its_status(code: str) -> None:
    error = refusal(code, "An internal error has occurred", status=500)
    assert told_of(error) == ("server", f"AWS failed (500 {code}): An internal error has occurred")


def test_aws_is_asked_too_often_whatever_the_status() -> None:
    assert told_of(refusal("RequestLimitExceeded", status=503))[0] == "throttled"


@pytest.mark.parametrize("message", ["", " \n"])
def test_a_refusal_may_come_without_a_word(message: str) -> None:
    assert told_of(refusal("AccessDenied", message)) == (
        "denied",
        "AWS denied access (AccessDenied): no message",
    )


def test_a_refusal_as_ec2_writes_it_is_understood() -> None:
    body = (
        "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform this "
        "operation.</Message></Error></Errors><RequestID>1</RequestID></Response>"
    )
    error = botocore.ClientError(parsed("DescribeInstances", body, status=403), "DescribeInstances")
    sentence = "AWS denied access (UnauthorizedOperation): You are not authorized to perform this operation."
    assert told_of(error) == ("denied", sentence)


def test_a_refusal_as_auto_scaling_writes_it_is_understood() -> None:
    body = (
        '<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error><Type>Sender</Type><Code>'
        "Throttling</Code><Message>Rate exceeded</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
    error = botocore.ClientError(parsed("CompleteLifecycleAction", body, status=400), "CompleteLifecycleAction")
    assert told_of(error) == ("throttled", "AWS throttles the requests (Throttling): Rate exceeded")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (403, ("request", "AWS rejected the request (403): no message")),
        (503, ("server", "AWS failed (503): Service Unavailable")),
    ],
)
def test_a_page_of_something_between_is_told_by_its_status(status: int, told: tuple[str, str]) -> None:
    page = parsed("DescribeInstances", "<html><body>Go away</body></html>", status=status)
    assert told_of(botocore.ClientError(page, "DescribeInstances")) == told


# ---- what AWS' client finds, each with its reason and what the sentence has

FOUND: list[tuple[BaseException, str, str]] = [
    (botocore.NoCredentialsError(), "credentials", f"Unable to locate credentials; {REMEDY}"),
    (
        botocore.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        "credentials",
        f"Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY; {REMEDY}",
    ),
    (
        botocore.CredentialRetrievalError(provider="container-role", error_msg="Timeout"),
        "credentials",
        f"Error when retrieving credentials from container-role: Timeout; {REMEDY}",
    ),
    (
        botocore.MetadataRetrievalError(error_msg="Received non 200 response 404"),
        "credentials",
        f"Error retrieving metadata: Received non 200 response 404; {REMEDY}",
    ),
    (
        botocore.ProfileNotFound(profile="web"),
        "credentials",
        f"The config profile (web) could not be found; {REMEDY}",
    ),
    (
        botocore.UnauthorizedSSOTokenError(),
        "credentials",
        "The SSO session associated with this profile has expired or is otherwise invalid.",
    ),
    (
        botocore.TokenRetrievalError(provider="sso", error_msg="Token has expired"),
        "credentials",
        f"Error when retrieving token from sso: Token has expired; {REMEDY}",
    ),
    (botocore.NoRegionError(), "request", "no region is known; write the key region, or set AWS_REGION"),
    (
        botocore.ParamValidationError(report="Invalid length for parameter Filters"),
        "request",
        "Parameter validation failed: Invalid length for parameter Filters",
    ),
    (botocore.ConnectTimeoutError(endpoint_url=URL), "timeout", f'Connect timeout on endpoint URL: "{URL}"'),
    (botocore.ReadTimeoutError(endpoint_url=URL), "timeout", f'Read timeout on endpoint URL: "{URL}"'),
    (TimeoutError(), "timeout", "AWS did not respond in time"),
    (
        botocore.EndpointConnectionError(endpoint_url=URL),
        "unreachable",
        f'Could not connect to the endpoint URL: "{URL}"',
    ),
    (
        botocore.ConnectionClosedError(endpoint_url=URL),
        "unreachable",
        "Connection was closed before we received a valid response from endpoint URL:",
    ),
    (
        botocore.ProxyConnectionError(proxy_url="http://proxy:3128"),
        "unreachable",
        'Failed to connect to proxy URL: "http://proxy:3128"',
    ),
    (
        botocore.SSLError(endpoint_url=URL, error="certificate verify failed"),
        "unreachable",
        f"SSL validation failed for {URL} certificate verify failed",
    ),
    (
        botocore.HTTPClientError(error="Invalid header"),
        "unreachable",
        "An HTTP Client raised an unhandled exception: Invalid header",
    ),
    (aiohttp.ClientPayloadError("Response payload is not completed"), "unreachable", "Response payload is not"),
    (aiohttp.ServerDisconnectedError(), "unreachable", "Server disconnected"),
    (ConnectionResetError(104, "Connection reset by peer"), "unreachable", "Connection reset by peer"),
    (ConnectionResetError(), "unreachable", "ConnectionResetError"),
    (socket.gaierror(-2, "Name or service not known"), "unreachable", "Name or service not known"),
    (
        botocore.PaginationError(message="The same next token was received twice"),
        "invalid",
        BETWEEN,
    ),
    (ValueError("not at all"), "client", "AWS' client failed: ValueError('not at all')"),
    (KeyError("DescribeAutoScalingGroupsResult"), "invalid", BETWEEN),
    (KeyError("ec2"), "client", "AWS' client failed: KeyError('ec2')"),
]


@pytest.mark.parametrize(("error", "reason", "sentence"), FOUND, ids=lambda value: type(value).__name__)
def test_what_its_client_finds_is_told_in_one_line(error: BaseException, reason: str, sentence: str) -> None:
    found, told = told_of(error)
    assert found == reason
    assert sentence in " ".join(told.split())


def test_what_its_client_cannot_read_is_invalid_and_not_shown_since_it_may_be_another_each_time() -> None:
    with pytest.raises(ResponseParserError) as caught:
        parsed("DescribeInstances", "<html>\n<p>Please log in" + "\nhere" * 1000)
    reason, told = told_of(caught.value)
    assert reason == "invalid"
    assert told == f"the response is not from AWS; {BETWEEN}"


def test_what_dynsrv_found_itself_keeps_its_reason() -> None:
    assert told_of(SourceError("request", "there is no such group")) == ("request", "there is no such group")


@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
def test_who_is_cancelled_is_cancelled(end: type[BaseException]) -> None:
    with pytest.raises(end), translating_errors("x"):
        raise end


def test_a_bug_keeps_where_it_came_from() -> None:
    bug = ZeroDivisionError()
    with pytest.raises(SourceError) as caught, translating_errors("x"):
        raise bug
    assert caught.value.__cause__ is bug


def test_whatever_botocore_raises_there_is_a_reason_for_it() -> None:
    kinds: list[Any] = [one for one in vars(botocore).values() if isinstance(one, type)]
    errors = [kind.__new__(kind) for kind in kinds if issubclass(kind, botocore.BotoCoreError)]
    assert len(errors) > 50
    for error in errors:
        assert told_of(error)[0] in {"credentials", "request", "timeout", "invalid", "unreachable"}, type(error)
