"""Which endpoints does a document list? It has dynsrv's own format or that of Prometheus' `file_sd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynsrv.documents import Document, KeyPath
from dynsrv.documents.messages import config_error, format_path, listed, show
from dynsrv.documents.problems import unknown_key
from dynsrv.model import Endpoint, Snapshot
from dynsrv.sources import endpoint_values as values
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules

_MISSING = "this key is missing; add it"
_FORMS = "expected the key servers (dynsrv's own format) or a list of {targets, labels} (Prometheus' file_sd)"


def snapshot_of(document: Document, *, backend: str, rules: EndpointRules = ANY_ENDPOINT) -> Snapshot:
    """Return the endpoints that *document* lists for *backend*, in its order, if *rules* allow all of them.

    The lists of other backends are not validated.

    Raises:
        ConfigurationError: anything in it cannot be used; the error lists all problems.
    """
    listed = _Listed(rules)
    match document.data:
        case dict() as keys if "servers" in keys:
            listed.problems += [((key,), unknown_key(key, ["servers"])) for key in keys if key != "servers"]
            listed.add_servers(keys["servers"], backend=backend)
        case list() as groups:
            for index, group in enumerate(groups):
                listed.add_group(group, (index,))
        case other:
            listed.problems.append(((), f"found {show(other)}, {_FORMS}"))
    if listed.problems:
        raise config_error(document, listed.problems)
    return Snapshot(tuple(listed.endpoints))


class _Listed:
    """The endpoints so far, and what is wrong with the others."""

    def __init__(self, rules: EndpointRules) -> None:
        self.endpoints: list[Endpoint] = []
        self.problems: list[tuple[KeyPath, str]] = []
        self._rules = rules
        self._paths: dict[tuple[str, int], KeyPath] = {}

    def add_servers(self, servers: object, *, backend: str) -> None:
        path: KeyPath = ("servers",)
        if isinstance(servers, dict):
            if backend not in servers:
                names = listed(servers) or "none"
                hint = f"add one, which may be empty; there are lists for: {names}"
                self.problems.append((path, f"found no list for the backend {backend}; {hint}"))
                return
            path, servers = (*path, backend), servers[backend]
        if not isinstance(servers, list):
            self.problems.append((path, f"found {show(servers)}, expected a list of {{address, port}}"))
            return
        for index, server in enumerate(servers):
            self._add_server(server, (*path, index))

    def _add_server(self, server: object, path: KeyPath) -> None:
        if not isinstance(server, dict):
            expected = "expected a mapping such as {address: 10.0.0.1, port: 8080}"
            self.problems.append((path, f"found {show(server)}, {expected}"))
            return
        fields: dict[str, Any] = {}
        problems = len(self.problems)
        for key, value in server.items():
            read = _READ.get(key)
            try:
                if read is None:
                    self.problems.append(((*path, key), unknown_key(key, _READ)))
                    continue
                fields[key] = read(value)
                if key == "options":
                    for option in fields[key]:
                        self._rules.check_option(option)
            except ValueError as error:
                self.problems.append(((*path, key), f"found {show(value)}, {error}"))
        self.problems += [((*path, key), _MISSING) for key in ("address", "port") if key not in server]
        if len(self.problems) == problems:
            self._add(Endpoint(**fields), path)

    def add_group(self, group: object, path: KeyPath) -> None:
        if not isinstance(group, dict):
            self.problems.append((path, f'found {show(group)}, expected {{"targets": [...], "labels": {{...}}}}'))
            return
        keys = ("targets", "labels")
        self.problems += [((*path, key), unknown_key(key, keys)) for key in group if key not in keys]
        targets, labels = group.get("targets"), group.get("labels") or {}
        if "targets" not in group:
            self.problems.append(((*path, "targets"), _MISSING))
        elif not isinstance(targets, list):
            self.problems.append(((*path, "targets"), f"found {show(targets)}, expected a list of host:port"))
        weight = None
        if not isinstance(labels, dict):
            self.problems.append(((*path, "labels"), f"found {show(labels)}, expected a mapping"))
        elif "weight" in labels:
            try:
                weight = values.weight(values.number(labels["weight"]))
            except ValueError as error:
                problem = f"found {show(labels['weight'])}, {error}"
                self.problems.append(((*path, "labels", "weight"), problem))
        for index, target in enumerate(targets if isinstance(targets, list) else ()):
            place = (*path, "targets", index)
            try:
                address, port = _target(target)
            except ValueError as error:
                self.problems.append((place, f"found {show(target)}, {error}"))
            else:
                self._add(Endpoint(address, port, weight=weight), place)

    def _add(self, endpoint: Endpoint, path: KeyPath) -> None:
        first = self._paths.setdefault((endpoint.address, endpoint.port), path)
        if first is not path:
            problem = f"found {endpoint}, which is already at {format_path(first)}; remove one of the two"
            self.problems.append((path, problem))
        try:
            self._rules.check(endpoint.address, endpoint.port)
        except ValueError as error:
            self.problems.append((path, f"found {endpoint}, {error}"))
        self.endpoints.append(endpoint)


_READ: dict[str, Callable[[Any], Any]] = {
    "address": values.address,
    "port": values.port,
    "weight": values.weight,
    "name": values.name,
    "state": values.state,
    "maxconn": values.maxconn,
    "options": values.options,
}


def _target(value: object) -> tuple[str, int]:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not colon or bracketed != (":" in host):
        raise ValueError("expected an address with its port, such as 10.0.0.1:8080 or [::1]:8080")
    return values.address(host[1:-1] if bracketed else host), values.port(values.number(port))
