"""Which AWS account is used, and how? Clients of aiobotocore, which is imported only in this package.

What the configuration does not say, botocore finds as every AWS tool does: the credentials (environment, profile, web
identity, container, instance), which it renews by itself, the region, and the endpoints.
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
"""Seconds to establish a connection."""
READ_TIMEOUT = 20.0
"""Seconds without a byte of a response."""
ATTEMPTS = 3
"""How often botocore tries a request, with growing pauses, before it raises an error."""


def installed() -> bool:
    """Whether the extra `dynsrv[ec2]` is installed."""
    return importlib.util.find_spec("aiobotocore") is not None


@dataclass(frozen=True, slots=True)
class Account:
    """The account as configured. None: botocore finds it."""

    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    endpoint_url: str | None = None


class Clients:
    """The clients of one account, created on first use, and closed together."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._open = AsyncExitStack()
        self._creating = asyncio.Lock()

    async def get(self, service: str) -> Any:
        """Return the client of ec2 or autoscaling."""
        async with self._creating:
            if service not in self._clients:
                if self._session is None:
                    self._session = await self._create_session()
                client = self._session.create_client(service, **self._client_options())
                self._clients[service] = await self._open.enter_async_context(client)
        return self._clients[service]

    async def credentials_method(self) -> str:
        """Return where the credentials come from, by botocore's name: env, iam-role, assume-role, …"""
        await self.get("ec2")
        return str((await _credentials(self._session)).method)

    async def close(self) -> None:
        """Close all connections."""
        await self._open.aclose()

    def _client_options(self) -> dict[str, Any]:
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - 70 MB that only this source needs

        config = AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            user_agent_extra=f"dynsrv/{__version__}",
        )
        account = self._account
        return {"region_name": account.region, "endpoint_url": account.endpoint_url, "config": config}

    async def _create_session(self) -> Any:
        from aiobotocore.session import AioSession  # noqa: PLC0415

        session = AioSession(profile=self._account.profile)
        if self._account.role_arn is None:
            return session
        assumed = AioSession(profile=self._account.profile)
        assumed.register_component("credential_provider", await self._role_provider(session))
        return assumed

    async def _role_provider(self, session: Any) -> Any:
        """Return a credential provider that assumes the role whenever its credentials are about to expire."""
        from aiobotocore.credentials import (  # noqa: PLC0415
            AioAssumeRoleCredentialFetcher,
            AioDeferredRefreshableCredentials,
        )

        account = self._account
        arguments = {"RoleSessionName": "dynsrv"} | ({"ExternalId": account.external_id} if account.external_id else {})
        fetcher = AioAssumeRoleCredentialFetcher(
            partial(session.create_client, **self._client_options()),
            await _credentials(session),
            account.role_arn,
            extra_args=arguments,
        )
        return _FixedProvider(AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role"))


async def _credentials(session: Any) -> Any:
    """Return the credentials that a session finds; botocore itself fails only when it needs them."""
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

    credentials = await session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    return credentials


class _FixedProvider:
    """A botocore credential provider that returns the credentials it was created with."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> Any:
        return self._credentials
