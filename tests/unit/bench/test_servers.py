from __future__ import annotations

from pathlib import Path

from bench.dynsrv import Dynsrv
from bench.servers import BACKEND, Kind, admission, servers
from dynsrv.planning import RecentHistory, desired_servers, make_plan
from dynsrv.settings import load
from dynsrv.sources.file import FileSource
from tests.fakes.behind import Behind


async def test_the_raw_limit_sends_exactly_the_commands_that_dynsrv_sends(tmp_path: Path) -> None:
    kind = Kind(weight=7, inter=2)
    wanted = servers(20, port=8080, kind=kind)
    installation = Dynsrv(tmp_path, Path("/run/haproxy/admin.sock"), kind=kind, backend={}, web=None)
    installation.want(wanted)
    (backend,) = load(installation.configuration, {}).backends
    snapshot = await anext(FileSource(installation.servers_file, backend=BACKEND).watch())
    behind = Behind("3.2.26-1")
    observed = await behind.observed()
    policy = backend.policy()
    plan = make_plan(
        desired=desired_servers(snapshot, policy), observed=observed, history=RecentHistory(), now=0.0, policy=policy
    )
    await behind.proxy.apply(observed, plan.steps)
    assert behind.haproxy.changes == admission(wanted)


def test_servers_beside_others_have_ids_of_their_own() -> None:
    before = servers(10_000, port=30_045, kind=Kind())  # with this port the hash of two of them is that of another
    coming = servers(1_000, port=30_045, kind=Kind(), beside=before)
    assert not {one.id for one in before} & {one.id for one in coming}
    assert not {one.address for one in before} & {one.address for one in coming}
