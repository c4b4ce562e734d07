"""What does HAProxy have, and how is it changed? Translates between the model and the Runtime API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from itertools import groupby
from typing import Protocol, assert_never

from dynsrv import runtime
from dynsrv.errors import DynsrvError, ProxyChanged, ProxyUnreachable
from dynsrv.haproxy import rows as server_rows
from dynsrv.haproxy.batching import BatchSizer
from dynsrv.haproxy.server_stats import ServerStats
from dynsrv.haproxy.support import Support
from dynsrv.model import Backend, Process, Server
from dynsrv.runtime import Batch, Command, Ok, ProcessInfo, Reply, State, commands, errors
from dynsrv.steps import (
    Add,
    Admit,
    Applied,
    CloseSessions,
    Delete,
    Disable,
    DisableAgent,
    Drain,
    EnableAgent,
    EnableHealth,
    Outcome,
    SetMaxconn,
    SetWeight,
    Step,
    StepResult,
)


class Proxy(Protocol):
    """One HAProxy, in terms of the model."""

    name: str

    async def observe(self, backend: str, *, with_maxconn: bool) -> Backend:
        """Return the live servers of *backend*, with the sessions of those that are being removed.

        *with_maxconn*: query the maxconn of all servers again, which is otherwise the last that is known.

        Raises:
            BackendRejected: it is known that no server can be added to it.
            ProxyUnreachable, ProxyChanged: HAProxy did not answer, or was reloaded meanwhile.
        """

    async def check_accepts(self, backend: Backend) -> None:
        """Check that servers can be added to *backend*, as far as `observe` did not find out already.

        Raises:
            BackendRejected: they cannot.
            ProxyUnreachable, ProxyChanged: as `observe`.
        """

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        """Carry out *steps* in the process in which *backend* was observed, and in no other.

        If an error cuts it short, the error is returned along with the results until then.
        """


class HAProxy:
    """A `Proxy` reached through its Runtime API. If a step is refused, the others are still sent."""

    def __init__(self, name: str, client: runtime.Client) -> None:
        self.name = name
        self._client = client
        self._batch_sizer = BatchSizer()
        self._support = Support(name, client)
        # By backend. A reader keeps what it read last, and reads large dumps in a thread, so it takes one caller at a
        # time: the reconciler of its backend, which serialises its passes with what operators request.
        self._readers: dict[str, runtime.ServersReader[Server]] = {}
        self._stats: dict[str, ServerStats] = {}  # by backend, too

    @property
    def address(self) -> runtime.Address:
        """The address of its Runtime API."""
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
                    raise await self._support.rejection(backend, batch.process, batch.replies[0])
                case refused:
                    raise refused
            await self._support.check(backend, batch.process, backend_id=reader.backend_id if servers else None)
            if reader.backend_id is not None and servers:
                servers = await self._stats.setdefault(backend, ServerStats(self._client)).complete(
                    servers, backend_id=reader.backend_id, process=batch.process, everything=with_maxconn
                )
        return Backend(backend, servers, server_rows.process(batch.process))

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        process = _process_info(backend)
        results: list[StepResult] = []
        not_added: set[str] = set()
        try:
            with self._mapping_errors():
                for group in self._groups(backend.name, steps):
                    encoded, invalid = _encode(backend.name, group)
                    batch = await self._client.batch([command for _, command in encoded], process=process)
                    self._batch_sizer.observe(
                        batch.seconds, backend=backend.name, kind=group[0].kind, commands=len(group)
                    )
                    new = [*invalid, *_results(encoded, batch, not_added=not_added)]
                    not_added |= {one.step.server for one in new if _is_failed_add(one)}
                    results += new
        except DynsrvError as error:  # what was answered before was done nevertheless
            return Applied(tuple(results), tuple(steps[len(results) :]), error)
        return Applied(tuple(results))

    def _groups(self, backend: str, steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
        """Yield *steps* in groups of one kind, each as large as a batch may be by then."""
        for kind, run in groupby(steps, key=lambda step: step.kind):
            same, begin = list(run), 0
            while begin < len(same):
                end = begin + self._batch_sizer.size(backend, kind)
                yield same[begin:end]
                begin = end

    async def algorithm(self, backend: str) -> str | None:
        """Return the balance algorithm; None if HAProxy does not show it (below level operator, or for some)."""
        with self._mapping_errors():
            rows = await self._client.run(commands.backend_stat(backend))
        return next((row.algorithm for row in rows if row.algorithm not in {"", "unknown"}), None)

    async def cookie(self, backend: str) -> str | None:
        """Return the name of the cookie of `cookie … insert` and the like; None if HAProxy shows none."""
        with self._mapping_errors():
            rows = await self._client.run(commands.backend_stat(backend))
        return next((row.cookie for row in rows if row.cookie), None)

    async def check_accepts(self, backend: Backend) -> None:
        with self._mapping_errors():
            await self._support.confirm(backend.name, _process_info(backend))

    @contextmanager
    def _mapping_errors(self) -> Iterator[None]:
        """Map the Runtime API's errors to those of the model."""
        try:
            yield
        except (errors.OtherProcess, errors.DyingProcess) as error:
            raise ProxyChanged(f"{self.name}: {error}") from error
        except errors.RuntimeApiError as error:
            raise ProxyUnreachable(f"{self.name}: {error}") from error


def _process_info(backend: Backend) -> ProcessInfo:
    """Return the process in which *backend* was observed."""
    return ProcessInfo(backend.process.version, backend.process.pid, backend.process.started, stopping=False)


def _command(backend: str, step: Step) -> Command[None]:
    match step:
        case Add():
            keywords = [word for option in step.options for word in option.split(" ")]
            return commands.add_server(
                backend, step.server, step.address, step.port, id=step.id, weight=step.weight, keywords=keywords
            )
        case EnableHealth():
            return commands.enable_health(backend, step.server)
        case EnableAgent():
            return commands.enable_agent(backend, step.server)
        case DisableAgent():
            return commands.disable_agent(backend, step.server)
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


def _encode(backend: str, steps: Iterable[Step]) -> tuple[list[tuple[Step, Command[None]]], list[StepResult]]:
    """Return the steps with their commands, and the results of those that cannot be encoded."""
    encoded: list[tuple[Step, Command[None]]] = []
    invalid: list[StepResult] = []
    for step in steps:
        try:
            encoded.append((step, _command(backend, step)))
        except errors.InvalidArgument as error:
            invalid.append(StepResult(step, Outcome.REFUSED, str(error)))
    return encoded, invalid


def _results(
    encoded: Sequence[tuple[Step, Command[None]]], batch: Batch, *, not_added: Set[str]
) -> Iterator[StepResult]:
    """Yield the result of each step; *not_added* has the servers whose Add failed before."""
    for (step, command), reply in zip(encoded, batch.replies, strict=True):
        seconds = batch.seconds / len(encoded)
        text = " ".join((reply.text if isinstance(reply, Ok) else reply.sentence).split())
        expected = _is_expected(step, reply, not_added)
        yield StepResult(step, _outcome(reply), text, expected, command.line, seconds)


def _outcome(reply: Reply[None]) -> Outcome:
    match reply:
        case Ok():
            return Outcome.DONE
        case errors.UnknownReply():
            return Outcome.UNKNOWN
        case errors.Refused():
            return Outcome.REFUSED
        case _:
            assert_never(reply)


def _is_expected(step: Step, reply: Reply[None], not_added: Set[str]) -> bool:
    """Whether *reply* is a refusal that a retry resolves, or that follows from another one."""
    match reply:
        case errors.StillInUse():
            return True
        case errors.NoSuchServer():  # somebody else has deleted it, or it was never added
            return isinstance(step, Delete | Disable | CloseSessions | Drain) or step.server in not_added
        case _:
            return False


def _is_failed_add(result: StepResult) -> bool:
    return isinstance(result.step, Add) and result.outcome is not Outcome.DONE
