"""A device that lies: well-formed, deterministic, and only about its update."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import FitConfig, FitResult, NumpyTrainer, Weights
from gossamer.aggregator.attacks import ADAPTABLE, ATTACKS
from gossamer.demo.attacker import CARRIED, REFUSED, AttackingTrainer, check_attack, trainer
from gossamer.demo.federation import trainer as honest_trainer
from gossamer.errors import ConfigError

CONFIG = FitConfig(round=1, seed=7, local_epochs=1, batch_size=4, learning_rate=0.1)
DELTA_ATTACKS = [name for name in CARRIED if name not in ("mimic", "label-flip")]


class Honest:
    def initial(self, seed: int) -> Weights:
        return [np.full((2, 3), 0.25, np.float32), np.zeros(3, np.float32)]

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        step = np.random.default_rng([config.seed, config.round])
        return FitResult([w + step.normal(size=w.shape).astype(np.float32) for w in weights], 10, 0.5)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        return {"accuracy": 0.5}


def liar(name: str) -> AttackingTrainer:
    return AttackingTrainer(Honest(), name, attackers=2, cohort_size=5, job_seed=0, device=4, rule="median")


def fit(name: str) -> tuple[Weights, FitResult, FitResult]:
    weights = [np.ones((2, 3), np.float32), np.ones(3, np.float32)]
    return weights, Honest().fit(weights, CONFIG), liar(name).fit(weights, CONFIG)


def flat(weights: Weights) -> np.ndarray:
    return np.concatenate([w.ravel() for w in weights])


@pytest.mark.parametrize("name", [*DELTA_ATTACKS, "adaptive:alie", "adaptive:min-max"])
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


def test_replay_repeats_round_zero_without_a_memory() -> None:
    seed = derive_seed("fit", 0, 0, 4)
    first = flat(Honest().fit(Honest().initial(0), replace(CONFIG, round=0, seed=seed)).weights) - flat(
        Honest().initial(0)
    )
    for round_ in (1, 5):
        weights = [np.full((2, 3), float(round_), np.float32), np.ones(3, np.float32)]
        sent = liar("replay").fit(weights, replace(CONFIG, round=round_, seed=round_ + 90))
        np.testing.assert_allclose(flat(sent.weights) - flat(weights), first, atol=1e-6)
    at_start = liar("replay").fit(Honest().initial(0), replace(CONFIG, round=0, seed=seed))
    np.testing.assert_allclose(flat(at_start.weights) - flat(Honest().initial(0)), first, atol=1e-6)


def of_the_demo(attack: str, device: int = 3, rule: str = "mean") -> AttackingTrainer:
    return trainer("digits", device, 4, 0, "", attack, attackers=1, cohort_size=4, job_seed=0, rule=rule)


def test_label_flip_trains_honestly_on_wrong_labels() -> None:
    honest = honest_trainer("digits", 3, 4, 0, "")
    wrong = NumpyTrainer(honest.model, honest.x, 9 - honest.y)
    weights = honest.initial(0)
    sent, expected = of_the_demo("label-flip").fit(weights, CONFIG), wrong.fit(weights, CONFIG)
    np.testing.assert_allclose(flat(sent.weights), flat(expected.weights), atol=1e-6)
    assert not np.allclose(flat(sent.weights), flat(honest.fit(weights, CONFIG).weights), atol=1e-3)


@pytest.mark.parametrize("attack", ["mimic", "adaptive:mimic"])
def test_mimic_sends_what_its_victim_would(attack: str) -> None:
    victim = honest_trainer("digits", 0, 4, 0, "")
    weights = victim.initial(0)
    sent, expected = of_the_demo(attack).fit(weights, CONFIG), victim.fit(weights, CONFIG)
    np.testing.assert_allclose(flat(sent.weights), flat(expected.weights), atol=1e-6)
    assert sent.examples == expected.examples


def test_adaptive_is_told_the_rule() -> None:
    weights = honest_trainer("digits", 3, 4, 0, "").initial(0)
    unbounded, bounded = (
        flat(of_the_demo("adaptive:sign-flip", rule=rule).fit(weights, CONFIG).weights) - flat(weights)
        for rule in ("mean", "norm-clip")
    )
    assert np.linalg.norm(unbounded) > 3 * np.linalg.norm(bounded)  # a mean takes whatever it is given


def test_the_rest_is_honest() -> None:
    trainer = liar("sign-flip")
    assert np.array_equal(trainer.initial(3)[0], Honest().initial(3)[0])
    assert trainer.evaluate([]) == {"accuracy": 0.5}


def test_attacks_by_name() -> None:
    for name in [*CARRIED, *(f"adaptive:{name}" for name in ADAPTABLE)]:
        check_attack(name)
    assert set(CARRIED) == set(ATTACKS) - {"none", "nan", "oversized"}
    for name in ("none", "nan", "oversized", "foo", "", "adaptive:", "adaptive:nan", "adaptive:replay"):
        with pytest.raises(ConfigError, match="expected one of"):
            check_attack(name)
    for name in REFUSED:
        with pytest.raises(ConfigError, match="the bridge refuses"):
            check_attack(name)
