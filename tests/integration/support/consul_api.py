"""What does a test tell and ask Consul? Over a client of its own, which repeats nothing and hides nothing."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

MANAGEMENT = "6d616e61-6765-6d65-6e74-000000000000"
"""The secret of the token that may do everything."""

Status = Literal["passing", "warning", "critical"]

_TRANSACTION = 64
"""Consul refuses transactions with more operations."""


@dataclass(frozen=True)
class Answer:
    """A whole answer; the names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def index(self) -> int:
        return int(self.headers["x-consul-index"])


async def request(
    url: str,
    target: str,
    *,
    method: str = "GET",
    body: object = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 60.0,
) -> Answer:
    """Send one request on a connection of its own, which Consul counts to its limit.

    Raises:
        OSError, EOFError, TimeoutError: there was no whole answer.
    """
    content = b"" if body is None else json.dumps(body).encode()
    # The answer to HTTP/1.0 comes in one piece, and its end is that of the connection.
    head = [f"{method} {target} HTTP/1.0", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(content)}"]
    head += [f"X-Consul-Token: {token}"] if token else []
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port, ssl=tls)
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + content)
            return _answer(await reader.read(-1))
        finally:
            writer.transport.abort()


def _answer(data: bytes) -> Answer:
    head, separator, text = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if not separator or len(text) < int(headers.get("content-length", 0)):
        raise EOFError(f"not a whole answer: {data[:200]!r}")
    return Answer(int(status.split(" ")[1]), headers, text.decode())


class ConsulAPI:
    """The HTTP API of one agent, as the management token may use it.

    What is told to the agent reaches the catalog some milliseconds after the call returned.
    """

    def __init__(self, url: str, *, node: str) -> None:
        self.url = url
        self.node = node
        self._policies: dict[str, str] = {}

    async def ask(
        self, target: str, *, method: str = "GET", body: object = None, token: str | None = MANAGEMENT
    ) -> Answer:
        """Ask for *target*, a path with its query; without a *token*, as anybody."""
        return await request(self.url, target, method=method, body=body, token=token)

    async def do(self, target: str, body: object = None, *, method: str = "PUT") -> Answer:
        """Ask, and fail if the answer is not 200."""
        answer = await self.ask(target, method=method, body=body)
        assert answer.status == 200, f"{method} {target}: {answer.status} {answer.text}"
        return answer

    async def health(self, service: str, query: str = "") -> Answer:
        """Return the answer that holds the instances of *service*; *query* as in `index=7&wait=10s`."""
        return await self.ask(f"/v1/health/service/{service}?{query}")

    async def blocked(self) -> int:
        """Return how many queries on the health of services wait in the agent, now."""
        dump = await self.do("/debug/pprof/goroutine?debug=2", method="GET")
        return dump.text.count(").HealthServiceNodes(")

    async def register(
        self,
        service: str,
        *,
        id: str | None = None,
        address: str = "",
        port: int = 0,
        tags: Iterable[str] = (),
        meta: Mapping[str, str] | None = None,
        weights: Mapping[str, int] | None = None,
        tagged_addresses: Mapping[str, tuple[str, int]] | None = None,
        status: Status | None = "passing",
    ) -> str:
        """Register an instance, or change it, and return its id; with the *status* None it has no check.

        *weights* as in `{"Passing": 10, "Warning": 1}`.
        """
        own = id or (f"{service}-{port}" if port else service)
        tagged = {name: {"Address": to[0], "Port": to[1]} for name, to in (tagged_addresses or {}).items()}
        body = {"Name": service, "ID": own, "Address": address, "Port": port, "Tags": list(tags), "Meta": meta or {}}
        body |= {"Weights": weights} if weights else {}
        body |= {"TaggedAddresses": tagged} if tagged else {}
        body |= {"Check": {"CheckID": f"service:{own}", "TTL": "24h", "Status": status}} if status else {}
        await self.do("/v1/agent/service/register", body)
        return own

    async def deregister(self, id: str) -> None:
        await self.do(f"/v1/agent/service/deregister/{quote(id)}")

    async def set_status(self, id: str, status: Status, *, output: str = "") -> None:
        """Let the check of an instance tell *status*."""
        await self.do(f"/v1/agent/check/update/service:{quote(id)}", {"Status": status, "Output": output})

    async def service_maintenance(self, id: str, *, enable: bool) -> None:
        await self.do(f"/v1/agent/service/maintenance/{quote(id)}?enable={str(enable).lower()}&reason=test")

    async def node_maintenance(self, *, enable: bool) -> None:
        await self.do(f"/v1/agent/maintenance?enable={str(enable).lower()}&reason=test")

    async def register_many(
        self,
        service: str,
        endpoints: Iterable[tuple[str, int]],
        *,
        node: str = "elsewhere",
        status: Status = "passing",
        weights: Mapping[str, int] | None = None,
    ) -> None:
        """Register an instance for each address and port in the catalog, without an agent.

        Registering them again changes them. They belong to *node*, and stay until `deregister_node`; all of them
        come in some thirty changes for a thousand.
        """
        operations: list[dict[str, object]] = [_set("Node", {"Node": node, "Address": "127.0.0.1"})]
        for address, port in endpoints:
            instance = {**_instance(service, address, port), **({"Weights": weights} if weights else {})}
            check = {
                "Node": node,
                "ServiceID": instance["ID"],
                "CheckID": f"service:{instance['ID']}",
                "Status": status,
            }
            operations += [{"Service": {"Verb": "set", "Node": node, "Service": instance}}, _set("Check", check)]
        await self._transact(operations)

    async def deregister_many(
        self, service: str, endpoints: Iterable[tuple[str, int]], *, node: str = "elsewhere"
    ) -> None:
        """Take instances out again that `register_many` registered."""
        gone = [_instance(service, address, port) for address, port in endpoints]
        await self._transact([{"Service": {"Verb": "delete", "Node": node, "Service": one}} for one in gone])

    async def deregister_node(self, node: str = "elsewhere") -> None:
        """Take *node* and all its instances out of the catalog, in one change."""
        await self.do("/v1/catalog/deregister", {"Node": node})

    async def _transact(self, operations: Sequence[dict[str, object]]) -> None:
        for start in range(0, len(operations), _TRANSACTION):
            await self.do("/v1/txn", operations[start : start + _TRANSACTION])

    async def touch_unrelated(self) -> None:
        """Register another service and take it out again, which wakes the queries on services that do not exist."""
        await self.register_many("unrelated", [("127.0.0.1", 1)], node="unrelated")
        await self.deregister_node("unrelated")

    async def a_policy(self, name: str, rules: str) -> str:
        """Make a policy, or change its rules, and return its name; rules as in `service "web" { policy = "read" }`."""
        known = self._policies.get(name)
        answer = await self.do(f"/v1/acl/policy{f'/{known}' if known else ''}", {"Name": name, "Rules": rules})
        self._policies[name] = answer.json["ID"]
        return name

    async def a_token(self, *policies: str, secret: str | None = None) -> str:
        """Make a token that may do what the named policies say, and return its secret, which has to be a UUID."""
        secret = secret or str(uuid.uuid4())
        links = [{"Name": name} for name in policies]
        await self.do("/v1/acl/token", {"SecretID": secret, "AccessorID": _accessor(secret), "Policies": links})
        return secret

    async def delete_token(self, secret: str) -> None:
        await self.do(f"/v1/acl/token/{_accessor(secret)}", method="DELETE")


def _set(kind: str, what: Mapping[str, object]) -> dict[str, object]:
    return {kind: {"Verb": "set", kind: what}}


def _instance(service: str, address: str, port: int) -> dict[str, object]:
    return {"Service": service, "ID": f"{service}-{address}-{port}", "Address": address, "Port": port}


def _accessor(secret: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, secret))
