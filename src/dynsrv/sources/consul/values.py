"""How are Consul's addresses, names and secrets written? Types for the values of keys and environment variables."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from dynsrv.documents.problems import Redacted
from dynsrv.documents.values import matching

_EXPECTED = "expected an address of Consul's HTTP API: http://host:port, https://host:port, unix:///path or host:port"
_HTTP = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]+))?(?:/[^?#\\]*)?"
)
_PORTS = {"http": 8500, "https": 8501}
_SECRET = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class OnCritical(StrEnum):
    """What happens to an instance whose checks in Consul are critical."""

    REMOVE = "remove"
    DRAIN = "drain"
    KEEP = "keep"


def agent_address(text: str) -> str:
    """Return the URL of an agent; *text* may lack the scheme, as for Consul's own tools.

    Raises:
        ValueError: it is not an address.
    """
    if "@" in text and not text.lower().startswith("unix:///"):
        raise Redacted("expected no user and password in the address; use the key auth or auth_file")
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError(_EXPECTED)
    scheme, separator, rest = text.partition("://")
    scheme, rest = (scheme.lower(), rest) if separator else ("http", text)
    if scheme == "unix":
        if not rest.startswith("/") or not rest.strip("/"):
            raise ValueError("expected an absolute path after unix://")
        return f"unix://{rest}"
    url = f"{scheme}://{rest}"
    if not (match := _HTTP.fullmatch(url)):
        raise ValueError(_EXPECTED)
    if match["port"] is None:
        raise ValueError(f"expected a port as well: Consul's default is {_PORTS[scheme]}")
    try:
        valid = urlsplit(url).port
    except ValueError:
        valid = None
    if not valid:
        raise ValueError(_EXPECTED)
    return url.rstrip("/")


def secret(value: object) -> SecretStr:
    """Return a secret that can be sent in a header.

    Raises:
        Redacted: it cannot.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        raise Redacted("expected text, in quotes (the value is not shown)")
    if not _SECRET.fullmatch(text):
        raise Redacted("expected printable ASCII on one line (the value is not shown)")
    return SecretStr(text)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(agent_address)]
Addresses = Annotated[
    tuple[Address, ...],
    BeforeValidator(_listed),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
Word = Annotated[str, matching(r"[!-~]+", "printable ASCII without spaces")]
Text = Annotated[str, matching(r"[ -~]*[!-~][ -~]*", "printable ASCII")]
ServiceName = Annotated[str, matching(r"[!-~]{1,128}", "the name of a service in Consul")]
SecretText = Annotated[SecretStr, BeforeValidator(secret), WithJsonSchema({"type": "string", "writeOnly": True})]
