"""Trainers as an agent's child process makes them: the same data with and without a cache, and quickly."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gossamer.agent.trainer import FitConfig
from gossamer.demo import federation
from gossamer.demo.federation import fleet, trainer
from gossamer.errors import ConfigError

HEAVY = ("sklearn", "seglearn", "scipy", "sqlalchemy", "rich", "typer", "matplotlib", "paho", "torch")


@pytest.mark.parametrize("data", ["watch", "digits"])
def test_a_cached_part_is_the_part(tmp_path, monkeypatch, data):
    fresh = trainer(data, 2, 10, 1)
    stored = trainer(data, 2, 10, 1, str(tmp_path / "new" / "cache"))
    monkeypatch.setattr(federation, "load", None)  # the second time it must not be needed
    read = trainer(data, 2, 10, 1, str(tmp_path / "new" / "cache"))
    for other in (stored, read):
        np.testing.assert_array_equal(fresh.x, other.x)
        np.testing.assert_array_equal(fresh.y, other.y)
        np.testing.assert_array_equal(fresh.held_out[0], other.held_out[0])
    assert [p.suffix for p in (tmp_path / "new" / "cache").iterdir()] == [".npz"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def cut(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(federation.np, "savez", cut)
    with pytest.raises(OSError, match="no space"):
        trainer("digits", 0, 10, 0, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_fleet_is_the_same_trainers_and_a_judge():
    own, judge = fleet("digits", 4, 3)
    np.testing.assert_array_equal(own[3].x, trainer("digits", 3, 4, 3).x)
    assert len(judge.held_out[1]) == 359


def test_one_device_alone_learns():
    device = trainer("watch", 3)
    start = device.initial(0)
    result = device.fit(start, FitConfig(local_epochs=15, batch_size=16, learning_rate=0.1, seed=1, round=0))
    assert device.evaluate(result.weights)["accuracy"] > 0.7 > device.evaluate(start)["accuracy"]


@pytest.mark.parametrize("device", [-1, 10])
def test_a_device_beyond_the_fleet_is_refused(device):
    with pytest.raises(ConfigError, match="device must be 0 to 9"):
        trainer("watch", device, 10)


def test_unknown_data_is_refused():
    with pytest.raises(ConfigError, match="'watch' or 'digits'"):
        trainer("faces", 0, 10)


def test_a_child_loads_nothing_heavy():
    code = "import sys; from gossamer.demo.federation import trainer; trainer('watch', 1); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(HEAVY)
