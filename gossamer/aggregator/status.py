"""Where a job stands: what status, metrics and the model card have in common, read from the store once.

`Totals` adds up the reports of sealed rounds (:mod:`gossamer.aggregator.reports`), one at a time, so that a server
that shows them often need not read them all again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.jobs import layout_from_json
from gossamer.aggregator.planning import tolerance_of
from gossamer.aggregator.privacy import privacy_statement
from gossamer.aggregator.round_rule import plan_of
from gossamer.aggregator.rules import rule
from gossamer.aggregator.store import devices, inbox, rounds
from gossamer.aggregator.store.jobs import JobRow
from gossamer.compression.layout import Layout
from gossamer.methods import method

Report = Mapping[str, Any]

UNLISTED = "unlisted"
"""Reason of rejections beyond the devices that a report names."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over sealed rounds. ``short``: rounds whose rule had too little to work with, and changed nothing.

    ``on_time`` and ``late`` are updates that the rule saw; ``rejected`` those that it did not, by reason.
    """

    rounds: int = 0
    on_time: int = 0
    late: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    short: int = 0
    body_bytes: int = 0
    step_bytes: int = 0

    @property
    def updates(self) -> int:
        """Updates that the rule saw."""
        return self.on_time + self.late

    def plus(self, report: Report) -> Totals:
        """These and one more round."""
        reasons = rejected_by_reason(report)
        # An update that is late for its round nearly always lags behind the model too; the sums hold in any case.
        lagging = sum(1 for device in report["devices"] if device["reason"] and device["lag"])
        refused_late = max(min(lagging, report["late"]), report["rejected"] - report["on_time"])
        refused_on_time = report["rejected"] - refused_late
        merged = {key: self.rejected.get(key, 0) + reasons.get(key, 0) for key in sorted({*self.rejected, *reasons})}
        return Totals(
            self.rounds + 1,
            self.on_time + report["on_time"] - refused_on_time,
            self.late + report["late"] - refused_late,
            merged,
            self.short + bool(report["shortfall"]),
            self.body_bytes + report["body_bytes"],
            self.step_bytes + report["step_bytes"],
        )


def rejected_by_reason(report: Report) -> dict[str, int]:
    """Why a round's rule rejected updates -> how many."""
    found: dict[str, int] = {}
    for device in report["devices"]:
        if device["reason"]:
            found[device["reason"]] = found.get(device["reason"], 0) + 1
    rest = report["rejected"] - sum(found.values())
    return found | ({UNLISTED: rest} if rest else {})


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job.

    Args:
        settings: of the job.
        state: open, paused or finished.
        version: of the model; rounds done, since each makes one.
        round: that is open, or None before the first.
        since: when it opened, Unix seconds.
        waiting: updates in for it.
        devices: of the fleet, as its cohorts are drawn; before the first round those enrolled.
        layout: of the model that a trainer knows, without the method's companions.
        totals: of the sealed rounds.
        reports: of the last of them, oldest first.
    """

    settings: JobSettings
    state: str
    version: int
    round: int | None
    since: float
    waiting: int
    devices: int
    layout: Layout
    totals: Totals
    reports: tuple[Report, ...]

    def privacy(self) -> dict[str, object] | None:
        """The privacy statement so far, or None: the job is not private. ConfigError without dp-accounting."""
        if self.settings.privacy is None:
            return None
        return privacy_statement(plan_of(self.settings), self.version)


def rule_in_force(settings: JobSettings) -> str:
    """Spec of the rule that seals, which for a private job is not the one in its settings."""
    return rule(settings.rule).spec if settings.privacy is None else plan_of(settings).spec


def tolerated_by(settings: JobSettings) -> str:
    """What that rule bears, in words."""
    if settings.privacy is not None:
        return f"no attacker; clipping bounds the pull of each to {settings.privacy.clip_norm:g}"
    return tolerance_of(settings.rule)


def read_status(db: Connection, job: JobRow, last: int = 0) -> JobStatus:
    """Read a job's status, with the reports of its ``last`` sealed rounds."""
    totals = Totals()
    kept: list[Report] = []
    for text in rounds.reports(db, job.job):
        kept.append(json.loads(text))
        totals = totals.plus(kept[-1])
        del kept[: max(0, len(kept) - last)]
    return status_of(db, job, totals, kept)


def status_of(db: Connection, job: JobRow, totals: Totals, last: Sequence[Report]) -> JobStatus:
    """As :func:`read_status`, for who has added up the reports of the job's sealed rounds already."""
    settings = JobSettings.from_json(job.settings)
    latest = rounds.latest(db, job.job)
    return JobStatus(
        settings=settings,
        state=job.state.value,
        version=job.version,
        round=None if latest is None else latest.round,
        since=0.0 if latest is None else latest.opened_at,
        waiting=0 if latest is None else inbox.arrived(db, job.job, latest.round)[1],
        devices=devices.count(db) if latest is None else latest.devices,
        layout=layout_from_json(job.layout).parted(1 + len(method(settings.method).companions)),
        totals=totals,
        reports=tuple(last),
    )
