"""The same seed and the same updates make the same model, in any order of arrival and by any number of workers."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.aggregator.rules import Update
from gossamer.aggregator.seal import EngineState, seal
from gossamer.compression import codec, open_body
from gossamer.compression.lattice import to_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.shared import SharedModel
from tests.aggregator.fleets import job_settings

D, N, ROUNDS = 9_000, 9, 2
LAYOUT = Layout((("0", (90, 100)),))
JOBS: dict[str, dict[str, object]] = {
    "mean": {},
    "median": {"rule": "median"},
    "trimmed-mean": {"rule": "trimmed-mean:2"},
    "krum": {"rule": "krum:2"},
    "multi-krum": {"rule": "multi-krum:2"},
    "geometric-median": {"rule": "geometric-median"},
    "centered-clipping": {"rule": "centered-clipping"},
    "norm-clip": {"rule": "norm-clip"},
    "bulyan": {"rule": "bulyan:1"},
    "sign-majority": {"rule": "sign-majority"},
    "fltrust": {"rule": "fltrust:4"},
    "nnm": {"rule": "nnm:2+trimmed-mean:2"},
    "bucketing": {"rule": "bucketing:2+median"},
    "clipped-differences": {"rule": "clipped-differences"},
    "cache": {"rule": "cache:0.5+trimmed-mean:2", "memory": "momentum:0.5"},
    "fednova": {"method": "fednova"},
    "private": {"privacy": {"epsilon": 8.0, "delta": 1e-5, "clip_norm": 0.5, "noise_multiplier": 2.0}},
}


def digests(changes: dict[str, object], *, order: int, workers: int) -> list[bytes]:
    """Digests of the model after each round."""
    plain = job_settings(codec_up="rot1", codec_down="q8", cohorts=1, rounds=ROUNDS, workers=workers)
    settings = type(plain).from_mapping({**plain.to_mapping(), **changes})
    initial = to_lattice(np.linspace(-1.0, 1.0, D, dtype=np.float32))
    state = EngineState.initial(settings, SharedModel.first(LAYOUT, initial))
    found = []
    for round_ in range(ROUNDS):
        rng = np.random.default_rng(round_)
        updates = []
        for device in range(N):
            delta = (rng.standard_normal(D) * 0.01).astype(np.float32)
            body = codec("rot1").encode(delta, seed=1000 * round_ + device)
            sections = ((1, bytes([5 + device])),)
            updates.append(Update(device, open_body(body, D), 10 + device, 0, round_, sections))
        result = seal(state, updates[::order], settings, devices=N, secret=bytes(32))
        assert not result.report.shortfall
        state = result.state
        found.append(result.digest)
    assert len(set(found)) == ROUNDS
    return found


@pytest.mark.parametrize("name", JOBS)
def test_any_order_and_any_number_of_workers(name: str) -> None:
    expected = digests(JOBS[name], order=1, workers=1)
    assert digests(JOBS[name], order=-1, workers=2) == expected
    assert digests(JOBS[name], order=1, workers=3) == expected
