"""Settings for `federations.toml`: a grid on seeds 0, 1, 2, ordered by the bytes to the target.

    python -m benchmarks.settings_sweep --federation mnist20 --codec ternary:0.005,ternary:0.01 \
        --epochs 4 --batch 8 --rate 0.05,0.1 --step fedavg,fedavgm:1.0/0.5 --json /tmp/sweep.json

The first seed is run for the whole grid, the others only for the best few: a grid point that is far behind on one seed
is not the best on three. A run ends at ``--give-up`` times the fewest bytes so far. ``--codec-down`` takes specs, or
``same``. Records as those of `benchmarks.bytes_to_accuracy`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

from benchmarks.accuracy_runs import Outcome, Run
from benchmarks.federations import FEDERATIONS, federation
from benchmarks.parallel_runs import in_workers
from benchmarks.training_settings import Training
from gossamer.cli.output import emit

SEEDS = (0, 1, 2)
COLUMNS = ("codec", "codec_down", "local_epochs", "batch_size", "learning_rate", "server_step")


class Sweep:
    """What was run so far, and what is best of it by ``criterion``: payload or wire bytes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.records: list[dict[str, Any]] = []
        self.fewest = float("inf")

    def runs(self, grid: list[Training], seeds: tuple[int, ...]) -> None:
        """Run a grid on seeds, a slice at a time, so that later runs know when to give up."""
        name = self.options.federation
        target = federation(name).target
        wanted = [(training, seed) for training in grid for seed in seeds]
        slices = itertools.batched(wanted, 4) if hasattr(itertools, "batched") else _batched(wanted, 4)
        for some in slices:
            limit = self.fewest * self.options.give_up
            in_workers([Run(name, training, seed, target, limit) for training, seed in some], self.finished)

    def finished(self, outcome: Outcome) -> None:
        """Keep a record; say it in a line."""
        record = outcome.record
        self.records.append(record)
        if record["reached"]:
            self.fewest = min(self.fewest, record["payload_up"] + record["payload_down"])
        print(*(record[name] for name in COLUMNS), f"seed {record['seed']}:", _said(record), flush=True)
        if self.options.json:
            self.options.json.write_text(json.dumps(self.records, indent=1) + "\n")

    def ranking(self) -> list[dict[str, Any]]:
        """One row for each setting, best first: reached on most seeds, then the fewest bytes in the mean."""
        groups = defaultdict(list)
        for record in self.records:
            groups[tuple(record[name] for name in COLUMNS)].append(record)
        rows = [dict(zip(COLUMNS, key, strict=True)) | _mean(group) for key, group in groups.items()]
        return sorted(rows, key=lambda row: (-row["reached"], row[self.options.by]))


def _batched(items: list[Any], size: int) -> list[list[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _said(record: dict[str, Any]) -> str:
    payload = (record["payload_up"] + record["payload_down"]) / 1000
    word = "reached" if record["reached"] else f"only {record['accuracy']:.4f}"
    return f"{word} in {record['rounds']} rounds, {payload:.1f} kB, {record['seconds']} s"


def _mean(group: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "reached": sum(r["reached"] for r in group),
        "rounds": round(statistics.mean(r["rounds"] for r in group), 1),
        "payload": round(statistics.mean(r["payload_up"] + r["payload_down"] for r in group)),
        "wire_bytes": round(statistics.mean(r["wire_bytes"] for r in group)),
        "accuracy": round(statistics.mean(r["accuracy"] for r in group), 4),
    }


def _grid(options: argparse.Namespace) -> list[Training]:
    axes = (options.codec, options.codec_down, options.epochs, options.batch, options.rate, options.step)
    return [
        Training(up, up if down == "same" else down, int(epochs), int(batch), float(rate), step, options.rounds)
        for up, down, epochs, batch, rate, step in itertools.product(*(axis.split(",") for axis in axes))
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--federation", required=True, choices=tuple(FEDERATIONS))
    parser.add_argument("--codec", required=True)
    parser.add_argument("--codec-down", default="same")
    parser.add_argument("--epochs", default="4")
    parser.add_argument("--batch", default="8")
    parser.add_argument("--rate", default="0.1")
    parser.add_argument("--step", default="fedavg")
    parser.add_argument("--rounds", type=int, default=200, help="limit of a run")
    parser.add_argument("--keep", type=int, default=3, help="so many settings are run on the other seeds")
    parser.add_argument("--give-up", type=float, default=2.0)
    parser.add_argument("--by", default="payload", choices=("payload", "wire_bytes"))
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    sweep, grid = Sweep(options), _grid(options)
    sweep.runs(grid, SEEDS[:1])
    best = [tuple(row[name] for name in COLUMNS) for row in sweep.ranking()[: options.keep]]
    kept = [each for each in grid if tuple(each.to_record()[name] for name in COLUMNS) in best]
    sweep.runs(kept, SEEDS[1:])
    emit(sweep.ranking()[: 2 * options.keep], as_json=False, title=f"{options.federation}, best by {options.by}")


if __name__ == "__main__":
    main()
