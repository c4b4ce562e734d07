from __future__ import annotations

import re

import pytest

from dynsrv.web.openapi import document

SCHEMAS = document()["components"]["schemas"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_and_every_key_is_described(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["description"]
    for key, value in schema.get("properties", {}).items():
        # a key that has one value, or a schema of its own, needs no more words
        assert "description" in value or "const" in value or "$ref" in value or "enum" in value, key


def test_every_reference_leads_to_a_schema() -> None:
    assert set(re.findall(r"'#/components/schemas/(\w+)'", str(document()))) == SCHEMAS.keys()
