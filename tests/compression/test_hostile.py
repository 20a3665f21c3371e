"""Any byte string decodes to finite numbers or raises `MalformedBody`, in bounded time and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.compression import REGISTRY, codec, decode, open_body
from gossamer.compression.objects import apply_delta, decode_snapshot, encode_delta, encode_snapshot
from gossamer.compression.residual import compress
from gossamer.errors import MalformedBody
from tests.compression.vectors import NEEDS_A_FRAME, SPECS, update

TAGS = [method.tag for method in REGISTRY.methods if method.name not in NEEDS_A_FRAME]
each_spec = pytest.mark.parametrize("spec", SPECS)


def finite_or_malformed(data: bytes, d: int) -> None:
    try:
        body = open_body(data, d)
    except MalformedBody:
        return
    y = body.read(0, d)  # what opens can be read
    assert y.shape == (d,)
    assert np.isfinite(y).all()


def model_or_malformed(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        w = function(*arguments)
    except MalformedBody:
        return
    assert w.dtype == np.int32


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(TAGS), st.binary(max_size=120), st.integers(0, 200))
@example(0x10, b"\xff\xff", 10)
def test_random_bytes(tag: int, data: bytes, d: int) -> None:
    finite_or_malformed(bytes([tag]) + data, d)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 2**28))
def test_random_bytes_for_any_size(data: bytes, d: int) -> None:
    try:
        open_body(data, d)  # not read: a sparse body of d = 2^28 is a gigabyte of zeros, which is its right
    except MalformedBody:
        return


@each_spec
@pytest.mark.parametrize("d", [20, 2100])
def test_truncations_extensions_and_flips(spec: str, d: int) -> None:
    body = codec(spec).encode(update(d), seed=1)
    rng = np.random.default_rng(len(body))
    for length in {*range(min(6, len(body))), len(body) - 1, *rng.integers(0, len(body), 30).tolist()}:
        with pytest.raises(MalformedBody):
            decode(body[:length], d)
    for more in (b"\0", b"\1", b"\xff" * 9):
        with pytest.raises(MalformedBody):
            decode(body + more, d)
    for at in {*range(min(48, 8 * len(body))), *rng.integers(0, 8 * len(body), 150).tolist()}:
        flipped = bytearray(body)
        flipped[at // 8] ^= 1 << (at % 8)
        finite_or_malformed(bytes(flipped), d)


@pytest.mark.parametrize("scale", ["00ff", "80ff", "ffff", "01df"])
@pytest.mark.parametrize("spec", ["sign", "ternary:0.02", "topk:0.3/q4", "q8"])
def test_a_scale_that_no_encoder_makes(spec: str, scale: str) -> None:
    """Infinity, NaN, more NaN, just beyond 2^96."""
    body = bytearray(codec(spec).encode(update(100), seed=1))
    body[1:3] = bytes.fromhex(scale)
    with pytest.raises(MalformedBody, match="finite"):
        decode(bytes(body), 100)


@pytest.mark.parametrize("value", [0x7F800000, 0x7FC00000, 0xFF800000])
def test_plain_floats_that_are_not_finite(value: int) -> None:
    with pytest.raises(MalformedBody, match="finite"):
        decode(b"\x01" + value.to_bytes(4, "little"), 1)
    with pytest.raises(MalformedBody, match="finite"):
        decode(b"\x02\xc0" + (value >> 16 & 0xFFFF | 0x7C00).to_bytes(2, "little"), 1)


def test_claims_cost_nothing() -> None:
    """A few bytes that claim much are refused before anything of that size is made."""
    d = 1 << 28
    claims = [bytes([tag]) + b"\xff\xff\xff\xff\x7f" * 4 for tag in TAGS]
    claims += [bytes([kind]) + b"\xff\xff\xff\xff\x7f" * 4 for kind in (0x00, 0x01, 0x02, 0x80, 0xFF)]
    w = np.zeros(1000, np.int32)
    tracemalloc.start()
    for claim in claims:
        with pytest.raises(MalformedBody):
            open_body(claim, d)
        with pytest.raises(MalformedBody):
            decode_snapshot(b"\0" + claim, d)
        with pytest.raises(MalformedBody):
            apply_delta(w, claim)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def deltas() -> list[tuple[np.ndarray, bytes]]:
    """Models and real deltas of every kind."""
    w = np.arange(-300, 300, dtype=np.int32) * 997
    step = compress(codec("ternary:0.05"), (w // 7).astype(np.int32), np.zeros_like(w), seed=0)
    sparse = np.where(np.arange(600) % 9 == 0, w, 0).astype(np.int32)
    few = np.where(np.arange(600) % 9 == 0, np.arange(600) % 4 * 500, 0).astype(np.int32)
    return [
        (w, encode_delta([step.body], step.sent)),
        (w, encode_delta([], w)),
        (w, encode_delta([], sparse)),
        (w, encode_delta([], few)),
        (w, encode_delta([step.body, step.body], 2 * step.sent)),
    ]


@pytest.mark.parametrize("case", range(5))
def test_damaged_deltas(case: int) -> None:
    w, data = deltas()[case]
    for length in range(len(data)):
        model_or_malformed(apply_delta, w, data[:length])
    rng = np.random.default_rng(case)
    for at in {*range(min(96, 8 * len(data))), *rng.integers(0, 8 * len(data), 300).tolist()}:
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << (at % 8)
        model_or_malformed(apply_delta, w, bytes(flipped))


def test_damaged_snapshots() -> None:
    w = deltas()[0][0]
    data = encode_snapshot(w)
    for length in range(0, len(data), 3):
        with pytest.raises(MalformedBody):
            decode_snapshot(data[:length], w.size)
    for at in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << (at % 8)
        model_or_malformed(decode_snapshot, bytes(flipped), w.size)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([0, 1, 2, 3, 0x80, 0x81, 0x85]), st.binary(max_size=100), st.integers(0, 60))
def test_random_objects(kind: int, data: bytes, d: int) -> None:
    w = np.full(d, 2**31 - 1, np.int32)
    model_or_malformed(apply_delta, w, bytes([kind]) + data)
    model_or_malformed(decode_snapshot, bytes([kind]) + data, d)
