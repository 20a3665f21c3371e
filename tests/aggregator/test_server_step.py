"""Server optimizers against paper and pencil."""

from __future__ import annotations

import cbor2
import numpy as np
import pytest

from gossamer.aggregator.server_step import server_step
from gossamer.errors import ConfigError, InputError


def steps(spec: str, aggregates: list[list[float]]) -> list[list[float]]:
    chosen = server_step(spec)
    state, out = chosen.init(len(aggregates[0])), []
    for aggregate in aggregates:
        step, state = chosen.apply(state, np.array(aggregate))
        state = chosen.restore(cbor2.loads(cbor2.dumps(state.to_dict())), len(aggregate))
        out.append(step.tolist())
    assert state.rounds == len(aggregates)
    return out


def test_fedavg() -> None:
    assert steps("fedavg", [[1.0, -2.0], [3.0, 4.0]]) == [[1.0, -2.0], [3.0, 4.0]]
    assert steps("fedavg:0.5", [[1.0, -2.0]]) == [[0.5, -1.0]]


def test_fedavgm_remembers() -> None:
    # m: 1, 0.5 + 1 = 1.5, 0.75 - 1 = -0.25; step = 2 m
    assert steps("fedavgm:2/0.5", [[1.0], [1.0], [-1.0]]) == [[2.0], [3.0], [-0.5]]


def test_fedavgm_settles_at_the_aggregate() -> None:
    last = steps("fedavgm", [[1.0]] * 200)[-1]
    np.testing.assert_allclose(last, [1.0], rtol=1e-8)


def test_apply_is_pure() -> None:
    chosen = server_step("fedavgm:1/0.9")
    aggregate = np.array([1.0])
    aggregate.setflags(write=False)
    state = chosen.init(1)
    assert chosen.apply(state, aggregate)[1] == chosen.apply(state, aggregate)[1]
    assert state == chosen.init(1)


def test_canonical_specs() -> None:
    assert server_step("fedavg").spec == "fedavg:1.0"
    assert server_step("fedavgm:0.2").spec == "fedavgm:0.2/0.9"
    assert server_step(server_step("fedavgm").spec) == server_step("fedavgm")


def test_state_of_another_step_is_refused() -> None:
    with pytest.raises(InputError):
        server_step("fedavg").restore(server_step("fedavgm").init(1).to_dict(), 1)


@pytest.mark.parametrize(
    "spec", ["", "adam", "fedavg:0", "fedavg:x", "fedavg:nan", "fedavg:-1", "fedavgm:1/1", "fedavgm:1/0", "fedavgm:a/b"]
)
def test_unusable_specs_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="server step"):
        server_step(spec)
