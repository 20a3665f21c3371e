"""The store: every method is one transaction, whatever kills the process in the middle of it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gossamer.agent import storage
from gossamer.agent.records import Marks, OutboxEntry, StoredModel
from gossamer.agent.store import AgentStore, read_ledger
from gossamer.errors import DiskFull, StoreBusy, StoreError


def open_store(directory: Path) -> AgentStore:
    return AgentStore(directory, "f", "d")


def model_of(version: int) -> StoredModel:
    lattice = version.to_bytes(4, "little") * 500
    return StoredModel(1, version, hashlib.sha256(lattice).digest()[:16], lattice, b"\x80")


def entry_of(round_: int) -> OutboxEntry:
    body = f"body {round_}".encode() * 40
    counted, dropped = round_.to_bytes(4, "little") * 500, (round_ + 1000).to_bytes(4, "little") * 500
    return OutboxEntry(hashlib.sha256(body).digest()[:8], 1, round_, b"header", body, counted, dropped)


def test_all_comes_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert (store.marks(), store.model(), store.outbox(), store.partial(), store.boot()) == (
        Marks(), None, None, None, 0,
    )  # fmt: skip
    store.keep_manifest(1, 2, 3)
    store.keep_boot(5)
    store.keep_model(model_of(3))
    store.post(entry_of(2))
    store.begin_partial(b"12345678", b"offer")
    store.keep_chunk(b"12345678", 4, b"data")
    store.keep_chunk(b"87654321", 5, b"of another object")
    store.close()
    store = open_store(tmp_path)
    assert store.marks() == Marks(1, 2, 3, 1, 2)
    assert store.boot() == 5
    assert store.model() == model_of(3)
    assert store.outbox() == entry_of(2)
    partial = store.partial()
    assert partial is not None
    assert (partial.object_id, partial.offer, dict(partial.chunks)) == (b"12345678", b"offer", {4: b"data"})
    store.close()


@pytest.mark.parametrize("counted", [True, False])
def test_settling_is_one_step_and_happens_once(tmp_path: Path, counted: bool) -> None:
    store = open_store(tmp_path)
    entry = entry_of(0)
    store.post(entry)
    store.settle(b"notthis1", counted=counted)
    assert store.outbox() == entry
    store.settle(entry.object_id, counted=counted)
    store.settle(entry.object_id, counted=not counted)
    assert store.outbox() is None
    assert store.residual(1) == (entry.if_counted if counted else entry.if_dropped)
    assert store.residual(2) is None
    store.close()
    assert read_ledger(tmp_path).counters == {"rounds_counted" if counted else "rounds_dropped": 1}


def test_an_update_without_residual_leaves_it_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    entry = entry_of(0)
    store.post(entry)
    store.settle(entry.object_id, counted=True)
    store.post(OutboxEntry(hashlib.sha256(b"x").digest()[:8], 1, 1, b"", b"x"))
    store.settle(hashlib.sha256(b"x").digest()[:8], counted=True)
    assert store.residual(1) == entry.if_counted
    store.close()


def test_the_ledger_adds_up_and_can_be_read_while_the_agent_runs(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.add_to_ledger("2026-11", {"tcp": 40, "ping": 0}, {"tcp": 52})
    store.add_to_ledger("2026-11", {"tcp": 2}, {})
    store.add_to_ledger("2026-12", {"tcp": 1}, {})
    store.count({"refused.replayed": 2})
    ledger = read_ledger(tmp_path)
    assert ledger.months == {
        "2026-11": {"up": {"tcp": 42}, "down": {"tcp": 52}}, "2026-12": {"up": {"tcp": 1}, "down": {}},
    }  # fmt: skip
    assert ledger.counters == {"refused.replayed": 2}
    store.close()


def test_two_agents_cannot_share_a_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreBusy, match="its own state_dir"):
        open_store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="belongs to device d of fleet f"):
        AgentStore(tmp_path, "f", "other")
    open_store(tmp_path).close()


@pytest.mark.parametrize("where", [0, 30, 5000])
def test_damage_is_named(tmp_path: Path, where: int) -> None:
    store = open_store(tmp_path)
    store.keep_model(model_of(3))
    store.post(entry_of(1))
    store.close()
    file = tmp_path / "agent.db"
    data = bytearray(file.read_bytes())
    data[where : where + 20000] = b"\x55" * len(data[where : where + 20000])
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"move it away|install the agent"):  # noqa: PT012 - any of them may find it
        store = open_store(tmp_path)
        try:
            store.marks()
            store.model()
            store.outbox()
        finally:
            store.close()


def test_a_changed_vector_is_noticed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.keep_model(model_of(3))
    store.post(entry_of(1))
    store.close()
    with sqlite3.connect(tmp_path / "agent.db") as db:
        db.execute("UPDATE model SET lattice = zeroblob(2000)")
        db.execute("UPDATE outbox SET body = x'00'")
    db.close()
    store = open_store(tmp_path)
    with pytest.raises(StoreError, match="model does not have the digest"):
        store.model()
    with pytest.raises(StoreError, match="outbox does not have the digest"):
        store.outbox()
    store.close()


def test_not_a_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Check that the directory"):
        open_store(tmp_path / "file")


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.keep_model(model_of(1))
    (pages,) = store._db.one("PRAGMA page_count")
    store._db.one(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(DiskFull, match="what is on disk is intact"):
        store.post(OutboxEntry(b"12345678", 1, 0, b"", b"x" * 50_000))
    assert store.outbox() is None
    assert store.marks() == Marks()
    assert store.model() == model_of(1)
    store._db.one("PRAGMA max_page_count = 100000")
    store.post(entry_of(0))
    assert store.outbox() == entry_of(0)
    store.close()


# -- kill -9 -----------------------------------------------------------------------------------------------


def work(directory: Path, kill_at: int, rounds: int) -> None:
    """Play rounds; before statement number ``kill_at`` (0: never) this process kills itself."""
    seen = 0

    def statement(_text: str) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = storage._connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(statement)
        return connection

    storage._connect = traced
    store = open_store(directory)
    first = store.marks().done_round + 1
    print("ready", flush=True)
    for i in range(first, first + rounds):
        entry = store.outbox()
        if entry is not None:
            store.settle(entry.object_id, counted=entry.round % 2 == 0)
        store.keep_manifest(1, i, i)
        store.begin_partial(i.to_bytes(8, "big"), b"offer")
        store.keep_chunk(i.to_bytes(8, "big"), 0, b"chunk" * 100)
        store.keep_model(model_of(i))
        store.post(entry_of(i))
        store.settle(entry_of(i).object_id, counted=i % 2 == 0)
        store.add_to_ledger("m", {"tcp": 1}, {})


def crash_everywhere(directory: Path) -> None:
    """Fork a worker for each crash point, until one gets to the end. Runs in a process of its own."""
    for kill_at in range(1, 1000):
        pid = os.fork()
        if pid == 0:
            work(directory / str(kill_at), kill_at, 1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        check_consistent(directory / str(kill_at))
        if status == 0:
            print(f"crash points: {kill_at}")
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


def start(call: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.agent.test_store import *; {call}"],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def check_consistent(directory: Path) -> int:
    """Whatever happened: what is there fits together. Returns the round it got to."""
    store = open_store(directory)
    marks, model, entry, residual = store.marks(), store.model(), store.outbox(), store.residual(1)
    partial = store.partial()
    store.close()
    assert marks.done_round in (marks.round, marks.round - 1)
    assert (model.version if model else -1) in (marks.version, marks.version - 1)
    if entry is not None:
        assert entry == entry_of(marks.done_round)
    settled = marks.done_round if entry is None else marks.done_round - 1
    if settled >= 0:
        expected = entry_of(settled)
        assert residual == (expected.if_counted if settled % 2 == 0 else expected.if_dropped)
    else:
        assert residual is None
    if partial is not None:
        assert partial.object_id == marks.round.to_bytes(8, "big")
        assert dict(partial.chunks) in ({}, {0: b"chunk" * 100})
    return marks.round


def test_killed_before_every_statement(tmp_path: Path) -> None:
    process = start(f"crash_everywhere(Path({str(tmp_path)!r}))")
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert int(out.split()[-1]) > 40


def test_killed_at_random_times(tmp_path: Path) -> None:
    rng = random.Random(1)
    reached = -1
    for _ in range(12):
        worker = start(f"work(Path({str(tmp_path)!r}), 0, 1_000_000)")
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(rng.uniform(0, 0.12))
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
        now_at = check_consistent(tmp_path)
        assert now_at >= reached
        reached = now_at
    assert reached > 12


def test_a_round_that_was_given_up_may_be_tried_again(tmp_path: Path) -> None:
    store = AgentStore(tmp_path, "t1", "dev-3")
    store.skip(7, 3)
    assert not store.retry(7, 2)
    assert not store.retry(6, 3)
    assert store.marks().done_round == 3
    assert store.retry(7, 3)
    assert (store.marks().done_job, store.marks().done_round) == (7, 2)
    assert not store.retry(7, 3)
    store.close()
