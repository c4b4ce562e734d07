"""Configuration files with one backend from Consul, of which a test names only the keys that matter to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsrv.errors import ConfigurationError
from dynsrv.settings import load
from dynsrv.sources.consul.settings import ConsulSourceSettings

BEFORE = """\
proxies: [{address: /run/haproxy/admin.sock}]
backends:
  - name: be_app
    source:
      kind: consul
"""
FIRST_LINE = 7
"""On which the keys that a test names begin, behind the service."""


def the_settings_of(keys: str = "", *, service: str | None = "web", **environ: str) -> ConsulSourceSettings:
    """What a file says of its source, with *keys* one a line. It is written where the test is."""
    lines = ([] if service is None else [f"service: {service}"]) + keys.splitlines()
    path = Path("dynsrv.yaml")
    path.write_text(BEFORE + "".join(f"      {line}\n" for line in lines))
    source = load(path, environ).backends[0].source
    assert isinstance(source, ConsulSourceSettings)
    return source


def the_error_of(keys: str = "", *, service: str | None = "web", **environ: str) -> str:
    """What is wrong with such a file."""
    with pytest.raises(ConfigurationError) as caught:
        the_settings_of(keys, service=service, **environ)
    return str(caught.value)
