"""Can dynsrv use the files of its own that the configuration names? Asked by `check`, at the start and at a reload."""

from __future__ import annotations

import stat
from pathlib import Path

from dynsrv.documents.problems import unreadable
from dynsrv.errors import ConfigurationError
from dynsrv.reconcile.audit import why_not_writable
from dynsrv.settings import Settings


def check_files(settings: Settings, *, directory: Path) -> list[str]:
    """Return warnings about `web.token_file` and `audit.path`; relative paths begin at *directory*.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    warnings = []
    if settings.web is not None and settings.web.token_file is not None:
        path = directory / settings.web.token_file
        try:
            token, mode = path.read_bytes(), path.stat().st_mode
        except OSError as error:
            raise ConfigurationError("web.token_file", f"{path}: {unreadable(error)}") from None
        if not token.strip():
            raise ConfigurationError("web.token_file", f"{path}: it is empty; write a token to it")
        if mode & stat.S_IROTH:
            warnings.append(f"web.token_file: every user of this machine can read {path}; chmod o-r it")
    if settings.audit is not None:
        path = directory / settings.audit.path
        if problem := why_not_writable(path):
            raise ConfigurationError("audit.path", f"{path}: {problem}")
    return warnings
