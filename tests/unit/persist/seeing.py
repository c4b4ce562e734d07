"""What a pass saw, of which a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Iterable

from dynsrv.model import Endpoint, Server
from dynsrv.persist.section import OtherServers
from dynsrv.persist.server_lines import SeenServers, ServerLine, Written, servers_to_write
from dynsrv.planning import Policy
from tests.fakes.builders import a_backend, a_policy, the_targets


def seen(
    *servers: Server,
    wanted: Iterable[Endpoint] = (),
    policy: Policy | None = None,
    leaving: Iterable[str] = (),
    stale: bool = False,
) -> SeenServers:
    """What was seen of a backend with *servers*, of which the source wants the endpoints *wanted*."""
    policy = policy or a_policy()
    return SeenServers(
        the_targets(*wanted, policy=policy), a_backend(*servers), policy, frozenset(leaving), stale=stale
    )


def lines(*these: SeenServers, others: OtherServers | None = None, written: Written | None = None) -> list[str]:
    """Return the lines for what was seen."""
    return [str(one) for one in servers_to_write(these, others=others or OtherServers(), written=written or {})]


def names(*these: SeenServers, others: OtherServers | None = None) -> list[str]:
    """Return the names of the servers that get a line; those of a disabled one in brackets."""
    found = servers_to_write(these, others=others or OtherServers(), written={})
    return [f"({one.name})" if one.disabled else one.name for one in found]


def a_line(text: str) -> ServerLine:
    """Return a line as it was written before."""
    line = ServerLine.read(text)
    assert line is not None
    return line
