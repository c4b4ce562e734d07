"""With what is Consul asked? Tokens, passwords and certificates, read again when their files changed."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from dynsrv.documents.problems import unreadable
from dynsrv.errors import SourceError


@dataclass(frozen=True, slots=True)
class Tls:
    """How an https address is talked to."""

    ca_file: Path | None = None
    ca_path: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True
    server_name: str | None = None


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


class Certificates:
    """What TLS is made with. It reads files: call it in a thread."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls
        self._made: tuple[object, ssl.SSLContext | bool] = (None, True)

    def context(self) -> ssl.SSLContext | bool:
        """Return what the files hold now; the same object while they do not change.

        Raises:
            SourceError: one of them cannot be used; the reason is tls.
        """
        tls = self.tls
        files = {"ca_file": tls.ca_file, "ca_path": tls.ca_path, "cert_file": tls.cert_file, "key_file": tls.key_file}
        state = tuple(_state(f"tls.{key}", path) for key, path in files.items() if path)
        if not state and tls.verify:
            return True
        if self._made[0] != state:
            self._made = (state, _context(tls))
        return self._made[1]


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
        return Credentials(headers, self._certificates.context(), self._certificates.tls.server_name)


def _state(key: str, path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError("tls", f"{key} {path}: {unreadable(error)}") from None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _context(tls: Tls) -> ssl.SSLContext:
    where = f"ca_file {tls.ca_file}" if tls.ca_file else f"ca_path {tls.ca_path}"
    expected = "certificates in PEM"
    try:
        context = ssl.create_default_context(cafile=tls.ca_file, capath=tls.ca_path)
        if tls.cert_file:
            where = f"cert_file {tls.cert_file}, key_file {tls.key_file or tls.cert_file}"
            expected = "a certificate and its key, not encrypted, in PEM"
            # with a password, or OpenSSL would ask the terminal for that of an encrypted key
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (OSError, ssl.SSLError) as error:
        problem = unreadable(error)
        if isinstance(error, ssl.SSLError):
            problem = f"expected {expected} ({error.reason or error})"
        raise SourceError("tls", f"tls.{where}: {problem}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
