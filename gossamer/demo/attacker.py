"""A device that lies: an honest trainer around which an attack rewrites the result.

The agent, its codec and its signature are those of any other device: what arrives at the server is well-formed.
Attacks that no well-formed update can carry (NaN, values beyond the model's range) are refused by the bridge
before any rule sees them; the tests send those.

A device of the demo knows its own data, the model, the number of its accomplices and the rule, but no other device's
update; where an attack needs those it takes its own honest delta for them. ``mimic`` is given the data of a victim,
device 0, ``label-flip`` its own with wrong labels. ``replay`` must send its first update from a child process that
remembers nothing: it makes that update anew each time, from the initial model, as it would have been in round 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import FitConfig, FitResult, NumpyTrainer, Trainer, Weights
from gossamer.aggregator.attacks import ATTACKS, Context, Defence, attack, flipped_labels
from gossamer.aggregator.rules import rule
from gossamer.compression.layout import Layout
from gossamer.demo.federation import trainer as honest_trainer
from gossamer.errors import ConfigError

REFUSED = ("nan", "oversized")
"""Attacks that the bridge refuses before they are an update."""

CARRIED = tuple(name for name in ATTACKS if name not in ("none", *REFUSED))
"""Attacks that a well-formed update can carry."""

VICTIM = 0
"""Whom ``mimic`` copies: the demo's attackers are its last devices."""


@dataclass(frozen=True)
class AttackingTrainer:
    """See :class:`gossamer.agent.trainer.Trainer`; ``fit`` returns what the attack makes of the honest result.

    Args:
        honest: the trainer that this device should be.
        name: of the attack.
        attackers: devices that lie, in the fleet.
        cohort_size: devices in a round.
        job_seed: seed of the job, from which the initial model comes.
        device: its index.
        rule: spec of the server's rule, for ``adaptive:NAME``.
        taught: trains in the place of ``honest`` if given: on wrong labels, or on another device's data.
    """

    honest: Trainer
    name: str
    attackers: int
    cohort_size: int
    job_seed: int
    device: int = 0
    rule: str = "mean"
    taught: Trainer | None = None

    def initial(self, seed: int) -> Weights:
        """The honest first model: a device with another one could not take part at all."""
        return self.honest.initial(seed)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """Honest figures; they stay on the device."""
        return self.honest.evaluate(weights)

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """Train honestly (on what it was taught), then lie."""
        result = (self.taught or self.honest).fit(weights, config)
        layout = Layout.of(weights)
        here = layout.flatten(weights)
        chosen = attack(self.name)
        delta = chosen(layout.flatten(result.weights) - here, self._context(layout, here, config))
        lied = layout.unflatten((here + delta).astype(np.float32))
        return FitResult(lied, result.examples * chosen.examples_factor, result.loss)

    def _context(self, layout: Layout, here: np.ndarray, config: FitConfig) -> Context:
        start = self.honest.initial(self.job_seed)
        context = Context(
            w_0=layout.flatten(start),
            w_t=here,
            cohort=self.cohort_size,
            attackers=min(self.attackers, max(1, self.cohort_size - 1)),
            seed=config.seed,
        )
        if self.name == "replay":
            seed = derive_seed("fit", self.job_seed, 0, self.device)
            first = self.honest.fit(start, replace(config, round=0, seed=seed))
            return replace(context, first=layout.flatten(first.weights) - context.w_0)
        if self.name.startswith("adaptive:"):
            chosen = rule(self.rule)
            return replace(context, defence=Defence(chosen, chosen.init(layout.size), config.round))
        return context


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
    rule: str = "mean",
) -> AttackingTrainer:
    """The factory that a lying device's configuration names."""
    check_attack(attack)
    honest = honest_trainer(data, device, devices, seed, cache)
    taught: NumpyTrainer | None = None
    if attack == "label-flip":
        taught = mistaught(honest)
    elif attack.removeprefix("adaptive:") == "mimic":
        taught = honest_trainer(data, VICTIM, devices, seed, cache)
    return AttackingTrainer(honest, attack, attackers, cohort_size, job_seed, device, rule, taught)


def mistaught(honest: NumpyTrainer) -> NumpyTrainer:
    """The same trainer with flipped labels; the classes are counted by the model's last array, its biases."""
    classes = honest.initial(0)[-1].shape[-1]
    return NumpyTrainer(honest.model, honest.x, flipped_labels(honest.y, classes))


def check_attack(name: str) -> None:
    """Raise ConfigError for an attack that is unknown or that a trainer cannot carry out."""
    expected = f"expected one of {', '.join(CARRIED)}, or adaptive:NAME"
    if name in REFUSED:
        raise ConfigError(f"--attack {name!r}: the bridge refuses such an update before it counts; {expected}")
    if name == "none":
        raise ConfigError(f"--attack {name!r} is no attack: {expected}")
    try:
        attack(name)
    except ConfigError as error:
        raise ConfigError(f"--attack {name!r}: {expected}") from error
