"""What do the environment variables of Consul's own tools say? They are the defaults of keys of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dynsrv.documents import KeyPath
from dynsrv.documents.messages import show
from dynsrv.documents.problems import Redacted
from dynsrv.documents.values import FilePath
from dynsrv.sources.consul.values import Word, agent_address, secret

_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"expected {' or '.join(_BOOLEANS)}")
    return _BOOLEANS[text.lower()]


def _valid(adapter: TypeAdapter[Any], text: str) -> object:
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False)[0]["ctx"]["error"]) from None


_word = partial(_valid, TypeAdapter(Word))
_path = partial(_valid, TypeAdapter(FilePath))


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable, the path of the key whose default it is, how its text is read, and the other key of a pair.

    It counts only if the file has neither of the two keys.
    """

    name: str
    key: KeyPath
    read: Callable[[str], object]
    paired: KeyPath | None = None


_VARIABLES = (
    _Variable("CONSUL_HTTP_ADDR", ("address",), agent_address),
    _Variable("CONSUL_HTTP_TOKEN", ("token",), secret, paired=("token_file",)),
    _Variable("CONSUL_HTTP_TOKEN_FILE", ("token_file",), _path, paired=("token",)),
    _Variable("CONSUL_HTTP_AUTH", ("auth",), secret, paired=("auth_file",)),
    _Variable("CONSUL_NAMESPACE", ("namespace",), _word),
    _Variable("CONSUL_PARTITION", ("partition",), _word),
    _Variable("CONSUL_CACERT", ("tls", "ca_file"), _path, paired=("tls", "ca_path")),
    _Variable("CONSUL_CAPATH", ("tls", "ca_path"), _path, paired=("tls", "ca_file")),
    _Variable("CONSUL_CLIENT_CERT", ("tls", "cert_file"), _path, paired=("tls", "key_file")),
    _Variable("CONSUL_CLIENT_KEY", ("tls", "key_file"), _path, paired=("tls", "cert_file")),
    _Variable("CONSUL_TLS_SERVER_NAME", ("tls", "server_name"), _word),
    _Variable("CONSUL_HTTP_SSL_VERIFY", ("tls", "verify"), _boolean),
)
"""The variables of Consul's Go client (`api.DefaultConfig`), apart from CONSUL_HTTP_SSL."""


def with_defaults(
    keys: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[tuple[KeyPath, str]]]:
    """Return *keys* with defaults from *environ* for those that are missing, and what is wrong with these.

    An empty variable counts as not set.
    """
    tls = keys.get("tls", {})
    if not isinstance(tls, Mapping):
        return dict(keys), []  # which validation rejects
    present: set[KeyPath] = {*((key,) for key in keys), *(("tls", key) for key in tls)}
    texts = {name: text for name, text in environ.items() if text and name.startswith("CONSUL_")}
    if "CONSUL_HTTP_TOKEN_FILE" in texts:
        texts.pop("CONSUL_HTTP_TOKEN", None)  # as in Consul's own tools
    problems: list[tuple[KeyPath, str]] = []
    if ("address",) not in present:
        try:
            _apply_ssl(texts)
        except ValueError as error:
            problems.append((("address",), _problem("CONSUL_HTTP_SSL", texts, error)))
    found: dict[KeyPath, object] = {}
    for variable in _VARIABLES:
        if variable.name in texts and not present & {variable.key, variable.paired}:
            try:
                found[variable.key] = variable.read(texts[variable.name])
            except ValueError as error:
                problems.append((variable.key, _problem(variable.name, texts, error)))
    if ("tls", "key_file") in found and ("tls", "cert_file") not in found:
        needed = "the environment variable CONSUL_CLIENT_KEY needs CONSUL_CLIENT_CERT; set it, or remove the other"
        problems.append((("tls", "key_file"), needed))
    merged: dict[str, Any] = {**keys, **{str(path[0]): value for path, value in found.items() if len(path) == 1}}
    if merged_tls := {**tls, **{str(path[1]): value for path, value in found.items() if len(path) == 2}}:
        merged["tls"] = merged_tls
    return merged, problems


def _apply_ssl(texts: dict[str, str]) -> None:
    """Make an address without a scheme an https one, if CONSUL_HTTP_SSL says so."""
    address = texts.get("CONSUL_HTTP_ADDR", "127.0.0.1:8500")
    if "CONSUL_HTTP_SSL" in texts and "://" not in address and _boolean(texts["CONSUL_HTTP_SSL"]):
        texts["CONSUL_HTTP_ADDR"] = f"https://{address}"


def _problem(name: str, texts: Mapping[str, str], error: ValueError) -> str:
    if isinstance(error, Redacted):
        return f"the environment variable {name}: {error}"
    return f"found {show(texts[name])} in the environment variable {name}, {error}"
