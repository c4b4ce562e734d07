"""What can go wrong in dynsrv, one class per reaction.

DynsrvError
├── ConfigurationError     the operator has to change a file; nothing was started
├── SourceError            no snapshot: keep the last one, and retry the source
├── ProxyUnreachable       HAProxy did not answer: the pass failed and is retried
├── ProxyChanged           HAProxy has a new process since it was observed: start a new pass at once
├── BackendRejected        this backend cannot be managed with HAProxy's configuration; other backends are not affected
├── ActionRefused          an operator asked for something that cannot be done; nothing was sent
├── InternalError          a bug: this pass, probe or source failed and is retried; nothing else is affected
└── ConfigFileError        HAProxy's configuration file keeps its last good content and is retried; HAProxy is managed
"""

from __future__ import annotations

import re
from typing import Literal

RefusalReason = Literal["not_found", "forbidden", "conflict"]
"""It does not exist, dynsrv never touches it, or it is in a state in which that cannot be done."""


def printable(text: str) -> str:
    """Return *text* with everything that a terminal or UTF-8 could choke on written as an escape; lines stay lines.

    What follows `?token=` is left out.
    """
    if not text.isprintable():
        text = "".join(
            one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text
        )
    return _TOKEN.sub(r"\1…", text)


_TOKEN = re.compile(r"([?&]token=)[^&\s\"']*", re.IGNORECASE)


class DynsrvError(Exception):
    """Root of everything that dynsrv raises on purpose. `str()` is a printable sentence for an operator."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ConfigurationError(DynsrvError):
    """A file that the operator wrote cannot be used.

    *where* is the file and, if known, the line or the path of the key.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class SourceError(DynsrvError):
    """A source cannot determine which servers are desired.

    *reason* is one word from a small fixed set of this source; it becomes the label of a metric.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProxyUnreachable(DynsrvError):
    """HAProxy could not be reached, or did not answer completely."""


class ProxyChanged(DynsrvError):
    """HAProxy was reloaded or restarted since it was observed; whatever was sent has no effect."""


class BackendRejected(DynsrvError):
    """HAProxy cannot add servers to this backend at runtime.

    *reason*, the label of a metric, is one of: algorithm, level, missing, mode, options, version, unknown.
    """

    def __init__(self, *, backend: str, proxy: str, reason: str, problem: str, remedy: str) -> None:
        super().__init__(f"backend {backend} on {proxy}: {problem} {remedy}")
        self.backend = backend
        self.proxy = proxy
        self.reason = reason
        self.problem = problem
        self.remedy = remedy


class ActionRefused(DynsrvError):
    """What an operator asked for cannot be done; the message says why."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InternalError(DynsrvError):
    """A bug in dynsrv, or an answer that it did not expect: *cause*, which is not a `DynsrvError`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"internal error: {type(cause).__name__}: {cause}; the log has its traceback")
        self.__cause__ = cause


class ConfigFileError(DynsrvError):
    """HAProxy's configuration file at *path* cannot be kept current; it stays as it was, and it is tried again.

    *reason* is one word (it becomes a metric's label): changing, io, marks, missing, permission, section, space,
    validation.
    """

    def __init__(self, path: object, reason: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = str(path)
        self.reason = reason
        self.problem = problem
