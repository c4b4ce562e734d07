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
    """Return the longest chain of rooms, each of which imports the next. Rooms that import each other count as one."""
    below = {room: _reachable(room, imports) for room in imports}
    groups = {room: frozenset({room, *(one for one in below[room] if room in below[one])}) for room in imports}

    @cache
    def chain(group: frozenset[str]) -> tuple[frozenset[str], ...]:
        return (group, *longest({groups[one] for room in group for one in imports[room]} - {group}))

    def longest(candidates: Iterable[frozenset[str]]) -> tuple[frozenset[str], ...]:
        chains: list[tuple[frozenset[str], ...]] = [chain(group) for group in sorted(candidates, key=sorted)]
        return max(chains, key=len, default=())

    return [" + ".join(sorted(group)) for group in longest(groups.values())]


def _reachable(room: str, imports: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [*imports[room]]
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += imports[one]
    return found


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
    chain = longest_chain(found.imports)
    print(f"longest chain: {len(chain)} rooms: {' -> '.join(chain)}")


if __name__ == "__main__":
    main()
