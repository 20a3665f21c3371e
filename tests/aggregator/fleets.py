"""A small fleet on a store, without a network: for tests of the engine and of the bridge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.aggregator.engine import Engine, Progress
from gossamer.aggregator.jobs import ClosingSettings, JobSettings, create_job
from gossamer.aggregator.store import Store, devices, inbox, jobs, rounds
from gossamer.compression import codec
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.wire.header import UpdateHeader, sign_update
from gossamer.wire.ids import object_id
from gossamer.wire.manifest import Manifest, verify_manifest
from gossamer.wire.messages import Round, parse

D = 300
LAYOUT = Layout((("kernel", (29, 10)), ("bias", (10,))))


def key_of(name: str) -> Ed25519PrivateKey:
    """A key that is always the same for a name."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))


FLEET_KEY = key_of("fleet")


def job_settings(**changes: Any) -> JobSettings:
    """A job of four rounds for four devices in two cohorts."""
    plain = JobSettings("test", 1, "t", seed=5, rounds=4, cohorts=2, codec_up="q8", codec_down="q8")
    return replace(plain, **changes)


@dataclass
class Fleet:
    """A store with enrolled devices and a job; time is counted by hand."""

    store: Store
    settings: JobSettings
    names: list[str]
    now: float = 1000.0
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = Engine(self.store, FLEET_KEY)

    @classmethod
    def make(cls, path: Path, *, size: int = 4, **changes: Any) -> Fleet:
        store = Store.open(path)
        names = [f"d{n}" for n in range(size)]
        with store.write() as db:
            for name in names:
                devices.enroll(db, name, key_of(name).public_key().public_bytes_raw())
        settings = job_settings(**changes)
        initial = to_lattice(np.linspace(-1.0, 1.0, D, dtype=np.float32))
        create_job(store, settings, initial, LAYOUT, now=1.0)
        return cls(store, settings, names)

    def step(self, seconds: float = 1.0) -> Progress:
        self.now += seconds
        return self.engine.step(now=self.now, monotonic=self.now)

    def manifest(self) -> Manifest:
        with self.store.read() as db:
            job = jobs.current(db)
            assert job is not None
            latest = rounds.latest(db, job.job)
        assert latest is not None
        assert latest.manifest is not None
        message = parse(latest.manifest)
        assert isinstance(message, Round)
        return verify_manifest(FLEET_KEY.public_key(), message.cose, self.settings.fleet)

    def cohort(self, round_: int) -> list[str]:
        return [self.names[i] for i in self.settings.schedule(len(self.names)).cohort(round_)]

    def body(self, name: str, round_: int) -> bytes:
        """The update a device would always make for a round."""
        index = self.names.index(name)
        delta = np.random.default_rng([index, round_]).normal(0.0, 0.01, D).astype(np.float32)
        return codec(self.settings.codec_up).encode(delta, seed=index + 100 * round_)

    def header(self, name: str, round_: int, body: bytes, **changes: int) -> bytes:
        fields = {"job": 1, "round": round_, "base_version": round_, "examples": 10, "loss_micro": 500_000}
        header = UpdateHeader(**{**fields, **changes})
        return sign_update(key_of(name), header, self.settings.fleet, name, body)

    def put(self, name: str, round_: int, *, counted_in: int | None = None) -> None:
        """Put a device's update straight into the inbox."""
        body = self.body(name, round_)
        update = inbox.NewUpdate(
            1, round_, name, object_id(body), round_ if counted_in is None else counted_in, round_, body,
            self.header(name, round_, body), 10, 500_000,
        )  # fmt: skip
        with self.store.write() as db:
            inbox.add(db, update, now=self.now)

    def run(self, *, order: int = 1) -> bytes:
        """Run the job to its end, cohorts arriving forwards or backwards; returns the final digest."""
        while self.step() is not Progress.IDLE:
            manifest = self.manifest()
            if manifest.round < self.settings.rounds:
                with self.store.read() as db:
                    present = inbox.senders(db, 1, manifest.round)
                for name in self.cohort(manifest.round)[::order]:
                    if name not in present:
                        self.put(name, manifest.round)
        return self.manifest().digest


def closing(**changes: Any) -> ClosingSettings:
    return replace(ClosingSettings(), **changes)
