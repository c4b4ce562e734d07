"""What tools/fetch_kubectl.py decides: whether there is a kubectl."""

from pathlib import Path

import pytest

from tools.fetch_kubectl import KUBECTL


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("Client Version: v1.32.3", True),
        ("Client Version: v1.20.2", False),
        ("Client Version: v1.320.0", False),
        ("", False),
    ],
)
def test_a_kubectl_is_known_by_what_it_says_without_a_cluster(tmp_path: Path, says: str, *, expected: bool) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n[ \"$*\" = 'version --client' ] && echo '{says}'\n")
    program.chmod(0o755)
    assert KUBECTL.is_there(tmp_path) == expected
