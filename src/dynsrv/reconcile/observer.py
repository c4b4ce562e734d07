"""Who hears what becomes of one backend of one proxy? Whoever wants to: the reconciler knows none of them."""

from __future__ import annotations

from dynsrv.errors import DynsrvError
from dynsrv.reconcile.result import Pass
from dynsrv.steps import Applied


class PassObserver:
    """Hears of all passes over one backend of one proxy. A method that is not overridden does nothing.

    The reconciler awaits its observers one after the other before it goes on, so none of them may wait for long.
    """

    async def on_steps(self, applied: Applied) -> None:
        """Steps were sent: by a pass that is not over yet, or because an operator asked for it."""

    async def on_pass(self, this: Pass) -> None:
        """A pass got as far as a plan."""

    async def on_failure(self, error: DynsrvError) -> None:
        """A pass failed."""
