"""The pieces that all rules share: weights, norms, blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.aggregator.rules import Dense, Update, Updates, rule, staleness_weight
from gossamer.aggregator.rules.norms import SUB_BLOCK, norm_of, tree_sums, vector_norm
from gossamer.aggregator.rules.order_statistics import _middle, sorted_at_once
from gossamer.aggregator.rules.updates import GRID
from gossamer.aggregator.rules.weights import bounded_weights
from gossamer.errors import InputError


@pytest.mark.parametrize(("lag", "weight"), [(0, 1.0), (1, math.sqrt(0.5)), (3, 0.5), (15, 0.25)])
def test_staleness(lag: int, weight: float) -> None:
    assert staleness_weight(lag) == pytest.approx(weight, rel=1e-15)


def test_an_update_from_the_future_is_refused() -> None:
    with pytest.raises(InputError, match="future"):
        staleness_weight(-1)


def test_weights() -> None:
    assert bounded_weights([], []).tolist() == []
    assert bounded_weights([0, 0], [0, 3]).tolist() == [1.0, 0.5]  # a claim of nothing still counts as one
    assert bounded_weights([5, 7, 1000, 9], [0] * 4).tolist() == [5.0, 7.0, 21.0, 9.0]
    assert bounded_weights([5, 7, 1000, 9], [0] * 4, cap=1).tolist() == [5.0, 7.0, 7.0, 7.0]


def test_half_the_cohort_must_lie_to_move_the_bound() -> None:
    honest, lie = [10] * 3, [10**9] * 2
    assert max(bounded_weights(honest + lie, [0] * 5, cap=1)) == 10.0


@given(st.integers(1, 3 * SUB_BLOCK), st.integers(0, 100))
def test_norms_are_close_to_the_exact_sum(d: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(d).astype(np.float32)
    assert vector_norm(x) == pytest.approx(math.sqrt(math.fsum((x.astype(float) ** 2).tolist())), rel=1e-13)


def test_norms_do_not_depend_on_how_they_are_read() -> None:
    x = np.random.default_rng(1).standard_normal(200_001).astype(np.float32)
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return x[start:stop]

    assert norm_of(read, len(x)) == vector_norm(x)
    assert all(start % SUB_BLOCK == 0 for start, _ in asked)


def test_tree_sum_is_a_tree() -> None:
    """1 + 2^53 + 1: left to right the ones vanish; in the fixed tree the order is known and stays."""
    values = np.zeros(SUB_BLOCK)
    values[0], values[SUB_BLOCK // 2], values[1] = 1.0, 2.0**53, 1.0
    assert tree_sums(values) == [(1.0 + 2.0**53) + 1.0]
    assert tree_sums(np.ones(SUB_BLOCK + 1)) == [float(SUB_BLOCK), 1.0]


def test_blocks_cover_every_coordinate_once() -> None:
    rows = np.arange(14, dtype=np.float32).reshape(2, 7)
    for width in (0, 1, 3, 7, 100):
        data = Updates.dense(rows, block_coordinates=width)
        pieces = [data.block(start, stop) for start, stop in data.blocks()]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), rows)


def test_updates_are_sorted_by_device() -> None:
    zero = Dense(np.zeros(1, dtype=np.float32))
    data = Updates.of([Update(9, zero), Update(2, zero), Update(4, zero)], 1)
    assert (data.n, data.d, data.indices) == (3, 1, (2, 4, 9))
    assert data.keep([2, 0]).indices == (2, 9)


def test_a_model_without_coordinates_is_refused() -> None:
    with pytest.raises(InputError):
        Updates.of([], 0)


@pytest.mark.parametrize("n", [3, 65, 200])
def test_sums_of_sorted_values_are_exact_in_any_order(n: int) -> None:
    """Over 30 orders of magnitude: to 2^-40 of the largest that is added."""
    rng = np.random.default_rng(n)
    values = (rng.standard_normal((n, 64)) * 10.0 ** rng.uniform(-15, 15, (n, 64))).astype(np.float32)
    columns = np.sort(values.T, axis=1)
    found = _middle(columns, 1)
    largest = np.abs(columns[:, 1 : n - 1]).max()
    for mean, row in zip(found, columns[:, 1 : n - 1].astype(float), strict=True):
        assert abs(mean - math.fsum(row) / (n - 2)) <= 2.0**-40 * largest
    shuffled = columns.copy()
    rng.permuted(shuffled[:, 2 : n - 2], axis=1, out=shuffled[:, 2 : n - 2])
    assert _middle(shuffled, 1).tobytes() == found.tobytes()


@pytest.mark.parametrize("n", [1, 20, 100, 500, 10_000])
def test_what_is_sorted_together_divides_the_grid(n: int) -> None:
    assert GRID % sorted_at_once(n) == 0


@pytest.mark.parametrize("spec", ["median", "trimmed-mean:1"])
def test_blocks_do_not_reach_sums_of_very_different_sizes(spec: str) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((6, 9001)) * 10.0 ** rng.uniform(-12, 2, (6, 9001))).astype(np.float32)
    chosen = rule(spec)
    results = {
        chosen.apply(chosen.init(9001), Updates.dense(rows, block_coordinates=width))[0].tobytes()
        for width in (0, 1, 3000, 5000, 8192, 9001)
    }
    assert len(results) == 1
