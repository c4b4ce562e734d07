"""What does the configuration file say of dynsrv itself? How often it looks, what it tells, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dynsrv.documents.values import FilePath, Interval, ListenAddress, Section


class ResyncSettings(Section):
    """How often HAProxy is looked at without an event."""

    interval: Interval = Field(
        default=30.0,
        description="Time between two whole comparisons of a backend.",
        json_schema_extra={"default": "30s"},
    )
    probe: Interval = Field(
        default=1.0,
        description="Time in which a reload of HAProxy is noticed.",
        json_schema_extra={"default": "1s"},
    )


class WebTlsSettings(Section):
    """How HTTPS is spoken."""

    cert_file: FilePath = Field(description="The certificate, with those between it and its authority.")
    key_file: FilePath | None = Field(default=None, description="Its key; by default in cert_file, too.")


class WebSettings(Section):
    """Metrics, health, status and the API over HTTP."""

    listen: ListenAddress | None = Field(
        default="127.0.0.1:9105", description="Address and port to listen on; null: off."
    )
    token_file: FilePath | None = Field(
        default=None,
        description="A file with the token that whoever changes something over the API has to show; without it nobody "
        "can. It is read each time.",
    )
    tls: WebTlsSettings | None = Field(default=None, description="Speak HTTPS with this certificate; null: HTTP.")
    server_metrics: bool = Field(
        default=False, description="Whether /metrics tells of every single server, too: some series for each."
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe lines that are written."
    )
    format: Literal["text", "json"] = Field(default="text", description="For people, or for machines.")


class AuditSettings(Section):
    """A record of everything that is sent to HAProxy to change something."""

    path: FilePath = Field(
        description="The file to append to: one JSON object a line, with the command and HAProxy's reply."
    )
