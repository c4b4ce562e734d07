"""A line of HAProxy's configuration makes the very server that dynsrv would have added, whatever its options."""

from __future__ import annotations

import asyncio
import csv
import re
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from dynsrv import server_keywords
from dynsrv.persist.server_lines import ServerLine
from dynsrv.planning.options import implied_check_keywords
from dynsrv.runtime import Capabilities
from tests.integration.support.certificates import make_certificates
from tests.integration.support.haproxy import HAProxy, StartHAProxy
from tests.integration.support.waiting import eventually

TLS = "ssl,verify none"

CASES = """
check
check,inter 300ms,fastinter 200ms,downinter 100ms,fall 4,rise 3
check,slowstart 100ms
check,backup
backup
no-backup
maxconn 10
maxconn 10,minconn 2,maxqueue 5
maxconn 10,strict-maxconn
check,port PORT
check,port PORT,addr 127.0.0.1
check,addr 127.0.0.1
check,check-alpn h2
check,check-proto h1
check,check-send-proxy
check,check-sni example.com
check,check-ssl,verify none
check,check-ssl,check-sni example.com,verify none
check,check-via-socks4
check,check-reuse-pool
check,check-pool-conn-name example.com
check,proto h2
check,ws h1
check,error-limit 3,observe layer4,on-error mark-down
check,observe layer7,on-error fastinter
check,on-marked-down shutdown-sessions,on-marked-up shutdown-backup-sessions
check,tfo
check,no-tfo
check,source 127.0.0.1
check,source 127.0.0.1 usesrc 127.0.0.1
check,cookie abc
check,healthcheck hc
check,agent-check,agent-port PORT,agent-inter 300ms,agent-addr 127.0.0.1,agent-send hi
check,send-proxy
check,send-proxy,check-send-proxy
check,send-proxy,port PORT
check,send-proxy-v2
check,send-proxy-v2,proxy-v2-options crc32c
check,send-proxy-v2-ssl
check,send-proxy-v2-ssl-cn
check,send-proxy-v2,set-proxy-v2-tlv-fmt(0x20) str(x)
check,no-send-proxy
check,no-send-proxy-v2
pool-low-conn 3,pool-max-conn 5,pool-purge-delay 3s
pool-conn-name str(example.com)
idle-ping 3s
shard 1
hash-key addr-port
track be_tracked/tracked
TLS
check,TLS
check,TLS,check-ssl
check,TLS,send-proxy
check,TLS,check-ssl,send-proxy,check-send-proxy
check,TLS,port PORT
check,TLS,check-ssl,port PORT
check,TLS,addr 127.0.0.1
check,TLS,sni str(example.com)
check,TLS,sni str(example.com),check-ssl,check-sni example.com
check,TLS,check-ssl,alpn h2\\,http/1.1
check,TLS,check-ssl,check-alpn h2
check,TLS,check-ssl,npn http/1.1
check,TLS,check-ssl,ssl-min-ver TLSv1.2,ssl-max-ver TLSv1.3
check,TLS,check-ssl,force-tlsv12
check,TLS,check-ssl,no-sslv3,no-tlsv10,no-tlsv11,no-tlsv12
check,TLS,check-ssl,no-tlsv13,tls-tickets
check,TLS,check-ssl,no-ssl-reuse,no-tls-tickets,allow-0rtt
check,TLS,check-ssl,ciphers ECDHE-RSA-AES128-GCM-SHA256,ciphersuites TLS_AES_128_GCM_SHA256
check,TLS,check-ssl,curves X25519,sigalgs RSA+SHA256,client-sigalgs RSA+SHA256
check,TLS,check-ssl,no-sni-auto
check,TLS,check-ssl,no-check-sni-auto
check,TLS,check-ssl,renegotiate
check,TLS,check-ssl,no-renegotiate
check,TLS,check-ssl,ktls on
check,TLS,check-ssl,crt CRT
check,ssl,verify required,ca-file CA,check-ssl,verifyhost example.com
"""
"""Options as in a backend's `server.options`, separated by commas."""

NOT_TRIED = {
    "crl-file": "it is read as the ca-file is",
    "force-sslv3": "no TLS library of today has it",
    "force-tlsv10": "as above",
    "force-tlsv11": "as above",
    "force-tlsv13": "the server of the test has it anyway",
}
TRANSIENT = re.compile(
    # what time and traffic make of any two servers, and what the two differ in by intention
    "pxname|iid|be_id|be_name|srid|addr|srv_port|srv_check_port|srv_agent_port|lastchg|srv_time_since_last_change"
    "|check_duration|agent_duration|lastsess|chkfail|chkdown|downtime|hanafail|last_chk|last_agt|check_desc|agent_desc"
    "|.*_?(conn_cur|conn_est)|ssl_.*|.*_handshake|h[12]_.*|srv_check_state|srv_agent_state|srv_check_status"
    "|srv_check_result|check_status|check_code|agent_code|bin|bout|stot|weight|agg_.*|lbtot|rate.*|uweight"
)


class Recorder:
    """Listens on a port, answers what is plain HTTP, and remembers what comes first on each connection."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=100)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                first = await reader.read(4096)
            self.kinds.add(_kind(first))
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n" if first[:7] == b"OPTIONS" else b"up 90%\n")
        writer.close()


def _kind(first: bytes) -> str:
    if first[:1] == b"\x16":
        names = [name for name in (b"example.com", b"\x02h2", b"\x08http/1.1") if name in first]
        return f"TLS {names}"
    if first[:5] == b"\r\n\r\n\x00":
        return f"PROXY v2 {first[12]}"
    return first.split(b"\r\n")[0].decode("latin-1").split(" 127.0.0.1")[0]


def _cases(version: str, files: dict[str, str]) -> list[tuple[str, ...]]:
    """Return the options of each case, without the keywords that *version* does not take."""
    capabilities = Capabilities.of(version)
    cases: list[tuple[str, ...]] = []
    for text in CASES.strip().splitlines():
        for word, value in files.items():
            text = text.replace(word, value)  # noqa: PLW2901 - step by step
        options = [one.replace("\\,", ",") for one in re.split(r"(?<!\\),", text.replace("TLS,", f"{TLS},"))]
        options = [one for option in options for one in (TLS.split(",") if option == "TLS" else [option])]
        options = [one for one in options if capabilities.takes(one.split("(")[0].split(" ")[0])]
        if "check" in options and not any(one.startswith("inter") for one in options):
            options.append("inter 300ms")
        cases.append((*options, *implied_check_keywords(options)))
    return list(dict.fromkeys(cases))


async def _rows(haproxy: HAProxy, backend: str) -> dict[str, dict[str, str]]:
    """Return all that HAProxy tells of the servers of *backend*, by name."""
    _, header, *lines = (await haproxy.ask(f"show servers state {backend}")).splitlines()
    rows = {row["srv_name"]: row for row in (dict(zip(header[2:].split(), x.split(), strict=True)) for x in lines if x)}
    stat = (await haproxy.ask(f"show stat {backend} 4 -1"))[2:].splitlines()
    for row in csv.DictReader(line for line in stat if line):
        rows[row["svname"]] |= {column: value for column, value in row.items() if column}
    return rows


async def test_a_line_makes_a_server_equal_to_the_one_that_was_added_with_the_same_options(
    a_haproxy: StartHAProxy, stack: AsyncExitStack, version: str, tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path / "tls")
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.client.certificate.read_bytes() + certificates.client.key.read_bytes())
    files = {"CA": str(certificates.authority), "CRT": str(both)}
    cases = _cases(version, files)
    roles = ("added", "static", "added p", "static p")
    recorders = [{role: await stack.enter_async_context(Recorder()) for role in roles} for _ in cases]

    def options(index: int, role: str) -> tuple[str, ...]:
        return tuple(one.replace("PORT", str(recorders[index][f"{role} p"].port)) for one in cases[index])

    lines = [
        ServerLine(
            name=f"s{index}",
            id=70000 + index,
            address=f"127.0.0.1:{recorders[index]['static'].port}",
            weight=100,
            maxconn=0,
            options=" ".join(options(index, "static")),
        )
        for index in range(len(cases))
    ]
    first = recorders[0]["added"]
    # what `add server` can use of files is what the configuration has loaded
    loads = f"ssl verify required ca-file {files['CA']} crt {files['CRT']}"
    check = "    balance roundrobin\n    hash-type consistent\n    option httpchk\n"
    haproxy = await a_haproxy(
        extra="".join(
            [
                "\nglobal\n    expose-experimental-directives\n" if Capabilities.of(version).takes("ktls") else "",
                "\nhealthcheck hc\n    type httpchk\n" if Capabilities.of(version).takes("healthcheck") else "",
                f"\nbackend be_tracked\n    server tracked 127.0.0.1:{first.port} check inter 300ms\n",
                f"    server loader 127.0.0.1:{first.port} {loads}\n",
                f"\nbackend be_added\n{check}",
                f"\nbackend be_static\n{check}",
                *(f"    {line}\n" for line in lines),
            ]
        )
    )
    for index, line in enumerate(lines):
        words = " ".join(options(index, "added"))
        address = f"127.0.0.1:{recorders[index]['added'].port}"
        await haproxy.do(f"add server be_added/{line.name} {address} id {line.id} weight {line.weight} {words}")
        if "check" in cases[index]:
            await haproxy.do(f"enable health be_added/{line.name}")
        if "agent-check" in cases[index]:
            await haproxy.do(f"enable agent be_added/{line.name}")
        await haproxy.do(f"enable server be_added/{line.name}")

    async def equal() -> bool:
        added, static = await _rows(haproxy, "be_added"), await _rows(haproxy, "be_static")
        for index, line in enumerate(lines):
            left, right = added[line.name], static[line.name]
            for row in (left, right):
                row["agent_status"] = row["agent_status"].removeprefix("* ")  # which says that it runs just now
            unequal = {
                column: (left[column], right[column])
                for column in left
                if left[column] != right[column]
                and not TRANSIENT.fullmatch(column)
                # 2.6 forgets the default of `pool-max-conn` when a server is added, and the health of one without check
                and not (column == "src_ilim" and version == "2.6")
                and not (column == "srv_check_health" and "check" not in cases[index])
            }
            assert not unequal, f"{str(line)!r}: {unequal}"
            seen = recorders[index]
            assert seen["added"].kinds == seen["static"].kinds, str(line)
            assert seen["added p"].kinds == seen["static p"].kinds, str(line)
            if "check" in cases[index]:
                assert seen["static"].kinds or seen["static p"].kinds, f"no check came: {line}"
        return True

    await eventually(equal)


async def test_every_keyword_that_dynsrv_accepts_is_among_those_that_were_compared(haproxy: HAProxy) -> None:
    listed = await haproxy.ask("add server help")
    if "List of keywords" not in listed:  # before 3.2
        return
    compared = {word for words in _cases(haproxy.version, {}) for option in words for word in re.split("[ (]", option)}
    accepted = set(listed.partition(":")[2].split()) - server_keywords.MANAGED.keys()
    assert accepted - compared == NOT_TRIED.keys() & accepted
