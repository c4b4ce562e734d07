"""Pure planning: turns desired and observed state into steps, each with its reason. No I/O, no clock."""

from __future__ import annotations

from dynsrv.planning.desired_servers import Desired, DesiredServer, desired_servers
from dynsrv.planning.lifecycle import held
from dynsrv.planning.plan import make_plan
from dynsrv.planning.policy import NO_LIMITS, Admission, DrainTimeoutAction, Limits, OnEmpty, Policy
from dynsrv.planning.recent_history import RecentHistory, RecentService

__all__ = [
    "NO_LIMITS",
    "Admission",
    "Desired",
    "DesiredServer",
    "DrainTimeoutAction",
    "Limits",
    "OnEmpty",
    "Policy",
    "RecentHistory",
    "RecentService",
    "desired_servers",
    "held",
    "make_plan",
]
