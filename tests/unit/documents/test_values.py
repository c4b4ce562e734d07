from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dynsrv.documents.values import RuntimeAddress, Share, format_duration, host_and_port, parse_duration
from dynsrv.runtime import TcpAddress, UnixAddress, parse_address

ADDRESS: TypeAdapter[str] = TypeAdapter(RuntimeAddress)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2.0), ("1.5s", 1.5), ("1m", 60.0), ("1h", 3600.0), ("0.5h", 1800.0), ("0s", 0.0)],
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", [5, "5", 1.5, True, None, "5 s", "5d", "-5s", "s", "", "5s\n", "\u0665s", "1e3s", "5S", []]
)
def test_nothing_else_is_a_duration(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(value)


def test_a_bare_number_is_refused_with_how_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"^expected a duration with its unit: write 5s or 5ms$"):
        parse_duration(5)


@given(milliseconds=st.integers(min_value=0, max_value=24 * 86_400_000))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (1.5, "1500ms"), (90, "90s"), (120, "2m"), (7200, "2h")])
def test_a_duration_is_written_in_its_greatest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/haproxy/admin.sock", UnixAddress("/run/haproxy/admin.sock")),
        ("/run/haproxy/admin.sock", UnixAddress("/run/haproxy/admin.sock")),
        ("run/admin.sock", UnixAddress("run/admin.sock")),
        ("tcp://127.0.0.1:9999", TcpAddress("127.0.0.1", 9999)),
        ("tcp://[::1]:9999", TcpAddress("::1", 9999)),
        ("tcp://lb-1.example:65535", TcpAddress("lb-1.example", 65535)),
        ("tcp+tls://lb-1.example:9999", TcpAddress("lb-1.example", 9999, tls=True)),
    ],
)
def test_a_runtime_address_is_one_that_the_runtime_library_reads(text: str, address: object) -> None:
    assert parse_address(ADDRESS.validate_python(text)) == address


@given(text=st.text(max_size=30) | st.from_regex(r"(tcp|tcp\+tls|unix|http)://[\[\]a-f0-9.:/]{0,12}(:[0-9]{0,6})?"))
def test_every_address_that_is_accepted_can_be_read_by_the_runtime_library(text: str) -> None:
    try:
        accepted = ADDRESS.validate_python(text)
    except ValidationError:
        return
    parse_address(accepted)


@pytest.mark.parametrize("text", ["tcp://[127.0.0.1]:80", "tcp://lb1:0", "tcp://lb1:99999", "unix://x", "", " /x", 5])
def test_what_the_runtime_library_would_not_understand_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        ADDRESS.validate_python(text)


def test_a_relative_path_begins_at_the_directory_of_the_context() -> None:
    assert ADDRESS.validate_python("x.sock", context={"directory": "/etc/dynsrv"}) == "/etc/dynsrv/x.sock"
    assert ADDRESS.validate_python("/run/x.sock", context={"directory": "/etc/dynsrv"}) == "/run/x.sock"


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("127.0.0.1:9105", ("127.0.0.1", 9105)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
        (":80", None),
        ("::1:80", None),
        ("127.0.0.1", None),
        ("127.0.0.1:70000", None),
        ("127.0.0.1:80\n", None),
    ],
)
def test_a_host_and_a_port_are_told_apart(text: str, pair: tuple[str, int] | None) -> None:
    assert host_and_port(text) == pair


@pytest.mark.parametrize("value", [1.0, 0.5, "1.0", "yes", True])
def test_a_share_is_a_percentage_or_a_whole_number_in_digits(value: object) -> None:
    with pytest.raises(ValueError, match="expected a share such as 50%, or a whole number of servers"):
        TypeAdapter(Share).validate_python(value)
    assert [TypeAdapter(Share).validate_python(one) for one in ("50%", 1, "1")] == [0.5, 1, 1]
