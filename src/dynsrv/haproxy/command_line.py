"""With which configuration was a HAProxy started? Read from the process itself, where it is on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

PROC = Path("/proc")


def unread_files(pid: int, files: Iterable[Path], *, proc: Path = PROC) -> str | None:
    """Return what to say if the HAProxy with this *pid* does not read all of *files*; None also if that is unknown.

    It is unknown if the process is on another machine or in another container, or hidden from this user.
    """
    read = files_read_by(pid, proc=proc)
    if read is None:
        return None
    unread = [path for path in files if not any(_covers(one, path) for one in read)]
    if not unread:
        return None
    names = ", ".join(map(str, unread))
    return f"HAProxy (pid {pid}) does not read {names}: it was started with {', '.join(f'-f {one}' for one in read)}"


def files_read_by(pid: int, *, proc: Path = PROC) -> list[Path] | None:
    """Return the files and folders that were named to the HAProxy with this *pid*; None if that is unknown."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        folder = (proc / str(pid) / "cwd").readlink()
    except OSError:
        return None
    if not words or "haproxy" not in Path(words[0]).name:
        return None
    for option, value in pairwise(words):
        if option == "-C":
            folder = folder / value
    named = [value for option, value in pairwise(words) if option == "-f"]
    if "--" in words:
        named += words[words.index("--") + 1 :]
    return [folder / one for one in named]


def _covers(named: Path, path: Path) -> bool:
    """Whether HAProxy reads *path* when it was started with *named*, a file or a folder."""
    target, place = path.resolve(), named.resolve()
    return target == place or (place.is_dir() and place in (target.parent, path.absolute().parent.resolve()))
