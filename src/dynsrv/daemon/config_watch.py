"""Is the configuration file another one than before? Looked at again and again, for `dynsrv run --reload-on-change`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

LOOK_INTERVAL = 1.0
"""Seconds between two looks."""


def watch_config(
    path: Path,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> AsyncIterator[None]:
    """Yield each time the file at *path* says something else than before, and said the same at the look after that.

    Its content counts, so it may be written in place, replaced, or reached through changing symlinks, as those of a
    Kubernetes ConfigMap. A file that is gone, or cannot be read any more, is a change, too. What it says when this is
    called is what the first change differs from.
    """
    return _changes(path, _digest(path, read), sleep, read)


async def _changes(
    path: Path, known: bytes, sleep: Callable[[float], Awaitable[None]], read: Callable[[Path], bytes]
) -> AsyncIterator[None]:
    seen = known
    while True:
        await sleep(LOOK_INTERVAL)
        before, seen = seen, await asyncio.to_thread(_digest, path, read)
        if seen == before and seen != known:
            known = seen
            yield


def _digest(path: Path, read: Callable[[Path], bytes]) -> bytes:
    try:
        return hashlib.blake2b(read(path)).digest()
    except OSError:
        return b""
