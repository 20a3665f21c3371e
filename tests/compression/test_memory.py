"""Memories: exact to the bit in any order of fates, and EF21 converges where sending without a memory stalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.compression import codec, decode
from gossamer.compression.lattice import LATTICE_BITS, from_lattice, to_lattice
from gossamer.compression.memory import Memory, from_bytes, memory, to_bytes
from gossamer.compression.memory_server import MAX_TOTAL_WEIGHT, ServerMemory
from gossamer.compression.residual import compress
from gossamer.errors import InputError, LatticeOverflow, UnknownCodec

SPECS = ("ef14", "ef21", "ef21-sgdm:0.1", "ef21-sgdm:1.0")
FATES = st.lists(st.tuples(st.booleans(), st.integers(0, 2**32 - 1)), min_size=1, max_size=12)
d = 40


def deltas(seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(-(1 << 22), 1 << 22, d)


# -- exactness ---------------------------------------------------------------------------------------------


@given(FATES, st.sampled_from(["ternary:0.1", "topk:0.2/q4", "sign"]))
@settings(max_examples=50, deadline=None)
def test_ef14_sent_and_kept_are_what_was_trained(fates: list[tuple[bool, int]], spec: str) -> None:
    state, sent, trained = None, np.zeros(d, np.int64), np.zeros(d, np.int64)
    for counted, seed in fates:
        update = memory("ef14").compress(codec(spec), deltas(seed), state, seed=seed)
        state = update.if_counted if counted else update.if_dropped
        trained += deltas(seed)
        sent += update.sent if counted else 0
    assert state is not None
    assert np.array_equal(sent + state[0], trained)


@given(FATES, st.sampled_from(["ef21", "ef21-sgdm:0.3"]), st.sampled_from(["ternary:0.1", "topk:0.2/q4", "sign"]))
@settings(max_examples=50, deadline=None)
def test_ef21_h_is_the_sum_of_what_was_counted(fates: list[tuple[bool, int]], name: str, spec: str) -> None:
    state, sent = None, np.zeros(d, np.int64)
    for counted, seed in fates:
        update = memory(name).compress(codec(spec), deltas(seed), state, seed=seed)
        assert np.array_equal(update.sent, to_lattice(decode(update.body, d)))
        state = update.if_counted if counted else update.if_dropped
        sent += update.sent if counted else 0
    assert state is not None
    assert np.array_equal(state[-1], sent)


def test_ef14_is_the_residual_of_today() -> None:
    encoder, before = codec("ternary:0.1"), deltas(1).astype(np.int32)
    old = compress(encoder, deltas(2), before, seed=3)
    new = memory("ef14").compress(encoder, deltas(2), before[np.newaxis], seed=3)
    assert (new.body, new.sent.tolist()) == (old.body, old.sent.tolist())
    assert np.array_equal(new.if_counted[0], old.if_counted)
    assert np.array_equal(new.if_dropped[0], old.if_dropped)


def test_ef14_keeps_nothing_of_an_unbiased_codec() -> None:
    update = memory("ef14").compress(codec("q4s"), deltas(2), None, seed=3)
    assert not update.if_counted.any()
    assert not update.if_dropped.any()


def test_sgdm_smooths_in_integers_and_goes_on_when_dropped() -> None:
    method = memory("ef21-sgdm:0.25")
    first = method.compress(codec("topk:0.1/q4"), np.full(d, 1000), None, seed=0)
    assert np.array_equal(first.if_dropped, np.stack([np.full(d, 1000), np.zeros(d)]))
    second = method.compress(codec("topk:0.1/q4"), np.full(d, -1000), first.if_dropped, seed=1)
    assert np.array_equal(second.if_dropped[0], np.full(d, 500))  # 1000 + (-1000 - 1000) / 4
    assert np.array_equal(second.if_counted[1], second.sent)


@pytest.mark.parametrize("name", SPECS)
def test_a_state_is_so_many_vectors_and_its_bytes_bring_it_back(name: str) -> None:
    method = memory(name)
    state = method.compress(codec("ternary:0.1"), deltas(5), method.zeros(d), seed=1).if_counted
    assert (state.shape, state.dtype) == ((method.vectors, d), np.int32)
    assert len(to_bytes(state)) == 4 * method.vectors * d
    assert np.array_equal(from_bytes(to_bytes(state), method, d), state)
    with pytest.raises(InputError, match="bytes of a"):
        from_bytes(to_bytes(state)[:-1], method, d)


@pytest.mark.parametrize("name", SPECS)
def test_compress_leaves_the_state_it_was_given_alone(name: str) -> None:
    method, before = memory(name), memory(name).zeros(d)
    update = method.compress(codec("ternary:0.1"), deltas(5), before, seed=1)
    assert not before.any()
    for after in (update.if_counted, update.if_dropped):
        assert not np.shares_memory(after, before)


@pytest.mark.parametrize("name", SPECS)
def test_refusals(name: str) -> None:
    method = memory(name)
    assert method.spec == name
    with pytest.raises(InputError, match="state of shape"):
        method.compress(codec("sign"), deltas(1), np.zeros((method.vectors, d + 1), np.int32), seed=0)
    with pytest.raises(InputError, match=r"shape \(d,\)"):
        method.compress(codec("sign"), np.zeros((2, 2), np.int32), None, seed=0)
    with pytest.raises(LatticeOverflow):
        method.compress(codec("sign"), np.full(d, 1 << 32), None, seed=0)


@pytest.mark.parametrize("spec", ["ef", "ef14:1", "ef21:0.1", "ef21-sgdm", "ef21-sgdm:0", "ef21-sgdm:2", "ef21-sgdm:x"])
def test_no_such_memory(spec: str) -> None:
    with pytest.raises(UnknownCodec, match="ef21-sgdm"):
        memory(spec)


# -- the server's half -------------------------------------------------------------------------------------


@given(st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_the_server_has_the_mean_of_all_h_in_any_order(order: list[int]) -> None:
    sent = [(deltas(i).astype(np.int32), 1 + i) for i in range(6)]
    after = ServerMemory.zeros(d).plus(sent[i] for i in order)
    one_by_one = ServerMemory.zeros(d)
    for i in order:
        one_by_one = ServerMemory.from_bytes(one_by_one.plus([sent[i]]).to_bytes(), d)
    naive = sum(deltas(i) * (1 + i) for i in range(6)) / 21 / 2**LATTICE_BITS
    assert after.to_bytes() == one_by_one.to_bytes()
    np.testing.assert_allclose(after.step(21), naive, rtol=1e-15)


def test_the_servers_memory_holds_the_largest_sum_and_refuses_the_rest() -> None:
    largest = np.full(d, -(1 << 31), np.int32)
    full = ServerMemory.zeros(d).plus([(largest, MAX_TOTAL_WEIGHT - 1)])
    assert full.step(MAX_TOTAL_WEIGHT - 1).tolist() == [-2048.0] * d
    for weight in (0, MAX_TOTAL_WEIGHT):
        with pytest.raises(InputError, match="weight"):
            full.plus([(largest, weight)])
        with pytest.raises(InputError, match="total weight"):
            full.step(weight)
    with pytest.raises(InputError, match="shape"):
        full.plus([(largest[1:], 1)])
    with pytest.raises(InputError, match="bytes"):
        ServerMemory.from_bytes(full.to_bytes()[1:], d)


# -- the oracle: a strongly convex quadratic whose devices disagree ------------------------------------------


@dataclass
class Quadratic:
    """f_i(x) = sum A_i (x - b_i)^2 / 2, six devices, condition number about 10, optima hundreds apart."""

    devices: int = 6
    rate: float = 0.04

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.a = np.geomspace(1, 10, d) * rng.uniform(0.5, 2, (self.devices, d))
        self.b = rng.normal(0, 300, (self.devices, d))
        self.optimum = (self.a * self.b).sum(0) / self.a.sum(0)

    def delta(self, device: int, x: NDArray[Any], noise: NDArray[Any] | float = 0.0) -> NDArray[Any]:
        return -self.rate * (self.a[device] * (x - self.b[device]) + noise)

    def error(self, x: NDArray[Any]) -> float:
        return float(np.linalg.norm(x - self.optimum) / np.linalg.norm(self.optimum))


def train(
    method: Memory | None,
    rounds: int,
    *,
    spec: str = "topk:0.1/fp16",
    down: str | None = None,
    share: float = 1.0,
    noise: float = 0.0,
    problem: Quadratic | None = None,
) -> list[float]:
    """Relative distance to the optimum after every round. ``down``: EF21-P, as in `gossamer.aggregator.seal`."""
    problem = problem or Quadratic()
    rng = np.random.default_rng(1)
    target = np.zeros(d, np.int64)
    shared = target.copy()
    states = [None if method is None else method.zeros(d)] * problem.devices
    server, errors = ServerMemory.zeros(d), []
    for round_ in range(rounds):
        sent = []
        for i in np.flatnonzero(rng.random(problem.devices) < share).tolist():
            delta = to_lattice(problem.delta(i, from_lattice(shared), noise * rng.normal(size=d)))
            update = (method or memory("ef14")).compress(codec(spec), delta, states[i], seed=round_)
            states[i] = None if method is None else update.if_counted
            sent.append((update.sent, 1))
        if method is not None and method.summed:
            server = server.plus(sent)
            move = server.step(problem.devices)
        else:
            move = ServerMemory.zeros(d).plus(sent).step(max(1, len(sent)))
        target = target + to_lattice(move)
        step = target - shared
        if down is not None:
            step = to_lattice(decode(codec(down).encode(from_lattice(step), seed=0), d))
        shared = shared + step
        errors.append(problem.error(shared / 2**LATTICE_BITS))
    return errors


def naive_ef21(rounds: int) -> list[float]:
    """EF21 (arXiv 2106.05203, algorithm 1) with top-4 in float64: nothing shared with the code above."""
    problem = Quadratic()
    x, h = np.zeros(d), np.zeros((problem.devices, d))
    errors = []
    for _ in range(rounds):
        for i in range(problem.devices):
            difference = problem.delta(i, x) - h[i]
            largest = np.argsort(-np.abs(difference))[:4]
            h[i, largest] += difference[largest]
        x = x + h.mean(0)
        errors.append(problem.error(x))
    return errors


LATTICE_FLOOR = 2e-7
"""Of the relative error: half a unit of 2^-20 in each of the few sums, over an optimum of norm about 600."""


def test_ef21_converges_linearly_to_the_optimum_where_no_memory_stalls() -> None:
    errors = train(memory("ef21"), 350)
    assert errors[-1] < LATTICE_FLOOR
    # A straight line in the logarithm: each 50 rounds gain a factor of 8 or more until the lattice ends it.
    for at in range(50, 200, 50):
        assert errors[at + 50] < max(errors[at] / 8, LATTICE_FLOOR)
    assert min(train(None, 100)) > 0.5
    assert min(train(memory("ef14"), 200)) > 0.05  # the classical memory: only to a neighbourhood


def test_ef21_takes_the_way_of_a_naive_implementation() -> None:
    ours, naive = train(memory("ef21"), 151), naive_ef21(151)
    for at in (20, 50, 100, 150):
        assert ours[at] == pytest.approx(naive[at], rel=0.2)


def test_ef21_both_ways_converges() -> None:
    assert train(memory("ef21"), 450, down="topk:0.1/fp16", problem=Quadratic(rate=0.03))[-1] < LATTICE_FLOOR * 5


def test_ef21_converges_with_half_of_the_devices_absent() -> None:
    assert train(memory("ef21"), 700, share=0.5, problem=Quadratic(rate=0.03))[-1] < LATTICE_FLOOR * 5


def test_sgdm_converges_and_ends_closer_when_updates_are_noisy() -> None:
    assert train(memory("ef21-sgdm:0.5"), 450, problem=Quadratic(rate=0.03))[-1] < LATTICE_FLOOR * 5
    plain, smoothed = (
        float(np.mean(train(memory(name), 300, noise=10.0, problem=Quadratic(rate=0.02))[-150:]))
        for name in ("ef21", "ef21-sgdm:0.1")
    )
    assert smoothed < 0.7 * plain


@pytest.mark.parametrize("broken", [lambda h, c: h - c, lambda h, c: h])
def test_the_oracle_notices_a_wrong_memory(broken: Callable[[Any, Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped sign, or an update that is forgotten: neither comes near the optimum."""
    from gossamer.compression import memory as module

    right = module._difference

    def wrong(*arguments: Any) -> Any:
        body, sent, _ = right(*arguments)
        known = broken(arguments[2].astype(np.int64), sent.astype(np.int64))
        return body, sent, np.clip(known, -(1 << 30), 1 << 30).astype(np.int32)

    monkeypatch.setattr(module, "_difference", wrong)
    try:
        errors = train(memory("ef21"), 200)
    except LatticeOverflow:
        return
    assert errors[-1] > 0.1
