"""Which backends accept servers at runtime? If one does not: why, and what is the remedy?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynsrv.errors import BackendRejected
from dynsrv.model import Backend
from dynsrv.runtime import Capabilities, Client, Ok, ProcessInfo, Reply, commands, errors

_DYNAMIC_ALGORITHMS = (
    "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
)

_DYNAMIC = frozenset({"roundrobin", "leastconn", "first"})
"""Algorithms whose backends always accept servers. HAProxy shows `random` and `sticky` as `unknown`, and of a hash not
its type."""
_MODES = frozenset({"http", "tcp", "spop"})


class Support:
    """Which backends of one HAProxy accept servers. Only a reload changes that, so each process is asked once."""

    def __init__(self, proxy: str, client: Client) -> None:
        self._proxy = proxy
        self._client = client
        self._accepted: dict[str, ProcessInfo] = {}  # by backend, and the process that said so
        self._undecided: dict[str, ProcessInfo] = {}  # what HAProxy shows of them does not tell

    async def check(self, backend: str, process: ProcessInfo, *, backend_id: int | None) -> None:
        """Decide by what HAProxy shows of *backend*, without a line in its log.

        Raises:
            BackendRejected: it does not accept servers.
        """
        if self._knows(self._accepted, backend, process) or self._knows(self._undecided, backend, process):
            return
        if not Capabilities.of(process.version).add_server:
            raise await self.rejection(backend, process, None)
        questions = [commands.cli_level(), commands.backend_stat(backend_id or backend)]
        level, stat = (await self._client.batch(questions, process=process)).replies
        if isinstance(level, Ok) and level.value != "admin":
            denied = errors.PermissionDenied("show cli level", f"level {level.value}")
            raise await self.rejection(backend, process, denied)
        row = next(iter(stat.value), None) if isinstance(stat, Ok) else None
        if row is not None and row.algorithm in _DYNAMIC and row.mode in _MODES:
            self._accepted[backend] = process
        elif row is not None and (row.algorithm == "static-rr" or row.mode == "syslog"):
            await self.confirm(backend, process)  # for HAProxy's own words; of a refusal it logs nothing
        else:
            self._undecided[backend] = process

    async def confirm(self, backend: str, process: ProcessInfo) -> None:
        """Ask HAProxy whether it would add a server to *backend*, unless that is known; if so, it logs an alert.

        Raises:
            BackendRejected: it would not.
        """
        if self._knows(self._accepted, backend, process):
            return
        (reply,) = (await self._client.batch([commands.probe_backend(backend)], process=process)).replies
        if not isinstance(reply, Ok):
            raise await self.rejection(backend, process, reply)
        self._accepted[backend] = process

    async def rejection(self, backend: str, process: ProcessInfo, reply: Reply[Any] | None) -> BackendRejected:
        """Return the error for *reply*; None if the version alone rules it out."""
        algorithm = None
        if isinstance(reply, errors.BackendUnsupported):
            rows = await self._client.run(commands.backend_stat(backend))
            algorithm = next((row.algorithm for row in rows if row.algorithm not in {"", "unknown"}), None)
        return unsupported(reply, backend=backend, proxy=self._proxy, version=process.version, algorithm=algorithm)

    @staticmethod
    def _knows(known: dict[str, ProcessInfo], backend: str, process: ProcessInfo) -> bool:
        return backend in known and known[backend].same_process(process)


def unsupported(
    reply: Reply[Any] | None, *, backend: str, proxy: str, version: str, algorithm: str | None
) -> BackendRejected:
    """Return the error for *reply*, HAProxy's answer to the question whether *backend* accepts servers at runtime.

    *reply* is None if the *version* alone rules it out; *algorithm* is None if it is unknown.
    """
    said = ""
    if isinstance(reply, errors.Refused | errors.UnknownReply):
        said = f"HAProxy {version} says: {' '.join(reply.sentence.split())}"
    match reply:
        case None | errors.CommandUnsupported():
            reason = "version"
            crashes = Capabilities.of(version).experimental_mode  # 2.4, and 2.5.0
            fault = "crashes when servers are added" if crashes else "cannot add servers"
            problem = f"HAProxy {version} {fault} at runtime."
            remedy = "dynsrv needs HAProxy 2.5.1 or later."
        case errors.PermissionDenied():
            reason = "level"
            problem = f"the stats socket's level is too low. {said}"
            remedy = "Write `level admin` on the `stats socket` line."
        case errors.NoSuchBackend():
            reason = "missing"
            problem = f"HAProxy has no such backend. {said}"
            remedy = "Compare `name` in the configuration of dynsrv with `backend` in haproxy.cfg."
        case errors.BackendUnsupported() if "log backends" in said or "uses mode log" in said:
            reason = "mode"
            problem = f"its mode does not accept servers at runtime. {said}"
            remedy = "Use `mode http` or `mode tcp`."
        case errors.BackendUnsupported():
            reason = "algorithm"
            named = f" ({algorithm})" if algorithm else ""
            problem = f"its algorithm{named} does not accept servers at runtime. {said}"
            remedy = _DYNAMIC_ALGORITHMS
        case _:
            reason = "unknown"
            problem = f"it is unknown whether it accepts servers at runtime. {said}"
            remedy = "See HAProxy's log."
    return BackendRejected(backend=backend, proxy=proxy, reason=reason, problem=problem, remedy=remedy)


def check_keywords(backend: Backend, options: Iterable[str], *, proxy: str) -> None:
    """Check that the version of HAProxy that *backend* was observed on supports all *options*.

    Raises:
        BackendRejected: it does not.
    """
    version = backend.process.version
    capabilities = Capabilities.of(version)
    if unknown := [option for option in options if not capabilities.takes(option.partition(" ")[0])]:
        raise BackendRejected(
            backend=backend.name,
            proxy=proxy,
            reason="options",
            problem=f"HAProxy {version} does not support these server options: {', '.join(unknown)}.",
            remedy="Remove them from the backend's `server.options`, or use a version of HAProxy that supports them.",
        )
