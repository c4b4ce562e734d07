"""What went wrong at AWS? What its client raises, as a message for operators and a reason for the metric."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dynsrv.errors import SourceError

_THROTTLED = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_CREDENTIALS = {
    "AuthFailure",
    "Blocked",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}

_NOT_AWS = "the response is not from AWS; is there a proxy or a login page in between?"
"""Does not quote the response: a login page may differ each time, and each error is logged once."""

NO_ACTION = "No active Lifecycle Action"
"""How Auto Scaling's message begins if the lifecycle action was already completed, or has timed out."""


@contextmanager
def translating_errors(where: str) -> Iterator[None]:
    """Raise what AWS' client raises as a `SourceError` that begins with *where*.

    Its reason is credentials, denied, throttled, request, server, unreachable, timeout, invalid or client.
    """
    import aiohttp  # noqa: PLC0415
    from botocore import exceptions as botocore  # noqa: PLC0415 - of an extra
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    try:
        yield
    except SourceError as error:
        raise SourceError(error.reason, f"{where}: {error}") from None
    except botocore.ClientError as error:
        reason, problem = _error_response(error.response)
        raise SourceError(reason, f"{where}: {problem}") from None
    except botocore.NoRegionError:
        problem = "no region is known; write the key region, or set AWS_REGION"
        raise SourceError("request", f"{where}: {problem}") from None
    except (botocore.ConnectTimeoutError, botocore.ReadTimeoutError) as error:
        raise SourceError("timeout", f"{where}: {error}") from None
    except TimeoutError:
        raise SourceError("timeout", f"{where}: AWS did not respond in time") from None
    except (ResponseParserError, botocore.PaginationError):
        raise SourceError("invalid", f"{where}: {_NOT_AWS}") from None
    except (botocore.ConnectionError, botocore.HTTPClientError, aiohttp.ClientError, OSError) as error:
        raise SourceError("unreachable", f"{where}: {str(error) or type(error).__name__}") from None
    except _credentials_errors() as error:
        remedy = "provide some as for every AWS tool: environment, profile, container or instance role"
        problem = f"{' '.join(str(error).split()).rstrip('.')}; {remedy}"
        raise SourceError("credentials", f"{where}: {problem}") from None
    except botocore.BotoCoreError as error:
        raise SourceError("request", f"{where}: {' '.join(str(error).split())}") from None
    except Exception as error:  # whatever else AWS' client raises, only this source fails
        if isinstance(error, KeyError) and str(error.args[0]).endswith("Result"):  # of a response without a result
            raise SourceError("invalid", f"{where}: {_NOT_AWS}") from None
        raise SourceError("client", f"{where}: AWS' client failed: {error!r}") from error


def _credentials_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions as botocore  # noqa: PLC0415 - of an extra

    return (
        botocore.NoCredentialsError,
        botocore.PartialCredentialsError,
        botocore.ConfigParseError,
        botocore.CredentialRetrievalError,
        botocore.InvalidConfigError,  # of a profile
        botocore.LoginError,
        botocore.MetadataRetrievalError,
        botocore.ProfileNotFound,
        botocore.RefreshWithMFAUnsupportedError,
        botocore.SSOError,
        botocore.TokenRetrievalError,
        botocore.UnknownCredentialError,
    )


def _error_response(response: Any) -> tuple[str, str]:
    """Return the reason and the message for an error response of AWS."""
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    # What follows these words differs each time.
    text = " ".join(message.partition("Encoded authorization failure message")[0].split()) or "no message"
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLED or status == 429:
        return "throttled", f"AWS throttles the requests ({code}): {text}"
    if code in _DENIED:
        return "denied", f"AWS denied access ({code}): {text}"
    if code in _CREDENTIALS:
        return "credentials", f"AWS rejected the credentials ({code}): {text}"
    if status >= 500:
        return "server", f"AWS failed ({' '.join(dict.fromkeys((str(status), code)))}): {text}"
    return "request", f"AWS rejected the request ({code or status}): {text}"
