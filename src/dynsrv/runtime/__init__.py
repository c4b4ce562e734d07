"""An asynchronous client of HAProxy's Runtime API (HAProxy 2.5.1 and later). Needs only the standard library."""

from __future__ import annotations

from dynsrv.runtime import commands, connecting, errors
from dynsrv.runtime.address import Address, TcpAddress, UnixAddress, parse_address
from dynsrv.runtime.capabilities import Capabilities
from dynsrv.runtime.client import Batch, Client
from dynsrv.runtime.commands import State
from dynsrv.runtime.errors import RuntimeApiError
from dynsrv.runtime.events import Broke, Event, Hook, Replied
from dynsrv.runtime.replies import Command, Ok, Reply
from dynsrv.runtime.tables import BackendStat, CheckStat, ProcessInfo, ServersReader, ServerStat, ServerState

__all__ = [
    "Address",
    "BackendStat",
    "Batch",
    "Broke",
    "Capabilities",
    "CheckStat",
    "Client",
    "Command",
    "Event",
    "Hook",
    "Ok",
    "ProcessInfo",
    "Replied",
    "Reply",
    "RuntimeApiError",
    "ServerStat",
    "ServerState",
    "ServersReader",
    "State",
    "TcpAddress",
    "UnixAddress",
    "commands",
    "connecting",
    "errors",
    "parse_address",
]
