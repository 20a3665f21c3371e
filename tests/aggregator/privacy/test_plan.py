"""Settings, plans, the end of the budget, and what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest

from gossamer.aggregator.privacy import (
    PrivacyPlan,
    PrivacySettings,
    check_job,
    may_release,
    plan,
    privacy_statement,
    spent,
)
from gossamer.aggregator.privacy.accountant import epsilon
from gossamer.aggregator.privacy.settings import Mechanism
from gossamer.errors import ConfigError
from gossamer.wire.participation import Participation, ParticipationRule

SETTINGS = PrivacySettings(epsilon=8.0, delta=1e-5, clip_norm=1.0)
JOB = {"rounds": 200, "cohorts": 5, "participation": "reshuffled"}


@pytest.mark.parametrize("name", ["fixed", "reshuffled", "uniform", "anytime"])
@pytest.mark.parametrize("rounds", [1, 4, 5, 6, 23])
def test_releases_bound_what_the_schedule_asks_of_a_device(name: str, rounds: int):
    """Counted over the real schedule; for rules of one a cycle the bound is met."""
    made = PrivacyPlan(SETTINGS, rounds, 5, name)
    schedule = Participation(ParticipationRule.named(name), 3, 23, 5)
    most = max(sum(schedule.is_member(r, index) for r in range(rounds)) for index in range(23))
    assert most <= made.releases
    if name != "uniform":
        assert most == made.releases


def test_known_plan():
    made = plan(SETTINGS, **JOB)
    assert made.releases == 40
    assert made.noise_multiplier == pytest.approx(3.80, abs=5e-3)
    assert made.epsilon == pytest.approx(8.0, rel=1e-4)
    assert made.epsilon <= 8.0
    every_round = plan(SETTINGS, **{**JOB, "participation": "uniform"})
    assert every_round.releases == 200
    assert every_round.noise_multiplier == pytest.approx(math.sqrt(5) * made.noise_multiplier, rel=1e-4)


@pytest.mark.parametrize("mechanism", ["gaussian", "banded:4"])
def test_planning_what_was_kept_gives_the_same_plan(mechanism: str):
    made = plan(replace(SETTINGS, mechanism=mechanism), **JOB)
    assert plan(made.settings, **JOB) == made
    assert made.settings.noise_multiplier > 0.0


@pytest.mark.parametrize("mechanism", ["gaussian", "banded:4"])
def test_epsilon_grows_by_cycles_to_what_was_planned(mechanism: str):
    made = plan(replace(SETTINGS, mechanism=mechanism), **JOB)
    course = [spent(made, rounds) for rounds in range(201)]
    assert course[0] == 0.0
    assert course[1] == course[5] < course[6]
    assert all(before <= after for before, after in pairwise(course))
    assert course[200] == made.epsilon <= 8.0
    if mechanism == "gaussian":
        assert course[23] == epsilon(made.noise_multiplier, 5, 1e-5)


@pytest.mark.parametrize("mechanism", ["gaussian", "banded:4"])
def test_nothing_is_released_past_the_plan_or_the_budget(mechanism: str):
    made = plan(replace(SETTINGS, mechanism=mechanism), **JOB)
    assert all(may_release(made, done) for done in range(200))
    assert not may_release(made, 200)
    poorer = replace(made, settings=replace(made.settings, epsilon=4.0))
    allowed = [may_release(poorer, done) for done in range(200)]
    last = allowed.index(False)
    assert 0 < last < 200
    assert last % 5 == 0
    assert not any(allowed[last:])
    assert spent(poorer, last) <= 4.0 < spent(poorer, last + 1)
    richer = replace(made, settings=replace(made.settings, epsilon=100.0))
    assert may_release(richer, 199)
    assert not may_release(richer, 200)  # the plan ends, though the budget does not
    longer = replace(made, rounds=1000)
    assert may_release(longer, 199)
    assert not may_release(longer, 200)


def test_a_budget_that_does_not_pay_says_what_would():
    poor = replace(SETTINGS, noise_multiplier=2.0)
    with pytest.raises(ConfigError, match=r"noise multiplier of 3\.7962 or more .* at most 55 rounds") as refused:
        plan(poor, **JOB)
    assert "40 releases" in str(refused.value)
    assert plan(replace(poor, noise_multiplier=3.7962), **JOB).epsilon <= 8.0
    assert plan(poor, **{**JOB, "rounds": 55}).epsilon <= 8.0
    with pytest.raises(ConfigError, match="at most 55 rounds"):
        plan(poor, **{**JOB, "rounds": 56})


def test_more_noise_than_needed_spends_less():
    assert plan(replace(SETTINGS, noise_multiplier=10.0), **JOB).epsilon < 3.0


def test_noise_that_no_model_survives_is_refused():
    with pytest.raises(ConfigError, match="more than any model survives"):
        plan(replace(SETTINGS, epsilon=1e-5, clip_norm=100.0), **JOB)


def test_delta_must_be_below_one_device():
    assert plan(SETTINGS, **JOB, fleet=99_999).fleet == 99_999
    with pytest.raises(ConfigError, match="1 / devices"):
        plan(SETTINGS, **JOB, fleet=100_000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cohorts": 3}, "as many bands as the cycle has rounds, 3"),
        ({"participation": "uniform"}, "'fixed' or 'reshuffled'"),
        ({"max_lag": 1}, "max_lag = 0"),
        ({"minimum_updates": 2}, "minimum_updates = 1"),
    ],
)
def test_bands_need_a_schedule_that_keeps_rounds_apart(change: dict[str, object], says: str):
    banded = replace(SETTINGS, mechanism="banded:4")
    with pytest.raises(ConfigError, match=says):
        plan(banded, **{**JOB, **change})
    assert plan(SETTINGS, **{**JOB, **change}).releases


@pytest.mark.parametrize("name", ["importance", "marina", "sometimes"])
def test_a_schedule_without_an_account_is_refused(name: str):
    with pytest.raises(ConfigError, match="participation"):
        plan(SETTINGS, **{**JOB, "participation": name})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("epsilon", [0.0, -1.0, math.inf, math.nan, 1001.0]),
        ("delta", [0.0, 0.1, -1e-5, math.nan]),
        ("clip_norm", [0.0, 1e-4, 2000.0, math.nan]),
        ("noise_multiplier", [-1.0, math.inf, math.nan, 1e6]),
        ("mechanism", ["", "laplace", "banded", "banded:1", "banded:x", "banded:257", "banded:4/2", "banded:4/0.3"]),
    ],
)
def test_settings_name_the_key_that_is_wrong(key: str, values: list[object]):
    SETTINGS.check()
    for value in values:
        with pytest.raises(ConfigError, match=rf"privacy\.{key} = "):
            replace(SETTINGS, **{key: value}).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["gaussian", "banded:2", "banded:256/1.0", "banded:5/0.734375"])
def test_specs_round_trip(spec: str):
    assert Mechanism.parse(spec).spec == spec


PRIVATE = {
    "rule": "mean",
    "participation": "fixed",
    "summed_memory": False,
    "learned_codebooks": False,
    "published_statistics": False,
}


def test_a_job_that_publishes_more_is_refused():
    check_job(**PRIVATE)  # type: ignore[arg-type]
    for change, says in (
        ({"rule": "median"}, "rule = 'median'"),
        ({"participation": "importance"}, "participation = 'importance'"),
        ({"summed_memory": True}, "memory"),
        ({"learned_codebooks": True}, "codec_up"),
        ({"published_statistics": True}, "manifest"),
    ):
        with pytest.raises(ConfigError, match=says):
            check_job(**{**PRIVATE, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("mechanism", ["gaussian", "banded:4"])
def test_the_statement_says_what_was_spent_and_what_is_not_covered(mechanism: str):
    made = plan(replace(SETTINGS, mechanism=mechanism), **JOB)
    said = privacy_statement(made, 23)
    assert json.loads(json.dumps(said)) == said
    assert said["epsilon_spent"] == spent(made, 23) < said["epsilon_planned"] == made.epsilon
    assert said["epsilon_spent_replacing_a_device"] > said["epsilon_spent"]
    assert (said["releases_done"], said["releases_planned"]) == (5, 40)
    assert (said["rounds_done"], said["rounds_planned"]) == (23, 200)
    assert (said["delta"], said["unit"], said["may_release"]) == (1e-5, "device", True)
    assert "none claimed" in str(said["amplification"])
    assert said["mechanism"] == made.settings.mechanism
    assert (said["relative_model_noise"] == 1.0) == (mechanism == "gaussian")
    for word in ("central", "losses", "example counts"):
        assert word in str(said["not_protected"])
    assert privacy_statement(made, 200)["may_release"] is False


def test_replacing_costs_as_half_the_noise():
    made = plan(SETTINGS, **JOB)
    said = privacy_statement(made, 200)
    assert said["epsilon_spent_replacing_a_device"] == pytest.approx(epsilon(made.noise_multiplier / 2, 40, 1e-5))
