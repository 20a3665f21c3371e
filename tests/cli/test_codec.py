"""``gossamer codec``: sizes are those of real bodies, and what cannot be read says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gossamer.cli.codec import SPECS
from gossamer.compression import REGISTRY, codec

from .command import Run


def test_every_method_is_listed(run: Run) -> None:
    ended = run("codec", "list", "--parameters", "3316", "--json")
    rows = {row["codec"]: row for row in json.loads(ended.out)}
    assert list(rows) == list(SPECS)
    assert {method.name.split("/")[0].split(":")[0] for method in REGISTRY.methods} == {
        spec.split(":")[0] for spec in SPECS
    }
    assert rows["ternary:0.02"]["most_bytes"] == codec("ternary:0.02").max_bytes(3316)


def test_measured_on_a_vector_of_ones_own(run: Run) -> None:
    x = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    np.save("update.npy", x)
    ended = run("codec", "measure", "update.npy", "--codec", "rot1", "--codec", "q8", "--json")
    rot1, q8 = json.loads(ended.out)
    assert rot1["bytes"] == len(codec("rot1").encode(x, seed=0))
    assert 0.4 < rot1["error"] < 0.7
    assert q8["error"] < 0.001
    assert "ternary:0.02" in run("codec", "measure", "update.npy").out


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"nonsense", "cannot read"), (None, "one vector of numbers")],
)
def test_what_cannot_be_read(run: Run, data: bytes | None, text: str) -> None:
    if data is None:
        np.save("update.npy", np.zeros((2, 2)))
    else:
        Path("update.npy").write_bytes(data)
    ended = run("codec", "measure", "update.npy")
    assert ended.code != 0
    assert text in ended.err


def test_hist_needs_a_model(run: Run) -> None:
    np.save("update.npy", np.ones(10, np.float32))
    ended = run("codec", "measure", "update.npy", "--codec", "hist:0.1")
    assert ended.code != 0
    assert "history" in ended.err
