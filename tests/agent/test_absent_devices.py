"""A device that does not take part, from its files to the operator's table: real agent, broker, bridge, engine."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from gossamer.agent import contact as contact_module
from gossamer.agent import thrift
from gossamer.agent.config import load
from gossamer.agent.gatekeeper import Gatekeeper
from gossamer.agent.service import Agent
from gossamer.agent.store import read_ledger
from gossamer.agent.work import first_model
from gossamer.aggregator.job_settings import PlanSettings
from gossamer.aggregator.jobs import create_job
from gossamer.aggregator.store import Store, absences, accounts, devices, rounds
from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.broker_bridge.server import serve
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.compression import codec
from gossamer.errors import ConfigError
from gossamer.wire.codes import Absence
from tests.aggregator.fleets import FLEET_KEY, job_settings, key_of
from tests.broker_bridge.desk import TOPICS
from tests.brokers import Listening, mosquitto

from .device import key_file
from .test_gates import SUPPLY, tree
from .test_service import start
from .tiny import Tiny

NAME = "pump-7"
SECONDS = 60.0
T = TypeVar("T")


class World:
    """A fleet of one, its server running, and what the operator can read of it."""

    def __init__(self, directory: Path, store: Store, listening: Listening) -> None:
        self.directory = directory
        self.store = store
        self.listening = listening

    def config(self, **tables: dict[str, Any]) -> Path:
        keys = {
            "fleet": "t", "device_id": NAME, "device_index": 0, "profile": "pi-zero-2w",
            "key_file": str(key_file(self.directory, key_of(NAME))), "state_dir": "state", "fit_nice": 0,
            "fleet_public_key": FLEET_KEY.public_key().public_bytes_raw().hex(), "trainer": "tests.agent.tiny:make",
            "manifest_wait_seconds": 0.5, "backoff_first_seconds": 0.05, "backoff_limit_seconds": 0.1,
        }  # fmt: skip
        lines = [f"{key} = {_toml(value)}" for key, value in keys.items()]
        for name, table in {"broker": {"port": self.listening.port}, "trainer_options": {"d": 40}, **tables}.items():
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        path = self.directory / "agent.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def wait(self, what: str, look: Callable[[Any], T | None]) -> T:
        """Read the store until ``look`` finds something."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with self.store.read() as db:
                found = look(db)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"never: {what}")

    def absent(self, reason: Absence) -> AbsenceRow:
        def look(db: Any) -> AbsenceRow | None:
            row = absences.latest(db).get(NAME)
            return row if row is not None and row.reason is reason else None

        return self.wait(f"absent for {reason.label}", look)

    def sealed(self, count: int) -> None:
        def look(db: Any) -> bool:
            latest = rounds.latest(db, 1)
            return latest is not None and latest.round >= count

        self.wait(f"{count} rounds", look)


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store.open(tmp_path / "store.db")
    with store.write() as db:
        devices.enroll(db, NAME, key_of(NAME).public_key().public_bytes_raw())
    plans = (("pi-4", PlanSettings("q8")), ("pi-zero-2w", PlanSettings("rot1")))
    settings = job_settings(cohorts=1, rounds=8, codec_up="fp32", codec_down="fp32", plans=plans)
    model = first_model(Tiny(40), settings.seed, settings.cycle)
    create_job(store, settings, model.weights, model.layout)
    with mosquitto(tmp_path / "broker") as listening, _server(store, listening):
        yield World(tmp_path, store, listening)
    store.close()


@contextmanager
def _server(store: Store, listening: Listening) -> Iterator[None]:
    """The server in a thread of its own."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    work = serve(
        store, stop, key=FLEET_KEY, mqtt=listening.settings("bridge"), bridge=BridgeSettings(TOPICS, poll_seconds=0.05),
        poll_seconds=0.05,
    )  # fmt: skip
    thread = threading.Thread(target=lambda: loop.run_until_complete(work))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def _agent(config: Path) -> Iterator[list[str]]:
    """The agent in a thread of its own; yields its log."""
    lines: list[str] = []
    agent = Agent(load(config), lambda level, text: lines.append(text) if level >= logging.INFO else None)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield lines
    finally:
        agent.stop()
        thread.join()


def test_a_low_battery_is_told_and_a_charged_one_takes_part(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = tree(world.directory, {f"{SUPPLY}/BAT0/type": "Battery\n", f"{SUPPLY}/BAT0/capacity": "12\n"})
    monkeypatch.setattr(contact_module, "Gatekeeper", functools.partial(Gatekeeper, roots=roots))
    with _agent(world.config(gates={"battery_percent": 30, "poll_seconds": 0.1})) as log:
        row = world.absent(Absence.BATTERY)
        assert (row.job, row.round, row.detail) == (1, 0, "battery 12 %, wanted 30 %")
        assert sum("not now" in line for line in log) == 1
        (world.directory / SUPPLY / "BAT0/capacity").write_text("80\n")
        world.sealed(1)
        (world.directory / SUPPLY / "BAT0/capacity").write_text("29\n")
        later = world.wait("absent again", lambda db: next(iter(absences.of(db, NAME, 1))).round > 0)
        assert later
    with world.store.read() as db:
        account = accounts.latest(db)[NAME]
        sizes = {len(codec(spec).encode(np.ones(43), seed=0)): spec for spec in ("fp32", "q8", "rot1")}
        sent = read_ledger(world.directory / "state").counters
    length = sent["body_bytes_up"] / sent["rounds_counted"]
    assert sizes.get(round(length)) == "rot1", "the plan of its class came with the manifest, and the bridge counted it"
    assert (account.budget_bytes, account.profile) == (0, "pi-zero-2w")
    assert account.spent_bytes > 0


def test_a_spent_budget_is_told_also_after_a_kill_and_more_of_it_takes_part(world: World) -> None:
    most = 9_000
    link = {"envelope_bytes": 1_500, "per_byte_micro": 98_000}
    config = world.config(budget={"monthly_bytes": most, "reserve_percent": 20}, link=link)
    first = start(config)
    try:
        row = world.absent(Absence.BUDGET)
        assert row.round >= 1, "there was enough for some"
        assert "of 9.0 kB spent (1.8 kB reserved); this round takes" in row.detail
        with world.store.read() as db:
            before = accounts.latest(db)[NAME]
        assert before.budget_bytes == most
        assert most - 1_800 - 3_000 < before.spent_bytes <= most, "the reserve was there for the last words"
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    second = start(config)
    try:
        after = world.wait("an account after the kill", lambda db: _newer(accounts.latest(db)[NAME], before.at))
        assert after.spent_bytes >= before.spent_bytes
        assert after.month == before.month
    finally:
        log = _end(second)
    assert "not now (budget)" in log
    third = start(world.config(budget={"monthly_bytes": 1_000_000, "reserve_percent": 20}, link=link))
    try:
        world.sealed(row.round + 2)
    finally:
        _end(third)


def test_when_even_the_reserve_is_spent_it_hangs_up_and_calls_to_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thrift, "LINGER_SECONDS", 0.2)
    config = world.config(budget={"monthly_bytes": 300, "exhausted_contact_seconds": 1.5})
    with _agent(config) as log:
        row = world.absent(Absence.BUDGET)
        assert row.detail.endswith("of 300 B spent; this round takes 1.5 kB")

        def third(db: Any) -> bool:
            device = devices.get(db, NAME)
            return device is not None and device.boot >= 3

        world.wait("a third contact", third)
        hung_up = [line for line in log if "hung up for" in line]
        connected = [line for line in log if line.startswith("connected to")]
        assert 2 <= len(hung_up) <= len(connected) <= len(hung_up) + 1
        assert not any("connecting again" in line for line in log)
    with world.store.read() as db:
        found = devices.get(db, NAME)
    assert found is not None
    assert not found.online, "it says goodbye"


def test_a_trainer_that_is_not_there_ends_the_agent_and_is_told(world: World) -> None:
    config = world.config()
    config.write_text(config.read_text().replace("tests.agent.tiny:make", "tests.agent.gone:make"))
    process = start(config)
    row = world.absent(Absence.TRAINING)
    assert row.detail == "the fit failed; the log has more"
    assert "no module named tests.agent.gone" in process.communicate(timeout=SECONDS)[1]
    assert process.returncode == ConfigError.exit_code
    with _agent(world.config()):  # mended: the same round is taken part in
        world.sealed(1)


def _newer(row: accounts.AccountRow, at: float) -> accounts.AccountRow | None:
    return row if row.at > at else None


def _end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=30)[1]
