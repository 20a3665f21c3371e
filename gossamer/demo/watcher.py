"""Looks at a running fleet from outside: the server's store and the devices' ledgers, read-only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import Connection

from gossamer.agent.store import read_ledger
from gossamer.agent.trainer import NumpyTrainer
from gossamer.agent.work import weights_of
from gossamer.aggregator.jobs import model_at
from gossamer.aggregator.store import Store, devices, inbox, jobs, models, rejections, rounds
from gossamer.aggregator.store.jobs import JobState
from gossamer.aggregator.store.rounds import RoundState
from gossamer.compression.shared import SharedModel
from gossamer.demo.workspace import JOB, Workspace
from gossamer.errors import StoreError


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed round: accuracy of the version it made, cumulative payload of bodies up, updates counted."""

    round: int
    accuracy: float
    body_bytes: int
    updates: int
    rejected: int


@dataclass(slots=True)
class Watcher:
    """Follows a run. ``judge`` evaluates on everyone's held-out examples."""

    space: Workspace
    store: Store
    judge: NumpyTrainer
    sealed: list[Sealed] = field(default_factory=list)
    round: int = 0
    cohort: tuple[int, ...] = ()
    counted: tuple[int, ...] = ()
    finished: bool = False
    digest: str = ""
    held: tuple[int, SharedModel] | None = None

    def look(self) -> bool:
        """Bring everything up to date; returns whether a round was sealed since the last look."""
        before = len(self.sealed)
        with self.store.read() as db:
            job = jobs.get(db, JOB)
            if job is None:
                return False
            settings = json.loads(job.settings)
            for row in rounds.every(db, JOB)[before:]:
                if row.state is not RoundState.SEALED or row.report is None:
                    break
                model = self._model(db, job, row.version + 1)
                report = json.loads(row.report)
                accuracy = self.judge.evaluate(weights_of(model, settings["method"]))["accuracy"]
                earlier = self.sealed[-1] if self.sealed else Sealed(-1, 0.0, 0, 0, 0)
                updates = report["on_time"] + report["late"]
                self.sealed.append(
                    Sealed(
                        row.round, accuracy, earlier.body_bytes + report["body_bytes"],
                        earlier.updates + updates, earlier.rejected + report["rejected"],
                    )
                )  # fmt: skip
            self.round = len(self.sealed)
            self.finished = job.state is JobState.FINISHED
            latest = rounds.latest(db, JOB)
            held = models.get(db, JOB, job.version)
            self.digest = held.digest.hex() if held else ""
            if latest is not None and not self.finished:
                self._at_work(db, latest, settings)
        return len(self.sealed) > before

    def _model(self, db: Connection, job: jobs.JobRow, version: int) -> SharedModel:
        """Return a version. The store keeps few of them whole; the steps lead from the last one seen."""
        if models.state(db, JOB, version) is not None:
            model = model_at(db, job, version)
        else:
            start, model = self.held or (0, model_at(db, job, 0))
            steps = models.steps(db, JOB, after=start, upto=version)
            if steps is None:
                raise StoreError(f"model version {version} is no longer in the store: start a new run")
            for step in steps:
                model = model.after(step)
        self.held = (version, model)
        return model

    def _at_work(self, db: Connection, latest: rounds.RoundRow, settings: Mapping[str, object]) -> None:
        from gossamer.aggregator.jobs import JobSettings

        schedule = JobSettings.from_mapping(settings).schedule(latest.devices)
        self.cohort = schedule.cohort(latest.round)
        index = {d.id: d.index for d in devices.every(db)}
        senders = inbox.senders(db, JOB, latest.round)
        self.counted = tuple(index[name] for name in senders if name in index)

    def rejections(self) -> dict[str, int]:
        """Refused messages by reason, and updates that the rule rejected."""
        with self.store.read() as db:
            found = rejections.totals(db)
        by_rule = self.sealed[-1].rejected if self.sealed else 0
        return found | ({"by-rule": by_rule} if by_rule else {})

    def ledgers(self, count: int) -> list[dict[str, int]]:
        """Each device's byte account: "way/cause" -> bytes, and its counters."""
        return ledgers([self.space.agent_state(index) for index in range(count)])


def ledgers(states: Sequence[Path]) -> list[dict[str, int]]:
    """Each device's account: "way/cause" -> bytes over all months, and "count/name" -> number."""
    found = []
    for state in states:
        account: dict[str, int] = {}
        try:
            ledger = read_ledger(state)
        except StoreError:
            found.append(account)  # the agent has not made its store yet
            continue
        for month in ledger.months.values():
            for way, causes in month.items():
                for cause, count in causes.items():
                    account[f"{way}/{cause}"] = account.get(f"{way}/{cause}", 0) + count
        account |= {f"count/{name}": count for name, count in ledger.counters.items()}
        found.append(account)
    return found
