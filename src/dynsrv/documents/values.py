"""How are durations, numbers and addresses written in the configuration file? Types for the values of keys."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

_HOST = r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]+"
_HOST_PORT = re.compile(rf"({_HOST}):([0-9]{{1,5}})")
_MAX_SOCKET_PATH = 107


class Section(BaseModel):
    """A mapping of the configuration file. Unknown keys are rejected; the values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JsonSchemaGenerator(GenerateJsonSchema):
    """Leaves out the titles of keys, which would only repeat their names, so that a title names a type: duration."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - as pydantic calls it
        return False


def parse_duration(text: object) -> float:
    """Return the seconds of `500ms`, `2s`, `1.5s`, `1m` or `1h`.

    Raises:
        ValueError: anything else, a bare number included: nobody can tell its seconds from milliseconds.
    """
    if isinstance(text, str) and (match := _DURATION.fullmatch(text)):
        return float(match[1]) * _MILLISECONDS[match[2]] / 1000
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(text)):
        raise ValueError(f"expected a duration with its unit: write {text}s or {text}ms")
    raise ValueError("expected a duration such as 500ms, 2s, 1m or 1h")


def format_duration(seconds: float) -> str:
    """Return *seconds*, to the millisecond, as the configuration file writes it."""
    milliseconds = in_milliseconds(seconds)
    for unit, size in _MILLISECONDS.items():
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return "0s"


def in_milliseconds(seconds: float) -> int:
    """Return *seconds* in milliseconds, HAProxy's unit."""
    return round(seconds * 1000)


@dataclass(frozen=True, slots=True)
class Between:
    """An annotation of a `Duration`, which must be from *low* to *high*, both written as durations."""

    low: str
    high: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-minimum": self.low, "x-maximum": self.high}

    def _check(self, seconds: float) -> float:
        if not parse_duration(self.low) <= seconds <= parse_duration(self.high):
            raise ValueError(f"expected a duration from {self.low} to {self.high}")
        return seconds


def matching(pattern: str, expected: str) -> AfterValidator:
    """Return a validator for text that has to match completely; *expected* describes what does."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return AfterValidator(check)


def host_and_port(text: str) -> tuple[str, int] | None:
    """Return the host, without its brackets, and the port of `host:port`; None if *text* has another form."""
    match = _HOST_PORT.fullmatch(text)
    return (match[1].strip("[]"), int(match[2])) if match and int(match[2]) <= 65535 else None


def is_loopback(host: str) -> bool:
    """Whether a port on *host* can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _number(value: object) -> object:
    # All that `${NAME}` brings is text.
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value) else value


def _whole_from(low: int, high: int) -> BeforeValidator:
    def check(value: object) -> object:
        number = _number(value)
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return number

    return BeforeValidator(check)


def _runtime_address(text: object, info: ValidationInfo) -> str:
    if not isinstance(text, str) or not text or not text.isprintable() or text != text.strip():
        raise ValueError("expected unix:///path, a path, tcp://host:port or tcp+tls://host:port")
    scheme, separator, rest = text.partition("://")
    if not separator:
        if host_and_port(text):
            raise ValueError(f"expected a path or tcp://host:port; write tcp://{text}")
        if re.match(r"[a-z0-9]+@", text):
            raise ValueError("expected unix:///path, a path, or tcp://host:port, without HAProxy's own prefixes")
        text = rest = str(Path(info.context["directory"], text)) if info.context else text
    elif scheme in {"tcp", "tcp+tls"}:
        host, port = host_and_port(rest) or ("", 0)
        if not host or not port:
            raise ValueError(f"expected a host and a port: {scheme}://127.0.0.1:9999 or {scheme}://[::1]:9999")
        return text
    elif scheme != "unix":
        expected = "unix:///path, tcp://host:port or tcp+tls://host:port"
        raise ValueError(f"expected {expected}: the stats socket, which speaks no HTTP")
    elif not rest.startswith("/"):
        raise ValueError("expected an absolute path after unix://; write unix:///path, or the path alone")
    if len(rest.encode()) > _MAX_SOCKET_PATH:
        raise ValueError(f"expected a path of at most {_MAX_SOCKET_PATH} bytes, as of every unix socket")
    return text


def _listen_address(text: object) -> str:
    if not isinstance(text, str) or host_and_port(text) is None:
        raise ValueError("expected an address and a port: 127.0.0.1:9105, [::1]:9105 or 0.0.0.0:9105")
    return text


def _network(value: object) -> str:
    expected = "expected a network such as 10.0.0.0/8, 10.1.2.3/32 or fd00::/8"
    try:
        network = ipaddress.ip_network(value) if isinstance(value, str) else None
    except ValueError as error:
        hint = " (its host bits are not 0)" if "host bits" in str(error) else ""
        raise ValueError(f"{expected}{hint}") from None
    if network is None:
        raise ValueError(expected)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return f"{mapped}/{network.prefixlen - 96}"
    return str(network)


def _file_path(value: object) -> object:
    if isinstance(value, str) and not (value.strip() and value.isprintable()):
        raise ValueError("expected the path of a file")
    return value


FilePath = Annotated[Path, BeforeValidator(_file_path)]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema(
        {
            "title": "duration",
            "type": "string",
            "pattern": f"^{_DURATION.pattern}$",
            "examples": ["500ms", "2s", "1m"],
        }
    ),
]
CheckTime = Annotated[Duration, Between("1ms", "576h")]
"""HAProxy's range for `inter` and similar times: it counts milliseconds in 31 bits, about 24 days."""
Interval = Annotated[Duration, Between("10ms", "576h")]


def _share(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"(100|[0-9]{1,2})%", value)):
        return int(match[1]) / 100
    number = _number(value)
    if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
        return number
    raise ValueError("expected a share such as 50%, or a whole number of servers")


Share = Annotated[
    float | int,
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"title": "percentage", "type": "string", "pattern": "^(100|[0-9]{1,2})%$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
"""A share is a float from 0.0 to 1.0, a number of servers an int."""


def _flag(value: object) -> object:
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    raise ValueError("expected true or false")


Flag = Annotated[bool, BeforeValidator(_flag)]
"""`true` or `false`; pydantic alone accepts `yes` and 1, too."""
Weight = Annotated[int, Field(ge=0, le=256), _whole_from(0, 256)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1), _whole_from(0, 2**31 - 1)]
PortNumber = Annotated[int, Field(ge=1, le=65535), _whole_from(1, 65535)]
PositiveCount = Annotated[int, Field(ge=1, le=2**31 - 1), _whole_from(1, 2**31 - 1)]

RuntimeAddress = Annotated[str, BeforeValidator(_runtime_address)]
"""The address of a Runtime API. A relative path begins at the validation context's `directory`, if there is one."""
ListenAddress = Annotated[str, BeforeValidator(_listen_address)]
Network = Annotated[str, BeforeValidator(_network)]
"""A network in CIDR notation."""

_NAME = "letters, digits and _ : . - only"
HaproxyName = Annotated[str, matching(r"[A-Za-z0-9_:.-]+", f"a name of {_NAME}")]
Prefix = Annotated[str, matching(r"[A-Za-z0-9_:.-]{1,100}", f"1 to 100 {_NAME}")]
Label = Annotated[str, matching(r"[!-~](?:[ -~]*[!-~])?", "a name of printable ASCII")]
