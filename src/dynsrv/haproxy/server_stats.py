"""What does `show stat` tell of servers that their state does not? It costs the most, and so is asked for little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dynsrv import runtime
from dynsrv.haproxy import rows
from dynsrv.model import Server
from dynsrv.runtime import BackendStat, Capabilities, Command, Ok, ProcessInfo, ServerStat, commands

_SINGLE_STATS = 50
"""Up to so many servers are asked for one by one; more than that, the whole backend's dump is cheaper."""

_Key = tuple[str, int]
"""Name and id: between two questions a server can be deleted and another one get its name or its id."""


class _Known(NamedTuple):
    """What *read* was made with *stat*, the last that was told of the server."""

    read: Server
    stat: ServerStat
    made: Server


class ServerStats:
    """The statistics of the servers of one backend, as far as they matter, in the process that answered last.

    Sessions are asked for each time, of the servers that leave. What hardly ever changes is remembered: maxconn, and
    which are backup servers, which is asked for only while any backup server could get requests.
    """

    def __init__(self, client: runtime.Client) -> None:
        self._client = client
        self._process: ProcessInfo | None = None
        self._known: dict[_Key, _Known] = {}

    async def complete(
        self, servers: Sequence[Server], *, backend_id: int, process: ProcessInfo, everything: bool
    ) -> tuple[Server, ...]:
        """Return *servers* with what is known of them; with *everything*, all is asked for anew."""
        if self._process is None or not self._process.same_process(process):
            self._process, self._known = process, {}
        leaving = [server.id for server in servers if server.leaving]
        own, fresh = await self._ask(backend_id, [-1] if everything else leaving)
        if any(row.backups for row in own):
            known = {*fresh, *self._known}
            if unknown := [one.id for one in servers if one.serving and (one.name, one.id) not in known]:
                fresh |= (await self._ask(backend_id, unknown))[1]
        return self._completed(servers, fresh)

    async def _ask(self, backend_id: int, ids: Sequence[int]) -> tuple[Sequence[BackendStat], dict[_Key, ServerStat]]:
        """Return the backend's own row, and those of the servers with these ids."""
        assert self._process is not None
        asked = ids if len(ids) <= _SINGLE_STATS else [-1]
        questions: list[Command[Any]] = [commands.servers_stat(backend_id, one) for one in asked]
        batch = await self._client.batch([commands.backend_stat(backend_id), *questions], process=self._process)
        own, *others = [reply.value if isinstance(reply, Ok) else () for reply in batch.replies]
        return own, {(row.name, row.id): row for some in others for row in some}

    def _completed(self, servers: Sequence[Server], fresh: dict[_Key, ServerStat]) -> tuple[Server, ...]:
        if not fresh and not self._known:
            return tuple(servers)
        assert self._process is not None
        timed = Capabilities.of(self._process.version).drain_is_timed
        known, self._known = self._known, {}
        completed = []
        for one in servers:
            key = (one.name, one.id)
            stat, before = fresh.get(key), known.get(key)
            if stat is not None:
                before = _Known(one, stat, rows.with_stat(one, stat, sessions=True, timed=timed))
            elif before is not None and before.read is not one:
                before = _Known(one, before.stat, rows.with_stat(one, before.stat, sessions=False, timed=timed))
            if before is not None:
                self._known[key] = before
            completed.append(one if before is None else before.made)
        return tuple(completed)
