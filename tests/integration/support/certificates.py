"""Certificates for HTTPS and mutual TLS, made by Consul's own `consul tls`, as its operators make them."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support.consul import binary


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """An authority, and what it signed.

    The server's certificate is good for 127.0.0.1, localhost and server.dc1.consul, the client's for 127.0.0.1,
    localhost and client.dc1.consul.
    """

    authority: Path
    server: Pair
    client: Pair

    def context(self, *, client: bool = False) -> ssl.SSLContext:
        """Return what trusts the authority alone; with *client* it shows the client's certificate."""
        context = ssl.create_default_context(cafile=self.authority)
        if client:
            context.load_cert_chain(self.client.certificate, self.client.key)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make a new authority in *folder*, which is made if it is missing, and sign with it. Takes a tenth of a second."""
    folder.mkdir(parents=True, exist_ok=True)
    _tls(folder, "ca", "create")
    _tls(folder, "cert", "create", "-server", "-dc", "dc1")
    _tls(folder, "cert", "create", "-client", "-dc", "dc1")
    return Certificates(folder / "consul-agent-ca.pem", _pair(folder, "server"), _pair(folder, "client"))


def _tls(folder: Path, *arguments: str) -> None:
    subprocess.run([binary(), "tls", *arguments], cwd=folder, check=True, capture_output=True)


def _pair(folder: Path, kind: str) -> Pair:
    return Pair(folder / f"dc1-{kind}-consul-0.pem", folder / f"dc1-{kind}-consul-0-key.pem")
