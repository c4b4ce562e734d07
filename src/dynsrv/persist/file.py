"""How is a file replaced so that whoever reads it, at any moment, finds the old one or the new one, whole?

The new file is written beside the old one, flushed to disk, and exchanged with it by `renameat2(RENAME_EXCHANGE)`. The
file that was replaced still exists then, so if another program wrote it at the last moment, it is found and put back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dynsrv.errors import ConfigFileError

_LEFTOVER_AGE = 600.0
"""Seconds after which a temporary file of a process that died is removed. Writing one takes less."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""The errors of file systems (such as NFS) and kernels that cannot exchange two files."""


class ChangedMeanwhile(Exception):
    """Another program wrote the file since it was read; its version is kept. Start again."""


class Signature(NamedTuple):
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return that of a file with this status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class SystemCalls:
    """The system calls that are used, one a method, so that a test can make each of them fail."""

    stat = staticmethod(os.stat)
    open = staticmethod(os.open)
    fstat = staticmethod(os.fstat)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    fchown = staticmethod(os.fchown)
    fchmod = staticmethod(os.fchmod)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    listxattr = staticmethod(os.listxattr)
    getxattr = staticmethod(os.getxattr)
    setxattr = staticmethod(os.setxattr)

    @staticmethod
    def exchange(one: Path, other: Path) -> None:
        """Exchange the names of two files, atomically."""
        function = getattr(_LIBC, "renameat2", None)
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(one))


_LIBC = ctypes.CDLL(None, use_errno=True)


class ReplacedFile:
    """The file at *path*, or the target of a symbolic link there, which can be replaced.

    Its mode, its owner and its extended attributes are kept.
    """

    def __init__(self, path: Path, *, calls: SystemCalls | None = None) -> None:
        self.path = path
        self._calls = calls or SystemCalls()

    def look(self) -> Signature | None:
        """Return the file's signature; None if it does not exist.

        Raises:
            ConfigFileError: it cannot be read.
        """
        try:
            return Signature.of(self._calls.stat(self.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error, "read") from None

    def read(self, expected: Signature | None) -> bytes | None:
        """Return the content of the file; None if it is *expected* not to exist.

        Raises:
            ChangedMeanwhile: its signature is not the *expected* one.
            ConfigFileError: it cannot be read.
        """
        try:
            return self._read(expected)
        except FileNotFoundError:
            if expected is None:
                return None
            raise ChangedMeanwhile from None
        except OSError as error:
            raise self._error(error, "read") from None

    def replace(
        self,
        content: bytes,
        expected: Signature | None,
        *,
        like: Path | None = None,
        validate: Callable[[Path], None] | None = None,
    ) -> Signature:
        """Replace the file that has the *expected* signature by one with *content*, and return the new signature.

        A file that did not exist gets the mode of *like*. *validate* is called with the path of the new file first, and
        raises an error if it may not replace the old one.

        Raises:
            ChangedMeanwhile: its signature is not the *expected* one.
            ConfigFileError: it cannot be written; the old file is kept.
        """
        calls = self._calls
        target = Path(os.path.realpath(self.path))
        new = self._beside(target)
        try:
            with suppress(FileNotFoundError):
                calls.unlink(new)
            written = self._write(new, content, old=target if expected is not None else None, like=like)
            if validate is not None:
                validate(new)
            self._swap(new, target, written, expected)
            self._flush_folder(target.parent)
        except OSError as error:
            raise self._error(error, "write") from None
        finally:
            with suppress(OSError):
                calls.unlink(new)
        return written

    def check_replaceable(self) -> None:
        """Check, without writing anything, that this user can replace the file.

        Raises:
            ConfigFileError: this user cannot.
        """
        target = Path(os.path.realpath(self.path))
        folder = target.parent
        if not folder.is_dir():
            raise self._error(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), "write")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "write")
        if self.look() is not None:
            old = self._calls.stat(target)
            if os.geteuid() and (old.st_uid != os.geteuid() or old.st_gid not in {os.getegid(), *os.getgroups()}):
                raise self._wrong_owner(old)

    def remove_leftovers(self, now: float) -> None:
        """Remove the temporary files of processes that died; *now* is Unix time."""
        target = Path(os.path.realpath(self.path))
        with suppress(OSError):
            for one in target.parent.glob(f".{target.name}.dynsrv-*"):
                if self._calls.stat(one).st_mtime < now - _LEFTOVER_AGE:
                    self._calls.unlink(one)

    def _beside(self, target: Path) -> Path:
        """Return the path of the temporary file. HAProxy does not read such a name from a folder."""
        return target.with_name(f".{target.name}.dynsrv-{os.getpid()}")

    def _read(self, expected: Signature | None) -> bytes:
        calls = self._calls
        file = calls.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = calls.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigFileError(self.path, "io", "it is not a regular file; name the file that HAProxy reads")
            parts = []
            while part := calls.read(file, 1 << 20):
                parts.append(part)
            if not Signature.of(status) == Signature.of(calls.fstat(file)) == expected:
                raise ChangedMeanwhile
        finally:
            calls.close(file)
        return b"".join(parts)

    def _write(self, new: Path, content: bytes, *, old: Path | None, like: Path | None) -> Signature:
        calls = self._calls
        file = calls.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[calls.write(file, left) :]
            if old is not None:
                self._make_like(file, old)
            elif like is not None:
                calls.fchmod(file, stat.S_IMODE(calls.stat(like).st_mode))
            calls.fsync(file)
            return Signature.of(calls.fstat(file))
        finally:
            calls.close(file)

    def _make_like(self, file: int, old: Path) -> None:
        calls = self._calls
        own, model = calls.fstat(file), calls.stat(old)
        if (own.st_uid, own.st_gid) != (model.st_uid, model.st_gid):
            try:
                calls.fchown(file, model.st_uid, model.st_gid)
            except PermissionError:
                raise self._wrong_owner(model) from None
        calls.fchmod(file, stat.S_IMODE(model.st_mode))  # after the owner, whose change takes bits away
        with suppress(OSError):  # a file system without any, or a label that only the kernel may give
            for name in calls.listxattr(old):
                calls.setxattr(file, name, calls.getxattr(old, name))

    def _swap(self, new: Path, target: Path, written: Signature, expected: Signature | None) -> None:
        calls = self._calls
        if expected is None:
            if self._there(target) is not None:
                raise ChangedMeanwhile
            calls.rename(new, target)
            return
        try:
            self._exchange(new, target, written, expected)
        except FileNotFoundError:
            raise ChangedMeanwhile from None
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            if self._there(target) != expected:
                raise ChangedMeanwhile from None
            calls.rename(new, target)

    def _exchange(self, new: Path, target: Path, written: Signature, expected: Signature) -> None:
        """Exchange the two; if the displaced file is not the *expected* one, put it back."""
        put = written
        while True:
            self._calls.exchange(new, target)
            displaced = self._there(new)
            if displaced == expected:
                break
            assert displaced is not None
            put, expected = displaced, put  # another program's: put it back, and expect the new one there
        if put != written:
            raise ChangedMeanwhile

    def _there(self, path: Path) -> Signature | None:
        try:
            return Signature.of(self._calls.stat(path, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def _flush_folder(self, folder: Path) -> None:
        file = self._calls.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._calls.fsync(file)
        finally:
            self._calls.close(file)

    def _wrong_owner(self, status: os.stat_result) -> ConfigFileError:
        owner = f"{status.st_uid}:{status.st_gid}"
        problem = f"the user with id {os.geteuid()} may not write a file of its owner {owner}"
        return ConfigFileError(self.path, "permission", f"{problem}; {_REMEDY}")

    def _error(self, error: OSError, doing: str) -> ConfigFileError:
        match error.errno:
            case errno.EACCES | errno.EPERM if doing == "read":
                problem = f"the user with id {os.geteuid()} may not read it; give that user the permission"
                return ConfigFileError(self.path, "permission", problem)
            case errno.EACCES | errno.EPERM | errno.EROFS:
                problem = f"the user with id {os.geteuid()} may write no file beside it ({error.strerror})"
                return ConfigFileError(self.path, "permission", f"{problem}; {_REMEDY}")
            case errno.EBUSY:
                problem = "it is mounted by itself and cannot be replaced; mount the folder that it is in"
                return ConfigFileError(self.path, "permission", problem)
            case errno.ENOSPC | errno.EDQUOT:
                return ConfigFileError(self.path, "space", f"there is no space for it: {error.strerror}")
            case errno.ENOENT:
                return ConfigFileError(self.path, "missing", "there is no such folder; make it, or correct the path")
            case _:
                return ConfigFileError(self.path, "io", f"it cannot be {_PAST[doing]}: {error.strerror or error}")


_PAST = {"read": "read", "write": "written"}
_REMEDY = (
    "give that user the folder, or have HAProxy read a second file, in a folder of that user's, "
    "that holds the whole section: haproxy -f … -f …"
)
