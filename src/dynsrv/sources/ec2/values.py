"""How are AWS' regions, roles, URLs and names written? Types for the values of keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from dynsrv.documents.values import matching


class AddressKind(StrEnum):
    """Which address of an instance is used."""

    PRIVATE = "private"
    PUBLIC = "public"
    IPV6 = "ipv6"


Text = Annotated[str, matching(r"[ -~]*[!-~][ -~]*", "printable ASCII")]
Word = Annotated[str, matching(r"[!-~]+", "printable ASCII without spaces")]
REGION = r"[a-z]{2,}(-[a-z]+)+-[0-9]+"
Region = Annotated[str, matching(REGION, "a region such as eu-central-1")]
Role = Annotated[
    str, matching(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]+", "a role's ARN: arn:aws:iam::123456789012:role/name")
]


def _listed(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if value == [] or not isinstance(value, list | tuple):
        raise ValueError("expected a text, or a list of one text or more; put numbers and true or false in quotes")
    return value


def _valid_port(url: str) -> str:
    try:
        urlsplit(url).port  # noqa: B018 - raises if it is invalid
    except ValueError:
        raise ValueError("expected a URL with a port from 1 to 65535") from None
    return url


Url = Annotated[
    str,
    matching(r"https?://[A-Za-z0-9._\[\]:-]+(/[!-~]*)?", "a URL: https://host or http://host:port"),
    AfterValidator(_valid_port),
]
Values = Annotated[
    tuple[Text, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
