"""Measuring this machine for real, briefly, and keeping what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import ConfigError, TrainerFailed
from gossamer.firmware_profiles import Profiles, calibration
from gossamer.firmware_profiles.measure import STEPS
from gossamer.firmware_profiles.profiles import CODEC_KINDS, MEASURED_KEYS

FIGURES: dict[str, Any] = {
    "train_megaflops": 5, "step_microseconds": 6, "fsync_milliseconds": 7, "start_milliseconds": 8, "child_rss_mib": 9,
    "codec_kilovalues_per_second": dict.fromkeys(CODEC_KINDS, 10),
}  # fmt: skip


def test_this_machine(tmp_path: Path):
    said: list[tuple[str, int, int]] = []
    figures = calibration.measure_here(0.02, tmp_path, lambda *step: said.append(step))
    assert [step for step, _, _ in said] == list(STEPS)
    assert said[-1][1:] == (len(STEPS), len(STEPS))
    assert set(figures) == set(MEASURED_KEYS)
    assert all(rate > 0 for rate in figures["codec_kilovalues_per_second"].values())
    assert 10 <= figures["child_rss_mib"] <= 200
    profiles = Profiles(tmp_path)
    path = profiles.calibration_file("generic-x86")
    kept = calibration.keep(profiles.device("generic-x86"), figures, path, "2026-01-02")
    assert kept == profiles.device("generic-x86")
    assert kept.train_megaflops == figures["train_megaflops"]
    assert [each.name for each in path.parent.iterdir()] == ["generic-x86.toml"], "nothing is left behind"


def test_a_child_that_dies_is_said(tmp_path: Path):
    with pytest.raises(TrainerFailed, match="exit code"):
        calibration.measure_here(0.02, tmp_path / "missing", lambda *_: None)


def test_what_cannot_be_read_again_is_not_kept(tmp_path: Path):
    profiles = Profiles(tmp_path)
    path = profiles.calibration_file("pi-4")
    with pytest.raises(ConfigError, match="train_megaflops"):
        calibration.keep(profiles.device("pi-4"), {**FIGURES, "train_megaflops": 0}, path, "2026-01-02")
    assert not path.exists()


def test_a_directory_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "calibration").write_text("a file in the way")
    profiles = Profiles(tmp_path)
    with pytest.raises(ConfigError, match="cannot keep the calibration"):
        calibration.keep(profiles.device("pi-4"), FIGURES, profiles.calibration_file("pi-4"), "2026-01-02")
