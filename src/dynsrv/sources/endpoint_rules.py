"""Which endpoints may a source list? None at the Runtime API or dynsrv, and only in the operator's networks."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from dynsrv import server_keywords
from dynsrv.documents.values import is_loopback


def is_local(address: str) -> bool:
    """Whether *address* is one of this machine's: only such an address can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True


@dataclass(frozen=True, slots=True, order=True)
class ReservedPort:
    """A port that no server may have: that of the Runtime API, of the master CLI or of dynsrv. *key* configures it.

    *host* is as the configuration has it. Where it is a name, or any address, the server may be at any of several.
    """

    host: str
    port: int
    key: str

    def covers(self, address: str, *, local: Callable[[str], bool]) -> bool:
        """Whether a server at *address* and this port would be that listener."""
        if is_loopback(address):
            return True  # HAProxy's own machine, where its Runtime API is
        if is_loopback(self.host):
            return local(address)
        try:
            host = ipaddress.ip_address(self.host)
        except ValueError:
            return True
        if host.is_unspecified:
            return local(address)
        mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
        return (mapped or host).compressed == address


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What the operator lets the source of a backend list. Networks are in CIDR notation; *allowed* None: all.

    *keywords* are those of `add server` that a source may give to its servers.
    """

    reserved: tuple[ReservedPort, ...] = ()
    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()
    keywords: frozenset[str] = frozenset()
    local: Callable[[str], bool] = is_local

    def check(self, address: str, port: int) -> None:
        """Raise a ValueError that says why no server may be at the canonical *address* and *port*, if so."""
        for one in self.reserved:
            if one.port == port and one.covers(address, local=self.local):
                raise ValueError(f"but port {port} there is that of {one.key}, which no server may have; remove it")
        for network in self.denied:
            if _contains(network, address):
                raise ValueError(f"but {address} is in {network}, which is in the backend's denied_networks")
        if self.allowed is not None and not any(_contains(network, address) for network in self.allowed):
            raise ValueError(f"but {address} is in none of the backend's allowed_networks")

    def check_registered_option(self, option: str) -> None:
        """Raise a ValueError unless the operator lists each keyword of *option*, which anybody may have registered."""
        for word in server_keywords.possible_keywords(option):
            if word not in self.keywords:
                raise ValueError(f"but {_unlisted(word)}")

    def check_option(self, option: str) -> None:
        """Raise a ValueError if *option* has a protected keyword that the operator does not list."""
        for word in server_keywords.possible_keywords(option):
            if server_keywords.is_protected(word) and word not in self.keywords:
                raise ValueError(f"but {_unlisted(word)}")


def _unlisted(keyword: str) -> str:
    return f"{keyword} is not in the backend's options_from_source; remove it, or list it there"


def _contains(network: str, address: str) -> bool:
    return ipaddress.ip_address(address) in _network(network)


_network = lru_cache(ipaddress.ip_network)

ANY_ENDPOINT = EndpointRules()
