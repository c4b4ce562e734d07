"""What a kind of source needs for the contract suite: its settings, and something in memory that the source reads.

A new kind is a subclass of `Stage`, or of `RemoteStage` if its sources send requests, in the table of `conftest.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules
from dynsrv.sources.registry import KINDS
from dynsrv.sources.source import SharedResources, Source, SourceContext


class Stage(ABC):
    """What the sources of one process read. Host *n* is the endpoint 10.0.0.*n*:80; at first there are none."""

    kind: ClassVar[str]
    settings: ClassVar[Mapping[str, object]]

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._shared = SharedResources()

    def a_source(self, backend: str = "be_app", *, rules: EndpointRules = ANY_ENDPOINT) -> Source:
        """Create a source from the settings, as the daemon does."""
        settings = KINDS[self.kind].model_validate({"kind": self.kind, **self.settings})
        return settings.create(SourceContext(backend, self.folder, self._shared, rules))

    @abstractmethod
    def set(self, *hosts: int) -> None:
        """Make *hosts* the whole state, in one change if the kind can do that."""

    @abstractmethod
    def break_(self) -> None:
        """Let reads fail from now on."""

    @abstractmethod
    def cut(self) -> None:
        """Let reads return a part of the state from now on."""

    @abstractmethod
    def heal(self) -> None:
        """Undo `break_`, `cut` and `hang`."""


class RemoteStage(Stage):
    """What the sources of one process send requests to."""

    @property
    @abstractmethod
    def requests(self) -> int:
        """How many requests there were so far."""

    @property
    @abstractmethod
    def open(self) -> int:
        """How many clients are open."""

    @abstractmethod
    def hang(self) -> None:
        """Let requests remain unanswered from now on."""
