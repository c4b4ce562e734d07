"""What went wrong at AWS? What its client raises, in words for an operator and one word for the metric."""

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

_NOT_AWS = "the answer is not one of AWS'; is there a proxy or a login page between?"
"""Does not quote the answer: a login page may differ each time, and each error is logged once."""

NO_ACTION = "No active Lifecycle Action"
"""How Auto Scaling's message begins when the lifecycle action was completed, or timed out, before."""


@contextmanager
def failures_told(where: str) -> Iterator[None]:
    """Raise what AWS' client raises as a `SourceError` that begins with *where*.

    Its reason is credentials, denied, throttled, request, server, unreachable, timeout,
    invalid or client.
    """
    import aiohttp  # noqa: PLC0415
    from botocore import exceptions as botocore  # noqa: PLC0415 - of an extra
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    try:
        yield
    except SourceError as error:
        raise SourceError(error.reason, f"{where}: {error}") from None
    except botocore.ClientError as error:
        reason, sentence = _refusal(error.response)
        raise SourceError(reason, f"{where}: {sentence}") from None
    except botocore.NoRegionError:
        problem = "no region is known; write the key region, or set AWS_REGION"
        raise SourceError("request", f"{where}: {problem}") from None
    except (botocore.ConnectTimeoutError, botocore.ReadTimeoutError) as error:
        raise SourceError("timeout", f"{where}: {error}") from None
    except TimeoutError:
        raise SourceError("timeout", f"{where}: AWS did not answer in time") from None
    except (ResponseParserError, botocore.PaginationError):
        raise SourceError("invalid", f"{where}: {_NOT_AWS}") from None
    except (botocore.ConnectionError, botocore.HTTPClientError, aiohttp.ClientError, OSError) as error:
        raise SourceError("unreachable", f"{where}: {str(error) or type(error).__name__}") from None
    except _credentials_errors() as error:
        remedy = "give dynsrv some as every AWS tool takes them: environment, profile, container or instance role"
        problem = f"{' '.join(str(error).split()).rstrip('.')}; {remedy}"
        raise SourceError("credentials", f"{where}: {problem}") from None
    except botocore.BotoCoreError as error:
        raise SourceError("request", f"{where}: {' '.join(str(error).split())}") from None
    except Exception as error:  # whatever else AWS' client does, it is to hold up nobody but itself
        if isinstance(error, KeyError) and str(error.args[0]).endswith("Result"):  # of an answer that has none
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


def _refusal(response: Any) -> tuple[str, str]:
    """Return the reason and the sentence for an error that AWS answered."""
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    # Behind these words stands something that is another each time.
    said = " ".join(message.partition("Encoded authorization failure message")[0].split()) or "without a word"
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLED or status == 429:
        return "throttled", f"AWS was asked too often ({code}): {said}"
    if code in _DENIED:
        return "denied", f"AWS does not allow it ({code}): {said}"
    if code in _CREDENTIALS:
        return "credentials", f"AWS does not take the credentials ({code}): {said}"
    if status >= 500:
        return "server", f"AWS failed ({' '.join(dict.fromkeys((str(status), code)))}): {said}"
    return "request", f"AWS refused the question ({code or status}): {said}"
