"""What `pytest` takes besides its own options."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-versions", action="store_true", help="run tests marked any_version on every HAProxy version, not on one"
    )
