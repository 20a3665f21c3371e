"""Updates that devices really make: the demo's two data sets, trained from the start by plain averaging."""

from __future__ import annotations

from functools import cache

import numpy as np

from gossamer.agent.trainer import FitConfig, NumpyTrainer
from gossamer.compression.layout import Layout
from gossamer.demo.data import load
from gossamer.demo.models import MLP, WatchCNN

DEVICES = 10


@cache
def real_updates(data: str, rounds: int) -> tuple[Layout, tuple[np.ndarray, ...]]:
    """-> layout, updates float32 (DEVICES, d) of each round; ``digits`` with 128 hidden units."""
    model = WatchCNN() if data == "watch" else MLP(hidden=128)
    fleet = [NumpyTrainer(model, p.x, p.y, (p.x_held_out, p.y_held_out)) for p in load(data, DEVICES, 0)]
    weights = fleet[0].initial(0)
    layout = Layout.of(weights)
    vector = layout.flatten(weights)
    out = []
    for round_ in range(rounds):
        fits = [
            t.fit(layout.unflatten(vector), FitConfig(2, 16, 0.05, seed=round_ * DEVICES + i, round=round_))
            for i, t in enumerate(fleet)
        ]
        out.append(np.array([layout.flatten(fit.weights) - vector for fit in fits]))
        vector = vector + out[-1].mean(axis=0)
    return layout, tuple(out)
