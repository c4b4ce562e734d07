"""How does a request authenticate? Tokens, passwords and certificates, read again when their files change."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from dynsrv.documents.problems import unreadable
from dynsrv.errors import ConfigurationError, SourceError
from dynsrv.tls import Certificates, Tls


@dataclass(frozen=True, slots=True)
class Secret:
    """A text from the configuration, or from a file of its own."""

    value: str | None = field(default=None, repr=False)
    file: Path | None = None

    def read(self, what: str) -> str | None:
        """Return its current text; None: there is none. Errors call it *what*.

        Raises:
            SourceError: its file cannot be read or used; the reason is token.
        """
        if self.file is None:
            return self.value
        try:
            text = self.file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SourceError("token", f"{what} {self.file}: {unreadable(error)}") from None
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isascii() or not text.isprintable():
            raise SourceError("token", f"{what} {self.file}: expected one line of printable ASCII; write it again")
        return text


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request is sent with."""

    headers: dict[str, str] = field(repr=False)
    tls: ssl.SSLContext | bool
    server_name: str | None


class Auth:
    """The credentials for one Consul."""

    def __init__(self, *, token: Secret, auth: Secret, certificates: Certificates) -> None:
        self._token = token
        self._auth = auth
        self._certificates = certificates

    def read(self) -> Credentials:
        """Return the current credentials. Reads files: call it in a thread.

        Raises:
            SourceError: one of them cannot be used; the reason is token or tls.
        """
        headers = {}
        if token := self._token.read("token_file"):
            headers["X-Consul-Token"] = token
        if auth := self._auth.read("auth_file"):
            pair = auth if ":" in auth else f"{auth}:"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Credentials(headers, self._tls(), self._certificates.tls.server_name)

    def _tls(self) -> ssl.SSLContext | bool:
        if self._certificates.tls == Tls():  # the system's certificate authorities, which aiohttp has already loaded
            return True
        try:
            return self._certificates.context()
        except ConfigurationError as error:
            raise SourceError("tls", str(error)) from None
