"""Whose instances are meant, and how is AWS reached? Clients of aiobotocore, which is imported here alone.

All that is not in the configuration is botocore's to find, as for every tool of AWS: the credentials (environment,
profile, web identity, container, instance), which it renews by itself, the region, and the endpoints.
"""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from dynsrv import __version__

CONNECT_TIMEOUT = 5.0
"""Seconds until a connection stands."""
READ_TIMEOUT = 20.0
"""Seconds without a byte of an answer."""
ATTEMPTS = 3
"""How often botocore asks, with growing pauses, before it says that it failed."""


def installed() -> bool:
    """Whether the extra `dynsrv[ec2]` is there."""
    return importlib.util.find_spec("aiobotocore") is not None


@dataclass(frozen=True, slots=True)
class Account:
    """What the configuration says of it; None: botocore finds it out."""

    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    endpoint_url: str | None = None


class Clients:
    """The clients of one account, made when they are first asked for. All are closed together."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._open = AsyncExitStack()
        self._making = asyncio.Lock()

    async def get(self, service: str) -> Any:
        """Return the client of ec2 or autoscaling."""
        async with self._making:
            if service not in self._clients:
                if self._session is None:
                    self._session = await self._make_session()
                client = self._session.create_client(service, **self._place())
                self._clients[service] = await self._open.enter_async_context(client)
        return self._clients[service]

    async def method(self) -> str:
        """Return where the credentials come from, in botocore's words: env, iam-role, assume-role, …"""
        await self.get("ec2")
        return str((await _credentials(self._session)).method)

    async def close(self) -> None:
        """Close all connections."""
        await self._open.aclose()

    def _place(self) -> dict[str, Any]:
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - 70 MB that only this source needs

        config = AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            user_agent_extra=f"dynsrv/{__version__}",
        )
        account = self._account
        return {"region_name": account.region, "endpoint_url": account.endpoint_url, "config": config}

    async def _make_session(self) -> Any:
        from aiobotocore.session import AioSession  # noqa: PLC0415

        session = AioSession(profile=self._account.profile)
        if self._account.role_arn is None:
            return session
        assumed = AioSession(profile=self._account.profile)
        assumed.register_component("credential_provider", await self._role(session))
        return assumed

    async def _role(self, session: Any) -> Any:
        """Return what finds the credentials of the role, whenever there are none that last."""
        from aiobotocore.credentials import (  # noqa: PLC0415
            AioAssumeRoleCredentialFetcher,
            AioDeferredRefreshableCredentials,
        )

        account = self._account
        asked = {"RoleSessionName": "dynsrv"} | ({"ExternalId": account.external_id} if account.external_id else {})
        fetcher = AioAssumeRoleCredentialFetcher(
            partial(session.create_client, **self._place()),
            await _credentials(session),
            account.role_arn,
            extra_args=asked,
        )
        return _Found(AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role"))


async def _credentials(session: Any) -> Any:
    """Return the credentials that a session finds; botocore itself fails only when it needs them."""
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

    credentials = await session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    return credentials


class _Found:
    """A credential provider of botocore's that has its credentials."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> Any:
        return self._credentials
