"""Job options end to end, without a network: real devices, bridge, engine and store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from gossamer.agent import work
from gossamer.agent.records import StoredModel
from gossamer.agent.training import fit_fields
from gossamer.aggregator import engine
from gossamer.aggregator.engine import Progress
from gossamer.aggregator.jobs import FitSettings, JobSettings
from gossamer.aggregator.seal import stored_codebooks
from gossamer.aggregator.store import devices, models, states
from gossamer.broker_bridge.actions import Incoming, Publish
from gossamer.compression import REGISTRY, Context, codec, hist, open_body
from gossamer.compression.memory import from_bytes, memory
from gossamer.compression.memory_server import ServerMemory
from gossamer.compression.shared import SharedModel
from gossamer.errors import ConfigError, MalformedBody
from gossamer.wire.codes import Kind, Reason, Section
from gossamer.wire.header import UpdateHeader, sign_update
from gossamer.wire.messages import Status, parse
from tests.aggregator.fleets import closing, key_of
from tests.aggregator.whole import TOPICS, Whole
from tests.broker_bridge.desk import upload

HIST: dict[str, Any] = {"codec_up": "hist:0.1", "codec_down": "hist:0.1", "rounds": 8}
OPTIONS: dict[str, dict[str, Any]] = {
    "hist, one cohort": HIST | {"cohorts": 1},
    "hist, two cohorts": HIST | {"cohorts": 2},
    "hist up": HIST | {"codec_down": "ternary:0.1"},
    "hist down": HIST | {"codec_up": "rot1"},
    "nf4": {"codec_up": "nf4", "rounds": 10},
    "nf4 with hist": {"codec_up": "nf4", "codec_down": "hist:0.1", "rounds": 10},
    "ef21": {"memory": "ef21", "codec_up": "ternary:0.1", "rounds": 8},
    "ef21-sgdm": {"memory": "ef21-sgdm:0.3", "codec_up": "topk:0.1/q4", "rounds": 8},
    "auto": {"codec_up": "auto", "codec_down": "auto"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_fleet_is_the_simulation_to_the_bit(tmp_path: Path, name: str) -> None:
    whole = Whole(tmp_path, **OPTIONS[name])
    digest = whole.run()
    simulation = whole.simulation()
    assert digest == simulation.model_digest()
    assert whole.rejected() == {}


def held(whole: Whole, index: int) -> SharedModel:
    """The model as a device has it on disk."""
    store = whole.devices[index].store
    assert store is not None
    stored = store.model()
    assert stored is not None
    return SharedModel.from_bytes(stored.lattice, whole.model().layout)


class TestHist:
    @pytest.mark.parametrize("cohorts", [1, 3])
    @pytest.mark.parametrize("near", [True, False])
    def test_a_late_joiner(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cohorts: int, near: bool) -> None:
        """It comes after four cycles: by the steps of them all, or from the snapshot where those are too many."""
        if not near:
            monkeypatch.setattr(engine, "REPLAYED_CYCLES", 1)
        rounds = 6 * cohorts
        quorate = closing(quorum=1, max_lag=0)
        whole = Whole(tmp_path, size=2 * cohorts, **HIST | {"cohorts": cohorts, "rounds": rounds, "closing": quorate})
        first = whole.settings.schedule(2 * cohorts)
        joiner = first.cohort(0)[0]
        whole.sleep(joiner)
        whole.run(4 * cohorts)
        whole.wake()
        whole.settle()
        digest = whole.run()
        mine = [number for number in range(rounds) if whole.receipt(joiner, number) is not None]
        assert mine
        assert mine[0] >= 4 * cohorts
        assert fetched_first(whole, joiner) is (Kind.DELTA if near else Kind.SNAPSHOT)
        assert whole.rejected() == {}
        assert digest == whole.model().digest

    def test_away_for_several_cycles(self, tmp_path: Path) -> None:
        """It held a version in the middle of a cycle, and goes on from there through three others."""
        whole = Whole(tmp_path, **HIST | {"rounds": 14, "closing": closing(quorum=1, max_lag=0)})
        away = whole.settings.schedule(4).cohort(1)[0]
        whole.run(2)
        assert whole.receipt(away, 1) is not None
        whole.sleep(away)
        whole.run(9)
        whole.wake()
        whole.settle()
        whole.run()
        late = [number for number in range(9, 14) if whole.receipt(away, number) is not None]
        assert late
        orders = [order for order in whole.orders[away] if order.manifest.round == late[0]]
        assert orders[0].way is not None
        assert orders[0].way.kind is Kind.DELTA
        assert orders[0].manifest.version - orders[0].way.from_version >= 6
        assert held(whole, away).frame is not None

    @pytest.mark.parametrize("same_version", [True, False])
    def test_a_skipped_step_is_seen_by_its_digest_and_healed(self, tmp_path: Path, same_version: bool) -> None:
        whole = Whole(tmp_path, **HIST | {"cohorts": 1})
        undisturbed = whole.simulation().model_digest()
        whole.run(3)
        device = whole.devices[2]
        before = held(whole, 2)
        whole.sleep(2)
        if not same_version:
            for _ in range(3):
                whole.turn()
        assert device.store is not None
        # It takes an earlier model for that of the version it should hold.
        wrong = replace(before, weights=before.weights + np.int32(1))
        version = 3 if same_version else 2
        device.store.keep_model(
            StoredModel(1, version, wrong.digest, wrong.to_bytes(), device.store.model().layout)  # type: ignore[union-attr]
        )
        device.boot()
        whole.wake()
        whole.settle()
        assert whole.run() == undisturbed
        assert whole.rejected() == {}
        assert held(whole, 2).digest in {whole.model_of(7).digest, whole.model_of(8).digest}

    @pytest.mark.parametrize("cohorts", [1, 2])
    def test_a_late_update_is_read_with_its_own_model_whatever_is_killed(self, tmp_path: Path, cohorts: int) -> None:
        digests = set()
        for restarted in (False, True):
            options = HIST | {"cohorts": cohorts, "rounds": 9, "closing": closing(quorum=1, max_lag=4)}
            whole = Whole(tmp_path / str(restarted), size=2 * cohorts, **options)
            whole.run(2)
            late = whole.late(3)
            for _ in range(40):
                if restarted:
                    whole.restart()
                if whole.turn() is Progress.IDLE:
                    break
                if whole.manifest().round == 5 and whole.devices[late].hold_training:
                    whole.release(late)
            receipt = whole.receipt(late, 3)
            assert receipt is not None
            assert (receipt.counted_in, receipt.sealed_in) == (5, 6)
            assert whole.rejected() == {}
            digests.add(whole.model().digest)
        assert len(digests) == 1

    def test_states_are_kept_at_the_beginnings_of_cycles(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, size=6, **HIST | {"cohorts": 6, "rounds": 26, "closing": closing(max_lag=0)})
        whole.run()
        with whole.store.read() as db:
            kept = {v for v in range(27) if models.state(db, 1, v) is not None}
        assert kept == {0, 12, 18, 24, *range(19, 27)}


def forged(whole: Whole, index: int, body: bytes) -> list[Status]:
    """A device signs this body for the open round and sends it; what the bridge says."""
    name, manifest = whole.names[index], whole.manifest()
    header = UpdateHeader(1, manifest.round, manifest.version, 10, 500_000)
    said: list[Status] = []
    for message in upload(body, sign_update(key_of(name), header, "t", name, body), 4000):
        incoming = Incoming(TOPICS.device_topic("u", name), message.serialize(), 1)
        for action in whole.bridge.messages([incoming], now=whole.now, monotonic=whole.monotonic):
            if isinstance(action, Publish):
                answer = parse(action.payload)
                assert isinstance(answer, Status)
                said.append(answer)
    return said


def test_signed_nonsense_is_refused_named_and_blocks_nothing(tmp_path: Path) -> None:
    whole = Whole(tmp_path, **HIST | {"cohorts": 1, "rounds": 5, "closing": closing(quorum=3)})
    whole.run(2)
    whole.sleep(3)
    whole.turn()
    model, d = whole.model(), whole.model().weights.size
    assert whole.manifest().version == 3
    context = model.context(upward=True)
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, 0.01, d).astype(np.float32)
    good = codec("hist:0.1").encode(x, seed=0, context=context)
    wrong_frame = codec("hist:0.1").encode(x, seed=0, context=whole.model_of(1).context(upward=True))
    bodies = [good[:1], good[:3], good[:-1], good + b"\0", good[:1] + b"\xff\xff" + good[3:], wrong_frame]
    bodies += [good[:3] + bytes([good[3] + 9]) + good[4:], codec("sign").encode(x, seed=0)]
    bodies += [good[:4] + rng.bytes(int(size)) for size in rng.integers(1, 60, 60)]
    bodies = [body for body in bodies if not opens(body, d, context)]
    assert len(bodies) > 40
    for body in bodies:
        (answer,) = forged(whole, 3, body)
        assert answer.code in (Reason.WRONG_LAYOUT, Reason.UNKNOWN_CODEC, Reason.TOO_LARGE, Reason.NON_FINITE)
    counts = whole.rejected()
    assert sum(counts.values()) == len(bodies)
    assert set(counts) <= {"wrong-layout", "unknown-codec", "too-large", "non-finite"}
    assert [answer.code for answer in forged(whole, 3, good)] == [0]
    assert whole.run() == whole.model().digest


def opens(body: bytes, d: int, context: Context) -> bool:
    """Whether these bytes happen to be a body of hist after all."""
    try:
        open_body(body, d, context)
    except MalformedBody:
        return False
    return body[0] == hist.TAG


class TestNf4:
    OPTIONS: ClassVar[dict[str, Any]] = {"codec_up": "nf4", "codec_down": "q8", "rounds": 10, "cohorts": 1}

    def test_codebooks_rise_are_announced_and_survive(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, **self.OPTIONS)
        seen = []
        for round_ in range(10):
            whole.run(round_)
            assert whole.manifest().round == round_
            announced = whole.manifest().section(Section.CODEBOOKS)
            seen.append(0 if announced is None else announced[0])
            before = books(whole)
            whole.restart()
            assert books(whole) == before
            if announced is not None:
                assert before is not None
                assert announced == before.serialize()
                assert len(announced) <= 59
                assert [each.version for each in before.known] == list(range(before.version - 1, -1, -1))
        assert seen == [0, 1, 2, 2, 3, 3, 3, 3, 4, 4]
        assert whole.run() == whole.simulation().model_digest()

    def test_a_late_update_with_older_codebooks_is_read(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, **self.OPTIONS | {"closing": closing(quorum=3)})
        whole.run(0)
        late = whole.late(1)
        whole.run(5)
        whole.release(late)
        body = whole.body(late, 1)
        assert body is not None
        assert (body[1], books(whole).version) == (1, 3)  # type: ignore[union-attr]
        whole.restart()
        whole.run()
        receipt = whole.receipt(late, 1)
        assert receipt is not None
        assert receipt.sealed_in == 6
        assert whole.rejected() == {}


def books(whole: Whole) -> Any:
    with whole.store.read() as db:
        stored = states.get(db, 1)
    assert stored is not None
    return stored_codebooks(stored.state)


class TestEf21:
    @pytest.mark.parametrize("spec", ["ef21", "ef21-sgdm:0.3"])
    def test_the_sum_is_that_of_all_devices_also_after_a_drop(self, tmp_path: Path, spec: str) -> None:
        options = {"memory": spec, "codec_up": "ternary:0.1", "rounds": 9, "cohorts": 2}
        whole = Whole(tmp_path, **options | {"closing": closing(quorum=1, max_lag=0)})
        for round_ in (3, 6):
            whole.run(round_ - 1)
            late = whole.late(round_)
            whole.run(round_ + 1)
            whole.release(late)
            assert whole.receipt(late, round_) is None
            whole.restart()
        whole.run()
        method, d = memory(spec), whole.model().weights.size
        total = np.zeros(d, np.int64)
        for device in whole.devices:
            assert device.store is not None
            state = device.store.residual(1)
            if state is not None:
                total += from_bytes(state, method, d)[-1]
        np.testing.assert_array_equal(total, summed(whole).total)
        assert total.any()

    def test_what_no_device_can_remember_is_refused(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, memory="ef21", codec_up="fp32", rounds=3, cohorts=1)
        whole.sleep(3)
        whole.turn()
        d = whole.model().weights.size
        huge = codec("fp32").encode(np.full(d, 5000.0, np.float32), seed=0)
        assert [answer.code for answer in forged(whole, 3, huge)] == [Reason.TOO_LARGE]
        whole.wake()
        whole.run(1)
        assert np.abs(summed(whole).total).max() < 4 << 20

    @pytest.mark.parametrize(
        "changes",
        [{"rule": "median"}, {"codec_up": "hist:20"}, {"codec_up": "auto", "codec_down": "auto"},
         {"device_choice": True}, {"codec_up": "randk:0.1/fp16"}],
        ids=str,
    )  # fmt: skip
    def test_what_it_cannot_go_with_is_refused_when_the_job_is_made(
        self, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigError, match="ef21"):
            Whole(tmp_path, **{"memory": "ef21", "codec_up": "ternary:0.1"} | changes)


def summed(whole: Whole) -> ServerMemory:
    with whole.store.read() as db:
        stored = states.get(db, 1)
    assert stored is not None
    import cbor2

    return ServerMemory.from_bytes(cbor2.loads(stored.state)[3], whole.model().weights.size)


FAST = {"bytes_per_second": 1_000_000, "metered": False}
SLOW = {"bytes_per_second": 2500, "metered": True}


class TestChoice:
    OPTIONS: ClassVar[dict[str, Any]] = {"codec_up": "auto", "codec_down": "auto", "rounds": 4, "cohorts": 1}

    def test_devices_choose_by_their_link_and_all_count(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, links={0: FAST, 1: SLOW}, **self.OPTIONS)
        whole.run(0)
        assert whole.manifest().section(Section.CHOICE) == b""
        bodies = [whole.body(index, 0) for index in range(4)]
        tags = [REGISTRY.method(spec).tag for spec in ("rot4:ls", "ternary:0.1", "ternary:0.1", "ternary:0.1")]
        assert [body[0] for body in bodies if body is not None] == tags
        assert whole.settings.codec_up.startswith("ternary:")
        whole.run()
        assert whole.rejected() == {}
        receipts = [whole.receipt(index, round_) for index in range(4) for round_ in range(4)]
        assert all(each is not None and each.sealed_in == each.round + 1 for each in receipts)

    def test_another_codec_is_refused_and_named(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, **self.OPTIONS)
        whole.sleep(3)
        whole.turn()
        d = whole.model().weights.size
        hist_tag = bytes([REGISTRY.method("hist:20").tag])
        for body in (codec("sign").encode(np.ones(d, np.float32), seed=0), hist_tag + bytes(9)):
            assert [answer.code for answer in forged(whole, 3, body)] == [Reason.UNKNOWN_CODEC]
        assert whole.rejected() == {"unknown-codec": 2}

    def test_without_choice_no_other_codec_is_taken(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, links={0: FAST}, codec_up="ternary:0.1", codec_down="ternary:0.1", cohorts=1)
        whole.turn()
        body = whole.body(0, 0)
        assert body is not None
        assert body[0] == REGISTRY.method("ternary:0.1").tag
        whole.sleep(0)


class TestAdaptive:
    OPTIONS: ClassVar[dict[str, Any]] = {"rounds": 12, "cohorts": 1, "fit": FitSettings(local_epochs=5, adaptive=True)}

    def test_the_state_survives_restarts_and_stays_within_the_bound(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, **self.OPTIONS)
        states_ = set()
        for round_ in range(1, 13):
            whole.run(round_)
            device = whole.devices[0]
            assert device.store is not None
            states_.add(device.store.epochs(1))
            whole.sleep(0)
            device.boot()
            whole.wake()
        trained = [epochs for trainer in whole.trainers for epochs in trainer.epochs]
        assert set(trained) <= set(range(1, 6))
        assert whole.trainers[0].epochs[0] == 2  # half of the bound
        assert len(set(whole.trainers[0].epochs)) > 1
        assert len(states_) > 6
        assert whole.rejected() == {}

    def test_a_fit_repeated_after_a_power_cut_gives_the_same_bits(self, tmp_path: Path) -> None:
        whole = Whole(tmp_path, **self.OPTIONS)
        whole.run(3)
        late = whole.late(4)
        whole.run(4)
        device = whole.devices[late]
        assert device.hold_training
        order = device.hold_training[-1]
        answers: list[Sequence[dict[str, Any]]] = []
        for _ in range(3):
            assert device.store is not None
            fields = fit_fields(device.settings, device.store, order, secret=bytes(32))
            answers.append(list(work.fit(whole.trainers[late], fields)))
            device.boot()  # killed before the update was posted
        bodies = [next(a for a in given if a["type"] == "update") for given in answers]
        assert len({each["body"] for each in bodies}) == len({each["if_counted"] for each in bodies}) == 1
        wanted = {json.loads(each["epochs"])["wanted"] for each in bodies}
        assert len(wanted) == 1


def test_settings_of_a_job_without_options_are_as_they_were() -> None:
    plain = JobSettings("x", 1, "t", seed=1, rounds=1)
    assert (plain.memory, plain.device_choice, plain.fit.adaptive, plain.cycle) == ("ef14", False, False, 0)


def fetched_first(whole: Whole, index: int) -> Kind | None:
    """What the device's first training began with."""
    way = whole.orders[index][0].way
    return None if way is None else way.kind


def test_a_device_that_is_never_heard_holds_the_cache_up_until_it_is_revoked(tmp_path: Path) -> None:
    whole = Whole(
        tmp_path, rule="cache:0.5+trimmed-mean:1", memory="momentum:0.5", codec_up="rot1", rounds=12, cohorts=1,
        closing=closing(deadline_seconds=5.0),
    )  # fmt: skip
    whole.sleep(2)
    first = whole.model().digest
    for _ in range(4):
        whole.turn(10.0)
    assert whole.model().digest == first
    with whole.store.write() as db:
        devices.revoke(db, "d2")
    for _ in range(4):
        whole.turn(10.0)
    assert whole.model().digest != first
