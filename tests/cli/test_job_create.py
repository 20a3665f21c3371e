"""``job create`` says what it decided and why: rule, f, noise; and refuses what cannot work, before there is a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command import Run

JOB = 'name = "gait"\nrounds = 20\ncohorts = 5\nclosing = {max_lag = 0}\n'
TRAINER = """
import numpy as np

class Trainer:
    def initial(self, seed): return [np.zeros((2, 3), np.float32), np.ones(3, np.float32), np.ones(2, np.float32)]
    def fit(self, weights, config): raise NotImplementedError
    def evaluate(self, weights): return {}

def trainer(): return Trainer()
"""
PRIVATE = "[privacy]\nepsilon = 8.0\ndelta = 1e-5\nclip_norm = 1.0\n"
THREAT = "[threat]\nbyzantine_fraction = 0.2\nfailure = 0.01\n"


@pytest.fixture
def create(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``job create`` of a text, for a fleet of twenty."""
    (tmp_path / "of_create.py").write_text(TRAINER)
    monkeypatch.syspath_prepend(tmp_path)
    state = tmp_path / "state"
    assert run("fleet", "init", "farm1", "--state", state, "--no-accounts").code == 0
    from gossamer.aggregator.store import Store, devices
    from tests.aggregator.fleets import key_of

    store = Store.open(state / "store.db")
    with store.write() as db:
        for number in range(20):
            devices.enroll(db, f"d{number}", key_of(f"d{number}").public_key().public_bytes_raw())
    store.close()

    def created(text: str, *words: str) -> object:
        (tmp_path / "job.toml").write_text(text)
        return run("job", "create", "job.toml", "--trainer", "of_create:trainer", "--state", state, *words)

    return created


@pytest.mark.parametrize("dry", [True, False])
def test_the_rule_is_chosen_for_the_threat(create: Run, run: Run, dry: bool) -> None:
    text = f'{JOB}rule = "auto"\ncodec_up = "rot1"\n{THREAT}'
    told = json.loads(create(text, "--json", *(["--dry-run"] if dry else [])).out)
    assert told["created"] is not dry
    assert (told["rule"], told["codec_up"], told["method"]) == ("clipped-differences:0.3", "rot1", "fedavg")
    assert "Clipped differences" in told["why_this_rule"]
    assert told["tolerates"] == "as long as attackers are a minority of the fleet"
    assert (told["devices"], told["attackers"], told["cohort"], told["f"]) == (20, 4, "4", 3)
    assert 0.0 < told["failure_of_a_cohort"] <= 0.01 < 5 * told["failure_of_a_cohort"] + 0.01
    assert "epsilon" not in told
    jobs = json.loads(run("job", "list", "--state", "state", "--json").out)
    assert len(jobs) == (not dry)
    if not dry:
        shown = json.loads(run("job", "show", "gait", "--state", "state", "--json").out)
        assert shown["settings"]["rule"].startswith("clipped-differences")
        assert (shown["f"], shown["attackers"]) == (3, 4)
        assert "failure of a cohort" in run("job", "show", "gait", "--state", "state").out


def test_without_a_threat_it_is_the_mean(create: Run) -> None:
    told = json.loads(create(f'{JOB}rule = "auto"\n', "--json", "--dry-run").out)
    assert told["rule"] == "mean"
    assert "No attackers are feared" in told["why_this_rule"]
    assert "f" not in told


def test_a_rule_of_ones_own_is_shown_beside_the_threat(create: Run) -> None:
    told = json.loads(create(f'{JOB}rule = "trimmed-mean:1"\n{THREAT}', "--json", "--dry-run").out)
    assert (told["rule"], told["f"]) == ("trimmed-mean:1", 3)
    assert told["tolerates"] == "up to 1 attacker in a cohort of 3 updates or more"
    assert "why_this_rule" not in told


def test_a_private_job_says_what_it_costs(create: Run, run: Run) -> None:
    told = json.loads(create(JOB + PRIVATE, "--json").out)
    assert (told["epsilon"], told["delta"], told["releases_a_device"], told["clip_norm"]) == (8.0, 1e-5, 4, 1.0)
    assert told["noise_multiplier"] > 1.0
    assert told["rule"].startswith(f"private-mean:1.0/{told['noise_multiplier']}")
    assert told["mechanism"] == "gaussian"
    (row,) = json.loads(run("job", "list", "--state", "state", "--json").out)
    assert row["epsilon"] == "0/8"
    shown = create(JOB + PRIVATE).out
    assert "noise multiplier" in shown
    assert "releases a device" in shown


def test_a_method_with_companions_starts_with_them(create: Run, run: Run) -> None:
    told = json.loads(create(f'{JOB}method = "scafcom:0.5/0.3"\n', "--json").out)
    assert (told["parameters"], told["method"]) == (11, "scafcom:0.5/0.3")
    assert json.loads(run("job", "show", "gait", "--state", "state", "--json").out)["parameters"] == 11


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JOB + "[threat]\nbyzantine_fraction = 2.0\n", ("threat.byzantine_fraction = 2.0", "0 to 1")),
        (JOB + "[threat]\nfailure = 0.0\n", ("threat.failure = 0.0",)),
        (JOB + "[threat]\nattackers = 3\n", ("unknown key threat.attackers", "byzantine_fraction")),
        (JOB + PRIVATE.replace("8.0", "-8.0"), ("privacy.epsilon = -8.0",)),
        (JOB + PRIVATE.replace("1e-5", "0.09"), ("expected less than 1 / devices",)),
        (JOB + 'rule = "median"\n' + PRIVATE, ("rule = 'median'", "expected rule 'mean'")),
        (JOB + PRIVATE + "noise_multiplier = 0.5\n", ("the budget is 8.0", "noise multiplier of")),
        (JOB + 'method = "scallion:0.5/0.3"\n', ("unbiased codec_up", "rot1")),
    ],
    ids=str,
)
def test_refusals_say_what_to_do(create: Run, run: Run, text: str, words: tuple[str, ...]) -> None:
    create(text).refused(*words)
    create(text, "--dry-run").refused(*words)
    assert json.loads(run("job", "list", "--state", "state", "--json").out) == []


def test_a_private_job_needs_the_accountant(create: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    create(JOB + PRIVATE).refused("dp-accounting", "gossamer[privacy]")


def test_plans_come_from_a_file_of_their_own(create: Run, run: Run, tmp_path: Path) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text('[plans.pi-zero-2w]\ncodec = "rot1"\nlocal_epochs = 2\n[plans.pi-4]\nlocal_epochs = 5\n')
    text = JOB + 'codec_up = "q8"\nfit = {local_epochs = 5}\n'
    told = json.loads(create(text, "--plans", plans, "--json").out)
    assert told["plan_pi-zero-2w"] == "rot1, local epochs 2"
    assert told["plan_pi-4"] == "q8, local epochs 5"
    refused = create(text + "[plans.pi-5]\nlocal_epochs = 1\n", "--plans", plans)
    assert (refused.code, "has plans already" in refused.err) == (2, True)
    refused = create(JOB + 'codec_up = "q8"\n', "--plans", plans)
    assert refused.code == 2
    assert "plans.pi-4.local_epochs = 5: expected at most fit.local_epochs = 1" in refused.err
    plans.write_text("rounds = 3\n")
    refused = create(text, "--plans", plans)
    assert (refused.code, "expected tables [plans.CLASS] and nothing else" in refused.err) == (2, True)
