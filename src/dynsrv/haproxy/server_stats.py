"""What does `show stat` show that the state of servers does not? It costs the most, so it is queried sparingly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from dynsrv import runtime
from dynsrv.haproxy import rows
from dynsrv.model import Check, Server
from dynsrv.runtime import BackendStat, Capabilities, Command, Ok, ProcessInfo, ServerStat, commands

_SINGLE_STATS = 50
"""Up to this many servers are queried one by one; for more, a dump of the whole backend is cheaper."""

_Key = tuple[str, int]
"""Name and id, because a server may have been deleted meanwhile, and its name or its id reused."""


class _Known(NamedTuple):
    """The server *made* from what was *read* of its state and from *stat*, its last statistics."""

    read: Server
    stat: ServerStat
    made: Server

    def holds(self, stat: ServerStat) -> bool:
        """Whether what is kept of the statistics is the same in *stat*."""
        return (self.stat.maxconn, self.stat.backup) == (stat.maxconn, stat.backup)


class ServerStats:
    """The statistics of the servers of one backend, as far as they matter, from the process that answered last.

    Sessions are queried each time, for the servers that are being removed. What hardly ever changes is kept: maxconn,
    and which servers are backup servers, which is queried only while a backup server could get requests.
    """

    def __init__(self, client: runtime.Client) -> None:
        self._client = client
        self._process: ProcessInfo | None = None
        self._known: dict[_Key, _Known] = {}

    async def complete(
        self, servers: Sequence[Server], *, backend_id: int, process: ProcessInfo, everything: bool
    ) -> tuple[Server, ...]:
        """Return *servers* with their statistics; with *everything*, query all of them again."""
        if self._process is None or not self._process.same_process(process):
            self._process, self._known = process, {}
        leaving = [server.id for server in servers if server.leaving]
        own, fresh = await self._ask(backend_id, [-1] if everything else leaving)
        if any(row.backups for row in own):
            known = {*fresh, *self._known}
            if unknown := [one.id for one in servers if one.serving and (one.name, one.id) not in known]:
                fresh |= (await self._ask(backend_id, unknown))[1]
        return await self._with_check_details(self._completed(servers, fresh), backend_id)

    async def _with_check_details(self, servers: Sequence[Server], backend_id: int) -> tuple[Server, ...]:
        """Return *servers* with HAProxy's reason for each failed check."""
        failing = [one.id for one in servers if one.check is Check.FAILED]
        if not failing:
            return tuple(servers)
        asked = failing if len(failing) <= _SINGLE_STATS else [-1]
        questions = [commands.checks_stat(backend_id, one) for one in asked]
        batch = await self._client.batch(questions, process=self._process)
        found = [reply.value if isinstance(reply, Ok) else () for reply in batch.replies]
        details = {(row.name, row.id): rows.check_detail(row) for some in found for row in some}
        return tuple(
            replace(one, check_detail=details.get((one.name, one.id))) if one.check is Check.FAILED else one
            for one in servers
        )

    async def _ask(self, backend_id: int, ids: Sequence[int]) -> tuple[Sequence[BackendStat], dict[_Key, ServerStat]]:
        """Query the backend's own row, and those of the servers with these ids."""
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
            if before is not None and before.read is one and not one.leaving and (stat is None or before.holds(stat)):
                now = before  # the same value, so that what did not change is seen at once
            elif (last := stat or (before and before.stat)) is not None:
                sessions = stat is not None and one.leaving
                now = _Known(one, last, rows.with_stat(one, last, sessions=sessions, timed=timed))
            else:
                completed.append(one)
                continue
            self._known[key] = now
            completed.append(now.made)
        return tuple(completed)
