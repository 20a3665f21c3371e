"""One reading of the store, shared by all who look at the page, and nothing read twice.

The desk takes the store's pulse (:mod:`gossamer.aggregator.store.pulse`) now and then, and gives each part a revision.
A table is read when somebody asks for it and its revision is not the one that was read last. Reading happens in short
transactions, in the threads of those who ask; SQLite in WAL mode makes no writer wait for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

import gossamer
from gossamer.aggregator.cohort import cohort
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.status import JobStatus, status_of
from gossamer.aggregator.store import Store, absences, accounts, devices, inbox, jobs, pulse, rejections, rounds
from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.aggregator.store.jobs import JobRow
from gossamer.dashboard import device_rows, views
from gossamer.dashboard.device_rows import Asked, DeviceRow, OpenRound
from gossamer.dashboard.follower import Follower
from gossamer.dashboard.meter import Meter
from gossamer.dashboard.metrics import page_metrics

LOOK_SECONDS = 0.5
#: Of one processor, at most, for reading the devices: the larger the fleet, the seldomer it is looked at.
SHARE = 0.05
#: A fleet of thousands is heard every second: its table is read again this often, no oftener.
DEVICES_SECONDS = 2.0
REJECTIONS_SHOWN = 100

Json = dict[str, Any]
Revisions = dict[str, int]


@dataclass(slots=True)
class Desk:
    """See the module. ``clock`` is any steady one; ``read`` counts the tables read, for tests and metrics."""

    store: Store
    fleet: str
    meter: Meter = field(default_factory=Meter)
    clock: Callable[[], float] = time.monotonic
    read: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _pulse: dict[str, object] = field(default_factory=dict)
    _revisions: Revisions = field(default_factory=lambda: dict.fromkeys(pulse.PARTS, 0))
    _looked: float = float("-inf")
    _pause: float = LOOK_SECONDS
    _devices_at: float = float("-inf")
    _kept: dict[object, tuple[object, Any]] = field(default_factory=dict)
    _followers: dict[int, Follower] = field(default_factory=dict)

    # -- what has changed ----------------------------------------------------------------------------------

    def look(self) -> Revisions:
        """Take the pulse if the last is old, and return the revision of each part.

        Raises:
            StoreError, StoreBusy: the store cannot be read.
        """
        with self._lock:
            now = self.clock()
            if now - self._looked < self._pause:
                return dict(self._revisions)
            with self.store.read() as db:
                found = pulse.take(db)
            self._looked = now
            for part in pulse.PARTS:
                numbers = getattr(found, part)
                if self._pulse.get(part) == numbers or (part == "devices" and now - self._devices_at < DEVICES_SECONDS):
                    continue
                if part == "devices":
                    self._devices_at = now
                self._pulse[part] = numbers
                self._revisions[part] += 1
            return dict(self._revisions)

    def stir(self) -> None:
        """Something was changed here: look at once when next asked."""
        with self._lock:
            self._looked = self._devices_at = float("-inf")

    # -- what is shown -------------------------------------------------------------------------------------

    def overview(self) -> Json:
        """The fleet: jobs, counts, what was refused."""
        with self._lock:
            revisions = self.look()
            statuses, rows = self._statuses(), self._rows()
            return {
                "fleet": self.fleet,
                "version": gossamer.__version__,
                "revisions": revisions,
                "now": time.time(),
                "job": self._current(),
                "jobs": [brief(status) for status in statuses],
                "devices": device_rows.counts(rows),
                "ledgers": views.ledgers_view(rows, time.time()),
                "refused": self._refused(),
            }

    def job(self, number: int) -> Json | None:
        """One job, or None: there is none of that number."""
        with self._lock:
            revisions = self.look()
            status = next((each for each in self._statuses() if each.settings.job == number), None)
            if status is None:
                return None
            rows = self._rows(number)
            shown = views.job_view(status, rows, views.ledgers_view(rows, time.time()), self.meter.account)
            return {"revisions": revisions, **shown}

    def rounds(self, number: int, after: int) -> Json | None:
        """The sealed rounds after ``after`` of a job in columns, or None: there is no such job."""
        with self._lock:
            revisions = self.look()
            self._statuses()
            follower = self._followers.get(number)
            return None if follower is None else {"revisions": revisions, **follower.since(after)}

    def devices(self, asked: Asked) -> Json:
        """A page of the devices, against the job that the fleet works on."""
        with self._lock:
            revisions = self.look()
            return {"revisions": revisions, **device_rows.chosen(self._rows(), asked)}

    def rejections(self) -> Json:
        """What the bridge refused, and what rules rejected; the newest first."""
        with self._lock:
            revisions = self.look()
            self._statuses()
            by_rule = [
                {"job": number, **each} for number, follower in self._followers.items() for each in follower.rejected
            ]
            by_rule.sort(key=lambda each: -each["at"])
            return {
                "revisions": revisions,
                "refused": self._refused(),
                "messages": self._messages(),
                "updates": by_rule[:REJECTIONS_SHOWN],
            }

    def metrics(self) -> str:
        """The text for Prometheus."""
        with self._lock:
            self.look()
            return page_metrics(self._statuses(), self._refused(), self._rows(), self.meter.account, time.time())

    # -- reading, once a revision --------------------------------------------------------------------------

    def _once(self, key: object, revision: object, read: Callable[[Connection], Any]) -> Any:
        """The value of ``read`` at a revision, read when it was not yet."""
        held = self._kept.get(key)
        if held is None or held[0] != revision:
            with self.store.read() as db:
                held = (revision, read(db))
            self.read += 1
            self._kept[key] = held
        return held[1]

    def _statuses(self) -> list[JobStatus]:
        def read(db: Connection) -> list[JobStatus]:
            return [self._status(db, row) for row in rows]

        revision = self._revisions["jobs"]
        rows: list[JobRow] = self._once("job rows", revision, jobs.every)
        for row in rows:
            follower = self._followers.setdefault(row.job, Follower(row.job))
            if self._kept.get("statuses", (None,))[0] != revision:
                follower.follow(self.store)
        found: list[JobStatus] = self._once("statuses", revision, read)
        return found

    def _status(self, db: Connection, row: JobRow) -> JobStatus:
        follower = self._followers[row.job]
        return status_of(db, row, follower.totals, [follower.last] if follower.last else [])

    def _current(self) -> int | None:
        """Number of the job that the fleet works on."""
        statuses = self._statuses()
        unfinished = [status for status in statuses if status.state != "finished"]
        chosen = unfinished[:1] or statuses[-1:]
        return chosen[0].settings.job if chosen else None

    def _rows(self, number: int | None = None) -> list[DeviceRow]:
        """The devices' rows against a job (the fleet's current one)."""
        number = self._current() if number is None else number
        revision = (self._revisions["jobs"], self._revisions["devices"])

        def read(db: Connection) -> list[DeviceRow]:
            began = self.clock()
            found = self._once("devices", self._revisions["devices"], devices.every)
            told = self._once("accounts", self._revisions["devices"], accounts.latest)
            made = rows_of(db, number, found, told)
            self._pause = max(LOOK_SECONDS, (self.clock() - began) / SHARE)
            return made

        rows: list[DeviceRow] = self._once(("rows", number), revision, read)
        return rows

    def _refused(self) -> dict[str, int]:
        found: dict[str, int] = self._once("refused", self._revisions["rejections"], rejections.totals)
        return found

    def _messages(self) -> list[Json]:
        def read(db: Connection) -> list[Json]:
            return [
                {"reason": each.reason, "device": each.last_device, "count": each.count, "detail": each.detail,
                 "at": each.at}
                for each in rejections.newest(db, REJECTIONS_SHOWN)
            ]  # fmt: skip

        found: list[Json] = self._once("messages", self._revisions["rejections"], read)
        return found


def brief(status: JobStatus) -> Json:
    """A job in the list of jobs."""
    return {
        "job": status.settings.job,
        "name": status.settings.name,
        "state": status.state,
        "round": status.round,
        "rounds": status.settings.rounds,
    }


def rows_of(
    db: Connection, number: int | None, found: Sequence[devices.Device], told: Mapping[str, AccountRow]
) -> list[DeviceRow]:
    """All devices against the open round of a job; without a job, or with a finished one, nobody is called.

    Why a device is absent is shown as long as its last turn is not over: a cycle's length.
    """
    job = None if number is None else jobs.get(db, number)
    open_round = OpenRound(0, 0)
    absent: Mapping[str, AbsenceRow] = {}
    if job is not None:
        latest = rounds.latest(db, job.job)
        open_round = OpenRound(job.job, job.version)
        if latest is not None and job.state is not jobs.JobState.FINISHED:
            settings = JobSettings.from_json(job.settings)
            called = cohort(settings, latest.devices, latest.round)
            arrived = inbox.senders(db, job.job, latest.round)
            open_round = OpenRound(job.job, job.version, latest.round, called, arrived)
            absent = absences.since(db, job.job, latest.round - settings.cohorts + 1)
    return [device_rows.row_of(device, open_round, absent.get(device.id), told.get(device.id)) for device in found]
