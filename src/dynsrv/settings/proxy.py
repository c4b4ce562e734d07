"""What does the configuration file say of a HAProxy? The keys of an item of `proxies`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Label, RuntimeAddress, Section
from dynsrv.tls import TlsSettings


class ProxySettings(Section):
    """One HAProxy, reached by one runtime address."""

    address: RuntimeAddress = Field(
        description="HAProxy's stats socket, of level admin: unix:///path, a path (relative to this file), "
        "tcp://host:port, or tcp+tls://host:port."
    )
    tls: TlsSettings | None = Field(default=None, description="How TLS is spoken with a tcp+tls:// address.")
    master: RuntimeAddress | None = Field(
        default=None,
        description="HAProxy's master CLI (haproxy -W -S); with it a reload is noticed at once.",
    )
    name: Label = Field(
        default_factory=lambda others: str(others["address"]),
        description="Its name in logs, metrics and backends[].proxies; by default its address.",
    )

    @model_validator(mode="after")
    def _tls_is_of_use(self) -> Self:
        if self.tls is not None and not any(one and one.startswith("tcp+tls:") for one in (self.address, self.master)):
            problem = f"the address {self.address} has no TLS; write tcp+tls://host:port, or remove this key"
            raise problems_at(type(self), [(("tls",), problem)])
        return self
