"""Pure planning: from what is desired and observed to steps, each with its reason. No input, output or clock."""

from __future__ import annotations

from dynsrv.planning.lifecycle import held
from dynsrv.planning.memory import Memory
from dynsrv.planning.plan import make_plan
from dynsrv.planning.policy import NO_LIMITS, Admission, AfterDrain, Limits, OnEmpty, Policy
from dynsrv.planning.targets import Target, Targets, targets

__all__ = [
    "NO_LIMITS",
    "Admission",
    "AfterDrain",
    "Limits",
    "Memory",
    "OnEmpty",
    "Policy",
    "Target",
    "Targets",
    "held",
    "make_plan",
    "targets",
]
