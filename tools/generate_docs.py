"""Write the tables of docs/ that describe keys, metrics and requests, from the code that defines them.

    python -m tools.generate_docs            # in the project's folder; `make docs`
    python -m tools.generate_docs --check    # fail if a table is not up to date; part of `make check`

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; everything else is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from dynsrv.documents.values import JsonSchemaGenerator
from dynsrv.metrics import Metrics
from dynsrv.settings import BackendSettings, LimitsSettings, ProxySettings, Settings
from dynsrv.settings.server import ServerSettings
from dynsrv.sources.registry import KINDS
from dynsrv.web.interfaces import StatusReader
from dynsrv.web.openapi import document
from dynsrv.web.server_metrics import ServerMetrics

DOCS = Path("docs")
TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Json = Mapping[str, Any]
Row = Sequence[str]

_HIGHEST = 2**31 - 1  # what HAProxy counts up to; not worth a word


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description="Write the generated tables of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is not up to date")
    check = parser.parse_args().check
    stale = []
    for name, tables in all_tables().items():
        path = DOCS / name
        before = path.read_text(encoding="utf-8")
        after = with_tables(before, tables, name=str(path))
        if after != before:
            stale.append(str(path))
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.exit(f"{', '.join(stale)}: a table is not up to date; run make docs")


def all_tables() -> dict[str, dict[str, str]]:
    """Return every generated table as Markdown, by its file in docs/ and its name there."""
    return {
        "configuration.md": {
            "proxies": keys(ProxySettings),
            "backends": keys(BackendSettings, whole={"source", "server", "limits"}),
            "server": keys(ServerSettings),
            "limits": keys(LimitsSettings),
            "process": keys(Settings, without={"proxies", "backends"}),
            **{kind: keys(settings) for kind, settings in KINDS.items()},
        },
        "operations.md": {"metrics": metrics(), "server metrics": server_metrics()},
        "api.md": {
            "read": operations("get"),
            "write": operations("post"),
            "bodies": bodies(),
            "results": answer("Results"),
            "errors": statuses(),
            "status": answer("Status"),
            "plan": answer("Plan"),
        },
    }


def with_tables(text: str, tables: Mapping[str, str], *, name: str) -> str:
    """Return *text* with *tables* in their places.

    Raises:
        SystemExit: a table has no place in it, or a place no table.
    """
    places = [match[2] for match in TABLE.finditer(text)]
    if sorted(places) != sorted(tables):
        sys.exit(f"{name}: expected a place for each of these tables: {', '.join(tables)}; found: {', '.join(places)}")
    return TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]}{match[3]}", text)


def table(head: Row, rows: Iterable[Row]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:], ""])


# ---- keys of the configuration


def keys(model: type[BaseModel], *, whole: Iterable[str] = (), without: Iterable[str] = ()) -> str:
    """Return the table of a section's keys, with those of the sections in it, but for the *whole* ones."""
    schema = model.model_json_schema(schema_generator=JsonSchemaGenerator)
    rows = _keys(schema, schema.get("$defs", {}), whole=frozenset(whole))
    rows = (row for row in rows if row[0].strip("`").partition(".")[0] not in set(without))
    return table(("Key", "Type", "Default", "Meaning"), rows)


def _keys(schema: Json, known: Json, *, prefix: str = "", whole: frozenset[str] = frozenset()) -> Iterator[Row]:
    for name, value in schema["properties"].items():
        required = name in schema.get("required", ())
        default = "required" if required else _default(value.get("default"))
        key = f"{prefix}{name}"
        yield f"`{key}`", _type(value, known), default, _meaning(value, known)
        section = _section(value, known)
        if section is not None and name not in whole:
            yield from _keys(section, known, prefix=f"{key}.")


def _default(value: object) -> str:
    match value:
        case None | dict() | []:
            return ""
        case [one]:
            return _default(one)
        case str():
            return f"`{value}`"
        case _:
            return f"`{json.dumps(value)}`"


# ---- schemas, of the configuration and of the API


def _resolved(schema: Json, known: Json) -> Json:
    return known[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _branches(schema: Json, known: Json) -> list[Json]:
    """Return the schemas of which a value has one, without null."""
    branches = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return [_resolved(one, known) for one in branches if one.get("type") != "null"]


def _section(schema: Json, known: Json) -> Json | None:
    branches = _branches(schema, known)
    return branches[0] if len(branches) == 1 and "properties" in branches[0] else None


def _meaning(schema: Json, known: Json) -> str:
    described = schema if "description" in schema else _branches(schema, known)[0]
    return str(described.get("description", ""))


def _type(schema: Json, known: Json) -> str:
    words = list(dict.fromkeys(_word(one, known) for one in _branches(schema, known)))
    text = " or ".join(words)
    nullable = any(one.get("type") == "null" for one in schema.get("anyOf", ()))
    return f"{text}, `null`" if nullable and schema.get("default") is not None else text


def _word(schema: Json, known: Json) -> str:
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum") or [schema["const"]])
    if "properties" not in schema and "title" in schema:
        lowest = f", `{schema['x-minimum']}` to `{schema['x-maximum']}`" if "x-minimum" in schema else ""
        return f"{schema['title']}{lowest}"
    match schema.get("type"):
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number":
            return _number(schema)
        case "array":
            return f"list of {_plural(_type(schema['items'], known))}"
        case "string":
            return {"path": "path", "date-time": "time"}.get(schema.get("format", ""), "string")
        case _:
            return "mapping"


def _number(schema: Json) -> str:
    low, high = schema.get("minimum"), schema.get("maximum", _HIGHEST)
    if low is None:
        return "number"
    return f"number from {low}" if high >= _HIGHEST else f"number, {low} to {high}"


def _plural(word: str) -> str:
    return f"{word.partition(' or ')[0]}s" if word.partition(" or ")[0].isalpha() else word


# ---- metrics


def metrics() -> str:
    """Return the table of all metrics but those of single servers."""
    instruments = [one for one in vars(Metrics()).values() if hasattr(one, "_labelnames")]
    return _metrics((one.describe()[0], one._labelnames) for one in instruments)  # noqa: SLF001 - labels without samples


def server_metrics() -> str:
    """Return the table of the metrics of single servers."""
    families = ServerMetrics(cast(StatusReader, None)).describe()
    return _metrics((one, one._labelnames) for one in families)  # noqa: SLF001 - as above


def _metrics(found: Iterable[tuple[Any, Sequence[str]]]) -> str:
    rows = [
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            ", ".join(f"`{label}`" for label in labels),
            family.documentation,
        )
        for family, labels in found
    ]
    return table(("Metric", "Type", "Labels", "Meaning"), rows)


# ---- the API


def operations(method: str) -> str:
    """Return the table of the requests with *method*."""
    rows = [(f"`{path}`", one[method]["summary"]) for path, one in document()["paths"].items() if method in one]
    return table((f"`{method.upper()}`", "Meaning"), rows)


def bodies() -> str:
    """Return the table of the keys of request bodies."""
    known = document()["components"]["schemas"]
    rows: list[Row] = []
    for path, operation in document()["paths"].items():
        if "post" in operation:
            body = operation["post"]["requestBody"]["content"]["application/json"]["schema"]
            rows += [(f"`{path.rpartition('/')[2]}`", *row) for row in _keys(_resolved(body, known), known)]
    return table(("Request", "Key", "Type", "Default", "Meaning"), rows)


def statuses() -> str:
    """Return the table of the status codes of answers."""
    found: dict[str, dict[str, None]] = {}
    for operation in document()["paths"].values():
        for one in operation.values():
            for status, response in one["responses"].items():
                found.setdefault(status, {})[response["description"]] = None
    return table(("Status", "Meaning"), sorted((status, " ".join(meanings)) for status, meanings in found.items()))


def answer(name: str) -> str:
    """Return the table of all keys of an answer, however deep."""
    known = document()["components"]["schemas"]
    return table(("Key", "Type", "Meaning"), _answer(known[name], known))


def _answer(schema: Json, known: Json, *, prefix: str = "") -> Iterator[Row]:
    for name, value in schema["properties"].items():
        key = f"{prefix}{name}"
        yield f"`{key}`", _type(value, known), _meaning(value, known)
        for branch in _branches(value, known):
            is_list = branch.get("type") == "array"
            kinds = [one for one in _branches(branch["items"] if is_list else branch, known) if "properties" in one]
            yield from _merged(_answer(one, known, prefix=f"{key}[]." if is_list else f"{key}.") for one in kinds)


def _merged(tables: Iterable[Iterable[Row]]) -> Iterator[Row]:
    """Yield a row for each key: the items of a list may be of several kinds, which share some keys."""
    found: dict[str, list[Row]] = {}
    for rows in tables:
        for row in rows:
            found.setdefault(row[0], []).append(row)
    for key, rows in found.items():
        types, meanings = (dict.fromkeys(row[column] for row in rows) for column in (1, 2))
        yield key, ", ".join(types), " ".join(meanings)


if __name__ == "__main__":
    main()
