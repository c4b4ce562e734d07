"""What can a HAProxy of this version do? The table of versions, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

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

    @classmethod
    def of(cls, version: str) -> Capabilities:
        """Return the capabilities of a version as `show info` prints it, such as `2.6.12-1+deb12u4` or `3.5-dev5`.

        A version that cannot be read counts as the newest: HAProxy itself then says what it does not know.
        """
        match = _VERSION.match(version)
        number = (int(match[1]), int(match[2])) if match else (99, 0)
        return cls(
            add_server=number >= (2, 5),
            experimental_mode=(2, 4) <= number <= (2, 5),
            wait_removable=number >= (3, 0),
            init_state=number >= (3, 1),
        )
