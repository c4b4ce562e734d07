"""What makes a server in HAProxy's configuration differ from one added at runtime? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dynsrv.persist.section import Configuration, Directive
from dynsrv.planning.options import keyword

_ALONE = frozenset(
    {
        "agent-check",
        "allow-0rtt",
        "backup",
        "check",
        "check-reuse-pool",
        "check-send-proxy",
        "check-ssl",
        "check-via-socks4",
        "disabled",
        "enabled",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "non-stick",
        "renegotiate",
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn",
        "ssl",
        "ssl-reuse",
        "stick",
        "strict-maxconn",
        "tfo",
        "tls-tickets",
    }
)
"""Keywords without an argument, besides those that begin with `no-`; all others are read as having one."""

_ALWAYS_WRITTEN = frozenset({"id", "weight"})


def differences(configuration: Configuration, backend: str, options: Sequence[str]) -> Iterator[str]:
    """Yield what applies to the lines of *backend* but not to servers added with *options*, with the remedy.

    Raises:
        SectionError: the backend has no section.
    """
    given = {keyword(option) for option in options} | _ALWAYS_WRITTEN
    for directive in configuration.directives(backend, "default-server"):
        inherited = [option for option in _options(directive.words[1:]) if keyword(option) not in given]
        if inherited:
            yield (
                f"line {directive.line}: `default-server` gives its lines `{' '.join(inherited)}`, and a server added"
                " at runtime inherits nothing; write it into `server` of the backend in dynsrv's configuration, too, or"
                " remove it there"
            )
    for directive in configuration.directives(backend, "load-server-state-from-file"):
        if directive.words[1:2] not in [("none",), ()] and _last(configuration, backend) == directive:
            yield (
                f"line {directive.line}: `load-server-state-from-file` overrides address, weight and state of its"
                " lines with earlier ones; remove it, or write `load-server-state-from-file none` into the section"
            )


def _last(configuration: Configuration, backend: str) -> Directive:
    return configuration.directives(backend, "load-server-state-from-file")[-1]


def _options(words: Sequence[str]) -> Iterator[str]:
    """Yield the keywords of a line, each with its argument."""
    rest = iter(words)
    for word in rest:
        yield word if word in _ALONE or word.startswith("no-") else f"{word} {next(rest, '')}".strip()
