"""Who shows the token may change something, and nobody else; nor may a page of somebody else's."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web
from multidict import CIMultiDict

from dynsrv.web import auth
from dynsrv.web.interfaces import RequestRefused

NOT_SHOWN = "send the token in web.token_file: Authorization: Bearer <token>"
WRONG = "wrong token: send the one in web.token_file"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


def check(token_file: Path | None, authorization: str | None = "Bearer s3cret", **headers: str) -> None:
    shown = {} if authorization is None else {"Authorization": authorization}
    request = SimpleNamespace(headers=CIMultiDict({**shown, **headers}), host="lb.example:9105")
    asyncio.run(auth.check(cast(web.Request, request), token_file))


def the_denial(token_file: Path | None, authorization: str | None = "Bearer s3cret", **headers: str) -> tuple[int, str]:
    with pytest.raises(RequestRefused) as caught:
        check(token_file, authorization, **headers)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize("authorization", ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret "])
def test_who_shows_the_token_may(token_file: Path, authorization: str) -> None:
    check(token_file, authorization)


@pytest.mark.parametrize("authorization", [None, "", "s3cret", "Bearer", "Bearer ", "Basic s3cret", "Bearers3cret"])
def test_who_shows_no_token_may_not(token_file: Path, authorization: str | None) -> None:
    assert the_denial(token_file, authorization) == (401, NOT_SHOWN)


@pytest.mark.parametrize("shown", ["other", "s3cre", "s3cret2", "s3cret s3cret", "s\udc80\udcff", "é"])
def test_who_shows_another_token_may_not(token_file: Path, shown: str) -> None:
    assert the_denial(token_file, f"Bearer {shown}") == (401, WRONG)


def test_a_token_of_any_bytes_can_be_shown(token_file: Path) -> None:
    token_file.write_bytes("tökén".encode() + b"\xff\r\n")
    check(token_file, "Bearer tökén\udcff")  # as aiohttp reads a header


def test_without_a_file_for_it_nobody_may_whatever_they_show() -> None:
    problem = (403, "nothing can be changed over HTTP: the configuration has no web.token_file")
    assert the_denial(None) == the_denial(None, None) == problem


def test_a_new_token_counts_at_once_and_the_old_one_no_more(token_file: Path) -> None:
    check(token_file, "Bearer s3cret")
    token_file.write_text("another")
    check(token_file, "Bearer another")
    assert the_denial(token_file, "Bearer s3cret") == (401, WRONG)


def test_a_token_file_that_does_not_exist_is_an_error(token_file: Path) -> None:
    token_file.unlink()
    assert the_denial(token_file) == (503, "web.token_file: there is no such file; write it, or correct the path")


def test_a_token_file_that_may_not_be_read_is_an_error(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # not by the file's mode: root may read everything
    problem = f"the user with id {os.geteuid()} may not read it; give that user the permission"
    assert the_denial(token_file) == (503, f"web.token_file: {problem}")


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_file_lets_nobody_in(token_file: Path, content: str) -> None:
    token_file.write_text(content)
    assert the_denial(token_file) == (503, "web.token_file: it is empty; write a token to it")


def test_who_shows_nothing_does_not_learn_what_is_wrong_with_the_file(token_file: Path) -> None:
    token_file.unlink()
    assert the_denial(token_file, None) == (401, NOT_SHOWN)


@pytest.mark.parametrize("origin", ["http://lb.example:9105", "https://lb.example:9105"])
def test_its_own_page_may(token_file: Path, origin: str) -> None:
    check(token_file, Origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://lb.example",
        "http://lb.example:9106",
        "http://lb.example:9105.evil.example",
        "http://evil@lb.example:9105",
        "lb.example:9105",
        "null",
        "",
        "http://[",
        "http://[::1",
    ],
)
def test_another_page_may_not_even_with_the_token(token_file: Path, origin: str) -> None:
    assert the_denial(token_file, Origin=origin) == (403, f"pages of {origin} may not change anything here")


def test_a_very_long_origin_is_cut_in_the_error(token_file: Path) -> None:
    _, sentence = the_denial(token_file, Origin="http://" + "x" * 10_000)
    assert len(sentence) < 200
