"""The objectives for a torch model: a scalar whose autograd gradient is the coefficients. Imports no torch itself.

::

    local = begin("pairwise", positive, getattr(config, "sections", {}))
    for rows in local.batches(rng, config.batch_size):
        optimizer.zero_grad()
        loss(model(x[rows])[:, 0], local, rows, config.learning_rate, rng).backward()
        optimizer.step()
    sections = local.sections(model(x)[:, 0].detach().cpu().numpy())

`auc_minimax.value` and the values of `pairwise` also take tensors themselves, on any device, for loops of one's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.objectives.local import LocalObjective


def loss(scores: Any, local: LocalObjective, rows: NDArray[Any], learning_rate: float, rng: np.random.Generator) -> Any:
    """Scalar tensor: its value is the batch's loss, its gradient by ``scores`` the coefficients.

    Args:
        scores: tensor (len(rows),), float32 or float64, attached to the model's graph.
        local: moves by one step (its scalars), as with numpy.
        rows: as drawn by ``local.batches``.
        learning_rate: of the scalars beside the model.
        rng: of the fit.
    """
    value, coefficients = local.step(scores.detach().cpu().numpy(), rows, learning_rate, rng)
    attached = (scores.new_tensor(coefficients) * scores).sum()
    return attached - attached.detach() + value
