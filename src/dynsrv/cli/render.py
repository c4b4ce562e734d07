"""Which servers would HAProxy find if it started now? The engine of `dynsrv render`, which asks the sources alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dynsrv import model
from dynsrv.cli.session import Backend, Session
from dynsrv.errors import ConfigFileError, SourceError
from dynsrv.persist.file import ChangedMeanwhile
from dynsrv.persist.rendered_file import RenderedFile, Written
from dynsrv.persist.server_lines import SeenServers

_SOURCE_TIMEOUT = 10.0
_RETRY = 1.0  # seconds between two questions to a source that failed
_ATTEMPTS = 50  # while somebody else writes the file
_NO_PROCESS = model.Process(0, 0, "")


@dataclass(frozen=True, slots=True)
class RenderResult:
    """The result for one file. *problems* has a sentence for everything that is not as it should be."""

    path: Path
    content: bytes = b""
    servers: int = 0
    differs: bool = False
    problems: tuple[str, ...] = ()


class Render:
    """One run of `dynsrv render` over the files that *proxy* reads, or all proxies. With *dry*, nothing is written."""

    def __init__(self, session: Session, *, proxy: str | None = None, dry: bool = False) -> None:
        self._session = session
        self._files = session.files_of(proxy)
        self._dry = dry

    async def run(self, *, only: str | None = None, wait: float = 0.0) -> list[RenderResult]:
        """Render the servers that are desired, and return the result for each file.

        With *only*, the lines of all other backends are not changed. Sources that fail are retried for *wait* seconds.
        """
        deadline = time.monotonic() + wait
        return await asyncio.gather(*(self._render(path, only=only, deadline=deadline) for path in self._files))

    async def mark(self, backend: str) -> list[RenderResult]:
        """Add marks to the section of *backend*, and return the result for each file that has one.

        Raises:
            ConfigFileError: no file has one, or a file cannot be written.
        """
        marked = [path for path, file in self._files.items() if _has_section(file, backend)] or list(self._files)[:1]
        results = []
        for path in marked:
            written = await _undisturbed(partial(self._files[path].mark, [backend], dry=self._dry))
            results.append(RenderResult(path, written.content, differs=written.differs))
        return results

    async def _render(self, path: Path, *, only: str | None, deadline: float) -> RenderResult:
        file = self._files[path]
        backends = self._session.backends_in(path)
        asked = [name for name in backends if only in {None, name}]
        found = await asyncio.gather(*(_desired(backends[name], deadline=deadline) for name in asked))
        seen: dict[str, Sequence[SeenServers]] = dict.fromkeys(backends, ())
        problems = []
        for name, one in zip(asked, found, strict=True):
            if isinstance(one, SourceError):
                problems.append(f"{name}: {one}; its lines are not changed")
            else:
                seen[name] = one
        if problems and not file.exists():
            return RenderResult(path, problems=(*problems, f"{path}: it is not created without these servers"))
        try:
            written = await _undisturbed(partial(file.render, seen, dry=self._dry))
        except ConfigFileError as error:
            return RenderResult(path, problems=(*problems, str(error)))
        others = [other for key, other in self._files.items() if key != path]
        problems += [
            str(problem)
            for name, problem in written.problems.items()
            if problem.reason != "section" or not any(_has_section(other, name) for other in others)
        ]
        servers = sum(map(len, written.names.values()))
        return RenderResult(path, written.content, servers, written.differs, tuple(problems))


async def _desired(backends: Iterable[Backend], *, deadline: float) -> list[SeenServers] | SourceError:
    """Return the desired servers of the entries of one backend, as if HAProxy had none; or the source's error."""
    while True:
        left = deadline - time.monotonic()
        try:
            return [
                SeenServers(
                    await one.desired(timeout=max(left, _SOURCE_TIMEOUT)),
                    model.Backend(one.name, (), _NO_PROCESS),
                    one.policy,
                )
                for one in backends
            ]
        except SourceError as error:
            if left <= _RETRY:
                return error
        await asyncio.sleep(_RETRY)


async def _undisturbed(write: Callable[[], Written]) -> Written:
    """Return what *write* does when nobody else writes the same file at that moment."""
    for _ in range(_ATTEMPTS):
        try:
            return await asyncio.to_thread(write)
        except ChangedMeanwhile:
            await asyncio.sleep(0.02)
    return await asyncio.to_thread(write)


def _has_section(file: RenderedFile, backend: str) -> bool:
    try:
        return file.configuration().has_section(backend)
    except ConfigFileError:
        return False
