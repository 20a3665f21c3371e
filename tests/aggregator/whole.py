"""A whole fleet in one process: the real sessions and stores of devices, the real bridge, engine and store.

Only the broker is missing: what one side publishes is handed to the other at once. Time is counted by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gossamer.agent import work
from gossamer.agent.actions import Train
from gossamer.agent.trainer import FitConfig, FitResult
from gossamer.aggregator.automatic import decided
from gossamer.aggregator.engine import Engine, Progress
from gossamer.aggregator.jobs import create_job, model_at
from gossamer.aggregator.store import Store, devices, inbox, jobs, rejections, rounds
from gossamer.broker_bridge.actions import Incoming, Publish
from gossamer.broker_bridge.bridge import Bridge
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.compression.shared import SharedModel
from gossamer.demo.simulate import Simulation
from gossamer.wire.manifest import Manifest, verify_manifest
from gossamer.wire.messages import Round, parse
from gossamer.wire.topics import Topics
from tests.agent.device import Device
from tests.aggregator.fleets import FLEET_KEY, job_settings, key_of

TOPICS = Topics("t")
TURNS = 400
"""Of handing messages back and forth until all are quiet; a round takes a few."""


class Drift:
    """Weights that go, a little each epoch, where this device's data would have them; with seeded noise."""

    axes: ClassVar = {0: (4, 6)}
    adds_terms = True

    def __init__(self, index: int, noise: float = 0.01) -> None:
        self.index = index
        self.noise = noise
        self.smoothness = 1.0
        rng = np.random.default_rng(3)
        common = [rng.normal(0.0, 0.3, shape).astype(np.float32) for shape in ((24, 10), (10,), (10, 4), (4,))]
        own = np.random.default_rng([4, index])
        self.goal = [each + own.normal(0.0, 0.05, each.shape).astype(np.float32) for each in common]
        self.epochs: list[int] = []

    def initial(self, seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [rng.normal(0.0, 0.1, each.shape).astype(np.float32) for each in self.goal]

    def fit(self, weights: list[Any], config: FitConfig) -> FitResult:
        self.epochs.append(config.local_epochs)
        rng = np.random.default_rng([config.seed, config.round])
        rate, start = np.float32(config.learning_rate), weights
        for _ in range(config.local_epochs):
            noise = [rng.normal(0.0, self.noise, each.shape).astype(np.float32) for each in weights]
            gradients = [w - goal - n for w, goal, n in zip(weights, self.goal, noise, strict=True)]
            if config.correction is not None:
                gradients = [g + c for g, c in zip(gradients, config.correction, strict=True)]
            pull = np.float32(config.proximal)
            gradients = [g + pull * (w - at) for g, w, at in zip(gradients, weights, start, strict=True)]
            weights = [w - rate * g for w, g in zip(weights, gradients, strict=True)]
        return FitResult(weights, 10 + self.index, 0.5)

    def gradient(self, weights: list[Any], config: FitConfig, batch: int | None) -> FitResult:
        """Of half the squared distance to the goal."""
        rng = np.random.default_rng([0 if batch is None else batch, config.round])
        scale = 0.0 if batch is None else self.noise
        noise = [rng.normal(0.0, scale, each.shape).astype(np.float32) for each in weights]
        gradients = [w - goal + n for w, goal, n in zip(weights, self.goal, noise, strict=True)]
        return FitResult(gradients, 10 + self.index, 0.5)

    def evaluate(self, weights: list[Any]) -> dict[str, float]:
        gap = sum(float(np.square(w - goal).sum()) for w, goal in zip(weights, self.goal, strict=True))
        return {"accuracy": 1.0 / (1.0 + gap)}


class Whole:
    """The server and its devices. ``asleep``: indexes of devices that hear and say nothing."""

    def __init__(self, path: Path, *, size: int = 4, links: dict[int, dict[str, Any]] | None = None,
                 agent: dict[str, Any] | None = None, noise: float = 0.01,
                 trainers: Sequence[Any] | None = None, **changes: Any) -> None:  # fmt: skip
        path.mkdir(parents=True, exist_ok=True)
        self.noise = noise
        size = size if trainers is None else len(trainers)
        self.path, self.now, self.monotonic = path, 1000.0, 0.0
        self.names = [f"d{n}" for n in range(size)]
        self.trainers: Any = list(trainers or (Drift(n, noise) for n in range(size)))
        self.store = Store.open(path / "s.db")
        with self.store.write() as db:
            for name in self.names:
                devices.enroll(db, name, key_of(name).public_key().public_bytes_raw())
        wanted = job_settings(**changes)
        first = work.first_model(self.trainers[0], wanted.seed, 0, wanted.method)
        self.wanted = wanted
        self.settings, self.choice = decided(wanted, work.first_model(self.trainers[0], wanted.seed, 0).layout, size)
        create_job(self.store, self.settings, first.weights, first.layout, now=1.0)
        self.restart()
        self.asleep: set[int] = set()
        self.devices = []
        for index, name in enumerate(self.names):
            home = path / name
            home.mkdir()
            link = {"link": links[index]} if links and index in links else {}
            self.devices.append(
                Device(home, trainer=self.trainers[index], key=key_of(name), fleet_key=FLEET_KEY, fleet="t",
                       device_id=name, device_index=index, chunk_bytes=4000, **link, **(agent or {}))
            )  # fmt: skip
        self.connected: set[int] = set()
        self.orders: list[list[Train]] = [[] for _ in self.names]
        for index, device in enumerate(self.devices):
            self._record(index, device)

    def _record(self, index: int, device: Device) -> None:
        train = device.train

        def recorded(order: Train) -> None:
            self.orders[index].append(order)
            train(order)

        device.train = recorded  # type: ignore[method-assign]

    def restart(self) -> None:
        """Kill the server and start it again on its store."""
        self.store.close()
        self.store = Store.open(self.path / "s.db")
        self.engine = Engine(self.store, FLEET_KEY)
        self.bridge = Bridge(self.store, BridgeSettings(TOPICS, messages_per_second=1e6, message_burst=1_000_000))
        self._manifest: list[Publish] = []

    def down(self, published: list[Publish]) -> None:
        """Hand to the devices what the bridge has published."""
        queue = list(published)
        while queue:
            each = queue.pop(0)
            if each.tag is not None:
                queue += self.bridge.puback(each.tag, self.monotonic)
            parts = TOPICS.parse(each.topic)
            assert parts is not None
            for index, device in enumerate(self.devices):
                if index not in self.asleep and parts.device in (None, self.names[index]):
                    device.receive(parts.kind, each.payload)

    def up(self) -> bool:
        """Hand to the bridge what the devices have published; returns whether there was anything."""
        any_ = False
        for index, device in enumerate(self.devices):
            if index in self.asleep:
                continue
            for payload in device.take():
                any_ = True
                incoming = [Incoming(TOPICS.device_topic("u", self.names[index]), payload, 1)]
                actions = self.bridge.messages(incoming, now=self.now, monotonic=self.monotonic)
                self.down([a for a in actions if isinstance(a, Publish)])
        return any_

    def settle(self) -> None:
        """Let everybody talk until all are quiet."""
        for index, device in enumerate(self.devices):
            if index not in self.asleep and index not in self.connected:
                self.connected.add(index)
                device.connect()
                self.bridge._manifest = None  # the broker retains it for whoever subscribes
        self.down(self.bridge.refresh())
        for _ in range(TURNS):
            busy = self.up()
            self.monotonic += 1.0
            published = self.bridge.tick(now=self.now, monotonic=self.monotonic)
            self.down(published)
            if not busy and not published:
                return
        raise AssertionError("they never stop talking")

    def sleep(self, *indexes: int) -> None:
        """Devices go away."""
        for index in set(indexes) - self.asleep:
            self.devices[index].disconnect()
            self.connected.discard(index)
        self.asleep |= set(indexes)

    def wake(self) -> None:
        """All are back."""
        self.asleep.clear()

    def turn(self, seconds: float = 1.0) -> Progress:
        """One step of the engine, and what follows from it."""
        self.now += seconds
        progress = self.engine.step(now=self.now, monotonic=self.now)
        self.settle()
        return progress

    def late(self, round_: int) -> int:
        """Choose a device of that round's cohort; it will begin to train and not end before `release`."""
        index = self.settings.schedule(len(self.names)).cohort(round_)[0]
        self.devices[index].hold_training = []
        return index

    def release(self, index: int) -> None:
        """The training that was held up ends, and its update is sent."""
        device = self.devices[index]
        (order,), device.hold_training = device.hold_training or [], None
        device.train(order)
        self.settle()

    def run(self, until: int | None = None) -> bytes:
        """Go on to a round, or to the job's end; returns the model's digest."""
        last = self.settings.rounds if until is None else until
        for _ in range(100 * (last + 1)):
            self.turn()
            if self.manifest().round >= last:
                return self.manifest().digest
        raise AssertionError(f"round {last} is never reached; open is {self.manifest().round}")

    def simulation(self) -> Simulation:
        """The same job in one process, run to its end."""
        simulation = Simulation(self.wanted, [Drift(n, self.noise) for n in range(len(self.names))])
        list(simulation.rounds(Drift(0)))
        return simulation

    def manifest(self) -> Manifest:
        with self.store.read() as db:
            latest = rounds.latest(db, 1)
        assert latest is not None
        message = parse(latest.manifest or b"")
        assert isinstance(message, Round)
        assert len(latest.manifest or b"") <= 300
        return verify_manifest(FLEET_KEY.public_key(), message.cose, "t")

    def model(self) -> SharedModel:
        with self.store.read() as db:
            job = jobs.get(db, 1)
            assert job is not None
            return model_at(db, job, job.version)

    def model_of(self, version: int) -> SharedModel:
        with self.store.read() as db:
            job = jobs.get(db, 1)
            assert job is not None
            return model_at(db, job, version)

    def body(self, index: int, round_: int) -> bytes | None:
        with self.store.read() as db:
            return inbox.body(db, 1, round_, self.names[index])

    def rejected(self) -> dict[str, int]:
        with self.store.read() as db:
            return rejections.totals(db)

    def receipt(self, index: int, round_: int) -> inbox.Receipt | None:
        with self.store.read() as db:
            return inbox.receipt(db, 1, round_, self.names[index])
