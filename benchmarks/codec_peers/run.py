"""The peers measured: a child process in their environment, updates as ``.npy`` in, JSON out; and their bounds."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.codec_bounds import rate_distortion_bits, sparse_bits
from benchmarks.codec_peers.environment import peers_python
from benchmarks.codec_updates import FederationState

MEASURE = Path(__file__).parent / "measure.py"
MEASURE_SECONDS = 1800
FLOAT_BITS = 32.0

EXPECTED = {
    "OpenFL Eden 1 bit": 12_544,
    "OpenFL Eden 2 bit": 25_088,
    "OpenFL Eden 4 bit": 50_176,
    "OpenFL STC p=0.1": 13_214,
    "NVFlare AdaQuant + bz2": 51_736,
    "Flower ArrayRecord": 400_619,
}
"""Bytes of 100,000 values, measured before this benchmark was written: the check that peers run as they did."""
EXPECTED_WITHIN = 0.002
"""Flower's record has varied by 400 bytes from release to release."""

Say = Callable[[str], object]
Answer = dict[str, Any]
Case = tuple[str, list[list[int]], npt.NDArray[np.float32], int]


def ask(cases: Sequence[Case], repetitions: int, say: Say) -> list[Answer]:
    """Answers of all peers for cases (name, shapes, updates (n, d), repeat); see `measure`."""
    python = peers_python(say)
    with tempfile.TemporaryDirectory(prefix="gossamer-codecs-") as made:
        directory = Path(made)
        for name, _, updates, _ in cases:
            np.save(directory / f"{name}.npy", updates)
        (directory / "cases.json").write_text(
            json.dumps([
                {"name": name, "shapes": shapes, "repeat": repeat, "repetitions": repetitions}
                for name, shapes, _, repeat in cases
            ])
        )  # fmt: skip
        run = subprocess.run([python, MEASURE, directory], timeout=MEASURE_SECONDS, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"the peers' process failed:\n{run.stderr}")
        answers: list[Answer] = json.loads((directory / "answers.json").read_text())
    return answers


def peer_records(
    states: Sequence[FederationState], repeat: Sequence[int], repetitions: int, say: Say
) -> list[dict[str, Any]]:
    """Records of all peers on the updates of ``states``, in the form of the benchmark."""
    cases = [
        (f"{state.federation}-{state.round}", [list(shape) for _, shape in state.layout.entries], state.updates, times)
        for state, times in zip(states, repeat, strict=True)
    ]
    by_name = {case[0]: state for case, state in zip(cases, states, strict=True)}
    return [_record(answer, by_name[answer["name"]]) for answer in ask(cases, repetitions, say)]


def _record(answer: dict[str, Any], state: FederationState) -> dict[str, Any]:
    error = float(np.mean(answer["nmse"]))
    bound, name = _bound(answer["codec"], state, error)
    millions = answer["timed_parameters"] / 1e6
    size = float(np.mean(answer["bytes"]))
    return {
        "federation": state.federation,
        "round": state.round,
        "codec": answer["codec"],
        "peer": True,
        "parameters": state.layout.size,
        "bytes": round(size, 1),
        "bits_per_parameter": 8 * size / state.layout.size,
        "nmse": error,
        "encode_ms_per_million": 1e3 * answer["encode_seconds"] / millions,
        "decode_ms_per_million": 1e3 * answer["decode_seconds"] / millions,
        "bound_bits": bound,
        "bound": name,
        "rate_distortion_bits": rate_distortion_bits(error),
    }


def _bound(codec: str, state: FederationState, error: float) -> tuple[float | None, str]:
    if "Eden" in codec:
        return float(codec.split()[2]), "bits of a code"
    if "STC" in codec:
        share = float(codec.partition("=")[2])
        kept = sum(math.ceil(share * math.prod(shape)) for _, shape in state.layout.entries)
        return sparse_bits(state.layout.size, kept, 1), "positions and values"
    if "Flower" in codec:
        return FLOAT_BITS, "bits of a code"
    return rate_distortion_bits(error), "rate-distortion"


def check(say: Say) -> bool:
    """Compare the peers' bytes for 100,000 Gaussian values with those measured before; says each, True if all agree."""
    x = (np.random.default_rng(0).standard_normal((1, 100_000)) * 0.01).astype(np.float32)
    fine = True
    for answer in ask([("check", [[100_000]], x, 1)], 1, say):
        name, got, error = answer["codec"], answer["bytes"][0], answer["nmse"][0]
        expected = EXPECTED.get(name)
        if expected is None:
            continue
        same = abs(got - expected) <= EXPECTED_WITHIN * expected
        fine &= same
        verdict = "as before" if same else "NOT as before"
        say(f"{name}: {got:,} bytes, expected {expected:,}: {verdict}; squared error {error:.3f}")
    return fine
