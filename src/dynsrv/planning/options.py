"""Which options does a server get? Those of its backend and its own, and what HAProxy would not infer from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_FIXED_SNI = re.compile(r"sni str\(([A-Za-z0-9._-]+)\)")


def keyword(option: str) -> str:
    """Return the keyword of an option: its first word."""
    return option.partition(" ")[0]


def with_own_options(options: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Return the *options* of a backend with a server's *own*, each of which replaces one of the same keyword."""
    if not own:
        return tuple(options)
    replaced = {keyword(option) for option in own}
    merged = [*(one for one in options if keyword(one) not in replaced), *own]
    return (*merged, *implied_check_keywords(merged))


def implied_check_keywords(options: Iterable[str]) -> list[str]:
    """Return what a `server` line with these *options* would imply: how its check connects.

    A server added at runtime has a plain check even with `ssl` or `send-proxy`, a `server` line one like its traffic
    (2.6-3.4). Spelled out, both are the same. A check with a `port` or an `addr` of its own is plain for both.
    """
    options = list(options)
    keywords = {keyword(option) for option in options}
    if "check" not in keywords or keywords & {"port", "addr"}:
        return []
    implied = []
    if "ssl" in keywords:
        implied.append("check-ssl")
        implied += [f"check-sni {name[1]}" for option in options if (name := _FIXED_SNI.fullmatch(option))]
    if any(word.startswith("send-proxy") for word in keywords):
        implied.append("check-send-proxy")
    return [option for option in implied if keyword(option) not in keywords]
