"""What is HAProxy's configuration with the servers of its backends? Pure: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dynsrv.persist.section import Configuration, SectionError
from dynsrv.persist.server_lines import SeenServers, ServerLine, servers_to_write, still_held


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text, the names of the servers between its marks, and why it has no marks, both by backend."""

    content: bytes
    names: Mapping[str, frozenset[str]]
    problems: Mapping[str, SectionError]


def render(
    source: bytes, current: bytes, backends: Mapping[str, Sequence[SeenServers]], *, keep_holds: bool = False
) -> Rendered:
    """Return *source* with the servers of *backends* between their marks, each as observed on one proxy or several.

    *current* is what HAProxy reads now: the lines of a backend that was not observed yet are taken from there. With
    *keep_holds*, servers that are disabled there stay disabled. A backend without marks is not changed, and reported.
    """
    configuration = Configuration(source)
    lines: dict[str, list[str]] = {}
    names: dict[str, frozenset[str]] = {}
    problems: dict[str, SectionError] = {}
    for backend, seen in backends.items():
        try:
            others = configuration.others(backend)
        except SectionError as error:
            problems[backend] = error
            continue
        written = _Written(current, backend)
        if seen:
            servers = servers_to_write(seen, others=others, written=written)
            servers = still_held(servers, written) if keep_holds else servers
            lines[backend] = [str(one) for one in servers]
            names[backend] = frozenset(one.name for one in servers)
        else:
            lines[backend] = written.texts
            names[backend] = frozenset(written)
    return Rendered(configuration.with_servers(lines), names, problems)


class _Written(Mapping[str, ServerLine]):
    """The lines of a backend in a text, which is parsed only when one is needed: that is rare."""

    def __init__(self, content: bytes, backend: str) -> None:
        self._content = content
        self._backend = backend

    def __getitem__(self, name: str) -> ServerLine:
        return self._lines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    @cached_property
    def texts(self) -> list[str]:
        """All lines, those of other programs too."""
        try:
            return Configuration(self._content).servers(self._backend)
        except SectionError:  # a text that will be replaced as a whole
            return []

    @cached_property
    def _lines(self) -> dict[str, ServerLine]:
        lines = (ServerLine.read(text) for text in self.texts)
        return {line.name: line for line in lines if line is not None}
