"""How does dynsrv use TLS as a client? Keys of the configuration, and certificates, read again when they change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from dynsrv.documents.problems import problems_at, unreadable
from dynsrv.documents.values import FilePath, Section, matching
from dynsrv.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Tls:
    """What is trusted, and the client certificate; paths are absolute."""

    ca_file: Path | None = None
    ca_path: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True
    server_name: str | None = None


class TlsSettings(Section):
    """TLS as a client. Files are read again when they change."""

    ca_file: FilePath | None = Field(
        default=None, description="The certificate authorities to trust, in PEM. Default: those of the system."
    )
    ca_path: FilePath | None = Field(
        default=None, description="A directory of certificate authorities, prepared with `openssl rehash`."
    )
    cert_file: FilePath | None = Field(default=None, description="The client certificate, in PEM.")
    key_file: FilePath | None = Field(
        default=None, description="Its private key, unencrypted. Default: in `cert_file`."
    )
    verify: bool = Field(default=True, description="Whether to verify the server's certificate.")
    server_name: Annotated[str, matching(r"[!-~]+", "printable ASCII without spaces")] | None = Field(
        default=None, description="The name to expect in the server's certificate. Default: the host of the address."
    )

    def beside(self, directory: Path) -> Tls:
        """Return these settings with absolute paths; relative ones begin at *directory*."""

        def absolute(path: Path | None) -> Path | None:
            return None if path is None else directory / path

        return Tls(
            ca_file=absolute(self.ca_file),
            ca_path=absolute(self.ca_path),
            cert_file=absolute(self.cert_file),
            key_file=absolute(self.key_file),
            verify=self.verify,
            server_name=self.server_name,
        )

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise problems_at(type(self), [(("cert_file",), "this key is missing: key_file needs it; add it")])
        return self


class Certificates:
    """The certificates for TLS connections, in files that may change."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls
        self._made: tuple[object, ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context with the current certificates: the same object while the files do not change.

        Reads files: call it in a thread.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        tls = self.tls
        files = {"ca_file": tls.ca_file, "ca_path": tls.ca_path, "cert_file": tls.cert_file, "key_file": tls.key_file}
        state = tuple(_state(f"tls.{key}", path) for key, path in files.items() if path)
        if self._made is None or self._made[0] != state:
            self._made = (state, _context(tls))
        return self._made[1]


def _state(key: str, path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(f"{key} {path}", unreadable(error)) from None
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
        raise ConfigurationError(f"tls.{where}", problem) from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
