"""The tables of docs/configuration.md have a row for each key, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from dynsrv.settings import BackendSettings, LimitsSettings, ProxySettings, Settings
from dynsrv.settings.server import ServerSettings

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "configuration.md"


def keys_of(model: type[BaseModel], *, whole: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the keys of a section, with those of the sections in it, but for the *whole* ones."""
    for name, field in model.model_fields.items():
        inner = None if name in whole else section_of(field.annotation)
        if inner is None:
            yield name
        else:
            yield from (f"{name}.{key}" for key in keys_of(inner))


def section_of(annotation: Any) -> type[BaseModel] | None:
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def documented(heading: str) -> set[str]:
    section = DOCUMENTATION.read_text().partition(f"\n### {heading}")[2]
    table = re.split(r"\n#", section)[0]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(.*?)`", row)}


def test_the_keys_at_the_top_are_documented() -> None:
    lists = {"proxies", "backends"}
    keys = set(keys_of(Settings, whole=frozenset(lists))) - lists
    assert documented("`resync`, `web`, `log`, `audit`") == keys


@pytest.mark.parametrize(
    ("heading", "model", "prefix"),
    [
        ("`proxies`", ProxySettings, ""),
        ("`backends`:", BackendSettings, ""),
        ("`backends[].server`", ServerSettings, ""),
        ("`backends[].limits`", LimitsSettings, "limits."),
    ],
)
def test_the_keys_below_are_documented(heading: str, model: type[BaseModel], prefix: str) -> None:
    keys = keys_of(model, whole=frozenset({"source", "server", "limits"}))
    assert documented(heading) == {f"{prefix}{key}" for key in keys}
