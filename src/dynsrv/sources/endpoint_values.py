"""What may the values of an endpoint be? One validator for each, for all kinds of sources.

Each returns the value as `Endpoint` needs it, or raises a ValueError that says what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

from dynsrv import server_keywords
from dynsrv.model import MAX_WEIGHT, EndpointState, canonical_address

_NO_HOST_NAME = "expected an IPv4 or IPv6 address: HAProxy resolves no host name of a server added at runtime"
_NAME = re.compile(r"[A-Za-z0-9_:.-]{1,100}")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+")
_NO_HOST = [ipaddress.ip_network(text) for text in ("0.0.0.0/8", "255.255.255.255/32", "169.254.0.0/16", "fe80::/10")]
_STATES = {state.value: state for state in EndpointState}


def address(value: object) -> str:
    """Return the canonical spelling of the IP address of one host, which is not link-local."""
    if isinstance(value, str):
        with suppress(ValueError):
            canonical = canonical_address(value)
            if not any(ipaddress.ip_address(canonical) in network for network in _NO_HOST):
                return canonical
    raise ValueError(_no_address(value))


def _no_address(value: object) -> str:
    text = str(value)
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        if _HOST_NAME.fullmatch(text):
            return _NO_HOST_NAME
        return "expected an IPv4 or IPv6 address such as 10.0.0.1 or ::1, without port and brackets"
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    if (mapped or parsed).is_link_local and "%" not in text:
        return "expected an address that is not link-local"
    return "expected the address of one host, without a zone"


def port(value: object) -> int:
    """Return a TCP port."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65535:
        return value
    raise ValueError("expected a port from 1 to 65535")


def weight(value: object) -> int:
    """Return a weight in HAProxy's bounds."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WEIGHT:
        return value
    raise ValueError(f"expected a whole number from 0 to {MAX_WEIGHT}")


def maxconn(value: object) -> int:
    """Return a limit of connections; 0: none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise ValueError("expected a whole number from 0")


def options(value: object) -> tuple[str, ...]:
    """Return keywords of HAProxy's server line, each with its arguments, that are not for dynsrv to write."""
    if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
        raise ValueError('expected a list of texts such as ["backup"]')
    return tuple(server_keywords.checked_option(option) for option in value)


def name(value: object) -> str:
    """Return a name that a server may have."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError("expected 1 to 100 letters, digits and _ : . - only")


def state(value: object) -> EndpointState:
    """Return a state by its name."""
    if isinstance(value, str) and value in _STATES:
        return _STATES[value]
    raise ValueError(f"expected {' or '.join(_STATES)}")


def number(value: object) -> object:
    """Return the number that a text spells, and anything else unchanged, for one of the above to validate."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value) else value
