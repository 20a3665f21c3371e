"""Made-up updates beside those of real trainers on real data: their bodies are about as long."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.agent.trainer import FitConfig
from gossamer.compression.codecs import codec
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.shared import SharedModel
from gossamer.demo.federation import trainer
from gossamer.firmware_profiles.model_files import layout_of
from gossamer.firmware_profiles.updates import UpdateMaker
from tests.lab.participations import trainer as wide

TOLERANCE = {"ternary:0.05": 0.05, "ternary:0.2": 0.05, "topk:0.02/q4": 0.05, "rot1": 0.0, "hist:0.05": 0.15}


@pytest.mark.parametrize("data", ["digits", "watch", "wide"])
def test_bodies_are_as_long_as_real_ones(data: str):
    real_trainer = wide(784, 128, 10, 1) if data == "wide" else trainer(data, 0, 10, 0)
    weights = real_trainer.initial(0)
    layout = Layout.of(weights, real_trainer.axes)
    after = real_trainer.fit(weights, FitConfig(1, 16, 0.1, 1, 0)).weights
    real = layout.flatten(after) - layout.flatten(weights)
    own = SharedModel.first(layout, to_lattice(layout.flatten(weights)), 10).context(upward=True)
    maker = UpdateMaker(layout, seed=0)
    for spec, tolerance in TOLERANCE.items():
        expected = len(codec(spec).encode(real, seed=1, context=own))
        made = len(codec(spec).encode(maker.update(0), seed=1, context=maker.context))
        assert abs(made - expected) <= max(2, tolerance * expected), spec


@pytest.mark.parametrize(
    "shapes", ["7", "3x4", "3x3x2x5,5,45x4,4", "4x3,3,7x2,2", "600x8@100x-6,8,16x1,1", "5x0,4x2"]
)
def test_any_layout_has_updates(shapes: str):
    layout = layout_of(shapes)
    maker = UpdateMaker(layout, seed=3)
    update = maker.update(0)
    assert update.shape == (layout.size,)
    assert update.dtype == np.float32
    assert np.isfinite(update).all()
    assert np.array_equal(update, UpdateMaker(layout, seed=3).update(0))
    assert not np.array_equal(update, maker.update(1))
    assert maker.first_model.weights.size == layout.size
