"""Which values do the `${NAME}`s of a document have?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dynsrv.documents import Document, KeyPath
from dynsrv.documents.messages import config_error, show

_REFERENCE = re.compile(r"\$(\$\{)|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def interpolate(document: Document, environ: Mapping[str, str]) -> Document:
    """Return *document* with every `${NAME}` in its text values taken from *environ*; `$${` stands for `${`.

    Keys are left alone. The lines stay those of the file.

    Raises:
        ConfigurationError: variables that are not set (an empty one is), or a `${` that names none.
    """
    problems: list[tuple[KeyPath, str]] = []
    inserted: list[tuple[str, str]] = []

    def in_text(text: str, path: KeyPath) -> str:
        def value_of(match: re.Match[str]) -> str:
            literal, name, closed = match.groups()
            if literal:
                return str(literal)
            if not closed or not _VARIABLE.fullmatch(name):
                expected = "expected ${NAME}; write $${ for a plain ${"
                problems.append((path, f"found {show(text)}, {expected}"))
            elif name not in environ:
                problems.append((path, f"the environment variable {name} is not set; set it"))
            elif environ[name]:
                inserted.append((environ[name], f"${{{name}}}"))
            return environ.get(name, "")

        result = _REFERENCE.sub(value_of, text)
        if result != text:
            inserted.extend([(result, text)])
        return result

    def in_value(value: Any, path: KeyPath) -> Any:
        match value:
            case str():
                return in_text(value, path)
            case dict():
                return {key: in_value(item, (*path, key)) for key, item in value.items()}
            case list():
                return [in_value(item, (*path, index)) for index, item in enumerate(value)]
            case _:
                return value

    data = in_value(document.data, ())
    if problems:
        raise config_error(document, problems)
    return replace(document, data=data, inserted=tuple(inserted))
