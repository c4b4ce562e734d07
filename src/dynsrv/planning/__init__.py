"""Pure planning: from what is desired and observed to steps, each with its reason. No input, output or clock."""

from __future__ import annotations

from dynsrv.planning.plan import make_plan
from dynsrv.planning.policy import Admission, AfterDrain, Policy
from dynsrv.planning.targets import Target, Targets, targets

__all__ = ["Admission", "AfterDrain", "Policy", "Target", "Targets", "make_plan", "targets"]
