"""Where in a HAProxy configuration are the servers of a backend? Pure: bytes in, bytes out.

In a `backend` or `listen` section, dynsrv replaces what is between two comments, and no other byte:

    backend be_app
        balance roundrobin
        # dynsrv begin
        server dyn-10.0.0.1:80 10.0.0.1:80 id 70000 weight 100 check
        # dynsrv end
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

_HEADS = (
    b"global|defaults|frontend|backend|listen|peers|resolvers|mailers|userlist|program|http-errors|ring|cache"
    b"|fcgi-app|log-forward|log-profile|crt-store|traces|acme|healthcheck"
)
"""The words that start a section at the start of a line, which may be indented (2.2-3.4)."""
_HEAD = re.compile(rb"^[ \t]*(%s)(?:[ \t]+([^\s#]+))?(?=[\s#]|\Z)([^\n]*)" % _HEADS, re.MULTILINE)
_MARK = re.compile(rb"^([ \t]*)#[ \t]*dynsrv[ \t]+(begin|end)[ \t]*(\r?)$", re.MULTILINE)
_SERVER = re.compile(
    rb"^[ \t]*server[ \t]+([^\s#]+)[ \t]+([^\s#]+)(?:[^\n#]*?[ \t]id[ \t]+([0-9]+)(?=[\s#]|\Z))?", re.MULTILINE
)
_WORDS = re.compile(rb"[^\s#]+")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_BLANK = re.compile(rb"^[ \t]*(?:#[^\n]*|\r)?$")

_PROXIES = frozenset({b"backend", b"listen"})

BEGIN, END = "# dynsrv begin", "# dynsrv end"


class SectionError(ValueError):
    """A configuration has no place for the servers of a backend. *reason* is section or marks."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OtherServers:
    """The servers of a section that are not between the marks: names, addresses as written, and ids that are given."""

    names: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of a configuration: its number, counted from 1, and its words."""

    line: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    """The line that begins a section. The section ends at *end*, where the next one begins."""

    kind: bytes
    name: str
    parent: str | None  # the `defaults` that it names by `from`
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Place:
    """What is between the marks of a section, and how a line is written there."""

    head: _Head
    start: int
    end: int
    indent: bytes
    newline: bytes


class Configuration:
    """The text of one file that HAProxy reads."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._places: dict[str, _Place] = {}

    def has_section(self, backend: str) -> bool:
        """Whether *backend* has a section here, with or without marks."""
        return any(one.kind in _PROXIES and one.name == backend for one in self._heads)

    def servers(self, backend: str) -> list[str]:
        """Return the lines between the marks of *backend*, without their indentation.

        Raises:
            SectionError: there is no such section, or no one pair of marks in it.
        """
        place = self._place(backend)
        lines = self.content[place.start : place.end].decode("utf-8", "replace").split("\n")
        return [line.strip() for line in lines if line.strip()]

    def others(self, backend: str) -> OtherServers:
        """Return the servers of *backend* that are not between the marks.

        Raises:
            SectionError: as `servers`.
        """
        place = self._place(backend)
        outside = (self.content[place.head.start : place.start], self.content[place.end : place.head.end])
        found = [match for text in outside for match in _SERVER.finditer(text)]
        return OtherServers(
            names=frozenset(_text(match[1]) for match in found),
            addresses=frozenset(_text(match[2]) for match in found),
            ids=frozenset(int(match[3]) for match in found if match[3]),
        )

    def with_servers(self, servers: Mapping[str, Iterable[str]]) -> bytes:
        """Return the text with these lines, by backend, between the marks instead of those that are there.

        Raises:
            SectionError: as `servers`.
        """
        parts: list[bytes] = []
        done = 0
        for place, lines in sorted(
            ((self._place(backend), lines) for backend, lines in servers.items()), key=lambda one: one[0].start
        ):
            parts.append(self.content[done : place.start])
            parts += [place.indent + line.encode() + place.newline for line in lines]
            done = place.end
        return b"".join([*parts, self.content[done:]])

    def with_marks(self, backend: str) -> bytes:
        """Return the text with a pair of marks at the end of the section of *backend*, if it has none.

        Raises:
            SectionError: there is no such section, or its marks are not one pair.
        """
        head = self._section(backend)
        if _MARK.search(self.content, head.start, head.end):
            self._place(backend)
            return self.content
        text = self.content[head.start : head.end]
        lines = _LINE.findall(text)
        while len(lines) > 1 and _BLANK.match(lines[-1].rstrip(b"\n")):
            lines.pop()  # what stands above the next section is about that one
        newline = b"\r\n" if lines[-1].endswith(b"\r\n") else b"\n"
        if not lines[-1].endswith(b"\n"):
            lines[-1] += newline
        indent = _indent(lines[-1]) if len(lines) > 1 else b"    "
        marks = b"".join(indent + mark.encode() + newline for mark in (BEGIN, END))
        at = head.start + sum(map(len, lines))
        return self.content[: head.start] + b"".join(lines) + marks + self.content[min(at, head.end) :]

    def directives(self, backend: str, *keywords: str) -> list[Directive]:
        """Return the lines that begin with one of *keywords* in the section of *backend*, and in its `defaults`.

        Raises:
            SectionError: there is no such section.
        """
        section: _Head | None = self._section(backend)
        sections: list[_Head] = []
        while section is not None:
            sections.insert(0, section)
            section = self._defaults(section)
        found = []
        for section in sections:
            for match in re.finditer(rb"^[ \t]*[a-z][^\n]*$", self.content[section.start : section.end], re.MULTILINE):
                words = tuple(_text(word) for word in _WORDS.findall(match[0].partition(b"#")[0]))
                if words and words[0] in keywords:
                    found.append(Directive(self._line(section.start + match.start()), words))
        return found

    @cached_property
    def _heads(self) -> list[_Head]:
        matches = list(_HEAD.finditer(self.content))
        ends = [*(match.start() for match in matches), len(self.content)][1:]
        heads = []
        for match, end in zip(matches, ends, strict=True):
            rest = [_text(word) for word in _WORDS.findall(match[3].partition(b"#")[0])]
            parent = rest[1] if len(rest) > 1 and rest[0] == "from" else None
            heads.append(_Head(match[1], _text(match[2] or b""), parent, match.start(), end))
        return heads

    def _section(self, backend: str) -> _Head:
        found = [one for one in self._heads if one.kind in _PROXIES and one.name == backend]
        if not found:
            raise SectionError("section", f"it has no section `backend {backend}` or `listen {backend}`")
        if len(found) > 1:
            lines = " and ".join(str(self._line(one.start)) for one in found)
            raise SectionError("section", f"{backend} has {len(found)} sections, on lines {lines}; leave one")
        return found[0]

    def _defaults(self, head: _Head) -> _Head | None:
        """Return the `defaults` section that applies: the one that is named, or else the last before a proxy."""
        before = [one for one in self._heads if one.kind == b"defaults" and one.start < head.start]
        if head.parent is not None or head.kind == b"defaults":
            before = [one for one in before if one.name and one.name == head.parent]
        return before[-1] if before else None

    def _place(self, backend: str) -> _Place:
        if backend not in self._places:
            self._places[backend] = self._found(backend)
        return self._places[backend]

    def _found(self, backend: str) -> _Place:
        head = self._section(backend)
        marks = list(_MARK.finditer(self.content, head.start, head.end))
        match [_text(mark[2]) for mark in marks]:
            case ["begin", "end"]:
                begin, end = marks
                return _Place(head, begin.end() + 1, end.start(), begin[1], begin[3] + b"\n")
            case []:
                problem = f"the section of {backend} has no lines `{BEGIN}` and `{END}`"
                raise SectionError("marks", f"{problem}; write them, or have `dynsrv render --mark {backend}` do it")
            case _:
                lines = ", ".join(f"{_text(mark[2])} on line {self._line(mark.start())}" for mark in marks)
                problem = f"the section of {backend} has these marks: {lines}"
                raise SectionError("marks", f"{problem}; leave one `{BEGIN}` and after it one `{END}`")

    def _line(self, offset: int) -> int:
        return self.content.count(b"\n", 0, offset) + 1


def _indent(line: bytes) -> bytes:
    return line[: len(line) - len(line.lstrip(b" \t"))]


def _text(word: bytes) -> str:
    """Return a word as HAProxy reads it, as far as names go: quotes and backslashes only hold it together."""
    return re.sub(rb"[\"'\\]", b"", word).decode("utf-8", "replace")
