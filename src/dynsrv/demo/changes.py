"""What does dynsrv do meanwhile? Its log lines, written to a file, and told in few words as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from structlog.typing import EventDict, WrappedLogger


@contextmanager
def recorded(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, write log lines to the file at *path*, and *tell* each that is about a server or a problem."""

    def short(_: WrappedLogger, level: str, fields: EventDict) -> EventDict:
        if "server" in fields or level != "info":
            about = fields.get("server", "")
            why = fields.get("reason") or fields.get("error") or fields.get("answer")
            tell(" ".join(filter(None, (about, fields["event"], why and f"({why})"))))
        return fields

    with path.open("w") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                short,
                structlog.dev.ConsoleRenderer(colors=False, pad_event_to=32, sort_keys=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger("info"),
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        try:
            yield
        finally:
            structlog.reset_defaults()
