"""Run in the peers' environment: ``python measure.py DIRECTORY`` reads cases, writes ``answers.json`` beside them.

A case is ``NAME.npy``, float32 (n, d): n updates of d parameters, and an entry of ``cases.json``: ``name``, ``shapes``
of the model's tensors, ``repeat``: how often the n updates, end to end, are taken for the one tensor that is timed,
``repetitions`` of the timing.
An answer: ``name, codec, bytes`` and ``nmse`` of every update, ``encode_seconds, decode_seconds, timed_parameters``.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import peers  # this script's directory, not a package: gossamer is not installed here
import torch


def cut(update: np.ndarray, shapes: list[list[int]]) -> list[np.ndarray]:
    """float32 (d,) -> the model's tensors."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(update, ends), shapes, strict=True)]


def nmse(x: np.ndarray, y: np.ndarray) -> float:
    """||x - y||^2 / ||x||^2."""
    exact = x.astype(np.float64)
    return float(np.square(exact - y).sum() / np.square(exact).sum())


def median_seconds(work: Callable[[], object], repetitions: int) -> float:
    """CPU seconds of this process."""
    taken = []
    for _ in range(repetitions):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def answer(peer: peers.Peer, updates: np.ndarray, case: dict[str, Any]) -> dict[str, Any]:
    """One peer on one case."""
    tensors = [cut(update, case["shapes"]) for update in updates]
    sizes, errors = [], []
    for update, arrays in zip(updates, tensors, strict=True):
        size, state = peer.encode(arrays)
        back = np.concatenate([np.asarray(part).reshape(-1) for part in peer.decode(state)])
        sizes.append(size)
        errors.append(nmse(update, back))
    timed = [np.tile(updates.reshape(-1), case["repeat"])]
    encoded = peer.encode(timed)[1]
    return {
        "name": case["name"],
        "codec": peer.name,
        "bytes": sizes,
        "nmse": errors,
        "encode_seconds": median_seconds(lambda: peer.encode(timed), case["repetitions"]),
        "decode_seconds": median_seconds(lambda: peer.decode(encoded), case["repetitions"]),
        "timed_parameters": timed[0].size,
    }


def main() -> None:
    """Run from the command line."""
    torch.set_num_threads(1)
    np.random.seed(0)  # Eden draws its seeds from it
    directory = Path(sys.argv[1])
    real_stdout, sys.stdout = sys.stdout, sys.stderr  # Eden prints
    everyone = peers.all_peers()
    answers = []
    for case in json.loads((directory / "cases.json").read_text()):
        updates = np.load(directory / f"{case['name']}.npy")
        for peer in everyone:
            answers.append(answer(peer, updates, case))
            print(f"{case['name']}: {peer.name}", file=real_stdout, flush=True)
    (directory / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
