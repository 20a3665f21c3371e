"""Models with history: every way between two versions ends in the same bytes, whatever was missed on the way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.compression import codec, decode, hist
from gossamer.compression.arrays import Lattice
from gossamer.compression.lattice import digest, from_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.shared import SharedModel
from gossamer.compression.ways import apply_delta, decode_snapshot, encode_delta, encode_snapshot
from gossamer.errors import InputError, LayoutMismatch, MalformedBody

LAYOUT = Layout((("0", (24, 16)), ("1", (16,)), ("2", (16, 5)), ("3", (5,))), (("0", (6, -4)),))


def weights(seed: int) -> Lattice:
    return (np.random.default_rng(seed).normal(size=LAYOUT.size) * 1e5).astype(np.int32)


def journey(rounds: int, specs: list[str], cycle: int, seed: int = 0) -> tuple[list[SharedModel], list[bytes]]:
    """Versions 0.. and the steps between them; the r-th step is coded with specs[r % len(specs)]."""
    rng = np.random.default_rng(seed)
    model = SharedModel.first(LAYOUT, weights(seed), cycle)
    target = model.weights.astype(np.int64)
    drift = rng.normal(size=(3, LAYOUT.size))
    versions, steps = [model], []
    for number in range(rounds):
        target += (rng.normal(size=3) @ drift * 3000).astype(np.int64)
        wanted = from_lattice(target - model.weights)
        context = model.context(upward=False)
        steps.append(codec(specs[number % len(specs)]).encode(wanted, seed=number, context=context))
        model = model.after(steps[-1])
        versions.append(model)
    return versions, steps


CASES = [
    (["hist:0.1"], 1),
    (["hist:0.1"], 4),
    (["ternary:0.05"], 1),
    (["ternary:0.05"], 3),
    (["hist:0.1", "fp32", "hist:0.1", "ternary:0.1"], 4),
]
every_case = pytest.mark.parametrize(("specs", "cycle"), CASES, ids=str)


@every_case
def test_every_way_leads_to_the_same_model(specs: list[str], cycle: int) -> None:
    versions, steps = journey(7, specs, cycle)
    for late in range(1, len(versions)):
        assert decode_snapshot(encode_snapshot(versions[late]), versions[0]).digest == versions[late].digest
        for early in range(late):
            delta = encode_delta(versions[early], steps[early:late], versions[late])
            assert apply_delta(versions[early], delta).digest == versions[late].digest, (early, late)


@every_case
def test_at_rest(specs: list[str], cycle: int) -> None:
    for model in journey(5, specs, cycle)[0]:
        data = model.to_bytes()
        again = SharedModel.from_bytes(data, LAYOUT)
        assert (again.to_bytes(), again.digest, again.steps) == (data, model.digest, model.steps)
        with pytest.raises((LayoutMismatch, MalformedBody)):
            SharedModel.from_bytes(data[:-1] if model.frame is None else data[: LAYOUT.size * 4 + 1], LAYOUT)


def test_a_restored_model_goes_on_as_the_original() -> None:
    versions, steps = journey(10, ["hist:0.1"], 4)
    for start in range(9):
        model = SharedModel.from_bytes(versions[start].to_bytes(), LAYOUT)
        late_joiner = decode_snapshot(encode_snapshot(versions[start]), versions[0])
        for number in range(start, 10):
            model, late_joiner = model.after(steps[number]), late_joiner.after(steps[number])
            assert model.digest == late_joiner.digest == versions[number + 1].digest


def test_summed_steps_are_shorter() -> None:
    versions, steps = journey(8, ["hist:0.1"], 8)
    delta = encode_delta(versions[0], steps[:7], versions[7])
    assert len(delta) < 0.8 * sum(map(len, steps[:7]))


def test_a_plain_model_is_its_weights() -> None:
    model = SharedModel.first(LAYOUT, weights(1))
    assert model.to_bytes() == weights(1).astype("<i4").tobytes()
    assert model.digest == digest(weights(1))
    assert SharedModel.plain(weights(1)).digest == model.digest


def test_the_digest_covers_the_history() -> None:
    """Equal weights with another past decode other bodies: their names must differ."""
    versions, _ = journey(6, ["hist:0.1"], 2)
    forgetful = SharedModel.first(LAYOUT, versions[4].weights, 2)
    assert np.array_equal(forgetful.weights, versions[4].weights)
    assert forgetful.digest != versions[4].digest


def test_a_skipped_step_is_noticed() -> None:
    """A device that missed a step holds another digest than the manifest names, and the snapshot heals it."""
    versions, steps = journey(6, ["hist:0.1"], 1)
    try:
        astray = versions[2].after(steps[3])
    except MalformedBody:
        pass
    else:
        assert astray.digest != versions[4].digest
    assert decode_snapshot(encode_snapshot(versions[4]), versions[0]).digest == versions[4].digest


def test_updates_read_in_another_frame_are_not_what_was_sent() -> None:
    versions, _ = journey(6, ["hist:0.1"], 1)
    x = np.random.default_rng(5).normal(size=LAYOUT.size).astype(np.float32)
    encoder = codec("hist:0.2")
    context = versions[5].context(upward=True)
    body = encoder.encode(x, seed=0, context=context)
    right = hist.read_levels(body, context)[0]
    try:
        wrong = hist.read_levels(body, versions[1].context(upward=True))[0]
    except MalformedBody:
        return
    assert not np.array_equal(right, wrong)


@pytest.mark.parametrize("quiet", [0, 1, 2])
def test_a_step_that_moves_nothing_sets_no_scale(quiet: int) -> None:
    """A round without updates at the start of a cycle leaves the next ones free to choose theirs."""
    model, steps = SharedModel.first(LAYOUT, weights(0), 4), []
    versions = [model]
    for number in range(4):
        wanted = np.zeros(LAYOUT.size) if number <= quiet else np.random.default_rng(number).normal(size=LAYOUT.size)
        steps.append(codec("hist:0.1").encode(wanted, seed=0, context=model.context(upward=False)))
        model = model.after(steps[-1])
        versions.append(model)
        assert (model.scale_code is None) == (number <= quiet or number == 3)
    assert not np.array_equal(model.weights, weights(0))
    for early in range(4):
        assert apply_delta(versions[early], encode_delta(versions[early], steps[early:], model)).digest == model.digest


@pytest.mark.parametrize("spec", ["hist:300", "hist:5000"])
def test_fewer_coefficients_than_levels(spec: str) -> None:
    """What is sparse in the basis arrives, however many levels there might be."""
    layout = Layout((("0", (1500, 4)),))  # beyond the limits of a basis: its coefficients are its values
    model = SharedModel.first(layout, np.zeros(6000, np.int32), 1)
    x = np.zeros(6000, np.float32)
    x[::200] = 0.1
    context = model.context(upward=True)
    rest = x - decode(codec(spec).encode(x, seed=0, context=context), 6000, context)
    assert np.linalg.norm(rest) < 0.1 * np.linalg.norm(x)


def test_steps_that_do_not_lead_there() -> None:
    versions, steps = journey(5, ["hist:0.1"], 2)
    with pytest.raises(InputError, match="lead"):
        encode_delta(versions[1], steps[1:3], versions[4])


def test_a_part_ends_with_its_cycle() -> None:
    versions, steps = journey(4, ["hist:0.1"], 2)
    with pytest.raises(MalformedBody, match="rounds of this cycle"):
        versions[0].after(steps[0], rounds=3)


def mutated(data: bytes, draw: st.DataObject) -> Iterator[bytes]:
    at = draw.draw(st.integers(0, len(data) - 1))
    yield data[:at]
    yield data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    yield data[:at] + draw.draw(st.binary(max_size=4)) + data[at:]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_hostile_ways(draw: st.DataObject) -> None:
    """Anything but a way is refused as malformed, and nothing else happens."""
    versions, steps = JOURNEY
    for good, base in ((encode_delta(versions[1], steps[1:5], versions[5]), versions[1]), (SNAPSHOT, versions[0])):
        for data in mutated(good, draw):
            try:
                result = decode_snapshot(data, base) if good is SNAPSHOT else apply_delta(base, data)
            except MalformedBody:
                continue
            assert result.weights.shape == base.weights.shape


JOURNEY = journey(6, ["hist:0.1", "ternary:0.05"], 3)
SNAPSHOT = encode_snapshot(JOURNEY[0][5])
