"""Problems with the certificate, and errors of aiohttp, are reported like all others."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadStatusLine, InvalidHeader
from structlog.testing import capture_logs

from dynsrv.errors import ConfigurationError
from dynsrv.logs import Event
from dynsrv.web.server import tls_context

NONE = "there is no such file; write it, or correct the path"
EXPECTED = "expected a certificate and its key, not encrypted, in PEM"


@pytest.mark.parametrize(
    ("cert_file", "key_file", "error"),
    [
        ("none", "text", f"web.tls.cert_file: none: {NONE}"),
        ("text", "none", f"web.tls.key_file: none: {NONE}"),
        (".", None, "web.tls.cert_file: .: a directory; name the file in it"),
        ("text", "text", f"web.tls: text and text: {EXPECTED}"),
        ("text", None, f"web.tls: text: {EXPECTED}"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_the_operator_s_to_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, cert_file: str, key_file: str | None, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("hello")
    with pytest.raises(ConfigurationError) as caught:
        tls_context(Path(cert_file), Path(key_file) if key_file else None)
    assert str(caught.value).removesuffix(" (NO_START_LINE)") == error


def test_a_bug_that_aiohttp_met_is_a_line_of_the_log() -> None:
    error = ZeroDivisionError("a bug")
    with capture_logs() as logs:
        logging.getLogger("dynsrv.web").error("Error handling request from %s", "::1", exc_info=error)
    (line,) = logs
    assert (line["event"], line["log_level"]) == (Event.HTTP_REQUEST_FAILED, "error")
    assert line["error"] == "Error handling request from ::1"
    assert line["exc_info"][1] is error


@pytest.mark.parametrize("error", [BadStatusLine("hello"), InvalidHeader("x"), ConnectionResetError("Connection lost")])
def test_a_client_that_speaks_no_http_or_goes_is_worth_no_line(error: Exception) -> None:
    with capture_logs() as logs:
        logging.getLogger("dynsrv.web").error("Error handling request from %s", "::1", exc_info=error)
    assert logs == []
