"""Which endpoints does a document list? dynsrv's own form and Prometheus' `file_sd`, told apart by shape."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from dynsrv.documents import Document, KeyPath, found, refusal, server_options, spelled
from dynsrv.documents.problems import unknown_key
from dynsrv.model import MAX_WEIGHT, Endpoint, EndpointState, Snapshot, canonical_address

_MISSING = "this key is missing; add it"
_FORMS = "expected the key servers (dynsrv's own form) or a list of {targets, labels} (Prometheus' file_sd)"
_NO_HOST_NAME = "expected an IPv4 or IPv6 address: HAProxy resolves no host name of a server added at runtime"
_NAME = re.compile(r"[A-Za-z0-9_:.-]{1,100}")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+")
_STATES = {state.value: state for state in EndpointState}


def snapshot_of(document: Document, *, backend: str) -> Snapshot:
    """Return the endpoints that *document* lists for *backend*, in its order.

    The lists of other backends are not looked at.

    Raises:
        ConfigurationError: anything in it cannot be used; it tells of all problems.
    """
    listed = _Listed(document)
    match document.data:
        case dict() as keys if "servers" in keys:
            listed.problems += [((key,), unknown_key(key, ["servers"])) for key in keys if key != "servers"]
            listed.add_servers(keys["servers"], backend=backend)
        case list() as groups:
            for index, group in enumerate(groups):
                listed.add_group(group, (index,))
        case other:
            listed.problems.append(((), f"found {found(other)}, {_FORMS}"))
    if listed.problems:
        raise refusal(document, listed.problems)
    return Snapshot(tuple(listed.endpoints))


class _Listed:
    """The endpoints found so far, and what is wrong with the others."""

    def __init__(self, document: Document) -> None:
        self.endpoints: list[Endpoint] = []
        self.problems: list[tuple[KeyPath, str]] = []
        self._document = document
        self._paths: dict[tuple[str, int], KeyPath] = {}

    def add_servers(self, servers: object, *, backend: str) -> None:
        path: KeyPath = ("servers",)
        if isinstance(servers, dict):
            if backend not in servers:
                names = ", ".join(servers) or "none"
                hint = f"add one (an empty one, if it shall have no servers); there are lists for: {names}"
                self.problems.append((path, f"found no list for the backend {backend}; {hint}"))
                return
            path, servers = (*path, backend), servers[backend]
        if not isinstance(servers, list):
            self.problems.append((path, f"found {found(servers)}, expected a list of {{address, port}}"))
            return
        for index, server in enumerate(servers):
            self._add_server(server, (*path, index))

    def _add_server(self, server: object, path: KeyPath) -> None:
        if not isinstance(server, dict):
            expected = "expected a mapping such as {address: 10.0.0.1, port: 8080}"
            self.problems.append((path, f"found {found(server)}, {expected}"))
            return
        values: dict[str, Any] = {}
        problems = len(self.problems)
        for key, value in server.items():
            read = _READ.get(key)
            try:
                if read is None:
                    self.problems.append(((*path, key), unknown_key(key, _READ)))
                else:
                    values[key] = read(value)
            except ValueError as error:
                self.problems.append(((*path, key), f"found {found(value)}, {error}"))
        self.problems += [((*path, key), _MISSING) for key in ("address", "port") if key not in server]
        if len(self.problems) == problems:
            self._add(Endpoint(**values), path)

    def add_group(self, group: object, path: KeyPath) -> None:
        if not isinstance(group, dict):
            self.problems.append((path, f'found {found(group)}, expected {{"targets": [...], "labels": {{...}}}}'))
            return
        keys = ("targets", "labels")
        self.problems += [((*path, key), unknown_key(key, keys)) for key in group if key not in keys]
        targets, labels = group.get("targets"), group.get("labels") or {}
        if "targets" not in group:
            self.problems.append(((*path, "targets"), _MISSING))
        elif not isinstance(targets, list):
            self.problems.append(((*path, "targets"), f"found {found(targets)}, expected a list of host:port"))
        weight = None
        if not isinstance(labels, dict):
            self.problems.append(((*path, "labels"), f"found {found(labels)}, expected a mapping"))
        elif "weight" in labels:
            try:
                weight = _weight(_number(labels["weight"]))
            except ValueError as error:
                problem = f"found {found(labels['weight'])}, {error}"
                self.problems.append(((*path, "labels", "weight"), problem))
        for index, target in enumerate(targets if isinstance(targets, list) else ()):
            place = (*path, "targets", index)
            try:
                address, port = _target(target)
            except ValueError as error:
                self.problems.append((place, f"found {found(target)}, {error}"))
            else:
                self._add(Endpoint(address, port, weight=weight), place)

    def _add(self, endpoint: Endpoint, path: KeyPath) -> None:
        first = self._paths.setdefault((endpoint.address, endpoint.port), path)
        if first is not path:
            problem = f"found {endpoint}, which {spelled(first)} has already; remove one of the two"
            self.problems.append((path, problem))
        self.endpoints.append(endpoint)


def _address(value: object) -> str:
    if isinstance(value, str):
        try:
            return canonical_address(value)
        except ValueError:
            pass
    raise ValueError(_no_address(value))


def _no_address(value: object) -> str:
    text = str(value)
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if _HOST_NAME.fullmatch(text):
            return _NO_HOST_NAME
        return "expected an IPv4 or IPv6 address such as 10.0.0.1 or ::1, without port and brackets"
    return "expected the address of one host, without a zone"


def _port(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65535:
        return value
    raise ValueError("expected a port from 1 to 65535")


def _weight(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WEIGHT:
        return value
    raise ValueError(f"expected a whole number from 0 to {MAX_WEIGHT}")


def _maxconn(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise ValueError("expected a whole number from 0")


def _options(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
        raise ValueError('expected a list of texts such as ["backup"]')
    return tuple(server_options.checked_option(option) for option in value)


def _name(value: object) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError("expected 1 to 100 letters, digits and _ : . - only")


def _state(value: object) -> EndpointState:
    if isinstance(value, str) and value in _STATES:
        return _STATES[value]
    raise ValueError(f"expected {' or '.join(_STATES)}")


_READ: dict[str, Callable[[Any], Any]] = {
    "address": _address,
    "port": _port,
    "weight": _weight,
    "name": _name,
    "state": _state,
    "maxconn": _maxconn,
    "options": _options,
}


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value) else value


def _target(value: object) -> tuple[str, int]:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not colon or bracketed != (":" in host):
        raise ValueError("expected an address with its port, such as 10.0.0.1:8080 or [::1]:8080")
    return _address(host[1:-1] if bracketed else host), _port(_number(port))
