"""``gossamer plan``: the same figures for people and for programs."""

from __future__ import annotations

import json

import pytest

from .command import Run

ASKED = ("plan", "--devices", "20", "--cohorts", "5", "--byzantine", "0.2", "--failure", "0.01", "--codec", "rot1")


def test_attackers_and_rules(run: Run) -> None:
    told = json.loads(run(*ASKED, "--json").out)
    assert list(told) == ["cohort", "rules", "choice", "privacy"]
    cohort = told["cohort"]
    assert (cohort["cohort"], cohort["attackers"], cohort["f"]) == ("4", 4, 3)
    assert 0.0 < cohort["failure_of_a_cohort"] <= 0.01
    assert cohort["failure_of_a_cycle"] == pytest.approx(5 * cohort["failure_of_a_cohort"], rel=1e-3)
    assert cohort["failure_of_the_job"] is None
    rules = {row["rule"]: row for row in told["rules"]}
    assert (rules["median"]["updates"], rules["krum"]["updates"], rules["bulyan"]["updates"]) == (7, 9, 15)
    assert not rules["median"]["carried"]
    assert rules["clipped-differences"]["carried"]
    assert told["choice"]["rule"] == "clipped-differences"
    assert told["privacy"] is None
    shown = run(*ASKED)
    assert (shown.code, shown.err) == (0, "")
    for word in ("failure of a cycle", "nnm+trimmed-mean", told["choice"]["why"], "2f+3"):
        assert word in shown.out
    assert "failure of the job" not in shown.out
    assert "epsilon" not in shown.out


def test_the_price_of_privacy(run: Run) -> None:
    words = (*ASKED, "--rounds", "200", "--epsilon", "8", "--delta", "1e-5", "--clip-norm", "2")
    told = json.loads(run(*words, "--json").out)["privacy"]
    assert (told["releases_a_device"], told["noise_multiplier"], told["epsilon"]) == (40, 3.7962, 8.0)
    assert told["noise_of_a_mean"] == pytest.approx(3.7962 * 2 / 4, rel=1e-3)
    banded = json.loads(run(*words, "--mechanism", "banded:5", "--json").out)["privacy"]
    assert banded["mechanism"].startswith("banded:5/")
    assert "max_lag" in banded["note"]
    assert "noise multiplier" in run(*words).out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--cohorts", "21"), "cohorts must be in 1..devices (20)"),
        (("--byzantine", "2"), "fraction of attackers must be in 0..1"),
        (("--failure", "0"), "failure probability must be between 0 and 1"),
        (("--participation", "never"), "choose one of: reshuffled"),
        (("--rounds", "0"), "--rounds 0: expected 1 or more"),
        (("--codec", "foo"), "expected a codec like"),
        (("--epsilon", "8"), "--epsilon: expected --rounds too"),
        (("--epsilon", "-1", "--rounds", "5"), "privacy.epsilon = -1.0"),
        (("--epsilon", "8", "--rounds", "5", "--delta", "0.09"), "expected less than 1 / devices"),
        (("--epsilon", "8", "--rounds", "5", "--mechanism", "banded:6"), "at most as many bands"),
        (("--epsilon", "8", "--rounds", "5", "--participation", "importance"), "participation = 'importance'"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_refusals(run: Run, words: tuple[str, ...], text: str) -> None:
    run(*ASKED, *words).refused(text)
