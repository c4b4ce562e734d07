"""Which kinds of sources are there? The configuration file can name these, and no others."""

from __future__ import annotations

from collections.abc import Mapping

from dynsrv.sources.consul.settings import ConsulSourceSettings
from dynsrv.sources.ec2.settings import Ec2SourceSettings
from dynsrv.sources.file import FileSourceSettings
from dynsrv.sources.source import SourceSettings

KINDS: Mapping[str, type[SourceSettings]] = {
    "file": FileSourceSettings,
    "consul": ConsulSourceSettings,
    "ec2": Ec2SourceSettings,
}
"""The settings of each kind, by the value of the key `kind`. Every start imports them, so they import no client."""
