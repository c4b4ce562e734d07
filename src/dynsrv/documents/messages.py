"""How is what is wrong with a document written? Values, paths of keys and lists of problems, as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dynsrv.errors import ConfigurationError

if TYPE_CHECKING:
    from dynsrv.documents import Document, KeyPath

MAX_PROBLEMS = 20
MAX_LISTED = 10


def show(value: object) -> str:
    """Return *value* as the file has it, on one line and cut after 80 characters."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            text = value if len(value) <= 80 else value[:79] + "…"
            return json.dumps(text, ensure_ascii=not text.isprintable())
        case dict() | list():
            return "a mapping" if isinstance(value, dict) else "a list"
        case _:
            return str(value)


def listed(names: Iterable[object]) -> str:
    """Return the first ten of *names*, printable and with commas, and how many more there are."""
    every = [str(name) for name in names]
    first = ", ".join(name if name.isprintable() and len(name) <= 80 else show(name) for name in every[:MAX_LISTED])
    return f"{first} and {len(every) - MAX_LISTED} more" if len(every) > MAX_LISTED else first


def format_path(path: Iterable[str | int]) -> str:
    """Return the path of keys as people write it: `backends[0].server.inter`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if re.fullmatch(r"[\w-]+", step) else show(step)
            text += f".{key}" if text else key
    return text


def config_error(document: Document, problems: Sequence[tuple[KeyPath, str]]) -> ConfigurationError:
    """Return an error that lists *problems*, each a path and a sentence, one per line in the order of the file."""
    problems = [(path, _without_secrets(sentence, document)) for path, sentence in problems]
    ordered = sorted(problems, key=lambda problem: document.line_of(problem[0]) or 0)
    lines = [
        (document.where(path), f"{format_path(path)}: {sentence}" if path else sentence) for path, sentence in ordered
    ]
    if len(lines) == 1:
        return ConfigurationError(*lines[0])
    listed = [f"{where}: {problem}" for where, problem in lines[:MAX_PROBLEMS]]
    if len(lines) > MAX_PROBLEMS:
        listed.append(f"{document.name}: and {len(lines) - MAX_PROBLEMS} more")
    return ConfigurationError(document.name, "\n".join([f"{len(lines)} problems", *listed]))


def _without_secrets(sentence: str, document: Document) -> str:
    """Return *sentence* with `${NAME}` in place of what that stood for, in each form in which `show` may write it."""
    for text, reference in sorted(document.inserted, key=lambda pair: len(pair[0]), reverse=True):
        if len(text) > 79:
            beginning = re.escape(show(text)[1:60])
            sentence = re.sub(f'{beginning}[^"]*', reference.replace("\\", r"\\"), sentence)
        for form in {text, show(text)[1:-1]}:
            # A short one is replaced only where it is all that is in the quotes: "on" is also in "expected one of".
            sentence = (
                sentence.replace(form, reference) if len(form) >= 6 else sentence.replace(f'"{form}"', f'"{reference}"')
            )
    return sentence
