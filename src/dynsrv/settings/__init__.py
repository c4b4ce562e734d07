"""What does the configuration file say? Its keys as validated, frozen values; nothing is opened or started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from dynsrv.documents import KeyPath, parse
from dynsrv.documents.interpolation import interpolate
from dynsrv.documents.messages import listed, show
from dynsrv.documents.problems import explain_validation, problems_at, unreadable
from dynsrv.documents.values import JsonSchemaGenerator, Section, host_and_port
from dynsrv.errors import ConfigurationError
from dynsrv.settings.backend import BackendSettings, LimitsSettings, OnRemoved
from dynsrv.settings.process import AuditSettings, LogSettings, ResyncSettings, WebSettings
from dynsrv.settings.proxy import ConfigFileSettings, ProxySettings
from dynsrv.sources.endpoint_rules import ReservedPort

__all__ = [
    "DEFAULT_PATHS",
    "BackendSettings",
    "ConfigFileSettings",
    "LimitsSettings",
    "OnRemoved",
    "ProxySettings",
    "Settings",
    "find",
    "json_schema",
    "load",
]

DEFAULT_PATHS = (Path("dynsrv.yaml"), Path("/etc/dynsrv/dynsrv.yaml"))


class Settings(Section):
    """The configuration file of dynsrv."""

    proxies: tuple[ProxySettings, ...] = Field(min_length=1, description="The HAProxies to manage.")
    backends: tuple[BackendSettings, ...] = Field(min_length=1, description="The backends to manage.")
    resync: ResyncSettings = Field(
        default=ResyncSettings(), description="How often HAProxy is observed without an event."
    )
    web: WebSettings | None = Field(
        default=WebSettings(), description="Metrics, health, status page and API over HTTP; null: off."
    )
    log: LogSettings = Field(default=LogSettings(), description="What is logged, and how.")
    audit: AuditSettings | None = Field(default=None, description="A record of every change; null: off.")

    @property
    def web_address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None: nothing is served over HTTP."""
        return host_and_port(self.web.listen) if self.web and self.web.listen else None

    def reserved_ports(self) -> tuple[ReservedPort, ...]:
        """Return the ports that no server may have: those of `proxies` and of `web.listen`."""
        reserved = []
        for proxy in self.proxies:
            for key, address in (("address", proxy.address), ("master", proxy.master)):
                location = host_and_port(address.partition("://")[2]) if address else None
                if location is not None:
                    reserved.append(ReservedPort(*location, f"the proxy {proxy.name} ({key})"))
        if self.web_address is not None:
            reserved.append(ReservedPort(*self.web_address, "web.listen"))
        return tuple(sorted(reserved))

    def proxies_of(self, backend: BackendSettings) -> tuple[ProxySettings, ...]:
        """Return the proxies that have *backend*."""
        return tuple(each for each in self.proxies if backend.proxies is None or each.name in backend.proxies)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if problems := [*self._proxy_problems(), *self._config_file_problems(), *self._backend_problems()]:
            raise problems_at(type(self), problems)
        return self

    def _proxy_problems(self) -> list[tuple[KeyPath, str]]:
        problems: list[tuple[KeyPath, str]] = []
        first: dict[tuple[str, str], int] = {}
        for index, proxy in enumerate(self.proxies):
            for key, value in (("address", proxy.address), ("name", proxy.name)):
                if (other := first.setdefault((key, value), index)) != index:
                    problem = f"found {show(value)}, which proxies[{other}] has already; change one of the two"
                    problems.append((("proxies", index, key), problem))
                    break  # a proxy without a name has its address's
        return problems

    def _config_file_problems(self) -> list[tuple[KeyPath, str]]:
        """Two proxies may read one file, if it is made in one way."""
        problems: list[tuple[KeyPath, str]] = []
        first: dict[Path, tuple[int, ConfigFileSettings]] = {}
        for index, proxy in enumerate(self.proxies):
            for one in proxy.files:
                other, same = first.setdefault(one.path, (index, one))
                if same != one:
                    key = "config_file" if proxy.config_file else "config_files"
                    problem = (
                        f"found {show(str(one.path))}, which proxies[{other}] writes with other template or validate"
                    )
                    problems.append((("proxies", index, key), f"{problem}; make the two equal"))
        return problems

    def _backend_problems(self) -> list[tuple[KeyPath, str]]:
        problems: list[tuple[KeyPath, str]] = []
        names = [proxy.name for proxy in self.proxies]
        first: dict[tuple[str, str], int] = {}
        for index, backend in enumerate(self.backends):
            for position, name in enumerate(backend.proxies or ()):
                if name not in names:
                    problem = f"found {show(name)}, expected the name of a proxy: {listed(names)}"
                    problems.append((("backends", index, "proxies", position), problem))
            for name in backend.proxies or names:
                if (other := first.setdefault((backend.name, name), index)) != index:
                    manages = f"which backends[{other}] manages on {name} already"
                    problem = f"found {show(backend.name)}, {manages}; remove one of the two"
                    problems.append((("backends", index, "name"), problem))
        return problems


def find(explicit: Path | None, *, defaults: tuple[Path, ...] = DEFAULT_PATHS) -> Path:
    """Return the configuration file to load: *explicit*, or the first of *defaults* that exists.

    Raises:
        ConfigurationError: none exists.
    """
    if explicit is not None:
        return explicit
    for path in defaults:
        if path.exists():
            return path
    first, second = defaults
    raise ConfigurationError(str(first), f"there is no such file, nor {second}; write one, or name it with -c")


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings in the file at *path*, with `${NAME}` taken from *environ*.

    Raises:
        ConfigurationError: the file cannot be read or used; the error lists all problems.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(str(path), unreadable(error)) from None
    document = interpolate(parse(content, name=str(path)), environ)
    try:
        context = {"directory": path.absolute().parent, "environ": environ}
        return Settings.model_validate(document.data, context=context)
    except ValidationError as error:
        raise explain_validation(error, document=document, model=Settings) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(schema_generator=JsonSchemaGenerator),
    }
