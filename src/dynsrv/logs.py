"""How does a log line look? One constant sentence and its fields: text for people, JSON for machines, on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(*, level: str, form: Literal["text", "json"]) -> None:
    """Write log lines from *level* up to stderr. Colours only where stderr is a terminal."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if form == "json":
        processors.append(structlog.processors.JSONRenderer())
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=32, sort_keys=False))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(handlers=[_Forwarding(logging.WARNING)], force=True)


class _Forwarding(logging.Handler):
    """Tells what libraries warn of as all else is told."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        tell("a library warns", library=record.name, what=record.getMessage(), exc_info=record.exc_info or None)
