"""What should run? Proxies, sources and backends, as keyed values that are compared by equality.

A spec contains the specs of everything it depends on, so it differs when one of those does. Specs may come from
anywhere; `specs_of` makes them from the configuration file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dynsrv.planning import Policy
from dynsrv.settings import BackendSettings, ConfigFileSettings, OnRemoved, ProxySettings, Settings
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules
from dynsrv.sources.source import SourceSettings

DesiredKey = tuple[str, int]
"""The name of a backend and the number of its entry, of which it may have several, each for different proxies."""
BackendKey = tuple[str, str]
"""The names of a backend and of a proxy."""


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """One HAProxy. *probe* is the time between two probes, in seconds; relative paths begin at *directory*."""

    settings: ProxySettings
    probe: float
    directory: Path

    @property
    def key(self) -> str:
        """Its name."""
        return self.settings.name

    @property
    def config_files(self) -> tuple[ConfigFileSpec, ...]:
        """The files of its configuration that are kept current."""
        return tuple(ConfigFileSpec(one, self.directory) for one in self.settings.files)


@dataclass(frozen=True, slots=True)
class ConfigFileSpec:
    """A file of HAProxy's configuration that is kept current; relative paths begin at *directory*."""

    settings: ConfigFileSettings
    directory: Path

    @property
    def key(self) -> Path:
        """Where it is."""
        return self.directory / self.settings.path


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source of one backend, which lists what *rules* allow; relative paths begin at *directory*."""

    key: DesiredKey
    settings: SourceSettings
    directory: Path
    rules: EndpointRules = ANY_ENDPOINT

    @property
    def backend(self) -> str:
        """HAProxy's name for the backend."""
        return self.key[0]


@dataclass(frozen=True, slots=True)
class DesiredSpec:
    """The desired state of one backend on some proxies: the servers of *sources*, with what *policy* adds."""

    key: DesiredKey
    sources: tuple[SourceSpec, ...]
    policy: Policy

    @property
    def backend(self) -> str:
        """HAProxy's name for it."""
        return self.key[0]


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """One backend on one proxy. *resync* is in seconds, *override_until*, when the guard counts again, in Unix time."""

    desired: DesiredSpec
    proxy: ProxySpec
    resync: float
    override_until: float
    on_removed: OnRemoved

    @property
    def name(self) -> str:
        """HAProxy's name for it."""
        return self.desired.backend

    @property
    def key(self) -> BackendKey:
        """The names of the backend and of the proxy."""
        return (self.name, self.proxy.key)


@dataclass(frozen=True, slots=True)
class Specs:
    """Everything that should run, by key."""

    proxies: Mapping[str, ProxySpec]
    config_files: Mapping[Path, ConfigFileSpec]
    sources: Mapping[DesiredKey, SourceSpec]
    desired: Mapping[DesiredKey, DesiredSpec]
    backends: Mapping[BackendKey, BackendSpec]


NOTHING = Specs({}, {}, {}, {}, {})


def specs_of(settings: Settings, *, directory: Path) -> Specs:
    """Return the specs of everything in the configuration file, which is in *directory*."""
    proxies = {each.name: ProxySpec(each, settings.resync.probe, directory) for each in settings.proxies}
    sources: dict[DesiredKey, SourceSpec] = {}
    desired: dict[DesiredKey, DesiredSpec] = {}
    backends: dict[BackendKey, BackendSpec] = {}
    entries = Counter[str]()
    reserved = settings.reserved_ports()
    for entry in settings.backends:
        key = (entry.name, entries[entry.name])
        entries[entry.name] += 1
        sources[key] = SourceSpec(key, entry.source, directory, entry.rules(reserved))
        desired[key] = DesiredSpec(key, (sources[key],), entry.policy())
        for proxy in settings.proxies_of(entry):
            backend = BackendSpec(
                desired=desired[key],
                proxy=proxies[proxy.name],
                resync=settings.resync.interval,
                override_until=_override_until(entry),
                on_removed=entry.on_removed,
            )
            backends[backend.key] = backend
    config_files = {one.key: one for proxy in proxies.values() for one in proxy.config_files}
    return Specs(proxies, config_files, sources, desired, backends)


def _override_until(entry: BackendSettings) -> float:
    until = entry.limits.override_until
    return until.timestamp() if until else 0.0
