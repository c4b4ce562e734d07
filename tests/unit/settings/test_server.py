from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from dynsrv.planning.options import implied_check_keywords
from dynsrv.server_keywords import MANAGED, MAX_WORDS, STATIC_ONLY, checked_option
from dynsrv.settings.server import ServerSettings

VERIFIED = {"verify": "required", "ca_file": "/etc/ssl/ca.pem", "sni": "example.com"}


def the_keywords_of(**keys: Any) -> tuple[str, ...]:
    return ServerSettings.model_validate(keys).keywords()


def test_a_server_is_checked_unless_told_otherwise() -> None:
    assert the_keywords_of() == ("check",)
    assert the_keywords_of(check=False) == ()


def test_every_key_becomes_the_keyword_of_haproxy_with_times_in_milliseconds() -> None:
    assert the_keywords_of(
        slowstart="1m", maxconn=0, rise=2, fall=3, downinter="5s", fastinter="500ms", inter="1.5s", options=["backup"]
    ) == (
        "check",
        "inter 1500ms",
        "fastinter 500ms",
        "downinter 5000ms",
        "fall 3",
        "rise 2",
        "slowstart 60000ms",
        "backup",
    )


def test_the_check_of_a_server_with_tls_uses_tls_with_the_same_name() -> None:
    assert the_keywords_of(ssl=VERIFIED) == (
        "check",
        "ssl",
        "verify required",
        "ca-file /etc/ssl/ca.pem",
        "sni str(example.com)",
        "check-ssl",
        "check-sni example.com",
    )


def test_a_server_with_tls_and_without_a_check_needs_nothing_for_the_check() -> None:
    assert the_keywords_of(check=False, ssl={"verify": "none"}) == ("ssl", "verify none")


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"])
def test_the_check_of_a_server_that_gets_the_proxy_protocol_speaks_it_too(option: str) -> None:
    assert the_keywords_of(options=[option]) == ("check", "check-send-proxy", option)
    assert the_keywords_of(check=False, options=[option]) == (option,)


def test_what_the_operator_wrote_of_the_check_is_not_written_twice() -> None:
    options = ["check-sni other.example", "check-ssl", "send-proxy", "check-send-proxy"]
    assert the_keywords_of(ssl=VERIFIED, options=options)[5:] == tuple(options)


@pytest.mark.parametrize("target", ["port 8081", "addr 10.0.0.9"])
def test_a_check_with_a_target_of_its_own_inherits_nothing_as_in_haproxys_own_file(target: str) -> None:
    assert implied_check_keywords(["check", "ssl", "sni str(a.example)", "send-proxy", target]) == []


def test_a_name_for_tls_may_be_an_expression_but_not_twice() -> None:
    keywords = the_keywords_of(ssl={"verify": "none"}, options=["sni ssl_fc_sni"])
    assert keywords == ("check", "ssl", "verify none", "check-ssl", "sni ssl_fc_sni")
    with pytest.raises(ValidationError, match=r"the key server\.ssl gives sni already"):
        the_keywords_of(ssl=VERIFIED, options=["sni ssl_fc_sni"])


def test_a_line_that_haproxy_would_cut_is_refused() -> None:
    with pytest.raises(ValidationError, match="too long for HAProxy, which may cut after 50 words"):
        the_keywords_of(options=[f"source {'x ' * MAX_WORDS}x"])
    with pytest.raises(ValidationError, match="too long for HAProxy"):
        the_keywords_of(options=[f"source {'x' * 8000}"])


@pytest.mark.parametrize(
    "option",
    [
        "backup",
        "send-proxy-v2",
        "on-marked-down shutdown-sessions",
        "sni req.hdr(host)",
        "check-alpn h2,http/1.1",
        "observe layer7",
        "source 10.0.0.1:1024-2048 interface eth0",
        "pool-max-conn -1",
        "on-error fastinter",
        "hash-key id",
        "cookie check",
        "set-proxy-v2-tlv-fmt(0x20) %[src]",
        "set-proxy-v2-tlv-fmt(224) %[fc_pp_unique_id]",
    ],
)
def test_a_keyword_with_its_arguments_is_an_option(option: str) -> None:
    assert checked_option(option) == option


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("backup send-proxy", "but send-proxy is no argument of backup: write it as an option of its own"),
        ("agent-port 9 agent-check", "but agent-check is no argument of agent-port: write it as an option of its own"),
        ("on-error fastinter weight", "but weight is no argument of on-error: write it as an option of its own"),
        ("agent-port", "expected agent-port and its argument"),
        ("set-proxy-v2-tlv-fmt(x) a", "expected a keyword of HAProxy's server line first, such as send-proxy-v2"),
    ],
)
def test_an_option_is_one_keyword(option: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        checked_option(option)


@given(text=st.text(max_size=40) | st.text(alphabet="ab -<;\\#\"'\n\t\x00é", max_size=12))
def test_no_option_can_end_the_command_or_begin_another(text: str) -> None:
    try:
        option = checked_option(text)
    except ValueError:
        return
    assert option == text
    assert option.isascii()
    assert option.isprintable()
    assert not set(option) & set(";\\#\"'")
    assert all(word and not word.startswith("<<") for word in option.split(" "))


WORDS = st.from_regex(r"[a-z0-9(),./:-]{1,8}", fullmatch=True)


@given(before=st.lists(WORDS, max_size=3), word=st.sampled_from(sorted({*MANAGED, *STATIC_ONLY})), after=WORDS)
def test_no_keyword_that_is_not_the_operators_hides_behind_another(before: list[str], word: str, after: str) -> None:
    with pytest.raises(ValueError, match=r"does not belong here|does not accept|expected a keyword|option of its own"):
        checked_option(" ".join([*before, word, after]))


@given(before=WORDS, inside=st.sampled_from(list(";\\#\"'\n\r\t\x00\x7fé\u2028")), after=WORDS)
def test_every_character_with_a_meaning_for_haproxy_is_refused(before: str, inside: str, after: str) -> None:
    assume(before[0].isalpha())
    with pytest.raises(ValueError, match="could end the command or begin another"):
        checked_option(before + inside + after)


@pytest.mark.parametrize("text", ["", "a b", "a;b", "a\nb", "<<x"])
def test_the_path_of_authorities_is_one_harmless_word(text: str) -> None:
    with pytest.raises(ValidationError, match="ca_file"):
        the_keywords_of(ssl={"ca_file": text})
