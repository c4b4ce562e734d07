"""What is wrong with a pod? The Pod Security Standard `restricted`, and what this project asks of a pod besides.

The names and contents of the rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/.
Rules on Windows alone have no use here but for HostProcess. Annotations that newer fields replaced are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.integration.support.kubernetes import Manifest, containers

Rule = Callable[[Manifest], Iterator[str]]

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def _contexts(pod: Manifest) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every security context, the pod's own first."""
    yield "the pod", pod.get("securityContext", {})
    for one in containers(pod):
        yield one["name"], one.get("securityContext", {})


def _effective(pod: Manifest, field: str) -> Iterator[tuple[str, Any]]:
    """Yield what counts for each container: its own *field*, or the pod's."""
    of_the_pod = pod.get("securityContext", {}).get(field)
    for one in containers(pod):
        yield one["name"], one.get("securityContext", {}).get(field, of_the_pod)


def _handlers(container: Manifest) -> Iterator[Mapping[str, Any]]:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        yield container.get(probe, {})
    yield from container.get("lifecycle", {}).values()


def _host_process(pod: Manifest) -> Iterator[str]:
    for name, context in _contexts(pod):
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield name


def _host_namespaces(pod: Manifest) -> Iterator[str]:
    yield from (field for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field))


def _privileged(pod: Manifest) -> Iterator[str]:
    yield from (name for name, context in _contexts(pod) if context.get("privileged"))


def _host_path(pod: Manifest) -> Iterator[str]:
    yield from (one["name"] for one in pod.get("volumes", []) if "hostPath" in one)


def _host_ports(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        yield from (one["name"] for port in one.get("ports", []) if port.get("hostPort"))


def _host_probes(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        for handler in _handlers(one):
            if any(handler.get(way, {}).get("host") for way in ("httpGet", "tcpSocket")):
                yield one["name"]


def _app_armor(pod: Manifest) -> Iterator[str]:
    for name, context in _contexts(pod):
        if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in {"RuntimeDefault", "Localhost"}:
            yield name


def _selinux(pod: Manifest) -> Iterator[str]:
    for name, context in _contexts(pod):
        options = context.get("seLinuxOptions", {})
        if options.get("type", "") not in _SELINUX_TYPES or options.get("user") or options.get("role"):
            yield name


def _proc_mount(pod: Manifest) -> Iterator[str]:
    yield from (name for name, context in _contexts(pod) if context.get("procMount", "Default") != "Default")


def _sysctls(pod: Manifest) -> Iterator[str]:
    wanted = pod.get("securityContext", {}).get("sysctls", [])
    yield from (one["name"] for one in wanted if one["name"] not in _SAFE_SYSCTLS)


def _volume_types(pod: Manifest) -> Iterator[str]:
    yield from (one["name"] for one in pod.get("volumes", []) if not one.keys() & _VOLUMES)


def _privilege_escalation(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        if one.get("securityContext", {}).get("allowPrivilegeEscalation") is not False:
            yield one["name"]


def _non_root(pod: Manifest) -> Iterator[str]:
    yield from (name for name, value in _effective(pod, "runAsNonRoot") if value is not True)


def _non_root_user(pod: Manifest) -> Iterator[str]:
    yield from (name for name, context in _contexts(pod) if context.get("runAsUser") == 0)


def _seccomp(pod: Manifest) -> Iterator[str]:
    for name, profile in _effective(pod, "seccompProfile"):
        if (profile or {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield name


def _capabilities(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        capabilities = one.get("securityContext", {}).get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield one["name"]


RESTRICTED: Mapping[str, Rule] = {
    "HostProcess": _host_process,
    "Host Namespaces": _host_namespaces,
    "Privileged Containers": _privileged,
    "HostPath Volumes": _host_path,
    "Host Ports": _host_ports,
    "Host Probes / Lifecycle Hooks": _host_probes,
    "AppArmor": _app_armor,
    "SELinux": _selinux,
    "/proc Mount Type": _proc_mount,
    "Sysctls": _sysctls,
    "Volume Types": _volume_types,
    "Privilege Escalation": _privilege_escalation,
    "Running as Non-root": _non_root,
    "Running as Non-root user": _non_root_user,
    "Seccomp": _seccomp,
    "Capabilities": _capabilities,
}


def _resources(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        resources = one.get("resources", {})
        if any(resources.get(kind, {}).keys() != {"cpu", "memory"} for kind in ("requests", "limits")):
            yield one["name"]


def _numeric_user(pod: Manifest) -> Iterator[str]:
    # without a number, kubelet cannot tell that an image's user by name is not root
    for field in ("runAsUser", "runAsGroup"):
        yield from (name for name, value in _effective(pod, field) if not isinstance(value, int) or value == 0)
    if pod.get("securityContext", {}).get("fsGroup") == 0:
        yield "the pod"


def _read_only(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        if one.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield one["name"]


def _image_version(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        _, colon, tag = one["image"].rpartition("/")[2].partition(":")
        if not colon or tag == "latest":
            yield one["name"]


def _probes(pod: Manifest) -> Iterator[str]:
    for one in containers(pod):
        if not {"startupProbe", "livenessProbe"} <= one.keys():
            yield one["name"]


def _no_token(pod: Manifest) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not False:
        yield "the pod"


def _own_account(pod: Manifest) -> Iterator[str]:
    if pod.get("serviceAccountName", "default") == "default":
        yield "the pod"


OURS: Mapping[str, Rule] = {
    "requests and limits": _resources,
    "a user and groups by number, not root's": _numeric_user,
    "a read-only root file system": _read_only,
    "an image's version": _image_version,
    "probes": _probes,
    "no token of a service account": _no_token,
    "a service account of its own": _own_account,
}


def violations(pod: Manifest) -> dict[str, list[str]]:
    """Return the names of the rules that the spec of a pod breaks, each with where it does."""
    rules = {**RESTRICTED, **OURS}
    return {name: found for name, rule in rules.items() if (found := list(rule(pod)))}
