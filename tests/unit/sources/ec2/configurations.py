"""Configuration files with one backend from EC2, of which a test names only the keys that matter to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsrv.errors import ConfigurationError
from dynsrv.settings import load
from dynsrv.sources.ec2.settings import Ec2SourceSettings

BEFORE = """\
proxies: [{address: /run/haproxy/admin.sock}]
backends:
  - name: be_app
    source:
      kind: ec2
"""
FIRST_LINE = 6
"""On which the keys that a test names begin."""
WHERE = "backends[0].source"

ENOUGH = 'filters: {"tag:app": web}\nport: 80'
OF_A_GROUP = "auto_scaling_group: web\nport: 80"


def the_settings_of(keys: str = ENOUGH, **environ: str) -> Ec2SourceSettings:
    """What a file says of its source, with *keys* one a line. It is written where the test is."""
    path = Path("dynsrv.yaml")
    path.write_text(BEFORE + "".join(f"      {line}\n" for line in keys.splitlines()))
    source = load(path, environ).backends[0].source
    assert isinstance(source, Ec2SourceSettings)
    return source


def the_error_of(keys: str = ENOUGH, **environ: str) -> str:
    """What is wrong with such a file."""
    with pytest.raises(ConfigurationError) as caught:
        the_settings_of(keys, **environ)
    return str(caught.value)
