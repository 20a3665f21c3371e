"""The ServerApp: Flower's FedAvg, or with a momentum its FedAvgM.

After each round a line of JSON with accuracy and interface counters goes into a file.
"""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvgM

from gossamer.agent.trainer import NumpyTrainer
from gossamer.demo.models import MLP

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    settings = context.run_config
    log = Path(str(settings["log"]))
    with np.load(Path(str(settings["data"])) / "fleet.npz", allow_pickle=False) as fleet:
        initial = [fleet[f"weights-{at}"] for at in range(int(fleet["arrays"]))]
        sizes = (int(fleet["inputs"]), int(fleet["hidden"]), int(fleet["classes"]))
        judge = NumpyTrainer(MLP(*sizes), fleet["x"], fleet["y"])

    def after_round(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        accuracy = judge.evaluate(arrays.to_numpy_ndarrays())["accuracy"]
        line = {
            "round": server_round,
            "accuracy": accuracy,
            "time": time.time(),
            "net": Path("/proc/self/net/dev").read_text(),
        }
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return MetricRecord({"accuracy": accuracy})

    nodes = int(settings["nodes"])
    strategy = FedAvgM(  # with a learning rate of 1 and no momentum it is FedAvg
        fraction_evaluate=1.0 if settings["evaluate"] else 0.0,
        min_train_nodes=nodes,
        min_evaluate_nodes=nodes if settings["evaluate"] else 0,
        min_available_nodes=nodes,
        server_learning_rate=float(settings["server-learning-rate"]),
        server_momentum=float(settings["server-momentum"]),
    )
    strategy.start(
        grid=grid, initial_arrays=ArrayRecord(initial), num_rounds=int(settings["rounds"]), evaluate_fn=after_round
    )
