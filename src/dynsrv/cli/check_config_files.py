"""Would a new HAProxy find the servers in its configuration, and the same ones? A part of `dynsrv check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dynsrv.cli.check import Finding
from dynsrv.cli.session import Backend, Session
from dynsrv.errors import ConfigFileError
from dynsrv.persist.comparison import differences
from dynsrv.persist.section import Configuration, SectionError


def check_config_files(session: Session, *, live: bool) -> Iterator[Finding]:
    """Yield what is found of each file of HAProxy's configuration that is to be kept current.

    A missing file is a problem only on HAProxy's own machine, which *live* implies.
    """
    configurations: dict[Path, Configuration] = {}
    for path, file in session.config_files.items():
        what = f"config_file {path}"
        try:
            configurations[path] = file.configuration()
            file.check_replaceable()
        except ConfigFileError as error:
            elsewhere = error.reason == "missing" and not live
            found = f"{error.problem}, where HAProxy runs" if elsewhere else error.problem
            yield Finding(good=elsewhere, what=what, found=found)
    for backend in session.backends:
        paths = {file.key for spec, _ in backend.on for file in spec.proxy.config_files}
        if paths & configurations.keys():
            yield from _check_backend(backend, {path: configurations[path] for path in paths & configurations.keys()})


def _check_backend(backend: Backend, configurations: dict[Path, Configuration]) -> Iterator[Finding]:
    what = f"lines of {backend.name}"
    here = {path: one for path, one in configurations.items() if one.has_section(backend.name)}
    if not here:
        files = ", ".join(map(str, configurations))
        yield Finding(good=False, what=what, found=f"{files}: no section `backend {backend.name}`; write one")
    for path, configuration in here.items():
        try:
            written = len(configuration.servers(backend.name))
            problems = list(differences(configuration, backend.name, backend.policy.options))
        except SectionError as error:
            yield Finding(good=False, what=what, found=f"{path}: {error}")
            continue
        for problem in problems:
            yield Finding(good=False, what=what, found=f"{path}, {problem}")
        if not problems:
            yield Finding(good=True, what=what, found=f"{path}: {written} servers between its marks")
