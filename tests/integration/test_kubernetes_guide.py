"""What docs/kubernetes.md tells to write and to run does what it says, as far as that can be seen without a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.integration.support.kubernetes import (
    MANIFESTS,
    REPOSITORY,
    Manifest,
    containers,
    data,
    kubectl,
    only,
    rendered,
    templates,
)
from tests.integration.support.pod_security import violations

GUIDE = (REPOSITORY / "docs" / "kubernetes.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


OVERLAYS = [block for block in blocks("yaml") if "kind: Kustomization" in block]


@pytest.fixture
def production(tmp_path: Path) -> Path:
    """The empty folder of an overlay beside the manifests."""
    copy = shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    (copy / "production").mkdir()
    return copy / "production"


def _with(folder: Path, kustomization: str) -> list[Manifest]:
    (folder / "kustomization.yaml").write_text(kustomization)
    return rendered(folder)


def test_the_overlay_of_the_sidecar_changes_what_it_says(production: Path) -> None:
    for name in ("dynsrv.yaml", "haproxy.cfg"):
        (production / name).write_text((MANIFESTS / "sidecar" / name).read_text() + "# ours\n")
    manifests = _with(production, OVERLAYS[0])
    _are_good(manifests)
    deployment = only(manifests, "Deployment")["spec"]
    assert deployment["replicas"] == 3
    dynsrv, haproxy = containers(deployment["template"]["spec"])
    assert dynsrv["image"] == "registry.example.com/dynsrv:0.1.0"
    assert f"`{dynsrv['env'][0]['value']}`" in GUIDE
    assert haproxy["image"] == "haproxy:3.2"
    for name, file in (("dynsrv", "dynsrv.yaml"), ("haproxy", "haproxy.cfg")):
        assert data(manifests, name, file).endswith("# ours\n")
    only(manifests, "PodMonitor")


def test_consul_may_be_on_every_node(production: Path) -> None:
    (variables,) = (yaml.safe_load(block) for block in blocks("yaml") if "HOST_IP" in block)
    path = "/spec/template/spec/initContainers/0/env"
    assert f"`{path}`" in GUIDE
    patch = yaml.safe_dump([{"op": "replace", "path": path, "value": variables}])
    content = {
        "namespace": "load-balancing",
        "resources": ["../sidecar"],
        "patches": [{"target": {"kind": "Deployment"}, "patch": patch}],
    }
    manifests = _with(production, yaml.safe_dump(content))
    _are_good(manifests)
    ((_, template),) = templates(manifests)
    assert containers(template["spec"])[0]["env"] == variables


def test_the_overlay_of_the_deployment_brings_its_haproxys(production: Path) -> None:
    manifests = _with(production, OVERLAYS[1])
    _are_good(manifests)
    assert {one["kind"] for one in manifests} >= {"Deployment", "StatefulSet", "ServiceMonitor", "NetworkPolicy"}
    assert len(OVERLAYS) == 2


def _are_good(manifests: list[Manifest]) -> None:
    for one in manifests:
        assert one["metadata"]["namespace"] == "load-balancing"
        if not one["kind"].endswith("Monitor"):
            kubernetes_validate.validate(one, "1.29", strict=True)
    for _, template in templates(manifests):
        assert violations(template["spec"]) == {}


def _run(script: str, folder: Path) -> list[Any]:
    """Run *script* with a kubectl that applies nothing, and return what it would."""
    apply = 'case "$*" in *apply*) cat;; *) "$KUBECTL" "$@" --dry-run=client -o yaml; echo ---;; esac'
    done = subprocess.run(
        ["bash", "-euc", f"kubectl() {{ {apply}; }}\n{script}"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin:/usr/sbin", "KUBECTL": str(kubectl()), "HOME": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def test_the_alerts_become_a_prometheusrule() -> None:
    (script,) = (block for block in blocks("bash") if "PrometheusRule" in block)
    (rule,) = _run(script, REPOSITORY)
    assert rule == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "dynsrv"},
        "spec": yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "alerts.yml").read_text()),
    }


def test_the_certificates_come_in_the_secrets_that_are_mounted(tmp_path: Path) -> None:
    (script,) = (block for block in blocks("bash") if "openssl" in block)
    secrets = _run(script, tmp_path)
    assert {one["metadata"]["name"] for one in secrets} == {"haproxy-runtime-api", "dynsrv-runtime-api"}
    for one in secrets:
        assert (one["kind"], one["type"]) == ("Secret", "kubernetes.io/tls")
        assert one["metadata"]["namespace"] == "load-balancing"
        assert one["data"].keys() == {"tls.crt", "tls.key", "ca.crt"}
        kubernetes_validate.validate(one, "1.29")
