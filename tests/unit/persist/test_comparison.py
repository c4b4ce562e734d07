from __future__ import annotations

import pytest

from dynsrv.persist.comparison import differences
from dynsrv.persist.section import Configuration


def found(defaults: str = "", section: str = "", *, options: tuple[str, ...] = ("check", "inter 2000ms")) -> list[str]:
    text = f"defaults\n    mode http\n    {defaults}\nbackend be_app\n    balance roundrobin\n    {section}\n"
    return list(differences(Configuration(text.encode()), "be_app", options))


def test_a_section_of_which_nothing_is_inherited_differs_in_nothing() -> None:
    assert found() == []
    assert found("# default-server check", "server s1 10.0.0.1:80 check") == []


@pytest.mark.parametrize(
    ("words", "inherited"),
    [
        ("rise 3", "rise 3"),
        ("check inter 5s rise 3 ssl verify none", "rise 3 ssl verify none"),
        ("no-tls-tickets slowstart 10s", "no-tls-tickets slowstart 10s"),
        ("maxconn 100", "maxconn 100"),
        ("backup", "backup"),
    ],
)
def test_what_default_server_gives_the_lines_alone_is_named_with_its_line(words: str, inherited: str) -> None:
    (problem,) = found(f"default-server {words}")
    assert problem.startswith(f"line 3: `default-server` gives its lines `{inherited}`, ")
    (problem,) = found(section=f"default-server {words} # all")
    assert problem.startswith(f"line 6: `default-server` gives its lines `{inherited}`, ")


@pytest.mark.parametrize("words", ["", "check", "check inter 5s", "weight 10", "check weight 10 inter 1s"])
def test_what_the_lines_say_themselves_is_not_inherited(words: str) -> None:
    assert found(f"default-server {words}") == []


@pytest.mark.parametrize("where", ["global", "local"])
def test_a_state_of_the_past_that_would_override_the_lines_is_named(where: str) -> None:
    (problem,) = found(f"load-server-state-from-file {where}")
    assert problem.startswith("line 3: `load-server-state-from-file` overrides")
    assert found(section=f"load-server-state-from-file {where}")


def test_a_state_file_that_the_section_itself_turns_off_is_none() -> None:
    assert found("load-server-state-from-file global", "load-server-state-from-file none") == []
