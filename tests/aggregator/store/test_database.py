"""The store as a whole: durability settings, versions, errors, transactions."""

import errno
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from gossamer.aggregator.store import Store, next_boot, schema
from gossamer.aggregator.store.database import translated
from gossamer.errors import ConfigError, DiskFull, StoreBusy, StoreError


def test_sqlite_is_durable_and_waits_for_others(store: Store) -> None:
    with store.read() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert db.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_a_failed_transaction_changes_nothing(store: Store) -> None:
    def fail() -> None:
        with store.write() as db:
            next_boot(db, "bridge")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail()
    with store.write() as db:
        assert next_boot(db, "bridge") == 1


def test_boots_are_counted_per_component_and_survive(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        store = Store.open(tmp_path / "s.db")
        with store.write() as db:
            assert next_boot(db, "bridge") == expected
        store.close()
    store = Store.open(tmp_path / "s.db")
    with store.write() as db:
        assert next_boot(db, "aggregator") == 1
    store.close()


def test_another_schema_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    with store.write() as db:
        db.execute(sa.update(schema.meta).values(value="99"))
    store.close()
    with pytest.raises(ConfigError, match=r"schema version 99.*needs 1"):
        Store.open(tmp_path / "s.db")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        Store.open(tmp_path / "nowhere" / "s.db")


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(tmp_path / "s.db")


def test_a_full_disk_is_named_and_state_is_intact(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    with store.write() as db:
        next_boot(db, "kept")
    row = {"job": 1, "object_id": b"x", "kind": 1, "round": 0, "data": b"\1" * (1 << 22)}

    def fill() -> None:
        with store.write() as db:
            next_boot(db, "lost")
            pages = db.exec_driver_sql("PRAGMA page_count").scalar()
            db.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            db.execute(sa.insert(schema.objects).values(**row))

    with pytest.raises(DiskFull):
        fill()
    store.close()
    store = Store.open(tmp_path / "s.db")
    with store.write() as db:
        assert next_boot(db, "kept") == 2
        assert next_boot(db, "lost") == 1
    store.close()


def test_enospc_of_the_operating_system_is_disk_full(store: Store) -> None:
    with pytest.raises(DiskFull), store.write():
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_locked_store_is_busy_not_broken(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with store.read() as db:
        db.exec_driver_sql("PRAGMA busy_timeout=10")  # this connection is the one the pool hands out next
    with pytest.raises(StoreBusy), store.write():
        pass
    with store.read() as db:  # readers go on
        assert db.execute(sa.select(schema.meta.c.value)).scalar() == "1"
    other.execute("ROLLBACK")
    other.close()
    with store.write() as db:
        assert next_boot(db, "bridge") == 1
    store.close()


def test_a_row_inserted_twice_at_once_is_worth_another_try(store: Store) -> None:
    row = sa.insert(schema.meta).values(key="same", value="1")
    with store.write() as db:
        db.execute(row)
    with pytest.raises(StoreBusy), store.write() as db:
        db.execute(row)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", DiskFull),
        ("40001", StoreBusy),
        ("40P01", StoreBusy),
        ("55P03", StoreBusy),
        ("42601", StoreError),
    ],
)
def test_postgresql_states_are_told_apart(state: str, kind: type[Exception]) -> None:
    original = RuntimeError("some words")
    original.sqlstate = state  # type: ignore[attr-defined]
    assert type(translated(sa.exc.DBAPIError("SELECT", {}, original))) is kind


def test_threads_write_one_after_the_other(store: Store) -> None:
    def count() -> None:
        for _ in range(20):
            with store.write() as db:
                next_boot(db, "shared")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.write() as db:
        assert next_boot(db, "shared") == 81


@pytest.mark.parametrize("table", schema.metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_can_be_made_on_postgresql(table: sa.Table) -> None:
    text = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    assert "CREATE TABLE" in text
    assert "BLOB" not in text


def test_tables_that_an_older_store_lacks_are_made_when_it_is_opened(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    with store.write() as db:
        for table in (schema.absences, schema.accounts):
            table.drop(db)
    store.close()
    store = Store.open(tmp_path / "s.db")
    with store.read() as db:
        assert {"absences", "accounts"} <= set(sa.inspect(db).get_table_names())
    store.close()
