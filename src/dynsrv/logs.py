"""What does dynsrv log, and in which format? All sentences are in one table.

A line is one constant sentence and its fields: text for people, JSON for machines, on stderr. In JSON, `message` is the
sentence and `event` its code. Codes are stable; sentences may be reworded.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from enum import StrEnum, unique
from typing import Any, Literal, Protocol, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from dynsrv.errors import printable
from dynsrv.log_writer import LogWriter


@unique
class Event(StrEnum):
    """Everything that dynsrv logs: the value is the sentence that people read, *code* is what programs match.

    What varies is in the fields of the line. INFO: something changed. WARNING: an operator may have to act.
    """

    # The daemon
    STARTED = "dynsrv started"
    STOPPED = "dynsrv stopped; HAProxy keeps its current servers"
    STOPPED_EARLY = "stopping took too long; ended without waiting for a file or a thread that hangs"
    CONFIGURATION_CHANGED = "configuration file changed; reloading it"
    CONFIGURATION_RELOADED = "configuration reloaded"
    CONFIGURATION_RELOAD_FAILED = "configuration reload failed; keeping the previous one"
    RESTART_REQUIRED = "changes to web take effect after a restart of dynsrv"
    BACKEND_REMOVED = "backend removed from the configuration"
    WEB_EXPOSED = "web.listen serves other hosts without TLS, and reads need no token; set web.tls or bind to loopback"
    FILE_EXPOSED = "a secret file is readable by others"
    ACCEPT_FAILED = "connections of HTTP clients cannot be accepted"
    HTTP_REQUEST_FAILED = "internal error while answering an HTTP request"
    INTERNAL_ERROR = "internal error in a part of dynsrv, which is retried"
    LIBRARY_WARNING = "warning from a library"
    LOG_LINES_LOST = "log lines were lost: stderr could not be written, or nobody read it"

    # HAProxy
    HAPROXY_CONNECTED = "connected to HAProxy"
    HAPROXY_UNREACHABLE = "HAProxy unreachable; its servers cannot be changed until it responds"
    HAPROXY_RECOVERED = "HAProxy responds again"
    HAPROXY_RELOADED = "HAProxy was reloaded or restarted; adding its servers again"
    MASTER_UNREACHABLE = "master CLI unreachable; reloads are detected by polling only"

    # A backend
    BACKEND_IN_SYNC = "backend in sync"
    RECONCILE_FAILED = "reconcile failed"
    RECONCILE_RECOVERED = "reconcile succeeded again"
    DRIFT_DETECTED = "drift detected; reverting changes made outside dynsrv"
    REMOVAL_BLOCKED = "removal blocked by the guard"
    GUARD_OVERRIDDEN = "guard overridden by an operator through the API"
    GUARD_OVERRIDE_ENDED = "guard override ended by an operator through the API"

    # A server
    SERVER_ADDED = "server added"
    HEALTH_CHECK_ENABLED = "health check enabled"
    AGENT_CHECK_ENABLED = "agent check enabled"
    AGENT_CHECK_DISABLED = "agent check disabled"
    SERVER_ENABLED = "server enabled"
    WEIGHT_CHANGED = "weight changed"
    MAXCONN_CHANGED = "maxconn changed"
    SERVER_DRAINING = "server draining"
    SERVER_DISABLED = "server disabled"
    SESSIONS_CLOSED = "sessions closed"
    SERVER_DELETED = "server deleted"
    MORE_SERVERS_CHANGED = "same change made to more servers"
    SERVER_NOT_ADMITTED = "new server not admitted: health check failing"
    SERVER_HELD = "server held by an operator; leaving it alone"
    SERVER_HELD_BY_AGENT = "server taken out of service by its agent; leaving it alone"
    COMMAND_REJECTED = "HAProxy rejected a command"
    COMMAND_RETRIED = "HAProxy cannot carry out a command yet; retrying"

    # HAProxy's configuration file
    CONFIG_FILE_WRITTEN = "HAProxy's configuration file written"
    CONFIG_FILE_FAILED = "HAProxy's configuration file cannot be kept current; a reload would use the last one written"
    CONFIG_FILE_RECOVERED = "HAProxy's configuration file is kept current again"

    # The audit file
    AUDIT_WRITE_FAILED = "audit file cannot be written; its entries are lost"
    AUDIT_WRITE_RECOVERED = "audit file is writable again"

    # A source
    FIRST_ENDPOINTS_RECEIVED = "first endpoints received"
    ENDPOINTS_CHANGED = "endpoints changed"
    SOURCE_FAILED = "source failed; keeping the current servers"
    SOURCE_RECOVERED = "source recovered"
    SOURCES_DISAGREE = "sources disagree about an endpoint; the first one counts"
    SOURCE_DATA_IGNORED = "part of the source's data was ignored"
    CONSUL_AGENT_SWITCHED = "switched to another Consul agent"
    CONSUL_ANSWER_CORRECTED = "stale answer from Consul replaced by a consistent read"

    # EC2 instances that Auto Scaling terminates
    INSTANCE_TERMINATING = "instance terminating; draining its servers first"
    INSTANCE_DRAIN_SLOW = "terminating instance not drained yet: it has servers left, or a proxy is unreachable"
    LIFECYCLE_COMPLETED = "lifecycle action completed; no server of the instance is left"
    LIFECYCLE_ALREADY_ENDED = "lifecycle action had already ended"
    LIFECYCLE_EXPIRED = "lifecycle action ended before the instance was drained"
    LIFECYCLE_FAILED = "lifecycle action could not be continued or completed; retrying"

    @property
    def code(self) -> str:
        """The name in small letters: stable, so that alerts and searches may rely on it."""
        return self.name.lower()


class Log(Protocol):
    """A logger of structlog that accepts only events of the table."""

    def bind(self, **fields: object) -> Log: ...

    def debug(self, event: Event, **fields: object) -> object: ...

    def info(self, event: Event, **fields: object) -> object: ...

    def warning(self, event: Event, **fields: object) -> object: ...

    def error(self, event: Event, **fields: object) -> object: ...

    def is_enabled_for(self, level: int) -> bool: ...


def get_logger() -> Log:
    """Return a logger, which uses the configuration that is current when it logs."""
    log: Log = structlog.get_logger()
    return log


def configure(*, level: str, form: Literal["text", "json"], in_thread: bool = False) -> None:
    """Write log lines from *level* up to stderr. Colours only where stderr is a terminal.

    With *in_thread*, a thread writes them: logging then neither blocks nor fails, whatever stderr is. Lines that cannot
    be written are lost, counted and reported later.
    """
    global _writer, _processors  # noqa: PLW0603 - stderr exists once, and so does its thread
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _escape,
    ]
    if form == "json":
        processors += [_add_code, structlog.processors.JSONRenderer()]
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=32, sort_keys=False))
    _processors = processors
    if in_thread and _writer is None:
        _writer = LogWriter(sys.stderr.fileno(), report=_report_lost, count=_count_lost)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _writer) if in_thread else sys.stderr),
    )
    logging.basicConfig(handlers=[_Forwarding(logging.WARNING)], force=True)


_writer: LogWriter | None = None
_processors: list[structlog.typing.Processor] = []
_on_lines_lost: Callable[[int], None] = lambda _: None  # noqa: E731 - a default


def on_lines_lost(count: Callable[[int], None]) -> None:
    """Call *count* with the number of lines whenever some are lost, from any thread."""
    global _on_lines_lost  # noqa: PLW0603 - as above
    _on_lines_lost = count


def drain(*, timeout: float) -> None:
    """Wait until all lines that were logged are written or lost, but at most *timeout* seconds."""
    if _writer is not None:
        _writer.drain(timeout=timeout)


def _count_lost(lines: int) -> None:
    _on_lines_lost(lines)


def _report_lost(lines: int) -> str:
    fields: Any = {"event": Event.LOG_LINES_LOST, "lines": lines}
    for process in _processors:
        fields = process(None, "error", fields)
    return f"{fields}\n"


def _escape(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    return {key: printable(value) if type(value) is str else value for key, value in fields.items()}


def _add_code(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    event = fields.pop("event")
    return {"event": event.code, "message": event, **fields}


class _Forwarding(logging.Handler):
    """Logs the warnings of libraries like all other lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(Event.LIBRARY_WARNING, library=record.name, what=record.getMessage(), exc_info=record.exc_info or None)
