"""What the demo promises, with its default settings: accuracy, bytes, attackers, the same model as a simulation."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gossamer.demo.federation import fleet
from gossamer.demo.options import DemoOptions
from gossamer.demo.reference import bytes_to_reach, run_reference
from gossamer.demo.settings import defaults_for
from gossamer.demo.simulate import SimulatedRound, Simulation
from gossamer.demo.workspace import job_settings
from tests.system.demo_runs import run_demo

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SEEDS = (0, 1, 2)
POINT = 0.01
FACTOR = 40
SCHEMA = Path(__file__).resolve().parents[2] / "gossamer" / "demo" / "figures.schema.json"


def options_for(seed: int, rule: str = "mean") -> DemoOptions:
    tuned = defaults_for("watch", rule)
    return DemoOptions(
        "watch", seed, tuned.devices, tuned.cohorts, tuned.rounds, tuned.codec, tuned.codec_down, rule, 0, "none"
    )


def simulated(seed: int, rule: str = "mean") -> SimulatedRound:
    options = options_for(seed, rule)
    trainers, judge = fleet("watch", options.devices, seed)
    *_, last = Simulation(job_settings(options, defaults_for("watch", rule)), trainers).rounds(judge)
    return last


def test_three_seeds_within_a_point_of_fp32_at_forty_times_less():
    gaps, factors = [], []
    for seed in SEEDS:
        last = simulated(seed)
        reference = list(run_reference(options_for(seed), defaults_for("watch", "mean")))
        needed = bytes_to_reach(reference, last.accuracy)
        gaps.append(reference[-1].accuracy - last.accuracy)
        factors.append((needed.payload_up + needed.payload_down) / (last.payload_up + last.payload_down))
    print(f"seeds {SEEDS}: gaps {gaps}, factors {factors}")
    assert sum(gaps) / len(gaps) <= POINT
    assert sum(factors) / len(factors) >= FACTOR


def test_the_demo_is_the_simulation_to_the_bit(tmp_path: Path):
    figures = run_demo(tmp_path, "--seed", "0")
    jsonschema.validate(figures, json.loads(SCHEMA.read_text()))
    last = simulated(0)
    assert figures["model_digest"] == last.digest.hex()
    assert figures["payload_bytes_up"] == last.payload_up
    assert figures["payload_bytes_down"] == last.payload_down
    assert figures["accuracy"] >= figures["accuracy_fp32"] - 2 * POINT
    assert figures["factor"] >= FACTOR
    assert figures["rejected"] == figures["restarts"] == 0
    assert figures["ip_bytes_by_cause"]["bodies"] == figures["payload_bytes_up"] + figures["payload_bytes_down"]
    assert sum(figures["ip_bytes_by_cause"].values()) == figures["ip_bytes"]


@pytest.mark.parametrize(("up", "down"), [("hist:0.05", "hist:0.05"), ("nf4", "hist:0.05"), ("auto", "auto")])
def test_with_history_codebooks_and_auto_it_is_still_the_simulation(tmp_path: Path, up: str, down: str):
    size = ("--data", "digits", "--devices", "4", "--cohorts", "2", "--rounds", "8")
    figures = run_demo(tmp_path, *size, "--codec", up, *(() if up == "auto" else ("--codec-down", down)))
    options = DemoOptions("digits", 0, 4, 2, 8, up, down, "mean", 0, "none")
    trainers, judge = fleet("digits", 4, 0)
    simulation = Simulation(job_settings(options, defaults_for("digits", "mean")), trainers)
    *_, last = simulation.rounds(judge)
    assert figures["model_digest"] == last.digest.hex()
    assert (figures["payload_bytes_up"], figures["payload_bytes_down"]) == (last.payload_up, last.payload_down)
    assert figures["rejected"] == figures["restarts"] == 0
    assert (figures["codec"], figures["codec_down"]) == (simulation.settings.codec_up, simulation.settings.codec_down)


@pytest.mark.parametrize("method", ["scafcom:0.5/1.0", "marina:2.0/0.3"])
def test_with_companions_it_is_still_the_simulation(tmp_path: Path, method: str):
    figures = run_demo(
        tmp_path, "--data", "digits", "--devices", "4", "--cohorts", "2", "--rounds", "4", "--method", method
    )
    schedule = "marina" if method.startswith("marina") else "reshuffled"
    tuned = defaults_for("digits", "mean", spec=method, participation=schedule)
    options = DemoOptions(
        "digits", 0, 4, 2, 4, tuned.codec, tuned.codec_down, "mean", 0, "none", method=method, participation=schedule
    )
    trainers, judge = fleet("digits", 4, 0)
    *_, last = Simulation(job_settings(options, tuned), trainers).rounds(judge)
    assert figures["model_digest"] == last.digest.hex()
    assert figures["accuracy"] == last.accuracy
    assert figures["parameters"] == 2410


def test_the_rule_is_chosen_for_the_liars(tmp_path: Path):
    figures = run_demo(
        tmp_path, "--data", "digits", "--devices", "6", "--rounds", "4", "--rule", "auto", "--attackers", "1",
        "--attack", "alie",
    )  # fmt: skip
    assert (figures["rule"], figures["codec"], figures["attackers"]) == ("clipped-differences", "rot1", 1)


def test_two_liars_are_held_by_clipped_differences_and_not_by_the_mean(tmp_path: Path):
    attacked = ("--attackers", "2", "--attack", "shift-back")
    clean = simulated(0, "clipped-differences").accuracy  # which the demo is to the bit
    robust = run_demo(tmp_path / "robust", *attacked, "--rule", "clipped-differences")
    mean = run_demo(tmp_path / "mean", *attacked, "--rule", "mean")
    assert robust["accuracy"] >= clean - 3 * POINT
    assert mean["accuracy"] < clean - 30 * POINT


def test_digits(tmp_path: Path):
    figures = run_demo(tmp_path, "--data", "digits", "--rounds", "10", "--devices", "6", "--cohorts", "3")
    assert (figures["devices"], figures["cohorts"], figures["updates"]) == (6, 3, 20)


@pytest.mark.parametrize("codec", ["fp32", "rot1", "sign", "q4", "topk:0.02/q4"])
def test_codecs(tmp_path: Path, codec: str):
    figures = run_demo(tmp_path, "--codec", codec, "--rounds", "2", "--devices", "4", "--cohorts", "2")
    assert figures["codec"] == codec
    assert figures["updates"] == 4
