"""Peak memory of rules that read a round's updates from the inbox, compressed: what a server needs for a large round.

    python -m benchmarks.rules_memory [--updates 1000 10000] [--json FILE]

Real bodies of ``sign`` (1 bit a parameter, 1,000,000 parameters) are put into the inbox of a store on disk; each rule
then runs in a process of its own, over all of them, as the engine runs it. ``peak_mb`` is the kernel's account of that
process (VmHWM): what it allocated, and what of the mapped file was in memory. ``DISTINCT`` bodies are encoded, and
every device sends one of these.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from gossamer.aggregator.bodies import Bodies
from gossamer.aggregator.rules import Update, Updates, rule
from gossamer.aggregator.store import Store
from gossamer.aggregator.store.schema import inbox as table
from gossamer.compression import NOTHING, codec

D = 1_000_000
DISTINCT = 64
RUNS = ((1_000, ("mean", "sign-majority", "median")), (10_000, ("mean", "sign-majority")))
CHECKED = {1_000: 400, 10_000: 2_000}
"""MB that a round of so many may take at most."""


def fill(store: Store, updates: int, d: int, spec: str = "sign") -> int:
    """Put ``updates`` bodies of d coordinates into the inbox of job 1, round 0; returns their bytes."""
    rng, encoder = np.random.default_rng(1), codec(spec)
    shape = [encoder.encode(rng.standard_normal(d, dtype=np.float32), seed=i) for i in range(min(DISTINCT, updates))]
    fixed = {"job": 1, "round": 0, "counted_in": 0, "base_version": 0, "examples": 1, "loss_micro": 0,
             "received_at": 0.0, "object_id": b"", "header": b""}  # fmt: skip
    for start in range(0, updates, 500):
        rows = [
            {**fixed, "device": name(i), "body": shape[i % len(shape)]} for i in range(start, min(start + 500, updates))
        ]
        with store.write() as db:
            db.execute(sa.insert(table), rows)
    return sum(len(shape[i % len(shape)]) for i in range(updates))


def name(index: int) -> str:
    return f"device-{index:05d}"


def aggregate(location: Path, spec: str, updates: int, d: int) -> dict[str, float]:
    """Run one rule over the inbox in this process: seconds of CPU time and peak MB."""
    bodies = Bodies(Store.open(location), 1, d, context_of=lambda _version: NOTHING)
    items = [Update(i, bodies.get(0, name(i), 0)) for i in range(updates)]
    chosen = rule(spec)
    began = time.process_time()
    _, _, report = chosen.apply(chosen.init(d), Updates.of(items, d))
    seconds = time.process_time() - began
    if report.shortfall or report.rejected:
        raise SystemExit(f"{spec} refused updates: {report.shortfall or report.rejected[0]}")
    return {"seconds": seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The peak of this process's resident set. (ru_maxrss would begin with that of the process that started it.)"""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) / 1024


def in_process(location: Path, spec: str, updates: int, d: int) -> dict[str, float]:
    """:func:`aggregate` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rules_memory", "--one", str(location), spec, str(updates), str(d)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, nargs="*", default=[n for n, _ in RUNS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        location, spec, updates, d = options.one
        print(json.dumps(aggregate(Path(location), spec, int(updates), int(d))))
        return
    records = []
    print(f"{'updates':>8} {'encoded MB':>11} {'rule':20} {'CPU s':>8} {'peak MB':>8}")
    for updates, specs in RUNS:
        if updates not in options.updates:
            continue
        with tempfile.TemporaryDirectory(prefix="rules-memory-") as home:
            store = Store.open(Path(home) / "store.db")
            encoded = fill(store, updates, D)
            store.close()
            for spec in specs:
                found = in_process(Path(home) / "store.db", spec, updates, D)
                peak = found["peak_mb"]
                print(f"{updates:8} {encoded / 1e6:11.0f} {spec:20} {found['seconds']:8.1f} {peak:8.0f}", flush=True)
                if peak > CHECKED[updates]:
                    print(f"         above the bound of {CHECKED[updates]} MB")
                records.append({"rule": spec, "updates": updates, "d": D, "encoded_mb": encoded / 1e6, **found})
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
