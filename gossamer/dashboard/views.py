"""What the page shows of a job, as plain values for JSON. Pure: statuses in, tables out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gossamer.aggregator.status import JobStatus, rule_in_force, tolerated_by
from gossamer.dashboard.device_rows import DeviceRow
from gossamer.errors import ConfigError
from gossamer.mqtt.account import ByteAccount

Json = dict[str, Any]

FP32_BYTES = 4
#: Members of a cohort that are listed one by one.
MEMBERS_SHOWN = 400


def job_view(status: JobStatus, rows: Sequence[DeviceRow], ledgers: Json, server: ByteAccount | None) -> Json:
    """One job: what it is, how far, who is in its round, and what it took."""
    settings, totals = status.settings, status.totals
    return {
        "job": settings.job,
        "name": settings.name,
        "state": status.state,
        "round": status.round,
        "rounds": settings.rounds,
        "since": status.since,
        "model_version": status.version,
        "parameters": status.layout.size,
        "devices": status.devices,
        "method": settings.method,
        "participation": settings.participation,
        "rule": rule_in_force(settings),
        "tolerates": tolerated_by(settings),
        "server_step": settings.server_step,
        "memory": settings.memory,
        "codec_up": settings.codec_up,
        "codec_down": settings.codec_down,
        "local_epochs": settings.fit.local_epochs,
        "deadline_seconds": settings.closing.deadline_seconds,
        "cycle": cycle_view(status),
        "cohort": cohort_view(status, rows),
        "updates": {
            "waiting": status.waiting,
            "on_time": totals.on_time,
            "late": totals.late,
            "rejected": dict(totals.rejected),
            "rounds_short": totals.short,
        },
        "bytes": bytes_view(status, ledgers, server),
        "privacy": privacy_view(status),
    }


def cycle_view(status: JobStatus) -> Json | None:
    """Where the open round is in its cycle, counted from 1; None when no round is open."""
    if not runs(status):
        return None
    cycle, turn = divmod(status.round or 0, status.settings.cohorts)
    return {"cycle": cycle + 1, "turn": turn + 1, "cohorts": status.settings.cohorts}


def runs(status: JobStatus) -> bool:
    """Whether a round of the job is open or paused."""
    return status.round is not None and status.state != "finished"


def cohort_view(status: JobStatus, rows: Sequence[DeviceRow]) -> Json | None:
    """The devices of the open round and what became of them so far; None when no round is open."""
    if not runs(status):
        return None
    members = [row for row in rows if row.called]
    counts = Counter(row.standing for row in members)
    reasons = Counter(row.reason for row in members if row.standing == "absent")
    shown = sorted(members, key=lambda row: (row.standing not in ("arrived", "absent"), row.index))[:MEMBERS_SHOWN]
    return {
        "size": len(members),
        "standing": dict(sorted(counts.items())),
        "reasons": dict(sorted(reasons.items())),
        "members": [member(row) for row in sorted(shown, key=lambda row: row.index)],
    }


def member(row: DeviceRow) -> Json:
    """A device as a mark in the cohort."""
    return {"device": row.device, "standing": row.standing, "reason": row.reason, "detail": row.detail}


def bytes_view(status: JobStatus, ledgers: Json, server: ByteAccount | None) -> Json:
    """What travelled, beside the same training at fp32, and how each figure is known.

    ``up`` is exact: the update bodies that were counted. ``down`` is a reckoning: each device of the fleet takes every
    step once. What devices and server measured on their links has everything in it, of all jobs.
    """
    totals, d = status.totals, status.layout.size
    updates = totals.updates + sum(totals.rejected.values())
    fp32 = updates * d * FP32_BYTES
    return {
        "updates": updates,
        "up": beside(totals.body_bytes, fp32),
        "down": beside(totals.step_bytes * status.devices, fp32),
        "both": beside(totals.body_bytes + totals.step_bytes * status.devices, 2 * fp32),
        "devices": ledgers,
        "server": None if server is None else {"up": nonzero(server.up), "down": nonzero(server.down)},
    }


def beside(ours: int, fp32: int) -> Json:
    """Bytes, those of fp32, and how many times fewer; None before anything was sent."""
    return {"bytes": ours, "fp32_bytes": fp32, "factor": round(fp32 / ours, 2) if ours and fp32 else None}


def nonzero(causes: Mapping[str, int]) -> dict[str, int]:
    """The causes that have cost anything."""
    return {cause: count for cause, count in causes.items() if count}


def privacy_view(status: JobStatus) -> Json | None:
    """The privacy statement; with only a word in it where the accountant is not installed."""
    try:
        return status.privacy()
    except ConfigError as error:
        return {"unknown": str(error)}


def ledgers_view(rows: Iterable[DeviceRow], now: float) -> Json:
    """The devices' own byte accounts of the newest month that any tells of, summed over those that do.

    A month that has not begun by ``now``, Unix seconds, is a device's wrong clock and would hide all others: left out.
    """
    here = time.strftime("%Y-%m", time.gmtime(now))
    telling = [row for row in rows if row.month and row.month <= here]
    month = max((row.month for row in telling), default="")
    current = [row for row in telling if row.month == month]
    budgets = [row for row in current if row.budget_bytes]
    return {
        "month": month,
        "telling": len(current),
        "spent_bytes": sum(row.spent_bytes for row in current),
        "budget_bytes": sum(row.budget_bytes for row in budgets),
        "spent_of_budget_bytes": sum(row.spent_bytes for row in budgets),
        "spent_up": sum(1 for row in budgets if row.spent_bytes >= row.budget_bytes),
    }
