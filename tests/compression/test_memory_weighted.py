"""Memories that know more than the update: EF21 weighted by smoothness, and momentum that fades by the round."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.compression import codec
from gossamer.compression.lattice import LATTICE_BITS, from_lattice, to_lattice
from gossamer.compression.memory import (
    MAX_WEIGHT,
    MIN_WEIGHT,
    UNIT_WEIGHT,
    Ef21W,
    Momentum,
    Occasion,
    from_bytes,
    memory,
    to_bytes,
)
from gossamer.compression.memory_server import ServerMemory
from gossamer.errors import InputError, UnknownCodec

Vector = NDArray[np.float64]
d = 20


def deltas(seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(-(1 << 22), 1 << 22, d)


# -- ef21-w: the oracle, a quadratic with one device a hundred times as steep as the others -------------------


@dataclass
class Steep:
    """f_i(x) = sum a_i (x - b_i)^2 / 2, ten devices; ``smoothness`` (10,) are their L_i."""

    devices: int = 10

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.smoothness = np.array([100.0] + [1.0] * (self.devices - 1))
        self.a = self.smoothness[:, None] * np.geomspace(0.25, 1, d)
        self.b = rng.normal(0, 100, (self.devices, d))
        self.optimum = (self.a * self.b).sum(0) / self.a.sum(0)

    def step(self, mean_of_smoothness: float, kept: float = 0.5) -> float:
        """Theory: 1 / (L + mean sqrt(beta / theta)) for a codec that keeps a share of the energy."""
        root = np.sqrt(1 - kept)
        theta, beta = 1 - root, (1 - kept) / (1 - root)
        return float(1 / (self.a.mean(0).max() + mean_of_smoothness * np.sqrt(beta / theta)))


def train(name: str, rate: float, rounds: int, cohorts: int = 1) -> Iterator[float]:
    """Relative distance to the optimum after every round; devices take part in cyclic cohorts."""
    problem, method, encoder = Steep(), memory(name), codec("topk:0.5/fp16")
    server, states = ServerMemory.zeros(d), [None] * problem.devices
    x = np.zeros(d, np.int64)
    for round_ in range(rounds):
        sent = []
        for i in range(round_ % cohorts, problem.devices, cohorts):
            delta = to_lattice(-rate * problem.a[i] * (from_lattice(x) - problem.b[i]))
            occasion = Occasion(round_, cohorts, float(problem.smoothness[i]))
            update = method.compress(encoder, delta, states[i], seed=round_, occasion=occasion)
            states[i] = update.if_counted  # type: ignore[call-overload]
            sent.append((update.sent, method.weighed(update.weight)))
        server = server.plus(sent)
        x = x + to_lattice(server.step(method.unit * problem.devices))
        yield float(np.linalg.norm(x / 2**LATTICE_BITS - problem.optimum) / np.linalg.norm(problem.optimum))


def test_weights_take_the_arithmetic_mean_to_the_step_and_fewer_rounds_to_the_optimum() -> None:
    problem = Steep()
    mean, square = float(problem.smoothness.mean()), float(np.sqrt((problem.smoothness**2).mean()))
    weighted = list(train(f"ef21-w:{mean}", problem.step(mean), 260))
    plain = list(train("ef21", problem.step(square), 520))
    target = 1e-5
    reached = next(i for i, error in enumerate(weighted) if error < target)
    assert reached < 0.6 * next(i for i, error in enumerate(plain) if error < target)
    # Linear, at no less than the rate of theory, until the lattice ends it.
    slowest = 1 - problem.step(mean) * problem.a.mean(0).min()
    for at in range(20, reached - 20, 20):
        assert weighted[at + 20] < weighted[at] * slowest**15
    assert weighted[-1] < 1e-6


@pytest.mark.parametrize(("name", "rate", "every"), [("ef21", 1 / 250, 150), ("ef21-w:10.9", 1 / 120, 75)])
def test_cohorts_converge_to_the_same_optimum_at_a_linear_rate(name: str, rate: float, every: int) -> None:
    """EF21-PP: the server's sum stands for those that are absent, so a round of two devices of ten is enough."""
    found = list(train(name, rate, 10 * every, cohorts=5))
    assert found[-1] < 2e-6
    for before, after in itertools.pairwise(found[::every][1:6]):
        assert after < max(before / 4, 2e-6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**32 - 1)), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_h_is_the_sum_of_what_was_counted_and_the_weight_stays(fates: list[tuple[bool, int]]) -> None:
    method, state, sent = memory("ef21-w:2"), None, np.zeros(d, np.int64)
    for turn, (counted, seed) in enumerate(fates):
        occasion = Occasion(turn, 1, 3.0 + turn)  # a trainer that changes its mind
        update = method.compress(codec("ternary:0.2"), deltas(seed), state, seed=seed, occasion=occasion)
        state = update.if_counted if counted else update.if_dropped
        sent += update.sent if counted else 0
        assert update.weight == 1536
    assert state is not None
    assert np.array_equal(state[0], [*sent, 1536])


def test_an_exact_codec_brings_the_update_back_whole() -> None:
    """(delta / w) w, to half of a unit of w."""
    update = memory("ef21-w:4").compress(codec("fp32"), deltas(1), None, seed=0, occasion=Occasion(smoothness=6.0))
    assert update.weight == 1536
    step = ServerMemory.zeros(d).plus([(update.sent, 1536)]).step(UNIT_WEIGHT) * 2**LATTICE_BITS
    assert np.abs(step - deltas(1)).max() <= 0.75


def test_weights_are_within_limits() -> None:
    method = Ef21W()
    assert [method.weight(x) for x in (1e-9, 1.0, None, 1e9)] == [MIN_WEIGHT, UNIT_WEIGHT, UNIT_WEIGHT, MAX_WEIGHT]
    assert [method.weighed(x) for x in (0, 70, None, 1 << 40)] == [MIN_WEIGHT, 70, UNIT_WEIGHT, MAX_WEIGHT]
    assert [memory("ef21").weighed(x) for x in (5, None)] == [1, 1]
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="smoothness"):
            method.weight(wrong)


# -- momentum ------------------------------------------------------------------------------------------------


def scalar(rounds: int, cohorts: int, *, eta: float = 0.5, value: int = 1 << 20) -> list[int]:
    """v after each participation in every ``cohorts``-th round, for a constant update."""
    method, state, found = memory(f"momentum:{eta}"), None, []
    for round_ in range(0, rounds, cohorts):
        occasion = Occasion(round_, cohorts)
        update = method.compress(codec("fp32"), np.array([value]), state, seed=0, occasion=occasion)
        state = update.if_counted
        found.append(int(state[0, 0]))
    return found


def test_a_constant_update_settles_where_the_sum_says() -> None:
    """eta / (1 - (1 - eta/R)^R) just after a participation, 1 on the mean of a cycle (eta 1/2, R 5)."""
    assert scalar(1000, 5)[-1] / 2**20 == pytest.approx(1.2209714048, abs=2e-6)
    after = scalar(1000, 5)[-1] / 2**20
    assert np.mean([after * 0.9**k for k in range(5)]) == pytest.approx(1.0, abs=2e-6)
    assert scalar(200, 1)[-1] == 1 << 20


def test_every_absent_round_fades_it_by_as_much() -> None:
    method = memory("momentum:0.5")
    first = method.compress(codec("fp32"), np.array([1 << 20]), None, seed=0, occasion=Occasion(3, 4))
    assert first.if_counted.tolist() == [[1 << 19, 4]]
    later = method.compress(codec("fp32"), np.array([0]), first.if_counted, seed=0, occasion=Occasion(13, 4))
    assert later.if_counted[0, 0] == pytest.approx((1 << 19) * 0.875**10, abs=1)


def test_it_moves_whether_counted_or_not_and_is_sent_whole() -> None:
    method, state = memory("momentum:0.25"), None
    for turn in range(3):
        update = method.compress(codec("sign"), deltas(turn), state, seed=turn, occasion=Occasion(turn, 1))
        assert np.array_equal(update.if_counted, update.if_dropped)
        assert not np.shares_memory(update.if_counted, update.if_dropped)
        plain = codec("sign").encode(from_lattice(update.if_counted[0, :-1]), seed=turn)
        assert update.body == plain
        state = update.if_dropped
    v = 0.0
    for turn in range(3):
        v = 0.75 * v + 0.25 * deltas(turn)
    np.testing.assert_allclose(state[0, :-1], v, atol=2)  # type: ignore[index]
    assert (method.summed, method.keeps(codec("rot1")), memory("ef14").keeps(codec("rot1"))) == (False, True, False)


@given(st.integers(0, 100_000), st.integers(1, 1000), st.integers(1, 1 << 16))
def test_what_remains_is_the_power(rounds: int, cohorts: int, eta_units: int) -> None:
    found = Momentum(eta_units=eta_units).remains(rounds, cohorts) / 2**30
    exact = (1 - eta_units / 2**16 / cohorts) ** rounds
    assert 0 <= found <= 1
    assert abs(found - exact) < 1e-8 * (rounds + 1)


def test_a_round_that_goes_back_fades_nothing_and_impossible_ones_are_refused() -> None:
    method = memory("momentum:0.5")
    first = method.compress(codec("fp32"), np.array([100]), None, seed=0, occasion=Occasion(9, 2))
    back = method.compress(codec("fp32"), np.array([0]), first.if_counted, seed=0, occasion=Occasion(5, 2))
    assert back.if_counted[0, 0] == 50
    for rounds, cohorts in ((-1, 1), (1, 0)):
        with pytest.raises(InputError, match="cohort"):
            Momentum().remains(rounds, cohorts)


@pytest.mark.parametrize("name", ["ef21-w:2.5", "momentum:0.1"])
def test_a_state_has_its_note_behind_it(name: str) -> None:
    method = memory(name)
    assert method.spec == name
    before = method.zeros(d)
    state = method.compress(codec("ternary:0.1"), deltas(5), before, seed=1).if_counted
    assert not before.any()
    assert state.shape == (1, d + 1)
    assert state.dtype == np.int32
    assert np.array_equal(from_bytes(to_bytes(state), method, d), state)
    with pytest.raises(InputError, match="bytes of a"):
        from_bytes(to_bytes(state)[4:], method, d)
    with pytest.raises(InputError, match="state of shape"):
        method.compress(codec("sign"), deltas(1), np.zeros((1, d), np.int32), seed=0)


@pytest.mark.parametrize("spec", ["ef21-w", "ef21-w:0", "ef21-w:nan", "ef21-w:-1", "momentum", "momentum:1.5"])
def test_no_such_memory(spec: str) -> None:
    with pytest.raises(UnknownCodec, match="ef21-w"):
        memory(spec)
