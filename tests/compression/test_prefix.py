"""Any prefix of a body that ends at a part is an update."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.compression import codec, decode
from gossamer.compression.prefix import decode_prefix, part_ends
from gossamer.compression.selection import largest_by_layer, layer_cuts
from gossamer.errors import InputError, MalformedBody
from tests.compression.test_contract import each_spec, squared_error
from tests.compression.vectors import SPECS, context, update

MSB = [spec for spec in SPECS if spec.endswith("/msb")]
IN_ORDER = [s for s in SPECS if not s.endswith("/msb") and not s.startswith("randk")]


@each_spec
@pytest.mark.parametrize("d", [0, 1, 700, 3300, 140_000])
def test_prefixes_that_end_at_a_part(spec: str, d: int) -> None:
    known = context(d)
    body = codec(spec).encode(update(d), seed=1, context=known)
    ends = part_ends(body, d, known)
    assert ends[-1] == len(body)
    assert all(a < b for a, b in pairwise(ends))
    whole = decode(body, d, known)
    for parts in {1, 2, len(ends) // 2, len(ends) - 1, len(ends)} & {*range(1, len(ends) + 1)}:
        vector, used = decode_prefix(body[: ends[parts - 1]], d, known)
        assert used == parts
        assert vector.shape == (d,)
        assert np.isfinite(vector).all()
        if parts == len(ends):
            assert np.array_equal(vector, whole)
        elif spec in IN_ORDER:  # a beginning of the vector, and then nothing
            reached = int(np.flatnonzero(vector != whole)[0]) if (vector != whole).any() else d
            assert not vector[reached:].any()
    assert decode_prefix(body[:1], d, known)[1] <= len(ends)
    if not spec.startswith(("ternary", "topk")):  # their last part has no length: it might be one that is cut off
        with pytest.raises(MalformedBody):
            decode_prefix(body + b"\xff" * 9, d, known)


@each_spec
def test_bytes_after_the_last_whole_part_are_passed_over(spec: str) -> None:
    d = 3300
    known = context(d)
    body = codec(spec).encode(update(d), seed=1, context=known)
    ends = part_ends(body, d, known)
    for length in range(1, len(body) - 1, max(1, len(body) // 40)):
        vector, used = decode_prefix(body[:length], d, known)
        assert used == sum(end <= length for end in ends)
        if used:
            assert np.array_equal(vector, decode_prefix(body[: ends[used - 1]], d, known)[0])
        else:
            assert not vector.any()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SPECS), st.binary(max_size=80), st.integers(0, 300))
def test_any_bytes(spec: str, data: bytes, d: int) -> None:
    tag = codec(spec).encode(np.zeros(3), seed=0)[:1]
    try:
        vector, _ = decode_prefix(tag + data, d, context(d))
    except MalformedBody:
        return
    assert vector.shape == (d,)
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("spec", ["ternary:0.05/msb", "topk:0.05/q4/msb", "topk:0.05/fp16/msb"])
@pytest.mark.parametrize("d", [3300, 140_000])
def test_error_falls_steeply_with_the_length(spec: str, d: int) -> None:
    """An eighth of the positions, in a sixth of the bytes, brings a third of what all of them bring."""
    x = update(d)
    body = codec(spec).encode(x, seed=0)
    ends = part_ends(body, d)
    errors = [1.0, *(squared_error(x, decode_prefix(body[:end], d)[0]) for end in ends)]
    assert all(a > b for a, b in pairwise(errors))
    first = ends[len(ends) // 4 - 1]
    assert first < len(body) / 6
    assert 1 - errors[len(ends) // 4] > (1 - errors[-1]) / 3


def test_magnitudes_by_class_pay_for_their_order() -> None:
    x = update(140_000)
    plain, ordered = (codec(f"ternary:0.05{kind}").encode(x, seed=0) for kind in ("", "/msb"))
    assert len(ordered) < 1.3 * len(plain)
    assert squared_error(x, decode(ordered, x.size)) < 0.95 * squared_error(x, decode(plain, x.size))


def test_a_prefix_of_randk_is_scaled_by_what_came() -> None:
    d = 4000
    body = codec("randk:0.2/fp16").encode(np.ones(d, np.float32), seed=0)
    for end in part_ends(body, d):
        assert decode_prefix(body[:end], d)[0].sum() == pytest.approx(d, rel=1e-3)


def test_layers_get_their_share() -> None:
    known = context(3300)
    x = update(3300)
    x[:1056] *= np.float32(1e-6)  # the first matrix is quiet: one threshold for all would pass it over
    assert not decode(codec("ternary:0.02").encode(x, seed=0), 3300)[:1056].any()
    body = codec("ternary:0.02@layer").encode(x, seed=0, context=known)
    y = decode(body, 3300)  # a receiver needs no layout
    assert np.count_nonzero(y) == 66
    assert 20 <= np.count_nonzero(y[:1089]) <= 22
    assert layer_cuts(known.layout, 66) == [0, 1089, 2211, 3300]
    with pytest.raises(InputError, match="coordinates"):
        largest_by_layer(x, 66, context(100).layout)


def test_not_a_beginning_of_anything() -> None:
    for data in (b"", b"\xee123"):
        with pytest.raises(MalformedBody):
            decode_prefix(data, 10)
    with pytest.raises(InputError):
        decode_prefix(b"\1", -1)
    with pytest.raises(MalformedBody):
        part_ends(b"\1\2", 10)
