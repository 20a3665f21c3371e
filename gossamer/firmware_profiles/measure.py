"""What a calibration measures, in a process of its own: ``python -m gossamer.firmware_profiles.measure``.

Prints one JSON object a line: ``{"step": ...}`` before each measurement, at the end ``{"result": {...}}`` with figures
as a device profile names them. The child's own start is timed by who started it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = ("floats", "dense", "rotated", "sparse", "hist", "training", "fsync")
SPEC_OF_KIND = {"floats": "fp16", "dense": "q8", "rotated": "rot1", "sparse": "ternary:0.02", "hist": "hist:0.01"}
SHAPES: tuple[tuple[int, ...], ...] = ((200, 100), (100,), (100, 10), (10,))
"""21,110 parameters: enough that a body's fixed costs vanish, little enough for the smallest board."""
BATCH = 32
FSYNCS = 5


def rate(work: Callable[[], object], units: float, seconds: float) -> float:
    """Units a second of ``work``, the best of repetitions within ``seconds``: others use the machine too."""
    work()  # what is only made once
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return units / max(best, 1e-9)


def codec_rate(kind: str, seconds: float) -> int:
    """Thousand coordinates a second that a codec of this kind encodes."""
    from gossamer.compression.codecs import codec
    from gossamer.compression.layout import Layout
    from gossamer.firmware_profiles.updates import UpdateMaker

    maker = UpdateMaker(Layout(tuple((str(i), shape) for i, shape in enumerate(SHAPES))), seed=1)
    made, update, context = codec(SPEC_OF_KIND[kind]), maker.update(0), maker.context
    return max(1, round(rate(lambda: made.encode(update, seed=1, context=context), update.size / 1e3, seconds)))


def training(seconds: float) -> tuple[int, int]:
    """Million floating point operations a second of a numpy fit, and the microseconds of a step that computes nothing.

    Two perceptrons tell them apart: one of `SHAPES`, and one so small that only the calls into numpy take time.
    """
    small = 1e6 / rate(stepper(2, 2, 2), 1.0, seconds / 2)
    large = 1e6 / rate(stepper(SHAPES[0][0], SHAPES[0][1], SHAPES[2][1]), 1.0, seconds / 2)
    weights = sum(math.prod(SHAPES[i]) for i in (0, 2))
    return max(1, round(FLOPS_PER_PARAMETER * weights * BATCH / max(large - small, 1.0))), max(1, round(small))


def stepper(inputs: int, hidden_units: int, classes: int) -> Callable[[], None]:
    """One step of stochastic gradient descent on a perceptron, as a numpy trainer does it."""
    import numpy as np

    rng = np.random.default_rng(1)
    first = rng.standard_normal((inputs, hidden_units)).astype(np.float32)
    second = rng.standard_normal((hidden_units, classes)).astype(np.float32)
    x = rng.standard_normal((BATCH, inputs)).astype(np.float32)
    y = rng.integers(0, classes, BATCH)

    def step() -> None:
        hidden = np.maximum(x @ first, 0)
        logits = hidden @ second
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        gradient = e / e.sum(axis=1, keepdims=True)
        gradient[np.arange(BATCH), y] -= 1
        back = (gradient @ second.T) * (hidden > 0)
        second[:] -= np.float32(1e-3) * (hidden.T @ gradient)
        first[:] -= np.float32(1e-3) * (x.T @ back)

    return step


FLOPS_PER_PARAMETER = 6
"""Of a dense layer's parameter, an example: a multiplication and an addition forward, twice that backward."""


def fsync_milliseconds(directory: Path) -> int:
    """Until a page written to ``directory`` is durable: the median."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(FSYNCS):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return max(1, round(1e3 * sorted(taken)[FSYNCS // 2]))


def resident_mib() -> int:
    """Memory of this process now (``VmRSS``); ``ru_maxrss`` would begin with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return max(1, next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0) // 1024)


def measure(seconds: float, directory: Path, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """All of it; ``seconds`` for each step, ``say`` hears what is being measured."""
    import numpy as np

    np.zeros(1)  # what the child holds before it has data or a model
    rss = resident_mib()
    codecs = {}
    for kind in SPEC_OF_KIND:
        say({"step": kind})
        codecs[kind] = codec_rate(kind, seconds)
    say({"step": "training"})
    megaflops, microseconds = training(seconds)
    say({"step": "fsync"})
    return {
        "train_megaflops": megaflops,
        "step_microseconds": microseconds,
        "codec_kilovalues_per_second": codecs,
        "fsync_milliseconds": fsync_milliseconds(directory),
        "child_rss_mib": rss,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each step")
    parser.add_argument("--directory", type=Path, default=Path(), help="where durability is measured")
    options = parser.parse_args()

    def say(line: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    import numpy

    say({"ready": numpy.__version__})
    say({"result": measure(options.seconds, options.directory, say)})


if __name__ == "__main__":
    main()
