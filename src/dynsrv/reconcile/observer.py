"""What happens in the passes over one backend of one proxy? The reconciler reports it to its observers."""

from __future__ import annotations

from dynsrv.errors import DynsrvError
from dynsrv.model import Backend
from dynsrv.reconcile.result import Pass
from dynsrv.steps import Applied


class PassObserver:
    """Is called for all passes over one backend of one proxy. A method that is not overridden does nothing.

    The reconciler awaits its observers one after the other before it continues, so none of them may take long.
    """

    async def on_steps(self, applied: Applied) -> None:
        """Steps were sent, by a pass that has not ended yet, or because an operator requested one."""

    async def on_observed(self, observed: Backend) -> None:
        """HAProxy was observed, but nothing could be planned: a source has never answered."""

    async def on_pass(self, this: Pass) -> None:
        """A pass got as far as a plan."""

    async def on_failure(self, error: DynsrvError) -> None:
        """A pass failed."""
