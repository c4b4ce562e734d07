"""What do the environment variables of Consul's own tools say? They stand behind the keys of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dynsrv.documents import KeyPath
from dynsrv.documents.messages import show
from dynsrv.documents.problems import Redacted
from dynsrv.documents.values import FilePath
from dynsrv.sources.consul.values import Word, agent_address, secret

_SWITCHES = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCHES:
        raise ValueError(f"expected {' or '.join(_SWITCHES)}")
    return _SWITCHES[text.lower()]


def _checked(adapter: TypeAdapter[Any], text: str) -> object:
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False)[0]["ctx"]["error"]) from None


_word = partial(_checked, TypeAdapter(Word))
_path = partial(_checked, TypeAdapter(FilePath))

_VARIABLES: dict[str, tuple[tuple[str, ...], Callable[[str], object]]] = {
    "CONSUL_HTTP_ADDR": (("address",), agent_address),
    "CONSUL_HTTP_TOKEN": (("token",), secret),
    "CONSUL_HTTP_TOKEN_FILE": (("token_file",), _path),
    "CONSUL_HTTP_AUTH": (("auth",), secret),
    "CONSUL_NAMESPACE": (("namespace",), _word),
    "CONSUL_PARTITION": (("partition",), _word),
    "CONSUL_CACERT": (("tls", "ca_file"), _path),
    "CONSUL_CAPATH": (("tls", "ca_path"), _path),
    "CONSUL_CLIENT_CERT": (("tls", "cert_file"), _path),
    "CONSUL_CLIENT_KEY": (("tls", "key_file"), _path),
    "CONSUL_TLS_SERVER_NAME": (("tls", "server_name"), _word),
    "CONSUL_HTTP_SSL_VERIFY": (("tls", "verify"), _switch),
}
"""The variables of Consul's Go client (`api.DefaultConfig`), the keys that they stand behind, and what they may be."""

_TOGETHER = (("token", "token_file"), ("auth", "auth_file"), ("ca_file", "ca_path"), ("cert_file", "key_file"))
"""Keys of which one in the file makes the variables of both silent."""


def behind(keys: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[KeyPath, str]]]:
    """Return *keys* with what *environ* says where they say nothing, and what is wrong with that.

    An empty variable is one that is not set.
    """
    tls = keys.get("tls", {})
    if not isinstance(tls, Mapping):
        return dict(keys), []  # refused as it is
    given = {name: value for name, value in environ.items() if value and name.startswith("CONSUL_")}
    merged, merged_tls = dict(keys), dict(tls)
    problems: list[tuple[KeyPath, str]] = []
    if "CONSUL_HTTP_SSL" in given and "address" not in keys:
        try:
            _use_https(given)
        except ValueError as error:
            ssl = given["CONSUL_HTTP_SSL"]
            problems.append((("address",), f"found {show(ssl)} in the environment variable CONSUL_HTTP_SSL, {error}"))
    silent = set(keys) | set(tls)
    silent |= {key for pair in _TOGETHER if silent.intersection(pair) for key in pair}
    if "CONSUL_HTTP_TOKEN_FILE" in given:
        given.pop("CONSUL_HTTP_TOKEN", None)  # as Consul's own tools: the file counts
    for name, (path, check) in _VARIABLES.items():
        if name not in given or path[-1] in silent:
            continue
        try:
            (merged if len(path) == 1 else merged_tls)[path[-1]] = check(given[name])
        except Redacted as error:
            problems.append((path, f"the environment variable {name}: {error}"))
        except ValueError as error:
            problems.append((path, f"found {show(given[name])} in the environment variable {name}, {error}"))
    if "key_file" in merged_tls and "key_file" not in tls and "cert_file" not in merged_tls:
        needed = "the environment variable CONSUL_CLIENT_KEY needs CONSUL_CLIENT_CERT; set it, or remove the other"
        problems.append((("tls", "key_file"), needed))
    if merged_tls:
        merged["tls"] = merged_tls
    return merged, problems


def _use_https(given: dict[str, str]) -> None:
    address = given.get("CONSUL_HTTP_ADDR", "127.0.0.1:8500")
    if "://" not in address and _switch(given["CONSUL_HTTP_SSL"]):
        given["CONSUL_HTTP_ADDR"] = f"https://{address}"
