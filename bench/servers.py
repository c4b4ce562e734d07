"""Which servers are wanted, and what says so to HAProxy, to dynsrv and to whoever looks whether it is so?"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynsrv.model import Endpoint
from dynsrv.planning import naming

BACKEND = "be_app"
PREFIX = "dyn-"
_FIRST = int(ipaddress.IPv4Address("127.1.0.0"))


@dataclass(frozen=True)
class Kind:
    """What every server is given: *weight*, and a check every *inter* seconds."""

    weight: int = 1
    inter: int = 60
    """Long, so that it is not checks that are measured: a thousand servers with `inter 2s` are 500 checks a second."""

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords of `add server` besides id and weight, as dynsrv has them."""
        return ("check", f"inter {self.inter * 1000}ms", "fall 3", "rise 1")

    @property
    def settings(self) -> dict[str, object]:
        """The key `server` of dynsrv's configuration."""
        return {"check": True, "inter": f"{self.inter}s", "fall": 3, "rise": 1, "weight": self.weight}


@dataclass(frozen=True)
class Server:
    """One server, with the name and the id that dynsrv gives it."""

    address: str
    port: int
    id: int
    kind: Kind

    @property
    def name(self) -> str:
        """Its name in HAProxy."""
        return f"{PREFIX}{self.address}:{self.port}"

    @property
    def path(self) -> str:
        """How commands name it."""
        return f"{BACKEND}/{self.name}"

    def add(self, *, with_id: bool = True) -> str:
        """Return the command that adds it."""
        id_ = f" id {self.id}" if with_id else ""
        words = " ".join((f" weight {self.kind.weight}", *self.kind.keywords))
        return f"add server {self.path} {self.address}:{self.port}{id_}{words}"


def servers(number: int, *, port: int, kind: Kind, beside: Sequence[Server] = ()) -> list[Server]:
    """Return *number* servers, each at an address of 127.0.0.0/8 of its own, in the order in which dynsrv adds them.

    A listener on 0.0.0.0 answers for all of them. They share no address and no id with those *beside*.
    """
    first = _FIRST + len(beside)
    addresses = sorted(str(ipaddress.IPv4Address(first + one)) for one in range(number))
    taken = {one.id for one in beside}
    wanted = []
    for address in addresses:
        id_ = naming.first_free(naming.ids(Endpoint(address, port), kind.keywords), taken)
        taken.add(id_)
        wanted.append(Server(address, port, id_, kind))
    return wanted


def admission(wanted: Sequence[Server], *, with_id: bool = True) -> list[str]:
    """Return the commands that add *wanted* with their checks on, and let them have requests at once."""
    adds = [one.add(with_id=with_id) for one in wanted]
    return [*adds, *(f"enable health {one.path}" for one in wanted), *(f"enable server {one.path}" for one in wanted)]


def removal(names: Sequence[str]) -> list[str]:
    """Return the commands that take away servers which have no sessions.

    HAProxy walks its list to the server that it deletes, so *names* are best in the order of `show servers state`.
    """
    paths = [f"{BACKEND}/{name}" for name in names]
    return [*(f"disable server {path}" for path in paths), *(f"del server {path}" for path in paths)]


def write_file(path: Path, wanted: Sequence[Server]) -> None:
    """Write the file that dynsrv's source follows, as a careful writer does: a new file, renamed."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"servers": [{"address": one.address, "port": one.port} for one in wanted]}))
    new.rename(path)
