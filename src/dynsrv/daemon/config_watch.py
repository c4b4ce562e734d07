"""Has the configuration file changed? Polled for `dynsrv run --reload-on-change`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

POLL_INTERVAL = 1.0
"""Seconds between two readings of the file."""


def watch_config(
    path: Path,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> AsyncIterator[None]:
    """Yield whenever the content of the file at *path* has changed, and has been the same in two readings since.

    The file may be written in place, replaced, or reached through symlinks that change, such as those of a Kubernetes
    ConfigMap. Being unreadable counts as a content, too. The first change is one from the content at the time of the
    call.
    """
    return _changes(path, _digest(path, read), sleep, read)


async def _changes(
    path: Path, known: bytes, sleep: Callable[[float], Awaitable[None]], read: Callable[[Path], bytes]
) -> AsyncIterator[None]:
    seen = known
    while True:
        await sleep(POLL_INTERVAL)
        before, seen = seen, await asyncio.to_thread(_digest, path, read)
        if seen == before and seen != known:
            known = seen
            yield


def _digest(path: Path, read: Callable[[Path], bytes]) -> bytes:
    try:
        return hashlib.blake2b(read(path)).digest()
    except OSError:
        return b""
