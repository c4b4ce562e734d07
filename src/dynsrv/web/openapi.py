"""How is the API described? In OpenAPI 3.1, for programs that read such descriptions."""

from __future__ import annotations

from typing import Any

from dynsrv import __version__

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "integer"}
_TIME: Json = {"type": "string", "format": "date-time"}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def _object(properties: Json, *, optional: tuple[str, ...] = ()) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _one_of(*words: str) -> Json:
    return {"type": "string", "enum": list(words)}


def _named(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_WHERE: Json = {
    "backend": _TEXT,
    "proxy": _TEXT,
    "haproxy": _object({"version": _TEXT, "pid": _NUMBER}),
    "error": _or_null(_TEXT),
}
_STEPS = ("add", "enable_health", "set_maxconn", "admit", "set_weight", "drain", "disable", "close_sessions", "delete")
_PLANNED = ("haproxy", "seen", "converged", "desired", "refusals", "servers", "missing", "steps", "waits")

_SCHEMAS: Json = {
    "Server": _object(
        {
            "name": _TEXT,
            "id": _NUMBER,
            "address": _or_null(_TEXT),
            "state": _one_of("ready", "drain", "maint"),
            "operational": _one_of("down", "starting", "up", "stopping"),
            "check": _one_of("none", "disabled", "pending", "passed", "failed"),
            "weight": _NUMBER,
            "maxconn": _or_null(_NUMBER),
            "sessions": _or_null(_NUMBER),
            "draining_since": _or_null(_TIME),
            "ours": {"type": "boolean"},
            "serving": {"type": "boolean"},
            "as_desired": {"type": "boolean"},
            "waits_for": _or_null(_one_of("check", "sessions", "successor", "guard", "operator")),
            "why": _TEXT,
        }
    ),
    "Missing": _object({"address": _TEXT, "port": _NUMBER, "why": _TEXT}),
    "Refusal": _object({"rule": _one_of("max_removed", "min_ready", "on_empty"), "reason": _TEXT}),
    "Backend": _object(
        {
            **_WHERE,
            "seen": _or_null(_TIME),
            "converged": {"type": "boolean"},
            "desired": _NUMBER,
            "refusals": _list(_named("Refusal")),
            "guard_overridden_until": _or_null(_TIME),
            "servers": _list(_named("Server")),
            "missing": _list(_named("Missing")),
        },
        optional=_PLANNED,
    ),
    "Proxy": _object(
        {
            "proxy": _TEXT,
            "address": _TEXT,
            "up": {"type": "boolean"},
            "version": _or_null(_TEXT),
            "pid": _or_null(_NUMBER),
            "error": _or_null(_TEXT),
        }
    ),
    "Source": _object(
        {
            "backend": _TEXT,
            "proxies": _list(_TEXT),
            "kind": _TEXT,
            "up": {"type": "boolean"},
            "reason": _or_null(_TEXT),
            "error": _or_null(_TEXT),
            "last_answer": _or_null(_TIME),
            "endpoints": _or_null(_NUMBER),
            "ignored": _list(_TEXT),
        }
    ),
    "Change": _object(
        {
            "number": _NUMBER,
            "time": _TIME,
            "proxy": _TEXT,
            "backend": _TEXT,
            "step": _one_of(*_STEPS),
            "server": _TEXT,
            "reason": _TEXT,
            "outcome": _one_of("done", "refused", "unknown"),
            "detail": _TEXT,
        }
    ),
    "Status": _object(
        {
            "dynsrv": _object({"version": _TEXT, "started": _TIME}),
            "proxies": _list(_named("Proxy")),
            "sources": _list(_named("Source")),
            "changes": _list(_named("Change")),
            "backends": _list(_named("Backend")),
        }
    ),
    "Plan": _object(
        {
            "backends": _list(
                _object(
                    {
                        **_WHERE,
                        "steps": _list({"type": "object", "required": ["step", "server", "reason"]}),
                        "waits": _list(
                            _object(
                                {
                                    "server": _TEXT,
                                    "waits_for": _TEXT,
                                    "reason": _TEXT,
                                    "deadline": _or_null({"type": "number"}),
                                }
                            )
                        ),
                        "refusals": _list(_named("Refusal")),
                    },
                    optional=_PLANNED,
                )
            )
        }
    ),
    "Results": _object(
        {
            "results": _list(
                _object(
                    {
                        "backend": _TEXT,
                        "proxy": _TEXT,
                        "outcome": _one_of("done", "refused", "unknown", "error"),
                        "detail": _TEXT,
                    }
                )
            )
        }
    ),
    "Error": _object({"error": _TEXT}),
}


def _answer(description: str, schema: str, *, kind: str = "application/json") -> Json:
    return {"description": description, "content": {kind: {"schema": _named(schema)}}}


def _reading(summary: str, schema: str) -> Json:
    return {"get": {"summary": summary, "responses": {"200": _answer("What is known now.", schema)}}}


_BACKEND: Json = {"name": "backend", "in": "path", "required": True, "schema": _TEXT}
_SERVER: Json = {"name": "server", "in": "path", "required": True, "schema": _TEXT}
_PROXY: Json = {"description": "The proxy that is meant; all by default.", **_or_null(_TEXT)}


def _writing(summary: str, parameters: list[Json], properties: Json) -> Json:
    schema = {"type": "object", "properties": {"proxy": _PROXY, **properties}, "additionalProperties": False}
    acts = {
        "409": _answer("The server is not in a state in which that can be done.", "Error"),
        "502": _answer("It was not done, on one proxy at least.", "Results"),
    }
    return {
        "post": {
            "summary": summary,
            "security": [{"token": []}],
            "parameters": parameters,
            "requestBody": {"required": False, "content": {"application/json": {"schema": schema}}},
            "responses": {
                "200": _answer("It is done on every proxy.", "Results"),
                "400": _answer("The body is not what is expected.", "Error"),
                "401": _answer("No token, or a wrong one.", "Error"),
                "403": _answer("Nobody may, or not from that page, or the server is not dynsrv's.", "Error"),
                "404": _answer("There is no such backend, proxy or server.", "Error"),
                "413": _answer("The body is too large.", "Error"),
                "503": _answer("The file of the token cannot be read.", "Error"),
                **(acts if _SERVER in parameters else {}),
            },
        }
    }


_DURATION: Json = {
    "type": "string",
    "pattern": "^([0-9]{1,6}ms|([0-9]{1,3}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([0-5]?[0-9]|60)m|[01]h)$",
    "default": "10m",
    "examples": ["10m", "90s", "1h", "0s"],
}

DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "dynsrv",
        "version": __version__,
        "description": "What dynsrv sees and does. Whoever reaches it may read; who shows the token may change.",
    },
    "paths": {
        "/api/v1/status": _reading(
            "Everything: proxies, sources, backends with their servers, the last changes", "Status"
        ),
        "/api/v1/plan": _reading("What the last pass over each backend planned, and waits for", "Plan"),
        "/api/v1/events": {
            "get": {
                "summary": "Everything, and then what changes, as server-sent events",
                "description": "Each event is a JSON object: `set` has rows by their keys (`dynsrv`, `proxy:…`,"
                " `source:…`, `backend:…`, `server:…`, `missing:…`, `change:…`), `unset` the keys of those that are"
                " gone; with `reset` all that was known before does not count. A row is what the status has of the"
                " same thing; that of a server, or of a missing one, has its backend and proxy besides.",
                "responses": {
                    "200": {"description": "Events without end.", "content": {"text/event-stream": {"schema": _TEXT}}},
                    "503": _answer("Too many clients follow already.", "Error"),
                },
            }
        },
        "/api/v1/backends/{backend}/servers/{server}/hold": _writing(
            "Put a server into drain or maintenance, where it stays until it is released",
            [_BACKEND, _SERVER],
            {"state": {**_one_of("drain", "maint"), "default": "drain"}},
        ),
        "/api/v1/backends/{backend}/servers/{server}/release": _writing(
            "Let a held server get requests again", [_BACKEND, _SERVER], {}
        ),
        "/api/v1/backends/{backend}/override-guard": _writing(
            "Let the guard let everything through for a while, an hour at most; 0s ends it",
            [_BACKEND],
            {"duration": _DURATION},
        ),
        "/api/v1/reconcile": _writing("Look at HAProxy again now", [], {"backend": _or_null(_TEXT)}),
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Of web.token_file."}},
    },
}
