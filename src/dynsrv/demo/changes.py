"""What does dynsrv do during the demo? Writes its log to a file, and passes on a short form of each line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from structlog.typing import EventDict, WrappedLogger


@contextmanager
def logging_to(path: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, write the log to the file at *path*, and *show* each line about a server or a problem."""

    def short(_: WrappedLogger, level: str, fields: EventDict) -> EventDict:
        if "server" in fields or level != "info":
            about = fields.get("server", "")
            why = fields.get("reason") or fields.get("error") or fields.get("answer")
            show(" ".join(filter(None, (about, fields["event"], why and f"({why})"))))
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
