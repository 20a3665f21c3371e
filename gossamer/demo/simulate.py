"""A whole job in one process, without broker, store or clock: the same fits, codecs and rule as the fleet's.

Given the same settings it makes the same model, to the bit, as devices and server do over MQTT (I7), so that
hyper-parameters found here are the fleet's, and the fp32 reference is the same code with other codecs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import Trainer
from gossamer.agent.updating import make_update
from gossamer.agent.work import first_model, weights_of
from gossamer.aggregator.automatic import decided
from gossamer.aggregator.cohort import cohort
from gossamer.aggregator.jobs import MICRO, JobSettings
from gossamer.aggregator.rules import Update
from gossamer.aggregator.seal import EngineState, announced, seal
from gossamer.compression import open_body
from gossamer.compression.layout import Layout
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
        layout = Layout.of(first, getattr(trainers[0], "axes", {}))
        settings, self.choice = decided(settings, layout, len(trainers))
        self.settings = settings
        model = first_model(trainers[0], settings.seed, settings.cycle, settings.method)
        self.state = EngineState.initial(settings, model)
        self.models = {0: model}
        self.steps: list[bytes] = []
        self.held = [0] * len(trainers)
        self.secret = derive_seed("simulated secret", settings.seed, 0, 0).to_bytes(32, "big")
        self.kept: list[bytes | None] = [None] * len(trainers)
        self._ways: dict[tuple[int, int], int] = {}
        self.payload_up = self.payload_down = 0

    def rounds(self, judge: Trainer) -> Iterator[SimulatedRound]:
        """Run the job to its end; ``judge`` evaluates the shared model after every round."""
        schedule = self.settings.schedule(len(self.trainers))
        for round_ in range(self.settings.rounds):
            members = sorted(cohort(self.settings, schedule.devices, round_))
            sent = [update for index in members if (update := self._update(round_, index)) is not None]
            result = seal(self.state, sent, self.settings, devices=len(self.trainers), secret=self.secret)
            self.state = result.state
            self.models[round_ + 1] = self.state.model
            for version in [v for v in self.models if v < min(self.held)]:
                del self.models[version]
            self.steps.append(result.step)
            accuracy = judge.evaluate(weights_of(self.state.model, self.settings.method))["accuracy"]
            yield SimulatedRound(round_, accuracy, self.payload_up, self.payload_down, result.digest)

    def model_digest(self) -> bytes:
        """Digest of the shared model as it is now."""
        return self.state.model.digest

    def _update(self, round_: int, index: int) -> Update | None:
        """What the device does in its round: fetch, fit, encode with its residual; None: it decides not to send."""
        self.payload_down += self._fetched(index, round_)
        self.held[index] = round_
        model = self.models[round_]
        answer = make_update(self.trainers[index], model, self._request(round_, index))
        if answer["type"] == "abstain":
            return None
        self.kept[index] = answer["if_counted"]
        d, body = self.state.d, answer["body"]
        self.payload_up += FLOAT_BYTES * d if self.plain else len(body)
        context = replace(model.context(upward=True), codebooks=self.state.codebooks)
        sections = tuple((number, data) for number, data in answer["sections"])
        return Update(index, open_body(body, d, context), answer["examples"], round=round_, sections=sections)

    def _request(self, round_: int, index: int) -> dict[str, Any]:
        """What the manifest of that round asks of a device, as its training child gets it."""
        settings, seed = self.settings, self.settings.seed
        books = self.state.codebooks
        codec_of = ("rotation", seed, round_, 0) if settings.one_rotation else ("codec", seed, round_, index)
        return {
            "fit": {
                "local_epochs": settings.fit.local_epochs,
                "batch_size": settings.fit.batch_size,
                "learning_rate": settings.fit.learning_rate_micro(round_, settings.rounds) / MICRO,
                "seed": derive_seed("fit", seed, round_, index),
                "round": round_,
            },
            "job_seed": seed,
            "device_index": index,
            "participation": list(settings.schedule(len(self.trainers)).fields),
            "secret": derive_seed("simulated secret", seed, 0, 1 + index).to_bytes(32, "big"),
            "devices": len(self.trainers),
            "cohorts": settings.cohorts,
            "method": settings.method,
            "sections": [[number, data] for number, data in announced(settings, self.state).items()],
            "memory": settings.memory,
            "residual": self.kept[index],
            "codec": settings.codec_up,
            "codec_seed": derive_seed(*codec_of),
            "codebooks": books.serialize() if books is not None and books.version else None,
            "link": None,
            "epochs": None,
        }

    def _fetched(self, index: int, version: int) -> int:
        """Bytes that bring the device to ``version``; version 0 comes from the seed, at no cost."""
        since = self.held[index]
        if since == version:
            return 0
        if self.plain:
            return FLOAT_BYTES * len(self.state.shared)
        if (since, version) not in self._ways:  # the whole cohort often takes the same way
            early, late = self.models[since], self.models[version]
            delta = encode_delta(early, self.steps[since:version], late)
            self._ways[since, version] = min(len(delta), len(encode_snapshot(late)))
        return self._ways[since, version]
