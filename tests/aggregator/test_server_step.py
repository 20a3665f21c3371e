"""Server optimizers against paper and pencil, naive second implementations, and one contract over all of them."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.aggregator.rules.state import State, pack
from gossamer.aggregator.server_step import ServerStep, Turn, server_step
from gossamer.aggregator.server_steps import adaptive, amplify, base, fedavg, registry
from gossamer.errors import ConfigError, InputError

SPECS = ["fedavg:0.5", "fedavgm:0.5/0.8", "fedadam:0.1/0.9/0.99/0.001", "fedyogi:0.1/0.9/0.99/0.001"]
EVERY = [*SPECS, *(f"{spec}+amplify:2.5" for spec in SPECS)]
IN_PROPORTION = [spec for spec in EVERY if spec.startswith("fedavg")]
COHORTS = 3


def steps(spec: str, aggregates: list[list[float]], cohorts: int = 1) -> list[list[float]]:
    """Steps of rounds 0, 1, ..; an empty aggregate stands for a round without any."""
    chosen = server_step(spec)
    d = max(len(aggregate) for aggregate in aggregates)
    state, out = chosen.init(d), []
    for round_, aggregate in enumerate(aggregates):
        turn = Turn(round_, cohorts)
        if aggregate:
            step, state = chosen.apply(state, np.array(aggregate), turn)
        else:
            moved, state = chosen.skip(state, turn)
            step = np.zeros(d) if moved is None else moved
        state = chosen.restore(cbor2.loads(cbor2.dumps(state.to_dict())), d)
        out.append(step.tolist())
    assert state.rounds == sum(bool(aggregate) for aggregate in aggregates)
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


# FedAdam and FedYogi ---------------------------------------------------------------------------------------------


def naive_adaptive(yogi: bool, rate: float, b1: float, b2: float, tau: float, given: list[list[float]]) -> list[float]:
    """Algorithm 2 of Reddi and others, one coordinate and one number at a time."""
    out = []
    for coordinate in range(len(given[0])):
        m, v = 0.0, tau**2
        for row in given:
            g = row[coordinate]
            m = b1 * m + (1 - b1) * g
            if yogi:
                sign = (v > g * g) - (v < g * g)
                v = v - (1 - b2) * g * g * sign
            else:
                v = b2 * v + (1 - b2) * g * g
            out.append(rate * m / (math.sqrt(v) + tau))
    return out


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_adaptive_steps_agree_with_a_naive_second_implementation(name: str) -> None:
    rng = np.random.default_rng(3)
    given = (rng.standard_normal((12, 5)) * np.array([1e-4, 1e-3, 1e-2, 1.0, 100.0])).tolist()
    given[4] = [0.0] * 5
    ours = np.array(steps(f"{name}:0.3/0.8/0.95/0.01", given)).T.ravel()
    np.testing.assert_allclose(ours, naive_adaptive(name == "fedyogi", 0.3, 0.8, 0.95, 0.01, given), rtol=1e-13)


def test_the_two_differ_after_a_large_aggregate() -> None:
    """Adam forgets 10^2 by its share 1 - B2 = 1/2 a round, Yogi by (1 - B2) g^2."""
    given = [[10.0], [0.1], [0.1]]
    # Adam's v: 50, 25.005, 12.5075; Yogi's: 50, 49.995, 49.99 (both from TAU^2 = 1e-16, B1 = 0).
    adam, yogi = (steps(f"{name}:1/0/0.5/1e-8", given)[-1][0] for name in ("fedadam", "fedyogi"))
    assert adam == pytest.approx(0.1 / math.sqrt(12.5075), rel=1e-6)
    assert yogi == pytest.approx(0.1 / math.sqrt(49.99), rel=1e-6)


def test_the_size_of_an_adaptive_step() -> None:
    """Far above TAU a steady aggregate gives LR, whatever its size; far below it LR g / (2 TAU) at first."""
    large = steps("fedadam:0.1/0.9/0.9/0.001", [[5.0, -500.0]] * 300)[-1]
    np.testing.assert_allclose(large, [0.1, -0.1], rtol=1e-3)
    small = steps("fedyogi:0.1/0/0.9/0.001", [[1e-9]])[0]
    np.testing.assert_allclose(small, [0.1 * 1e-9 / 0.002], rtol=1e-3)


@pytest.mark.parametrize(
    ("spec", "least", "most"), [("fedadam:0.1", 0.0, 1e-30), ("fedyogi:0.1", 0.0, 1e-30), ("fedavg:0.019", 0.01, 0.1)]
)
def test_adaptive_steps_on_a_quadratic(spec: str, least: float, most: float) -> None:
    """Curvatures 1e-2 to 1e2: the steepest bounds FedAvg's rate (2 / 100), and the flattest is left behind."""
    curvature, x = np.geomspace(1e-2, 1e2, 5), np.full(5, 2.0)
    chosen = server_step(spec)
    state = chosen.init(5)
    for _ in range(1000):
        step, state = chosen.apply(state, -curvature * x)
        x = x + step
    assert least <= float((curvature * x * x).sum() / 2) < most


# Cycles ----------------------------------------------------------------------------------------------------------


def rr_cli(centres: list[float], cohorts: list[list[int]], eta: float, theta: float, cycles: int) -> list[float]:
    """RR-CLI's own pseudo-code for f_i = (x - c_i)^2 / 2, one local step: the end of every cycle."""
    x, out = 0.0, []
    for _ in range(cycles):
        start = x
        for cohort in cohorts:
            x -= eta * sum(x - centres[i] for i in cohort) / len(cohort)
        x = start - theta * (start - x) / (eta * len(cohorts))
        out.append(x)
    return out


def test_rr_cli_is_amplified_averaging() -> None:
    """c = (1, 2, 3, 4), cohorts (0, 1), (2, 3), eta = .1, theta = .3: x^2 = .485, new x = .7275, by hand."""
    centres, cohorts, eta, theta = [1.0, 2.0, 3.0, 4.0], [[0, 1], [2, 3]], 0.1, 0.3
    chosen = server_step(f"fedavg:{eta}+amplify:{theta / (eta * len(cohorts))}")
    state, x, ends = chosen.init(1), np.zeros(1), []
    for round_ in range(8):
        deltas = [centres[i] - x for i in cohorts[round_ % 2]]  # a local step of size 1; it cancels
        inner = float(x[0] + eta * np.mean(deltas))
        step, state = chosen.apply(state, np.mean(deltas, axis=0), Turn(round_, 2))
        x = x + step
        if round_ == 1:
            assert inner == pytest.approx(0.485, rel=1e-15)
            assert x[0] == pytest.approx(0.7275, rel=1e-15)
        if round_ % 2:
            ends.append(float(x[0]))
    np.testing.assert_allclose(ends, rr_cli(centres, cohorts, eta, theta, 4), rtol=1e-14)


def test_an_amplified_cycle_by_hand() -> None:
    # moves of the cycles: 1 + 2 - 1 = 2 and 4 - 1 + 0.5 = 3.5; A - 1 = 1.5
    given = [[1.0], [2.0], [-1.0], [4.0], [-1.0], [0.5]]
    assert steps("fedavg+amplify:2.5", given, cohorts=3) == [[1.0], [2.0], [-1.0 + 3.0], [4.0], [-1.0], [0.5 + 5.25]]


def test_a_cycle_whose_last_cohort_is_silent_is_amplified_all_the_same() -> None:
    assert steps("fedavg+amplify:3", [[1.0], [2.0], []], cohorts=3) == [[1.0], [2.0], [6.0]]
    assert steps("fedavg+amplify:3", [[1.0], [], [2.0]], cohorts=3) == [[1.0], [0.0], [8.0]]
    assert steps("fedavg+amplify:3", [[], [], [], [1.0], [], []], cohorts=3) == [[0.0]] * 3 + [[1.0], [0.0], [2.0]]


def test_what_one_cycle_moved_is_not_in_the_next() -> None:
    chosen = server_step("fedavg+amplify:2")
    _, before = chosen.apply(chosen.init(1), np.array([1.0]), Turn(0, 3))
    assert before.memory("cycle")
    state = before
    out = []
    for round_ in (3, 4, 5):  # a store that lost two rounds
        step, state = chosen.apply(state, np.array([5.0]), Turn(round_, 3))
        out.append(step.tolist())
    assert out == [[5.0], [5.0], [20.0]]
    assert chosen.skip(before, Turn(3, 3))[1].named == ()


def test_amplification_of_one_changes_nothing() -> None:
    given = np.random.default_rng(1).standard_normal((7, 4)).tolist()
    assert steps("fedavgm:0.5/0.5+amplify:1", given, 3) == steps("fedavgm:0.5/0.5", given, 3)


def test_a_cycle_of_one_round_is_a_longer_step() -> None:
    assert steps("fedavg+amplify:2", [[1.0], [3.0]]) == [[2.0], [6.0]]


# The contract ----------------------------------------------------------------------------------------------------

vectors = st.lists(st.floats(-2048, 2048, width=32), min_size=4, max_size=4).map(np.array)
rounds = st.lists(st.none() | vectors, min_size=1, max_size=8)


def play(chosen: ServerStep, aggregates: list[np.ndarray | None], *, store: bool = False) -> list[np.ndarray]:
    state, out = chosen.init(4), []
    for round_, aggregate in enumerate(aggregates):
        turn = Turn(round_, COHORTS)
        if aggregate is None:
            step, state = chosen.skip(state, turn)
        else:
            step, state = chosen.apply(state, aggregate, turn)
        if store:
            state = chosen.restore(cbor2.loads(cbor2.dumps(state.to_dict(), canonical=True)), 4)
        out.append(np.zeros(4) if step is None else step)
    return out


@pytest.mark.parametrize("spec", EVERY)
@given(aggregates=rounds)
@settings(max_examples=25, deadline=None)
def test_same_bits_again_over_the_store_or_not_and_finite(spec: str, aggregates: list[np.ndarray | None]) -> None:
    ours = play(server_step(spec), aggregates)
    again = play(server_step(spec), aggregates, store=True)
    assert [step.tobytes() for step in ours] == [step.tobytes() for step in again]
    assert all(step.shape == (4,) and step.dtype == np.float64 and np.isfinite(step).all() for step in ours)


@pytest.mark.parametrize("spec", EVERY)
@given(aggregates=rounds, turn=st.permutations(range(4)))
@settings(max_examples=15, deadline=None)
def test_coordinates_do_not_see_each_other_and_signs_do_not_matter(
    spec: str, aggregates: list[np.ndarray | None], turn: list[int]
) -> None:
    plain = play(server_step(spec), aggregates)
    turned = play(server_step(spec), [None if each is None else -each[turn] for each in aggregates])
    assert all(np.array_equal(-a[turn], b) for a, b in zip(plain, turned, strict=True))


@pytest.mark.parametrize("spec", IN_PROPORTION)
@given(aggregates=rounds)
@settings(max_examples=15, deadline=None)
def test_averaging_steps_are_in_proportion(spec: str, aggregates: list[np.ndarray | None]) -> None:
    plain = play(server_step(spec), aggregates)
    scaled = play(server_step(spec), [None if each is None else each / 4 for each in aggregates])
    assert all(np.array_equal(a / 4, b) for a, b in zip(plain, scaled, strict=True))


@pytest.mark.parametrize("spec", EVERY)
def test_apply_is_pure(spec: str) -> None:
    chosen = server_step(spec)
    aggregate = np.array([1.0])
    aggregate.setflags(write=False)
    state = chosen.init(1)
    turn = Turn(0, COHORTS)
    assert chosen.apply(state, aggregate, turn)[1] == chosen.apply(state, aggregate, turn)[1]
    assert state == chosen.init(1)


@pytest.mark.parametrize("spec", EVERY)
def test_specs_are_canonical_and_states_belong_to_one(spec: str) -> None:
    chosen = server_step(spec)
    assert chosen.spec == spec
    assert server_step(chosen.spec) == chosen
    _, state = chosen.apply(chosen.init(2), np.ones(2), Turn(0, COHORTS))
    assert {name for name, _ in state.named} == set(chosen.memories)
    for other in EVERY:
        if other != spec:
            with pytest.raises(InputError):
                server_step(other).restore(state.to_dict(), 2)
    with pytest.raises(InputError):
        chosen.restore(state.to_dict(), 3)
    for strange in ({"other": pack(np.ones(2))}, dict.fromkeys(chosen.memories, b"short")):
        if strange:
            with pytest.raises(InputError, match="strange memory"):
                chosen.restore(state.remember(**strange).to_dict(), 2)


def test_defaults() -> None:
    assert server_step("fedavg").spec == "fedavg:1.0"
    assert server_step("fedavgm:0.2").spec == "fedavgm:0.2/0.9"
    assert server_step("fedavgm").spec == "fedavgm:0.1/0.9"
    assert server_step("fedadam").spec == "fedadam:0.01/0.9/0.99/0.001"
    assert server_step("fedyogi:0.1//0.9").spec == "fedyogi:0.1/0.9/0.9/0.001"
    assert server_step("fedavg+amplify:2").spec == "fedavg:1.0+amplify:2.0"


def test_a_state_of_before_there_were_cycles_is_taken() -> None:
    stored = replace(State("fedavgm:0.5/0.5", 1), rounds=3, vector=pack([2.0])).to_dict()
    chosen = server_step("fedavgm:0.5/0.5")
    assert chosen.apply(chosen.restore(stored, 1), np.array([1.0]))[0].tolist() == [1.0]


@pytest.mark.parametrize(
    "spec",
    [
        "", "adam", "fedavg:0", "fedavg:x", "fedavg:nan", "fedavg:-1", "fedavg:101", "fedavgm:1/1", "fedavgm:1/0",
        "fedavgm:a/b", "fedadam:0", "fedadam:1/1", "fedadam:1/0.9/1", "fedyogi:1/0.9/0.9/0", "fedadam:1/0.9/-0.1",
        "fedadam:1/0.9/0.9/1e-3/5", "fedyogi:1/nan", "fedavg+amplify:", "fedavg+amplify:0.9", "fedavg+amplify:nan",
        "fedavg+amplify:11", "fedavg+amplify:2+amplify:2", "+amplify:2", "fedavg+other:2",
    ],
)  # fmt: skip
def test_unusable_specs_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="server step"):
        server_step(spec)


@pytest.mark.parametrize("module", [base, fedavg, adaptive, amplify, registry])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
