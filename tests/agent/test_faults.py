"""Random faults: drop, duplicate, reorder, cut, power cut between any two actions. Nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gossamer.agent.gates import Refusal
from gossamer.agent.seeds import derive_seed
from gossamer.agent.session import State
from gossamer.agent.trainer import FitConfig
from gossamer.compression import decode, lattice
from gossamer.wire.codes import Absence

from .device import Device, PowerCut
from .server_side import JOB, SEED, Out, ServerSide
from .tiny import Tiny

MAX_ROUNDS = 6


class FaultyLink(RuleBasedStateMachine):
    """One device, one server side, two unreliable queues between them."""

    @initialize(codec=st.sampled_from(["sign", "ternary:0.1", "fp16", "q4s"]), chunk=st.sampled_from([64, 4000]))
    def start(self, codec: str, chunk: int) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.server = ServerSide(codec=codec, chunk_bytes=chunk)
        self.device = Device(self.directory, chunk_bytes=chunk)
        self.up: list[bytes] = []
        self.down: Out = []
        self.online = False

    def teardown(self) -> None:
        if hasattr(self, "device"):
            try:
                self.settle_and_check()
            finally:
                assert self.device.store is not None
                self.device.store.close()
                shutil.rmtree(self.directory)

    # -- what happens --------------------------------------------------------------------------------------

    def guarded(self, step: object) -> None:
        """Run a step; a power cut in it is followed by a boot."""
        try:
            step()  # type: ignore[operator]
            self.up += self.device.take()
        except PowerCut:
            self.power_cut()

    @rule()
    @precondition(lambda self: not self.online)
    def connect(self) -> None:
        self.online = True
        self.guarded(self.device.connect)
        if self.online:
            self.down.append(("m", self.server.manifest()))

    @rule()
    @precondition(lambda self: self.online)
    def cut(self) -> None:
        self.online = False
        self.up.clear()
        self.down.clear()
        self.device.disconnect()

    @rule()
    def power_cut(self) -> None:
        self.online = False
        self.up.clear()
        self.down.clear()
        self.device.boot()

    @rule(actions=st.integers(0, 6))
    def light_the_fuse(self, actions: int) -> None:
        self.device.fuse = actions

    @rule(where=st.integers(0, 50), fate=st.sampled_from(["ok", "ok", "ok", "drop", "twice"]))
    @precondition(lambda self: self.up)
    def carry_up(self, where: int, fate: str) -> None:
        payload = self.up.pop(where % len(self.up))
        for _ in range({"ok": 1, "drop": 0, "twice": 2}[fate]):
            self.down += self.server.handle(payload)

    @rule(where=st.integers(0, 50), fate=st.sampled_from(["ok", "ok", "ok", "drop", "twice"]))
    @precondition(lambda self: self.down)
    def carry_down(self, where: int, fate: str) -> None:
        kind, payload = self.down.pop(where % len(self.down))
        for _ in range({"ok": 1, "drop": 0, "twice": 2}[fate]):
            if self.online and (kind != "c" or "c" in self.device.topics):
                self.guarded(lambda: self.device.receive(kind, payload))

    @rule(steps=st.integers(1, 40))
    @precondition(lambda self: self.online)
    def calm(self, steps: int) -> None:
        """For a while nothing goes wrong, but for a fuse that is lit."""
        for _ in range(steps):
            if self.up:
                self.carry_up(0, "ok")
            elif self.down:
                self.carry_down(0, "ok")

    @rule(seconds=st.sampled_from([1, 12, 100, 700]))
    def wait(self, seconds: int) -> None:
        self.guarded(lambda: self.device.wait(seconds))

    @rule(is_open=st.booleans())
    def window(self, is_open: bool) -> None:
        """A window of availability opens or closes (a boot opens it)."""
        before = len(self.device.trained)
        refusal = None if is_open else Refusal(Absence.WINDOW, "")
        self.guarded(lambda: self.device.run(self.device.session.available(refusal, self.device.now)))
        assert is_open or len(self.device.trained) == before

    @rule()
    @precondition(lambda self: self.server.round < MAX_ROUNDS)
    def seal(self) -> None:
        self.server.advance()
        if self.online:
            self.down.append(("m", self.server.manifest()))

    # -- what must hold ------------------------------------------------------------------------------------

    def settle_and_check(self) -> None:
        device, server = self.device, self.server
        device.boot()  # whatever is not durable is gone
        device.connect()
        device.receive("m", server.manifest())
        for _ in range(300):
            payloads = device.take()
            if not payloads:
                if device.session.state is State.RESTING:
                    break
                with contextlib.suppress(PowerCut):
                    device.wait(100)
            for payload in payloads:
                for kind, answer in server.handle(payload):
                    if kind != "c" or "c" in device.topics:
                        device.receive(kind, answer)
        assert device.session.state is State.RESTING
        assert device.store is not None
        assert device.store.outbox() is None
        assert server.round in server.counted  # nothing is stuck
        held = device.store.model()
        assert held is not None
        assert held.digest == lattice.digest(server.models[held.version])
        self.check_sum()

    def check_sum(self) -> None:
        """All that was trained = all that was counted + the residual, to the bit."""
        trained = np.zeros(self.server.layout.size, np.int64)
        counted = np.zeros_like(trained)
        for round_, manifest in self.device.trained.items():
            base = self.server.models[manifest.version]
            seed = derive_seed("fit", SEED, round_, 0)
            weights = self.server.layout.unflatten(lattice.from_lattice(base))
            after = Tiny(40).fit(weights, FitConfig(1, 8, 0.1, seed, round_)).weights
            trained += lattice.to_lattice(self.server.layout.flatten(after)) - base
        for body in self.server.counted.values():
            counted += lattice.to_lattice(decode(body, len(trained)))
        if self.server.codec == "q4s":
            assert set(self.server.counted) <= set(self.device.trained)
            return  # unbiased: without a residual there is no such sum
        assert self.device.store is not None
        kept = self.device.store.residual(JOB)
        residual = 0 if kept is None else np.frombuffer(kept, "<i4")
        assert (trained == counted + residual).all()


TestFaultyLink = FaultyLink.TestCase
TestFaultyLink.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(60))
def test_a_storm(seed: int) -> None:
    """The same faults at the rates of a bad link: hypothesis finds the short stories, this the long ones."""
    rng = random.Random(seed)
    link = FaultyLink()
    link.start(rng.choice(["sign", "ternary:0.1", "fp16"]), rng.choice([64, 4000]))
    fates = ["ok"] * 8 + ["drop", "twice"]
    try:
        for _ in range(250):
            step = rng.random()
            if not link.online and step < 0.5:
                link.connect()
            elif step < 0.40 and link.up:
                link.carry_up(rng.choice([0, 0, 0, rng.randrange(9)]), rng.choice(fates))
            elif step < 0.84 and link.down:
                link.carry_down(rng.choice([0, 0, 0, rng.randrange(9)]), rng.choice(fates))
            elif step < 0.90:
                link.wait(rng.choice([1, 12, 100]))
            elif step < 0.93 and link.online:
                link.cut()
            elif step < 0.96:
                link.light_the_fuse(rng.randrange(8))
            elif step < 0.97:
                link.power_cut()
            elif link.server.round < 4 * MAX_ROUNDS:
                link.seal()
    finally:
        link.teardown()
