"""Which servers does Consul want in one backend? A shared watch, read as this backend's settings say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from dynsrv.errors import SourceError
from dynsrv.model import Server, Snapshot
from dynsrv.sources.consul.answers import Instance
from dynsrv.sources.consul.endpoints import Reading
from dynsrv.sources.consul.inspection import inspect
from dynsrv.sources.consul.watch import Watch


class ConsulSource:
    """The instances of one service for one backend. Sources with equal queries share their *watch*."""

    def __init__(self, watch: Watch, reading: Reading, *, backend: str) -> None:
        self._watch = watch
        self._reading = reading
        self._backend = backend

    def __repr__(self) -> str:
        return f"<ConsulSource {self._watch!r} for {self._backend}>"

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Yield what Consul's instances call for: first what it says now, then after each of its answers.

        Raises:
            SourceError: Consul cannot tell. Its reason is unreachable, timeout, tls, token, acl, leader, overloaded,
                server, request or invalid.
        """
        seen: tuple[Instance, ...] | None = None
        snapshot: Snapshot | None = None
        async with aclosing(self._watch.subscribe()) as answers:
            async for instances in answers:
                if snapshot is None or instances is not seen:
                    seen, snapshot = instances, self._snapshot(instances, before=snapshot)
                yield snapshot

    def inspect(self) -> AsyncGenerator[str, None]:
        """Yield what is found of Consul, of the token and of the service; see `inspect`."""
        return inspect(self._watch.agents, self._watch.query)

    def observed(self, servers: Iterable[Server]) -> None:
        """Do nothing: nobody waits for the end of a server."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _snapshot(self, instances: tuple[Instance, ...], *, before: Snapshot | None) -> Snapshot:
        snapshot = self._reading.snapshot(instances)
        if not snapshot.endpoints and snapshot.notes:
            # Nobody registered that on purpose: it is not the same as a service without instances.
            raise SourceError("invalid", f"no instance can be used: {'; '.join(snapshot.notes[:3])}")
        if (
            before is not None
            and set(before.endpoints) == set(snapshot.endpoints)
            and set(before.notes) == set(snapshot.notes)
        ):
            return before  # `near` puts them into another order all the time
        return snapshot
