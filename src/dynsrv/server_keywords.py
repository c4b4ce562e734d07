"""Which of HAProxy's server keywords may a file or a source set as text, and which does dynsrv set itself?"""

from __future__ import annotations

import re

from dynsrv.documents.messages import show

_DYNSRV = "dynsrv sets it for each server; remove it"
_ADMISSION = "dynsrv decides when servers are enabled; use the key admit"

MANAGED = {
    "id": _DYNSRV,
    "guid": "no two servers may share it; remove it",
    "enabled": _ADMISSION,
    "disabled": _ADMISSION,
    "init-state": _ADMISSION,
    "ssl": "use the key server.ssl",
    "verify": "use the key server.ssl.verify",
    "ca-file": "use the key server.ssl.ca_file",
} | {
    word: f"use the key server.{word}"
    for word in (
        "check",
        "inter",
        "fastinter",
        "downinter",
        "fall",
        "rise",
        "maxconn",
        "slowstart",
        "weight",
    )
}
"""The keywords that keys of the configuration, or dynsrv itself, set, and what to do instead."""

STATIC_ONLY = frozenset(
    {
        "cc",
        "init-addr",
        "log-bufsize",
        "log-proto",
        "max-reuse",
        "namespace",
        "no-agent-check",
        "no-check",
        "no-check-ssl",
        "no-ssl",
        "non-stick",
        "quic-cc-algo",
        "redir",
        "resolve-net",
        "resolve-opts",
        "resolve-prefer",
        "resolvers",
        "sni-auto",
        "socks4",
        "tcp-md5sig",
        "tcp-ut",
    }
)
"""`'X' option is not accepted for dynamic server` (2.6-3.4), or unknown to versions that do not have X."""

_ALONE = frozenset(
    {
        "agent-check",
        "allow-0rtt",
        "backup",
        "check-reuse-pool",
        "check-send-proxy",
        "check-ssl",
        "check-via-socks4",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "no-backup",
        "no-check-sni-auto",
        "no-renegotiate",
        "no-send-proxy",
        "no-send-proxy-v2",
        "no-sni-auto",
        "no-ssl-reuse",
        "no-sslv3",
        "no-tfo",
        "no-tls-tickets",
        "no-tlsv10",
        "no-tlsv11",
        "no-tlsv12",
        "no-tlsv13",
        "renegotiate",
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn",
        "strict-maxconn",
        "tfo",
        "tls-tickets",
    }
)
_WITH_ARGUMENT = frozenset(
    {
        "addr",
        "agent-addr",
        "agent-inter",
        "agent-port",
        "agent-send",
        "alpn",
        "check-alpn",
        "check-pool-conn-name",
        "check-proto",
        "check-sni",
        "ciphers",
        "ciphersuites",
        "client-sigalgs",
        "cookie",
        "crl-file",
        "crt",
        "curves",
        "error-limit",
        "hash-key",
        "healthcheck",
        "idle-ping",
        "ktls",
        "maxqueue",
        "minconn",
        "npn",
        "observe",
        "on-error",
        "on-marked-down",
        "on-marked-up",
        "pool-conn-name",
        "pool-low-conn",
        "pool-max-conn",
        "pool-purge-delay",
        "port",
        "proto",
        "proxy-v2-options",
        "set-proxy-v2-tlv-fmt",
        "shard",
        "sigalgs",
        "sni",
        "ssl-max-ver",
        "ssl-min-ver",
        "track",
        "verifyhost",
        "ws",
    }
)
"""The keywords of `add server help` (3.4) that take no argument, and those that take one: measured on 2.6, 3.0 and 3.4.

What follows the argument of such a keyword is a keyword again; the argument itself may look like one.
"""

_PROTECTED = frozenset(
    {
        *("addr", "allow-0rtt", "alpn", "ciphers", "ciphersuites", "client-sigalgs", "crt", "curves", "interface"),
        *("namespace", "npn", "port", "sigalgs", "sni", "source", "track", "usesrc"),
    }
)
_PROTECTED_PREFIXES = ("agent-", "ca-", "check-", "crl-", "force-", "no-", "ssl", "tls-", "verify")

MAX_WORDS = 50
"""HAProxy up to 3.0 silently truncates a command after 64 words; `add server` itself needs eight."""

MAX_LENGTH = 8000
"""A command may have 16382 bytes (2.6-3.0)."""

_FORBIDDEN = re.compile(r"""[^\x20-\x7e]|[;\\#"']""")
_KEYWORD = re.compile(r"[a-z][a-z0-9-]*|set-proxy-v2-tlv-fmt\((0x[0-9A-Fa-f]{1,2}|[0-9]{1,3})\)")


def checked_argument(text: str) -> str:
    """Return *text* if it is one word that cannot end a command of the Runtime API or begin another.

    Raises:
        ValueError: it is not; the message continues after "found …,".
    """
    if not text or " " in text:
        raise ValueError("expected one word without spaces")
    return _checked_words(text)


def checked_option(text: str) -> str:
    """Return *text* if it is one keyword with its arguments, and none that dynsrv sets itself.

    Raises:
        ValueError: it is not; the message continues after "found …,".
    """
    words = _checked_words(text).split(" ")
    if "" in words:
        raise ValueError("expected a keyword and its arguments with one space between them")
    if not _KEYWORD.fullmatch(words[0]):
        raise ValueError("expected a keyword of HAProxy's server line first, such as send-proxy-v2")
    head, *arguments = words
    bare = head.partition("(")[0]
    if bare in _WITH_ARGUMENT and not arguments:
        raise ValueError(f"expected {head} and its argument")
    if further := arguments[bare in _WITH_ARGUMENT :] if bare in _ALONE | _WITH_ARGUMENT else []:
        raise ValueError(f"but {further[0]} is no argument of {head}: write it as an option of its own")
    for word in words[:1] if bare in _WITH_ARGUMENT else words:
        # Not only as the first word: HAProxy would treat it as a keyword there, too.
        if word in MANAGED:
            raise ValueError(f"but {word} does not belong here: {MANAGED[word]}")
        if word in STATIC_ONLY:
            raise ValueError(f"but HAProxy does not accept {word} for servers added at runtime; remove it")
    return text


def checked_keyword(text: str) -> str:
    """Return *text* if it is one keyword that an option may have.

    Raises:
        ValueError: it is not; the sentence goes on after "found …,".
    """
    if not _KEYWORD.fullmatch(text):
        raise ValueError("expected one keyword of HAProxy's server line, without arguments")
    if text in MANAGED or text in STATIC_ONLY:
        raise ValueError("but no server added at runtime can have it as an option; remove it")
    return text


def is_protected(word: str) -> bool:
    """Whether *word* is a keyword that decides over TLS, or over where a server's connections and checks go."""
    return word in _PROTECTED or word.startswith(_PROTECTED_PREFIXES)


def possible_keywords(option: str) -> list[str]:
    """Return the words of a checked *option* that HAProxy may take for keywords: the first, and what may follow it."""
    first, *others = option.split(" ")
    if first.partition("(")[0] in _ALONE | _WITH_ARGUMENT:
        return [first]
    return [first, *others[1:], *(word for word in others[:1] if word in _ALONE | _WITH_ARGUMENT or is_protected(word))]


def _checked_words(text: str) -> str:
    if character := _FORBIDDEN.search(text):
        raise ValueError(f"but {show(character[0])} could end the command or begin another; remove it")
    if "<<" in text:
        raise ValueError("but HAProxy may treat << as the start of a payload; remove it")
    return text
