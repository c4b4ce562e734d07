"""What is in the file that HAProxy will read, and what should be in it? Everything here blocks: use a thread."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from dynsrv.errors import ConfigFileError
from dynsrv.persist.file import ReplacedFile, Signature
from dynsrv.persist.rendering import render
from dynsrv.persist.section import Configuration, SectionError
from dynsrv.persist.server_lines import SeenServers

_SETTLING_LOOKS = 10  # for which a file that is written in place may go on changing
_VALIDATION = 20.0  # seconds
_COMPLAINT = 500  # characters of what the validation says


class Look(Enum):
    """Whether the file has changed since the last attempt to write it."""

    SAME = auto()
    CHANGED = auto()
    CHANGING = auto()  # another program writes it in place, so it may be incomplete


class Written(NamedTuple):
    """The content of the file, names of servers and problems by backend, and whether it *differs* from before."""

    content: bytes
    names: Mapping[str, frozenset[str]]
    problems: Mapping[str, ConfigFileError]
    differs: bool


class RenderedFile:
    """The file at *path*, with the servers of its backends between its marks.

    *template* is a file with the marks, which is only read; without it, the file itself has them. *validate* is a
    command that a new file must pass before it replaces the old one; `{path}` stands for the new file.
    """

    def __init__(
        self,
        path: Path,
        *,
        template: Path | None = None,
        validate: Sequence[str] = (),
        file: ReplacedFile | None = None,
    ) -> None:
        self.path = path
        self._file = file or ReplacedFile(path)
        self._template = ReplacedFile(template) if template else None
        self._validate = tuple(validate)
        self._known: tuple[Signature | None, ...] = ()  # at the last attempt to write it
        self._looked: tuple[Signature | None, ...] = ()
        self._settling = 0

    def remove_leftovers(self) -> None:
        """Remove the temporary files of processes that died."""
        self._file.remove_leftovers(time.time())

    def look(self) -> Look:
        """Return whether another program has changed the file or its template since the last attempt to write it.

        Raises:
            ConfigFileError: it cannot be read.
        """
        before, self._looked = self._looked, self._signatures()
        if self._looked == self._known:
            self._settling = 0
            return Look.SAME
        pairs = zip(self._looked, before, strict=False)
        if any(new and old and new != old and new[:2] == old[:2] for new, old in pairs):
            self._settling += 1  # a file that was renamed is complete
            if self._settling <= _SETTLING_LOOKS:
                return Look.CHANGING
        return Look.CHANGED

    def write(self, backends: Mapping[str, Sequence[SeenServers]]) -> Written:
        """Write the servers of *backends*, each as observed on one proxy, on several, or not yet.

        The lines of a backend that was not observed yet are not changed.

        Raises:
            ChangedMeanwhile: another program wrote it at the same time; start again.
            ConfigFileError: it is not changed.
        """
        return self._render(backends, dry=False, keep_holds=False)

    def render(self, backends: Mapping[str, Sequence[SeenServers]], *, dry: bool) -> Written:
        """Do the same without an observation of HAProxy: what is disabled stays disabled. *dry*: write nothing."""
        return self._render(backends, dry=dry, keep_holds=True)

    def _render(self, backends: Mapping[str, Sequence[SeenServers]], *, dry: bool, keep_holds: bool) -> Written:
        looked = self._known = self._signatures()
        current = self._file.read(looked[0])
        source = current if self._template is None else self._template.read(looked[1])
        if source is None:
            raise _missing(self._template or self._file)
        rendered = render(source, current or b"", backends, keep_holds=keep_holds)
        differs = rendered.content != current
        if differs and not dry:
            like = self._template.path if self._template else None
            validate = self._validated if self._validate else None
            new = self._file.replace(rendered.content, looked[0], like=like, validate=validate)
            self._known = self._looked = (new, *looked[1:])
        place = self._template or self._file
        problems = {
            backend: ConfigFileError(place.path, one.reason, str(one)) for backend, one in rendered.problems.items()
        }
        return Written(rendered.content, rendered.names, problems, differs)

    def exists(self) -> bool:
        """Whether the file exists.

        Raises:
            ConfigFileError: it cannot be read.
        """
        return self._file.look() is not None

    def mark(self, backends: Sequence[str], *, dry: bool) -> Written:
        """Add marks to the sections of *backends* that have none. *dry*: write nothing. A template is never written.

        Raises:
            ChangedMeanwhile: another program wrote it at the same time; start again.
            ConfigFileError: it is not changed: a section is missing, or its marks are not one pair.
        """
        place = self._template or self._file
        looked = place.look()
        content = current = place.read(looked)
        if content is None:
            raise _missing(place)
        for backend in backends:
            try:
                content = Configuration(content).with_marks(backend)
            except SectionError as error:
                raise ConfigFileError(place.path, error.reason, str(error)) from None
        if content != current and not dry:
            if self._template is not None:
                problem = "dynsrv only reads a template; write the marks there, which --output - prints"
                raise ConfigFileError(place.path, "marks", problem)
            self._file.replace(content, looked)
        return Written(content, {}, {}, content != current)

    def configuration(self) -> Configuration:
        """Return the text that has, or should have, the marks.

        Raises:
            ConfigFileError: it cannot be read.
        """
        file = self._template or self._file
        content = file.read(file.look())
        if content is None:
            raise _missing(file)
        return Configuration(content)

    def check_replaceable(self) -> None:
        """Check, without writing anything, that this user can replace the file.

        Raises:
            ConfigFileError: this user cannot.
        """
        self._file.check_replaceable()

    def _signatures(self) -> tuple[Signature | None, ...]:
        files = [self._file] if self._template is None else [self._file, self._template]
        return tuple(one.look() for one in files)

    def _validated(self, new: Path) -> None:
        command = [word.replace("{path}", str(new)) for word in self._validate]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_VALIDATION,
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"{command[0]} did not end within {_VALIDATION:g} s"
            raise ConfigFileError(self.path, "validation", f"the new one was not validated: {problem}") from None
        except OSError as error:
            problem = f"{command[0]} cannot be run: {error.strerror}"
            raise ConfigFileError(self.path, "validation", f"the new one was not validated: {problem}") from None
        if done.returncode != 0:
            said = " ".join(done.stdout.split())[-_COMPLAINT:] or f"exit code {done.returncode}"
            raise ConfigFileError(self.path, "validation", f"the new one is refused by {command[0]}: {said}")


def _missing(file: ReplacedFile) -> ConfigFileError:
    return ConfigFileError(file.path, "missing", "there is no such file; write it, or correct the path")
