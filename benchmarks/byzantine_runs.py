"""One run of `benchmarks.byzantine`: a job under one attack, with the project's own codecs, rules and attacks.

**Setting.** 20 devices share 4,000 images of MNIST-5k (`benchmarks.federations`), 14 x 14 by the mean of four pixels,
dealt by Dirichlet(0.5); an MLP 196-32-10 (6,634 parameters). Five *fixed* cohorts of 4 take turns. Four devices are
attackers: three in the first cohort, which they outvote in every one of its rounds, one in the third. Accuracy is
that of the model which the outvoted cohort leaves in the last cycle, its worst moment, on 1,000 held-out images.

**Attackers** are omniscient: they see the honest updates of their round (before encoding), and ``adaptive:NAME`` also
the rule with its memory. Their updates go through the same codec as everybody's; with a residual they keep none.
Under ``none`` they are honest, so that the clean accuracy is that of all the data.

**fltrust:20** is given what it asks for: a root of trust, device 20, in every round, which trains on ten images of each
class out of everybody's.

**cache** devices smooth what they send, m <- (1 - eta p) m for every round and + eta delta in their own, as that rule
expects; all others send deltas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.federations import dealt_parts
from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import Array, FitConfig, NumpyTrainer
from gossamer.aggregator.attacks import Context, Defence, attack, flipped_labels
from gossamer.aggregator.rules import Rule, Update, Updates, rule
from gossamer.compression import codec, decode
from gossamer.compression.lattice import from_lattice, to_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.memory import EF14, State
from gossamer.demo.models import MLP
from gossamer.errors import InputError

DEVICES, COHORTS = 20, 5
COHORT = DEVICES // COHORTS
ATTACKERS = (0, 1, 2, 2 * COHORT)
SIDE, HIDDEN, CLASSES = 28, 32, 10
ROOT, ROOT_EACH = DEVICES, 10
CODECS = {"dense": "fp32", "rot1": "rot1", "sign+residual": "sign"}
LIMIT = 2000.0
"""Model and what attackers send are cut here, inside the lattice's range of 2048, as the server does."""


@dataclass(frozen=True)
class Training:
    """How honest devices train: the same for every rule, attack and codec."""

    rounds: int = 200
    local_epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.3


@dataclass(frozen=True)
class Run:
    """A cell of the table, for one seed."""

    rule: str
    attack: str
    codec: str
    seed: int
    training: Training = field(default_factory=Training)

    @property
    def key(self) -> tuple[Any, ...]:
        """Two runs of equal keys give the same record."""
        return self.rule, self.attack, self.codec, self.seed, self.training.rounds

    @staticmethod
    def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
        """`key` of the run that made a record."""
        return tuple(record[name] for name in ("rule", "attack", "codec", "seed", "rounds"))

    def record(self, accuracy: float) -> dict[str, Any]:
        """Its flat record."""
        name = {"rule": self.rule, "attack": self.attack, "codec": self.codec, "seed": self.seed}
        return {**name, "accuracy": round(accuracy, 4), "rounds": self.training.rounds}


def pooled(x: Array) -> Array:
    """Images (n, 784) -> (n, 196), each the mean of 2 x 2 pixels."""
    quarters = x.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    return np.ascontiguousarray(quarters.reshape(len(x), -1), dtype=np.float32)


def fleet(seed: int) -> list[NumpyTrainer]:
    """The honest trainers of all devices; each judges on everything held out."""
    parts = dealt_parts("mnist", DEVICES, seed)
    held_out = pooled(parts[0].x_held_out), parts[0].y_held_out
    model = MLP((SIDE // 2) ** 2, HIDDEN, CLASSES)
    return [NumpyTrainer(model, pooled(part.x), part.y, held_out) for part in parts]


def root_of_trust(trainers: Sequence[NumpyTrainer], seed: int) -> NumpyTrainer:
    """A trainer on ``ROOT_EACH`` images of every class, drawn from the training images of all devices."""
    x, y = (np.concatenate([getattr(each, name) for each in trainers]) for name in ("x", "y"))
    rng = np.random.Generator(np.random.PCG64([seed, DEVICES]))
    chosen = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:ROOT_EACH] for c in range(CLASSES)])
    return NumpyTrainer(trainers[0].model, x[chosen], y[chosen], trainers[0].held_out)


def mistaught(trainer: NumpyTrainer) -> NumpyTrainer:
    """The same with flipped labels."""
    return NumpyTrainer(trainer.model, trainer.x, flipped_labels(trainer.y, CLASSES), trainer.held_out)


def run(what: Run) -> dict[str, Any]:
    """The record of a run; a model that left every bound keeps its accuracy, about that of a guess."""
    job = Job(what, fleet(what.seed))
    last = (what.training.rounds - 1) // COHORTS * COHORTS  # the last round of the first cohort
    with np.errstate(all="ignore"):  # a mean under attack overflows; that is the result
        for round_ in range(last + 1):
            job.step(round_)
    return what.record(job.accuracy())


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body in memory, decoded once: rules read it several times, and attackers that try them, more often."""

    encoded: bytes
    vector: Array

    def read(self, start: int, stop: int) -> Array:
        """Coordinates [start, stop), float32."""
        return self.vector[start:stop]

    def raw(self) -> bytes:
        """As sent."""
        return self.encoded


class Smoothing:
    """The device side of ``cache:ETA+RULE``; with ETA 0, deltas as they are."""

    def __init__(self, eta: float) -> None:
        self.eta = eta
        self.kept: dict[int, tuple[int, Array]] = {}

    @classmethod
    def of(cls, spec: str) -> Smoothing:
        """What devices do under the rule of that spec."""
        return cls(float(spec.partition(":")[2].partition("+")[0]) if spec.startswith("cache:") else 0.0)

    def smoothed(self, index: int, round_: int, delta: Array) -> Array:
        """What the device sends of a delta (d,)."""
        if not self.eta:
            return delta
        last, memory = self.kept.get(index, (round_, np.zeros_like(delta)))
        decay = (1 - self.eta * COHORT / DEVICES) ** (round_ - last)
        now = (decay * memory + self.eta * delta).astype(np.float32)
        self.kept[index] = round_, now
        return now


class Job:
    """Server and devices of one run."""

    def __init__(self, what: Run, trainers: Sequence[NumpyTrainer]) -> None:
        self.what, self.attack = what, attack(what.attack)
        self.trainers = list(trainers)
        if self.attack.flips_labels:
            for index in ATTACKERS:
                self.trainers[index] = mistaught(trainers[index])
        self.always = (ROOT,) if what.rule.startswith("fltrust:") else ()
        if self.always:
            self.trainers.append(root_of_trust(trainers, what.seed))
        first = trainers[0].initial(what.seed)
        self.layout = Layout.of(first)
        self.start = self.w = self.layout.flatten(first)
        self.rule: Rule = rule(what.rule)
        self.state = self.rule.init(self.layout.size)
        self.codec = codec(CODECS[what.codec])
        self.smoothing = Smoothing.of(what.rule)
        self.residuals: dict[int, State | None] = {}
        self.firsts: dict[int, Array] = {}

    def step(self, round_: int) -> None:
        """One round of one cohort."""
        turn = round_ % COHORTS * COHORT
        cohort = (*range(turn, turn + COHORT), *self.always)
        own = {index: self._trained(index, round_) for index in cohort}
        own = {index: delta for index, delta in own.items() if delta is not None}
        hostile = [index for index in own if index in ATTACKERS and self.what.attack != "none"]
        updates = [self._honest(index, delta, round_) for index, delta in own.items() if index not in hostile]
        updates += self._lies(own, hostile, round_)
        known = Updates.of(updates, self.layout.size, fleet=DEVICES, round=round_)
        aggregate, self.state, report = self.rule.apply(self.state, known)
        if not report.shortfall:
            self.w = np.clip(self.w + aggregate, -LIMIT, LIMIT).astype(np.float32)

    def accuracy(self) -> float:
        """Of the model as it is now, 0..1."""
        return self.trainers[0].evaluate(self.layout.unflatten(self.w))["accuracy"]

    def _trained(self, index: int, round_: int) -> Array | None:
        """What an honest device would send, float32 (d,); None if its training left the lattice."""
        how, seed = self.what.training, derive_seed("fit", self.what.seed, round_, index)
        config = FitConfig(how.local_epochs, how.batch_size, how.learning_rate, seed, round_)
        result = self.trainers[index].fit(self.layout.unflatten(self.w), config)
        delta = self.layout.flatten(result.weights) - self.w
        sent = self.smoothing.smoothed(index, round_, delta)
        return sent if np.isfinite(sent).all() and np.abs(sent).max() < LIMIT else None

    def _honest(self, index: int, delta: Array, round_: int) -> Update:
        units, seed = to_lattice(delta), self._codec_seed(index, round_)
        examples = len(self.trainers[index].x)
        if not self.codec.uses_residual:
            return self._update(index, self.codec.encode(from_lattice(units), seed=seed), round_, examples)
        try:
            made = EF14.compress(self.codec, units, self.residuals.get(index), seed=seed)
        except InputError:  # the residual left the lattice: it begins anew
            made = EF14.compress(self.codec, units, None, seed=seed)
        self.residuals[index] = made.if_counted
        return self._update(index, made.body, round_, examples)

    def _lies(self, own: dict[int, Array], hostile: list[int], round_: int) -> list[Update]:
        """What the attackers of a cohort send; ``own`` are everybody's honest deltas."""
        honest = {index: delta for index, delta in own.items() if index not in hostile}
        context = Context(
            w_0=self.start, w_t=self.w, cohort=len(own), attackers=len(hostile), seed=0,
            peers=tuple(honest.values()),
            defence=Defence(self.rule, self.state, round_, DEVICES, tuple(honest), tuple(hostile)),
        )  # fmt: skip
        together = self._together(context) if hostile and honest else None
        made = []
        for index in hostile:
            mine = replace(context, seed=derive_seed("attack", self.what.seed, round_, index),
                           first=self.firsts.setdefault(index, own[index]))  # fmt: skip
            lie = together if together is not None else self.attack(own[index], mine)
            units = to_lattice(np.clip(np.nan_to_num(lie), -LIMIT, LIMIT))
            body = self.codec.encode(from_lattice(units), seed=self._codec_seed(index, round_))
            examples = len(self.trainers[index].x) * self.attack.examples_factor
            made.append(self._update(index, body, round_, examples))
        return made

    def _together(self, context: Context) -> Array | None:
        """What an adaptive attack found, which all attackers of the cohort send: searched for once."""
        if not self.attack.name.startswith("adaptive:"):
            return None
        return self.attack(context.peers[0], context)

    def _update(self, index: int, body: bytes, round_: int, examples: int) -> Update:
        return Update(index, Decoded(body, decode(body, self.layout.size)), examples, round=round_)

    def _codec_seed(self, index: int, round_: int) -> int:
        return derive_seed("codec", self.what.seed, round_, index)
