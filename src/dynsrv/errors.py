"""What can go wrong in dynsrv, one class per reaction.

DynsrvError
├── ConfigurationError     the operator has to change a file; nothing was started
├── SourceError            no new snapshot now: the last one stays, and the source is tried again
├── ProxyUnreachable       HAProxy did not answer: the pass failed, and is tried again
├── ProxyChanged           the HAProxy process is another one than the one observed: look again at once
└── BackendRejected        this backend cannot be managed as HAProxy is configured; the others go on
"""

from __future__ import annotations


class DynsrvError(Exception):
    """Root of everything that dynsrv raises on purpose. `str()` is a sentence for an operator."""


class ConfigurationError(DynsrvError):
    """A file of the operator's cannot be used.

    *where* is the file and, as far as it is known, the line or the path of keys.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class SourceError(DynsrvError):
    """A source cannot tell what is desired now.

    *reason* is one word of a small fixed set of the source's (it becomes a metric's label).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProxyUnreachable(DynsrvError):
    """HAProxy could not be asked, or did not answer to the end."""


class ProxyChanged(DynsrvError):
    """HAProxy was reloaded or restarted since it was observed; nothing that was sent counts."""


class BackendRejected(DynsrvError):
    """HAProxy cannot add servers to this backend at runtime.

    *reason* is one word (it becomes a metric's label): algorithm, level, missing, mode, options, version, unknown.
    """

    def __init__(self, *, backend: str, proxy: str, reason: str, problem: str, remedy: str) -> None:
        super().__init__(f"backend {backend} on {proxy}: {problem} {remedy}")
        self.backend = backend
        self.proxy = proxy
        self.reason = reason
        self.problem = problem
        self.remedy = remedy
