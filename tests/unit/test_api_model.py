from __future__ import annotations

import json
from typing import get_args

from dynsrv.api_model import ProxyStatus, to_json
from dynsrv.steps import Step, StepKind


def a_proxy(*, error: str | None = None) -> ProxyStatus:
    return ProxyStatus(
        proxy="lb1", address="unix:///x.sock", up=error is None, version=None, pid=None, error=error, config_files=[]
    )


def test_what_is_not_known_is_null() -> None:
    assert json.loads(to_json(a_proxy())) == {
        "proxy": "lb1",
        "address": "unix:///x.sock",
        "up": True,
        "version": None,
        "pid": None,
        "error": None,
        "config_files": [],
    }


def test_a_path_that_is_not_utf_8_is_written_too() -> None:
    path = b"/etc/\xff.yaml".decode(errors="surrogateescape")
    assert json.loads(to_json(a_proxy(error=path)))["error"] == path


def test_every_step_has_a_kind_of_the_api() -> None:
    assert {one.kind for one in get_args(Step)} == set(get_args(StepKind))
