"""The fuzz run in short, and that it finds what is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

from gossamer.errors import MalformedBody
from tests.compression import fuzz, fuzz_targets
from tests.compression.fuzz import Tally, run_chunk
from tests.compression.fuzz_targets import TARGETS, Seeds, check_vector, seeds_of
from tests.compression.mutate import mutated

BODIES = 2_000
SEED = 7


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_bodies_are_read_or_refused(target: str) -> None:
    tally = run_chunk(target, 0, BODIES, SEED)
    assert not tally.examples
    assert tally.bodies == tally.refused + tally.decoded == BODIES
    assert tally.refused > BODIES / 10
    assert tally.decoded > BODIES / 100, "mutations that break everything test nothing but the first check"


@pytest.mark.parametrize("target", TARGETS)
def test_the_bodies_it_starts_from_are_valid(target: str) -> None:
    for seeds in seeds_of(target):
        assert all(seeds.read(body) for body in seeds.bodies)


def test_the_same_seed_makes_the_same_bodies() -> None:
    bodies = seeds_of("ternary:0.02")[2].bodies
    made = [[mutated(bodies, rng) for _ in range(200)] for rng in (Random("a"), Random("a"), Random("b"))]
    assert made[0] == made[1] != made[2]
    assert len(set(made[0])) > 190


def _raise(_data: bytes) -> bool:
    raise ValueError("of numpy")


def _warn(_data: bytes) -> bool:
    np.float32(3e38) * np.float32(10)
    return True


def _spin(_data: bytes) -> bool:
    start = time.thread_time()
    while time.thread_time() - start < 0.03:
        pass
    return True


def _eat(_data: bytes) -> bool:
    np.ones(fuzz.PEAK_BYTES // 8 + 100)
    return False


def _unreadable(_data: bytes) -> bool:
    """As a body that opens, but cannot be read."""
    raise MalformedBody("too late")


@pytest.mark.parametrize(
    ("read", "finding"),
    [(_raise, "ValueError"), (_warn, "RuntimeWarning"), (_spin, "slow"), (_eat, "memory"), (_unreadable, "too late")],
)
def test_it_finds(read: fuzz_targets.Read, finding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(fuzz, "seeds_of", lambda _target: (Seeds((b"\x01abc",), read),))
    tally = run_chunk("some", 0, 2, SEED)
    assert tally.findings >= 1
    assert finding in next(iter(tally.examples))


@pytest.mark.parametrize("y", [np.zeros(3), np.zeros(4, np.float32), np.array([1, np.nan, 1], np.float32)])
def test_what_is_no_vector(y: np.ndarray) -> None:
    with pytest.raises(fuzz_targets.NotFinite):
        check_vector(y, 3)


def test_tallies_add_up() -> None:
    total = Tally()
    for each in (Tally(2, 1, 1, 0, 0.1, 5), Tally(3, 2, 0, 1, 0.2, 4, {"a": "b"})):
        total.add(each)
    assert total == Tally(5, 3, 1, 1, 0.2, 5, {"a": "b"})
    assert total.record("x", 1)["first_finding"] == "a: b"


def test_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    code = fuzz.main(["--bodies", "400", "--codecs", "q4,ternary:0.02", "--seed", "3", "--json", str(out)])
    records = json.loads(out.read_text())
    assert [record["codec"] for record in records] == ["q4", "ternary:0.02"]
    assert sum(record["bodies"] for record in records) == 400
    assert code == any(record["findings"] for record in records)
