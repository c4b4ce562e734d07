"""What can a HAProxy of this version do? The table of versions, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OLDEST = (0, 0)
_NEWEST = (99, 0)
_KEYWORDS = {
    **dict.fromkeys(["shard"], ((2, 8), _NEWEST)),
    **dict.fromkeys(
        [
            "cookie",
            "guid",
            "hash-key",
            "curves",
            "sigalgs",
            "client-sigalgs",
            "pool-conn-name",
            "set-proxy-v2-tlv-fmt",
        ],
        ((3, 0), _NEWEST),
    ),
    "init-state": ((3, 1), _NEWEST),
    **dict.fromkeys(["strict-maxconn", "idle-ping", "check-reuse-pool", "check-pool-conn-name"], ((3, 2), _NEWEST)),
    **dict.fromkeys(["ktls", "renegotiate", "no-renegotiate"], ((3, 3), _NEWEST)),
    **dict.fromkeys(["healthcheck", "no-sni-auto", "no-check-sni-auto"], ((3, 4), _NEWEST)),
    "enabled": (_OLDEST, (2, 9)),
}
"""Keywords of `add server` that not all versions take, with the first and the last that does: from the keyword tables
of the tags v2.4.0 to v3.5-dev5, and tried on 2.6, 3.0, 3.2 and 3.4."""
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the Runtime API of one HAProxy process offers."""

    add_server: bool
    """`add server` and `del server` of any server (2.5; 2.4 deletes only what was added at runtime)."""
    experimental_mode: bool
    """They need `experimental-mode on` first, on the same connection (2.4 and 2.5; gone in 2.6)."""
    wait_removable: bool
    """`wait <delay> srv-removable` (3.0)."""
    init_state: bool
    """The server keyword `init-state` (3.1)."""

    drain_is_timed: bool
    """`show servers state` counts `srv_time_since_last_change` from the drain (2.6; no longer in 3.0)."""
    number: tuple[int, int]
    """Major and minor version."""

    def takes(self, keyword: str) -> bool:
        """Whether `add server` takes this keyword, as far as it depends on the version."""
        first, last = _KEYWORDS.get(keyword, (_OLDEST, _NEWEST))
        return first <= self.number <= last

    @classmethod
    def of(cls, version: str) -> Capabilities:
        """Return the capabilities of a version as `show info` prints it, such as `2.6.12-1+deb12u4` or `3.5-dev5`.

        A version that cannot be read counts as the newest: HAProxy itself then says what it does not know.
        """
        match = _VERSION.match(version)
        number = (int(match[1]), int(match[2])) if match else _NEWEST
        return cls(
            add_server=number >= (2, 5),
            experimental_mode=(2, 4) <= number <= (2, 5),
            wait_removable=number >= (3, 0),
            init_state=number >= (3, 1),
            drain_is_timed=number < (2, 7),
            number=number,
        )
