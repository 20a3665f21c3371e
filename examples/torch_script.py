"""A torch script on handwritten digits, as it was; the five lines that end in ``# +`` make it a device of a fleet.

Try it::

    python torch_script.py              # alone: trains on the digits that are here
    PART=3 python torch_script.py       # where `gossamer fleet enroll` has left a gossamer.toml: with the others
"""

import os
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from gossamer import Agent, TorchTrainer  # +

PART, PARTS = int(os.environ.get("PART", "0")), 10  # whose digits are on this machine

digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
number = torch.arange(len(labels))
test = number % 5 == 0
mine = ~test & (number // 5 % PARTS == PART)

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
loss = nn.CrossEntropyLoss()


def train(epochs: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = images[mine], labels[mine]
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(16):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()


def accuracy() -> float:
    with torch.no_grad():
        return float((model(images[test]).argmax(dim=1) == labels[test]).float().mean())


def trainer() -> TorchTrainer:  # +
    return TorchTrainer(model, loss, (images[mine], labels[mine]), (images[test], labels[test]))  # +


if __name__ == "__main__":
    if Path("gossamer.toml").exists():  # +
        Agent("gossamer.toml", trainer).run()  # +
    train(epochs=30)
    print(f"accuracy {accuracy():.3f} with {int(mine.sum())} examples of one's own")
