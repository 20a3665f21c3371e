"""Methods, memories, schedules and objectives over the whole wire: real devices, codecs, bridge, store and engine.

What the oracles show in float64 is here on the lattice and in compressed bodies: the fleet makes the same bits as the
simulation in one process, and the simulation, which is fast, goes on until the model stands at the common optimum.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.agent.work import weights_of
from gossamer.aggregator.jobs import FitSettings, JobSettings
from gossamer.demo.simulate import Simulation
from gossamer.errors import ConfigError
from gossamer.methods import METHODS
from gossamer.wire.codes import Section
from tests.agent.device import PowerCut
from tests.aggregator.fleets import closing, job_settings
from tests.aggregator.whole import Drift, Whole
from tests.methods.scored import SCORED, fleet_of_scores

ALL = {"cohorts": 1, "closing": closing(at_deadline="extend", max_lag=0)}
HALF: dict[str, Any] = {"cohorts": 2}
PLAIN: dict[str, Any] = {"codec_up": "fp32", "codec_down": "fp32"}
MARINA = HALF | {
    "method": "marina:2.0/0.5", "participation": "marina", "codec_up": "rot4", "codec_down": "fp32",
    "closing": closing(max_lag=0),
}  # fmt: skip
IMPORTANT = HALF | {"participation": "importance", "codec_up": "rot4"}
FIT = FitSettings(learning_rate=0.1, local_epochs=3)

OVER_THE_WIRE: dict[str, dict[str, Any]] = {
    "fedprox": HALF | {"method": "fedprox:0.5", "codec_up": "ternary:0.1"},
    "feddyn": HALF | {"method": "feddyn:1.0", "codec_up": "ternary:0.3"},
    "fednova": HALF | {"method": "fednova", "codec_up": "ternary:0.1"},
    "scallion": HALF | {"method": "scallion:0.5/0.3", "codec_up": "q4s", "codec_down": "q8"},
    "scafcom": HALF | {"method": "scafcom:0.5/0.3", "codec_up": "topk:0.3/q4", "codec_down": "q8"},
    "scafflix": ALL | PLAIN | {"method": "scafflix:0.7/0.5/1.0/2"},
    "locodl": HALF | PLAIN | {"method": "locodl:0.5/1.0/0.1/1.0", "codec_up": "rot4"},
    "marina": MARINA,
    "bicolor": ALL | {"method": "bicolor:1.0/0.5/0.02/0.02", "codec_up": "rot4", "codec_down": "rot4"},
    "normec": HALF | {"method": "normec:0.1/0.1/0.5", "codec_up": "rot2", "codec_down": "q8"},
    "ef21-w": HALF | {"memory": "ef21-w:2.0", "codec_up": "topk:0.3/q4"},
    "momentum": HALF | {"memory": "momentum:0.5", "rule": "cache:0.5+trimmed-mean:1", "codec_up": "rot1"},
    "fixed": HALF | {"participation": "fixed"},
    "amplified": HALF | {"server_step": "fedavg:1.0+amplify:2.0"},
    "uniform": HALF | {"participation": "uniform"},
    "fedyogi": HALF | {"server_step": "fedyogi:0.01"},
    "fedadam": HALF | {"server_step": "fedadam:0.01"},
    "sign-majority": HALF | {"rule": "sign-majority", "codec_up": "rot1", "server_step": "fedavg:0.1"},
    "clipped-differences": HALF | {"rule": "clipped-differences", "codec_up": "rot1"},
    "fltrust": HALF | {"rule": "fltrust:1", "codec_up": "rot2"},
    "private": HALF
    | {
        "codec_up": "rot1",
        "privacy": {"epsilon": 50.0, "delta": 1e-3, "clip_norm": 1.0},
        "rounds": 4,
    },
}


def settings_of(changes: dict[str, Any], **more: Any) -> JobSettings:
    table = {**job_settings().to_mapping(), "fit": FIT, **changes, **more}
    return JobSettings.from_mapping(table)


def changes_of(settings: JobSettings) -> dict[str, Any]:
    """What `Whole` is told of a job."""
    own = ("name", "job", "fleet", "seed")
    return {key: getattr(settings, key) for key in JobSettings.__slots__ if key not in own}


def test_every_method_is_here() -> None:
    named = {str(each.get("method", "fedavg")).partition(":")[0] for each in OVER_THE_WIRE.values()}
    assert named == set(METHODS)


@pytest.mark.parametrize("name", OVER_THE_WIRE)
def test_the_fleet_is_the_simulation_to_the_bit(tmp_path: Path, name: str) -> None:
    wanted = settings_of({"rounds": 6, **OVER_THE_WIRE[name]})
    whole = Whole(tmp_path, size=4, **changes_of(wanted))
    digest = whole.run()
    assert whole.rejected() == {}
    if name != "private":  # its noise is made of a secret that the simulation does not have
        assert digest == whole.simulation().model_digest()


BUDGET = {"epsilon": 8.0, "delta": 1e-5, "clip_norm": 1.0}


@pytest.mark.parametrize("objective", ["auc-minimax:0.2", "pairwise", "cross-entropy"])
def test_objectives_learn_over_the_wire_as_in_the_simulation(tmp_path: Path, objective: str) -> None:
    """What goes up and down beside the model travels in signed sections; the fleet makes the simulation's bits."""
    changes = SCORED | {"objective": objective}
    whole = Whole(tmp_path, trainers=fleet_of_scores(4), **changes)
    first = whole.trainers[0].evaluate(work_weights(whole))["auc"]
    digest = whole.run()
    simulation = Simulation(whole.wanted, fleet_of_scores(4))
    list(simulation.rounds(whole.trainers[0]))
    assert digest == simulation.model_digest()
    assert whole.trainers[0].evaluate(work_weights(whole))["auc"] > max(0.8, first)
    sections = whole.manifest()
    assert (sections.section(Section.DUAL) is not None) == (objective == "auc-minimax:0.2")
    assert (sections.section(Section.SCORES) is not None) == (objective == "pairwise")


def work_weights(whole: Whole) -> Any:
    return weights_of(whole.model(), whole.settings.method)


def test_importance_sampling_over_the_wire(tmp_path: Path) -> None:
    """Devices decide alone; about as many send as were asked for; what was not drawn is not kept."""
    wanted = settings_of({"rounds": 12, "cohorts": 3, "participation": "importance", "codec_up": "rot4"})
    whole = Whole(tmp_path, size=6, rounds=12, cohorts=3, participation="importance", codec_up="rot4",
                  fit=wanted.fit, closing=closing(deadline_seconds=5.0, max_lag=0))  # fmt: skip
    for _ in range(40):
        whole.turn(10.0)
    assert whole.manifest().round == 12
    sent = sum(whole.receipt(device, round_) is not None for device in range(6) for round_ in range(12))
    assert 12 <= sent <= 40  # 24 on average
    assert whole.rejected() == {}
    assert whole.manifest().section(Section.THRESHOLD) is not None
    assert whole.manifest().digest == whole.simulation().model_digest()
    goals = [np.mean([t.goal[k] for t in whole.trainers], axis=0) for k in range(4)]
    start = whole.trainers[0].initial(whole.settings.seed)
    before, after = (
        sum(float(np.square(a - b).sum()) for a, b in zip(each, goals, strict=True))
        for each in (start, work_weights(whole))
    )
    assert after < 0.1 * before


@pytest.mark.parametrize("name", ["scafcom", "feddyn", "ef21-w", "momentum"])
def test_power_cuts_and_restarts_change_no_bit_of_what_both_sides_remember(tmp_path: Path, name: str) -> None:
    """Every device loses power after a number of actions drawn anew each time, the server is killed every round."""
    wanted = settings_of({"rounds": 6, **OVER_THE_WIRE[name]})
    whole = Whole(tmp_path, size=4, **changes_of(wanted))
    rng = np.random.default_rng(7)
    for index in range(4):
        _fails_now_and_then(whole, index, rng)
    last = -1
    for _ in range(2000):
        whole.turn()
        if whole.manifest().round != last:
            last = whole.manifest().round
            whole.restart()
            whole.connected.clear()
        if last == wanted.rounds:
            break
    assert whole.manifest().digest == whole.simulation().model_digest()
    assert sum(device.cuts for device in whole.devices) > 10  # type: ignore[attr-defined]


def _fails_now_and_then(whole: Whole, index: int, rng: np.random.Generator) -> None:
    """Let a device boot anew, from what its disk has, whenever its fuse burns down."""
    device: Any = whole.devices[index]
    run = device.run
    device.cuts = depth = 0
    device.fuse = int(rng.integers(1, 12))

    def cut_short(actions: Any) -> None:
        nonlocal depth
        depth += 1
        try:
            run(actions)
        except PowerCut:
            if depth > 1:
                raise  # nothing of what was under way goes on
            device.cuts, depth = device.cuts + 1, 0
            device.boot()
            device.fuse = int(rng.integers(1, 12)) if device.cuts < 12 else -1
            whole.connected.discard(index)
        finally:
            depth = max(0, depth - 1)

    device.run = cut_short


def test_no_round_closes_without_the_root_of_trust(tmp_path: Path) -> None:
    """Or what the others were told is counted would be lost to the model, and to their residuals."""
    whole = Whole(
        tmp_path, size=4, cohorts=2, rounds=4, rule="fltrust:1", closing=closing(deadline_seconds=5.0, quorum=1)
    )
    whole.turn()  # round 0 opens, and everybody sends
    whole.sleep(1)
    for _ in range(4):
        whole.turn(10.0)
    assert whole.manifest().round == 1
    whole.wake()
    before = whole.model().digest
    whole.run(until=2)
    assert whole.model().digest != before


CONVERGING: dict[str, tuple[dict[str, Any], int, float]] = {
    "fedavg": (HALF | PLAIN | {"server_step": "fedavg:0.3"}, 200, 0.05),
    "feddyn": (HALF | PLAIN | {"method": "feddyn:1.0"}, 300, 1e-3),
    "scallion": (HALF | {"method": "scallion:0.5/0.3", "codec_up": "q4s", "codec_down": "fp32"}, 300, 1e-3),
    "scafcom": (HALF | {"method": "scafcom:1.0/0.3", "codec_up": "topk:0.3/q4", "codec_down": "fp32"}, 300, 1e-3),
    "marina": (MARINA, 40, 1e-3),
    "normec": (HALF | PLAIN | {"method": "normec:0.1/0.1/0.3", "fit": FitSettings(learning_rate=0.1)}, 250, 1e-3),
    "locodl": (ALL | PLAIN | {"method": "locodl:0.5/1.0/0.5/0.02", "codec_up": "rot4"}, 200, 1e-3),
    "bicolor": (ALL | {"method": "bicolor:1.0/0.5/0.02/0.02", "codec_up": "rot4", "codec_down": "rot4"}, 300, 0.02),
    "ef21, cohorts": (HALF | {"memory": "ef21", "codec_up": "topk:0.3/fp16", "server_step": "fedavg:0.2"}, 400, 1e-3),
    "ef21-w": (HALF | {"memory": "ef21-w:1.0", "codec_up": "topk:0.3/fp16", "server_step": "fedavg:0.2"}, 400, 1e-3),
}


@pytest.mark.parametrize("name", CONVERGING)
def test_it_stands_still_at_the_common_optimum(name: str) -> None:
    """As far as the lattice of 2^-20 and float32 training tell it from there."""
    changes, rounds, within = CONVERGING[name]
    trainers = [Drift(n, noise=0.0) for n in range(4)]
    simulation = Simulation(settings_of(changes, rounds=rounds), trainers)
    list(simulation.rounds(trainers[0]))
    goals = [np.mean([t.goal[k] for t in trainers], axis=0) for k in range(4)]
    found = weights_of(simulation.state.model, simulation.settings.method)
    apart = np.sqrt(sum(float(np.square(a - b).sum()) for a, b in zip(found, goals, strict=True)))
    spread = np.sqrt(sum(float(np.square(a - b).sum()) for a, b in zip(trainers[0].goal, goals, strict=True)))
    assert apart < within * spread


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "sgd"}, "choose one of"),
        ({"method": "scallion:0.5/0.1", "codec_up": "ternary:0.1"}, "unbiased codec_up"),
        ({"method": "feddyn:1.0", "memory": "ef21"}, "memory = 'ef14'"),
        ({"method": "marina:2.0/0.5", "participation": "marina", "codec_up": "rot4"}, "codec_down = 'fp32'"),
        ({"method": "marina:2.0/0.5", "participation": "marina"} | PLAIN, "max_lag = 0"),
        ({"method": "feddyn:1.0", "rule": "median"}, "rule 'mean'"),
        ({"memory": "momentum:0.5"}, "cache:0.5"),
        ({"rule": "cache:0.5+median", "memory": "momentum:0.25"}, "cache:0.25"),
        ({"method": "scafflix:0.7/0.5/1.0", "codec_up": "fp32", "closing": closing(max_lag=0)}, "every device"),
        ({"method": "scafcom:0.5/0.1", "codec_up": "hist:10", "codec_down": "hist:10"}, "other than hist"),
        ({"rule": "cache+median", "memory": "momentum:0.25"}, "cache:0.25"),
        (MARINA | {"rule": "clipped-differences"}, "without a memory"),
        (MARINA | {"rule": "bucketing:2+centered-clipping"}, "without a memory"),
        (IMPORTANT | {"rule": "fltrust:1"}, "participation than 'importance'"),
        (IMPORTANT | {"rule": "cache:0.5+median"}, "participation than 'importance'"),
        ({"participation": "anytime"}, "closing.quorum"),
        ({"participation": "importance", "codec_up": "ternary:0.1"}, "unbiased codec_up"),
        ({"participation": "marina"}, "'marina' in both"),
        ({"objective": "auc"}, "auc-minimax:P"),
        ({"privacy": BUDGET, "rule": "median"}, "rule 'mean'"),
        ({"privacy": BUDGET, "method": "fednova"}, "publish the model alone"),
    ],
)
def test_what_does_not_go_together_is_refused_when_the_job_is_made(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_of(changes)


def test_a_rule_that_leaves_its_parameter_out_is_checked_with_the_default() -> None:
    assert settings_of({"rule": "cache+median", "memory": "momentum:0.5"}).rule == "cache+median"
