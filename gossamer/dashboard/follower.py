"""The sealed rounds of a job, each report read once, however long the page is open and whoever looks.

What stays of a report are the few numbers that charts need, and the devices that the rule rejected last.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from gossamer.aggregator.status import Report, Totals
from gossamer.aggregator.store import Store, rounds

#: Reports in one transaction: none is open for long, whatever the job's age.
BATCH = 64
#: Updates that a rule rejected and that are listed one by one.
REJECTIONS_KEPT = 100
COLUMNS = ("round", "at", "loss", "on_time", "late", "rejected", "short", "body_bytes", "step_bytes", "cohort")


@dataclass(slots=True)
class Follower:
    """One job. ``columns``: name -> one value for each sealed round, in order; bytes are of that round alone."""

    job: int
    totals: Totals = field(default_factory=Totals)
    last: Report | None = None
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    rejected: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REJECTIONS_KEPT))

    def follow(self, store: Store) -> None:
        """Read the reports that are new."""
        while True:
            after = self.columns["round"][-1] if self.columns["round"] else -1
            with store.read() as db:
                found = rounds.sealed_after(db, self.job, after, BATCH)
            for _round, at, text in found:
                self.take(json.loads(text), at)
            if len(found) < BATCH:
                return

    def take(self, report: Report, at: float) -> None:
        """Add one report."""
        self.totals = self.totals.plus(report)
        self.last = report
        row = {name: report.get(name) for name in COLUMNS} | {"at": at, "short": int(bool(report["shortfall"]))}
        for name, values in self.columns.items():
            values.append(row[name])
        for device in report["devices"]:
            if device["reason"]:
                said = {"round": report["round"], "at": at, "device": device["device"], "reason": device["reason"]}
                self.rejected.append(said)

    def since(self, after: int) -> dict[str, list[Any]]:
        """The columns of the rounds after ``after``; rounds are numbered without gaps."""
        numbers = self.columns["round"]
        start = 0 if not numbers else min(len(numbers), max(0, after + 1 - numbers[0]))
        return {name: values[start:] for name, values in self.columns.items()}
