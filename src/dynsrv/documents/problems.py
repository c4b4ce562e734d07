"""What has the writer of a file to change? Sentences for what could not be read and what a model refused."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from dynsrv.documents import Document, KeyPath, config_error, has_step, show
from dynsrv.errors import ConfigurationError


class Redacted(ValueError):
    """What a validator raises of a value that is a secret: the sentence stands alone, without what was found."""


def unreadable(error: OSError) -> str:
    """Return what to say of a file that could not be read."""
    match error:
        case FileNotFoundError():
            return "there is no such file; write it, or correct the path"
        case PermissionError():
            return f"the user with id {os.geteuid()} may not read it; give that user the permission"
        case IsADirectoryError():
            return "a directory; name the file in it"
        case _:
            return f"it cannot be read: {error.strerror or error}"


def unknown_key(key: object, known: Iterable[str]) -> str:
    """Return what to say of a key that is none of *known*."""
    names = sorted(known)
    if near := difflib.get_close_matches(str(key), names, n=2, cutoff=0.65):
        return f"unknown key; did you mean {' or '.join(near)}?"
    return f"unknown key; the keys here are {', '.join(names)}"


def problems_at(model: type[BaseModel], problems: Iterable[tuple[KeyPath, str]]) -> ValidationError:
    """Return what a validator of *model* raises for *problems*: each a path below it and a sentence."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("problem", "{sentence}", {"sentence": sentence}), loc=path, input=None
        )
        for path, sentence in problems
    ]
    return ValidationError.from_exception_data(model.__name__, details)


def explain_validation(error: ValidationError, *, document: Document, model: type[BaseModel]) -> ConfigurationError:
    """Return *error*, which *model* raised of *document*'s data, in sentences for the one who wrote the file.

    A validator's `ValueError` tells what was expected; what was found is put before it.
    """
    sentences: dict[KeyPath, str] = {}
    verdicts = set()  # the paths of which only one branch of a union speaks
    for details in error.errors(include_url=False):
        if _follows(details):
            continue
        place = _locate(details, document.data, model)
        sentences.setdefault(place.path, _sentence(details, place.known))
        if place.branched:
            verdicts.add(place.path)
    for path in verdicts:
        if any(len(other) > len(path) and other[: len(path)] == path for other in sentences):
            del sentences[path]  # another branch got further: that one was meant
    return config_error(document, list(sentences.items()))


_EXPECTED = {
    "string_type": "text",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "too_short": "{min_length} or more items",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "union_tag_invalid": "{expected_tags}",
}


def _follows(details: ErrorDetails) -> bool:
    """Return whether an error is only the consequence of another one, which is reported, too."""
    if details["type"] == "too_short":  # pydantic counts only the items without an error
        return bool(len(details["input"]) >= details.get("ctx", {})["min_length"])
    return details["type"] == "default_factory_not_called"


def _sentence(details: ErrorDetails, known: Iterable[str]) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    match kind:
        case "problem":
            return details["msg"]
        case "missing" | "union_tag_not_found":
            return "this key is missing; add it"
        case "extra_forbidden":
            return unknown_key(details["loc"][-1], known)
        case "value_error" if isinstance(value, dict | list) or isinstance(context["error"], Redacted):
            return str(context["error"])
        case "value_error":
            return f"found {show(value)}, {context['error']}"
        case "too_short":
            told = "an empty list"
        case "union_tag_invalid":
            told = str(context["tag"])
        case _:
            told = show(value)
    if kind not in _EXPECTED:
        return f"found {told}: {details['msg']}"
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
    return f"found {told}, expected {_EXPECTED[kind].format_map(context).replace(chr(39), '')}{quotes}"


class _Place(NamedTuple):
    """Where an error is: its path, the keys known beside its last step, whether in a branch of a union."""

    path: KeyPath
    known: list[str]
    branched: bool


def _locate(details: ErrorDetails, data: Any, model: type[BaseModel]) -> _Place:
    location = details["loc"]
    path: list[str | int] = []
    models, known, branched = [model], list(model.model_fields), False
    for position, step in enumerate(location, start=1):
        known = [name for each in models for name in each.model_fields]
        may_be_absent = position == len(location) and details["type"] in {"missing", "problem"}
        if may_be_absent or has_step(data, step):
            path.append(step)
            data = data[step] if has_step(data, step) else None
            if isinstance(step, str):
                fields = [each.model_fields[step] for each in models if step in each.model_fields]
                models = [inner for field in fields for inner in _models(field.annotation)]
        else:  # no key of the file: a branch of a union, by its tag or its class
            branched = True
            models = [each for each in models if _is_branch(each, step)] or models
    if details["type"].startswith("union_tag"):
        path.append(str(details.get("ctx", {})["discriminator"]).strip("'"))
    return _Place(tuple(path), known, branched)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_branch(model: type[BaseModel], tag: object) -> bool:
    fields = model.model_fields.values()
    return tag == model.__name__ or any(tag in get_args(field.annotation) for field in fields)
