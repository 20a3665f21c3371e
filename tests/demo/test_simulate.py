"""The job in one process: repeatable, accounted to the byte, and what the factor means."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gossamer.aggregator.jobs import FitSettings, JobSettings
from gossamer.compression import codec
from gossamer.compression.lattice import digest
from gossamer.demo.federation import fleet
from gossamer.demo.options import DemoOptions
from gossamer.demo.reference import bytes_to_reach, fp32_settings, run_reference
from gossamer.demo.settings import DemoSettings
from gossamer.demo.simulate import SimulatedRound, Simulation

JOB = JobSettings(
    name="digits", job=1, fleet="demo", seed=3, rounds=8, cohorts=2, codec_up="ternary:0.05",
    codec_down="ternary:0.03", fit=FitSettings(1, 32, 0.2, "cosine"),
)  # fmt: skip
DEVICES = 6


@pytest.fixture(scope="module")
def digits():
    return fleet("digits", DEVICES, 3)


def run(digits, *, plain=False, **changes):
    trainers, judge = digits
    simulation = Simulation(dataclasses.replace(JOB, **changes), trainers, plain=plain)
    return simulation, list(simulation.rounds(judge))


def test_the_same_seed_gives_the_same_model(digits):
    first, points = run(digits)
    again, _ = run(digits)
    other, _ = run(digits, seed=4)
    assert first.model_digest() == again.model_digest() == points[-1].digest != other.model_digest()
    assert [p.round for p in points] == list(range(JOB.rounds))


def test_payload_counts_real_bodies_and_only_those_who_take_part(digits):
    simulation, points = run(digits)
    d = simulation.state.d
    updates = JOB.rounds * DEVICES // JOB.cohorts
    assert 0 < points[-1].payload_up <= updates * codec(JOB.codec_up).max_bytes(d)
    ups = np.diff([0, *(p.payload_up for p in points)])
    assert (ups > 0).all()
    assert points[0].payload_down == 0  # version 0 comes from the seed
    # Every device fetches each step at most once, and nobody fetches the last model.
    steps = [len(step) for step in simulation.steps]
    assert points[-1].payload_down <= DEVICES * (sum(steps[:-1]) + 3 * len(steps))


def test_plain_payload_is_a_float_model_each_way(digits):
    simulation, points = run(digits, plain=True, codec_up="fp32", codec_down="fp32")
    model = 4 * simulation.state.d
    updates = JOB.rounds * DEVICES // JOB.cohorts
    assert points[-1].payload_up == updates * model
    assert points[-1].payload_down == (updates - DEVICES // JOB.cohorts) * model


def test_at_fp32_nothing_is_left_unsent(digits):
    simulation, _ = run(digits, codec_up="fp32", codec_down="fp32")
    assert simulation.kept == [None] * DEVICES
    np.testing.assert_array_equal(simulation.state.shared, simulation.state.target)


def test_an_unbiased_codec_keeps_no_residual(digits):
    simulation, _ = run(digits, codec_up="rot1", rule="clipped-differences", rounds=4)
    assert simulation.model_digest() == digest(simulation.state.shared)


def options(**changes):
    tuned = DemoSettings()
    return DemoOptions(
        **{
            "data": "digits", "seed": 1, "devices": 5, "cohorts": tuned.cohorts, "rounds": 4,
            "codec": tuned.codec, "codec_down": tuned.codec_down, "rule": "median", "attackers": 0,
            "attack": "shift-back",
        } | changes
    )  # fmt: skip


def test_the_reference_is_the_same_job_without_compression_and_defence():
    job = fp32_settings(options(), DemoSettings())
    assert (job.codec_up, job.codec_down, job.rule) == ("fp32", "fp32", "mean")
    assert (job.seed, job.rounds, job.cohorts) == (1, 4, 2)
    points = list(run_reference(options(), DemoSettings()))
    assert len(points) == 4
    assert points[-1].payload_up % (4 * 2410) == 0


def test_bytes_to_reach_is_not_fooled_by_one_lucky_round():
    reached = [0.1, 0.9, 0.2, 0.5, 0.6, 0.7, 0.8]
    points = [SimulatedRound(i, a, 10 * i, 0, b"") for i, a in enumerate(reached)]
    assert bytes_to_reach(points, 0.6).round == 5
    assert bytes_to_reach(points, 0.05).round == 0
    assert bytes_to_reach(points, 0.99).round == 6  # never: all of it counts, not more
