"""Rules under attack: rules x attacks x codecs, in fixed cyclic cohorts of which one has a Byzantine majority.

    python benchmarks/byzantine.py --json benchmarks/results/byzantine.json --plot benchmarks/results/byzantine.png

The setting is that of `benchmarks.byzantine_runs`: 20 devices, 4 attackers, cohorts of 4, 200 rounds. Without options
everything, seeds 3, 4 and 5 (0, 1 and 2 are for tuning). A record is written after each run, and what the file has
already is not run again. Records: ``rule, attack, codec, seed, accuracy``, and ``rounds``. Progress goes to stderr, the
table, means over seeds, to stdout: *worst* is the worst of the six published attacks, *worst of all* that of every
column. ``adaptive:`` attackers know the rule and its memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
if not __package__:  # run as a file: its own directory would hide modules of other names, and the repository is needed
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.byzantine_report import Records, print_tables, write_plot
from benchmarks.byzantine_runs import CODECS, Run, Training, run
from benchmarks.parallel_runs import WORKERS, in_workers
from gossamer.aggregator.attacks import attack
from gossamer.aggregator.rules import rule
from gossamer.errors import GossamerError

PUBLISHED = ("alie", "inner-product-2", "inner-product-10", "sign-flip", "gaussian", "shift-back")
FURTHER = ("mimic", "min-max", "label-flip", "replay", "examples")
KNOWING = ("adaptive:alie", "adaptive:sign-flip", "adaptive:min-max")
ATTACKS = ("none", *PUBLISHED, *FURTHER, *KNOWING)

RULES = (
    "mean",
    "median",
    "trimmed-mean:1",
    "krum:0",
    "multi-krum:0/2",
    "geometric-median",
    "centered-clipping",
    "norm-clip",
    "nnm:1+trimmed-mean:1",
    "bucketing:2+median",
    "sign-majority",
    "fltrust:20",
    "cache:0.5+nnm:4+trimmed-mean:4",
    "clipped-differences:0.3",
)
"""Each with the largest f that a cohort of 4 allows, or as it is meant: the cache with f = 4 of all 20. Krum needs
n >= 2 f + 3, so f = 0; Bulyan needs n >= 4 f + 3 and is left out."""

CODECS_OF = {"sign-majority": ("sign+residual",)}
"""Rules that are about one codec only."""


def planned(options: argparse.Namespace) -> list[Run]:
    """What the options ask for: the published attacks first, so that a stopped table has its main columns."""
    for spec in options.rules:
        rule(spec)
    for name in options.attacks:
        attack(name)
    unknown = set(options.codecs) - set(CODECS)
    if unknown:
        raise GossamerError(f"codec {unknown.pop()!r} is not known; choose from {', '.join(CODECS)}")
    training = Training(rounds=options.rounds)
    runs = [
        Run(spec, name, codec, seed, training)
        for name in options.attacks
        for codec in options.codecs
        for spec in options.rules
        for seed in options.seeds
        if codec in CODECS_OF.get(spec, CODECS)
    ]
    return sorted(runs, key=lambda each: each.attack not in ("none", *PUBLISHED))


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; 0 when the table is whole."""
    options = parsed(arguments)
    try:
        runs = planned(options)
    except GossamerError as error:
        print(f"byzantine: {error}", file=sys.stderr)
        return 2
    records = Records(options.json)
    there = records.keys()
    missing = [] if options.report else [each for each in runs if each.key not in there]
    print(f"{sum(each.key in there for each in runs)} of {len(runs)} runs are there already", file=sys.stderr)
    began, done = time.monotonic(), 0

    def finished(record: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        records.put(record)
        name = " ".join(str(record[key]) for key in ("rule", "attack", "codec", "seed"))
        seconds = time.monotonic() - began
        print(f"{done}/{len(missing)} {seconds:5.0f} s  {name}: {record['accuracy']:.4f}", file=sys.stderr, flush=True)

    in_workers(missing, finished, options.workers, run)
    records.write()
    asked = {each.key for each in runs}
    shown = [record for record in records.rows if Run.key_of(record) in asked]
    print_tables(shown, PUBLISHED)
    if options.plot:
        write_plot(shown, PUBLISHED, options.plot)
    return 0


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return text.split(",")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=listed, default=list(RULES), help="specs; default: all of the table")
    parser.add_argument("--attacks", type=listed, default=list(ATTACKS), help="names; none is the clean column")
    parser.add_argument("--codecs", type=listed, default=list(CODECS), help=f"of {', '.join(CODECS)}")
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=[3, 4, 5])
    parser.add_argument("--rounds", type=int, default=Training().rounds)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="PNG")
    parser.add_argument("--report", action="store_true", help="run nothing: table and picture of what the file has")
    parser.add_argument("--workers", type=int, default=WORKERS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
