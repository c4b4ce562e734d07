"""Every pod of the manifests passes the Pod Security Standard `restricted`; each rule is shown to notice its breach."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.kubernetes import FORMS, Manifest, form, templates
from tests.integration.support.pod_security import OURS, RESTRICTED, violations

GONE = object()

BREACHES: Sequence[tuple[str, tuple[str | int, ...], object]] = [
    ("HostProcess", ("securityContext", "windowsOptions"), {"hostProcess": True}),
    ("Host Namespaces", ("hostNetwork",), True),
    ("Host Namespaces", ("hostPID",), True),
    ("Host Namespaces", ("hostIPC",), True),
    ("Privileged Containers", ("initContainers", 0, "securityContext", "privileged"), True),
    ("HostPath Volumes", ("volumes", 0, "hostPath"), {"path": "/"}),
    ("Host Ports", ("initContainers", 0, "ports", 0, "hostPort"), 9105),
    ("Host Probes / Lifecycle Hooks", ("containers", 0, "livenessProbe", "httpGet", "host"), "10.0.0.1"),
    ("Host Probes / Lifecycle Hooks", ("containers", 0, "lifecycle", "preStop"), {"tcpSocket": {"host": "10.0.0.1"}}),
    ("AppArmor", ("containers", 0, "securityContext", "appArmorProfile"), {"type": "Unconfined"}),
    ("SELinux", ("securityContext", "seLinuxOptions"), {"type": "spc_t"}),
    ("SELinux", ("containers", 0, "securityContext", "seLinuxOptions"), {"user": "root"}),
    ("/proc Mount Type", ("containers", 0, "securityContext", "procMount"), "Unmasked"),
    ("Sysctls", ("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "65536"}]),
    ("Volume Types", ("volumes", 0), {"name": "disk", "nfs": {"server": "10.0.0.1", "path": "/"}}),
    ("Privilege Escalation", ("containers", 0, "securityContext", "allowPrivilegeEscalation"), GONE),
    ("Privilege Escalation", ("initContainers", 0, "securityContext", "allowPrivilegeEscalation"), True),
    ("Running as Non-root", ("securityContext", "runAsNonRoot"), GONE),
    ("Running as Non-root", ("containers", 0, "securityContext", "runAsNonRoot"), False),
    ("Running as Non-root user", ("initContainers", 0, "securityContext", "runAsUser"), 0),
    ("Seccomp", ("securityContext", "seccompProfile"), GONE),
    ("Seccomp", ("containers", 0, "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    ("Capabilities", ("containers", 0, "securityContext", "capabilities"), GONE),
    ("Capabilities", ("initContainers", 0, "securityContext", "capabilities", "add"), ["NET_ADMIN"]),
    ("requests and limits", ("containers", 0, "resources", "limits", "memory"), GONE),
    ("requests and limits", ("initContainers", 0, "resources"), GONE),
    ("a user and groups by number, not root's", ("containers", 0, "securityContext", "runAsUser"), GONE),
    ("a user and groups by number, not root's", ("securityContext", "fsGroup"), 0),
    ("a read-only root file system", ("initContainers", 0, "securityContext", "readOnlyRootFilesystem"), False),
    ("an image's version", ("containers", 0, "image"), "haproxy:latest"),
    ("an image's version", ("containers", 0, "image"), "registry.example:5000/haproxy"),
    ("probes", ("containers", 0, "livenessProbe"), GONE),
    ("no token of a service account", ("automountServiceAccountToken",), GONE),
    ("a service account of its own", ("serviceAccountName",), "default"),
]
"""Each breaks the rule of its name, if it is done to the sidecar's pod."""


def _with(pod: Manifest, path: tuple[str | int, ...], value: object) -> Manifest:
    broken = copy.deepcopy(pod)
    at: Any = broken
    for step in path[:-1]:
        at = at[step]
    if value is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return broken


@pytest.mark.parametrize("name", FORMS)
def test_every_pod_is_restricted_and_limited(name: str, tmp_path: Path) -> None:
    pods = {where: template["spec"] for where, template in templates(form(name, tmp_path / "overlay"))}
    assert pods
    assert {where: violations(pod) for where, pod in pods.items()} == {where: {} for where in pods}


@pytest.mark.parametrize(("rule", "path", "value"), BREACHES, ids=[f"{one[0]}: {one[1][-1]}" for one in BREACHES])
def test_a_pod_that_breaks_a_rule_is_noticed(
    rule: str, path: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    ((_, template),) = templates(form("sidecar", tmp_path / "overlay"))
    broken = _with(template["spec"], path, value)
    assert rule in violations(broken)


def test_every_rule_has_a_breach() -> None:
    assert {rule for rule, _, _ in BREACHES} == {*RESTRICTED, *OURS}
