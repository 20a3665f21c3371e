"""What every method must keep to, run over all that are registered.

A method that is registered is covered: by the specs in ``SPECS``, or by the first numbers that it takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer.errors import ConfigError
from gossamer.methods import METHODS, Draft, Method, Round, View, method
from gossamer.methods.registry import MAX_SPEC_CHARS
from gossamer.wire.codes import Section, UpdateSection
from gossamer.wire.limits import MAX_SECTIONS, MAX_UPDATE_SECTION_BYTES, MAX_UPDATE_SECTIONS
from tests.methods.world import Quadratic, World, quadratics

Vector = NDArray[np.float64]
D, N, COHORT, ROUNDS = 12, 6, 3, 8
ANNOUNCED_BYTES = 100
"""Of a third of a manifest: what every device reads in every round."""

SPECS: dict[str, tuple[str, ...]] = {
    "fednova": ("fednova", "fednova:7.0"),
    "feddyn": ("feddyn:3.0",),
    "scallion": ("scallion:0.5/0.05",),
    "scafcom": ("scafcom:0.5/0.05", "scafcom:1.0/0.05"),
}


def specs() -> Iterator[str]:
    """At least one spec of every registered method."""
    for name, (build, fewest, _) in METHODS.items():
        yield from SPECS.get(name) or (_first(name, build, fewest),)


def _first(name: str, build: Any, fewest: int) -> str:
    for numbers in itertools.product((0.5, 0.1, 1.0, 2.0, 10.0), repeat=fewest):
        try:
            return str(build(*numbers).spec)
        except ValueError:
            continue
    raise AssertionError(f"{name} takes none of the numbers that were tried: name a spec in SPECS")


ALL = sorted(set(specs()))


def half(vector: Vector, rng: np.random.Generator) -> Vector:
    """Every second coordinate at random, twice as large: unbiased."""
    return vector * 2.0 * (rng.random(len(vector)) < 0.5)


def fleet() -> list[Quadratic]:
    return quadratics(N, D, 10.0, local_steps=3)[0]


def world(chosen: Method, **settings: Any) -> World:
    return World(chosen, list(fleet()), cohort=0 if chosen.everybody else COHORT, **settings)


def where(device: int = 1, number: int = 2) -> Round:
    return Round(number, 3, device, N, 2, 0.05, secret=bytes([device]) * 32)


@dataclass
class Spoken:
    """A method that passes everything on and keeps what was said."""

    method: Method
    drafts: list[Draft] = field(default_factory=list)
    announced: list[dict[int, bytes]] = field(default_factory=list)
    memories: list[dict[str, Vector]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def train(self, *arguments: Any) -> Draft:
        self.drafts.append(self.method.train(*arguments))
        return self.drafts[-1]

    def step(self, *arguments: Any) -> Any:
        moves, memory = self.method.step(*arguments)
        self.memories.append(dict(memory))
        return moves, memory

    def announce(self, memory: Any) -> Any:
        self.announced.append(dict(self.method.announce(memory)))
        return self.announced[-1]


def spoken(spec: str) -> tuple[Spoken, World]:
    listener = Spoken(method(spec))
    run = world(listener, up=half, lost=0.2)  # type: ignore[arg-type]
    run.run(ROUNDS)
    return listener, run


def test_every_registered_method_is_covered() -> None:
    assert {spec.partition(":")[0] for spec in ALL} == set(METHODS)


@pytest.mark.parametrize("spec", ALL)
def test_a_spec_names_its_method(spec: str) -> None:
    chosen = method(spec)
    assert chosen.spec == spec
    assert method(chosen.spec) == chosen
    assert len(spec) <= MAX_SPEC_CHARS
    assert spec.isascii()
    assert spec.isprintable()


@pytest.mark.parametrize("name", list(METHODS))
def test_a_wrong_count_of_numbers_and_wrong_numbers_are_refused(name: str) -> None:
    _, fewest, most = METHODS[name]
    wrong = ["x", *(["1"] * (most - 1))] if most else []
    for numbers in (["1"] * (most + 1), ["1"] * (fewest - 1) if fewest else [""] * 2, wrong or ["x"]):
        with pytest.raises(ConfigError, match=name):
            method(f"{name}:{'/'.join(numbers)}")
    for each in ("nan", "inf", "-1"):
        for count in range(max(1, fewest), most + 1):
            with pytest.raises(ConfigError, match=name):
                method(f"{name}:{'/'.join([each] * count)}")


def test_a_spec_that_grows_beyond_the_manifest_is_refused() -> None:
    with pytest.raises(ConfigError, match="40 characters"):
        method("scallion:0.123456789012345678/1e15")


@pytest.mark.parametrize("spec", ALL)
def test_the_same_inputs_give_the_same_bits(spec: str) -> None:
    first, second = (world(method(spec), up=half) for _ in range(2))
    assert np.array_equal(first.run(ROUNDS), second.run(ROUNDS))
    assert np.array_equal(first.target, second.target)
    assert first.own.keys() == second.own.keys()
    for device, own in first.own.items():
        assert np.array_equal(own, second.own[device])


@pytest.mark.parametrize("spec", ALL)
def test_training_changes_nothing_that_it_was_given(spec: str) -> None:
    chosen, local = method(spec), fleet()[1]
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((1 + len(chosen.companions), D))
    first = chosen.train(shared.copy(), None, local, where(number=1))
    sent = first.vector if first.trained is None else first.trained - shared[0]
    assert sent is not None
    own = first.settled(sent)
    before = (shared.copy(), None if own is None else own.copy(), sent.copy())
    draft = chosen.train(shared, own, local, where())
    kept = draft.settled(sent)
    assert np.array_equal(shared, before[0])
    assert np.array_equal(sent, before[2])
    assert own is None or np.array_equal(own, before[1])
    assert own is None or not np.shares_memory(kept, own)


@pytest.mark.parametrize("spec", ALL)
def test_own_has_its_rows_whatever_became_of_the_update(spec: str) -> None:
    listener, run = spoken(spec)
    chosen = listener.method
    for draft in listener.drafts:
        assert np.isfinite(draft.loss)
        assert (draft.trained is None) != (draft.vector is None)
        sent = draft.vector if draft.trained is None else draft.trained
        assert sent is not None
        assert (sent.shape, sent.dtype) == ((D,), np.float64)
        for after in (draft.settled(np.ones(D)), draft.dropped):
            if not chosen.own:
                assert after is None
                continue
            assert after is not None
            assert (after.shape, after.dtype) == ((len(chosen.own), D), np.float64)
            assert np.isfinite(after).all()
    assert set(run.own) <= set(range(N))


@pytest.mark.parametrize("spec", ALL)
def test_both_fates_are_ready_before_either_is_known(spec: str) -> None:
    """Asked in any order, and twice, they say the same: a device stores both before it sends."""
    chosen, local = method(spec), fleet()[0]
    shared = np.zeros((1 + len(chosen.companions), D))
    draft = chosen.train(shared, None, local, where())
    if not chosen.own:
        return
    decoded = np.linspace(-1, 1, D)
    dropped = np.array(draft.dropped)
    first, other, again = draft.settled(decoded), draft.settled(2 * decoded), draft.settled(decoded)
    assert first is not None
    assert other is not None
    assert again is not None
    assert np.array_equal(first, again)
    assert np.array_equal(np.array(draft.dropped), dropped)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("spec", ALL)
def test_a_dropped_update_leaves_a_state_to_go_on_from(spec: str) -> None:
    """The next round's draft can be made from it, and is again the same for the same state."""
    chosen, local = method(spec), fleet()[0]
    shared = np.zeros((1 + len(chosen.companions), D))
    own = chosen.train(shared, None, local, where(number=1)).dropped
    drafts = [chosen.train(shared, own, local, where(number=2)) for _ in range(2)]
    vectors = [draft.trained if draft.vector is None else draft.vector for draft in drafts]
    assert np.isfinite(vectors[0]).all()
    assert np.array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize("spec", ALL)
def test_sections_are_known_and_within_limits(spec: str) -> None:
    listener, _ = spoken(spec)
    for draft in listener.drafts:
        assert len(draft.sections) <= MAX_UPDATE_SECTIONS
        for number, data in draft.sections.items():
            assert UpdateSection(number)
            assert isinstance(data, bytes)
            assert len(data) <= MAX_UPDATE_SECTION_BYTES
    for sections in listener.announced:
        assert len(sections) <= MAX_SECTIONS
        assert sum(map(len, sections.values())) <= ANNOUNCED_BYTES
        assert all(Section(number) and isinstance(data, bytes) for number, data in sections.items())


@pytest.mark.parametrize("spec", ALL)
def test_factors_are_positive_and_bounded_whatever_devices_claim(spec: str) -> None:
    lies = [{}, dict.fromkeys(UpdateSection, b""), dict.fromkeys(UpdateSection, b"\xff" * 128)]
    lies += [dict.fromkeys(UpdateSection, data) for data in (b"\x00", b"\x01", b"\x1a\xff\xff\xff\xff")]
    for claims in ([], *([lie] for lie in lies), lies):
        factors = list(method(spec).factors(claims))
        assert len(factors) == len(claims)
        assert all(0 < factor <= 64 * len(claims) for factor in factors)


@pytest.mark.parametrize("spec", [spec for spec in ALL if method(spec).steps])
def test_the_servers_memory_is_named_vectors(spec: str) -> None:
    listener, _ = spoken(spec)
    assert len(listener.memories) == ROUNDS
    for memory in listener.memories:
        assert memory.keys() == listener.memories[0].keys()
        for name, vector in memory.items():
            assert name.isidentifier()
            assert vector.dtype == np.float64
            assert vector.shape[-1] == D
            assert np.isfinite(vector).all()


@pytest.mark.parametrize("spec", ALL)
def test_the_servers_half_is_pure(spec: str) -> None:
    chosen = method(spec)
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((1 + len(chosen.companions), D))
    view = View(shared, shared + 0.01, N, COHORT, 0, 2, [{}] * COHORT)
    aggregate = rng.standard_normal(D)
    memory: Any = {}
    for _ in range(2):
        given = {name: vector.copy() for name, vector in memory.items()}
        before = (aggregate.copy(), view.shared.copy(), view.target.copy())
        moves, after = chosen.step(memory, aggregate, view)
        again, _ = chosen.step(given, aggregate, view)
        assert moves.shape == view.target.shape
        assert np.array_equal(moves, again)
        assert all(np.array_equal(memory[name], given[name]) for name in given)
        assert all(np.array_equal(a, b) for a, b in zip(before, (aggregate, view.shared, view.target), strict=True))
        memory = after


@pytest.mark.parametrize("spec", ALL)
def test_the_model_is_one_vector_with_or_without_a_device(spec: str) -> None:
    run = world(method(spec))
    run.run(2)
    for own in (None, *run.own.values()):
        found = method(spec).model(run.shared, own)
        assert found.shape == (D,)
        assert np.isfinite(found).all()


#: Of those that are exact without compression: the step that suits the problem below.
GROWING = (
    "feddyn:3.0", "scallion:0.5/0.05", "scafcom:0.5/0.05", "normec:0.1/0.1/0.05", "scafflix:1.0/0.5/10.0",
    "locodl:0.5/10.0/1.0/0.0", "bicolor:10.0/1.0/0.0/0.0",
)  # fmt: skip


def test_methods_that_remember_are_tried_on_a_fleet_that_grows() -> None:
    assert {spec.partition(":")[0] for spec in ALL if method(spec).own} == {spec.partition(":")[0] for spec in GROWING}


@pytest.mark.parametrize("spec", GROWING)
def test_a_device_that_joins_moves_the_optimum_and_nothing_else(spec: str) -> None:
    """Or the fleet must stay as it is, and the method says so."""
    locals_, best = quadratics(N + 1, D, 10.0)
    grown = World(method(spec), locals_[:N])
    grown.run(100)
    grown.locals.append(locals_[N])
    grown.run(1500)
    apart = np.linalg.norm(grown.shared[0] - best) / np.linalg.norm(best)
    assert apart > 1e-3 if method(spec).fixed_fleet else apart < 1e-10
