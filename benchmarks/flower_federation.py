"""The federation of `flower_wire`: data, settings and fp32 references are those of `bytes_to_accuracy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.accuracy_runs import Run, run
from benchmarks.federations import Federation, federation, smoothed
from benchmarks.training_settings import Training, training
from gossamer.agent.trainer import NumpyTrainer, Weights
from gossamer.aggregator.jobs import JobSettings

REFERENCES = {"vanilla": "vanilla", "fp32": "tuned"}
"""Name in ``federations.toml`` -> our word."""


@dataclass(frozen=True)
class Reference:
    """FedAvg at fp32 in one process: how it trains, and the accuracy after each round until the target is met."""

    name: str
    training: Training
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Setup:
    """A federation with one seed. ``judge`` evaluates on everything held out."""

    federation: Federation
    seed: int
    trainers: Sequence[NumpyTrainer]
    judge: NumpyTrainer

    @classmethod
    def load(cls, name: str, seed: int) -> Setup:
        """Deal the data. Raises ConfigError."""
        found = federation(name)
        trainers, judge = found.fleet(seed)
        return cls(found, seed, trainers, judge)

    @property
    def devices(self) -> int:
        """How many."""
        return self.federation.devices

    @property
    def initial(self) -> Weights:
        """Version 0 of the model."""
        return self.judge.initial(self.seed)

    def reached(self, accuracies: Sequence[float]) -> bool:
        """Whether the target is met after these rounds: by the mean of the last three, as one may be lucky."""
        return smoothed(accuracies) >= self.federation.target

    def job(self, codec: str, codec_down: str) -> JobSettings:
        """The job that a Gossamer fleet runs; ``codec_down`` empty: what belongs to ``codec``."""
        changes = {"codec_down": codec_down} if codec_down else {}
        return training(self.federation.name, codec, **changes).job(self.federation, self.seed)

    def references(self) -> Iterator[Reference]:
        """Run FedAvg at fp32, vanilla and tuned, until the target or the limit of rounds."""
        for codec, word in REFERENCES.items():
            chosen = Run.chosen(self.federation.name, codec, self.seed)
            accuracies = tuple(float(point["accuracy"]) for point in run(chosen).curve)
            yield Reference(word, chosen.training, accuracies)
