"""A device for tests: the real session and the real store, the arithmetic in-process, a fake clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.agent import actions as do
from gossamer.agent import work
from gossamer.agent.config import AgentSettings, parse
from gossamer.agent.plan import Held
from gossamer.agent.session import Session
from gossamer.agent.store import AgentStore
from gossamer.agent.trainer import Trainer
from gossamer.agent.training import entry_of, fit_fields, model_of, secret_of

from .server_side import DEVICE, DEVICE_KEY, FLEET, FLEET_KEY, Out
from .tiny import Tiny


def key_file(directory: Path, key: Ed25519PrivateKey = DEVICE_KEY) -> Path:
    path = directory / "device.key"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def settings(directory: Path, key: Ed25519PrivateKey = DEVICE_KEY, **changes: Any) -> AgentSettings:
    given = {
        "fleet": FLEET, "device_id": DEVICE, "device_index": 0, "key_file": str(key_file(directory, key)),
        "fleet_public_key": FLEET_KEY.public_key().public_bytes_raw().hex(),
        "state_dir": str(directory / "state"), "trainer": "tests.agent.tiny:make", "chunk_bytes": 64,
        "status_timeout_seconds": 10.0, "manifest_wait_seconds": 5.0, "manifest_poll_seconds": 600.0,
        "trainer_options": {"d": 40}, "fit_nice": 0, **changes,
    }  # fmt: skip
    return parse(given, directory, {})


class PowerCut(Exception):
    """The device dies between two actions."""


class Device:
    """Executes actions at once. ``out``: messages on ``u`` and ``s`` not yet taken; ``boot`` as after a kill."""

    def __init__(
        self, directory: Path, *, trainer: Trainer | None = None, key: Ed25519PrivateKey = DEVICE_KEY,
        fleet_key: Ed25519PrivateKey = FLEET_KEY, **changes: Any,
    ) -> None:  # fmt: skip
        self.key, self.fleet_key = key, fleet_key.public_key()
        public = self.fleet_key.public_bytes_raw().hex()
        self.settings = settings(directory, key, fleet_public_key=public, **changes)
        self.trainer = trainer or Tiny(40)
        self.now = 1000.0
        self.out: Out = []
        self.tokens: list[int] = []
        self.log: list[do.Log] = []
        self.counts: list[str] = []
        self.topics: set[str] = set()
        self.trained: dict[int, Any] = {}
        self.hold_training: list[do.Train] | None = None
        self.connections = 0
        self.fuse = -1  # actions until a power cut; negative: none
        self.store: AgentStore | None = None
        self.boot()

    def boot(self) -> None:
        self.fuse = -1
        if self.store is not None:
            self.store.close()
        self.store = AgentStore(self.settings.state_dir, self.settings.fleet, self.settings.device_id)
        self.store._db.connection.execute("PRAGMA synchronous = OFF")  # tests do not cut the power
        model = self.store.model()
        held = None if model is None else Held(model.job, model.version, model.digest)
        self.session = Session(
            self.settings, self.fleet_key, held=held, marks=self.store.marks(),
            outbox=self.store.outbox(), partial=self.store.partial(),
        )  # fmt: skip
        self.out.clear()
        self.tokens.clear()
        self.topics.clear()

    def connect(self) -> None:
        self.connections += 1
        self.run(self.session.connected(self.now, self.connections))

    def disconnect(self) -> None:
        self.tokens.clear()
        self.topics.clear()
        self.out.clear()
        self.run(self.session.disconnected(self.now))

    def receive(self, kind: str, payload: bytes) -> None:
        self.run(self.session.message(kind, payload, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.run(self.session.tick(self.now))
        # What feeds the watchdog: after a turn nothing is due any more, whatever has happened before.
        assert self.session.next_deadline(self.now) > self.now

    def take(self) -> list[bytes]:
        """What was published on ``u``; every message is acknowledged by the broker."""
        payloads = [payload for kind, payload in self.out if kind == "u"]
        self.out.clear()
        tokens, self.tokens = self.tokens, []
        for token in tokens:
            self.run(self.session.puback(token, self.now))
        return payloads

    def run(self, actions: list[do.Action]) -> None:
        assert self.store is not None
        for action in actions:
            if self.fuse == 0:
                raise PowerCut
            self.fuse -= 1
            self.perform(action, self.store)

    def perform(self, action: do.Action, store: AgentStore) -> None:
        match action:
            case do.Publish(kind, payload, token):
                self.out.append((kind, payload))
                if token is not None:
                    self.tokens.append(token)
            case do.Subscribe(kinds):
                self.topics.update(kinds)
            case do.Unsubscribe(kinds):
                self.topics.difference_update(kinds)
            case do.KeepManifest(job, round_, version):
                store.keep_manifest(job, round_, version)
            case do.BeginPartial(object_id, offer):
                store.begin_partial(object_id, offer)
            case do.KeepChunk(object_id, index, data):
                store.keep_chunk(object_id, index, data)
            case do.DropPartial():
                store.drop_partial()
            case do.Settle(object_id, counted):
                store.settle(object_id, counted=counted)
            case do.Skip(job, round_):
                store.skip(job, round_)
            case do.Count(name):
                self.counts.append(name)
            case do.Log():
                self.log.append(action)
            case do.Train():
                if self.hold_training is not None:
                    self.hold_training.append(action)
                else:
                    self.train(action)

    def train(self, order: do.Train) -> None:
        """What the training child does, and what the shell does with its answers."""
        assert self.store is not None
        try:
            within = self.session.attendance.body_within()
            fields = fit_fields(self.settings, self.store, order, secret=secret_of(self.key), body_within=within)
            for answer in work.fit(self.trainer, fields):
                if answer["type"] == "model":
                    model = model_of(order.manifest, answer)
                    self.store.keep_model(model)
                    self.run(self.session.model_ready(Held(model.job, model.version, model.digest)))
                elif answer["type"] == "bad-model":
                    self.run(self.session.model_bad(answer["detail"], self.now))
                elif answer["type"] == "too-long":
                    self.run(self.session.unaffordable(answer["bytes"], self.now))
                elif answer["type"] == "abstain":
                    self.run(self.session.abstained(answer["detail"], self.now))
                else:
                    entry = entry_of(self.settings, self.key, order.manifest, answer)
                    self.store.post(entry)
                    self.trained[entry.round] = order.manifest
                    self.run(self.session.update_ready(entry, self.now))
        except work.TrainerFailed as error:
            self.run(self.session.training_failed(str(error), self.now))
