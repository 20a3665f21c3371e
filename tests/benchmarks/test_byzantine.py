"""The table of rules under attack in a quick form: two rounds, two rules; and the parts its setting is made of."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import byzantine
from benchmarks import byzantine_runs as runs
from benchmarks.byzantine_report import Records, columns, means, worst
from gossamer.agent.trainer import NumpyTrainer
from gossamer.aggregator.attacks import ATTACKS, attack
from gossamer.aggregator.rules import rule
from gossamer.demo.models import MLP

QUICK = runs.Training(rounds=2)


@pytest.fixture(autouse=True)
def toy_fleet(monkeypatch: pytest.MonkeyPatch) -> list[NumpyTrainer]:
    """Two features, three classes, in the place of the images that the benchmark fetches."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((runs.CLASSES, 4)).astype(np.float32) * 2
    trainers = []
    for _ in range(runs.DEVICES):
        y = rng.integers(0, runs.CLASSES, 40)
        x = centres[y] + rng.standard_normal((40, 4)).astype(np.float32) * 0.3
        trainers.append(NumpyTrainer(MLP(4, 8, runs.CLASSES), x, y, (x, y)))
    monkeypatch.setattr(runs, "fleet", lambda _seed: list(trainers))
    return trainers


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, plot = tmp_path / "byzantine.json", tmp_path / "byzantine.png"
    arguments = ["--rules", "mean,clipped-differences:0.3", "--attacks", "none,sign-flip", "--seeds", "0,1"]
    arguments += ["--rounds", "2", "--codecs", "dense,rot1", "--workers", "1", "--json", str(out), "--plot", str(plot)]
    assert byzantine.main(arguments) == 0
    records = json.loads(out.read_text())
    assert len(records) == 2 * 2 * 2 * 2
    for record in records:
        assert set(record) == {"rule", "attack", "codec", "seed", "accuracy", "rounds"}
        assert 0 <= record["accuracy"] <= 1
    printed = capsys.readouterr()
    assert "| clipped-differences:0.3 |" in printed.out
    assert "16/16" in printed.err
    assert plot.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(byzantine, "run", None)  # what is there is not made again
    assert byzantine.main(arguments) == 0
    assert json.loads(out.read_text()) == records
    assert "16 of 16 runs are there already" in capsys.readouterr().err
    assert byzantine.main([*arguments, "--seeds", "0,1,2", "--report"]) == 0  # nor what is missing
    assert "16 of 24 runs are there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--rules", "foo"], ["--attacks", "foo"], ["--attacks", "adaptive:foo"], ["--codecs", "foo"]]
)
def test_unknown_names_are_refused_before_anything_runs(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert byzantine.main(arguments) == 2
    assert "foo" in capsys.readouterr().err


def test_every_attack_that_an_update_can_carry_is_a_column_and_every_rule_a_rule() -> None:
    assert {name for name in byzantine.ATTACKS if not name.startswith("adaptive:")} == set(ATTACKS) - {
        "nan",
        "oversized",
    }
    for name in byzantine.ATTACKS:
        assert attack(name).name == name
    for spec in byzantine.RULES:
        assert rule(spec).spec.startswith(spec.split(":")[0])
    assert len(byzantine.planned(byzantine.parsed([]))) == (13 * 3 + 1) * 15 * 3


def test_one_cohort_is_outvoted_and_the_fleet_is_not() -> None:
    cohorts = [range(k * runs.COHORT, (k + 1) * runs.COHORT) for k in range(runs.COHORTS)]
    hostile = [len(set(cohort) & set(runs.ATTACKERS)) for cohort in cohorts]
    assert hostile == [3, 0, 1, 0, 0]


@pytest.mark.parametrize("codec", runs.CODECS)
@pytest.mark.parametrize("name", byzantine.ATTACKS)
def test_every_attack_runs_with_every_codec_and_repeats(name: str, codec: str) -> None:
    what = runs.Run("clipped-differences:0.3", name, codec, 1, replace(QUICK, rounds=6))
    assert runs.run(what) == runs.run(what)


@pytest.mark.parametrize("spec", byzantine.RULES)
def test_every_rule_runs_and_learns_where_nobody_lies(spec: str) -> None:
    what = runs.Run(spec, "none", "sign+residual", 0, runs.Training(rounds=40, batch_size=8))
    job = runs.Job(what, runs.fleet(0))
    before = job.accuracy()
    assert runs.run(what)["accuracy"] > before + 0.1


def test_a_lie_is_in_what_attackers_send_and_nobody_else() -> None:
    honest, lying = (
        runs.Job(runs.Run("mean", name, "dense", 0, QUICK), runs.fleet(0)) for name in ("none", "sign-flip")
    )
    seen: dict[str, dict[int, np.ndarray]] = {}
    for name, job in (("none", honest), ("sign-flip", lying)):
        whole = job.rule

        def watched(state, updates, *, name=name, apply=whole.apply):
            seen[name] = {item.index: item.body.read(0, updates.d) for item in updates.items}
            return apply(state, updates)

        job.rule = type("Watched", (), {"apply": staticmethod(watched)})()
        job.step(0)
    for index in range(runs.COHORT):
        sign = -1 if index in runs.ATTACKERS else 1
        np.testing.assert_allclose(seen["sign-flip"][index], sign * seen["none"][index], atol=1e-6)


def test_replay_and_wrong_labels_are_the_attackers_own(toy_fleet: list[NumpyTrainer]) -> None:
    job = runs.Job(runs.Run("mean", "label-flip", "dense", 0, QUICK), toy_fleet)
    for index, trainer in enumerate(toy_fleet):
        wrong = 9 - trainer.y if index in runs.ATTACKERS else trainer.y
        assert np.array_equal(job.trainers[index].y, wrong)
    job = runs.Job(runs.Run("mean", "replay", "dense", 0, QUICK), toy_fleet)
    job.step(0)
    first = {index: delta.copy() for index, delta in job.firsts.items()}
    job.step(5)
    assert set(first) == {0, 1, 2}
    assert all(np.array_equal(job.firsts[index], first[index]) for index in first)


def test_the_root_of_trust_has_every_class(toy_fleet: list[NumpyTrainer]) -> None:
    root = runs.root_of_trust(toy_fleet, 3)
    assert np.bincount(root.y, minlength=runs.CLASSES).tolist() == [runs.ROOT_EACH] * runs.CLASSES
    job = runs.Job(runs.Run("fltrust:20", "none", "dense", 0, QUICK), toy_fleet)
    assert len(job.trainers) == runs.DEVICES + 1


def test_smoothing_is_that_of_the_cache() -> None:
    smoothing = runs.Smoothing.of("cache:0.5+median")
    ones = np.ones(2, dtype=np.float32)
    assert smoothing.smoothed(4, 1, ones).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(smoothing.smoothed(4, 6, ones), 0.9**5 * 0.5 + 0.5, rtol=1e-6)
    assert runs.Smoothing.of("nnm:1+median").smoothed(4, 1, ones) is ones


def test_pooled_images() -> None:
    x = np.zeros((1, 784), dtype=np.float32)
    x[0, [0, 1, 28]] = 1, 2, 5  # three of the first square
    assert runs.pooled(x)[0, :2].tolist() == [2, 0]
    assert runs.pooled(x).shape == (1, 196)


def test_the_worst_is_known_only_when_all_are() -> None:
    rows = [
        {"rule": "r", "attack": name, "codec": "c", "seed": seed, "accuracy": value, "rounds": 1}
        for name, values in {"none": (0.9, 0.8), "alie": (0.5, 0.7)}.items()
        for seed, value in enumerate(values)
    ]
    table = means(rows, "c")["r"]
    assert table == pytest.approx({"none": 0.85, "alie": 0.6})
    assert worst(table, ["alie"]) == pytest.approx(0.6)
    assert math.isnan(worst(table, ["alie", "gaussian"]))
    assert columns(rows, ["gaussian", "alie"]) == ["none", "alie"]


def test_records_without_a_file() -> None:
    records = Records(None)
    records.put({"rule": "r", "attack": "a", "codec": "c", "seed": 0, "accuracy": 1.0, "rounds": 2})
    assert records.keys() == {("r", "a", "c", 0, 2)}
