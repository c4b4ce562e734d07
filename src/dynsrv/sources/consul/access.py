"""With what is Consul asked? Tokens, passwords and certificates, read again when their files changed."""

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
    """A text that is kept in the configuration, or in a file of its own."""

    value: str | None = field(default=None, repr=False)
    file: Path | None = None

    def read(self, what: str) -> str | None:
        """Return it, as it is now; None: there is none.

        Raises:
            SourceError: its file cannot be read, or used; the reason is token.
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
    """What goes with a request."""

    headers: dict[str, str] = field(repr=False)
    tls: ssl.SSLContext | bool
    server_name: str | None


class Access:
    """What opens Consul's doors. It reads files: call it in a thread."""

    def __init__(self, *, token: Secret, auth: Secret, certificates: Certificates) -> None:
        self._token = token
        self._auth = auth
        self._certificates = certificates

    def read(self) -> Credentials:
        """Return what the files hold now.

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
        if self._certificates.tls == Tls():  # the system's authorities, which aiohttp has loaded already
            return True
        try:
            return self._certificates.context()
        except ConfigurationError as error:
            raise SourceError("tls", str(error)) from None
