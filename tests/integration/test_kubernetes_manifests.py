"""The manifests are what Kubernetes takes, and fit together: names, ports, labels, Secrets."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dynsrv import __version__
from tests.integration.support.kubernetes import (
    FORMS,
    REPOSITORY,
    Manifest,
    containers,
    data,
    form,
    matches,
    only,
    overlay,
    seen_from,
    templates,
)

VERSIONS = ("1.29", "1.33", kubernetes_validate.latest_version())
"""The first with native sidecars, the one that made them stable, and the newest that there is a schema for."""

OPERATORS = {"PodMonitor", "ServiceMonitor"}
"""Kinds of the Prometheus operator's, which Kubernetes has no schema for."""

# What is made by hand, by docs/kubernetes.md.
SECRETS = {
    "consul-token": {"token"},
    "dynsrv-runtime-api": {"ca.crt", "tls.crt", "tls.key"},
    "haproxy-runtime-api": {"ca.crt", "tls.crt", "tls.key"},
}


@pytest.fixture(params=FORMS)
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> list[Manifest]:
    """Each form in turn, rendered."""
    return form(request.param, tmp_path / "overlay")


@pytest.fixture
def sidecar(tmp_path: Path) -> list[Manifest]:
    return form("sidecar with its monitor", tmp_path / "overlay")


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_manifests_with_every_key_known(manifests: list[Manifest], version: str) -> None:
    for one in manifests:
        if one["kind"] not in OPERATORS:
            assert kubernetes_validate.validate(one, version, strict=True) == ".".join(version.split(".")[:2])


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("Deployment", {"spec": {"replica": 2}}, "'replica' was unexpected"),
        ("Deployment", {"spec": {"replicas": "2"}}, "'2' is not of type"),
        ("Deployment", {"spec": {"selector": "haproxy"}}, "'haproxy' is not of type"),
        ("Deployment", {"spec": {"template": {"spec": {"securityContext": {"fsGroups": 1}}}}}, "'fsGroups' was"),
        ("NetworkPolicy", {"spec": {"podSelector": {"matchlabels": {}}}}, "'matchlabels' was unexpected"),
        ("Service", {"spec": {"ports": [{"name": "http"}]}}, "'port' is a required property"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest_with_a_mistake_is_refused(
    sidecar: list[Manifest], kind: str, change: Mapping[str, Any], *, says: str, version: str
) -> None:
    wrong = _merged(next(one for one in sidecar if one["kind"] == kind), change)
    with pytest.raises(kubernetes_validate.ValidationError) as error:
        kubernetes_validate.validate(wrong, version, strict=True)
    assert says in str(error.value)


def test_a_kubernetes_without_native_sidecars_does_not_know_them(sidecar: list[Manifest]) -> None:
    deployment = only(sidecar, "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError, match="'restartPolicy' was unexpected"):
        kubernetes_validate.validate(deployment, "1.27", strict=True)


def _merged(into: Manifest, change: Mapping[str, Any]) -> Manifest:
    merged = copy.deepcopy(into)
    for key, value in change.items():
        merged[key] = _merged(merged[key], value) if isinstance(value, Mapping) and key in merged else value
    return merged


def _keys(manifests: list[Manifest], volume: Mapping[str, Any]) -> set[str]:
    """Return the files in *volume*, which has to exist."""
    if "configMap" in volume:
        return set(only(manifests, "ConfigMap", volume["configMap"]["name"])["data"])
    if "secret" in volume:
        return SECRETS[volume["secret"]["secretName"]]
    assert "emptyDir" in volume
    assert volume["emptyDir"]["sizeLimit"]
    return set()


def test_what_is_mounted_exists_and_whole_folders_are_so_that_changes_arrive(manifests: list[Manifest]) -> None:
    for _, template in templates(manifests):
        volumes = {one["name"]: _keys(manifests, one) for one in template["spec"]["volumes"]}
        mounts = [mount for one in containers(template["spec"]) for mount in one["volumeMounts"]]
        assert {one["name"] for one in mounts} == volumes.keys()
        assert not any("subPath" in one for one in mounts)
        for one in containers(template["spec"]):
            if one["name"] == "dynsrv":
                read_only = {mount["mountPath"] for mount in one["volumeMounts"] if mount.get("readOnly")}
                assert "/etc/dynsrv" in read_only
                assert "--reload-on-change" in one["args"]
        only(manifests, "ServiceAccount", template["spec"]["serviceAccountName"])


def test_every_file_that_the_configuration_names_is_mounted(manifests: list[Manifest]) -> None:
    for _, template in templates(manifests):
        for one in containers(template["spec"]):
            if one["name"] == "dynsrv":
                text = data(manifests, "dynsrv", "dynsrv.yaml")
                files = set(_files(manifests, template["spec"], one))
                named = {value for value in _strings(yaml.safe_load(text)) if value.startswith("/")}
                assert named
                assert named <= files


def _files(manifests: list[Manifest], pod: Manifest, container: Manifest) -> Iterator[str]:
    volumes = {one["name"]: one for one in pod["volumes"]}
    for mount in container["volumeMounts"]:
        yield from (f"{mount['mountPath']}/{key}" for key in _keys(manifests, volumes[mount["name"]]))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, str):
        yield value


def test_every_selector_selects_pods_and_every_port_is_theirs(manifests: list[Manifest]) -> None:
    pods = [template for _, template in templates(manifests)]
    selected = 0
    for one in manifests:
        spec = one.get("spec", {})
        match one["kind"]:
            case "Service":
                found, ports = _selected(pods, spec["selector"]), {port["targetPort"] for port in spec["ports"]}
            case "NetworkPolicy":
                found = _selected(pods, spec["podSelector"]["matchLabels"])
                ports = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
                for peer in (peer for rule in spec["ingress"] for peer in rule.get("from", [])):
                    assert "podSelector" not in peer or (
                        set(peer) == {"podSelector"} and _names(pods, peer["podSelector"]["matchLabels"]) == ["dynsrv"]
                    )
            case "PodDisruptionBudget":
                found, ports = _selected(pods, spec["selector"]["matchLabels"]), set()
            case "Deployment" | "StatefulSet":
                assert matches(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
                continue
            case _:
                continue
        assert found, one
        selected += 1
        for pod in found:
            of_the_pod = [port for each in containers(pod["spec"]) for port in each["ports"]]
            assert ports <= {port[key] for port in of_the_pod for key in ("name", "containerPort")}, one
    assert selected >= 2


def _selected(pods: list[Manifest], selector: Mapping[str, str]) -> list[Manifest]:
    return [pod for pod in pods if matches(selector, pod["metadata"]["labels"])]


def _names(pods: list[Manifest], selector: Mapping[str, str]) -> list[str]:
    return [one["name"] for pod in _selected(pods, selector) for one in containers(pod["spec"])]


def test_probes_ask_ports_of_their_own_container(manifests: list[Manifest]) -> None:
    for _, template in templates(manifests):
        for one in containers(template["spec"]):
            probes = [value for key, value in one.items() if key.endswith("Probe")]
            assert len(probes) >= 2
            assert {probe["httpGet"]["port"] for probe in probes} <= {port["name"] for port in one["ports"]}


def test_haproxy_has_the_time_that_its_end_takes(manifests: list[Manifest]) -> None:
    for _, template in templates(manifests):
        for one in containers(template["spec"]):
            if one["name"] == "haproxy":
                text = data(manifests, "haproxy", "haproxy.cfg")
                (hard_stop,) = re.findall(r"hard-stop-after (\d+)s$", text, flags=re.MULTILINE)
                _, sleeps = one["lifecycle"]["preStop"]["exec"]["command"]
                assert int(sleeps) + int(hard_stop) + 5 <= template["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("name", "kind", "endpoints"),
    [
        ("sidecar with its monitor", "PodMonitor", "podMetricsEndpoints"),
        ("deployment-consul with everything", "ServiceMonitor", "endpoints"),
    ],
)
def test_prometheus_names_the_job_as_the_alerts_want_it(name: str, kind: str, endpoints: str, tmp_path: Path) -> None:
    manifests = form(name, tmp_path / "overlay")
    monitor = only(manifests, kind)
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    spec = monitor["spec"]
    assert spec.keys() == {"jobLabel", "selector", endpoints}
    assert spec["selector"].keys() == {"matchLabels"}
    if kind == "PodMonitor":
        things = [template for _, template in templates(manifests)]
        ports = [port["name"] for one in things for each in containers(one["spec"]) for port in each["ports"]]
    else:
        things = [one for one in manifests if one["kind"] == "Service"]
        ports = [port["name"] for one in things for port in one["spec"]["ports"]]
    (thing,) = (one for one in things if matches(spec["selector"]["matchLabels"], one["metadata"]["labels"]))
    assert [one.keys() for one in spec[endpoints]] == [{"port"}]
    assert spec[endpoints][0]["port"] in ports
    job = thing["metadata"]["labels"][spec["jobLabel"]]
    assert f'up{{job="{job}"}}' in (REPOSITORY / "deploy" / "prometheus" / "alerts.yml").read_text()


def test_the_images_are_those_of_this_version_and_an_overlay_sets_others(tmp_path: Path) -> None:
    ((_, template),) = templates(form("sidecar", tmp_path / "a"))
    assert {one["image"] for one in containers(template["spec"])} == {f"dynsrv:{__version__}", "haproxy:3.2"}
    other = {"name": "dynsrv", "newName": "registry.example/dynsrv", "newTag": "1.2.3"}
    folder = tmp_path / "b"
    manifests = overlay(folder, {"resources": [seen_from(folder, "sidecar")], "images": [other]})
    ((_, template),) = templates(manifests)
    assert containers(template["spec"])[0]["image"] == "registry.example/dynsrv:1.2.3"


def test_dynsrv_finds_every_haproxy_of_the_statefulset_before_it_is_ready(tmp_path: Path) -> None:
    manifests = form("deployment-consul with everything", tmp_path / "overlay")
    statefulset = only(manifests, "StatefulSet")
    service = only(manifests, "Service", statefulset["spec"]["serviceName"])
    name, of = statefulset["metadata"]["name"], service["metadata"]["name"]
    (port,) = service["spec"]["ports"]
    pods = range(statefulset["spec"]["replicas"])
    proxies = yaml.safe_load(data(manifests, "dynsrv", "dynsrv.yaml"))["proxies"]
    assert [one["address"] for one in proxies] == [f"tcp+tls://{name}-{pod}.{of}:{port['port']}" for pod in pods]
    # a pod is ready when it has servers, which come from dynsrv, which has to find its address before
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["clusterIP"] == "None"
