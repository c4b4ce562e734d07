"""Which settings does dynsrv itself have? How often it observes HAProxy, what it serves, logs and records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dynsrv.documents.values import FilePath, Flag, Interval, ListenAddress, Section, matching


class ResyncSettings(Section):
    """How often HAProxy is observed without an event."""

    interval: Interval = Field(
        default=30.0,
        description="Time between two full comparisons of a backend when no event triggers one.",
        json_schema_extra={"default": "30s"},
    )
    probe: Interval = Field(
        default=1.0,
        description="Time within which a reload or restart of HAProxy is detected.",
        json_schema_extra={"default": "1s"},
    )


class WebTlsSettings(Section):
    """The certificate for HTTPS."""

    cert_file: FilePath = Field(description="The certificate and any intermediate certificates, in PEM.")
    key_file: FilePath | None = Field(
        default=None, description="Its private key, unencrypted. Default: in `cert_file`."
    )


HostName = Annotated[str, matching(r"[A-Za-z0-9._-]+", "a host name without a port")]


class WebSettings(Section):
    """Metrics, health, status page and API over HTTP."""

    listen: ListenAddress | None = Field(
        default="127.0.0.1:9105", description="Address and port to listen on; null: do not listen."
    )
    hosts: tuple[HostName, ...] = Field(
        default=(),
        description="Where `listen` is a loopback address: the names besides localhost that requests may have as"
        " `Host`, as of a proxy in front. Requests for other hosts are refused, so that no web page can read this one"
        " through a name that resolves to 127.0.0.1.",
    )
    token_file: FilePath | None = Field(
        default=None,
        description="The file with the token that a request must have to change anything; without it, nothing can be"
        " changed through the API. It is read for each request.",
    )
    tls: WebTlsSettings | None = Field(default=None, description="Serve HTTPS with this certificate; null: HTTP.")
    server_metrics: Flag = Field(
        default=False,
        description="Whether `/metrics` includes metrics of every single server, with two to four series for each.",
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level that is logged."
    )
    format: Literal["text", "json"] = Field(default="text", description="Text for people, or JSON for programs.")


class AuditSettings(Section):
    """A record of every command that changes HAProxy."""

    path: FilePath = Field(
        description="The file to which every command that changes HAProxy is appended, with HAProxy's reply: a JSON"
        " object per line.",
    )
