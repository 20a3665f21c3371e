"""The ClientApp: local SGD on one device's part of the data, as Flower's own quickstart does it."""

from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import FitConfig, NumpyTrainer
from gossamer.demo.models import MLP

app = ClientApp()


def own_trainer(context: Context) -> NumpyTrainer:
    """This node's data in the trainer that Gossamer's devices run, too."""
    file = Path(str(context.run_config["data"])) / f"device-{context.node_config['partition-id']}.npz"
    with np.load(file, allow_pickle=False) as part:
        sizes = (int(part["inputs"]), int(part["hidden"]), int(part["classes"]))
        return NumpyTrainer(MLP(*sizes), part["x"], part["y"])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Weights in, weights of one local fit out."""
    weights = message.content["arrays"].to_numpy_ndarrays()
    settings = context.run_config
    round_ = int(message.content["config"]["server-round"]) - 1
    config = FitConfig(
        int(settings["local-epochs"]),
        int(settings["batch-size"]),
        float(settings["learning-rate"]),
        derive_seed("fit", int(settings["seed"]), round_, int(context.node_config["partition-id"])),
        round_,
    )
    result = own_trainer(context).fit(weights, config)
    metrics = MetricRecord({"num-examples": result.examples, "train-loss": result.loss})
    return Message(RecordDict({"arrays": ArrayRecord(result.weights), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Accuracy on this node's data."""
    trainer = own_trainer(context)
    found = trainer.evaluate(message.content["arrays"].to_numpy_ndarrays())
    metrics = MetricRecord({"num-examples": len(trainer.x), "accuracy": found["accuracy"]})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
