"""Who is chosen: the float Gram matrix is within its bound of the exact one, and ties fall to the lowest index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.aggregator.rules import Updates, gram, rule
from gossamer.aggregator.rules.gram import distances, exact_distances
from gossamer.aggregator.rules.nearest import choose, neighbourhoods, smallest
from gossamer.aggregator.rules.screening import Screen

Matrix = NDArray[np.float32]


def drawn(n: int, d: int, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-6, 2, (n, 1))).astype(np.float32)


def both(rows: Matrix) -> tuple[gram.Distances, NDArray[np.float64]]:
    updates = Updates.dense(rows)
    found = distances(gram.gram(updates, Screen(len(rows), np.ones(len(rows)))), rows.shape[1])
    return found, exact_distances(updates, list(range(len(rows))))


@pytest.mark.parametrize("d", [1, 255, 3000, 70_001])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_the_error_of_the_float_distances_is_bounded(d: int, shift: float) -> None:
    rows = drawn(6, d) + np.float32(shift)
    found, exact = both(rows)
    assert (np.abs(found.squared - exact) <= found.error).all()
    wide = rows.astype(np.longdouble)
    true = ((wide[:, None] - wide) ** 2).sum(axis=2)
    assert (np.abs(true - exact) <= found.error).all()
    lengths = np.sqrt((wide**2).sum(axis=1))
    assert (found.error <= 1.5e-4 * (lengths[:, None] + lengths) ** 2 + 1e-30).all()  # and of some use


def test_equal_updates_have_exactly_equal_distances() -> None:
    rows = drawn(5, 5000)
    rows[3] = rows[1]
    _, exact = both(rows)
    assert exact[1, 3] == exact[3, 1] == 0.0
    np.testing.assert_array_equal(exact[1], exact[3][[0, 3, 2, 1, 4]])
    np.testing.assert_array_equal(exact, exact.T)


@given(
    numbers=st.lists(st.integers(0, 6), min_size=1, max_size=9), width=st.integers(0, 3), seed=st.integers(0, 99),
    share=st.floats(0, 1),
)  # fmt: skip
def test_a_choice_by_intervals_is_the_choice_by_numbers(
    numbers: list[int], width: int, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    exact = np.array(numbers, dtype=np.float64)
    low, high = exact - rng.uniform(0, width, len(exact)), exact + rng.uniform(0, width, len(exact))
    count = int(share * len(exact))
    expected = np.zeros(len(exact), dtype=bool)
    expected[np.argsort(exact, kind="stable")[:count]] = True
    np.testing.assert_array_equal(choose(low, high, count, lambda places: exact[places]), expected)
    inside, contested = smallest(low, high, count)
    assert not (inside & ~expected).any()
    assert not (expected & ~inside & ~contested).any()


@pytest.mark.parametrize("spec", ["krum:2", "nnm:2+krum:2"])
def test_of_identical_updates_the_lowest_index_is_chosen(spec: str) -> None:
    """Attackers who send the same vector are nearest to each other; their order of arrival must not matter."""
    rows = np.tile(drawn(1, 3000), (9, 1))
    rows[7:] += 1
    chosen = rule(spec)
    result, _, report = chosen.apply(chosen.init(3000), Updates.dense(rows))
    np.testing.assert_allclose(result, rows[0], rtol=1e-6)
    assert [v.index for v in report.verdicts if v.factor] == [0]


@pytest.mark.parametrize("error", [-1.0, -0.6, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("spec", ["krum:1", "multi-krum:1/3", "bulyan:1", "nnm:1+median"])
def test_no_float_error_within_the_bound_changes_the_result(
    spec: str, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another BLAS kernel might round, and worse: updates close to each other, two of them identical."""
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal(2000) + 1e-4 * rng.standard_normal((9, 2000))).astype(np.float32)
    rows[4] = rows[2]
    chosen = rule(spec)
    expected = chosen.apply(chosen.init(2000), Updates.dense(rows))[0].tobytes()
    real = distances

    def shaken(products: NDArray[np.float64], d: int) -> gram.Distances:
        found = real(products, d)
        signs = np.sign(np.arange(81).reshape(9, 9) % 7 - 3)
        signs = np.triu(signs) + np.triu(signs, 1).T
        return gram.Distances(found.squared + error * found.error * signs, 2 * found.error)

    for module in ("krum", "bulyan", "nnm"):
        monkeypatch.setattr(f"gossamer.aggregator.rules.{module}.distances", shaken)
    assert chosen.apply(chosen.init(2000), Updates.dense(rows))[0].tobytes() == expected


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 7))
def test_neighbourhoods_are_the_nearest(seed: int, count: int) -> None:
    rows = drawn(7, 40, seed)
    rows[5] = rows[0]
    updates = Updates.dense(rows)
    found, exact = both(rows)
    chosen = neighbourhoods(updates, found, count)
    np.fill_diagonal(exact, -np.inf)
    for row in range(7):
        assert np.flatnonzero(chosen[row]).tolist() == sorted(np.argsort(exact[row], kind="stable")[:count].tolist())


def test_decisions_that_are_clear_need_no_exact_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        np.random.default_rng(0).standard_normal((9, 3000)).astype(np.float32)
        * np.arange(1, 10, dtype=np.float32)[:, None]
    )
    monkeypatch.setattr("gossamer.aggregator.rules.krum.exact_distances", None)
    chosen = rule("krum:2")
    chosen.apply(chosen.init(3000), Updates.dense(rows))
