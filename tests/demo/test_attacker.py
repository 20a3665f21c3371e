"""A device that lies: well-formed, deterministic, and only about its update."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.agent.trainer import FitConfig, FitResult, Weights
from gossamer.aggregator.attacks import ATTACKS
from gossamer.demo.attacker import CARRIED, AttackingTrainer, check_attack
from gossamer.errors import ConfigError


class Honest:
    def initial(self, seed: int) -> Weights:
        return [np.full((2, 3), 0.25, np.float32), np.zeros(3, np.float32)]

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        step = np.random.default_rng(config.seed)
        return FitResult([w + step.normal(size=w.shape).astype(np.float32) for w in weights], 10, 0.5)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        return {"accuracy": 0.5}


def liar(name: str) -> AttackingTrainer:
    return AttackingTrainer(Honest(), name, attackers=2, cohort_size=5, job_seed=0)


def fit(name: str) -> tuple[Weights, FitResult, FitResult]:
    weights = [np.ones((2, 3), np.float32), np.ones(3, np.float32)]
    config = FitConfig(round=1, seed=7, local_epochs=1, batch_size=4, learning_rate=0.1)
    return weights, Honest().fit(weights, config), liar(name).fit(weights, config)


@pytest.mark.parametrize("name", CARRIED)
def test_a_lie_is_well_formed_and_a_lie(name: str) -> None:
    _weights, honest, lied = fit(name)
    assert [(w.shape, w.dtype) for w in lied.weights] == [((2, 3), np.float32), ((3,), np.float32)]
    assert all(np.isfinite(w).all() for w in lied.weights)
    assert isinstance(lied.examples, int)
    assert lied.loss == honest.loss
    same = all(np.allclose(a, b) for a, b in zip(lied.weights, honest.weights, strict=True))
    assert not (same and lied.examples == honest.examples)
    again = fit(name)[2]
    assert all(np.array_equal(a, b) for a, b in zip(lied.weights, again.weights, strict=True))


def test_sign_flip_points_the_other_way() -> None:
    weights, honest, lied = fit("sign-flip")
    for w, h, bad in zip(weights, honest.weights, lied.weights, strict=True):
        assert np.sum((h - w) * (bad - w)) < 0


def test_the_rest_is_honest() -> None:
    trainer = liar("sign-flip")
    assert np.array_equal(trainer.initial(3)[0], Honest().initial(3)[0])
    assert trainer.evaluate([]) == {"accuracy": 0.5}


def test_attacks_by_name() -> None:
    for name in CARRIED:
        check_attack(name)
    assert set(CARRIED) == set(ATTACKS) - {"none", "nan", "oversized"}
    for name in ("none", "nan", "oversized", "foo", ""):
        with pytest.raises(ConfigError, match="expected one of"):
            check_attack(name)
