"""Which endpoints has one backend in Consul? A watch, mapped as its settings say."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from dynsrv.errors import SourceError
from dynsrv.model import Snapshot
from dynsrv.sources.consul.agents import Agents, Budget
from dynsrv.sources.consul.auth import Auth, Secret
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.inspection import inspect
from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.responses import Instance
from dynsrv.sources.consul.transport import Connections, HttpTransport
from dynsrv.sources.consul.watch import Watch
from dynsrv.sources.source import Source, SourceContext
from dynsrv.tls import Certificates

if TYPE_CHECKING:
    from dynsrv.sources.consul.settings import ConsulSourceSettings


class ConsulSource(Source):
    """The instances of one service, for one backend. Sources with equal queries share a *watch*."""

    def __init__(self, watch: Watch, mapper: InstanceMapper, *, backend: str) -> None:
        self._watch = watch
        self._mapper = mapper
        self._backend = backend

    def __repr__(self) -> str:
        return f"<ConsulSource {self._watch!r} for {self._backend}>"

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Yield the endpoints of Consul's instances, now and after each of its responses.

        Raises:
            SourceError: Consul does not answer, or not usefully. Its reason is unreachable, timeout, tls, token, acl,
                leader, overloaded, server, request or invalid.
        """
        seen: tuple[Instance, ...] | None = None
        snapshot: Snapshot | None = None
        async with aclosing(self._watch.subscribe()) as responses:
            async for instances in responses:
                if snapshot is None or instances is not seen:
                    seen, snapshot = instances, self._snapshot(instances, before=snapshot)
                yield snapshot

    def inspect(self) -> AsyncGenerator[str, None]:
        """Yield what `inspection.inspect` finds of Consul, the token and the service."""
        return inspect(self._watch.agents, self._watch.query)

    def _snapshot(self, instances: tuple[Instance, ...], *, before: Snapshot | None) -> Snapshot:
        snapshot = self._mapper.snapshot(instances)
        if not snapshot.endpoints and snapshot.notes:
            # That is a mistake, and not a service without instances.
            raise SourceError("invalid", f"no instance can be used: {'; '.join(snapshot.notes[:3])}")
        if (
            before is not None
            and set(before.endpoints) == set(snapshot.endpoints)
            and set(before.notes) == set(snapshot.notes)
        ):
            return before  # with `near`, the order changes all the time
        return snapshot


def consul_source(settings: ConsulSourceSettings, context: SourceContext) -> ConsulSource:
    """Return the source for the backend of *context*. Equal ones share connections and watches."""
    directory, shared = context.directory, context.shared
    token = _secret(settings.token, settings.token_file, directory)
    auth = _secret(settings.auth, settings.auth_file, directory)
    tls = settings.tls.beside(directory)
    query = Query(
        service=settings.service,
        tags=settings.tags,
        filter=settings.filter,
        datacenter=settings.datacenter,
        namespace=settings.namespace,
        partition=settings.partition,
        near=settings.near,
        stale=settings.stale,
    )
    budget = shared.get(("budget", frozenset(settings.address)), Budget)
    connections = shared.get(("connections", settings.address), Connections)
    certificates = shared.get(tls, lambda: Certificates(tls))
    connection_key = (settings.address, token, auth, tls)

    def agents() -> Agents:
        transport = HttpTransport(Auth(token=token, auth=auth, certificates=certificates), connections)
        return Agents(settings.address, transport=transport, budget=budget)

    def watch() -> Watch:
        return Watch(shared.get(connection_key, agents), query, wait=settings.wait)

    mapper = InstanceMapper(
        on_critical=settings.on_critical,
        only_passing=settings.only_passing,
        tagged_address=settings.tagged_address,
        rules=context.rules,
    )
    return ConsulSource(shared.get((connection_key, query, settings.wait), watch), mapper, backend=context.backend)


def _secret(value: SecretStr | None, file: Path | None, directory: Path) -> Secret:
    return Secret(None if value is None else value.get_secret_value(), None if file is None else directory / file)
