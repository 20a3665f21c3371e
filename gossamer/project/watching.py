"""Looks at a job from outside: the server's store, and the byte accounts of the devices on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2

from gossamer.aggregator.jobs import JobSettings, model_at
from gossamer.aggregator.store import Store, devices, inbox, jobs, models, rejections, rounds
from gossamer.aggregator.store.jobs import JobState
from gossamer.aggregator.store.rounds import RoundState
from gossamer.errors import StoreError

Ledger = dict[str, int]


@dataclass(slots=True)
class Watcher:
    """Follows one job. Counts are over all its sealed rounds; ``loss`` is the last one's mean training loss."""

    store: Store
    job: int
    round: int = 0
    loss: float | None = None
    losses: list[float] = field(default_factory=list)
    updates: int = 0
    rejected: int = 0
    body_bytes: int = 0
    cohort: tuple[int, ...] = ()
    counted: tuple[int, ...] = ()
    devices: int = 0
    finished: bool = False
    version: int = 0
    digest: str = ""

    def look(self) -> bool:
        """Bring everything up to date; returns whether a round was sealed since the last look."""
        before = self.round
        with self.store.read() as db:
            row = jobs.get(db, self.job)
            if row is None:
                return False
            settings = JobSettings.from_json(row.settings)
            for each in rounds.every(db, self.job)[before:]:
                if each.state is not RoundState.SEALED or each.report is None:
                    break
                self._add(json.loads(each.report))
            self.finished = row.state is JobState.FINISHED
            self.version = row.version
            held = models.get(db, self.job, row.version)
            self.digest = held.digest.hex() if held else ""
            latest = rounds.latest(db, self.job)
            self.devices = latest.devices if latest else devices.count(db)
            if latest is not None and not self.finished:
                self.cohort = tuple(settings.schedule(latest.devices).cohort(latest.round))
                index = {device.id: device.index for device in devices.every(db)}
                senders = inbox.senders(db, self.job, latest.round)
                self.counted = tuple(index[name] for name in senders if name in index)
        return self.round > before

    def model(self) -> dict[str, Any]:
        """The newest version, as :func:`gossamer.agent.work.evaluate` reads it."""
        with self.store.read() as db:
            row = jobs.get(db, self.job)
            if row is None:
                raise StoreError(f"job {self.job} is no longer in the store")
            model = model_at(db, row, row.version)
        method = JobSettings.from_json(row.settings).method
        return {"lattice": model.to_bytes(), "layout": cbor2.dumps(model.layout.to_lists()), "method": method}

    def refused(self) -> int:
        """Messages that the bridge refused, of any job."""
        with self.store.read() as db:
            return sum(rejections.totals(db).values())

    def _add(self, report: dict[str, Any]) -> None:
        self.round += 1
        if report["loss"] is not None and report["on_time"] + report["late"]:
            self.loss = float(report["loss"])
            self.losses.append(self.loss)
        self.updates += report["on_time"] + report["late"]
        self.rejected += report["rejected"]
        self.body_bytes += report["body_bytes"]


def lost_rounds(accounts: Sequence[Ledger]) -> int:
    """Rounds that devices have given up, because their trainer failed."""
    return sum(account.get("count/rounds_failed", 0) for account in accounts)


def why_lost(logs: Path) -> str:
    """What a device last said of a round that it has lost."""
    said = ""
    for log in sorted(logs.glob("local-*.log")):
        for line in log.read_text(errors="replace").splitlines():
            if "is lost for this device" in line:
                said = line.split("error: ", 1)[-1]
    return said or f"see {logs}"
