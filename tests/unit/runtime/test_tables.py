from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.runtime import BackendStat, CheckStat, ProcessInfo, ServerStat, ServerState
from dynsrv.runtime.tables import (
    ServersReader,
    read_backend_stat,
    read_checks_stat,
    read_info,
    read_servers_stat,
    read_servers_state,
)
from tests.fakes.haproxy import FakeBackend, FakeHAProxy, FakeServer

# `show servers state` of 2.2, and of 2.6 to 3.4
OLD_STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight\
 srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state\
 bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord
5 six 4 d fe80::1 2 0 1 1 7 1 0 2 0 0 0 0 - 80 -
5 six 7 g - 2 0 1 1 0 1 0 2 0 0 0 0 - 0 -
"""
NEW_STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight\
 srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state\
 bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr\
 srv_agent_port
3 be 1 s1 127.0.0.1 0 0 1 1 18 8 2 0 6 0 0 0 - 1 - 0 0 - - 0
3 be 70000 n1 127.0.0.1 2 8 10 50 0 1 3 0 14 22 0 1 - 1 - 0 0 - - 0
3 be 15 q15 - 0 1 1 1 0 1 0 0 0 0 0 1 lb.example 80 - 0 0 - - 0
"""
STAT_HEADER = (
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,weight,act,bck,iid,sid,type,last_chk,cookie,mode,algo,"
)
SERVERS_STAT = f"""\
{STAT_HEADER}
be,n1,2,0,1,0,30,9,DRAIN,10,0,1,3,70000,2,"L7OK: a ""fine"", quick one",,http,,
be,n2,0,0,0,0,,0,no check,10,1,0,3,70001,2,,,http,,
"""
BACKEND_STAT = f"""\
{STAT_HEADER}
be,BACKEND,0,0,,0,,0,UP,10,1,2,3,0,1,"a ""fine"", quick one",SRV,http,roundrobin,
"""


def test_the_process_is_told_by_its_pid_and_its_start() -> None:
    text = "Name: HAProxy\nVersion: 2.6.12-1+deb12u3\nPid: 25013\nnode: lb: 1\nStopping: 0\nStart_time_sec: 1795212240"
    assert read_info(text) == ProcessInfo("2.6.12-1+deb12u3", 25013, 1795212240, stopping=False)


def test_before_2_6_haproxy_does_not_tell_its_start() -> None:
    assert read_info("Version: 2.5.0\nPid: 7\nStopping: 1") == ProcessInfo("2.5.0", 7, 0, stopping=True)


@pytest.mark.parametrize("missing", ["Version", "Pid"])
def test_a_process_that_is_told_in_part_is_no_process(missing: str) -> None:
    text = "\n".join(line for line in ("Version: 3.2.26", "Pid: 7", "Stopping: 0") if not line.startswith(missing))
    with pytest.raises(ValueError, match=f"^no line '{missing}' in the reply to `show info`$"):
        read_info(text)


@pytest.mark.parametrize(
    "text", ["", "Unknown command", "Version: 3.2\nPid: seven", "Version: 3\nPid: 7\nStart_time_sec: x"]
)
def test_what_is_no_show_info_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no line|expected a number"):
        read_info(text)


def test_the_same_pid_with_another_start_is_another_process() -> None:
    process = ProcessInfo("3.2.26", 8, 1000, stopping=False)
    assert process.same_process(ProcessInfo("3.2.26", 8, 1000, stopping=True))
    assert not process.same_process(ProcessInfo("3.2.26", 8, 1001, stopping=False))
    assert not process.same_process(ProcessInfo("3.2.26", 9, 1000, stopping=False))


def test_servers_come_in_the_order_of_haproxy_with_its_numbers() -> None:
    assert read_servers_state(NEW_STATE) == (
        ServerState("be", 1, "s1", "127.0.0.1", 1, 0, 0, 1, 1, 18, 2, 6, 0, 3),
        ServerState("be", 70000, "n1", "127.0.0.1", 1, 2, 8, 10, 50, 0, 3, 14, 22, 3),
        ServerState("be", 15, "q15", "-", 80, 0, 1, 1, 1, 0, 0, 0, 0, 3),
    )


def test_columns_are_found_by_name_so_that_old_and_new_versions_are_read_alike() -> None:
    assert read_servers_state(OLD_STATE.rstrip("\n")) == (
        ServerState("six", 4, "d", "fe80::1", 80, 2, 0, 1, 1, 7, 0, 0, 0, 5),
        ServerState("six", 7, "g", "-", 0, 2, 0, 1, 1, 0, 0, 0, 0, 5),
    )


def test_a_backend_without_servers_is_no_error() -> None:
    assert read_servers_state("\n".join(NEW_STATE.split("\n")[:2])) == ()


@pytest.mark.parametrize("text", ["", "1", "2\n# be_id", "Can't find backend.", "1\nbe_id be_name", "# be_id\n1"])
def test_what_is_no_dump_of_servers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a `show servers state` dump of version 1"):
        read_servers_state(text)


@pytest.mark.parametrize("column", ["be_name", "srv_id", "srv_addr", "srv_check_result", "srv_check_state"])
def test_a_dump_without_a_column_that_is_needed_is_refused(column: str) -> None:
    with pytest.raises(ValueError, match=column):
        read_servers_state(NEW_STATE.replace(column, "srv_other"))


def test_a_cut_row_is_refused_with_the_row() -> None:
    cut = NEW_STATE[: NEW_STATE.rindex("q15") + 5]
    with pytest.raises(ValueError, match=r"5 columns instead of 25: '3 be 15 q15 -'"):
        read_servers_state(cut)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^server n1: srv_id: found 'seventy', expected a number$"):
        read_servers_state(NEW_STATE.replace("70000", "seventy"))


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
numbers = st.integers(0, 2**32 - 1)
states = st.builds(ServerState, words, numbers, words, words, *[numbers] * 10)


def servers_state_of(servers: Sequence[ServerState], columns: Sequence[str]) -> str:
    """Write *servers* as HAProxy does, with the columns in any order and unknown ones among them."""
    of = {
        "be_name": "backend",
        "srv_id": "id",
        "srv_name": "name",
        "srv_addr": "address",
        "srv_port": "port",
        "srv_op_state": "operational_state",
        "srv_admin_state": "admin_state",
        "srv_uweight": "weight",
        "srv_iweight": "initial_weight",
        "srv_time_since_last_change": "since_change",
        "srv_check_result": "check_result",
        "srv_check_state": "check_state",
        "srv_agent_state": "agent_state",
        "be_id": "backend_id",
    }
    rows = [" ".join(str(getattr(server, of.get(column, ""), "-")) for column in columns) for server in servers]
    return "\n".join(["1", "# " + " ".join(columns), *rows])


HEADER = NEW_STATE.split("\n")[1][2:].split(" ")


@given(servers=st.lists(states, max_size=5), columns=st.permutations([*HEADER, "srv_of_tomorrow"]))
def test_what_haproxy_would_write_is_what_is_read(servers: list[ServerState], columns: list[str]) -> None:
    assert read_servers_state(servers_state_of(servers, columns)) == tuple(servers)


def a_reader() -> ServersReader[ServerState]:
    """A reader for which the age of servers in drain counts, as of `n1`."""
    return ServersReader(lambda row: row, ages=lambda row: row.admin_state == 8)


def test_who_reads_again_gets_the_values_of_before_but_of_servers_that_age() -> None:
    reader = a_reader()
    before = reader.read(NEW_STATE)
    assert before == read_servers_state(NEW_STATE)
    later = NEW_STATE.replace(" 1 1 18 8 2 ", " 1 1 19 8 2 ").replace(" 10 50 0 1 3 ", " 10 50 1 1 3 ")
    s1, n1, q15 = reader.read(later)
    assert (s1, q15) == (before[0], before[2])
    assert (s1 is before[0], q15 is before[2]) == (True, True)
    assert n1 == before[1]._replace(since_change=1)


@given(first=st.lists(states, max_size=5), second=st.lists(states, max_size=5))
def test_but_for_their_age_who_reads_again_reads_what_is_there(
    first: list[ServerState], second: list[ServerState]
) -> None:
    reader = a_reader()
    reader.read(servers_state_of(first, HEADER))
    read = reader.read(servers_state_of(second, [*HEADER, "srv_of_tomorrow"]))
    assert read == tuple(second)
    again = reader.read(servers_state_of(first, [*HEADER, "srv_of_tomorrow"]))
    assert [row._replace(since_change=0) for row in again] == [row._replace(since_change=0) for row in first]


def test_a_cut_line_is_refused_by_who_reads_again_too() -> None:
    reader = a_reader()
    reader.read(NEW_STATE)
    with pytest.raises(ValueError, match="columns instead of 25"):
        reader.read(NEW_STATE.replace(" lb.example 80 - 0 0 - - 0", ""))


def test_a_row_of_the_statistics_is_found_by_the_names_of_its_columns() -> None:
    assert read_servers_stat(SERVERS_STAT) == (
        ServerStat("n1", 70000, 1, 2, 30, 9, backup=True),
        ServerStat("n2", 70001, 0, 0, 0, 0, backup=False),
    )
    assert read_backend_stat(BACKEND_STAT) == (BackendStat("roundrobin", "SRV", 2, "http"),)


def test_statistics_of_a_server_that_is_not_there_are_no_rows() -> None:
    assert read_servers_stat(STAT_HEADER) == ()


def test_an_old_haproxy_has_no_column_for_the_algorithm() -> None:
    assert read_backend_stat(BACKEND_STAT.replace(",algo,", ",other,")) == (BackendStat("", "SRV", 2, "http"),)


@pytest.mark.parametrize("read", [read_servers_stat, read_backend_stat])
@pytest.mark.parametrize("text", ["", "No such proxy.", "pxname,svname", "# svname,pxname"])
def test_what_is_no_dump_of_statistics_is_refused(text: str, read: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="not a `show stat` dump"):
        read(text)


def test_statistics_without_a_column_that_is_needed_are_refused() -> None:
    with pytest.raises(ValueError, match="scur"):
        read_servers_stat(SERVERS_STAT.replace(",scur,", ",other,"))


def test_a_cut_row_of_the_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of `show stat` is truncated"):
        read_servers_stat(SERVERS_STAT[: SERVERS_STAT.index("DRAIN")])
    with pytest.raises(ValueError, match="a row of `show stat` is truncated"):
        read_backend_stat(BACKEND_STAT[: BACKEND_STAT.index("UP")])


@pytest.mark.parametrize("version", ["2.2.9", "2.6.12", "3.4.7"])
def test_the_fake_writes_what_is_read(version: str) -> None:
    server = FakeServer("s1", "::1", 8080, id=5, weight=7, admin=8, check_state=6, check_result=3, sessions=2, queued=1)
    server.maxconn, server.total, server.agent_state = 30, 8, 18
    haproxy = FakeHAProxy(version, backends=[FakeBackend("be", [server])])
    haproxy.advance(2.5)
    (state,) = read_servers_state(haproxy.answer("show servers state be"))
    assert state == ServerState("be", 5, "s1", "::1", 8080, 2, 8, 7, 1, 2, 3, 6, 18, 3)
    (stat,) = read_servers_stat(haproxy.answer("show stat be 4 5"))
    assert stat == ServerStat("s1", 5, 2, 1, 30, 8, backup=False)
    assert read_info(haproxy.answer("show info")).version == version


def test_the_last_check_is_read_with_its_output_even_if_another_runs() -> None:
    server = FakeServer("s1", "10.0.0.1", 80, id=5, check_state=6, check_result=2)
    text = FakeHAProxy(backends=[FakeBackend("be", [server])]).answer("show stat be 4 5")
    failed = CheckStat("s1", 5, "L7STS", "503", 'a "quoted" text, with a comma')
    assert read_checks_stat(text) == (failed,)
    assert read_checks_stat(text.replace(",L7STS,", ",* L7STS,")) == (failed,)
    with pytest.raises(ValueError, match="a row of `show stat` is truncated"):
        read_checks_stat(text[: text.index(",L7STS")])
