"""What does HAProxy have, and how is it changed? The only module that knows both the model and the Runtime API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Protocol, assert_never

from dynsrv import runtime
from dynsrv.errors import BackendRejected, DynsrvError, ProxyChanged, ProxyUnreachable
from dynsrv.haproxy import rows as server_rows
from dynsrv.haproxy.batching import BatchSizer
from dynsrv.haproxy.support import unsupported
from dynsrv.model import AdminState, Backend, Process, Server
from dynsrv.runtime import Capabilities, Command, Ok, ProcessInfo, Reply, State, commands, errors
from dynsrv.steps import (
    Add,
    Admit,
    Applied,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    Outcome,
    SetMaxconn,
    SetWeight,
    Step,
    StepResult,
)

_SINGLE_STATS = 50
"""Up to so many draining servers are asked for one by one; more than that, the whole backend's dump is cheaper."""


class Proxy(Protocol):
    """One HAProxy, in the words of the model."""

    name: str

    async def observe(self, backend: str, *, with_maxconn: bool) -> Backend:
        """Return the live servers of *backend*: the sessions of draining ones, or maxconn and sessions of all.

        Raises:
            BackendRejected: no server can be added to it.
            ProxyUnreachable, ProxyChanged: nobody can tell.
        """

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        """Carry out *steps* in the process in which *backend* was observed, and in no other.

        An error that cuts it short is returned, with what was done before it.
        """


class HAProxy:
    """A `Proxy` behind a Runtime API. One refused step does not keep the others from being sent."""

    def __init__(self, name: str, client: runtime.Client) -> None:
        self.name = name
        self._client = client
        self._batch_sizer = BatchSizer()
        self._accepted: dict[str, ProcessInfo] = {}  # backends that take servers, and the process that said so
        self._readers: dict[str, runtime.ServersReader[Server]] = {}  # by backend

    @property
    def address(self) -> runtime.Address:
        """Where its Runtime API is."""
        return self._client.address

    def close(self) -> None:
        """Close the connections that nothing uses; from now on none is kept after its use."""
        self._client.close()

    async def identify(self) -> Process:
        """Return the process that answers now."""
        with self._mapping_errors():
            return server_rows.process(await self._client.run(commands.info()))

    async def level(self) -> str:
        """Return the level of the stats socket: user, operator or admin."""
        with self._mapping_errors():
            return await self._client.run(commands.cli_level())

    async def observe(self, backend: str, *, with_maxconn: bool) -> Backend:
        reader = self._readers.setdefault(backend, server_rows.servers_reader())
        with self._mapping_errors():
            batch = await self._client.batch([commands.servers_state_cached(backend, reader)])
            match batch.replies[0]:
                case Ok(value=states):
                    servers: tuple[Server, ...] = states
                case errors.NoSuchBackend():
                    raise await self._rejected(backend, batch.process, batch.replies[0])
                case refused:
                    raise refused
            await self._check_support(backend, batch.process)
            if reader.backend_id is not None and servers:
                servers = await self._with_stat(reader.backend_id, servers, batch.process, everything=with_maxconn)
        return Backend(backend, servers, server_rows.process(batch.process))

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        process = ProcessInfo(backend.process.version, backend.process.pid, backend.process.started, stopping=False)
        results: list[StepResult] = []
        not_added: set[str] = set()
        try:
            with self._mapping_errors():
                for chunk in self._chunks(backend.name, steps):
                    written = [_encode(backend.name, step) for step in chunk]
                    to_send = [one for one in written if isinstance(one, Command)]
                    batch = await self._client.batch(to_send, process=process)
                    self._batch_sizer.observe(
                        batch.seconds, backend=backend.name, kind=chunk[0].kind, commands=len(chunk)
                    )
                    replies, seconds = iter(batch.replies), batch.seconds / len(chunk)
                    results += [
                        _result(step, one.line, next(replies), seconds=seconds, not_added=not_added)
                        if isinstance(one, Command)
                        else _unencodable(step, one, not_added)
                        for step, one in zip(chunk, written, strict=True)
                    ]
        except DynsrvError as error:  # what was answered before it was done all the same
            return Applied(tuple(results), tuple(steps[len(results) :]), error)
        return Applied(tuple(results))

    def _chunks(self, backend: str, steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
        """Yield *steps* of one kind, as many as the pace allows when it comes to them."""
        begin = 0
        while begin < len(steps):
            kind = steps[begin].kind
            longest = steps[begin : begin + self._batch_sizer.size(backend, kind)]
            chunk = list(takewhile(lambda step: step.kind == kind, longest))  # noqa: B023 - used up at once
            begin += len(chunk)
            yield chunk

    async def algorithm(self, backend: str) -> str | None:
        """Return the balance algorithm, None where HAProxy does not tell (below level operator, and for some)."""
        with self._mapping_errors():
            rows = await self._client.run(commands.backend_stat(backend))
        return next((row.algorithm for row in rows if row.algorithm not in {"", "unknown"}), None)

    async def cookie(self, backend: str) -> str | None:
        """Return the name of the cookie of `cookie … insert` and its like, None where none is told."""
        with self._mapping_errors():
            rows = await self._client.run(commands.backend_stat(backend))
        return next((row.cookie for row in rows if row.cookie), None)

    async def _check_support(self, backend: str, process: ProcessInfo) -> None:
        """Ask HAProxy whether it can add servers to *backend*, once for each process: only a reload can change that."""
        accepted = self._accepted.get(backend)
        if accepted is not None and accepted.same_process(process):
            return
        if not Capabilities.of(process.version).add_server:
            raise await self._rejected(backend, process, None)
        (reply,) = (await self._client.batch([commands.probe_backend(backend)], process=process)).replies
        if not isinstance(reply, Ok):
            raise await self._rejected(backend, process, reply)
        self._accepted[backend] = process

    async def _rejected(self, backend: str, process: ProcessInfo, reply: Reply[Any] | None) -> BackendRejected:
        algorithm = await self.algorithm(backend) if isinstance(reply, errors.BackendUnsupported) else None
        return unsupported(reply, backend=backend, proxy=self.name, version=process.version, algorithm=algorithm)

    async def _with_stat(
        self, backend_id: int, servers: tuple[Server, ...], process: ProcessInfo, *, everything: bool
    ) -> tuple[Server, ...]:
        """Add what only `show stat` tells: of all servers, or the sessions of the draining ones."""
        draining = [server.id for server in servers if server.admin is AdminState.DRAIN]
        if not everything and not draining:
            return servers
        asked = draining if not everything and len(draining) <= _SINGLE_STATS else [-1]
        batch = await self._client.batch([commands.servers_stat(backend_id, one) for one in asked], process=process)
        rows = [row for reply in batch.replies if isinstance(reply, Ok) for row in reply.value]
        # by name and id: between two questions a server can be deleted and another get its id
        stats = {(row.name, row.id): row for row in rows}
        timed = Capabilities.of(process.version).drain_is_timed
        return tuple(
            server_rows.with_stat(one, stats.get((one.name, one.id)), bound=everything, timed=timed)
            if everything or one.admin is AdminState.DRAIN
            else one
            for one in servers
        )

    @contextmanager
    def _mapping_errors(self) -> Iterator[None]:
        """Turn the Runtime API's errors into those of the model."""
        try:
            yield
        except (errors.OtherProcess, errors.DyingProcess) as error:
            raise ProxyChanged(f"{self.name}: {error}") from error
        except errors.RuntimeApiError as error:
            raise ProxyUnreachable(f"{self.name}: {error}") from error


def _command(backend: str, step: Step) -> Command[None]:
    match step:
        case Add():
            keywords = [word for option in step.options for word in option.split(" ")]
            return commands.add_server(
                backend, step.server, step.address, step.port, id=step.id, weight=step.weight, keywords=keywords
            )
        case EnableHealth():
            return commands.enable_health(backend, step.server)
        case Admit():
            return commands.enable_server(backend, step.server)
        case SetWeight():
            return commands.set_weight(backend, step.server, step.weight)
        case SetMaxconn():
            return commands.set_maxconn(backend, step.server, step.maxconn)
        case Drain():
            return commands.set_state(backend, step.server, State.DRAIN)
        case Disable():
            return commands.set_state(backend, step.server, State.MAINT)
        case CloseSessions():
            return commands.shutdown_sessions(backend, step.server)
        case Delete():
            return commands.delete_server(backend, step.server)
        case _:
            assert_never(step)


def _encode(backend: str, step: Step) -> Command[None] | errors.InvalidArgument:
    """Return the command for a step, or why it cannot be written as one."""
    try:
        return _command(backend, step)
    except errors.InvalidArgument as error:
        return error


def _unencodable(step: Step, error: errors.InvalidArgument, not_added: set[str]) -> StepResult:
    not_added.add(step.server)
    return StepResult(step, Outcome.REFUSED, str(error))


def _result(step: Step, command: str, reply: Reply[Any], *, seconds: float, not_added: set[str]) -> StepResult:
    """Return what became of *step*; a server that was not added joins *not_added*."""
    expected = False
    match reply:
        case Ok(text=text):
            return StepResult(step, Outcome.DONE, " ".join(text.split()), expected, command, seconds)
        case errors.StillInUse():
            expected = True
        case errors.NoSuchServer():
            # deleted by someone else, which a removal wants, or never added, which its Add has told already
            expected = isinstance(step, Delete | Disable | CloseSessions | Drain) or step.server in not_added
        case errors.Refused() | errors.UnknownReply():
            if isinstance(step, Add):
                not_added.add(step.server)
        case _:
            assert_never(reply)
    outcome = Outcome.UNKNOWN if isinstance(reply, errors.UnknownReply) else Outcome.REFUSED
    return StepResult(step, outcome, " ".join(reply.sentence.split()), expected, command, seconds)
