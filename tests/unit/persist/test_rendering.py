from __future__ import annotations

from dynsrv.model import AdminState
from dynsrv.persist.rendering import render
from tests.fakes.builders import a_server, an_endpoint
from tests.unit.persist.seeing import seen

ONE, TWO = an_endpoint(1), an_endpoint(2)
EMPTY = (
    b"backend be_app\n    # dynsrv begin\n    # dynsrv end\nbackend be_other\n    # dynsrv begin\n    # dynsrv end\n"
)


def test_what_was_seen_stands_between_the_marks_and_its_names_are_told() -> None:
    rendered = render(EMPTY, EMPTY, {"be_app": [seen(a_server(ONE), wanted=[ONE])]})
    line = f"server dyn-10.0.0.1:80 10.0.0.1:80 id {a_server(ONE).id} weight 100 check inter 2s"
    assert rendered.content == EMPTY.replace(b"    # dynsrv end", f"    {line}\n    # dynsrv end".encode(), 1)
    assert rendered.names == {"be_app": {"dyn-10.0.0.1:80"}}
    assert rendered.problems == {}


def test_a_backend_without_marks_does_not_keep_another_from_being_written() -> None:
    rendered = render(EMPTY, EMPTY, {"be_none": [seen()], "be_app": [seen(a_server(ONE), wanted=[ONE])]})
    assert b"server dyn-10.0.0.1:80 " in rendered.content
    assert list(rendered.names) == ["be_app"]
    assert rendered.problems["be_none"].reason == "section"


def test_what_was_not_seen_yet_stays_as_it_is_whoever_wrote_it() -> None:
    current = EMPTY.replace(b"    # dynsrv end", b"    server mine 10.0.0.9:80 # by hand\n    # dynsrv end", 1)
    rendered = render(current, current, {"be_app": []})
    assert rendered.content == current
    assert rendered.names == {"be_app": frozenset()}
    current = render(EMPTY, EMPTY, {"be_app": [seen(a_server(ONE), wanted=[ONE])]}).content
    rendered = render(current, current, {"be_app": []})
    assert rendered.content == current
    assert rendered.names == {"be_app": {"dyn-10.0.0.1:80"}}


def test_a_template_gets_the_servers_that_the_file_has_until_they_are_seen() -> None:
    current = render(EMPTY, EMPTY, {"be_app": [seen(a_server(ONE), wanted=[ONE])]}).content
    template = EMPTY.replace(b"backend be_app\n", b"backend be_app\n    balance leastconn\n")
    rendered = render(template, current, {"be_app": [], "be_other": []})
    assert rendered.content == current.replace(b"backend be_app\n", b"backend be_app\n    balance leastconn\n")
    assert render(template, b"", {"be_app": [], "be_other": []}).content == template


def test_holds_of_the_file_stay_where_haproxy_was_not_seen() -> None:
    held = a_server(ONE, admin=AdminState.MAINT, weight=100, paused=True)
    current = render(EMPTY, EMPTY, {"be_app": [seen(held, a_server(TWO), wanted=[ONE, TWO])]}).content
    assert current.count(b" disabled ") == 1
    wanted = {"be_app": [seen(wanted=[ONE, TWO])]}
    assert render(current, current, wanted, keep_holds=True).content == current
    assert b" disabled " not in render(current, current, wanted).content
