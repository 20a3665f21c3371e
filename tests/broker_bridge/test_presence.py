"""What devices say of themselves is written down, bounded, and moves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.aggregator.engine import Progress
from gossamer.aggregator.store import absences, accounts, devices, inbox, schema
from gossamer.aggregator.store.absences import ROWS_PER_DEVICE
from gossamer.broker_bridge.presence import ABSENCES_AT_ONCE
from gossamer.wire.codes import Absence, Code
from gossamer.wire.messages import Absent, Account, Birth, Status
from tests.broker_bridge.desk import Desk, name_of

ACCOUNT = Account(82, 1_930_000, 2_000_000, "pi-zero-2w")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "s.db", cohorts=2)


def kept(desk: Desk, device: str = "d1") -> list[tuple[int, int, Absence, str]]:
    with desk.fleet.store.read() as db:
        return [(row.job, row.round, row.reason, row.detail) for row in absences.of(db, device)]


def test_an_absence_is_written_with_its_account(desk: Desk) -> None:
    desk.fleet.now += 60.0
    assert desk.send("d1", Absent(1, 0, Absence.BATTERY, "battery 12 %, wanted 30 %", ACCOUNT)) == []
    assert kept(desk) == [(1, 0, Absence.BATTERY, "battery 12 %, wanted 30 %")]
    with desk.fleet.store.read() as db:
        row = accounts.latest(db)["d1"]
        assert (row.month, row.spent_bytes, row.budget_bytes) == ("2026-11", 1_930_000, 2_000_000)
        assert (row.profile, row.at) == ("pi-zero-2w", desk.fleet.now)
        assert devices.get(db, "d1").last_seen == desk.fleet.now  # type: ignore[union-attr]
        assert absences.latest(db).keys() == {"d1"}
    assert desk.rejected() == {}


def test_the_last_reason_of_a_round_stands_and_a_later_version_s_is_other(desk: Desk) -> None:
    desk.send("d1", Absent(1, 0, Absence.BATTERY, "low"), Absent(1, 0, 200, "the moon"))
    assert kept(desk) == [(1, 0, Absence.OTHER, "the moon")]


def test_who_said_absent_is_counted_all_the_same(desk: Desk) -> None:
    name = desk.fleet.cohort(0)[0]
    desk.send(name, Absent(1, 0, Absence.LOAD, "busy"))
    messages = desk.offer(name)
    assert desk.send(name, *messages)[-1] == Status(name_of(messages), Code.COUNTED)
    with desk.fleet.store.read() as db:
        assert [entry.device for entry in inbox.counted(db, 1, 0)] == [name]


def test_an_absence_moves_no_round(desk: Desk) -> None:
    quiet = ("absences", "accounts", "devices")
    tables = [table for table in schema.metadata.sorted_tables if table.name not in quiet]
    with desk.fleet.store.read() as db:
        before = [db.execute(table.select()).all() for table in tables]
    for name in desk.fleet.cohort(0):
        desk.send(name, Absent(1, 0, Absence.BUDGET, "spent", ACCOUNT))
    assert desk.fleet.step() is Progress.WAITING, "the round stays open, all of it absent or not"
    with desk.fleet.store.read() as db:
        assert [db.execute(table.select()).all() for table in tables] == before


@pytest.mark.parametrize(
    ("job", "round_", "reason"),
    [(7, 0, "wrong-job"), (2**63 - 1, 0, "wrong-job"), (1, 1, "future-round"), (1, 2**63 - 1, "future-round")],
)
def test_rounds_that_are_not(desk: Desk, job: int, round_: int, reason: str) -> None:
    desk.send("d1", Absent(job, round_, Absence.LOAD, "busy", ACCOUNT))
    assert kept(desk) == []
    assert desk.rejected() == {reason: 1}


def test_strangers_and_other_topics_leave_no_row(desk: Desk) -> None:
    absent = Absent(1, 0, Absence.LOAD, "busy", ACCOUNT)
    desk.send("mallory", absent)
    desk.send("d1", absent, kind="s")
    with desk.fleet.store.read() as db:
        assert (absences.latest(db), accounts.latest(db)) == ({}, {})
    assert desk.rejected() == {"unknown-device": 1, "malformed": 1}


def test_a_chatterer_is_stopped_and_others_are_heard(desk: Desk) -> None:
    flood = [Absent(1, 0, Absence.LOAD, str(n)) for n in range(int(ABSENCES_AT_ONCE) + 5)]
    desk.send("d1", *flood)
    assert kept(desk) == [(1, 0, Absence.LOAD, str(int(ABSENCES_AT_ONCE) - 1))]
    assert desk.rejected() == {"quota": 5}
    desk.send("d2", Absent(1, 0, Absence.LOAD, "mine"))
    assert kept(desk, "d2") == [(1, 0, Absence.LOAD, "mine")]
    desk.monotonic += 10.0
    desk.send("d1", Absent(1, 0, Absence.LOAD, "later"))
    assert kept(desk) == [(1, 0, Absence.LOAD, "later")]


def test_rows_of_a_device_are_bounded(desk: Desk) -> None:
    with desk.fleet.store.write() as db:
        for n in range(3 * ROWS_PER_DEVICE):
            absences.keep(db, absences.AbsenceRow("d1", 1, n, Absence.LOAD, "", float(n)))
            absences.keep(db, absences.AbsenceRow("d2", 1, 0, Absence.LOAD, "", float(n)))
    assert [round_ for _, round_, _, _ in kept(desk)] == list(reversed(range(2 * ROWS_PER_DEVICE, 3 * ROWS_PER_DEVICE)))
    assert len(kept(desk, "d2")) == 1
    with desk.fleet.store.read() as db:
        assert {name: row.round for name, row in absences.latest(db).items()} == {"d1": 59, "d2": 0}
        assert [row.round for row in absences.of(db, "d1", 3)] == [59, 58, 57]


def test_a_birth_brings_the_account_and_a_retained_one_that_comes_again_does_not(desk: Desk) -> None:
    birth = Birth(3, 0, ACCOUNT)
    desk.send("d1", birth, kind="s")
    newer = Account(82, 1_950_000, 2_000_000, "pi-zero-2w")
    desk.send("d1", Absent(1, 0, Absence.BUDGET, "spent", newer))
    desk.restart()
    desk.send("d1", birth, kind="s")  # as the broker retained it
    with desk.fleet.store.read() as db:
        assert accounts.latest(db)["d1"].spent_bytes == 1_950_000
    desk.send("d1", Birth(4, 0, Account(83, 9, 2_000_000, "pi-zero-2w")), kind="s")
    desk.send("d2", Birth(1, 0), kind="s")
    with desk.fleet.store.read() as db:
        assert (accounts.latest(db)["d1"].month, accounts.latest(db)["d1"].spent_bytes) == ("2026-12", 9)
        assert accounts.get(db, "d2") is None
