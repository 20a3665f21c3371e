"""The pure parts: seal, cohort and manifests."""

import random

import numpy as np
import pytest

from gossamer.aggregator.cohort import Arrived, Close, Watch, closes, counting_round, fleet_size
from gossamer.aggregator.manifests import Model, build_manifest, choose_ways, signed_round
from gossamer.aggregator.rules import Update
from gossamer.aggregator.rules.updates import Dense
from gossamer.aggregator.seal import TARGET_LIMIT, EngineState, seal
from gossamer.aggregator.store.jobs import JobRow
from gossamer.aggregator.store.jobs import JobState as RowState
from gossamer.aggregator.store.rounds import RoundRow, RoundState
from gossamer.compression.lattice import digest, from_lattice, to_lattice
from gossamer.compression.objects import apply_delta, decode_snapshot, step_of
from gossamer.compression.shared import SharedModel
from gossamer.methods.base import Memory, Vector, View
from gossamer.methods.fedavg import FedAvg
from gossamer.wire.codes import JobState, Kind, UpdateSection
from gossamer.wire.items import encode
from gossamer.wire.limits import MAX_ROUND_BYTES
from tests.aggregator.fleets import FLEET_KEY, closing, job_settings

D = 500


def updates(seed: int, n: int = 5, scale: float = 0.02) -> list[Update]:
    rng = np.random.default_rng(seed)
    return [Update(i, Dense(rng.normal(0.01, scale, D).astype(np.float32)), 10 + i) for i in range(n)]


class TestSeal:
    @pytest.mark.parametrize("down", ["fp32", "q8", "rot1:ls", "sign", "ternary:0.05", "topk:0.1/q4"])
    @pytest.mark.parametrize("rule", ["mean", "clipped-differences"])
    def test_any_order_gives_the_same_bits(self, down: str, rule: str) -> None:
        settings = job_settings(codec_down=down, rule=rule, server_step="fedavgm:0.5/0.5")
        found = set()
        for shuffle in range(3):
            state = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
            for round_ in range(3):
                given = updates(round_)
                random.Random(shuffle).shuffle(given)
                result = seal(state, given, settings, devices=4)
                # Over the store and back, as every restart does.
                after = result.state
                state = EngineState.restore(settings, after.version, after.model, after.target, after.memories())
            found.add((result.digest, result.step, digest(state.target)))
        assert len(found) == 1
        assert state.version == 3

    @pytest.mark.parametrize("down", ["q8", "rot1:ls", "ternary:0.1", "topk:0.1/q4"])
    def test_nothing_is_lost_on_the_way_down(self, down: str) -> None:
        """Without new updates the shared model closes in on the target, step by step."""
        settings = job_settings(codec_down=down)
        start = EngineState.initial(settings, SharedModel.plain(np.zeros(D, np.int32)))
        state = seal(start, updates(1), settings, devices=4).state
        quiet = [Update(0, Dense(np.zeros(D, dtype=np.float32)))]
        for _ in range(60):
            state = seal(state, quiet, settings, devices=4).state
        left = np.linalg.norm(from_lattice(state.target - state.shared))
        assert left < 0.02 * np.linalg.norm(from_lattice(state.target))

    def test_a_step_is_what_every_device_adds(self) -> None:
        settings = job_settings(codec_down="ternary:0.05")
        before = EngineState.initial(settings, SharedModel.plain(to_lattice(np.linspace(-1, 1, D))))
        result = seal(before, updates(3), settings, devices=4)
        assert np.array_equal(before.shared + step_of(result.step, D), result.state.shared)
        assert result.digest == digest(result.state.shared)

    def test_a_diverging_job_stays_on_the_lattice(self) -> None:
        settings = job_settings(codec_down="sign", server_step="fedavg:100")
        state = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
        for round_ in range(8):
            result = seal(state, updates(round_, scale=300.0), settings, devices=4)
            state = result.state
        assert result.saturated > 0
        assert int(np.abs(state.target.astype(np.int64)).max()) <= TARGET_LIMIT

    @pytest.mark.parametrize("down", ["fp32", "q8", "rot1:ls", "sign", "ternary:0.05", "topk:0.1/q4"])
    @pytest.mark.parametrize("rule", ["mean", "median", "trimmed-mean:1", "clipped-differences", "norm-clip"])
    def test_no_updates_move_nothing_but_the_version(self, down: str, rule: str) -> None:
        settings = job_settings(rule=rule, codec_down=down, server_step="fedavgm:0.5/0.5")
        start = EngineState.initial(settings, SharedModel.plain(to_lattice(np.linspace(-1, 1, D))))
        result = seal(start, [], settings, devices=4)
        assert result.report.shortfall
        assert (result.state.version, result.digest) == (1, digest(start.shared))
        assert np.array_equal(result.state.target, start.target)
        assert result.state.memories() == start.memories()

    def test_nothing_usable_moves_nothing_but_the_version(self) -> None:
        settings = job_settings(rule="trimmed-mean:1", codec_down="fp32")
        start = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
        result = seal(start, updates(1, n=1), settings, devices=4)
        assert result.report.shortfall
        assert result.state.version == 1
        assert not result.state.shared.any()

    def test_a_method_is_told_the_round_that_it_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What devices did in it follows from its number: minibatches, local iterations, whether it was full."""
        told: list[View] = []

        class Told(FedAvg):
            steps = True

            def clip(self, memory: Memory, view: View) -> float | None:
                told.append(view)
                return None

            def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
                told.append(view)
                return np.zeros_like(view.target), memory

        monkeypatch.setattr("gossamer.aggregator.seal.method", lambda _: Told())
        settings = job_settings(participation="marina", cohorts=3)
        state = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
        for round_ in range(6):
            state = seal(state, updates(round_, n=4), settings, devices=7).state
        schedule = settings.schedule(7)
        for place, view in enumerate(told):
            assert (view.round, view.full) == (place // 2, schedule.is_full(place // 2))
            assert (view.devices, view.counted, view.cohorts, view.seed) == (7, 4, 3, settings.seed)
        assert len(told) == 12
        assert {view.full for view in told} == {True, False}

    def test_updates_longer_than_a_methods_radius_are_cut_to_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Cutting(FedAvg):
            equal = True

            def clip(self, memory: Memory, view: View) -> float | None:
                return 0.5

        monkeypatch.setattr("gossamer.aggregator.seal.method", lambda _: Cutting())
        settings = job_settings(codec_down="fp32")
        start = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
        long, short = np.zeros(D, dtype=np.float32), np.zeros(D, dtype=np.float32)
        long[0], short[1] = 100.0, -0.25
        result = seal(start, [Update(0, Dense(long)), Update(1, Dense(short))], settings, devices=4)
        assert from_lattice(result.state.target)[:3].tolist() == [0.25, -0.125, 0.0]
        assert [verdict.norm for verdict in result.report.verdicts] == [0.5, 0.25]

    @pytest.mark.parametrize(("said", "weight"), [(1536, 1536), (None, 1024)])
    def test_a_difference_counts_with_the_weight_that_its_header_says(self, said: int | None, weight: int) -> None:
        settings = job_settings(memory="ef21-w:1.0", codec_down="fp32")
        start = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
        sections = () if said is None else ((int(UpdateSection.WEIGHT), encode(said)),)
        sent = Update(0, Dense(np.full(D, 0.5, dtype=np.float32)), sections=sections)
        moved = from_lattice(seal(start, [sent], settings, devices=4).state.target)
        np.testing.assert_allclose(moved, 0.5 * weight / 1024 / 4, rtol=1e-6)

    def test_a_punctual_method_never_sees_what_was_carried_on(self) -> None:
        """A change of an earlier step would be taken for a gradient, or for a change of this step."""
        settings = job_settings(
            method="marina:2.0/0.5", participation="marina", codec_up="fp32", codec_down="fp32",
            closing=closing(max_lag=0),
        )  # fmt: skip
        start = EngineState.initial(settings, SharedModel.plain(np.zeros(2 * D, dtype=np.int32)))
        mine = [Update(0, Dense(np.full(D, 0.25, dtype=np.float32)))]
        late = Update(1, Dense(np.full(D, -8.0, dtype=np.float32)), lag=1)
        assert seal(start, [*mine, late], settings, devices=4).digest == seal(start, mine, settings, devices=4).digest

    @pytest.mark.parametrize("silent", [0, 1, 2])
    def test_a_cycle_is_amplified_whichever_of_its_rounds_was_silent(self, silent: int) -> None:
        """Three rounds a cycle: the target moves by A times the cycle's sum, then the next begins anew."""
        settings = job_settings(codec_down="fp32", cohorts=3, server_step="fedavg+amplify:2.5")
        state = EngineState.initial(settings, SharedModel.plain(np.zeros(D, dtype=np.int32)))
        for round_ in range(4):
            moved = np.full(D, 0.125 * (round_ + 1), dtype=np.float32)
            given = [] if round_ == silent else [Update(0, Dense(moved))]
            result = seal(state, given, settings, devices=4)
            state = EngineState.restore(
                settings, result.state.version, result.state.model, result.state.target, result.state.memories()
            )
            if round_ == 2:
                cycle = sum(0.125 * (each + 1) for each in range(3) if each != silent)
                assert np.array_equal(from_lattice(state.target), np.full(D, 2.5 * cycle, np.float32))
        assert np.array_equal(from_lattice(state.target), np.full(D, 2.5 * cycle + 0.5, np.float32))


class TestCohort:
    @pytest.mark.parametrize(
        ("round_", "enrolled", "previous", "expected"),
        [(0, 4, None, 4), (0, 1, None, None), (1, 9, 4, 4), (2, 9, 4, 9), (3, 12, 9, 9)],
    )
    def test_fleet_size(self, round_: int, enrolled: int, previous: int | None, expected: int | None) -> None:
        assert fleet_size(job_settings(cohorts=2), round_, enrolled, previous) == expected

    def test_the_fleet_of_some_methods_stays_as_it_was(self) -> None:
        settings = job_settings(cohorts=2, method="locodl:0.5/1.0/0.1/1.0")
        assert fleet_size(settings, 0, 4, None) == 4
        assert fleet_size(settings, 2, 9, 4) == 4

    @pytest.mark.parametrize(
        ("change", "arrived", "waited", "expected"),
        [
            ({}, Arrived(4, 0, 4, 4), 0.0, Close.COUNTING),
            ({}, Arrived(3, 0, 4, 4), 0.0, Close.NOT_YET),
            ({}, Arrived(3, 5, 4, 4), 0.0, Close.NOT_YET),
            ({}, Arrived(3, 0, 4, 4), 3600.0, Close.COUNTING),
            ({}, Arrived(0, 0, 4, 4), 3599.0, Close.NOT_YET),
            ({}, Arrived(0, 0, 4, 4), 3600.0, Close.EMPTY_HANDED),
            ({}, Arrived(0, 0, 4, 4, last=True), 3600.0, Close.EMPTY_HANDED),
            ({}, Arrived(0, 1, 4, 4), 3600.0, Close.COUNTING),
            ({}, Arrived(0, 0, 0, 4), 0.0, Close.EMPTY_HANDED),
            ({}, Arrived(0, 1, 0, 4), 0.0, Close.COUNTING),
            ({}, Arrived(0, 0, 0, 0), 9e9, Close.NOT_YET),
            ({"quorum": 2}, Arrived(2, 0, 4, 4), 0.0, Close.COUNTING),
            ({"quorum": 9}, Arrived(4, 0, 4, 4), 0.0, Close.COUNTING),
            ({"quorum": 3}, Arrived(1, 2, 4, 4), 0.0, Close.NOT_YET),
            ({"quorum": 3}, Arrived(1, 2, 4, 4, buffered=True), 0.0, Close.COUNTING),
            ({"quorum": 3}, Arrived(0, 2, 4, 4, buffered=True), 0.0, Close.NOT_YET),
            ({"quorum": 3}, Arrived(0, 2, 4, 4, buffered=True), 3600.0, Close.COUNTING),
            ({}, Arrived(4, 0, 4, 4, rootless=True), 9e9, Close.NOT_YET),
            ({"quorum": 2}, Arrived(3, 0, 4, 4, last=True, rootless=True), 9e9, Close.NOT_YET),
            ({"minimum_updates": 3}, Arrived(2, 0, 4, 4), 3600.0, Close.EMPTY_HANDED),
            ({"minimum_updates": 3}, Arrived(2, 0, 4, 4, last=True), 3600.0, Close.COUNTING),
            ({"minimum_updates": 3}, Arrived(2, 1, 4, 4), 3600.0, Close.COUNTING),
            ({"at_deadline": "extend"}, Arrived(3, 0, 4, 4), 9e9, Close.NOT_YET),
            ({"at_deadline": "extend"}, Arrived(0, 0, 4, 4), 9e9, Close.NOT_YET),
            ({"at_deadline": "extend"}, Arrived(0, 0, 0, 4), 0.0, Close.EMPTY_HANDED),
        ],
    )
    def test_closes(self, change: dict[str, object], arrived: Arrived, waited: float, expected: Close) -> None:
        assert closes(closing(**change), 1, arrived, waited) is expected

    @pytest.mark.parametrize("at_deadline", ["seal", "extend"])
    def test_a_rule_needs_its_minimum(self, at_deadline: str) -> None:
        settings = closing(at_deadline=at_deadline)
        assert closes(settings, 3, Arrived(2, 0, 2, 2), 0.0) is Close.EMPTY_HANDED
        assert closes(settings, 3, Arrived(2, 0, 3, 3), 0.0) is Close.NOT_YET
        # Nothing follows in which they would count: it waits rather than lose them.
        assert closes(settings, 3, Arrived(2, 0, 2, 2, last=True), 9e9) is Close.NOT_YET

    @pytest.mark.parametrize(
        ("for_round", "state", "expected"),
        [
            (5, RoundState.OPEN, 5),
            (4, RoundState.OPEN, 5),
            (3, RoundState.OPEN, 5),
            (2, RoundState.OPEN, None),
            (5, RoundState.SEALING, 6),
            (3, RoundState.SEALING, None),
            (5, RoundState.SEALED, None),
        ],
    )
    def test_counting_round(self, for_round: int, state: RoundState, expected: int | None) -> None:
        settings = job_settings(rounds=7, closing=closing(max_lag=2))
        job = JobRow(1, "n", RowState.OPEN, "", "", 5, 0.0)
        latest = RoundRow(1, 5, 5, state, 4, 0.0, 0.0, None, None, None)
        assert counting_round(job, latest, settings, for_round) == expected

    def test_the_last_round_being_sealed_takes_nothing(self) -> None:
        job = JobRow(1, "n", RowState.OPEN, "", "", 5, 0.0)
        latest = RoundRow(1, 5, 5, RoundState.SEALING, 4, 0.0, 0.0, None, None, None)
        assert counting_round(job, latest, job_settings(rounds=6), 5) is None

    def test_the_watch_adds_small_steps_only(self) -> None:
        watch = Watch()
        assert watch.look(1, 0, 7.0, 100.0) == 7.0
        assert watch.look(1, 0, 7.0, 102.0) == 9.0
        assert watch.look(1, 0, 7.0, 1e9) == 9.0 + Watch.MAX_STEP_SECONDS
        assert watch.look(1, 0, 7.0, 0.0) == 9.0 + Watch.MAX_STEP_SECONDS
        assert watch.look(1, 1, 0.0, 1.0) == 0.0


class TestManifests:
    def history(self, versions: int) -> tuple[Model, list[bytes], list[np.ndarray]]:
        settings = job_settings(codec_down="ternary:0.02")
        state = EngineState.initial(settings, SharedModel.plain(to_lattice(np.linspace(-1, 1, D))))
        steps, lattices = [], [state.shared]
        for round_ in range(versions):
            result = seal(state, updates(round_), settings, devices=4)
            state = result.state
            steps.append(result.step)
            lattices.append(state.shared)
        return Model(versions, state.model), steps, lattices

    def test_ways_for_what_devices_hold(self) -> None:
        model, steps, lattices = self.history(9)
        held = {0: 1, 3: 5, 8: 7, 9: 100, 12: 1}
        offered = choose_ways(model, steps, held)
        assert [(o.from_version, o.kind) for o in offered] == [
            (0, Kind.SNAPSHOT),
            (8, Kind.DELTA),
            (3, Kind.DELTA),
            (0, Kind.DELTA),
        ]
        assert digest(decode_snapshot(offered[0].data, D)) == model.digest
        for each in offered[1:]:
            assert digest(apply_delta(lattices[each.from_version], each.data)) == model.digest
            assert len(each.data) < len(offered[0].data)

    def test_what_the_steps_do_not_reach_takes_the_snapshot(self) -> None:
        model, steps, _ = self.history(9)
        assert [o.from_version for o in choose_ways(model, steps[-3:], {0: 9, 5: 9, 6: 1})] == [0, 6]

    def test_a_manifest_fits_whatever_is_held(self) -> None:
        model, steps, _ = self.history(40)
        big = Model(2**40, model.shared)
        settings = job_settings(seed=2**63 - 1, codec_up="topk:0.0123/q4", job=2**31 - 1, rounds=2**31 - 1)
        for held in ({v: 40 - v for v in range(40)}, {}):
            offered = choose_ways(model, steps, held)
            manifest = build_manifest(
                settings, big, settings.schedule(10**6), round_=2**31 - 2, state=JobState.OPEN, deadline=2e9,
                key=FLEET_KEY, offered=offered,
            )  # fmt: skip
            assert manifest.ways[0].kind is Kind.SNAPSHOT
            assert len(signed_round(manifest, FLEET_KEY, "t")) <= MAX_ROUND_BYTES
        assert len(choose_ways(model, steps, {v: 40 - v for v in range(40)})) > 4

    def test_the_same_manifest_has_the_same_bytes(self) -> None:
        model, steps, _ = self.history(3)
        settings = job_settings()
        made = {
            signed_round(
                build_manifest(
                    settings, model, settings.schedule(4), round_=3, state=JobState.OPEN, deadline=5.0,
                    key=FLEET_KEY, offered=choose_ways(model, steps, {1: 1}),
                ),
                FLEET_KEY,
                "t",
            )
            for _ in range(3)
        }  # fmt: skip
        assert len(made) == 1
