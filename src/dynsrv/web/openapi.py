"""How is the API described, for programs that read such descriptions? In OpenAPI 3.1, made from the API's model."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue

from dynsrv import __version__
from dynsrv.api_model import (
    Error,
    Event,
    HoldRequest,
    OverrideRequest,
    Plan,
    ReconcileRequest,
    ReleaseRequest,
    Results,
    Status,
)
from dynsrv.documents.values import JsonSchemaGenerator

Json = dict[str, Any]

_ANSWERS = (Status, Plan, Event, Results, Error)
_REQUESTS = (HoldRequest, ReleaseRequest, OverrideRequest, ReconcileRequest)


@cache
def document() -> Json:
    """Return the description of the API."""
    server = "/api/v1/backends/{backend}/servers/{server}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dynsrv",
            "version": __version__,
            "description": "The status of dynsrv, and what an operator can do. Reading needs no token; changes do.",
        },
        "paths": {
            "/api/v1/status": _read(
                "The status of every proxy, source, backend and server, and the last changes.", Status
            ),
            "/api/v1/plan": _read("What the last pass over each backend planned, and what it waits for.", Plan),
            "/api/v1/events": {
                "get": {
                    "summary": "The status as server-sent events: first everything, then every change to it.",
                    "description": "The data of each event is one `Event`. The keys of its rows are `dynsrv`,"
                    " `proxy:…`, `source:…`, `backend:…`, `server:…`, `missing:…` and `change:…`.",
                    "responses": {
                        "200": {
                            "description": "Events without end.",
                            "content": {
                                "text/event-stream": {
                                    "schema": {
                                        "type": "string",
                                        "contentMediaType": "application/json",
                                        "contentSchema": _ref(Event),
                                    }
                                }
                            },
                        },
                        "503": _answer("Too many clients are subscribed to the events.", Error),
                    },
                }
            },
            f"{server}/hold": _write(
                "Put a server into drain or maintenance, until it is released.", HoldRequest, "backend", "server"
            ),
            f"{server}/release": _write("Put a held server back into service.", ReleaseRequest, "backend", "server"),
            "/api/v1/backends/{backend}/override-guard": _write(
                "Let the guard allow every removal, for up to an hour.", OverrideRequest, "backend"
            ),
            "/api/v1/reconcile": _write("Reconcile now, instead of at the next resync.", ReconcileRequest),
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The token in `web.token_file`."}
            },
        },
    }


def _read(summary: str, answer: type) -> Json:
    return {"get": {"summary": summary, "responses": {"200": _answer("What is known now.", answer)}}}


def _write(summary: str, request: type[BaseModel], *parameters: str) -> Json:
    acts = {
        "409": _answer("The server is not in a suitable state, on any proxy.", Error),
        "502": _answer("At least one proxy did not carry it out.", Results),
    }
    return {
        "post": {
            "summary": summary,
            "security": [{"token": []}],
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
            ],
            "requestBody": {"required": False, "content": {"application/json": {"schema": _ref(request)}}},
            "responses": {
                "200": _answer("Every proxy carried it out.", Results),
                "400": _answer("The body is not valid; the sentence says what was found.", Error),
                "401": _answer("The token is missing or wrong.", Error),
                "403": _answer(
                    "There is no `web.token_file`, the request comes from a page of another site, or dynsrv does not"
                    " manage the server.",
                    Error,
                ),
                "404": _answer("There is no such backend, proxy or server.", Error),
                "413": _answer("The body is larger than 16 KiB.", Error),
                "503": _answer("The token file cannot be read.", Error),
                **(acts if "server" in parameters else {}),
            },
        }
    }


def _answer(description: str, kind: type) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(kind)}}}


def _ref(kind: type) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


class _Schemas(JsonSchemaGenerator):
    """Says that an answer has no other keys."""

    def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
        return {**super().dataclass_schema(schema), "additionalProperties": False}


def _schemas() -> Json:
    kinds: list[tuple[type, JsonSchemaMode, TypeAdapter[Any]]] = [
        *((kind, "serialization", TypeAdapter(kind)) for kind in _ANSWERS),
        *((kind, "validation", TypeAdapter(kind)) for kind in _REQUESTS),
    ]
    _, schemas = TypeAdapter.json_schemas(kinds, ref_template="#/components/schemas/{model}", schema_generator=_Schemas)
    found: Json = schemas["$defs"]
    return found
