from __future__ import annotations

from typing import get_args

import pytest

from dynsrv.sources.registry import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_registered_by_the_value_of_its_key(kind: str) -> None:
    assert get_args(KINDS[kind].model_fields["kind"].annotation) == (kind,)
