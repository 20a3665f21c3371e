"""Measuring this machine, and keeping the figures beside its profile.

The measurements run in a child (:mod:`gossamer.firmware_profiles.measure`), as a fit does: its start is one of them,
and its memory is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gossamer.errors import ConfigError, TrainerFailed
from gossamer.firmware_profiles.measure import STEPS
from gossamer.firmware_profiles.profiles import DeviceProfile, calibrated

SECONDS = 3.0
"""For each step by default: all of them, with the starts, take less than a minute on the slowest board."""
MOST_SECONDS = 120.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def measure_here(seconds: float, directory: Path, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Figures of this machine, as a calibration file names them.

    Args:
        seconds: for each step.
        directory: where durability is measured: on the disk that holds the agent's state.
        progress: hears the step, its number and their count.

    Raises:
        TrainerFailed: the child ended without a result.
    """
    command = [sys.executable, "-m", "gossamer.firmware_profiles.measure", "--seconds", str(seconds)]
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - our own module
        [*command, "--directory", str(directory)], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        try:
            return _heard(child, began, progress)
        finally:
            child.kill()


def _heard(child: subprocess.Popen[str], began: float, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    start = 1
    for line in child.stdout or ():
        said = json.loads(line)
        if "ready" in said:
            start = max(1, round(1e3 * (time.monotonic() - began)))
        elif "step" in said:
            progress(said["step"], STEPS.index(said["step"]) + 1, len(STEPS))
        else:
            result: dict[str, Any] = {"start_milliseconds": start, **said["result"]}
            return result
    raise TrainerFailed(
        f"the measuring process ended with exit code {child.wait()} and no result; what it wrote is above: "
        "is numpy installed?"
    )


def calibration_toml(figures: Mapping[str, Any], day: str) -> str:
    """A calibration file."""
    lines = ["# Measured by gossamer profiles calibrate; delete this file to go back to the profile's own figures.",
             f'measured_on = "{day}"']  # fmt: skip
    lines += [f"{key} = {value}" for key, value in figures.items() if not isinstance(value, Mapping)]
    for key, table in figures.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]", *(f"{kind} = {rate}" for kind, rate in table.items())]
    return "\n".join(lines) + "\n"


def keep(profile: DeviceProfile, figures: Mapping[str, Any], path: Path, day: str) -> DeviceProfile:
    """Write the calibration of ``profile`` whole or not at all, and return the profile with it.

    Raises:
        ConfigError: the directory cannot be written.
    """
    text = calibration_toml(figures, day)
    found = calibrated(profile, text, str(path))  # what cannot be read again is not written
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise ConfigError(f"cannot keep the calibration at {path}: {error}; name another with --profiles") from error
    return found
