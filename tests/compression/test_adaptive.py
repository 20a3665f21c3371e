"""Adaptive local epochs on synthetic curves: it climbs to where a further epoch is no longer worth it, and stays."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.compression.adaptive import LOOK_AGAIN, WORTHWHILE, Bounds, Epochs, Participation
from gossamer.errors import InputError

BYTES = 2000


def run(
    curve: Callable[[int], float],
    rounds: int,
    bounds: Bounds,
    *,
    seconds: float = 1.0,
    retries: int = 0,
    wanted: int = 1,
) -> list[int]:
    state, taken = Epochs.start(bounds, wanted), []
    for _ in range(rounds):
        taken.append(state.next(bounds))
        state = state.after(Participation(curve(taken[-1]), BYTES, seconds * taken[-1], retries), bounds)
    return taken


def best_for(curve: Callable[[int], float], limit: int) -> int:
    """The first count from which one more epoch brings less than is worthwhile."""
    return next((e for e in range(1, limit) if curve(e + 1) < curve(e) * (1 + WORTHWHILE)), limit)


@pytest.mark.parametrize(
    "curve",
    [
        math.sqrt,
        lambda e: 1 - math.exp(-e / 3),
        lambda e: e / (e + 4),
        lambda e: 1.0,
        float,
        lambda e: e * math.exp(-e / 5),
    ],
)
def test_it_stops_near_the_optimum_and_looks_again(curve: Callable[[int], float]) -> None:
    taken, best = run(curve, 60, Bounds(16)), best_for(curve, 16)
    assert taken[:best] == list(range(1, best + 1))
    assert {best} <= set(taken[best + 1 :]) <= {best, best + 1}
    looks = sum(e > best for e in taken[best + 1 :])
    assert looks <= 1 + 60 // LOOK_AGAIN


def test_a_gain_that_shrinks_with_the_rounds_does_not_lead_it_down() -> None:
    bounds, state = Bounds(8), Epochs.start(Bounds(8))
    for round_ in range(40):
        taken = state.next(bounds)
        state = state.after(Participation(0.99**round_ * math.sqrt(taken), BYTES, 1.0), bounds)
    assert state.next(bounds) >= 5  # sqrt: 5 % more up to 10 epochs; the shrinking costs some of them


def test_the_deadline_and_the_energy_bound_it() -> None:
    assert max(run(float, 20, Bounds(16, deadline_seconds=60.0), seconds=10.0)[2:]) == 3
    assert max(run(float, 20, Bounds(16, joules=50.0, watts=2.0), seconds=5.0)[2:]) == 5
    assert run(float, 5, Bounds(16, joules=0.0), seconds=5.0)[1:] == [1, 1, 1, 1]


def test_a_shaky_link_halves_what_may_be_lost() -> None:
    bounds = Bounds(16)
    state = Epochs(8, settled_for=2, gain=1.0)
    shaken = state.after(Participation(1.0, BYTES, 8.0, retries=2), bounds)
    assert (shaken.next(bounds), shaken.settled_for) == (4, -1)
    assert run(float, 6, bounds, retries=2, wanted=16) == [16, 8, 4, 2, 1, 1]
    assert state.after(Participation(1.0, BYTES, 8.0, retries=1), bounds).next(bounds) == 8


def test_after_a_bound_is_lifted_it_climbs_again() -> None:
    tight, wide = Bounds(2), Bounds(16)
    state = Epochs.start(wide, 6)
    state = state.after(Participation(2.0, BYTES, 2.0), tight)
    assert state.next(wide) == 2
    for _ in range(40):
        state = state.after(Participation(float(state.next(wide)), BYTES, 1.0), wide)
    assert state.next(wide) > 8


EVENTS = st.builds(Participation, st.floats(0, 1e6), st.integers(1, 10**9), st.floats(0, 1e6), st.integers(0, 5))
BOUNDS = st.builds(Bounds, st.integers(1, 100), st.floats(0.1, 1e6), st.floats(0, 1e6), st.floats(0.01, 100))


@given(st.lists(st.tuples(EVENTS, BOUNDS), max_size=30))
def test_always_between_one_and_the_limit_and_the_same_again(events: list[tuple[Participation, Bounds]]) -> None:
    states = [Epochs(), Epochs()]
    for event, bounds in events:
        assert 1 <= states[0].next(bounds) <= bounds.limit
        states = [state.after(event, bounds) for state in states]
        assert states[0] == states[1]


@pytest.mark.parametrize(
    "wrong", [{"norm": math.nan}, {"norm": -1.0}, {"wire_bytes": 0}, {"fit_seconds": math.inf}, {"retries": -1}]
)
def test_what_cannot_have_been_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected a finite norm"):
        Participation(**{"norm": 1.0, "wire_bytes": 1, "fit_seconds": 1.0, "retries": 0, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"deadline_seconds": 0.0}, {"joules": -1.0}, {"watts": 0.0}])
def test_bounds_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected a"):
        Bounds(**{"limit": 1, **wrong})  # type: ignore[arg-type]
