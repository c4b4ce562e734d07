"""What dynsrv runs, with HAProxies in memory and sources that say what a test lets them say; and specs of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dynsrv.haproxy.proxy import HAProxy
from dynsrv.planning import Policy
from dynsrv.runtime import Client
from dynsrv.settings import OnRemoved, ProxySettings
from dynsrv.sources.file import FileSourceSettings
from dynsrv.specs import BackendSpec, DesiredKey, DesiredSpec, ProxySpec, SourceSpec, Specs
from dynsrv.wiring import Factory
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy
from tests.fakes.sources import ScriptedSource

ETC = Path("/etc/dynsrv")


class FakeFactory(Factory):
    """Creates proxies for *behinds*, by their names, and sources without a script."""

    def __init__(self, *behinds: Behind) -> None:
        super().__init__()
        self.behinds = {behind.proxy.name: behind for behind in behinds}
        self.sources: list[ScriptedSource] = []

    def proxy(self, spec: ProxySpec) -> HAProxy:
        """Return a proxy with a client of its own."""
        wire = self.behinds[spec.key].wire
        return HAProxy(spec.key, Client(spec.settings.address, opener=wire, reply_timeout=1, connect_timeout=1))

    def source(self, spec: SourceSpec) -> ScriptedSource:
        """Return a source, and remember it."""
        self.sources.append(ScriptedSource())
        return self.sources[-1]


def a_proxy_spec(name: str = "lb1", *, address: str = "/run/haproxy/admin.sock", probe: float = 1.0) -> ProxySpec:
    """A HAProxy."""
    keys = {"name": name, "address": address}
    return ProxySpec(ProxySettings.model_validate(keys, context={"directory": ETC}), probe, ETC)


def a_source_spec(backend: str = "be_app", *, number: int = 0, path: str = "servers.yaml") -> SourceSpec:
    """A source of a backend."""
    return SourceSpec((backend, number), FileSourceSettings(kind="file", path=Path(path)), ETC)


def a_backend_spec(
    name: str = "be_app",
    proxy: ProxySpec | None = None,
    *,
    number: int = 0,
    source: SourceSpec | None = None,
    policy: Policy | None = None,
    **keys: Any,
) -> BackendSpec:
    """A backend on one proxy."""
    source = source or a_source_spec(name, number=number)
    desired = DesiredSpec((name, number), (source,), policy or a_policy(options=()))
    usual = {"resync": 30.0, "override_until": 0.0, "on_removed": OnRemoved.LEAVE}
    return BackendSpec(desired=desired, proxy=proxy or a_proxy_spec(), **{**usual, **keys})


def the_specs(*backends: BackendSpec, proxies: Iterable[ProxySpec] = ()) -> Specs:
    """Everything that *backends* need, and *proxies* besides."""
    desired: dict[DesiredKey, DesiredSpec] = {one.desired.key: one.desired for one in backends}
    return Specs(
        proxies={one.key: one for one in (*proxies, *(backend.proxy for backend in backends))},
        config_files={file.key: file for backend in backends for file in backend.proxy.config_files},
        sources={source.key: source for one in desired.values() for source in one.sources},
        desired=desired,
        backends={one.key: one for one in backends},
    )
