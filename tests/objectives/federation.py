"""Rounds of the oracles' problem without wire: three cohorts of four in turn, one epoch each, all updates alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gossamer.agent.trainer import FitConfig
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.local import PairwiseLocal
from gossamer.objectives.sections import MANIFEST_DUAL, MANIFEST_SCORES, UPDATE_DUAL, UPDATE_SCORES
from gossamer.objectives.server import ScorePool, combine_dual
from tests.objectives.problems import DEVICES, GROUPS, Problem

COHORT = DEVICES // GROUPS


def cohort(round_: int) -> range:
    return range(round_ % GROUPS * COHORT, (round_ % GROUPS + 1) * COHORT)


def falling(learning_rate: float, round_: int, rounds: int) -> float:
    """The oracles' schedule: full, three tenths from the half on, one tenth at the end."""
    return learning_rate * (1 if round_ < rounds * 0.5 else 0.3 if round_ < rounds * 0.8 else 0.1)


@dataclass
class Federation:
    """A job with the trainers of the problem; ``run`` plays rounds as engine and agents do."""

    data: Problem
    objective: str
    batch: int = 32
    seed: int = 0
    dual: Dual = field(default_factory=Dual)
    pool: ScorePool = field(default_factory=ScorePool)

    def __post_init__(self) -> None:
        self.trainers = self.data.trainers(self.objective)
        self.weights = self.trainers[0].initial(0)

    def turn(self, round_: int, learning_rate: float) -> None:
        down = {MANIFEST_DUAL: self.dual.serialize()}
        pooled = self.pool.section()
        if pooled is not None:
            down[MANIFEST_SCORES] = pooled
        results = [
            self.trainers[i].fit(
                self.weights,
                FitConfig(1, self.batch, learning_rate, 1000 * self.seed + i, round_, sections=down),
            )
            for i in cohort(round_)
        ]
        self.weights = [
            np.mean(each, axis=0, dtype=np.float64) for each in zip(*(r.weights for r in results), strict=True)
        ]
        ups = [result.sections for result in results]
        self.dual, _ = combine_dual(self.dual, [up[UPDATE_DUAL] for up in ups if UPDATE_DUAL in up])
        self.pool, _ = self.pool.absorb(round_ % GROUPS, [up[UPDATE_SCORES] for up in ups if UPDATE_SCORES in up])

    def run(self, rounds: int, learning_rate: float) -> Federation:
        for round_ in range(rounds):
            self.turn(round_, falling(learning_rate, round_, rounds))
        return self


class RawPool:
    """What the histograms stand for: the scores themselves, of the last cohort of each turn."""

    def __init__(self) -> None:
        self.turns: dict[int, list[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = {}

    def of(self, positive: bool) -> list[NDArray[np.float64]]:
        return [scores[labels == positive] for each in self.turns.values() for scores, labels in each]

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], positive: bool) -> NDArray[np.float64]:
        return rng.choice(np.concatenate(self.of(positive)), shape)

    def examples(self, positive: bool) -> float:
        return float(np.mean([len(each) for each in self.of(positive)]))


def pairwise_with_raw_scores(data: Problem, rounds: int, learning_rate: float, seed: int = 0) -> NDArray[np.float64]:
    """Weights (20,) of the same federation if raw scores could leave devices."""
    w, pool = np.zeros(data.devices[0][0].shape[1]), RawPool()
    for round_ in range(rounds):
        step, fitted, scores = falling(learning_rate, round_, rounds), [], []
        for i in cohort(round_):
            x, positive = data.devices[i]
            own, rng = w.copy(), np.random.default_rng([seed, i, round_])
            local = PairwiseLocal(positive, pool if pool.turns else None)
            for rows in local.batches(rng, 32):
                _, coefficients = local.step(x[rows] @ own, rows, step, rng)
                own -= step * coefficients @ x[rows]
            fitted.append(own)
            scores.append((x @ own, positive))
        w = np.mean(fitted, axis=0)
        pool.turns[round_ % GROUPS] = scores
    return w
