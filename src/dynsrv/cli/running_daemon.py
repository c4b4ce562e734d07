"""What does only the running daemon know? Its guard's window and refusals, asked of its API at `web.listen`."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from pydantic import TypeAdapter

from dynsrv import api_model
from dynsrv.model import Process
from dynsrv.settings import Settings
from dynsrv.steps import CloseSessions, Delete, Disable, Drain, Plan, Refusal, SetWeight, Step, Wait, WaitsFor

_TIMEOUT = 2.0  # seconds
_MAX_SIZE = 256 * 2**20


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """The plans of the daemon with this configuration, by backend and proxy; *absent* says why there are none."""

    plans: Mapping[tuple[str, str], api_model.BackendPlan] = field(default_factory=dict)
    absent: str | None = None

    def guards(self, backend: str, proxy: str, process: Process) -> api_model.BackendPlan | None:
        """Return its plan for *backend* on *proxy*, if its guard blocks removals there.

        Only if it observed the same *process* of HAProxy: at `web.listen` there may be another daemon.
        """
        plan = self.plans.get((backend, proxy))
        if plan is None or plan.haproxy is None or not plan.refusals:
            return None
        return plan if (plan.haproxy.version, plan.haproxy.pid) == (process.version, process.pid) else None

    def guarded(self, plan: Plan, *, backend: str, proxy: str, process: Process) -> Plan:
        """Return *plan* without the removals that the daemon's guard blocks, and with its refusals."""
        theirs = self.guards(backend, proxy, process)
        if theirs is None:
            return plan
        kept = {wait.server: wait.reason for wait in theirs.waits or () if wait.waits_for is WaitsFor.GUARD}
        return replace(
            plan,
            steps=tuple(step for step in plan.steps if step.server not in kept or not _removes(step)),
            waits=(
                *(wait for wait in plan.waits if wait.server not in kept),
                *(Wait(server, WaitsFor.GUARD, reason) for server, reason in kept.items()),
            ),
            refusals=tuple(Refusal(one.rule, one.reason) for one in theirs.refusals or ()),
        )


def _removes(step: Step) -> bool:
    return isinstance(step, Drain | Disable | CloseSessions | Delete) or (
        isinstance(step, SetWeight) and step.weight == 0
    )


async def ask_daemon(settings: Settings, *, directory: Path) -> RunningDaemon:
    """Ask the daemon that *settings* describe; paths in them begin at *directory*."""
    if settings.web_address is None:
        return RunningDaemon(absent="web.listen is off")
    return await asyncio.to_thread(_ask, settings, directory)


def _ask(settings: Settings, directory: Path) -> RunningDaemon:
    assert settings.web is not None
    assert settings.web_address is not None
    host, port = settings.web_address
    host = _reachable(host)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        # without the proxies of the environment, which have no business with a daemon on this machine
        handlers: list[ProxyHandler | HTTPSHandler] = [ProxyHandler({})]
        if settings.web.tls is not None:
            handlers.append(HTTPSHandler(context=_trusting(directory / settings.web.tls.cert_file)))
        scheme = "http" if settings.web.tls is None else "https"
        with build_opener(*handlers).open(f"{scheme}://{where}/api/v1/plan", timeout=_TIMEOUT) as answer:
            plan = TypeAdapter(api_model.Plan).validate_json(answer.read(_MAX_SIZE))
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        unusable = reason if isinstance(error, OSError) else "its answer is not that of this version of dynsrv"
        return RunningDaemon(absent=f"no daemon could be asked at {where} ({unusable})")
    return RunningDaemon({(one.backend, one.proxy): one for one in plan.backends})


def _trusting(certificate: Path) -> ssl.SSLContext:
    """Return a context that accepts exactly the daemon's own certificate, whatever name it has."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _reachable(host: str) -> str:
    """Return where a server that listens on *host* can be reached from this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
