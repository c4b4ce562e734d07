"""What does the configuration file say about a HAProxy? The keys of an item of `proxies`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dynsrv.documents import KeyPath
from dynsrv.documents.messages import show
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import FilePath, Label, RuntimeAddress, Section
from dynsrv.tls import TlsSettings


class ConfigFileSettings(Section):
    """A file of HAProxy's own configuration, in which the servers are kept for its next reload or start."""

    path: FilePath = Field(
        description="The file that HAProxy reads. Inside a `backend` or `listen` section, the lines between"
        " `# dynsrv begin` and `# dynsrv end` are dynsrv's; no other byte of it changes."
    )
    template: FilePath | None = Field(
        default=None,
        description="A file with the marks, which dynsrv only reads: `path` is rendered from it. By default, the marks"
        " are in `path` itself.",
    )
    validation: tuple[str, ...] = Field(
        default=(),
        alias="validate",
        description="A command that a new file must pass before it replaces the old one, such as"
        ' `[haproxy, -c, -f, "{path}"]`; `{path}` is the new file.',
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems: list[tuple[KeyPath, str]] = []
        if self.template == self.path:
            problems.append((("template",), "found the same file as path; remove this key, or name another file"))
        if self.validation and not any("{path}" in word for word in self.validation[1:]):
            problem = "expected a command with {path} as one of its arguments: that is the new file"
            problems.append((("validate",), problem))
        if problems:
            raise problems_at(type(self), problems)
        return self


class ProxySettings(Section):
    """One HAProxy, reached through one Runtime API address."""

    address: RuntimeAddress = Field(
        description="HAProxy's stats socket with `level admin`: `unix:///path`, a path, `tcp://host:port` or"
        " `tcp+tls://host:port`.",
    )
    name: Label = Field(
        default_factory=lambda others: str(others["address"]),
        description="The name in logs, metrics and `backends[].proxies`. Default: the address.",
    )
    master: RuntimeAddress | None = Field(
        default=None,
        description="HAProxy's master CLI (`haproxy -W -S /run/haproxy/master.sock`), written like `address`. With"
        " it, a reload is detected at once instead of within `resync.probe`.",
    )
    tls: TlsSettings | None = Field(default=None, description="TLS for `tcp+tls://` addresses.")
    config_file: ConfigFileSettings | None = Field(
        default=None,
        description="HAProxy's own configuration, kept current so that a reload or a start finds the servers; null: no"
        " file is written, and a reload loses them until dynsrv adds them again.",
    )
    config_files: Annotated[tuple[ConfigFileSettings, ...], Field(min_length=1)] | None = Field(
        default=None, description="The same for several files, each with the sections of some backends."
    )

    @property
    def files(self) -> tuple[ConfigFileSettings, ...]:
        """The files of HAProxy's own configuration that are kept current."""
        return self.config_files or ((self.config_file,) if self.config_file else ())

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        problems: list[tuple[KeyPath, str]] = []
        if self.config_file is not None and self.config_files is not None:
            problems.append((("config_files",), "expected either this key or config_file; remove one of the two"))
        for index, one in enumerate(self.config_files or ()):
            if one.path in [before.path for before in (self.config_files or ())[:index]]:
                problem = f"found {show(str(one.path))}, which the list has already; remove one of the two"
                problems.append((("config_files", index, "path"), problem))
        if problems:
            raise problems_at(type(self), problems)
        return self

    @model_validator(mode="after")
    def _tls_has_an_effect(self) -> Self:
        if self.tls is not None and not any(one and one.startswith("tcp+tls:") for one in (self.address, self.master)):
            problem = f"the address {self.address} does not use TLS; write tcp+tls://host:port, or remove this key"
            raise problems_at(type(self), [(("tls",), problem)])
        return self
