"""What every codec promises, tested on all of them: a new one is registered and thereby tested."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gossamer.compression import NOTHING, REGISTRY, codec, decode, open_body
from gossamer.compression.lattice import to_lattice
from gossamer.compression.residual import compress
from gossamer.errors import InputError, MalformedBody, NonFiniteInput
from tests.compression.vectors import SIZES, SPECS, context, golden_file, golden_input, special, update

each_spec = pytest.mark.parametrize("spec", SPECS)
each_biased = pytest.mark.parametrize("spec", [s for s in SPECS if codec(s).uses_residual])
each_unbiased = pytest.mark.parametrize("spec", [s for s in SPECS if codec(s).unbiased])


def squared_error(x: np.ndarray, y: np.ndarray) -> float:
    """||x - y||^2 / ||x||^2, in float64."""
    exact = x.astype(np.float64)
    return float(np.square(exact - y).sum() / np.square(exact).sum())


@each_spec
@pytest.mark.parametrize("d", SIZES)
def test_size_error_and_determinism(spec: str, d: int) -> None:
    this = codec(spec)
    x = update(d)
    given = context(d)
    body = this.encode(x, seed=11, context=given)
    assert len(body) <= this.max_bytes(d)
    assert body == codec(spec).encode(x.copy(), seed=11, context=context(d))
    y = decode(body, d, given)
    assert y.dtype == np.float32
    assert y.shape == (d,)
    if np.any(x):
        assert squared_error(x, y) <= this.error_bound(d) + 1e-6


@each_spec
@pytest.mark.parametrize("d", [1, 2, 7, 130, 2500])
def test_special_vectors(spec: str, d: int) -> None:
    this = codec(spec)
    for name, x in special(d).items():
        body = this.encode(x, seed=3, context=context(d))
        assert len(body) <= this.max_bytes(d), name
        y = decode(body, d, context(d))
        assert np.isfinite(y).all(), name
        if not x.any():
            assert not y.any(), name
        elif name not in ("denormals", "smallest"):
            assert squared_error(x, y) <= this.error_bound(d) + 1e-6, name
        else:
            # The coarsest scale there is has steps of 2^-134.
            assert np.abs(y).max() <= 2.0**-126, name


@each_spec
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_vector(spec: str, data: st.DataObject) -> None:
    this = codec(spec)
    d = data.draw(st.integers(0, 300))
    x = data.draw(arrays(np.float32, d, elements=st.floats(-100, 100, width=32, allow_subnormal=False)))
    given = context(d) if data.draw(st.booleans()) else NOTHING
    body = this.encode(x, seed=data.draw(st.integers(0, 2**70)), context=given)
    y = decode(body, d, given)
    assert len(body) <= this.max_bytes(d)
    assert np.isfinite(y).all()
    if float(np.abs(x).max(initial=0)) > 1e-30:
        assert squared_error(x, y) <= this.error_bound(d) + 1e-6


@each_spec
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_refuses_what_is_not_finite(spec: str, bad: float) -> None:
    x = update(100)
    x[17] = bad
    with pytest.raises(NonFiniteInput, match="coordinate 17"):
        codec(spec).encode(x, seed=0)


@each_spec
def test_refuses_a_matrix(spec: str) -> None:
    with pytest.raises(InputError, match="shape"):
        codec(spec).encode(np.zeros((2, 2), np.float32), seed=0)


@each_spec
@pytest.mark.parametrize("d", [5, 3300, 5000, 140_000])
def test_reading_a_range_is_a_slice_of_everything(spec: str, d: int) -> None:
    body = open_body(codec(spec).encode(update(d), seed=5, context=context(d)), d, context(d))
    whole = body.read(0, d)
    rng = np.random.default_rng(d)
    ranges = [(0, 0), (d, d), (0, 1), (d - 1, d), *np.sort(rng.integers(0, d + 1, (12, 2))).tolist()]
    ranges += [(min(a, d), min(a + w, d)) for a in (0, 1024, 2048, 65536, 131072) for w in (1, 128, 2049)]
    for start, stop in ranges:
        assert np.array_equal(body.read(start, stop), whole[start:stop]), (start, stop)
    for start, stop in [(-1, 2), (2, 1), (0, d + 1)]:
        with pytest.raises(InputError):
            body.read(start, stop)


@each_spec
def test_a_body_says_its_method(spec: str) -> None:
    assert open_body(codec(spec).encode(update(50), seed=0), 50).spec == codec(spec).method
    assert codec(spec).spec == spec


@each_spec
@pytest.mark.parametrize("wrong", [49, 51, 0, 1, 2_000_000])
def test_another_layout_is_refused_or_finite(spec: str, wrong: int) -> None:
    body = codec(spec).encode(update(50), seed=0, context=context(50))
    try:
        y = decode(body, wrong, context(wrong))
    except MalformedBody:
        return
    assert y.shape == (wrong,)
    assert np.isfinite(y).all()


@each_spec
def test_residual_is_exact(spec: str) -> None:
    this = codec(spec)
    given = context(3300)
    residual = np.zeros(3300, np.int32)
    trained = sent = np.zeros(3300, np.int64)
    for seed in range(5):
        delta = to_lattice(update(3300, seed))
        out = compress(this, delta, residual, seed=seed, context=given)
        assert np.array_equal(out.sent, to_lattice(decode(out.body, 3300, given)))
        assert np.array_equal(out.if_dropped, delta.astype(np.int64) + residual)
        assert np.array_equal(out.if_counted, out.if_dropped.astype(np.int64) - out.sent)
        residual = out.if_dropped if seed == 2 else out.if_counted
        trained = trained + delta
        sent = sent + (0 if seed == 2 else out.sent)
        assert np.array_equal(sent + residual, trained)


@each_biased
def test_a_contractive_codec_with_residual_sends_everything_in_the_end(spec: str) -> None:
    """The residual of a constant update stays bounded: its average arrives."""
    this = codec(spec)
    delta = to_lattice(update(256))
    residual = np.zeros(256, np.int32)
    sent = np.zeros(256, np.int64)
    rounds = 300
    for seed in range(rounds):
        out = compress(this, delta, residual, seed=seed, context=context(256))
        residual = out.if_counted
        sent += out.sent
    error = np.linalg.norm(sent / rounds - delta) / np.linalg.norm(delta)
    assert error < 0.5  # 1 at the start; topk:0.01 sends 3 coordinates of 256 a round


@each_unbiased
def test_unbiased_means_unbiased(spec: str) -> None:
    """The mean of many decodings tends to x like 1 / sqrt(number), also for a vector of two values."""
    this = codec(spec)
    few = np.zeros(256, np.float32)
    few[[3, 77]] = 1.0, 0.5
    for x in (update(256), few, np.full(256, 0.01, np.float32), update(300)):
        mean = np.zeros(x.size)
        slopes = []
        single = 0.0
        count = 1500
        for seed in range(count):
            y = decode(this.encode(x, seed=seed), x.size)
            mean += y / count
            slopes.append(float(y @ x.astype(np.float64) / (x.astype(np.float64) @ x)))
            single += squared_error(x, y) / count
        # ||mean - x||^2 of an unbiased codec is single / count in expectation, with a spread well under half.
        assert squared_error(x, mean) < 2.5 * single / count + 1e-12
        # The length along x, within 6 standard deviations of its mean.
        assert abs(np.mean(slopes) - 1) < 6 * np.std(slopes) / np.sqrt(count) + 3e-3


def test_methods_have_examples_and_golden_files() -> None:
    for method in REGISTRY.methods:
        assert method.examples, method.name
        assert all(codec(spec).method == method.name for spec in method.examples)


@each_spec
def test_golden_bodies(spec: str) -> None:
    """Bodies of earlier releases decode to the same bits, and encode to the same bytes."""
    golden = json.loads(golden_file(spec).read_text())
    assert golden["spec"] == spec
    for case in golden["cases"]:
        body = bytes.fromhex(case["body"])
        y = decode(body, case["d"])
        assert y.astype("<f4").tobytes().hex() == case["decoded_float32_le"]
        assert codec(spec).encode(golden_input(case["d"]), seed=case["seed"]) == body
