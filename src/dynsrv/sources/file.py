"""Which servers does a file list? A source that reads YAML or JSON again whenever the file changes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from dynsrv.documents import parse
from dynsrv.documents.problems import unreadable
from dynsrv.documents.values import FilePath
from dynsrv.errors import ConfigurationError, SourceError
from dynsrv.model import Snapshot
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules
from dynsrv.sources.servers_document import snapshot_of
from dynsrv.sources.source import Source, SourceContext, SourceSettings

POLL_INTERVAL = 0.2
"""Seconds between two polls of the file's status."""

SETTLING_POLLS = 6
"""Polls after a change at which the file is read although its status is the same.

Two writes within one tick of the file system's clock have the same status, and a tick may be a second. Polls are
counted, and times are not compared, because a network file system has a clock of its own.
"""

REPEAT_POLLS = 50
"""Polls of an unchanged file after which its snapshot is yielded again, which shows that it is still read."""

MAX_DEFERRALS = 5
"""Polls at which a file that is being written in place is not read yet."""

MAX_SIZE = 64 * 2**20


class FileSourceSettings(SourceSettings):
    """The servers that a file lists."""

    kind: Literal["file"] = Field(description="The kind of source.")
    path: FilePath = Field(description="The file that lists the servers, YAML or JSON, of at most 64 MiB.")

    def create(self, context: SourceContext) -> FileSource:
        """Return the source for the backend of *context*."""
        return FileSource(context.directory / self.path, backend=context.backend, rules=context.rules)


class FileSource(Source):
    """Follows one file, which may be written in place, replaced, or reached through changing symlinks.

    It polls the file's status five times a second, which works equally on local disks, network file systems and
    through the `..data` symlink of a Kubernetes ConfigMap. After a failure it is read again as
    soon as it changes.
    """

    longest_pause: ClassVar[float] = 0.5

    def __init__(
        self,
        path: Path,
        *,
        backend: str,
        rules: EndpointRules = ANY_ENDPOINT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        status: Callable[[Path], os.stat_result] = os.stat,
        read: Callable[[Path], bytes] = Path.read_bytes,
    ) -> None:
        self._path = path
        self._backend = backend
        self._rules = rules
        self._sleep = sleep
        self._status = status
        self._read = read
        self._failed: _Signature | None = None  # of the file that could not be used; None if there was no file
        self._failures = 0  # in a row, of that same file

    def __repr__(self) -> str:
        return f"<FileSource {self._path} for {self._backend}>"

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Yield the servers that the file lists, now and after every change.

        While the file does not change, the same snapshot is yielded again about every ten seconds.

        Raises:
            SourceError: the file, or a part of it, cannot be read or used. Its reason is missing, permission,
                syntax, invalid or too_large.
        """
        watcher = _Watcher(self._path, backend=self._backend, rules=self._rules, status=self._status, read=self._read)
        await self._wait_for_change()
        while True:
            try:
                # In a thread: a file may be large, and a network file system may hang.
                snapshot = await asyncio.to_thread(watcher.poll)
            except SourceError:
                self._failures = self._failures + 1 if watcher.last == self._failed else 1
                self._failed = watcher.last
                raise
            self._failed = None
            if snapshot is not None:
                yield snapshot
            await self._sleep(POLL_INTERVAL)

    async def _wait_for_change(self) -> None:
        """After failures, wait until the file is another one, instead of parsing the same again and again."""
        if self._failed is None or self._failures <= SETTLING_POLLS:
            return
        for _ in range(REPEAT_POLLS):
            if await asyncio.to_thread(self._signature) != self._failed:
                return
            await self._sleep(POLL_INTERVAL)

    def _signature(self) -> _Signature | None:
        try:
            return _Signature.of(self._status(self._path))
        except OSError:
            return None

    async def inspect(self) -> AsyncGenerator[str, None]:
        """Yield the path of the file."""
        yield f"reads {self._path}"


class _Signature(NamedTuple):
    """The part of a file's status that changes when the file does."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Signature:
        """Return the signature of the file with this *status*."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class _Watcher:
    """The state of one `watch`."""

    def __init__(
        self,
        path: Path,
        *,
        backend: str,
        rules: EndpointRules,
        status: Callable[[Path], os.stat_result],
        read: Callable[[Path], bytes],
    ) -> None:
        self._path = path
        self._backend = backend
        self._rules = rules
        self._status = status
        self._read = read
        self.last: _Signature | None = None
        """The file as of the last poll; None: there was none, or it could not be used."""
        self._read_for: _Signature | None = None  # the change for which the file was last read
        self._deferrals_left = MAX_DEFERRALS
        self._settling = 0
        self._unchanged = 0  # polls since a snapshot was returned
        self._digest = b""
        self._snapshot: Snapshot | None = None

    def poll(self) -> Snapshot | None:
        """Return the snapshot, if it changed, or if it was not returned for a while."""
        signature = self._signature()
        last, self.last = self.last, signature
        if last and signature != last and signature[:2] == last[:2] and self._deferrals_left:
            # The same file, and it changed since the last poll: it may be half written. A new one is complete.
            self._deferrals_left -= 1
            return None
        if signature != self._read_for:
            self._read_for = signature
            self._deferrals_left, self._settling = MAX_DEFERRALS, SETTLING_POLLS
        elif self._settling:
            self._settling -= 1
        else:
            return self._repeated()
        content = self._content()
        if self._signature() != signature:
            return None  # changed while it was read: the content may be of two states
        digest = hashlib.blake2b(content).digest()
        if digest == self._digest:
            return self._repeated()
        self._digest = digest
        snapshot = self._parsed(content)
        if snapshot == self._snapshot:
            return self._repeated()
        self._snapshot, self._unchanged = snapshot, 0
        return snapshot

    def _repeated(self) -> Snapshot | None:
        """Return the last snapshot, if it was not returned for a while."""
        self._unchanged += 1
        if self._unchanged < REPEAT_POLLS:
            return None
        self._unchanged = 0
        return self._snapshot

    def _signature(self) -> _Signature:
        try:
            status = self._status(self._path)
        except OSError as error:
            raise self._unreadable(error) from None
        if not stat.S_ISREG(status.st_mode):
            raise self._error("invalid", "not a regular file; name the file that lists the servers")
        if status.st_size > MAX_SIZE:
            raise self._error("too_large", f"{status.st_size} bytes, more than {MAX_SIZE}; split it by backend")
        return _Signature.of(status)

    def _content(self) -> bytes:
        try:
            return self._read(self._path)
        except OSError as error:
            raise self._unreadable(error) from None

    def _parsed(self, content: bytes) -> Snapshot:
        try:
            document = parse(content, name=str(self._path))
        except ConfigurationError as error:
            raise SourceError("syntax", str(error)) from None
        if document.data is None:
            # To have no servers, a file says `servers: []`; an empty one is not written yet.
            raise self._error("syntax", "it is empty; write servers: [] for no servers")
        try:
            return snapshot_of(document, backend=self._backend, rules=self._rules)
        except ConfigurationError as error:
            raise SourceError("invalid", str(error)) from None

    def _unreadable(self, error: OSError) -> SourceError:
        reason = "permission" if isinstance(error, PermissionError) else "missing"
        return self._error(reason, unreadable(error))

    def _error(self, reason: str, problem: str) -> SourceError:
        return SourceError(reason, f"{self._path}: {problem}")
