"""What a job's "auto" becomes, and that what was decided is what runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.aggregator.automatic import decide
from gossamer.aggregator.job_settings import JobSettings, ThreatSettings
from gossamer.aggregator.jobs import create_job
from gossamer.aggregator.privacy import PrivacySettings
from gossamer.aggregator.store import Store
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.errors import ConfigError
from tests.aggregator.fleets import LAYOUT, closing, job_settings
from tests.aggregator.whole import Whole

FEARED = ThreatSettings(byzantine_fraction=0.2, failure=1e-3)


@pytest.mark.parametrize(
    ("changes", "spec", "word"),
    [
        ({}, "mean", "No attackers"),
        ({"threat": FEARED, "codec_up": "rot1"}, "clipped-differences", "last aggregate"),
        ({"threat": FEARED, "codec_up": "ternary:0.05"}, "clipped-differences:1.0", "residual"),
        ({"threat": FEARED, "codec_up": "sign", "cohorts": 1}, "nnm:4+trimmed-mean:4", "nearest"),
        ({"threat": FEARED, "codec_up": "sign", "cohorts": 5}, "norm-clip", "running median"),
    ],
)
def test_the_rule_is_chosen_by_threat_codec_and_cohort(changes: dict[str, object], spec: str, word: str) -> None:
    settings, decisions = decide(job_settings(rule="auto", **changes), LAYOUT, 20)
    assert settings.rule == spec
    assert decisions.rule is not None
    assert word in decisions.rule.why
    assert decide(settings, LAYOUT, 20)[0] == settings


def test_a_method_that_needs_the_mean_refuses_a_threat() -> None:
    with pytest.raises(ConfigError, match="rule 'mean'"):
        decide(job_settings(rule="auto", threat=FEARED, method="feddyn:1.0", codec_up="rot1"), LAYOUT, 20)


@pytest.mark.parametrize(("up", "most"), [("rot1", 7_000), ("nf4", 220)])
def test_a_cache_larger_than_a_store_writes_with_every_round_is_refused(up: str, most: int) -> None:
    layout = Layout((("0", (300, 1000)),))
    wanted = job_settings(rule="cache:0.5+median", memory="momentum:0.5", codec_up=up)
    assert decide(wanted, layout, most)[0] == wanted
    with pytest.raises(ConfigError, match="written with every round"):
        decide(wanted, layout, most + most // 25)


def test_a_private_job_is_planned_once_and_runs_as_planned(tmp_path: Path) -> None:
    wanted = job_settings(privacy=PrivacySettings(20.0, 1e-3, 1.0), codec_up="rot1", closing=closing(max_lag=0))
    settings, decisions = decide(wanted, LAYOUT, 4)
    assert decisions.privacy is not None
    assert settings.privacy is not None
    assert settings.privacy.noise_multiplier == decisions.privacy.noise_multiplier > 0
    assert decide(settings, LAYOUT, 4)[0] == settings
    assert JobSettings.from_json(settings.to_json()) == settings
    with pytest.raises(ConfigError, match="noise_multiplier"):
        decide(replace(wanted, privacy=PrivacySettings(0.1, 1e-3, 1.0, noise_multiplier=0.5)), LAYOUT, 4)
    whole = Whole(tmp_path / "run", **{k: getattr(wanted, k) for k in ("privacy", "codec_up", "closing")})
    whole.run()
    assert whole.settings.rule == "mean"
    assert whole.rejected() == {}


def test_a_rule_that_no_cohort_of_the_fleet_can_carry_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs 9 updates, a cohort of 20 devices in 5 cohorts has 4"):
        decide(job_settings(rule="krum:3", cohorts=5), LAYOUT, 20)
    decide(job_settings(rule="krum:3", cohorts=5), LAYOUT, 0)  # who enrols later is not known
    decide(job_settings(rule="krum:3", cohorts=2), LAYOUT, 20)


def test_auto_without_a_threat_goes_with_what_needs_the_mean() -> None:
    assert decide(job_settings(rule="auto", memory="ef21", codec_up="topk:0.1/q4"), LAYOUT, 20)[0].rule == "mean"
    private = job_settings(rule="auto", privacy=PrivacySettings(20.0, 1e-3, 1.0), codec_up="rot1")
    assert decide(private, LAYOUT, 20)[0].rule == "mean"


def test_an_undecided_job_is_not_created(tmp_path: Path) -> None:
    import numpy as np

    store = Store.open(tmp_path / "s.db")
    initial = to_lattice(np.zeros(300, dtype=np.float32))
    for wanted in (job_settings(rule="auto"), job_settings(privacy=PrivacySettings(20.0, 1e-3, 1.0))):
        with pytest.raises(ConfigError, match="decide it first"):
            create_job(store, wanted, initial, LAYOUT)
    store.close()
