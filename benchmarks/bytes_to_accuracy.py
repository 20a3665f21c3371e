"""Bytes a device sends and receives until the fleet's model is accurate: federations x codecs x seeds.

    python benchmarks/bytes_to_accuracy.py --federation mnist20 --codec hist:400 --seeds 3,4,5 --json out.json

Without options, everything in `federations.toml`. Writes a record after each run and skips runs the file already has.
Records: ``federation, codec, seed, target, reached, rounds, accuracy, payload_up, payload_down, wire_bytes,
wire_bytes_plain`` (payload and wire: bytes of one device, in the mean), ``ratio_vanilla, ratio_tuned,
wire_ratio_vanilla, wire_ratio_tuned`` (the same seed's fp32 bytes over these; empty if either did not get there), and
the settings. Method: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
if not __package__:  # run as a file: its own directory would hide modules of other names, and the repository is needed
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.accuracy_report import add_ratios, plot, print_tables
from benchmarks.accuracy_runs import Outcome, Run
from benchmarks.federations import FEDERATIONS, federation
from benchmarks.parallel_runs import Records, in_workers
from benchmarks.training_settings import listed_codecs
from gossamer.errors import GossamerError

QUICK_FEDERATIONS = ("digits", "mnist20")
QUICK_CODECS = ("vanilla", "fp32", "ternary", "hist")
QUICK_EASIER = 0.12  # so much below the target: reached in some ten rounds
QUICK_ROUNDS = 40


def planned(options: argparse.Namespace) -> list[Run]:
    """What the options ask for, the longest federations first."""
    names = options.federation or (QUICK_FEDERATIONS if options.quick else FEDERATIONS)
    runs = [
        Run.chosen(name, codec, seed)
        for name in names
        for codec in options.codec or quick_codecs(federation(name).name, options.quick)
        for seed in options.seeds or ((3,) if options.quick else (3, 4, 5))
    ]
    return [quicker(run) for run in runs] if options.quick else runs


def quick_codecs(name: str, quick: bool) -> list[str]:
    """The codecs listed for a federation; of each method of the quick form, the first."""
    listed = listed_codecs(name)
    if not quick:
        return listed
    firsts = {codec.split(":")[0]: codec for codec in reversed(listed)}
    return [firsts[method] for method in QUICK_CODECS if method in firsts]


def quicker(run: Run) -> Run:
    """The same towards an easier target."""
    limited = replace(run.training, rounds=min(run.training.rounds, QUICK_ROUNDS))
    return replace(run, training=limited, target=round(run.target - QUICK_EASIER, 4))


def main() -> None:
    """Run from the command line."""
    options = arguments()
    records = Records(options.json)
    try:
        runs = planned(options)
    except GossamerError as error:
        sys.exit(f"bytes_to_accuracy: {error}")
    missing = [run for run in runs if not records.has(run)]
    if len(missing) < len(runs):
        print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {options.json} already", flush=True)
    began = time.monotonic()
    done = 0

    def finished(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        records.put(outcome)
        print(f"{done}/{len(missing)} {time.monotonic() - began:5.0f} s  {line(outcome)}", flush=True)

    in_workers(missing, finished, options.workers)
    records.rows = sorted(add_ratios(records.rows), key=place)
    records.write()
    print_tables(records.rows)
    picture = options.plot or (options.json.with_suffix(".png") if options.json else None)
    if picture:
        plot(records.rows, records.curves, picture)
        print(f"plot: {picture}")


def place(record: dict[str, Any]) -> tuple[Any, ...]:
    """Where a record stands in the file: federations and codecs in the order of `federations.toml`."""
    federations, listed = list(FEDERATIONS), listed_codecs(record["federation"])
    codec = listed.index(record["codec"]) if record["codec"] in listed else len(listed)
    return federations.index(record["federation"]), codec, record["codec"], record["seed"]


def line(outcome: Outcome) -> str:
    """A finished run in a line."""
    record = outcome.record
    payload = (record["payload_up"] + record["payload_down"]) / 1000
    word = "reached" if record["reached"] else f"NOT reached, {record['accuracy']:.4f}"
    name = f"{record['federation']} {record['codec']} seed {record['seed']}"
    return f"{name}: {word} after {record['rounds']} rounds, payload {payload:,.1f} kB, took {record['seconds']} s"


def names(text: str) -> list[str]:
    """What stands between commas."""
    return text.split(",")


def arguments() -> argparse.Namespace:
    """The command line; unknown federations end it with a message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--federation", type=names, help=f"of {', '.join(FEDERATIONS)}; default: all")
    parser.add_argument("--codec", type=names, help="specs, vanilla or fp32; default: all of federations.toml")
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="PNG", help="default: beside the JSON file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two federations, easier targets, one seed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
