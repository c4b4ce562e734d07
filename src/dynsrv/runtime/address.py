"""Where is a Runtime API? Parses addresses of stats sockets."""

from __future__ import annotations

from dataclasses import dataclass

from dynsrv.runtime.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A stats socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A stats socket on a TCP port, with or without TLS. The Runtime API has no authentication."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tcp+tls' if self.tls else 'tcp'}://{host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Parse `unix:///run/haproxy/admin.sock`, a bare path, `tcp://127.0.0.1:9999`, or `tcp+tls://[::1]:9999`.

    Raises:
        InvalidArgument: none of these.
    """
    expected = "unix:///path, a path, tcp://host:port or tcp+tls://host:port"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "unix", text
    if scheme == "unix" and rest and "\0" not in rest:
        return UnixAddress(rest)
    host, colon, port = rest.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    plausible = bare and (bare == host) == (":" not in host)
    numeric = port.isascii() and port.isdigit() and 0 < int(port) <= 65535
    if scheme in {"tcp", "tcp+tls"} and colon and plausible and numeric:
        return TcpAddress(bare, int(port), tls=scheme == "tcp+tls")
    raise InvalidArgument("address", text, expected)
