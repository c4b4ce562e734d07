"""Would it work? Asks each HAProxy and each source that the configuration names, and changes nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from dynsrv.errors import DynsrvError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.haproxy.support import check_keywords
from dynsrv.runtime import Capabilities
from dynsrv.wiring import App, ManagedBackend

_SOURCE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing."""

    good: bool
    what: str
    found: str


async def check_live(app: App) -> list[Finding]:
    """Return one finding for each proxy, for each source, and for each backend on each of its proxies."""
    proxies = await asyncio.gather(*(_proxy(one.haproxy) for one in app.proxies.values()))
    backends = await asyncio.gather(*(_backend(backend) for backend in app.backends))
    return [*proxies, *(finding for findings in backends for finding in findings)]


async def _proxy(proxy: HAProxy) -> Finding:
    what = f"proxy {proxy.name}"
    try:
        process = await proxy.identify()
        level = await proxy.level()
    except DynsrvError as error:
        return Finding(good=False, what=what, found=str(error))
    init_state = "takes" if Capabilities.of(process.version).init_state else "has no"
    found = f"HAProxy {process.version}, pid {process.pid}, {init_state} init-state, level {level}"
    if level != "admin":
        return Finding(good=False, what=what, found=f"{found}; write `level admin` on the `stats socket` line")
    return Finding(good=True, what=what, found=found)


async def _backend(backend: ManagedBackend) -> list[Finding]:
    findings = []
    what = f"source of {backend.name} ({backend.settings.source.kind})"
    try:
        async with asyncio.timeout(_SOURCE_TIMEOUT), aclosing(backend.source.inspect()) as inspection:
            async for found in inspection:
                findings.append(Finding(good=True, what=what, found=found))  # noqa: PERF401 - those before an error stay
        snapshot = await backend.first_snapshot(timeout=_SOURCE_TIMEOUT)
        findings.append(Finding(good=True, what=what, found=f"{len(snapshot.endpoints)} endpoints"))
        findings += [Finding(good=False, what=what, found=note) for note in snapshot.notes]
    except TimeoutError:
        findings.append(Finding(good=False, what=what, found=f"no answer within {_SOURCE_TIMEOUT:g} s"))
    except DynsrvError as error:
        findings.append(Finding(good=False, what=what, found=str(error)))
    for proxy in backend.proxies:
        where = f"backend {backend.name} on {proxy.name}"
        try:
            observed = await proxy.observe(backend.name, with_maxconn=False)
            check_keywords(observed, backend.policy.options, proxy=proxy.name)
            algorithm = await proxy.algorithm(backend.name)
            cookie = await proxy.cookie(backend.name)
        except DynsrvError as error:
            findings.append(Finding(good=False, what=where, found=str(error)))
            continue
        balance = f", balance {algorithm}" if algorithm else ""
        found = f"takes servers at runtime{balance}; {len(observed.servers)} servers now"
        if cookie and not Capabilities.of(observed.process.version).takes("cookie"):
            found += f"; warning: before 3.0 a server added at runtime takes `cookie {cookie}` from its clients"
        findings.append(Finding(good=True, what=where, found=found))
    return findings
