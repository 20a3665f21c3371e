"""A toy federation under its budget: clipped and noised, it learns, and it stops in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossamer.aggregator.privacy import PrivacyPlan, PrivacySettings, may_release, plan, private_rule
from gossamer.aggregator.rules import Dense, Update, Updates
from gossamer.wire.participation import Participation, ParticipationRule

SECRET = bytes(range(32))
DEVICES, COHORTS, ROUNDS, DIMENSIONS, EXAMPLES = 200, 4, 40, 20, 20
RATE = 0.1


def data(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (devices, examples, d), labels -1 / 1 by a hidden plane with noise, and the plane."""
    rng = np.random.default_rng(seed)
    plane = rng.standard_normal(DIMENSIONS)
    x = rng.standard_normal((DEVICES, EXAMPLES, DIMENSIONS)) + 0.5 * rng.standard_normal((DEVICES, 1, DIMENSIONS))
    y = np.sign(x @ plane + 0.5 * rng.standard_normal((DEVICES, EXAMPLES)))
    return x, y, plane / np.linalg.norm(plane)


def fit(model: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The deltas of a step of logistic regression on every device: (n, examples, d), (n, examples) -> (n, d)."""
    pull = y / (1.0 + np.exp(y * (x @ model)))
    return RATE * np.einsum("ne,ned->nd", pull, x) / EXAMPLES


def train(made: PrivacyPlan, seed: int) -> tuple[float, int]:
    """Cosine of the learned with the hidden plane, and the rounds that were released."""
    x, y, plane = data(seed)
    schedule = Participation(ParticipationRule.named(made.participation), seed, DEVICES, COHORTS)
    model, done = np.zeros(DIMENSIONS), 0
    state = private_rule(made, SECRET, 0, 1).init(DIMENSIONS)
    while may_release(made, done):
        cohort = schedule.cohort(done)
        deltas = fit(model, x[list(cohort)], y[list(cohort)]).astype(np.float32)
        sent = [Update(i, Dense(delta), round=done) for i, delta in zip(cohort, deltas, strict=True)]
        rule = private_rule(made, SECRET, done, expected=len(cohort))
        aggregate, state, _ = rule.apply(state, Updates.of(sent, DIMENSIONS))
        model, done = model + aggregate, done + 1
    return float(model @ plane / np.linalg.norm(model)), done


def planned(epsilon: float, mechanism: str = "gaussian") -> PrivacyPlan:
    settings = PrivacySettings(epsilon, 1e-3, clip_norm=0.1, mechanism=mechanism)
    return plan(settings, rounds=ROUNDS, cohorts=COHORTS, participation="fixed", fleet=DEVICES)


def test_it_learns_within_its_budget_and_noise_is_what_it_costs():
    found = {epsilon: [train(planned(epsilon), seed) for seed in range(3)] for epsilon in (0.25, 8.0)}
    assert all(rounds == ROUNDS for runs in found.values() for _, rounds in runs)
    cosine = {epsilon: float(np.mean([each for each, _ in runs])) for epsilon, runs in found.items()}
    assert cosine[8.0] > 0.99
    assert cosine[0.25] < cosine[8.0] - 0.05


def test_banded_noise_leaves_a_better_model_at_the_same_epsilon():
    means = [np.mean([train(planned(1.0, spec), seed)[0] for seed in range(5)]) for spec in ("gaussian", "banded:4")]
    assert means[1] > means[0] + 0.01


def test_a_smaller_budget_ends_the_job_early():
    made = planned(8.0)
    poorer = replace(made, settings=replace(made.settings, epsilon=4.0))
    assert 0 < train(poorer, 0)[1] < ROUNDS


@pytest.mark.parametrize("mechanism", ["gaussian", "banded:4"])
def test_the_same_seed_and_secret_train_the_same_model(mechanism: str):
    made = planned(8.0, mechanism)
    assert train(made, 0) == train(made, 0)
