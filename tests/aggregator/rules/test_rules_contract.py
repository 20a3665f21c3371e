"""One contract for all rules: whatever is in the registry is tested here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.aggregator.rules import AROUND, PRESTEPS, RULES, Body, Dense, Rule, State, Update, Updates, rule
from gossamer.compression import codec, open_body
from gossamer.errors import ConfigError, InputError, MalformedBody
from tests.aggregator.rules.naive import NaiveRule

FIRST_SPECS = [
    "mean",
    "median",
    "trimmed-mean:0",
    "trimmed-mean:1",
    "trimmed-mean:2",
    "norm-clip",
    "clipped-differences:0.3",
    "clipped-differences:1.0",
]
PORTABLE_SPECS = [
    "krum:1",
    "multi-krum:1",
    "multi-krum:2/2",
    "bulyan:1",
    "sign-majority",
    "fltrust:1",
    "nnm:1+trimmed-mean:1",
    "nnm:1+krum:1",
    "nnm:1+clipped-differences:0.3",
    "bucketing:2+median",
    "bucketing:2+nnm:1+norm-clip",
]
MACHINE_SPECS = ["geometric-median", "geometric-median:3", "centered-clipping", "centered-clipping:0.5/2"]
CACHED_SPECS = ["cache:0.5+trimmed-mean:1", "cache:0.5+nnm:1+median"]
SPECS = [*FIRST_SPECS, *PORTABLE_SPECS, *CACHED_SPECS, *MACHINE_SPECS]
ROUNDED = {"centered-clipping": 1e-5, "geometric-median": 1e-5, "nnm": 3e-6, "bucketing": 1e-6, "cache": 1e-6}
"""Relative error of the rules that add in float32; of the others 1e-9."""

every_rule = pytest.mark.parametrize("spec", SPECS)


def test_every_registered_rule_is_under_contract() -> None:
    names = {part.partition(":")[0] for spec in SPECS for part in spec.split("+")}
    assert names == {*RULES, *PRESTEPS, *AROUND}


def test_only_the_portable_claim_to_be() -> None:
    assert {spec for spec in SPECS if rule(spec).portable} == {*FIRST_SPECS, *PORTABLE_SPECS, *CACHED_SPECS}


def tolerance(spec: str) -> float:
    return max(ROUNDED.get(part.partition(":")[0], 1e-9) for part in spec.split("+"))


def enough(spec: str, n: int = 5) -> int:
    return max(n, rule(spec).minimum)


def some_updates(n: int, d: int, seed: int = 0, scale: float = 1.0) -> list[Update]:
    rng = np.random.default_rng(seed)
    matrix = (rng.standard_normal((n, d)) * scale * rng.uniform(0.2, 5.0, (n, 1))).astype(np.float32)
    examples, lags = rng.integers(0, 200, n), rng.integers(0, 4, n)
    return [
        Update(3 * i + 1, Dense(row), int(e), int(lag))
        for i, (row, e, lag) in enumerate(zip(matrix, examples, lags, strict=True))
    ]


def run(
    chosen: Rule, rounds: list[list[Update]], d: int, block: int = 0, workers: int = 1
) -> tuple[list[bytes], dict[str, object]]:
    """Aggregates of consecutive rounds, as bytes, and the last state."""
    state, out = chosen.init(d), []
    for items in rounds:
        aggregate, state, report = chosen.apply(state, Updates.of(items, d, block_coordinates=block, workers=workers))
        assert not report.shortfall
        assert aggregate.dtype == np.float64
        assert aggregate.shape == (d,)
        assert np.isfinite(aggregate).all()
        out.append(aggregate.tobytes())
    return out, dict(state.to_dict())


@every_rule
@pytest.mark.parametrize("d", [1, 5, 4096, 9001])
def test_same_bits_for_any_block_size_order_of_arrival_and_number_of_workers(spec: str, d: int) -> None:
    rounds = [some_updates(enough(spec, 6), d, seed) for seed in range(2)]
    expected = run(rule(spec), rounds, d)
    backwards = [items[::-1] for items in rounds]
    assert run(rule(spec), backwards, d) == expected
    for block in (d, d + 7, 1000, 4096) if d > 5 else (1, 2, 7):
        assert run(rule(spec), rounds, d, block) == expected
    for workers in (2, 3):
        assert run(rule(spec), rounds, d, 2048, workers) == expected


@every_rule
@given(n=st.integers(5, 9), d=st.integers(1, 12), seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1, 100]))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_agrees_with_the_naive_second_implementation(spec: str, n: int, d: int, seed: int, scale: float) -> None:
    chosen, judge = rule(spec), NaiveRule(spec)
    state = chosen.init(d)
    for k in range(10 if "norm-clip" in spec or "differences" in spec else 2):  # more rounds than norm-clip remembers
        items = some_updates(max(n, chosen.minimum), d, seed + k, scale)
        aggregate, state, _ = chosen.apply(state, Updates.of(items, d, round=k))
        vectors = [item.body.read(0, d).astype(float).tolist() for item in items]
        expected = judge.round(vectors, [item.examples for item in items], [item.lag for item in items], k)
        largest = max(abs(x) for vector in vectors for x in vector)
        rtol = tolerance(spec)
        np.testing.assert_allclose(aggregate, expected, rtol=rtol, atol=max(rtol * (rtol > 1e-9), 1e-12) * largest)


@dataclass(frozen=True)
class Spoilt:
    """A body that the acceptance should have refused."""

    how: str
    d: int

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        if self.how == "malformed":
            raise MalformedBody("part 1 ends early")
        if self.how == "wrong-layout":
            return np.zeros(max(stop - start - 1, 0), dtype=np.float32)
        values = np.zeros(self.d, dtype=np.float32)
        values[-1] = {"nan": np.nan, "infinity": np.inf, "huge": -2049.0, "largest": 3.4e38}[self.how]
        return values[start:stop]


SPOILT = {
    "malformed": "malformed",
    "wrong-layout": "wrong-layout",
    "nan": "non-finite",
    "infinity": "non-finite",
    "huge": "too-large",
    "largest": "too-large",
}


@every_rule
@pytest.mark.parametrize(("how", "reason"), SPOILT.items())
def test_bad_updates_are_named_and_change_nothing(spec: str, how: str, reason: str) -> None:
    d, chosen = 5000, rule(spec)
    good = some_updates(enough(spec), d)
    bad = [Update(index, Spoilt(how, d), examples=10**9) for index in (0, 5, 99)]
    expected, expected_state, _ = chosen.apply(chosen.init(d), Updates.of(good, d))
    aggregate, state, report = chosen.apply(chosen.init(d), Updates.of(bad + good, d))
    assert aggregate.tobytes() == expected.tobytes()
    assert state == expected_state
    assert [(v.index, v.reason) for v in report.rejected] == [(0, reason), (5, reason), (99, reason)]
    assert all(v.norm == v.factor == v.weight == 0.0 for v in report.rejected)


@every_rule
def test_too_few_usable_updates_change_nothing(spec: str) -> None:
    chosen, d = rule(spec), 7
    _, state, _ = chosen.apply(chosen.init(d), Updates.of(some_updates(enough(spec), d), d))
    short = some_updates(chosen.minimum - 1, d)
    for items in (short, [*short, Update(2, Spoilt("nan", d))]):
        aggregate, after, report = chosen.apply(state, Updates.of(items, d))
        assert not aggregate.any()
        assert after == state
        assert f"needs {chosen.minimum}" in report.shortfall
        assert len(report.verdicts) == len(items)
    aggregate, after, report = chosen.apply(state, Updates.of(some_updates(chosen.minimum, d), d))
    assert not report.shortfall
    assert after.rounds == 2


@every_rule
def test_state_survives_storage_at_any_round(spec: str) -> None:
    chosen, d = rule(spec), 50
    through, stored = chosen.init(d), chosen.init(d)
    for seed in range(12):
        updates = Updates.of(some_updates(enough(spec), d, seed), d)
        expected, through, _ = chosen.apply(through, updates)
        data = cbor2.dumps(stored.to_dict(), canonical=True)
        assert len(data) < 8 * d + 2500  # bounded, however long the job
        aggregate, stored, _ = rule(spec).apply(chosen.restore(cbor2.loads(data), d), updates)
        assert aggregate.tobytes() == expected.tobytes()
        assert stored == through


@every_rule
def test_foreign_or_damaged_state_is_refused(spec: str) -> None:
    chosen = rule(spec)
    good = chosen.init(4).to_dict()
    damaged = [{}, {**good, "spec": "krum"}, {**good, "d": 5}, {**good, "rounds": "1"}]
    damaged += [{**good, "vector": bytes(8)}, {**good, "norms": bytes(7)}, {**good, "vector": 3}]
    for data in damaged:
        with pytest.raises(InputError, match=r"init\(d\)"):
            chosen.restore(data, 4)


@every_rule
def test_inputs_are_not_touched(spec: str) -> None:
    chosen, d = rule(spec), 30
    items = some_updates(enough(spec), d)
    for item in items:
        assert isinstance(item.body, Dense)
        item.body.vector.setflags(write=False)
    state = chosen.init(d)
    first, after, _ = chosen.apply(state, Updates.of(items, d))
    again, after_again, _ = chosen.apply(state, Updates.of(items, d))
    assert state == State(chosen.spec, d)
    assert first.tobytes() == again.tobytes()
    assert after == after_again


@every_rule
def test_zeros_and_denormals(spec: str) -> None:
    chosen, d = rule(spec), 6
    for value in (0.0, -0.0, 1e-45):
        matrix = np.full((enough(spec), d), value, dtype=np.float32)
        aggregate, state, _ = chosen.apply(chosen.init(d), Updates.dense(matrix))
        assert np.abs(aggregate).max() <= 1.5e-45
        if value == 0.0:  # nothing remembered of silence holds the next round back
            aggregate, _, _ = chosen.apply(state, Updates.dense(np.ones((enough(spec), d), dtype=np.float32)))
            assert (aggregate > 0).all()


@every_rule
def test_unanimity(spec: str) -> None:
    """Who all agree get their way, at once or (with a memory) within some rounds."""
    chosen, d = rule(spec), 9
    row = np.linspace(-1, 2, d).astype(np.float32)
    state = chosen.init(d)
    for _ in range(40):
        aggregate, state, _ = chosen.apply(state, Updates.dense(np.tile(row, (enough(spec), 1))))
    if spec == "sign-majority":  # of the row it has the signs, and one length
        np.testing.assert_allclose(aggregate, np.sign(row) * np.abs(row).mean(), rtol=1e-6)
    else:
        np.testing.assert_allclose(aggregate, row, rtol=tolerance(spec) if tolerance(spec) > 1e-9 else 1e-12)


@every_rule
def test_a_lie_about_examples_is_bounded(spec: str) -> None:
    chosen, d = rule(spec), 20
    items = some_updates(enough(spec), d)
    honest = [Update(item.index, item.body, 100) for item in items]
    liars = {claim: [Update(1, items[0].body, claim), *honest[1:]] for claim in (300, 10**9, 1 << 64)}
    results = {claim: chosen.apply(chosen.init(d), Updates.of(lie, d))[0].tobytes() for claim, lie in liars.items()}
    assert len(set(results.values())) == 1


@every_rule
@pytest.mark.parametrize("spec_up", ["fp32", "rot1", "ternary:0.05", "topk:0.02/q4", "sign"])
def test_reads_encoded_bodies_as_if_decoded(spec: str, spec_up: str) -> None:
    d, chosen, encoder = 5000, rule(spec), codec(spec_up)
    dense = some_updates(enough(spec), d)
    bodies = [encoder.encode(item.body.read(0, d), seed=item.index) for item in dense]

    def result(open_one: list[Body], block: int) -> bytes:
        items = [Update(i.index, body, i.examples, i.lag) for i, body in zip(dense, open_one, strict=True)]
        return chosen.apply(chosen.init(d), Updates.of(items, d, block_coordinates=block))[0].tobytes()

    opened: list[Body] = [open_body(body, d) for body in bodies]
    decoded: list[Body] = [Dense(open_body(body, d).read(0, d)) for body in bodies]
    assert result(opened, 700) == result(decoded, 0)


@every_rule
def test_late_and_current_update_of_one_device(spec: str) -> None:
    """Told apart by their round, whatever order they come in, even with the same base version."""
    d, chosen = 8, rule(spec)
    late, now, *others = some_updates(enough(spec, 6), d)
    pair = [Update(1, late.body, 10, lag=2, round=6), Update(1, now.body, 10, lag=2, round=7)]
    forward = chosen.apply(chosen.init(d), Updates.of([*pair, *others], d))
    back = chosen.apply(chosen.init(d), Updates.of([*others, *pair[::-1]], d))
    assert forward[0].tobytes() == back[0].tobytes()
    assert [v.index for v in forward[2].verdicts].count(1) == 2


@every_rule
def test_report_is_plain_and_complete(spec: str) -> None:
    d, chosen = 8, rule(spec)
    items = [*some_updates(enough(spec), d), Update(2, Spoilt("nan", d))]
    _, _, report = chosen.apply(chosen.init(d), Updates.of(items, d))
    data = json.loads(json.dumps(report.to_dict()))
    assert [device["device"] for device in data["devices"]] == [1, 2, *range(4, 3 * enough(spec), 3)]
    assert data["devices"][1]["reason"] == "non-finite"
    assert all(device["weight"] > 0 for device in data["devices"] if device["accepted"])
    assert all(0 <= device["factor"] <= 1 for device in data["devices"] if device["accepted"])
    assert data["rule"] == chosen.spec == rule(chosen.spec).spec


@pytest.mark.parametrize(
    ("specs", "n", "expected"),
    [(FIRST_SPECS, 5, "ad8aeaa4f2127e07"), (PORTABLE_SPECS, 9, "dd5b45be35002b60")],
    ids=["first", "later"],
)
def test_bits_are_the_same_on_every_machine(specs: list[str], n: int, expected: str) -> None:
    """Inputs of integers, arithmetic of IEEE 754 alone: so the digest holds on any CPU and numpy."""
    d = 10_000
    grid = np.arange(n * d, dtype=np.int64).reshape(n, d)
    matrix = ((grid * 2_654_435_761 % 1_000_003).astype(np.float32) - np.float32(500_000)) / np.float32(2**20)
    digest = hashlib.sha256()
    for spec in specs:
        chosen = rule(spec)
        state = chosen.init(d)
        for k in range(3):
            updates = Updates.of([Update(i, Dense(row), 50 + i, i % 2) for i, row in enumerate(matrix)], d)
            aggregate, state, _ = chosen.apply(state, updates)
            digest.update(aggregate.astype("<f8").tobytes())
            matrix = matrix[:, ::-1] / np.float32(k + 2)
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("trimmed-mean", "trimmed-mean:1"),
        ("clipped-differences", "clipped-differences:0.3"),
        ("mean", "mean"),
        ("krum", "krum:1"),
        ("multi-krum:/3", "multi-krum:1/3"),
        ("bulyan", "bulyan:1"),
        ("centered-clipping:/2", "centered-clipping:/2"),
        ("nnm+bucketing+median", "nnm:1+bucketing:2+median"),
    ],
)
def test_defaults(spec: str, canonical: str) -> None:
    assert rule(spec).spec == canonical


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "krum:-1",
        "krum:1/2",
        "multi-krum:1/0",
        "bulyan:-1",
        "geometric-median:0",
        "centered-clipping:0",
        "centered-clipping:nan",
        "centered-clipping:1/0",
        "sign-majority:1",
        "fltrust",
        "fltrust:-1",
        "nnm",
        "nnm:-1+mean",
        "nnm:1+",
        "+mean",
        "bucketing:0+mean",
        "mean+nnm:1",
        "nnm:1+fltrust:1",
        "Mean",
        "mean:1",
        "median:2",
        "norm-clip:1",
        "trimmed-mean:-1",
        "trimmed-mean:0.5",
        "trimmed-mean:x",
        "clipped-differences:0",
        "clipped-differences:-1",
        "clipped-differences:nan",
        "clipped-differences:inf",
        "clipped-differences:x",
    ],
)
def test_unusable_specs_are_refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match="rule"):
        rule(spec)
