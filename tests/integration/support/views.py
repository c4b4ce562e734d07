"""What HAProxy makes of one Consul or AWS: a backend for each way to look at it, with servers that nobody checks."""

from __future__ import annotations

from collections.abc import Mapping

from tests.integration.support.consul import Consul
from tests.integration.support.controller import UNGUARDED, Dynsrv, Install, from_consul
from tests.integration.support.haproxy import HAProxy, Row, StartHAProxy
from tests.integration.support.waiting import eventually


class Views:
    """The backends of *haproxy*, which a daemon keeps as Consul says."""

    def __init__(self, haproxy: HAProxy, controller: Dynsrv) -> None:
        self.haproxy = haproxy
        self.controller = controller

    async def rows(self, backend: str) -> dict[int, Row]:
        """Return the servers of a backend by port."""
        return {row.port: row for row in (await self.haproxy.servers(backend)).values()}

    async def show(self, **wanted: Mapping[int, str | int]) -> None:
        """Wait until each backend has exactly these servers, by port: `ready`, `drain`, or ready with this weight."""

        async def seen() -> bool:
            for backend, servers in wanted.items():
                rows = await self.rows(backend)
                assert {port: _told(row, servers.get(port)) for port, row in rows.items()} == servers, backend
            return True

        await eventually(seen)

    async def stat(self, backend: str, server: str, *columns: str) -> list[str]:
        """Return what `show stat` has of one server."""
        header, *lines = (await self.haproxy.ask(f"show stat {backend} 4 -1")).splitlines()
        names = header[2:].split(",")
        servers = {line.split(",")[1]: dict(zip(names, line.split(","), strict=True)) for line in lines if line}
        return [servers[server][column] for column in columns]


def _told(row: Row, wanted: str | int | None) -> str | int:
    if row.draining:
        return "drain"
    if not row.ready:
        return "maint"
    return row.weight if isinstance(wanted, int) else "ready"


async def start_views(
    a_haproxy: StartHAProxy,
    dynsrv: Install,
    consul: Consul,
    *,
    web: str | None = None,
    backend: Mapping[str, object] | None = None,
    **sources: Mapping[str, object],
) -> Views:
    """Start a backend for each of *sources*, which are what its source says besides Consul's address.

    *backend* has other keys of each.
    """
    of_consul = {name: from_consul(consul.url, **keys) for name, keys in sources.items()}
    return await start_views_of(a_haproxy, dynsrv, web=web, backend=backend, **of_consul)


async def start_views_of(
    a_haproxy: StartHAProxy,
    dynsrv: Install,
    *,
    web: str | None = None,
    backend: Mapping[str, object] | None = None,
    **sources: Mapping[str, object],
) -> Views:
    """Start a backend for each of *sources*, with the keys of *backend* besides."""
    haproxy = await a_haproxy(extra="".join(f"\nbackend {name}\n    balance roundrobin\n" for name in sources))
    every = {"server": {"check": False}, "limits": UNGUARDED, **(backend or {})}
    backends = [{"name": name, "source": source, **every} for name, source in sources.items()]
    controller = dynsrv(haproxy, backends=backends, web=web and {"listen": web})
    await controller.start()
    return Views(haproxy, controller)
