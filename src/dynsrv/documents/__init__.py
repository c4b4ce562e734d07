"""What does a YAML or JSON document say, and on which line? It does not know what the keys mean."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from dynsrv.documents.messages import show
from dynsrv.errors import ConfigurationError

KeyPath = tuple[str | int, ...]
"""The keys and positions that lead to a value: `("backends", 0, "name")`."""

MAX_DEPTH = 100

FREE_COPIES = 10_000
COPIES_PER_VALUE = 20
"""Values that aliases and merges may repeat: so many in any document, and so many for each value that is written out.

A few lines could stand for billions of values otherwise.
"""

_Lines = dict[tuple[int, str | int], int]
_ROOT = (0, 0)


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its *name* in messages, such as that of the file, and its *data*.

    The data are dicts, lists, text, numbers, booleans and None. Keys are always text; an alias is the same
    object as its anchor.
    """

    name: str
    data: Any
    _lines: _Lines
    _origin: Any
    inserted: tuple[tuple[str, str], ...] = ()
    """What `${NAME}`s stood for, with the text of the file: no message shows it, for it may be a secret."""

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Return the line of the key or item at *path*, or of its nearest parent; None for JSON."""
        here, line = self._origin, self._lines.get(_ROOT)
        for step in path:
            if not has_step(here, step):
                break
            line = self._lines.get((id(here), step), line)
            here = here[step]
        return line

    def where(self, path: Sequence[str | int] = ()) -> str:
        """Return the document's name, with the line of *path* if it is known."""
        line = self.line_of(path) if path else None
        return self.name if line is None else f"{self.name}:{line}"


def has_step(collection: object, step: str | int) -> bool:
    """Return whether *step* leads from *collection* to a value."""
    if isinstance(collection, list):
        return isinstance(step, int) and step < len(collection)
    return isinstance(collection, dict) and step in collection


def parse(content: bytes, *, name: str) -> Document:
    """Read one document, JSON or YAML. Plain `yes`, `on` and dates are text, as in YAML 1.2; `<<` merges.

    Raises:
        ConfigurationError: not UTF-8, neither JSON nor YAML, several documents, a tag, a key twice in one
            mapping, nested deeper than 100, or aliases that repeat too much. Its *where* has the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{name}:{line}", "not UTF-8 text; save the file as UTF-8") from None
    not_json: Exception | None = None
    if text.lstrip().startswith(("[", "{")):
        try:
            data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
            return Document(name, data, {}, data)
        except (ValueError, RecursionError) as error:
            not_json = error
    try:
        return _Reader(name).read(text)
    except ConfigurationError:
        if isinstance(not_json, json.JSONDecodeError) and name.endswith(".json"):
            place = f"{name}:{not_json.lineno}"
            raise ConfigurationError(place, f"not valid JSON: {not_json.msg}; {_CORRECT}") from None
        raise


_CORRECT = "correct the syntax, or write the file as a whole (to a new file, then rename)"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key twice")  # YAML, which JSON is too, then tells where
    return mapping


def _no_number(text: str) -> Any:
    raise ValueError(text)


_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_FRACTION = re.compile(r"[-+]?([0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18})([eE][-+]?[0-9]{1,2})?")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NO_KEY = object()


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


class _Reader:
    """Builds data from the parser's events.

    From events, because the library's way to a tree recurses in C: a file of 100,000 `[` ends the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: _Lines = {}
        self._anchors: dict[str, tuple[Any, int]] = {}  # with the number of values, as if aliases were written out
        self._merged: list[Any] = []  # kept alive, or its id might become another collection's
        # The collections that have not ended: each with its anchor, and the key whose value comes next.
        self._open: list[tuple[Any, str | None]] = []
        self._keys: list[Any] = []
        self._sizes: list[int] = []
        self._written = 0  # values, without those that aliases repeat
        self._copied = 0  # values that aliases repeat
        self._root: Any = None
        self._documents = 0

    def read(self, text: str) -> Document:
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            lines = text.rstrip().split("\n")
            mark = error.problem_mark or error.context_mark
            line = min(mark.line + 1, len(lines)) if mark else 1
            raise ConfigurationError(f"{self._name}:{line}", _syntax(error, lines)) from None
        except yaml.YAMLError:
            odd = _UNPRINTABLE.search(text)
            line = text.count("\n", 0, odd.start()) + 1 if odd else 1
            raise ConfigurationError(f"{self._name}:{line}", "a control character; remove it") from None
        return Document(self._name, self._root, self._lines, self._root)

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event)
            value = _plain(event.value) if event.implicit[0] and event.tag is None else event.value
            if event.anchor:
                self._anchors[event.anchor] = value, 1
            self._written += 1
            self._grow(1)
            self._place(value, event, text=event.value)
        elif isinstance(event, yaml.CollectionEndEvent):
            collection, anchor = self._open.pop()
            self._keys.pop()
            size = self._sizes.pop()
            self._grow(size)
            if isinstance(collection, dict) and "<<" in collection:
                self._merge(collection)
            if anchor:
                self._anchors[anchor] = collection, size
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_tag(event)
            if len(self._open) >= MAX_DEPTH:
                self._refuse(event, f"nested deeper than {MAX_DEPTH} levels; no file of dynsrv needs that")
            collection = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._place(collection, event)
            self._open.append((collection, event.anchor))
            self._keys.append(_NO_KEY)
            self._sizes.append(1)
            self._written += 1
        elif isinstance(event, yaml.AliasEvent):
            name = str(event.anchor)
            if name not in self._anchors:
                self._refuse(event, f"the alias *{name} has no anchor &{name} before it; add one")
            value, size = self._anchors[name]
            self._copied += size
            if self._copied > FREE_COPIES + COPIES_PER_VALUE * self._written:
                self._refuse(event, f"the aliases up to here repeat {self._copied} values, too many; write them out")
            self._grow(size)
            self._place(value, event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(event, "a second document begins here; keep one document in the file")

    def _grow(self, values: int) -> None:
        """Count so many more values in the innermost collection."""
        if self._sizes:
            self._sizes[-1] += values

    def _place(self, value: Any, event: yaml.NodeEvent, *, text: str | None = None) -> None:
        line = _line(event)
        if not self._open:
            self._root = value
            self._lines[_ROOT] = line
            return
        collection = self._open[-1][0]
        if isinstance(collection, list):
            self._lines[id(collection), len(collection)] = line
            collection.append(value)
        elif self._keys[-1] is not _NO_KEY:
            collection[self._keys[-1]] = value
            self._keys[-1] = _NO_KEY
        elif text is None:
            self._refuse(event, "a list, a mapping or an alias as a key; write the key as text")
        else:
            if (first := self._lines.get((id(collection), text))) is not None:
                self._refuse(event, f"the key {show(text)} is already on line {first}; remove one of the two")
            self._lines[id(collection), text] = line
            self._keys[-1] = text

    def _merge(self, collection: dict[str, Any]) -> None:
        merged = collection.pop("<<")
        self._merged.append(merged)
        for other in merged if isinstance(merged, list) else [merged]:
            if not isinstance(other, dict):
                where = f"{self._name}:{self._lines[id(collection), '<<']}"
                problem = f"<< merges mappings, found {show(other)}; name the anchor of a mapping"
                raise ConfigurationError(where, problem)
            for key, value in other.items():
                collection.setdefault(key, value)

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._refuse(event, f"the tag {event.tag} is not taken; write the plain value")

    def _refuse(self, event: yaml.Event, problem: str) -> NoReturn:
        raise ConfigurationError(f"{self._name}:{_line(event)}", problem)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _syntax(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    mark, start = error.problem_mark, error.context_mark
    text = lines[mark.line] if mark and mark.line < len(lines) else ""
    at = text[mark.column : mark.column + 1] if mark else ""
    if at == "\t":
        return "not valid YAML: a tab at the beginning of a line; indent with spaces"
    if at and at in "@`%":
        return f"not valid YAML: text that begins with {at}; put it in quotes"
    if mark and (mark.line, mark.column) >= (len(lines) - 1, len(lines[-1])):
        return f"not valid YAML: the file ends too early; {_CORRECT}"
    if "${" in text:
        return "not valid YAML: inside of [ ] or { } a ${NAME} needs quotes"
    began = f" {error.context} that began on line {start.line + 1}" if start and start != mark else ""
    return f"not valid YAML: {error.problem}{began}; {_CORRECT}"
