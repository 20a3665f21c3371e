"""Votes counted packed are those counted one by one, whatever the bodies are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.aggregator.rules import Body, Dense, Update, Updates, rule
from gossamer.aggregator.rules.majority import majority
from gossamer.aggregator.rules.packed_votes import ROTATED_AT_ONCE
from gossamer.compression import codec, open_body
from gossamer.compression.hadamard import rotate, unrotate


@given(n=st.integers(1, 40), b=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_carry_save_adders_count(n: int, b: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, 256, (n, b), dtype=np.uint8)
    counts = np.unpackbits(rows, axis=1).sum(axis=0, dtype=int)
    for scratch in (1, 2, 4096):
        more, tied = majority(rows, scratch)
        np.testing.assert_array_equal(np.unpackbits(more), 2 * counts > n)
        np.testing.assert_array_equal(np.unpackbits(tied), 2 * counts == n)


def aggregate(bodies: list[Body], d: int) -> NDArray[np.float64]:
    chosen = rule("sign-majority")
    result, _, report = chosen.apply(chosen.init(d), Updates.of([Update(i, b) for i, b in enumerate(bodies)], d))
    assert not report.rejected
    return result


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("d", [1, 1023, 1024, 9_001])
def test_packed_and_decoded_bodies_of_sign_give_the_same_bits(n: int, d: int) -> None:
    rng = np.random.default_rng(n * d)
    vectors = rng.standard_normal((n, d)) * rng.uniform(0.1, 9, (n, 1))
    vectors[0, : min(d, 1024)] = 0.0  # a scale of zero: a block in which one does not vote
    bodies: list[Body] = [open_body(codec("sign").encode(x, seed=i), d) for i, x in enumerate(vectors)]
    decoded: list[Body] = [Dense(body.read(0, d)) for body in bodies]
    assert aggregate(bodies, d).tobytes() == aggregate(decoded, d).tobytes()
    assert aggregate([*bodies[:-1], decoded[-1]], d).tobytes() == aggregate(decoded, d).tobytes()


@pytest.mark.parametrize("d", [700, 2048, 2048 * (ROTATED_AT_ONCE + 2) + 77])
def test_bodies_that_share_a_rotation_vote_in_it(d: int) -> None:
    rng = np.random.default_rng(d)
    vectors = rng.standard_normal((5, d)).astype(np.float32)
    encoder = codec("rot1")
    bodies: list[Body] = [open_body(encoder.encode(x, seed=9), d) for x in vectors[:4]]
    other = vectors[4]
    found = aggregate([*bodies, Dense(other)], d)
    votes = [body.votes() for body in bodies]  # type: ignore[attr-defined]
    salt, full = votes[0].salt, len(votes[0].full[0])
    for k in range(full + bool(d % 2048)):
        low, high = (k * 2048, (k + 1) * 2048) if k < full else (full * 2048, d)
        turned = [rotate(body.read(low, high)[None].copy(), salt, k)[0] for body in [*bodies, Dense(other)]]
        lengths = [np.abs(y).mean() for y in turned]
        expected = np.median(lengths) * np.sign(np.sign(turned).sum(axis=0))
        back = unrotate(expected[None].astype(np.float32), salt, k)[0]
        np.testing.assert_allclose(found[low:high], back, atol=2e-3 * np.abs(back).max())


def test_bodies_of_different_rotations_vote_on_coordinates() -> None:
    d = 5000
    vectors = np.random.default_rng(1).standard_normal((5, d)).astype(np.float32)
    bodies: list[Body] = [open_body(codec("rot1").encode(x, seed=i), d) for i, x in enumerate(vectors)]
    decoded: list[Body] = [Dense(body.read(0, d)) for body in bodies]
    assert aggregate(bodies, d).tobytes() == aggregate(decoded, d).tobytes()


@pytest.mark.parametrize("spec_up", ["sign", "rot1"])
def test_an_oversized_body_is_named(spec_up: str) -> None:
    d, chosen = 3000, rule("sign-majority")
    vectors = np.ones((5, d))
    vectors[2] *= 5000.0
    items = [Update(i, open_body(codec(spec_up).encode(x, seed=1), d)) for i, x in enumerate(vectors)]
    result, _, report = chosen.apply(chosen.init(d), Updates.of(items, d))
    assert [(v.index, v.reason) for v in report.rejected] == [(2, "too-large")]
    np.testing.assert_array_equal(result, aggregate([item.body for item in items if item.index != 2], d))
    accepted = [v.norm for v in report.verdicts if v.accepted]
    np.testing.assert_allclose(accepted, d**0.5, rtol=0.5)
