"""ARCHITECTURE.md describes the tree as it is."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]


def the_table() -> list[str]:
    """The rooms in the first column of the table, in its order; a package's name ends with a slash."""
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("| Module in `src/dynsrv/` |")[2].partition("\n\n")[0]
    return [
        room for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for room in re.findall(r"`(.+?)`", row)
    ]


def the_layers() -> dict[str, int]:
    """The layer of each room in import-linter's contract, from 0 at the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {room: depth for depth, layer in enumerate(layers) for room in re.findall(r"dynsrv\.(\w+)", layer)}


def test_the_table_has_every_package_and_every_single_module_and_nothing_else() -> None:
    source = ROOT / "src" / "dynsrv"
    modules = {path.stem for path in source.glob("*.py")} - {"__init__"}
    packages = {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    assert sorted(the_table()) == sorted(modules | packages)


def test_imports_point_down_the_table() -> None:
    layers = the_layers()
    rooms = [room.rstrip("/") for room in the_table()]
    assert layers.keys() == set(rooms)
    assert all(layers[above] <= layers[below] for above, below in pairwise(rooms))


def test_it_fits_on_two_pages() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 120
