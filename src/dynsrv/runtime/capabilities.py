"""What does a HAProxy version support? One table for all versions."""

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
"""Keywords of `add server` that not all versions support, with the first and the last version that does. From the
keyword tables of the tags v2.4.0 to v3.5-dev5, and verified on 2.6, 3.0, 3.2 and 3.4."""
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the Runtime API of one HAProxy process supports."""

    add_server: bool
    """`add server` and `del server` for any server (2.5.1; 2.4 deletes only servers added at runtime).

    The second `add server` with an id crashes 2.5.0, as it does 2.4.0 to 2.4.9.
    """
    experimental_mode: bool
    """They require `experimental-mode on` on the same connection (2.4 and 2.5; not since 2.6)."""
    wait_removable: bool
    """`wait <delay> srv-removable` (3.0)."""
    init_state: bool
    """The server keyword `init-state` (3.1)."""

    drain_is_timed: bool
    """`srv_time_since_last_change` of `show servers state` starts with the drain (2.6; not since 3.0)."""
    number: tuple[int, int]
    """Major and minor version."""

    def takes(self, keyword: str) -> bool:
        """Whether this version supports *keyword* in `add server`."""
        first, last = _KEYWORDS.get(keyword.partition("(")[0], (_OLDEST, _NEWEST))
        return first <= self.number <= last

    @classmethod
    def of(cls, version: str) -> Capabilities:
        """Return the capabilities of a version as `show info` prints it, such as `2.6.12-1+deb12u4` or `3.5-dev5`.

        An unknown version counts as the newest: HAProxy itself then rejects what it does not support.
        """
        match = _VERSION.match(version)
        number = (int(match[1]), int(match[2])) if match else _NEWEST
        patch = int(match[3] or 0) if match else 0  # a -dev version has none, and is older than the first with one
        return cls(
            add_server=number > (2, 5) or (number == (2, 5) and patch >= 1),
            experimental_mode=(2, 4) <= number <= (2, 5),
            wait_removable=number >= (3, 0),
            init_state=number >= (3, 1),
            drain_is_timed=number < (2, 7),
            number=number,
        )
