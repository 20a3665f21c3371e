"""``gossamer plan`` about a model: the same figures for people and programs, old uses as they were, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossamer.settings import parse_toml

from .command import Run

MODEL = ("plan", "--model", "64x32@8x8,32,32x10,10")
ASKED = (*MODEL, "--device", "pi-zero-2w", "--link", "gprs", "--budget", "2MB/month")
CAUSES = (
    "update", "model", "manifest", "signatures", "status", "mqtt", "connect", "tls", "tcp_ip", "retransmitted",
)  # fmt: skip
FLEET = """
[[groups]]
name = "pumps"
count = 40
device = "pi-zero-2w"
link = "gprs"
budget = "2MB/month"
price = "0.2 EUR/MB"
[[groups]]
name = "farm"
count = 2
device = "pi-4"
link = "lte-m"
budget = "5MB/month"
"""


@pytest.fixture(autouse=True)
def _no_profiles_of_whoever_runs_this(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_figures_for_programs_and_people(run: Run) -> None:
    told = json.loads(run(*ASKED, "--price", "0.5", "--json").out)
    assert list(told) == ["question", "bytes", "costs", "recommendation"]
    assert told["question"]["parameters"] == 2410
    for row, cost in zip(told["bytes"], told["costs"], strict=True):
        assert sum(row[cause] for cause in CAUSES) == row["bytes"] == cost["bytes"]
        assert cost["price"] == pytest.approx(row["bytes"] / 1e6 * 0.5, rel=1e-3)
        assert cost["rounds_a_month"] > 0
    best = [row["codec"] for row in told["bytes"] if row["best"]]
    assert best == [told["recommendation"]["codec"]]
    shown = run(*ASKED, "--price", "0.5")
    assert (shown.code, shown.err) == (0, "")
    for word in ("rounds a month", "idle bytes a month", best[0], told["recommendation"]["why"][:60], "0.5 EUR"):
        assert word in shown.out
    assert "cohort" in shown.out
    assert "krum" not in shown.out


def test_a_schedule_and_a_model_in_one_question(run: Run) -> None:
    told = json.loads(run(*ASKED, "--devices", "20", "--cohorts", "5", "--codec", "rot2", "--json").out)
    assert list(told) == ["cohort", "rules", "choice", "privacy", "question", "bytes", "costs", "recommendation"]
    assert told["choice"]["codec"] == "rot2"
    assert "rot2" in [row["codec"] for row in told["bytes"]]
    assert (told["question"]["devices"], told["question"]["cohorts"]) == (20, 5)


def test_sleeping_and_plaintext(run: Run) -> None:
    def recommendation(*words: str) -> dict[str, object]:
        return json.loads(run(*ASKED, *words, "--json").out)["recommendation"]

    assert recommendation("--sleeps")["idle_bytes_a_month"] == 0
    assert recommendation("--plaintext")["rounds_a_month"] > recommendation()["rounds_a_month"]
    told = recommendation("--budget", "600kB/month")
    assert "--sleeps" in str(told["instead"])


def test_a_fleet_and_its_plans(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    plans = tmp_path / "plans.toml"
    words = (*MODEL, "--fleet", tmp_path / "fleet.toml", "--write-plans", plans, "--local-epochs", "3")
    answered = run(*words, "--json")
    told = json.loads(answered.out)
    assert "[2/2]" in answered.err or "group 2 of 2: farm" in answered.err
    pumps, farm = told["groups"]
    assert told["fleet"]["devices"] == 42
    assert told["fleet"]["bytes_a_round_of_all"] == 40 * pumps["bytes"] + 2 * farm["bytes"]
    assert told["fleet"]["bytes_a_month"] == 40 * pumps["bytes_a_month"] + 2 * farm["bytes_a_month"]
    assert told["fleet"]["rounds_a_month"] == min(pumps["rounds_a_month"], farm["rounds_a_month"])
    assert told["fleet"]["slowest_group"] in ("pumps", "farm")
    table = parse_toml(plans.read_text())["plans"]
    assert table["pi-zero-2w"] == {"codec": pumps["codec"], "local_epochs": 3}
    assert table["pi-4"]["codec"] == farm["codec"]
    assert "slowest group" in run(*words).out


def test_one_device_writes_its_plan_too(run: Run, tmp_path: Path) -> None:
    plans = tmp_path / "plans.toml"
    answered = run(*ASKED, "--write-plans", plans)
    assert f"wrote {plans}" in answered.err
    assert list(parse_toml(plans.read_text())["plans"]) == ["pi-zero-2w"]


TRAINER = """
import numpy as np

class Trainer:
    def initial(self, seed): return [np.zeros((64, 32), np.float32), np.zeros(32, np.float32)]
    def fit(self, weights, config): raise NotImplementedError
    def evaluate(self, weights): return {}

def trainer(): return Trainer()
"""


def test_a_job_takes_the_plans(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_plans.py").write_text(TRAINER)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "job.toml").write_text('name = "gait"\nrounds = 9\ncodec_up = "rot4:ls"\nfit = {local_epochs = 4}\n')
    assert run(*ASKED, "--write-plans", tmp_path / "plans.toml", "--local-epochs", "4").code == 0
    assert run("fleet", "init", "farm1", "--state", tmp_path / "state", "--no-accounts").code == 0
    words = ("--trainer", "of_plans:trainer", "--state", tmp_path / "state", "--dry-run", "--json")
    created = run("job", "create", tmp_path / "job.toml", "--plans", tmp_path / "plans.toml", *words)
    assert created.code == 0, created
    assert "pi-zero-2w" in created.out


def test_a_calibration_is_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own" / "calibration").mkdir(parents=True)
    (tmp_path / "own" / "calibration" / "pi-zero-2w.toml").write_text(
        'measured_on = "2026-01-02"\nstart_milliseconds = 60000\n'
    )
    told = json.loads(run(*ASKED, "--profiles", tmp_path / "own", "--json").out)
    assert told["question"]["device_calibrated"] == "2026-01-02"
    assert all(row["train_s"] > 60 for row in told["costs"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("plan",), "expected --devices for a schedule, or --model"),
        (MODEL, "expected --device and --link too"),
        ((*MODEL, "--device", "pi-4"), "expected --device and --link too"),
        ((*MODEL, "--device", "pi-44", "--link", "gprs"), "did you mean pi-4"),
        ((*MODEL, "--device", "pi-4", "--link", "5g"), "no profile '5g' among links"),
        ((*ASKED, "--budget", "2MB"), "budget '2MB': expected an amount and a time"),
        ((*ASKED, "--price", "cheap"), "price 'cheap'"),
        ((*ASKED, "--examples", "0"), "--examples 0: expected 1 or more"),
        ((*ASKED, "--local-epochs", "0"), "--local-epochs 0"),
        ((*ASKED, "--cohorts", "0"), "--cohorts 0"),
        ((*ASKED, "--codec", "foo"), "expected a codec like"),
        (("plan", "--model", "what", "--device", "pi-4", "--link", "gprs"), "expected shapes as"),
        (("plan", "--fleet", "x.toml"), "--fleet: expected --model too"),
        ((*ASKED, "--fleet", "x.toml"), "leave --device and --link out"),
        ((*MODEL, "--fleet", "/none/x.toml"), "no configuration file"),
        ((*ASKED, "--write-plans", "/none/x.toml"), "cannot be written"),
    ],
)
def test_refusals(run: Run, words: tuple[str, ...], text: str) -> None:
    run(*words).refused(text)
