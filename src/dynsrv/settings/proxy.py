"""What does the configuration file say about a HAProxy? The keys of an item of `proxies`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Label, RuntimeAddress, Section
from dynsrv.tls import TlsSettings


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

    @model_validator(mode="after")
    def _tls_has_an_effect(self) -> Self:
        if self.tls is not None and not any(one and one.startswith("tcp+tls:") for one in (self.address, self.master)):
            problem = f"the address {self.address} does not use TLS; write tcp+tls://host:port, or remove this key"
            raise problems_at(type(self), [(("tls",), problem)])
        return self
