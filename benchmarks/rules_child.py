"""One rule of one side, measured in a process of its own; run by ``benchmarks.rules``, in its or the peer's
environment.

    rules_child.py ours|byzfl|packed RULE DATA.npy REPEAT OUTPUT.npy

Prints one JSON object: CPU seconds (median; and of the first call, which is not among those of the median), MB by which
the peak of the resident set grew, and the BLAS kernel.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]
ADDRESS_SPACE = 16 << 30
"""Bytes: a rule that wants more fails, before the machine runs out of memory."""


def ours(spec: str, x: np.ndarray) -> Call:
    from gossamer.aggregator.rules import Updates, rule

    chosen, updates = rule(spec), Updates.dense(x)
    return lambda: chosen.apply(chosen.init(x.shape[1]), updates)[0]


def packed(spec: str, x: np.ndarray) -> Call:
    """Bodies of the rows by ``sign``; opened once, as the engine holds them."""
    from gossamer.aggregator.rules import Update, Updates, rule
    from gossamer.compression import codec, open_body

    d, chosen, encoder = x.shape[1], rule(spec), codec("sign")
    bodies = [encoder.encode(row, seed=i) for i, row in enumerate(x)]
    updates = Updates.of([Update(i, open_body(body, d)) for i, body in enumerate(bodies)], d)
    return lambda: chosen.apply(chosen.init(d), updates)[0]


def byzfl(spec: str, x: np.ndarray) -> Call:
    from byzfl import aggregators

    names, _, f = spec.partition(":")
    steps = []
    for name in names.split("+"):
        made = getattr(aggregators, name)
        plain = name in ("Median", "GeometricMedian", "CenteredClipping")
        # Centered clipping remembers its last result: each call gets a new one.
        steps.append(made if plain else (lambda made=made: made(int(f))))

    def call() -> Any:
        out = x
        for step in steps:
            out = step()(out)
        return out

    return call


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def kernel() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown (no threadpoolctl)"
    return next((f"OpenBLAS {i['version']} {i['architecture']}" for i in threadpool_info()
                 if i.get("internal_api") == "openblas"), "unknown")  # fmt: skip


def main() -> None:
    side, spec, data, repeat, output = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    x = np.load(data)
    call = {"ours": ours, "byzfl": byzfl, "packed": packed}[side](spec, x)
    # The calls' memory is counted from here: the input is in the set, and nothing was ever above it.
    before = peak_mb()
    began = time.process_time()
    result = call()
    first = time.process_time() - began
    extra = peak_mb() - before
    seconds = []
    for _ in range(int(repeat)):
        began = time.process_time()
        result = call()
        seconds.append(time.process_time() - began)
    if output:
        np.save(output, np.asarray(result, dtype=np.float64))
    found = {"seconds": statistics.median(seconds), "first_seconds": first, "extra_mb": extra, "kernel": kernel()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
