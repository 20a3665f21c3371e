"""The basis of ``hist``: exact, orthonormal, and small where a model moves in few directions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.compression.basis import Basis
from gossamer.compression.layout import Layout
from gossamer.compression.plan import MAX_BASIS, SMOOTH_ROWS, places_of
from gossamer.compression.priors import chained_prior, smooth_kernel, smooth_prior
from gossamer.demo.models import MLP, WatchCNN
from gossamer.errors import InputError, LatticeOverflow
from tests.lab.hist_digests import LAYOUTS, digests, versions

REPOSITORY = Path(__file__).parents[2]
GOLDEN: dict[str, str] = json.loads((REPOSITORY / "tests" / "vectors" / "hist_digests.json").read_text())
UNIT = 2.0**14
ROUNDING = 5e-4


def layout(*shapes: tuple[int, ...], **axes: tuple[int, ...]) -> Layout:
    return Layout(tuple((f"a{i}", shape) for i, shape in enumerate(shapes)), tuple(axes.items()))


def drift(of: Layout, seed: int, rank: int = 3, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A model's change along a few directions of every matrix, and a later change along the same: int32 (d,) each."""
    rng = np.random.default_rng(seed)
    both: list[list[np.ndarray]] = [[np.zeros(0, np.int32)], [np.zeros(0, np.int32)]]
    for _, shape in of.entries:
        n = shape[-1] if shape else 1
        m = int(np.prod(shape[:-1]))
        left, right = rng.standard_normal((m, rank)), rng.standard_normal((rank, n))
        for parts in both:
            moved = left @ np.diag(rng.uniform(0.5, 1, rank)) @ right + noise * rng.standard_normal((m, n))
            parts.append(np.rint(moved * 2000).astype(np.int32).reshape(-1))
    return np.concatenate(both[0]), np.concatenate(both[1])


def test_golden_digests() -> None:
    """A change means that devices in the field and a new server no longer understand each other."""
    assert digests() == GOLDEN


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_do_not_matter(threads: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, "tests/lab/hist_digests.py"]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert dict(line.split() for line in done.stdout.splitlines()) == GOLDEN


@pytest.mark.parametrize("name", LAYOUTS)
def test_sides_are_orthonormal(name: str) -> None:
    for pair in Basis.of(LAYOUTS[name], *versions(LAYOUTS[name])).pairs:
        for side in (pair.rows, pair.columns):
            if side is not None:
                assert np.array_equal(side, np.rint(side))
                assert np.abs(side.T @ side / UNIT**2 - np.eye(side.shape[1])).max() < ROUNDING


@pytest.mark.parametrize("name", ["conv", "tiny"])
def test_there_and_back_where_no_row_is_left_out(name: str) -> None:
    of = LAYOUTS[name]
    basis = Basis.of(of, *versions(of))
    assert basis.size == of.size
    change, _ = drift(of, 1, noise=1.0)
    u = basis.forward(change)
    scale = float(np.abs(u).max()) / 30_000
    levels = np.rint(u / scale).astype(np.int32)
    error = basis.inverse(levels, scale) - change
    assert np.linalg.norm(error) < 1e-3 * np.linalg.norm(change)


def test_coefficients_are_what_plain_algebra_says() -> None:
    of = LAYOUTS["mlp"]
    basis = Basis.of(of, *versions(of))
    x = np.random.default_rng(0).standard_normal(of.size).astype(np.float32)
    u, at = basis.forward(x), 0
    for place, pair in zip(basis.places, basis.pairs, strict=True):
        rows = np.eye(place.rows) if pair.rows is None else pair.rows / UNIT
        columns = np.eye(place.columns) if pair.columns is None else pair.columns / UNIT
        expected = rows.T @ place.cut(x) @ columns
        assert np.allclose(u[at : at + expected.size], expected.reshape(-1), atol=1e-5)
        levels = np.zeros(basis.size, dtype=np.int8)
        levels[at : at + expected.size] = np.arange(expected.size) % 31 - 15
        part = levels[at : at + expected.size].reshape(expected.shape)
        change = np.zeros(of.size)
        whole = rows @ part @ columns.T * 3e-3 * 2**20
        change[place.start : place.start + whole.size] = whole.reshape(-1)
        assert np.abs(basis.inverse(levels, 3e-3) - change).max() < 0.501
        at += expected.size


def test_integers_are_lattice_units() -> None:
    of = LAYOUTS["tiny"]
    basis = Basis.of(of, *versions(of))
    units = np.arange(of.size, dtype=np.int32) * 1000
    assert np.array_equal(basis.forward(units), basis.forward(units / np.float32(2**20)))
    assert basis.forward(units.astype(np.int64)).dtype == np.float64


@pytest.mark.parametrize(("noise", "left"), [(0.0, 1e-4), (0.05, 0.02)])
def test_a_drift_of_low_rank_is_a_few_coefficients(noise: float, left: float) -> None:
    of = layout((120, 40), (40,), (40, 6), (6,))
    past, next_ = drift(of, 2, rank=3, noise=noise)
    u = Basis.of(of, np.zeros_like(past), past).forward(next_)
    # Rank 3: 9 of the first matrix, 3 x 6 of the last, whose columns stay as they are; 40 + 6 of the biases.
    energy = np.sort(u * u)[::-1]
    assert energy[: 9 + 18 + 46].sum() > (1 - left) * (np.ldexp(next_.astype(float), -20) ** 2).sum()
    corner = u[: 120 * 40].reshape(120, 40)
    # Rows lean on the prior a little, columns on the next layer by a third: ten of them span what three do.
    assert (corner[:3, :10] ** 2).sum() > (1 - left) * (corner**2).sum(), "the leading rows and columns"


def test_before_anything_has_moved_smooth_changes_are_few_coefficients() -> None:
    of = layout((100, 8), a0=(10, 10))
    still = np.zeros(of.size, dtype=np.int32)
    place = np.linspace(-1, 1, 10)
    hill = np.exp(-4 * np.add.outer((place - 0.2) ** 2, place**2)).reshape(100, 1)
    u = Basis.of(of, still, still).forward((hill * np.ones(8)).astype(np.float32).reshape(-1)).reshape(100, 8)
    assert (u[:20] ** 2).sum() > 0.98 * 8 * (hill**2).sum()


def test_what_the_next_layer_does_not_look_at_comes_last() -> None:
    of = layout((6, 4), (4, 3))
    weights = np.zeros(of.size, dtype=np.int32)
    weights[24:].reshape(4, 3)[:] = [[0, 0, 0], [9, -9, 0], [5, 5, 5], [0, 4, -4]]
    columns = Basis.of(of, weights, weights).pairs[0].columns
    assert columns is not None
    assert np.abs(columns[[1, 3], :2]).min() > 0
    assert not columns[[0, 2], :2].any(), "alike for all classes is as good as nothing"


@pytest.mark.parametrize(
    "of",
    [
        layout(),
        layout(()),
        layout((0, 4), (4,)),
        layout((4, 0)),
        layout((1, 1)),
        layout((1, 5), (5,)),
        layout((5, 1), (1,)),
        layout((7,)),
        layout((3, 3, 2, 4), (4,), (36, 5)),
        layout((12, 4), a0=(-3, 4)),
        layout((12, 4), a0=(-12,)),
        layout((12, 4), a0=(2, 3, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [0, 1, 2**31 - 1])
def test_degenerate(of: Layout, size: int) -> None:
    zero = np.zeros(of.size, dtype=np.int32)
    basis = Basis.of(of, zero, np.full_like(zero, size))
    assert basis.groups.shape == basis.coarse.shape == basis.forward(zero).shape == (basis.size,)
    assert basis.size == of.size, "no more rows than the limit: nothing is left out"
    levels = np.full(basis.size, 15, dtype=np.int32)
    assert basis.inverse(levels, 2.0**-9).shape == (of.size,)
    assert not basis.inverse(levels * 0, 1.0).any()
    for x in (2.0**64, 1e-45):
        assert np.isfinite(basis.forward(np.full(of.size, x, dtype=np.float32))).all()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.integers(1, 7), max_size=3).map(tuple), max_size=5),
    st.integers(0, 3),
    st.integers(0, 2**31),
)
def test_any_model(shapes: list[tuple[int, ...]], rank: int, seed: int) -> None:
    of = layout(*shapes)
    past, next_ = drift(of, seed, rank=rank)
    basis = Basis.of(of, np.zeros_like(past), past)
    u = basis.forward(next_)
    assert basis.size == of.size == len(u)
    scale = max(float(np.abs(u).max(initial=0)), 2.0**-20) / 20_000
    back = basis.inverse(np.rint(u / scale).astype(np.int64), scale)
    assert np.linalg.norm(back - next_) <= 2e-3 * np.linalg.norm(next_) + 1


def test_places_of_the_demos_models() -> None:
    places = places_of(Layout.of(WatchCNN().init(0), {0: (5, -6)}))
    assert [place.kind for place in places] == ["matrix", "bias"] * 3
    assert [(place.before, place.after, place.last) for place in places[::2]] == [
        (None, 2, False),
        (0, 4, False),
        (2, None, True),
    ]
    wide = places_of(Layout.of(MLP(784, 128, 10).init(0), {0: (28, 28)}))
    assert [place.rank for place in wide] == [SMOOTH_ROWS, 1, 128, 1]


def test_too_large_for_a_basis() -> None:
    of = layout((MAX_BASIS + 1, 2), (2,), (2, MAX_BASIS + 1), (2, 3))
    assert [place.kind for place in places_of(of)] == ["plain", "plain", "plain", "matrix"]
    assert places_of(of)[3].before is None
    x = np.arange(of.size, dtype=np.int32)
    basis = Basis.of(of, x, x)
    assert np.array_equal(basis.forward(x)[: 2 * MAX_BASIS], np.ldexp(x[: 2 * MAX_BASIS].astype(float), -20))
    smooth = places_of(layout((2 * MAX_BASIS, 2), a0=(2 * MAX_BASIS,)))
    assert (smooth[0].kind, smooth[0].rank) == ("matrix", SMOOTH_ROWS)


def test_groups() -> None:
    basis = Basis.of(LAYOUTS["tiny"], *versions(LAYOUTS["tiny"]))
    # (3, 2): rows 1, 2-3; columns 1, 2. Its bias: columns. (2, 2). A scalar and a vector: one group each.
    assert basis.groups.tolist() == [0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 11, 11]
    assert basis.coarse.tolist() == [0] * 6 + [1] * 2 + [2] * 4 + [3] + [4] * 4
    assert basis.groups.dtype == basis.coarse.dtype == np.int32
    assert basis.groups is basis.groups
    assert not basis.groups.flags.writeable


def test_what_it_refuses() -> None:
    of = LAYOUTS["tiny"]
    basis = Basis.of(of, *versions(of))
    zero = np.zeros(of.size, dtype=np.int32)
    with pytest.raises(InputError, match="vectors of shape"):
        Basis.of(of, zero, zero[1:])
    with pytest.raises(InputError, match="whole model"):
        basis.forward(zero[1:])
    with pytest.raises(InputError, match="levels of shape"):
        basis.inverse(zero[1:], 1.0)
    with pytest.raises(InputError, match="levels up to"):
        basis.inverse(np.full(of.size, basis.max_level + 1), 1.0)
    for scale in (2.0**40, 1e308, np.inf, np.nan):
        for levels in (zero + 15, np.eye(1, of.size, dtype=np.int32)[0]):
            with pytest.raises(LatticeOverflow, match="on the lattice"):
                basis.inverse(levels, scale)


def test_the_limit_of_levels_is_one_of_exactness() -> None:
    of = layout((60, 30), (30, 2))
    past, _ = drift(of, 5)
    basis = Basis.of(of, past * 0, past)
    rows, columns = (side.astype(np.int64).astype(object) for side in (basis.pairs[0].rows, basis.pairs[0].columns))
    levels = np.where(np.arange(of.size) % 3, basis.max_level, -basis.max_level)
    exact = rows @ levels[:1800].reshape(60, 30).astype(object) @ columns.T
    assert max(map(abs, exact.reshape(-1))) < 2**53
    assert np.array_equal(basis.inverse(levels, 2.0**-20)[:1800], np.rint(exact.astype(float) * 2.0**-28).reshape(-1))


def test_priors_are_symmetric_and_positive() -> None:
    before = np.array([[4.0, 2.0], [2.0, 9.0]])
    for prior in (smooth_prior((4, -3, 5), 10), chained_prior(before, 3)):
        m = len(prior.columns)
        whole = prior.product(np.eye(m) * UNIT) / UNIT
        assert np.array_equal(whole, whole.T)
        assert np.trace(whole) == pytest.approx(prior.trace, rel=1e-3)
        assert np.linalg.eigvalsh(whole).min() > -2
    assert smooth_kernel(3).tolist() == [[4096, 3640, 2548], [3640, 4096, 3640], [2548, 3640, 4096]]
