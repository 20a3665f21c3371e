"""A round's bodies: fetched once, bounded in memory, the same from memory, from the spool and in several threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rules_memory import fill, in_process, name
from gossamer.aggregator.bodies import Bodies
from gossamer.aggregator.rules import Packed, Raw, Update, Updates, rule
from gossamer.aggregator.spool import Spool
from gossamer.aggregator.store import Store, inbox
from gossamer.compression import NOTHING, open_body
from gossamer.errors import DiskFull, MalformedBody

D, N = 9_000, 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db")
    yield opened
    opened.close()


def bodies_of(store: Store, cache_bytes: int) -> Bodies:
    return Bodies(store, 1, D, context_of=lambda _version: NOTHING, cache_bytes=cache_bytes)


@pytest.mark.parametrize("spec_up", ["sign", "rot1", "ternary:0.05", "randk:0.1/q4"])
@pytest.mark.parametrize("spec", ["trimmed-mean:2", "sign-majority"])
def test_the_same_bits_from_memory_and_from_the_spool(store: Store, spec: str, spec_up: str) -> None:
    fill(store, N, D, spec_up)
    chosen = rule(spec)
    results = set()
    for cache_bytes, workers in ((1 << 20, 1), (0, 1), (0, 3), (3_000, 2)):
        bodies = bodies_of(store, cache_bytes)
        items = [Update(i, bodies.get(0, name(i), 0)) for i in range(N)]
        result, _, report = chosen.apply(chosen.init(D), Updates.of(items, D, workers=workers, block_coordinates=2048))
        assert not report.rejected
        results.add(result.tobytes())
    assert len(results) == 1


def test_a_body_is_fetched_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, N, D)
    fetched = []
    real = inbox.body
    monkeypatch.setattr(inbox, "body", lambda db, *key: fetched.append(key) or real(db, *key))
    bodies = bodies_of(store, cache_bytes=2_500)
    stored = [bodies.get(0, name(i), 0) for i in range(N)]
    for _ in range(3):
        for body in stored:
            body.read(0, D)
            body.raw()
    assert len(fetched) == N


def test_raw_bytes_and_votes_are_those_of_the_body(store: Store) -> None:
    fill(store, 3, D)
    body = bodies_of(store, cache_bytes=0).get(0, name(2), 0)
    assert isinstance(body, Raw)
    assert isinstance(body, Packed)
    np.testing.assert_array_equal(open_body(body.raw(), D).read(0, D), body.read(0, D))
    votes = body.votes()
    assert votes is not None
    signs = 1 - 2 * np.unpackbits(votes.full[1], axis=1, bitorder="little").astype(np.float32)
    np.testing.assert_array_equal((signs * votes.full[0][:, None]).ravel(), body.read(0, 8 * 1024))


def test_several_threads_read_the_same_bodies(store: Store) -> None:
    fill(store, N, D, "ternary:0.05")
    bodies = bodies_of(store, cache_bytes=0)
    expected = [bodies_of(store, 1 << 20).get(0, name(i), 0).read(0, D).tobytes() for i in range(N)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: bodies.get(0, name(i % N), 0).read(0, D).tobytes(), range(4 * N)))
    assert found == expected * 4


def test_a_missing_body_is_named(store: Store) -> None:
    with pytest.raises(MalformedBody, match="device-00007"):
        bodies_of(store, 0).get(0, name(7), 0).read(0, 1)


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_said_to_be_full(store: Store, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, 2, D)

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DiskFull, match="free some"):
        bodies_of(store, cache_bytes=0).get(0, name(0), 0).read(0, 1)


def test_the_spool_gives_back_what_was_added_and_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=10_000)
    pieces = [bytes([i]) * (i * 700) for i in range(40)]  # within a segment, over its end, longer than one
    views = [spool.add(piece) for piece in pieces]
    assert [bytes(view) for view in views] == pieces
    assert not list(tmp_path.iterdir())


def test_memory_of_a_round_is_bounded(store: Store, tmp_path: Path) -> None:
    """400 updates of 200,000 parameters are 10 MB encoded and 320 MB decoded; the interpreter has 80 MB."""
    updates, d = 400, 200_000
    fill(store, updates, d)
    for spec in ("median", "sign-majority"):
        assert in_process(tmp_path / "store.db", spec, updates, d)["peak_mb"] < 180
