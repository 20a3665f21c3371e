"""A whole job in one process, without broker, store or clock: the same fits, codecs and rule as the fleet's.

Given the same settings it makes the same model, to the bit, as devices and server do over MQTT (I7), so that
hyper-parameters found here are the fleet's, and the fp32 reference is the same code with other codecs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import FitConfig, Trainer
from gossamer.aggregator.automatic import decided
from gossamer.aggregator.jobs import MICRO, JobSettings
from gossamer.aggregator.rules import Update
from gossamer.aggregator.seal import EngineState, seal
from gossamer.compression import codec, open_body
from gossamer.compression.lattice import from_lattice, to_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.memory import State, memory
from gossamer.compression.shared import SharedModel
from gossamer.compression.ways import encode_delta, encode_snapshot

FLOAT_BYTES = 4


@dataclass(frozen=True)
class SimulatedRound:
    """A sealed round: accuracy of the model it made (0..1), payload of all devices so far, model digest."""

    round: int
    accuracy: float
    payload_up: int
    payload_down: int
    digest: bytes


class Simulation:
    """The devices' and the server's state of one job; :meth:`rounds` runs it."""

    def __init__(self, settings: JobSettings, trainers: Sequence[Trainer], *, plain: bool = False) -> None:
        """``plain``: payload is counted as uncompressed FedAvg would send it, a float32 model each way."""
        self.trainers = trainers
        self.plain = plain
        first = trainers[0].initial(settings.seed)
        self.layout = Layout.of(first, getattr(trainers[0], "axes", {}))
        settings, self.choice = decided(settings, self.layout, len(trainers))
        self.settings = settings
        model = SharedModel.first(self.layout, to_lattice(self.layout.flatten(first)), settings.cycle)
        self.state = EngineState.initial(settings, model)
        self.models = {0: model}
        self.steps: list[bytes] = []
        self.held = [0] * len(trainers)
        self.memories: list[State | None] = [None] * len(trainers)
        self._ways: dict[tuple[int, int], int] = {}
        self.payload_up = self.payload_down = 0

    def rounds(self, judge: Trainer) -> Iterator[SimulatedRound]:
        """Run the job to its end; ``judge`` evaluates the shared model after every round."""
        schedule = self.settings.schedule(len(self.trainers))
        for round_ in range(self.settings.rounds):
            updates = [self._update(round_, index) for index in schedule.cohort(round_)]
            result = seal(self.state, updates, self.settings, devices=len(self.trainers))
            self.state = result.state
            self.models[round_ + 1] = self.state.model
            for version in [v for v in self.models if v < min(self.held)]:
                del self.models[version]
            self.steps.append(result.step)
            accuracy = judge.evaluate(self.layout.unflatten(from_lattice(self.state.shared)))["accuracy"]
            yield SimulatedRound(round_, accuracy, self.payload_up, self.payload_down, result.digest)

    def model_digest(self) -> bytes:
        """Digest of the shared model as it is now."""
        return self.state.model.digest

    def _update(self, round_: int, index: int) -> Update:
        """What the device does in its round: fetch, fit, encode with its residual."""
        d = self.layout.size
        self.payload_down += self._fetched(index, round_)
        self.held[index] = round_
        model = self.models[round_]
        base = model.weights
        context = replace(model.context(upward=True), codebooks=self.state.codebooks)
        seed = self.settings.seed
        config = FitConfig(
            self.settings.fit.local_epochs,
            self.settings.fit.batch_size,
            self.settings.fit.learning_rate_micro(round_, self.settings.rounds) / MICRO,
            derive_seed("fit", seed, round_, index),
            round_,
        )
        result = self.trainers[index].fit(self.layout.unflatten(from_lattice(base)), config)
        trained = to_lattice(self.layout.flatten(result.weights))
        encoder = codec(self.settings.codec_up)
        method = memory(self.settings.memory)
        codec_seed = derive_seed("codec", seed, round_, index)
        delta = trained.astype(np.int64) - base
        sent = method.compress(encoder, delta, self.memories[index], seed=codec_seed, context=context)
        self.memories[index] = sent.if_counted
        self.payload_up += FLOAT_BYTES * d if self.plain else len(sent.body)
        return Update(index, open_body(sent.body, d, context), result.examples)

    def _fetched(self, index: int, version: int) -> int:
        """Bytes that bring the device to ``version``; version 0 comes from the seed, at no cost."""
        since = self.held[index]
        if since == version:
            return 0
        if self.plain:
            return FLOAT_BYTES * self.layout.size
        if (since, version) not in self._ways:  # the whole cohort often takes the same way
            early, late = self.models[since], self.models[version]
            delta = encode_delta(early, self.steps[since:version], late)
            self._ways[since, version] = min(len(delta), len(encode_snapshot(late)))
        return self._ways[since, version]
