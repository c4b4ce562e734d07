from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.runtime import TcpAddress, UnixAddress, parse_address
from dynsrv.runtime.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/haproxy/admin.sock", UnixAddress("/run/haproxy/admin.sock")),
        ("/run/haproxy/admin.sock", UnixAddress("/run/haproxy/admin.sock")),
        ("admin.sock", UnixAddress("admin.sock")),
        ("unix://run/admin.sock", UnixAddress("run/admin.sock")),
        ("/run/with space:80", UnixAddress("/run/with space:80")),
        ("tcp://127.0.0.1:9999", TcpAddress("127.0.0.1", 9999)),
        ("tcp://[::1]:9999", TcpAddress("::1", 9999)),
        ("tcp://lb1.example:1", TcpAddress("lb1.example", 1)),
        ("tcp+tls://lb1.example:9999", TcpAddress("lb1.example", 9999, tls=True)),
        ("tcp+tls://[::1]:9999", TcpAddress("::1", 9999, tls=True)),
    ],
)
def test_an_address_is_a_socket_in_the_file_system_or_a_tcp_port(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix://",
        "/run/\0",
        "http://127.0.0.1:80",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:\u0661",
        "tcp://:80",
        "tcp://[]:80",
        "tcp://::1:80",
        "tcp://[127.0.0.1]:80",
        "tcp://[::1:80",
    ],
)
def test_what_is_neither_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(
        InvalidArgument,
        match=r"^address: found .*, expected unix:///path, a path, tcp://host:port or tcp\+tls://host:port$",
    ):
        parse_address(text)


@given(text=st.text(max_size=40) | st.from_regex(r"(tcp|unix)://[\[\]a-f0-9.:/]{0,12}(:[0-9]{0,6})?"))
def test_an_address_that_was_read_is_written_so_that_it_is_read_again(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidArgument:
        return
    assert parse_address(str(address)) == address
