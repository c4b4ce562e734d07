"""What does HAProxy have, and how is it changed? The only module that knows both the model and the Runtime API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, assert_never

from dynsrv import runtime
from dynsrv.errors import BackendRejected, ProxyChanged, ProxyUnreachable
from dynsrv.model import (
    Add,
    AdminState,
    Admit,
    Applied,
    Backend,
    Check,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    OperationalState,
    Outcome,
    Process,
    Server,
    SetWeight,
    Step,
    StepResult,
    canonical_address,
)
from dynsrv.runtime import Capabilities, Command, Done, ProcessInfo, Reply, ServerState, State, commands, errors

_DYNAMIC_ALGORITHMS = (
    "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
)
_SINGLE_STATS = 50
"""Up to so many draining servers are asked for one by one; more than that, the whole backend's dump is cheaper."""


class Proxy(Protocol):
    """One HAProxy, in the words of the model.

    Raises, from both methods: `ProxyUnreachable`, `ProxyChanged`.
    """

    name: str

    async def observe(self, backend: str) -> Backend:
        """Return the live servers of *backend*. Raises `BackendRejected` where no server can be added to it."""

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        """Carry out *steps* in the process in which *backend* was observed, and in no other."""


class HAProxy:
    """A `Proxy` behind a Runtime API. One refused step does not keep the others from being sent."""

    def __init__(self, name: str, client: runtime.Client) -> None:
        self.name = name
        self._client = client
        self._accepted: dict[str, ProcessInfo] = {}  # backends that take servers, and the process that said so

    async def identify(self) -> Process:
        """Return the process that answers now."""
        with self._translated():
            return _process(await self._client.run(commands.info()))

    async def level(self) -> str:
        """Return the level of the stats socket: user, operator or admin."""
        with self._translated():
            return await self._client.run(commands.cli_level())

    async def observe(self, backend: str) -> Backend:
        with self._translated():
            batch = await self._client.batch([commands.servers_state(backend)])
            match batch.replies[0]:
                case Done(value=rows):
                    servers = tuple(map(_server, rows))
                case errors.NoSuchBackend():
                    raise await self._rejected(backend, batch.process, batch.replies[0])
                case refused:
                    raise refused
            await self._check_support(backend, batch.process)
            servers = await self._with_sessions(backend, servers, batch.process)
        return Backend(backend, servers, _process(batch.process))

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        process = ProcessInfo(backend.process.version, backend.process.pid, backend.process.started, stopping=False)
        with self._translated():
            batch = await self._client.batch([_command(backend.name, step) for step in steps], process=process)
        return Applied(tuple(_results(steps, batch.replies)))

    async def algorithm(self, backend: str) -> str | None:
        """Return the balance algorithm, None where HAProxy does not tell (below level operator, and for some)."""
        with self._translated():
            rows = await self._client.run(commands.backend_stat(backend))
        return next((row.algorithm for row in rows if row.algorithm not in {"", "unknown"}), None)

    async def _check_support(self, backend: str, process: ProcessInfo) -> None:
        """Ask HAProxy whether it can add servers to *backend*, once for each process: only a reload can change that."""
        accepted = self._accepted.get(backend)
        if accepted is not None and accepted.same_process(process):
            return
        if not Capabilities.of(process.version).add_server:
            raise await self._rejected(backend, process, None)
        (reply,) = (await self._client.batch([commands.probe_backend(backend)], process=process)).replies
        if not isinstance(reply, Done):
            raise await self._rejected(backend, process, reply)
        self._accepted[backend] = process

    async def _rejected(self, backend: str, process: ProcessInfo, reply: Reply[Any] | None) -> BackendRejected:
        said = (
            f"HAProxy {process.version} says: {' '.join(reply.sentence.split())}"
            if isinstance(reply, errors.Refused | errors.UnknownReply)
            else ""
        )
        match reply:
            case None | errors.CommandUnsupported():
                reason = "version"
                problem = f"HAProxy {process.version} cannot add servers at runtime."
                remedy = "dynsrv needs HAProxy 2.5 or later."
            case errors.PermissionDenied():
                reason = "level"
                problem = f"the stats socket's level is too low. {said}"
                remedy = "Write `level admin` on the `stats socket` line."
            case errors.NoSuchBackend():
                reason = "missing"
                problem = f"HAProxy has no such backend. {said}"
                remedy = "Compare `name` in the configuration of dynsrv with `backend` in haproxy.cfg."
            case errors.BackendUnsupported() if "log" in reply.sentence:
                reason = "mode"
                problem = f"its mode takes no servers at runtime. {said}"
                remedy = "Use `mode http` or `mode tcp`."
            case errors.BackendUnsupported():
                algorithm = await self.algorithm(backend)
                reason = "algorithm"
                problem = f"its algorithm{f' ({algorithm})' if algorithm else ''} takes no servers at runtime. {said}"
                remedy = _DYNAMIC_ALGORITHMS
            case _:
                reason = "unknown"
                problem = f"it cannot be told whether it takes servers at runtime. {said}"
                remedy = "See HAProxy's log."
        return BackendRejected(backend=backend, proxy=self.name, reason=reason, problem=problem, remedy=remedy)

    async def _with_sessions(
        self, backend: str, servers: tuple[Server, ...], process: ProcessInfo
    ) -> tuple[Server, ...]:
        draining = [server.id for server in servers if server.admin is AdminState.DRAIN]
        if not draining:
            return servers
        asked = draining if len(draining) <= _SINGLE_STATS else [-1]
        batch = await self._client.batch([commands.servers_stat(backend, one) for one in asked], process=process)
        rows = [row for reply in batch.replies if isinstance(reply, Done) for row in reply.value]
        # by name and id: between two questions a server can be deleted and another get its id
        sessions = {(row.name, row.id): row.sessions + row.queued for row in rows}
        return tuple(
            replace(server, sessions=sessions.get((server.name, server.id)))
            if server.admin is AdminState.DRAIN
            else server
            for server in servers
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the Runtime API's errors into those of the model."""
        try:
            yield
        except (errors.OtherProcess, errors.DyingProcess) as error:
            raise ProxyChanged(f"{self.name}: {error}") from error
        except errors.RuntimeApiError as error:
            raise ProxyUnreachable(f"{self.name}: {error}") from error


def _process(info: ProcessInfo) -> Process:
    return Process(pid=info.pid, started=info.started, version=info.version)


_OPERATIONAL = (OperationalState.DOWN, OperationalState.STARTING, OperationalState.UP, OperationalState.STOPPING)

# bits of srv_admin_state
_MAINT = 0x01 | 0x02 | 0x20  # forced, inherited by `track`, resolution; 0x04 only says how the server began
_DRAIN = 0x08 | 0x10  # forced, inherited
# bits of srv_check_state
_CONFIGURED = 2
_ENABLED = 4
_PAUSED = 8
# srv_check_result; 0 while a check runs, too
_CHECK_RESULTS = {2: Check.FAILED, 3: Check.PASSED, 4: Check.PASSED}  # 4: passed, with `disable-on-404`


def _server(row: ServerState) -> Server:
    if row.admin_state & _MAINT:
        admin = AdminState.MAINT
    elif row.admin_state & _DRAIN:
        admin = AdminState.DRAIN
    else:
        admin = AdminState.READY
    if not row.check_state & _CONFIGURED:
        check = Check.NONE
    elif not row.check_state & _ENABLED:
        check = Check.DISABLED
    else:
        check = _CHECK_RESULTS.get(row.check_result, Check.PENDING)
    return Server(
        name=row.name,
        id=row.id,
        address=_address(row.address),
        port=row.port,
        weight=row.weight,
        admin=admin,
        operational=_OPERATIONAL[row.operational_state],
        check=check,
        check_paused=bool(row.check_state & _PAUSED),
        since_change=row.since_change,
    )


def _address(text: str) -> str | None:
    if ":" in text:  # IPv6 has many spellings
        return canonical_address(text)
    return None if text == "-" else text


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


def _results(steps: Iterable[Step], replies: Iterable[Reply[Any]]) -> Iterator[StepResult]:
    not_added: set[str] = set()
    for step, reply in zip(steps, replies, strict=True):
        match reply:
            case Done():
                yield StepResult(step, Outcome.DONE)
            case errors.StillInUse():
                yield StepResult(step, Outcome.REFUSED, _said(reply), expected=True)
            case errors.NoSuchServer():
                # deleted by someone else, which a removal wants, or never added, which its Add has told already
                expected = isinstance(step, Delete | Disable | CloseSessions | Drain) or step.server in not_added
                yield StepResult(step, Outcome.REFUSED, _said(reply), expected=expected)
            case errors.Refused() | errors.UnknownReply():
                if isinstance(step, Add):
                    not_added.add(step.server)
                outcome = Outcome.REFUSED if isinstance(reply, errors.Refused) else Outcome.UNKNOWN
                yield StepResult(step, outcome, _said(reply))
            case _:
                assert_never(reply)


def _said(reply: errors.Refused | errors.UnknownReply) -> str:
    return " ".join(reply.sentence.split())
