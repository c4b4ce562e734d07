"""What `pytest` takes besides its own options: how much is tried.

`make test-all` asks for the most of both: `--all-versions`, and `--hypothesis-profile=thorough`.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-versions", action="store_true", help="run tests marked any_version on every HAProxy version, not on one"
    )
