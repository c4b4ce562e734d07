"""Why can a backend not be managed, and what is the remedy? HAProxy's refusals as sentences for an operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynsrv.errors import BackendRejected
from dynsrv.model import Backend
from dynsrv.runtime import Capabilities, Reply, errors

_DYNAMIC_ALGORITHMS = (
    "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
)


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
