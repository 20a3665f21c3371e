"""The same federation trained by numpy, torch and both TFLite runtimes: accuracy, bytes, model digests.

    python -m benchmarks.trainers --json benchmarks/results/trainers.json

Each runs in an environment of its own (`tests.environments`; made once, 2 GB). Data, deal, seeds, codecs and rounds are
the demo's; the networks are written anew for each framework (`benchmarks.trainers_side`). Records: ``environment, kind,
data, seed, rounds, accuracy, payload_bytes, first_digest, digest, cpu_seconds``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

from gossamer.cli.output import emit
from tests.environments import run_in

WHO = (("tflite", "numpy"), ("torch", "torch"), ("tflite", "tflite"), ("tflite-legacy", "tflite"))
"""(environment, kind of trainer); numpy's is the first, with which the others are compared."""
RUN_SECONDS = 3600


def measure(data: str, seeds: str, rounds: int | None = None) -> list[dict[str, Any]]:
    """All runs of one data set."""
    records = []
    for environment, kind in WHO:
        more = [] if rounds is None else ["--rounds", str(rounds)]
        side = ["-m", "benchmarks.trainers_side", "--kind", kind, "--data", data, "--seeds", seeds, *more]
        done = run_in(environment, *side, timeout=RUN_SECONDS)
        records += [{"environment": environment, **json.loads(line)} for line in done.stdout.splitlines()]
    return records


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each data set and trainer: means over seeds, and what it has in common with numpy's runs."""
    rows = []
    for data in sorted({each["data"] for each in records}):
        of_data = [each for each in records if each["data"] == data]
        numpys = {each["seed"]: each for each in of_data if each["kind"] == "numpy"}
        for environment, kind in WHO:
            own = [each for each in of_data if (each["environment"], each["kind"]) == (environment, kind)]
            gaps = [each["accuracy"] - numpys[each["seed"]]["accuracy"] for each in own]
            same = [sum(each[key] == numpys[each["seed"]][key] for each in own) for key in ("first_digest", "digest")]
            rows.append({
                "data": data, "trainer": kind if kind != "tflite" else environment, "seeds": len(own),
                "rounds": own[0]["rounds"], "accuracy": round(mean(each["accuracy"] for each in own), 4),
                "gap": round(mean(gaps), 4), "largest_gap": round(max(map(abs, gaps)), 4),
                "same_first_model": same[0], "same_last_model": same[1],
                "cpu_seconds": round(sum(each["cpu_seconds"] for each in own), 1),
            })  # fmt: skip
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits,watch")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--rounds", type=int, default=None, help="default: the demo's (digits 60, watch 120)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    records = [each for data in options.data.split(",") for each in measure(data, options.seeds, options.rounds)]
    emit(summary(records), as_json=False, title="one federation, four trainers")
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
