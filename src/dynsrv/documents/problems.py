"""What has the author of a file to change? Sentences for what cannot be read and for what a model rejects."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from dynsrv.documents import Document, KeyPath, has_step
from dynsrv.documents.messages import config_error, show
from dynsrv.errors import ConfigurationError


class Redacted(ValueError):
    """What a validator raises for a value that is a secret: the message does not show what was found."""


def unreadable(error: OSError) -> str:
    """Return the message for a file that cannot be read."""
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
    """Return the message for a key that is none of *known*."""
    names = sorted(known)
    if near := difflib.get_close_matches(str(key), names, n=2, cutoff=0.65):
        return f"unknown key; did you mean {' or '.join(near)}?"
    return f"unknown key; the keys here are {', '.join(names)}"


def problems_at(model: type[BaseModel], problems: Iterable[tuple[KeyPath, str]]) -> ValidationError:
    """Return what a validator of *model* raises for *problems*: each a path relative to it and a sentence."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("problem", "{sentence}", {"sentence": sentence}), loc=path, input=None
        )
        for path, sentence in problems
    ]
    return ValidationError.from_exception_data(model.__name__, details)


def explain_validation(error: ValidationError, *, document: Document, model: type[BaseModel]) -> ConfigurationError:
    """Return *error*, which *model* raised for *document*'s data, as messages for the author of the file.

    A validator's `ValueError` says what was expected; what was found is put before it. A union of models needs a
    discriminator.
    """
    sentences: dict[KeyPath, str] = {}
    for details in error.errors(include_url=False):
        if not _follows(details):
            path, known = _locate(details, document.data, model)
            sentences.setdefault(path, _sentence(details, known))
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
            found = "an empty list"
        case "union_tag_invalid":
            found = str(context["tag"])
        case _:
            found = show(value)
    if kind not in _EXPECTED:
        return f"found {found}: {details['msg']}"
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
    return f"found {found}, expected {_EXPECTED[kind].format_map(context).replace(chr(39), '')}{quotes}"


def _locate(details: ErrorDetails, data: Any, model: type[BaseModel]) -> tuple[KeyPath, list[str]]:
    """Return the path of an error in the document, and the keys that could stand where its last step does."""
    location, path, known = details["loc"], list[str | int](), list[str]()
    inner: type[BaseModel] | None = model
    branches: _Branches = {}
    for position, step in enumerate(location, start=1):
        if step in branches:  # not a key of the file: the value that chose this branch of a union
            inner, branches = branches[step], {}
            continue
        known = [field.alias or name for name, field in inner.model_fields.items()] if inner else []
        may_be_absent = position == len(location) and details["type"] in {"missing", "problem"}
        if may_be_absent or has_step(data, step):
            path.append(step)
            data = data[step] if has_step(data, step) else None
            if inner is not None and step in inner.model_fields:
                inner, branches = _inside(inner.model_fields[str(step)])
    if details["type"].startswith("union_tag"):
        path.append(str(details.get("ctx", {})["discriminator"]).strip("'"))
    return tuple(path), known


_Branches = dict[object, type[BaseModel]]
"""The models of a union by the values of its discriminator that choose them."""


def _inside(field: FieldInfo) -> tuple[type[BaseModel] | None, _Branches]:
    """Return the model that a field, or an item of it, is made of; or the branches of a union of models."""
    parts = list(_parts(field.annotation))
    models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    discriminators = [part.discriminator for part in (field, *parts) if isinstance(part, FieldInfo)]
    if discriminator := next((each for each in discriminators if isinstance(each, str)), None):
        return None, {tag: each for each in models for tag in get_args(each.model_fields[discriminator].annotation)}
    return next(iter(models), None), {}


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
