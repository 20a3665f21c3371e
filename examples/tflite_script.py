"""A script that trains a .tflite file on handwritten digits; the five lines that end in ``# +`` bring it into a fleet.

    python tflite_script.py             # alone: trains on the digits that are here
    PART=3 python tflite_script.py      # where `gossamer fleet enroll` has left a gossamer.toml: with the others

digits.tflite was made by
``python -m gossamer.trainers.make_tflite digits.tflite --input 64 --layers dense:32,dense:10``.
"""

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

from gossamer import Agent, TFLiteTrainer  # +

MODEL = Path(__file__).with_name("digits.tflite")
PART, PARTS = int(os.environ.get("PART", "0")), 10  # whose digits are on this machine

digits = load_digits()
images = (digits.data / 16).astype(np.float32)
labels = digits.target
number = np.arange(len(labels))
test = number % 5 == 0
mine = ~test & (number // 5 % PARTS == PART)


def train(epochs: int) -> dict[str, np.ndarray]:
    step = Interpreter(model_path=str(MODEL), num_threads=1).get_signature_runner("train")
    rng = np.random.default_rng(0)
    shapes = {name: each["shape"] for name, each in step.get_input_details().items() if name.startswith("layer")}
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    x, y = images[mine], np.eye(10, dtype=np.float32)[labels[mine]]
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 16):
            rows = order[start : start + 16]
            new = step(x=x[rows], y=y[rows], lr=np.array([0.1], np.float32), **weights)
            weights = {name: new[f"new_{name}"] for name in weights}
    return weights


def accuracy(weights: dict[str, np.ndarray]) -> float:
    infer = Interpreter(model_path=str(MODEL), num_threads=1).get_signature_runner("infer")
    return float(np.mean(infer(x=images[test], **weights)["logits"].argmax(axis=1) == labels[test]))


def trainer() -> TFLiteTrainer:  # +
    return TFLiteTrainer(MODEL, images[mine], labels[mine], (images[test], labels[test]))  # +


if __name__ == "__main__":
    if Path("gossamer.toml").exists():  # +
        Agent("gossamer.toml", trainer).run()  # +
    print(f"accuracy {accuracy(train(epochs=30)):.3f} with {mine.sum()} examples of one's own")
