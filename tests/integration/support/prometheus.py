"""A real Prometheus as a child process that scrapes one dynsrv, and what it answers; and promtool."""

from __future__ import annotations

import asyncio
import math
import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually

REPOSITORY = Path(__file__).parents[3]
ALERTS = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "dynsrv.json"
INTERVAL = 0.3
"""Seconds between two scrapes, and between two evaluations of the rules."""


def binary(name: str) -> Path:
    """Return a program of Prometheus; `make prometheus` fetches them."""
    path = REPOSITORY / ".prometheus" / name
    assert path.exists(), f"there is no {path}: run `make prometheus`"
    return path


def impatient(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return *rules* that wait for a second where they wait for five minutes, and for a minute where for an hour.

    All the rest stays: the sources of a test tell what is wanted as seldom as those of others do.
    """
    groups = []
    for group in rules["groups"]:
        hasty = []
        for rule in group["rules"]:
            expression = re.sub(r"> (\d{3,})\b", lambda match: f"> {int(match[1]) // 60}", rule["expr"])
            waits = {"for": f"{round(_seconds(rule['for']) * 1000 / 300)}ms"} if "for" in rule else {}
            hasty.append({**rule, "expr": expression, **waits})
        groups.append({**group, "rules": hasty})
    return {"groups": groups}


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


async def promtool(*arguments: str | Path, stdin: str = "", cwd: Path = ALERTS.parent) -> tuple[int, str]:
    """Run promtool and return its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        binary("promtool"),
        *arguments,
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode()


class Prometheus:
    """Scrapes the dynsrv on *port* of 127.0.0.1, and evaluates the shipped alerts, `impatient` ones.

    As a context manager it is started, and ended at the end.
    """

    def __init__(self, port: int) -> None:
        self._resources = ExitStack()
        self._folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="dynsrv-")))
        self._port = self._resources.enter_context(a_port())
        self._process: asyncio.subprocess.Process | None = None
        self.log = self._folder / "prometheus.log"
        interval = f"{round(INTERVAL * 1000)}ms"
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": "dynsrv", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        (self._folder / "alerts.yml").write_text(yaml.safe_dump(impatient(yaml.safe_load(ALERTS.read_text()))))

    async def __aenter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                binary("prometheus"),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                stdout=log,
                stderr=log,
            )
        try:
            await eventually(self._ready, what="Prometheus is ready")
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def _ready(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise RuntimeError(f"Prometheus ended: {self.log.read_text()}")
        with suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(self._url("/-/ready")) as answer:
                return answer.status == 200
        return False

    async def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._resources.close()

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    async def _ask(self, path: str, **query: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self._url(path), params=query) as answer:
            data = await answer.json()
        assert data["status"] == "success", f"{query}: {data}"
        return data["data"]

    async def query(self, expression: str) -> dict[frozenset[tuple[str, str]], float]:
        """Return what *expression* is now: each finite value by its labels. One that does not parse is a failure."""
        data = await self._ask("/api/v1/query", query=expression)
        values = {frozenset(one["metric"].items()): float(one["value"][1]) for one in data["result"]}
        return {labels: value for labels, value in values.items() if math.isfinite(value)}

    async def firing(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that fire now, by their names."""
        alerts = (await self._ask("/api/v1/alerts"))["alerts"]
        return {one["labels"]["alertname"]: one for one in alerts if one["state"] == "firing"}

    async def fires(self, *names: str) -> dict[str, dict[str, Any]]:
        """Wait until exactly the alerts of these *names* fire, and return them by their names."""

        async def exactly() -> dict[str, dict[str, Any]] | bool:
            firing = await self.firing()
            assert firing.keys() == set(names), firing
            return firing or True

        found = await eventually(exactly, what=f"exactly these alerts fire: {names}")
        return found if isinstance(found, dict) else {}
