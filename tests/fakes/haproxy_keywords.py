"""What does HAProxy make of the words of `add server`? The server to be, or its complaint, by version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from tests.fakes.haproxy_process import AGENT, CONFIGURED, DOWN, MAINT, FakeBackend, FakeServer, Process


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ALONE = _set(
    "agent-check allow-0rtt backup check check-send-proxy check-ssl disabled force-tlsv12 force-tlsv13"
    " no-ssl-reuse no-tls-tickets no-tlsv12 no-tlsv13 send-proxy send-proxy-v2 send-proxy-v2-ssl"
    " send-proxy-v2-ssl-cn ssl tfo tls-tickets"
)
_WITH_ARGUMENT = _set(
    "addr agent-addr agent-inter agent-port agent-send alpn ca-file check-alpn check-proto check-sni ciphers"
    " ciphersuites crl-file crt downinter error-limit fall fastinter id inter maxconn maxqueue minconn"
    " observe on-error on-marked-down on-marked-up pool-low-conn pool-max-conn pool-purge-delay port proto"
    " rise slowstart sni source ssl-max-ver ssl-min-ver track verify verifyhost weight ws"
)
_SINCE = {
    "shard": (2, 8),
    "cookie": (3, 0),
    "curves": (3, 0),
    "guid": (3, 0),
    "hash-key": (3, 0),
    "pool-conn-name": (3, 0),
    "init-state": (3, 1),
    "idle-ping": (3, 2),
}
_NEVER = _set(
    "init-addr namespace no-check no-ssl non-stick redir resolve-net resolve-opts resolve-prefer resolvers tcp-ut"
    " log-proto max-reuse socks4"
)


def read_server(backend: FakeBackend, name: str, address: str, *, words: Sequence[str], process: Process) -> FakeServer:
    """Return the server that `add server <backend>/<name> <address> <words>` adds; it is not added yet.

    Raises:
        ValueError: in HAProxy's words, and in the order in which it looks.
    """
    bad = re.search(r"[^A-Za-z0-9_:.-]", name)
    if bad:
        raise ValueError(f"character '{bad[0]}' is not permitted in server name '{name}'.")
    host, _, port = address.rpartition(":")
    if "-" in port:
        raise ValueError(f"port range not permitted here in '{address}'")
    if not port.isdigit():
        raise ValueError(f"invalid character '{port[:1]}' in port number '{port}' in '{address}'")
    if int(port) > 65535:
        raise ValueError(f"invalid port '{port}'")
    server = FakeServer(name, host.strip("[]"), int(port), admin=MAINT, operational=DOWN, options=tuple(words))
    server.changed_at = process.now()
    for keyword, argument in _keywords(words, process.number):
        match keyword:
            case "id":
                server.id = _free_id(backend, argument, process)
            case "weight":
                server.weight = server.initial_weight = _weight(name, argument)
            case "maxconn":
                server.maxconn = int(argument) if argument.isdigit() else 0
            case "backup":
                server.backup = True
            case "agent-check":
                if "agent-port" not in words:
                    raise ValueError(f"server {name} does not have agent port. Agent check has been disabled.")
                server.agent_state = AGENT | CONFIGURED
            case "check":
                server.check_state = CONFIGURED
            case _:
                pass
    if "ssl" in words and "verify" not in words and "ca-file" not in words:
        raise ValueError("verify is enabled by default but no CA file specified.")
    return server


def _free_id(backend: FakeBackend, argument: str, process: Process) -> int:
    if not argument:
        raise ValueError("'id' : expects an integer argument.")
    if not argument.isdigit() or int(argument) == 0:
        newest = process.number >= (3, 3)
        raise ValueError(f"'id' : custom id has to be {'between 1 and 4294967295.' if newest else '> 0'}.")
    for other in backend.servers:
        if other.id == int(argument):
            raise ValueError(f"'id' : custom id {argument} already used at (null):0 ('server {other.name}').")
    return int(argument)


def _weight(name: str, argument: str) -> int:
    weight = int(argument) if argument.isdigit() else 0  # HAProxy takes `weight abc` for 0
    if weight > 256:
        raise ValueError(f"weight of server {name} is not within 0 and 256 ({weight})..")
    return weight


def _keywords(words: Sequence[str], number: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Yield each keyword of *words* with its argument, empty where it has none."""
    rest = iter(words)
    for word in rest:
        known = number >= _SINCE.get(word, (99, 0))
        if word in _ALONE:
            yield word, ""
        elif word in _WITH_ARGUMENT or known:
            argument = next(rest, "")
            if word in {"sni", "verify", "alpn", "proto"} and not argument:
                raise ValueError(f"'{word}' : missing value.")
            if word in {"fall", "rise", "inter"} and not argument:
                raise ValueError(f"'{word}' expects an integer argument..")
            yield word, argument
        elif word in _NEVER:
            raise ValueError(f"'{word}' option is not accepted for dynamic server")
        else:
            near = get_close_matches(word, sorted(_ALONE | _WITH_ARGUMENT), n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}' maybe ?" if near else "."
            raise ValueError(f"unknown keyword '{word}'{hint}")
