"""Attacks do what their papers say, and repeat."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.aggregator.attacks import ATTACKS, LYING_FACTOR, Context, alie_z, attack
from gossamer.errors import ConfigError

HONEST = np.array([1.0, -2.0, 0.0, 4.0], dtype=np.float32)
PEERS = (HONEST, np.array([3.0, -2.0, 2.0, 0.0], dtype=np.float32))
W_0, W_T = np.zeros(4, dtype=np.float32), np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)


def context(peers: tuple[np.ndarray, ...] = (), seed: int = 3) -> Context:
    return Context(W_0, W_T, cohort=5, attackers=2, seed=seed, peers=peers)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_repeats_and_keeps_shape_and_input(name: str) -> None:
    honest = HONEST.copy()
    honest.setflags(write=False)
    sent = attack(name)(honest, context())
    assert sent.shape == honest.shape
    assert sent.dtype == np.float32
    np.testing.assert_array_equal(sent, attack(name)(honest, context()))
    assert attack(name).name == name


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("none", [1, -2, 0, 4]),
        ("sign-flip", [-1, 2, 0, -4]),
        ("examples", [-1, 2, 0, -4]),
        ("inner-product-2", [-2, 4, 0, -8]),
        ("inner-product-10", [-10, 20, 0, -40]),
        ("shift-back", [-2.5, -5, -7.5, -10]),
    ],
)
def test_by_hand(name: str, sent: list[float]) -> None:
    assert attack(name)(HONEST, context()).tolist() == sent


def test_shift_back_puts_the_mean_at_the_start() -> None:
    sent = attack("shift-back")(HONEST, context())
    mean = (2 * sent + 3 * np.zeros(4)) / 5
    np.testing.assert_allclose(W_T + mean, W_0)


def test_inner_product_uses_what_it_knows_of_the_honest() -> None:
    assert attack("inner-product-2")(HONEST, context(PEERS)).tolist() == [-4.0, 4.0, -2.0, -4.0]


def test_alie_hides_within_the_deviation() -> None:
    mean, deviation = np.array([2.0, -2.0, 1.0, 2.0]), np.array([1.0, 0.0, 1.0, 2.0])
    sent = attack("alie")(HONEST, context(PEERS))
    np.testing.assert_allclose(sent, mean - alie_z(5, 2) * deviation, rtol=1e-6)
    alone = attack("alie")(HONEST, context())
    np.testing.assert_allclose(alone, HONEST - alie_z(5, 2) * np.sqrt(21 / 4), rtol=1e-6)


def test_alie_z() -> None:
    # 50 devices, 24 attackers: 2 supporters of 26 needed, Phi^-1(24/26); the paper's example prints 1.43.
    assert alie_z(50, 24) == pytest.approx(1.4261, abs=1e-4)
    assert alie_z(4, 3) == 1.5


def test_gaussian_is_seeded_and_ten_times_as_long() -> None:
    honest = np.ones(10_000, dtype=np.float32)
    flat = Context(honest, honest, 5, 2, seed=1)
    sent = attack("gaussian")(honest, flat)
    assert np.linalg.norm(sent) == pytest.approx(1000.0, rel=0.03)
    other = attack("gaussian")(honest, Context(honest, honest, 5, 2, seed=2))
    assert not np.array_equal(sent, other)


def test_what_no_rule_may_see() -> None:
    assert np.isnan(attack("nan")(HONEST, context())).sum() == 1
    assert (np.abs(attack("oversized")(HONEST, context())) > 2048).all()
    assert attack("examples").examples_factor == LYING_FACTOR


def test_unknown_attack() -> None:
    with pytest.raises(ConfigError, match="shift-back"):
        attack("politeness")
