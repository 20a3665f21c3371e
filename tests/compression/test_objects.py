"""Snapshots and deltas: every way to a version gives the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gossamer.compression import codec
from gossamer.compression.changes import MAX_DICTIONARY, decode_changes, encode_changes
from gossamer.compression.lattice import digest, to_lattice
from gossamer.compression.objects import (
    CHAIN,
    DENSE,
    MAX_CHAIN,
    SPARSE,
    apply_delta,
    decode_snapshot,
    encode_delta,
    encode_snapshot,
    step_of,
)
from gossamer.compression.residual import compress
from gossamer.errors import InputError, MalformedBody
from tests.compression.vectors import update


def versions(spec: str, d: int, count: int) -> tuple[list[np.ndarray], list[bytes]]:
    """Models 0 to count, int32 (d,), and the step bodies between them."""
    w = to_lattice(np.random.default_rng(d).standard_normal(d) * 0.1)
    residual = np.zeros(d, np.int32)
    models, steps = [w], []
    for seed in range(count):
        out = compress(codec(spec), to_lattice(update(d, seed)), residual, seed=seed)
        residual = out.if_counted if codec(spec).uses_residual else residual
        models.append((models[-1] + out.sent).astype(np.int32))
        steps.append(out.body)
    return models, steps


@pytest.mark.parametrize("spec", ["ternary:0.02", "topk:0.05/q4", "rot1", "sign", "fp16"])
@pytest.mark.parametrize("d", [1, 700, 70_000])
def test_every_way_gives_the_same_bytes(spec: str, d: int) -> None:
    models, steps = versions(spec, d, 5)
    expected = digest(models[-1])
    assert digest(decode_snapshot(encode_snapshot(models[-1]), d)) == expected
    for start in range(5):
        change = models[-1] - models[start]
        chain = encode_delta(steps[start:], change)
        merged = encode_delta([], change)
        assert digest(apply_delta(models[start], chain)) == expected
        assert digest(apply_delta(models[start], merged)) == expected
        assert len(chain) <= min(len(merged), sum(map(len, steps[start:])) + 1 + 3 * len(steps))
        w = models[start]
        for body in steps[start:]:
            w = w + step_of(body, d)
        assert digest(w) == expected


def test_the_shortest_kind_is_chosen() -> None:
    models, steps = versions("fp16", 700, 3)
    assert encode_delta(steps[-1:], models[-1] - models[-2])[0] == DENSE  # fp16 is finer than the lattice
    models, steps = versions("ternary:0.02", 3300, 2)
    one = encode_delta(steps[-1:], models[-1] - models[-2])
    assert one == bytes([CHAIN]) + steps[-1]
    assert encode_delta([], models[-1] - models[-2])[0] == SPARSE
    assert encode_delta([], models[-1])[0] == DENSE
    assert len(encode_delta([], np.zeros(3300, np.int32))) <= 5


def test_nothing_changes_the_model_it_is_applied_to() -> None:
    models, steps = versions("sign", 100, 1)
    before = models[0].copy()
    apply_delta(models[0], encode_delta(steps, models[1] - models[0]))
    assert np.array_equal(models[0], before)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change(data: st.DataObject) -> None:
    d = data.draw(st.integers(0, 80))
    elements = data.draw(st.sampled_from([(-(2**31) + 1, 2**31 - 1), (-3, 3), (0, 1), (5, 5)]))
    change = data.draw(arrays(np.int32, d, elements=st.integers(*elements), fill=st.just(0)))
    assert np.array_equal(apply_delta(np.zeros(d, np.int32), encode_delta([], change)), change)
    assert np.array_equal(decode_changes(memoryview(encode_changes(change)), d), change)
    assert np.array_equal(decode_snapshot(encode_snapshot(change), d), change)


def test_more_values_than_a_dictionary_holds() -> None:
    change = np.zeros(200_000, np.int32)
    change[:: 200_000 // (MAX_DICTIONARY + 100)] = 7
    positions = np.flatnonzero(change)
    change[positions] = np.arange(len(positions)) * 11 - 5000
    assert np.array_equal(decode_changes(memoryview(encode_changes(change)), change.size), change)


def test_steps_of_another_change() -> None:
    models, steps = versions("sign", 50, 2)
    with pytest.raises(InputError, match="add up"):
        encode_delta(steps[:1], models[2] - models[0])


def test_a_chain_too_long_is_merged() -> None:
    models, steps = versions("ternary:0.02", 200, MAX_CHAIN + 1)
    data = encode_delta(steps, models[-1] - models[0])
    assert data[0] < CHAIN
    assert np.array_equal(apply_delta(models[0], data), models[-1])


def test_a_delta_is_no_snapshot() -> None:
    w = np.zeros(5, np.int32)
    with pytest.raises(MalformedBody, match="expected a snapshot"):
        decode_snapshot(encode_delta([], w + 1), 5)
    with pytest.raises(MalformedBody, match="expected the kind"):
        apply_delta(w, encode_snapshot(w))
    for nothing in (lambda: decode_snapshot(b"", 5), lambda: apply_delta(w, b"")):
        with pytest.raises(MalformedBody):
            nothing()


def test_leaving_the_lattice_is_malformed() -> None:
    most = np.full(3, 2**31 - 1, np.int32)
    with pytest.raises(MalformedBody, match="does not fit"):
        apply_delta(most, encode_delta([], np.ones(3, np.int32)))
    huge = codec("fp32").encode(np.full(3, 1e9), seed=0)
    with pytest.raises(MalformedBody, match="on the lattice"):
        apply_delta(most, bytes([CHAIN]) + huge)
