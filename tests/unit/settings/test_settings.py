from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dynsrv.documents import parse
from dynsrv.errors import ConfigurationError
from dynsrv.planning.policy import Admission, DrainTimeoutAction, Policy
from dynsrv.settings import Settings, find, json_schema, load
from dynsrv.sources.file import FileSourceSettings

ROOT = Path(__file__).parents[3]

SMALLEST = """\
proxies:
  - address: /run/haproxy/admin.sock
backends:
  - name: be_app
    source: {kind: file, path: servers.yaml}
    server:
      check: true
    drain: {timeout: 30s}
"""

SOCKET = "/run/haproxy/admin.sock"
SOURCE = "{kind: file, path: servers.yaml}"
CHECK = "check: true"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str, **environ: str) -> Settings:
    path = Path("dynsrv.yaml")
    path.write_text(text)
    return load(path, environ)


def test_what_is_not_written_has_its_default(tmp_path: Path) -> None:
    settings = loaded("proxies: [{address: admin.sock}]\nbackends: [{name: be_app, source: {kind: file, path: x}}]")
    (proxy,), (backend,) = settings.proxies, settings.backends
    assert proxy.address == proxy.name == str(tmp_path / "admin.sock")
    assert backend.policy() == Policy(
        prefix="dyn-",
        weight=100,
        options=("check",),
        admission=Admission.AFTER_CHECK,
        drain_timeout=30.0,
        on_drain_timeout=DrainTimeoutAction.CLOSE,
    )
    assert settings.proxies_of(backend) == (proxy,)
    assert (settings.resync.interval, settings.resync.probe) == (30.0, 1.0)
    assert settings.web_address == ("127.0.0.1", 9105)
    assert (settings.log.level, settings.log.format) == ("info", "text")


def test_what_is_written_reaches_the_planner() -> None:
    backend = """
proxies: [{name: lb1, address: 'tcp://[::1]:9999'}, {name: lb2, address: 'unix:///run/2.sock'}]
backends:
  - name: be_app
    proxies: [lb2]
    source: {kind: file, path: x}
    server: {check: false, weight: 7, maxconn: 5, options: [backup]}
    admit: immediately
    drain: {timeout: 1.5s, on_timeout: wait}
    prefix: auto_
"""
    settings = loaded(backend)
    assert [proxy.name for proxy in settings.proxies_of(settings.backends[0])] == ["lb2"]
    assert settings.backends[0].policy() == Policy(
        prefix="auto_",
        weight=7,
        maxconn=5,
        options=("backup",),
        admission=Admission.IMMEDIATELY,
        drain_timeout=1.5,
        on_drain_timeout=DrainTimeoutAction.WAIT,
    )


@pytest.mark.parametrize("web", ["null", "{listen: null}"])
def test_the_web_can_be_off(web: str) -> None:
    assert loaded(f"web: {web}\n{SMALLEST}").web_address is None


@pytest.mark.parametrize(("web", "expected"), [("{}", False), ("{server_metrics: true}", True)])
def test_single_servers_are_measured_only_where_that_is_wanted(web: str, *, expected: bool) -> None:
    settings = loaded(f"web: {web}\n{SMALLEST}")
    assert settings.web is not None
    assert settings.web.server_metrics == expected


def test_the_environment_can_bring_text_numbers_and_switches() -> None:
    text = SMALLEST.replace(SOCKET, "${SOCKET}").replace(CHECK, "check: ${CHECK}\n      maxconn: ${MAXCONN}")
    settings = loaded(text, SOCKET="/run/x.sock", CHECK="false", MAXCONN="200")
    assert settings.proxies[0].address == "/run/x.sock"
    assert settings.backends[0].policy().maxconn == 200


def test_one_backend_may_be_managed_on_two_proxies_by_two_entries() -> None:
    text = "proxies: [{name: a, address: /a}, {name: b, address: /b}]\nbackends:\n" + "".join(
        f"  - {{name: be_app, proxies: [{proxy}], source: {SOURCE}}}\n" for proxy in "ab"
    )
    assert len(loaded(text).backends) == 2


def test_equal_files_give_equal_settings() -> None:
    assert loaded(SMALLEST) == loaded(f"# a comment\n{SMALLEST}")
    assert loaded(SMALLEST) != loaded(SMALLEST.replace("30s", "31s"))


def test_a_file_that_is_not_there_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(Path("none.yaml"), {})
    assert str(caught.value) == "none.yaml: there is no such file; write it, or correct the path"
    with pytest.raises(ConfigurationError, match="a directory; name the file in it"):
        load(tmp_path, {})


def test_the_file_that_was_named_is_the_one_to_load() -> None:
    assert find(Path("other.yaml")) == Path("other.yaml")


def test_without_a_name_the_first_default_that_exists_is_the_one_to_load() -> None:
    here, there = Path("dynsrv.yaml"), Path("etc.yaml")
    there.touch()
    assert find(None, defaults=(here, there)) == there
    here.touch()
    assert find(None, defaults=(here, there)) == here


def test_without_any_file_both_defaults_are_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        find(None, defaults=(Path("dynsrv.yaml"), Path("none/dynsrv.yaml")))
    problem = "there is no such file, nor none/dynsrv.yaml; write one, or name it with -c"
    assert str(caught.value) == f"dynsrv.yaml: {problem}"


def test_the_example_of_the_repository_can_be_loaded() -> None:
    settings = load(ROOT / "deploy" / "dynsrv.yaml", {})
    assert [(proxy.name, proxy.address) for proxy in settings.proxies] == [("lb1", "unix:///run/haproxy/admin.sock")]
    assert settings.backends[0].policy().options == ("check", "inter 2000ms", "fall 3", "rise 2")
    assert settings.backends[0].policy().maxconn == 200
    source = settings.backends[0].source
    assert isinstance(source, FileSourceSettings)
    assert (ROOT / "deploy" / source.path).exists()


def mismatches(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> list[str]:
    """As much of JSON Schema as the schema of the configuration file uses."""
    if reference := schema.get("$ref"):
        return mismatches(value, root["$defs"][reference.rpartition("/")[2]], root)
    if branches := schema.get("anyOf", schema.get("oneOf")):
        return min((mismatches(value, branch, root) for branch in branches), key=len)
    if "enum" in schema or "const" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{value} is none of the values"]
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    if not isinstance(value, types[schema["type"]]):
        return [f"{value} is no {schema['type']}"]
    problems = []
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        problems.append(f"{value} does not match")
    if isinstance(value, list):
        problems += [problem for item in value for problem in mismatches(item, schema["items"], root)]
    if isinstance(value, dict):
        problems += [f"{key} is missing" for key in schema.get("required", []) if key not in value]
        problems += [f"{key} is unknown" for key in value if key not in schema["properties"]]
        known = {key: item for key, item in value.items() if key in schema["properties"]}
        problems += [each for key in known for each in mismatches(known[key], schema["properties"][key], root)]
    return problems


def test_the_schema_accepts_the_example_and_refuses_what_the_file_may_not_say() -> None:
    schema = json_schema()
    example = parse((ROOT / "deploy" / "dynsrv.yaml").read_bytes(), name="example").data
    assert mismatches(example, schema, schema) == []
    example["backends"][0]["drain"]["timeout"] = "30 seconds"
    example["backends"][0]["admit"] = "later"
    del example["backends"][0]["source"]["path"]
    assert mismatches({"limits": 1, **example}, schema, schema) == [
        "limits is unknown",
        "path is missing",
        "later is none of the values",
        "30 seconds does not match",
    ]


def test_the_schema_knows_the_keys_of_each_kind_of_source() -> None:
    schema = json_schema()
    source = schema["$defs"]["BackendSettings"]["properties"]["source"]
    good = {"kind": "consul", "service": "web", "tags": ["a"], "token": None, "tls": {"verify": True}, "wait": "30s"}
    assert mismatches(good, source, schema) == []
    assert mismatches({**good, "path": "servers.yaml"}, source, schema) == ["path is unknown"]
    assert mismatches({**good, "wait": "30", "on_critical": "kill"}, source, schema) == [
        "30 does not match",
        "kill is none of the values",
    ]


def test_the_schema_describes_every_key_and_writes_defaults_as_the_file_does() -> None:
    schema = json_schema()
    for section in (schema, *schema["$defs"].values()):
        for key, value in section.get("properties", {}).items():
            assert "description" in value or "$ref" in value, key
            assert value.get("type") != "string" or isinstance(value.get("default", ""), str), key
    assert schema["$defs"]["DrainSettings"]["properties"]["timeout"]["default"] == "30s"
    assert schema["$defs"]["ConsulSourceSettings"]["properties"]["wait"]["default"] == "30s"
