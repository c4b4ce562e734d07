from __future__ import annotations

import gzip
import tracemalloc

import pytest

from dynsrv.sources.consul.transport import MAX_RESPONSE, Body


def test_a_compressed_body_is_what_was_sent() -> None:
    content = b"[" + b"{}," * 10_000 + b"{}]"
    packed = gzip.compress(content)
    body = Body("gzip")
    for start in range(0, len(packed), 7):
        body.add(packed[start : start + 7])
    assert bytes(body.content) == content


def test_a_small_body_that_becomes_huge_is_refused_before_it_is() -> None:
    bomb = gzip.compress(bytes(8 * MAX_RESPONSE))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"more than {MAX_RESPONSE} bytes"):
            Body("gzip").add(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_RESPONSE


def test_an_encoding_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="expected gzip or none"):
        Body("br")
