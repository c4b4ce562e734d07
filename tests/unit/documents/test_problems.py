from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynsrv.documents import parse
from dynsrv.documents.problems import explain_validation, unknown_key, unreadable


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cat(Strict):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Strict):
    kind: Literal["dog"]
    name: str
    tricks: tuple[int, ...] = Field(default=(), min_length=1)


class House(Strict):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    size: Literal["small", "large"] = "small"
    open: bool = False
    guests: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...] = ()


def told(text: str) -> list[str]:
    document = parse(text.encode(), name="x")
    with pytest.raises(ValidationError) as caught:
        House.model_validate(document.data)
    return str(explain_validation(caught.value, document=document, model=House)).splitlines()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("size: small", "x:1: pet: this key is missing; add it"),
        ("pet: {lives: 3}", "x:1: pet.kind: this key is missing; add it"),
        ("pet: {kind: bird}", "x:1: pet.kind: found bird, expected cat, dog"),
        ("pet: cat", 'x:1: pet: found "cat", expected a mapping of keys'),
        ("pet:\n  kind: cat\n  lives: many", 'x:3: pet.lives: found "many", expected a whole number'),
        ("pet:\n  kind: cat\n  tricks: [1]", "x:3: pet.tricks: unknown key; the keys here are kind, lives"),
        ("pet:\n  kind: dog\n  name: 5", "x:3: pet.name: found 5, expected text; put it in quotes"),
        ("pet: {kind: dog, name: a}\nsize: huge", 'x:2: size: found "huge", expected small or large'),
        ("pet: {kind: cat}\nopen: maybe", 'x:2: open: found "maybe", expected true or false'),
        ("pet: {kind: cat}\nopne: true", "x:2: opne: unknown key; did you mean open?"),
        ("pet: {kind: dog, name: a, tricks: []}", "x:1: pet.tricks: found an empty list, expected 1 or more items"),
        (
            "pet: {kind: cat}\nguests:\n- {kind: cat, name: a}",
            "x:3: guests[0].name: unknown key; the keys here are kind, lives",
        ),
        ("pet: {kind: cat}\nguests:\n- {kind: bird}", "x:3: guests[0].kind: found bird, expected cat, dog"),
        ("pet: {kind: dog, name: a, tricks: [a]}", 'x:1: pet.tricks[0]: found "a", expected a whole number'),
    ],
)
def test_a_problem_is_told_with_line_path_what_was_found_and_what_was_expected(text: str, problem: str) -> None:
    assert told(text) == [problem]


def test_of_a_union_only_problems_of_the_branch_that_was_chosen_are_reported() -> None:
    assert told("size: small\npet: {kind: dog, nam: a}") == [
        "x: 2 problems",
        "x:2: pet.name: this key is missing; add it",
        "x:2: pet.nam: unknown key; did you mean name?",
    ]


def test_a_key_that_is_called_as_the_branch_of_a_union_is_a_key() -> None:
    assert told("pet: {kind: cat, cat: 1}") == ["x:1: pet.cat: unknown key; the keys here are kind, lives"]


def test_a_problem_of_json_has_a_path_but_no_line() -> None:
    assert told('{"pet": {"kind": "cat", "lives": "x"}}') == ['x: pet.lives: found "x", expected a whole number']


def test_an_unknown_key_brings_the_nearest_known_ones_or_all() -> None:
    assert unknown_key("inetr", ["inter", "fall", "fastinter"]) == "unknown key; did you mean inter?"
    assert unknown_key("zzz", ["rise", "fall"]) == "unknown key; the keys here are fall, rise"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(2, "No such file"), "there is no such file; write it, or correct the path"),
        (IsADirectoryError(21, "Is a directory"), "a directory; name the file in it"),
        (OSError(5, "Input/output error"), "it cannot be read: Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_what_to_do(error: OSError, sentence: str) -> None:
    assert unreadable(error) == sentence


def test_a_file_that_may_not_be_read_is_told_with_the_user_that_needs_the_permission() -> None:
    sentence = unreadable(PermissionError(13, "Permission denied"))
    assert sentence.startswith("the user with id ")
    assert sentence.endswith(" may not read it; give that user the permission")
