"""From what is asked of a demo to its job, its directory and what is seen of it; without a process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gossamer.agent.config import load
from gossamer.agent.trainer import NumpyTrainer
from gossamer.agent.work import weights_of
from gossamer.aggregator.jobs import model_at
from gossamer.aggregator.store import Store, jobs
from gossamer.demo.options import DemoOptions
from gossamer.demo.reference import fp32_settings
from gossamer.demo.settings import DIGITS, ROBUST, UNBIASED, WATCH, DemoSettings, defaults_for
from gossamer.demo.watcher import Watcher
from gossamer.demo.workspace import Workspace, prepare, settled
from gossamer.errors import ConfigError
from tests.aggregator.whole import Drift, Whole

OPTIONS = DemoOptions(
    data="digits", seed=0, devices=10, cohorts=2, rounds=6, codec=DIGITS.codec, codec_down=DIGITS.codec_down,
    rule="mean", attackers=0, attack="none",
)  # fmt: skip


def test_what_is_tuned_for_what() -> None:
    assert defaults_for("watch", "mean") == WATCH
    assert defaults_for("digits", "auto") == DIGITS
    assert defaults_for("watch", "clipped-differences:1.0") == defaults_for("watch", "auto", attackers=1) == ROBUST
    assert defaults_for("digits", "mean", spec="scallion:0.5/0.3").codec == UNBIASED
    assert defaults_for("digits", "mean", participation="importance").codec == UNBIASED
    two_ways = defaults_for("digits", "mean", spec="bicolor:5.0/0.5/0.05/0.05")
    assert (two_ways.codec, two_ways.codec_down, two_ways.cohorts) == (UNBIASED, UNBIASED, 1)


CASES: dict[str, dict[str, Any]] = {
    "fedprox": {"method": "fedprox:0.1"}, "fednova": {"method": "fednova"}, "feddyn": {"method": "feddyn:0.1"},
    "scafcom": {"method": "scafcom:0.5/0.3"}, "scallion": {"method": "scallion:0.5/0.3"},
    "locodl": {"method": "locodl:0.2/5.0/0.5/0.05"}, "normec": {"method": "normec:0.1/0.1/0.5"},
    "scafflix": {"method": "scafflix:0.5/0.5/5.0"}, "bicolor": {"method": "bicolor:5.0/0.5/0.05/0.05"},
    "marina": {"method": "marina:2.0/0.3", "participation": "marina"},
    "fixed": {"participation": "fixed"}, "uniform": {"participation": "uniform"},
    "anytime": {"participation": "anytime"}, "importance": {"participation": "importance"},
    "private": {"epsilon": 8.0}, "adam": {"server_step": "fedadam:0.02"},
}  # fmt: skip


def tuned_for(changes: dict[str, Any]) -> tuple[DemoOptions, DemoSettings]:
    tuned = defaults_for(
        "digits", "mean", spec=changes.get("method", "fedavg"), participation=changes.get("participation", "reshuffled")
    )
    return replace(OPTIONS, codec=tuned.codec, codec_down=tuned.codec_down, cohorts=tuned.cohorts, **changes), tuned


@pytest.mark.parametrize("name", CASES)
def test_every_choice_makes_a_job_that_goes_together(name: str) -> None:
    options, tuned = tuned_for(CASES[name])
    options.check()
    settings, _ = settled(options, tuned)
    assert (settings.method, settings.participation) == (options.method, options.participation)
    assert settings.server_step == (options.server_step or tuned.server_step)
    assert (settings.closing.at_deadline == "extend") is (name != "importance")
    assert settings.closing.quorum == (5 if name == "anytime" else 0)
    reference = fp32_settings(options, tuned)
    reference.check()
    assert reference.privacy is None
    assert reference.method == settings.method
    assert (reference.participation == "uniform") is (name in ("uniform", "anytime", "importance"))


def test_the_noise_of_a_private_run_is_settled() -> None:
    settings, decisions = settled(*tuned_for(CASES["private"]))
    assert settings.privacy is not None
    assert decisions.privacy is not None
    assert settings.privacy.noise_multiplier == decisions.privacy.noise_multiplier > 0.0
    assert decisions.privacy.releases == 3
    with pytest.raises(ConfigError, match="rule = 'median'"):
        settled(replace(OPTIONS, rule="median", epsilon=8.0), DIGITS)


def test_auto_fears_as_many_as_lie() -> None:
    feared = replace(OPTIONS, rule="auto", codec="rot1", attackers=2, attack="alie")
    settings, decisions = settled(feared, ROBUST)
    assert settings.threat.byzantine_fraction == 0.2
    assert settings.rule.startswith("clipped-differences")
    assert decisions.rule is not None
    assert settled(replace(OPTIONS, rule="auto"), DIGITS)[0].rule == "mean"


def test_attackers_know_the_rule_that_was_chosen(tmp_path: Path) -> None:
    options = replace(OPTIONS, devices=3, cohorts=1, rule="auto", codec="rot1", attackers=1, attack="adaptive:alie")
    space = prepare(tmp_path / "run", options, ROBUST, 18831)
    liar, honest = (load(space.agent_config(index), {}).trainer_options for index in (2, 0))
    assert str(liar["rule"]).startswith("clipped-differences")
    assert "attack" not in honest
    again = prepare(tmp_path / "run", options, ROBUST, 18832)
    assert again == space
    with pytest.raises(ConfigError, match="other options"):
        prepare(tmp_path / "run", replace(options, server_step="fedadam:0.02"), ROBUST, 18831)


@pytest.mark.parametrize("method", ["fedavg", "scafcom:0.5/0.3"])
def test_version_0_holds_the_companions(tmp_path: Path, method: str) -> None:
    space = prepare(tmp_path / "run", replace(OPTIONS, devices=2, method=method), DIGITS, 18831)
    store = Store.open(space.server.store)
    with store.read() as db:
        job = jobs.get(db, 1)
        assert job is not None
        model = model_at(db, job, 0)
    store.close()
    assert model.layout.size == 2410 * (1 if method == "fedavg" else 2)
    assert not model.weights[2410:].any()
    assert json.loads((tmp_path / "run" / "options.json").read_text())["method"] == method


@pytest.mark.parametrize("changes", [{}, {"method": "scafcom:0.5/0.3", "codec_up": "topk:0.2/fp16"}], ids=str)
def test_the_watcher_judges_the_weights(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = Whole(tmp_path, rounds=3, **changes)
    judge: Any = Drift(0)
    watcher = Watcher(Workspace(tmp_path), whole.store, judge)
    expected = []
    for round_ in range(1, 4):
        whole.run(round_)
        expected.append(judge.evaluate(weights_of(whole.model(), whole.settings.method))["accuracy"])
        assert watcher.look()
    assert [sealed.accuracy for sealed in watcher.sealed] == expected
    assert len(set(expected)) == 3
    late = Watcher(Workspace(tmp_path), whole.store, judge)
    late.look()
    assert [sealed.accuracy for sealed in late.sealed] == expected, "one that comes late sees the same"
    assert watcher.digest == whole.model().digest.hex()
    whole.store.close()


@pytest.mark.parametrize("method", ["fedprox:0.1", "scafcom:0.5/0.3", "marina:2.0/0.3"])
def test_the_liars_of_the_demo_lie_in_fits_alone(method: str) -> None:
    with pytest.raises(ConfigError, match=r"--attackers with --method .*: expected one of fedavg"):
        replace(OPTIONS, method=method, attackers=1, attack="alie").check()
    replace(OPTIONS, method="fednova", attackers=1, attack="alie").check()
    assert NumpyTrainer.adds_terms, "the honest ones do"
