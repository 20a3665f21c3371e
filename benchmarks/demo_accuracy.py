"""Accuracy and payload of the demo's training, compressed and at fp32, over several seeds.

    python -m benchmarks.demo_accuracy --seeds 0,1,2,3,4,5 --json out.json

Runs the fleet's own code in one process, without broker and store; ``gossamer demo`` with the same seed gives the
same model to the bit. Records: ``data, seed, accuracy, accuracy_fp32, payload_bytes, fp32_payload_bytes,
fp32_run_bytes, factor, digest``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

from gossamer.cli.output import emit
from gossamer.demo.federation import fleet
from gossamer.demo.options import DemoOptions
from gossamer.demo.reference import bytes_to_reach, run_reference
from gossamer.demo.settings import defaults_for
from gossamer.demo.simulate import Simulation
from gossamer.demo.workspace import job_settings


def measure(data: str, seed: int) -> dict[str, Any]:
    """Run one seed both ways."""
    tuned = defaults_for(data, "mean")
    options = DemoOptions(
        data, seed, tuned.devices, tuned.cohorts, tuned.rounds, tuned.codec, tuned.codec_down, "mean", 0, "none"
    )
    trainers, judge = fleet(data, options.devices, seed)
    run = Simulation(job_settings(options, tuned), trainers)
    *_, last = run.rounds(judge)
    reference = list(run_reference(options, tuned))
    payload = last.payload_up + last.payload_down
    needed = bytes_to_reach(reference, last.accuracy)
    fp32 = needed.payload_up + needed.payload_down
    return {
        "data": data,
        "seed": seed,
        "accuracy": round(last.accuracy, 4),
        "accuracy_fp32": round(reference[-1].accuracy, 4),
        "payload_bytes": payload,
        "fp32_payload_bytes": fp32,
        "fp32_run_bytes": reference[-1].payload_up + reference[-1].payload_down,
        "factor": round(fp32 / payload, 1),
        "digest": last.digest.hex(),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="watch", choices=("watch", "digits"))
    parser.add_argument("--seeds", default="0,1,2,3,4,5")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    records = [measure(options.data, int(seed)) for seed in options.seeds.split(",")]
    emit(records, as_json=False, title=f"the demo's training on {options.data}")
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
