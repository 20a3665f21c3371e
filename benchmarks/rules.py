"""Aggregation rules beside ByzFL's, on the same updates in one run: CPU time, memory, and how far the outputs differ.

    python -m benchmarks.rules [--n 20 100 500] [--d 1000000] [--repeat 5] [--no-peer] [--json FILE]

ByzFL 0.0.11 (Guerraoui et al. 2025) by its numpy path, in an environment of its own that is made once
(``benchmarks.rules_peer``). Every measurement is a process of its own with one thread: CPU time is user and system
time of this process between the call and its return, the median of ``--repeat`` calls after the first; the two sides
take turns rule by rule. ``first_seconds`` is the first call in the fresh process: a server seals once a round, and what
a rule needs of memory has to be faulted in then. ``extra_mb`` is what the peak of the resident set grew by over the set
with the inputs. Our time is that of ``Rule.apply``: it rejects what is not finite and makes the report; ByzFL's rules
do neither.

The updates are float32: a common direction, noise with a scale of its own for each device, and a fifth of the devices
reverses all of it and doubles it. f = n / 5 for both. ``iid``: standard normal numbers instead, where no decision of
Krum is clear and many are taken by the exact Gram matrix.

``packed-majority``: 100 bodies of ``sign``, opened and aggregated. The peer has nothing like it; its record has no
reference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rules_peer import rules_python

SIZES = (20, 100, 500)
PEER_NAMES = {
    "median": "Median", "trimmed-mean": "TrMean", "krum": "Krum", "multi-krum": "MultiKrum",
    "geometric-median": "GeometricMedian", "centered-clipping": "CenteredClipping", "nnm+trimmed-mean": "NNM+TrMean",
}  # fmt: skip
PEER_SECONDS = 900
SKIPPED_BY_PEER = {(500, "krum"), (500, "multi-krum")}
"""Three minutes of CPU for each call."""
TARGETS = {"median": 10.0, "krum": 30.0, "multi-krum": 30.0, "geometric-median": 20.0, "centered-clipping": 10.0,
           "trimmed-mean": 1.3}  # fmt: skip


def spec_of(rule: str, f: int) -> str:
    """Our spec of a benchmarked rule; three Weiszfeld steps and a radius of 100 are ByzFL's defaults."""
    return {
        "median": "median",
        "trimmed-mean": f"trimmed-mean:{f}",
        "krum": f"krum:{f}",
        "multi-krum": f"multi-krum:{f}",
        "geometric-median": "geometric-median:3",
        "centered-clipping": "centered-clipping:100.0",
        "nnm+trimmed-mean": f"nnm:{f}+trimmed-mean:{f}",
        "mean": "mean",
        "geometric-median, settled": "geometric-median",
        "bulyan": f"bulyan:{f - 1}",
        "clipped-differences": "clipped-differences:0.3",
        "norm-clip": "norm-clip",
    }[rule]


OWN = ("mean", "geometric-median, settled", "bulyan", "norm-clip", "clipped-differences")


def made(n: int, d: int, seed: int, iid: bool) -> np.ndarray:
    """The updates, float32 (n, d)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d), dtype=np.float32)
    if iid:
        return x
    x *= np.exp(0.3 * rng.standard_normal((n, 1))).astype(np.float32)
    x += rng.standard_normal(d, dtype=np.float32)
    x[: n // 5] *= -2
    return x


def environment() -> dict[str, str]:
    """One thread, and the BLAS kernel that belongs to the processor."""
    out = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    root = str(Path(__file__).resolve().parents[1])
    return {**out, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": root}


def child(python: Path | str, options: list[str]) -> dict[str, Any]:
    """What `rules_child` reports; ``{"failed": why}`` if it ends otherwise."""
    script = Path(__file__).with_name("rules_child.py")
    try:
        done = subprocess.run(
            [str(python), str(script), *options], env=environment(), capture_output=True, text=True,
            timeout=PEER_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"over {PEER_SECONDS} s"}
    if done.returncode:
        out_of_memory = done.returncode == -9 or "MemoryError" in done.stderr or "allocate" in done.stderr
        return {"failed": "out of memory" if out_of_memory else done.stderr.strip().splitlines()[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(rule: str, n: int, data: Path, peer: Path | None, repeat: int) -> dict[str, Any]:
    """One record."""
    f = n // 5
    output, reference = data.with_name("ours.npy"), data.with_name("theirs.npy")
    options = [str(data), str(repeat)]
    ours = child(sys.executable, ["ours", spec_of(rule, f), *options, str(output)])
    if "failed" in ours:
        raise SystemExit(f"{rule}: {ours['failed']}")
    record = {"rule": rule, "n": n, **ours, "reference_seconds": None, "max_relative_difference": None}
    if peer is None or rule not in PEER_NAMES:
        return record
    if (n, rule) in SKIPPED_BY_PEER:
        return {**record, "reference": "not run"}
    theirs = child(peer, ["byzfl", f"{PEER_NAMES[rule]}:{f}", *options, str(reference)])
    if "failed" in theirs:
        return {**record, "reference": theirs["failed"]}
    a, b = np.load(output), np.load(reference)
    difference = float(np.abs(a - b).max() / np.abs(b).max())
    return {**record, "reference_seconds": theirs["seconds"], "reference_first_seconds": theirs["first_seconds"],
            "reference_extra_mb": theirs["extra_mb"], "reference_kernel": theirs["kernel"],
            "max_relative_difference": difference}  # fmt: skip


def line(record: dict[str, Any]) -> str:
    seconds, first, theirs = record["seconds"], record["first_seconds"], record["reference_seconds"]
    if theirs:
        their_first = record["reference_first_seconds"]
        peer = f"{theirs:9.3f} {theirs / seconds:7.1f}x {their_first:9.3f} {their_first / first:7.1f}x "
        peer += f"{record['max_relative_difference']:9.1e}"
    else:
        peer = f"{record.get('reference', ''):>47}"
    return f"{record['rule']:26} {record['n']:4} {seconds:9.4f} {first:9.4f} {record['extra_mb']:9.0f} {peer}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--d", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--rules", nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    peer = None if options.no_peer else rules_python(print)
    records: list[dict[str, Any]] = []
    print(f"{'rule':26} {'n':>4} {'ours s':>9} {'first s':>9} {'extra MB':>9} {'ByzFL s':>9} {'ratio':>8} "
          f"{'first s':>9} {'ratio':>8} {'difference':>10}")  # fmt: skip

    def note(record: dict[str, Any]) -> None:
        records.append({"d": options.d, **record})
        print(line(record), flush=True)

    with tempfile.TemporaryDirectory(prefix="rules-") as home:
        data = Path(home) / "updates.npy"
        for n in options.n:
            np.save(data, made(n, options.d, n, iid=False))
            for rule in options.rules or [*PEER_NAMES, *OWN]:
                note(compared(rule, n, data, peer, options.repeat))
        if not options.rules:
            np.save(data, made(100, options.d, 1, iid=True))
            for rule in ("krum", "multi-krum", "nnm+trimmed-mean"):
                record = compared(rule, 100, data, None, options.repeat)
                note({**record, "rule": f"{rule}, iid"})
            packed = child(sys.executable, ["packed", "sign-majority", str(data), "21", ""])
            note({"rule": "packed-majority", "n": 100, **packed, "reference_seconds": None,
                  "max_relative_difference": None})  # fmt: skip
    kernels = {record[key] for record in records for key in ("kernel", "reference_kernel") if key in record}
    print(f"BLAS kernels: {', '.join(sorted(kernels))}")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
