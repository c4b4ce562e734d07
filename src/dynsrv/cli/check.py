"""Would it work? The engine of `dynsrv check --live`: asks each HAProxy and each source, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from dynsrv.cli.session import Backend, Session, first_snapshot
from dynsrv.errors import DynsrvError
from dynsrv.haproxy.command_line import unread_files
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.haproxy.support import check_keywords
from dynsrv.runtime import Capabilities
from dynsrv.sources.source import Source
from dynsrv.specs import SourceSpec

_SOURCE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was checked, whether it is good, and what was found."""

    good: bool
    what: str
    found: str


async def check_live(session: Session) -> list[Finding]:
    """Return the findings on each proxy, each source, and each backend on each of its proxies."""
    proxies = await asyncio.gather(*(_proxy(one, session.read_by[key]) for key, one in session.proxies.items()))
    backends = await asyncio.gather(*map(_backend, session.backends))
    return [*proxies, *(finding for findings in backends for finding in findings)]


async def _proxy(proxy: HAProxy, config_files: Sequence[Path]) -> Finding:
    what = f"proxy {proxy.name}"
    try:
        process = await proxy.identify()
        level = await proxy.level()
    except DynsrvError as error:
        return Finding(good=False, what=what, found=str(error))
    init_state = "with" if Capabilities.of(process.version).init_state else "without"
    found = f"HAProxy {process.version}, pid {process.pid}, {init_state} init-state, level {level}"
    if level != "admin":
        return Finding(good=False, what=what, found=f"{found}; write `level admin` on the `stats socket` line")
    if not config_files:
        found += "; warning: without a config_file, a reload of HAProxy loses its servers until dynsrv adds them again"
    elif unread := unread_files(process.pid, config_files):
        return Finding(good=False, what=what, found=f"{found}; {unread}")
    return Finding(good=True, what=what, found=found)


async def _backend(backend: Backend) -> list[Finding]:
    sources = await asyncio.gather(
        *(_source(spec, source) for spec, source in zip(backend.spec.sources, backend.sources, strict=True))
    )
    on_proxies = await asyncio.gather(*(_on_proxy(proxy, backend) for proxy in backend.proxies))
    return [*(finding for findings in sources for finding in findings), *on_proxies]


async def _source(spec: SourceSpec, source: Source) -> list[Finding]:
    findings = []
    what = f"source of {spec.backend} ({spec.settings.kind})"
    try:
        async with asyncio.timeout(_SOURCE_TIMEOUT), aclosing(source.inspect()) as inspection:
            async for found in inspection:
                findings.append(Finding(good=True, what=what, found=found))  # noqa: PERF401 - those before an error stay
        snapshot = await first_snapshot(source, timeout=_SOURCE_TIMEOUT)
        findings.append(Finding(good=True, what=what, found=f"{len(snapshot.endpoints)} endpoints"))
        findings += [Finding(good=False, what=what, found=note) for note in snapshot.notes]
    except TimeoutError:
        findings.append(Finding(good=False, what=what, found=f"no answer within {_SOURCE_TIMEOUT:g} s"))
    except DynsrvError as error:
        findings.append(Finding(good=False, what=what, found=str(error)))
    return findings


async def _on_proxy(proxy: HAProxy, backend: Backend) -> Finding:
    what = f"backend {backend.name} on {proxy.name}"
    try:
        observed = await proxy.observe(backend.name, with_maxconn=False)
        await proxy.check_accepts(observed)
        check_keywords(observed, backend.policy.options, proxy=proxy.name)
        algorithm = await proxy.algorithm(backend.name)
        cookie = await proxy.cookie(backend.name)
    except DynsrvError as error:
        return Finding(good=False, what=what, found=str(error))
    balance = f", balance {algorithm}" if algorithm else ""
    found = f"accepts servers at runtime{balance}; {len(observed.servers)} servers now"
    if cookie and not Capabilities.of(observed.process.version).takes("cookie"):
        found += f"; warning: before HAProxy 3.0, a server added at runtime erases the `cookie {cookie}` of its clients"
    return Finding(good=True, what=what, found=found)
