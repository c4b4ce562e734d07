"""How is dynsrv laid out? Counts rooms, the imports between them, and the longest chain of them.

    python -m tools.rooms [SOURCE]    # the package's directory, by default src/dynsrv

A room is a package, or a single module beside the packages. An arrow is a pair of rooms of which one imports the other.
To compare with an earlier commit: git archive COMMIT src | tar x -C /tmp; python -m tools.rooms /tmp/src/dynsrv
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple


class Layout(NamedTuple):
    """The number of modules in each room, and the rooms that it imports."""

    modules: Counter[str]
    imports: dict[str, set[str]]


def layout(source: Path) -> Layout:
    """Return the layout of the package in the directory *source*."""
    rooms = {name: room for path in source.rglob("*.py") for name, room in [_place(path, source)]}
    imports: dict[str, set[str]] = {room: set() for room in rooms.values()}
    for path in source.rglob("*.py"):
        name, room = _place(path, source)
        for imported in _imported(path, rooms):
            if rooms[imported] != room and imported != name:
                imports[room].add(rooms[imported])
    return Layout(Counter(rooms.values()), imports)


def longest_chain(imports: Mapping[str, set[str]]) -> list[str]:
    """Return the longest chain of rooms, each of which imports the next.

    Raises:
        CycleError: there is a cycle of imports.
    """
    TopologicalSorter(imports).prepare()

    @cache
    def chain(room: str) -> tuple[str, ...]:
        return (room, *longest(imports[room]))

    def longest(rooms: Iterable[str]) -> tuple[str, ...]:
        chains: list[tuple[str, ...]] = [chain(room) for room in sorted(rooms)]
        return max(chains, key=len, default=())

    return list(longest(imports))


def _place(path: Path, source: Path) -> tuple[str, str]:
    """Return the name of a module, and its room."""
    parts = (source.name, *path.relative_to(source).with_suffix("").parts)
    package = ".".join(parts[1:-1])
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return name, f"{package}/" if package else parts[-1]


def _imported(path: Path, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield those of *modules* that the file at *path* imports, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                names = [f"{module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else module for name in names]
            case _:
                continue
        yield from (name for name in names if name in modules)


def main() -> None:
    """Print the rooms, what each imports, and the totals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", type=Path, default=Path("src/dynsrv"))
    found = layout(parser.parse_args().source)
    for room in sorted(found.imports):
        print(f"{room:16} {found.modules[room]:3}  -> {', '.join(sorted(found.imports[room])) or 'nothing'}")
    arrows = sum(map(len, found.imports.values()))
    print(f"\n{found.modules.total()} modules in {len(found.modules)} rooms, {arrows} arrows between rooms")
    try:
        chain = longest_chain(found.imports)
        print(f"longest chain: {len(chain)} rooms: {' -> '.join(chain)}")
    except CycleError as error:
        print(f"a cycle of imports: {' -> '.join(error.args[1])}")


if __name__ == "__main__":
    main()
