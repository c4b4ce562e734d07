"""What do the manifests in deploy/kubernetes hold? Rendered by kubectl, as `kubectl apply -k` does."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[3]
MANIFESTS = REPOSITORY / "deploy" / "kubernetes"

Manifest = dict[str, Any]

FORMS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "sidecar": {"resources": ["sidecar"], "components": []},
    "sidecar with its monitor": {"resources": ["sidecar"], "components": ["components/podmonitor"]},
    "deployment-consul": {"resources": ["deployment-consul"], "components": []},
    "deployment-consul with everything": {
        "resources": ["deployment-consul"],
        "components": ["components/haproxy", "components/servicemonitor"],
    },
}
"""What users apply, by name."""


def kubectl() -> Path:
    """Return the kubectl of these tests; `make kubectl` fetches it."""
    path = REPOSITORY / ".kubectl" / "kubectl"
    assert path.exists(), f"there is no {path}: run `make kubectl`"
    return path


def rendered(folder: Path) -> list[Manifest]:
    """Return what `kubectl apply -k` would apply of *folder*."""
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # kubectl warns there of what it no longer likes
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def overlay(folder: Path, content: Mapping[str, object]) -> list[Manifest]:
    """Return what an overlay with *content* renders to, written into *folder*, which is made."""
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(dict(content)))
    return rendered(folder)


def seen_from(folder: Path, part: str) -> str:
    """Return the path of a *part* of the manifests as an overlay in *folder* has to write it: a relative one."""
    return os.path.relpath(MANIFESTS / part, folder.resolve())


def form(name: str, folder: Path) -> list[Manifest]:
    """Render one of FORMS by an overlay in *folder*."""
    parts = FORMS[name].items()
    return overlay(folder, {key: [seen_from(folder, part) for part in named] for key, named in parts})


def only(manifests: Sequence[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the one manifest of *kind*, and *name*, where that says which."""
    (one,) = (each for each in manifests if each["kind"] == kind and name in {None, each["metadata"]["name"]})
    return one


def templates(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield every pod template, with the name of what has it."""
    for one in manifests:
        if "template" in one.get("spec", {}):
            yield f"{one['kind']}/{one['metadata']['name']}", one["spec"]["template"]


def containers(pod: Manifest) -> list[Manifest]:
    """Return all containers of the spec of a pod, native sidecars first."""
    return [*pod.get("initContainers", []), *pod.get("containers", []), *pod.get("ephemeralContainers", [])]


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether something with *labels* is selected; an empty *selector* selects everything."""
    return selector.items() <= labels.items()


def data(manifests: Sequence[Manifest], name: str, file: str) -> str:
    """Return *file* of the ConfigMap that is generated as *name*, with a hash behind it or without."""
    (one,) = (
        each
        for each in manifests
        if each["kind"] == "ConfigMap" and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", each["metadata"]["name"])
    )
    return str(one["data"][file])
