"""Runs where torch is: autograd's gradients beside the coefficients, and a small model trained. Prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch

from gossamer.objectives import auc_minimax, pairwise
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import ScoreHistogram
from gossamer.objectives.local import begin
from gossamer.objectives.metrics import auc
from gossamer.objectives.sections import MANIFEST_DUAL, MANIFEST_SCORES
from gossamer.objectives.torch_loss import loss

RNG = np.random.default_rng(0)
SCORES, LABELS = RNG.normal(size=40), np.arange(40) % 4 == 0
DUAL = Dual(0.3, -0.2, -0.4)
DOWN = {
    MANIFEST_DUAL: DUAL.serialize(),
    MANIFEST_SCORES: ScoreHistogram.of_scores(SCORES, LABELS).serialize(),
}
SPECS = ("auc-minimax:0.25", "pairwise", "cross-entropy")


def leaf(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def apart(one: Any, other: Any) -> float:
    """Largest difference, relative to the largest value."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.abs(one - other).max() / np.abs(other).max())


def minimax_gradients() -> dict[str, float]:
    """Torch differentiates the value itself, by scores and by scalars; the formulas take tensors as well."""
    h, a, b, al = leaf(SCORES), leaf(DUAL.positive_centre), leaf(DUAL.negative_centre), leaf(DUAL.dual)
    labels = torch.tensor(LABELS, dtype=torch.float64)
    auc_minimax.value(h, labels, 0.25, Dual(a, b, al)).backward()  # type: ignore[arg-type]  # plain arithmetic
    ours = auc_minimax.coefficients(SCORES, LABELS.astype(float), 0.25, DUAL)
    scalars = auc_minimax.gradients(SCORES, LABELS.astype(float), 0.25, DUAL)
    tensors = auc_minimax.coefficients(h.detach(), labels, 0.25, DUAL)
    return {
        "minimax scores": apart(ours, h.grad),
        "minimax scalars": apart(scalars, [a.grad, b.grad, al.grad]),
        "minimax tensors": apart(ours, tensors),
    }


def pairwise_gradients() -> dict[str, float]:
    passive = np.random.default_rng(1).normal(size=(40, 9))
    out = {}
    for name, value, coefficients in (
        ("positive", pairwise.positive_value, pairwise.positive_coefficients),
        ("negative", pairwise.negative_value, pairwise.negative_coefficients),
    ):
        h = leaf(SCORES)
        value(h, torch.tensor(passive)).backward()
        out[f"pairwise {name}"] = apart(coefficients(SCORES, passive), h.grad)
        out[f"pairwise {name} tensors"] = apart(
            coefficients(SCORES, passive), coefficients(h.detach(), torch.tensor(passive))
        )
    return out


def cross_entropy_gradients() -> dict[str, float]:
    h = leaf(SCORES)
    torch.nn.functional.binary_cross_entropy_with_logits(h, torch.tensor(LABELS, dtype=torch.float64)).backward()
    _, ours = begin("cross-entropy", LABELS, {}).step(SCORES, np.arange(40), 0.1, RNG)
    return {"cross-entropy": apart(ours, h.grad)}


def loss_gradients(spec: str) -> dict[str, float]:
    """Its gradient is the coefficients, its value the batch's loss, and the scalars beside it move alike."""
    rows, h = np.arange(40), leaf(SCORES)
    ours, theirs = begin(spec, LABELS, DOWN), begin(spec, LABELS, DOWN)
    value, coefficients = ours.step(SCORES, rows, 0.1, np.random.default_rng(2))
    found = loss(h, theirs, rows, 0.1, np.random.default_rng(2))
    found.backward()
    sections = ours.sections(SCORES) == theirs.sections(SCORES)
    return {
        f"loss {spec}": apart(coefficients, h.grad),
        f"loss value {spec}": abs(found.item() - value),
        f"loss sections {spec}": 0.0 if sections else 1.0,
    }


def trained(spec: str) -> dict[str, float]:
    """AUC of a small network before and after 20 epochs with what a round's manifest brings."""
    torch.manual_seed(0)
    rng = np.random.default_rng(3)
    positive = np.arange(200) % 4 == 0
    x = rng.normal(size=(200, 2)) + 1.2 * positive[:, None]
    inputs = torch.tensor(x, dtype=torch.float32)
    model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    def scores() -> np.ndarray:
        return model(inputs)[:, 0].detach().numpy()

    before, local = auc(scores(), positive), begin(spec, positive, DOWN)
    for _ in range(20):
        for rows in local.batches(rng, 32):
            optimizer.zero_grad()
            loss(model(inputs[rows])[:, 0], local, rows, 0.02, rng).backward()
            optimizer.step()
    return {"before": before, "after": auc(scores(), positive), "sections": len(local.sections(scores()))}


if __name__ == "__main__":
    errors = minimax_gradients() | pairwise_gradients() | cross_entropy_gradients()
    for each in SPECS:
        errors |= loss_gradients(each)
    json.dump({"torch": torch.__version__, "errors": errors, "trained": {s: trained(s) for s in SPECS}}, sys.stdout)
