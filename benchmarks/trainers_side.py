"""One federation trained by trainers of one kind, in the environment that has their framework; prints JSON.

    python -m benchmarks.trainers_side --kind torch --data digits --seeds 0,1,2 [--rounds 20]

Started by `benchmarks.trainers`. Data, deal, job settings and judge are the demo's; only what trains differs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from gossamer.aggregator.jobs import FitSettings, JobSettings
from gossamer.demo.data import Part, load, pooled_held_out
from gossamer.demo.federation import model_for
from gossamer.demo.settings import defaults_for
from gossamer.demo.simulate import Simulation

MODELS = Path(__file__).resolve().parents[1] / "tests" / "data"
KINDS = ("numpy", "torch", "tflite")


def trainer(kind: str, data: str, part: Part, held_out: tuple[Any, Any]) -> Any:
    """A trainer of the demo's model for this data, in this framework."""
    if kind == "numpy":
        from gossamer.agent.trainer import NumpyTrainer

        return NumpyTrainer(model_for(data), part.x, part.y, held_out)
    if kind == "tflite":
        from gossamer.trainers.tflite import TFLiteTrainer

        layers = (0, 1) if data == "digits" else (0, 1, 3)
        order = [f"layer{layer}_{name}" for layer in layers for name in ("weight", "bias")]
        return TFLiteTrainer(MODELS / f"{data}.tflite", part.x, part.y, held_out, order=order)
    from torch.nn.functional import cross_entropy

    from gossamer.trainers.torch import TorchTrainer

    return TorchTrainer(torch_model(data), cross_entropy, (part.x, part.y), held_out)


def torch_model(data: str) -> Any:
    """The demo's network as a torch user writes it."""
    import torch
    from torch import nn

    if data == "digits":
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv1d(6, 24, 5, stride=2)
            self.conv2 = nn.Conv1d(24, 19, 5, stride=2)
            self.head = nn.Linear(38, 7)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.conv2(torch.relu(self.conv1(x.transpose(1, 2)))))
            return self.head(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))

    return Watch()


def job(data: str, seed: int, rounds: int | None) -> JobSettings:
    """The demo's settings."""
    tuned = defaults_for(data, "mean")
    settings = JobSettings(
        name=data, job=1, fleet="demo", seed=seed, rounds=rounds or tuned.rounds, cohorts=tuned.cohorts,
        server_step=tuned.server_step, codec_up=tuned.codec, codec_down=tuned.codec_down,
        fit=FitSettings(tuned.local_epochs, tuned.batch_size, tuned.learning_rate, tuned.schedule),
    )  # fmt: skip
    settings.check()
    return settings


def run(kind: str, data: str, seed: int, rounds: int | None) -> dict[str, Any]:
    """One federation to its end."""
    parts = load(data, defaults_for(data, "mean").devices, seed)
    trainers = [trainer(kind, data, part, (part.x_held_out, part.y_held_out)) for part in parts]
    judge = trainer(kind, data, parts[0], pooled_held_out(data, parts))
    simulation = Simulation(job(data, seed, rounds), trainers)
    first = simulation.model_digest().hex()
    began = time.process_time()
    *_, last = simulation.rounds(judge)
    return {
        "kind": kind, "data": data, "seed": seed, "rounds": last.round + 1, "accuracy": round(last.accuracy, 4),
        "payload_bytes": last.payload_up + last.payload_down, "first_digest": first, "digest": last.digest.hex(),
        "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--data", choices=("digits", "watch"), required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=None)
    options = parser.parse_args()
    for seed in options.seeds.split(","):
        print(json.dumps(run(options.kind, options.data, int(seed), options.rounds)), flush=True)


if __name__ == "__main__":
    main()
