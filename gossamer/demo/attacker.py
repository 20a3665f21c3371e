"""A device that lies: an honest trainer around which an attack rewrites the result.

The agent, its codec and its signature are those of any other device: what arrives at the server is well-formed.
Attacks that no well-formed update can carry (NaN, values beyond the model's range) are refused by the bridge
before any rule sees them; the tests send those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.agent.trainer import FitConfig, FitResult, Trainer, Weights
from gossamer.aggregator.attacks import ATTACKS, Context, attack
from gossamer.compression.layout import Layout
from gossamer.demo.federation import trainer as honest_trainer
from gossamer.errors import ConfigError

CARRIED = tuple(name for name in ATTACKS if name not in ("none", "nan", "oversized"))
"""Attacks that a well-formed update can carry."""


@dataclass(frozen=True)
class AttackingTrainer:
    """See :class:`gossamer.agent.trainer.Trainer`; ``fit`` returns what the attack makes of the honest result."""

    honest: Trainer
    name: str
    attackers: int
    cohort_size: int
    job_seed: int

    def initial(self, seed: int) -> Weights:
        """The honest first model: a device with another one could not take part at all."""
        return self.honest.initial(seed)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """Honest figures; they stay on the device."""
        return self.honest.evaluate(weights)

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """Train honestly, then lie."""
        result = self.honest.fit(weights, config)
        layout = Layout.of(weights)
        here = layout.flatten(weights)
        chosen = attack(self.name)
        context = Context(
            w_0=layout.flatten(self.honest.initial(self.job_seed)),
            w_t=here,
            cohort=self.cohort_size,
            attackers=self.attackers,
            seed=config.seed,
        )
        delta = chosen(layout.flatten(result.weights) - here, context)
        lied = layout.unflatten((here + delta).astype(np.float32))
        return FitResult(lied, result.examples * chosen.examples_factor, result.loss)


def trainer(
    data: str,
    device: int,
    devices: int,
    seed: int,
    cache: str,
    attack: str,
    attackers: int,
    cohort_size: int,
    job_seed: int,
) -> AttackingTrainer:
    """The factory that a lying device's configuration names."""
    check_attack(attack)
    honest = honest_trainer(data, device, devices, seed, cache)
    return AttackingTrainer(honest, attack, attackers, cohort_size, job_seed)


def check_attack(name: str) -> None:
    """Raise ConfigError for an attack that is unknown or that a trainer cannot carry out."""
    if name not in CARRIED:
        raise ConfigError(f"--attack {name!r}: expected one of {', '.join(CARRIED)}")
