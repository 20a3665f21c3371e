"""``gossamer job show`` and ``job metrics``: where a job stands, for people, programs and Prometheus."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.completion import job_names
from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory, when
from gossamer.cli.output import Json, emit, emit_one, figure
from gossamer.cli.reading import job_named, reading

if TYPE_CHECKING:
    from gossamer.aggregator.job_settings import JobSettings
    from gossamer.aggregator.status import JobStatus

SHOWN_ROUNDS = 5


def show(
    name: Annotated[str, typer.Argument(help="The job's name.", autocompletion=job_names)],
    last: Annotated[int, typer.Option(help="Sealed rounds to show.", min=0)] = SHOWN_ROUNDS,
    state: StateDirectory = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Show a job: settings, progress, rule, privacy spent, and what its last rounds came to.

    Example: gossamer job show gait --last 3
    """
    from gossamer.aggregator.status import read_status

    with reading(state) as db:
        status = read_status(db, job_named(db, name, state), last)
    told, privacy = progress(status), status.privacy()
    told["rounds_shown"] = [round_row(report) for report in status.reports]
    told |= {"privacy": privacy, "settings": status.settings.to_mapping()}
    if as_json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return
    emit_one({key: value for key, value in told.items() if scalar(value)}, as_json=False)
    if privacy is not None:
        sys.stdout.write("\n")
        emit_one({key: value for key, value in privacy.items() if scalar(value)}, as_json=False)
    sys.stdout.write("\n")
    rows = [{**row, "rejected": reasons(row["rejected"])} for row in told["rounds_shown"]]
    emit(rows, as_json=False, title="last rounds", empty="no round is sealed yet")


def metrics(
    name: Annotated[
        str | None, typer.Argument(help="The job's name; without it all jobs.", autocompletion=job_names)
    ] = None,
    state: StateDirectory = DEFAULT_STATE,
) -> None:
    """Print the figures of jobs as Prometheus reads them.

    Example: gossamer job metrics gait > /var/lib/node_exporter/gossamer.prom
    """
    from gossamer.aggregator.exposition import metrics_text
    from gossamer.aggregator.status import read_status
    from gossamer.aggregator.store import jobs, rejections

    with reading(state) as db:
        chosen = jobs.every(db) if name is None else [job_named(db, name, state)]
        statuses = [read_status(db, job, last=1) for job in chosen]
        refused = rejections.totals(db)
    sys.stdout.write(metrics_text(statuses, refused))


def progress(status: JobStatus) -> dict[str, Any]:
    """What a job is and how far it has come."""
    from gossamer.aggregator.status import rule_in_force, tolerated_by

    settings, totals = status.settings, status.totals
    return {
        "name": settings.name,
        "job": settings.job,
        "state": status.state,
        "round": status.round,
        "rounds": settings.rounds,
        "since": when(status.since),
        "model_version": status.version,
        "parameters": status.layout.size,
        "devices": status.devices,
        "cohorts": settings.cohorts,
        "participation": settings.participation,
        "method": settings.method,
        "objective": settings.objective or None,
        "rule": rule_in_force(settings),
        "tolerates": tolerated_by(settings),
        **threat_rows(settings, status.devices),
        "server_step": settings.server_step,
        "memory": settings.memory,
        "codec_up": settings.codec_up,
        "codec_down": settings.codec_down,
        "updates_in": status.waiting,
        "updates_counted": totals.updates,
        "updates_late": totals.late,
        "updates_rejected": dict(totals.rejected),
        "rounds_short": totals.short,
        "body_bytes": totals.body_bytes,
        "step_bytes": totals.step_bytes,
    }


def threat_rows(settings: JobSettings, devices: int) -> dict[str, Any]:
    """What the job's [threat] means for its cohorts; nothing without one. ``devices``: at least the cohorts."""
    from gossamer.aggregator.planning import CohortsAsked, plan_cohorts

    threat = settings.threat
    if not threat.byzantine_fraction or devices < settings.cohorts:
        return {}
    asked = (devices, settings.cohorts, threat.byzantine_fraction, threat.failure, settings.participation)
    cohorts = plan_cohorts(CohortsAsked(*asked))
    return {
        "devices": devices,
        "attackers": cohorts.attackers,
        "cohort": cohorts.size,
        "f": cohorts.f,
        "failure_of_a_cohort": figure(cohorts.cohort_failure),
        "failure_of_a_cycle": figure(cohorts.cycle_failure),
    }


def round_row(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a sealed round came to."""
    from gossamer.aggregator.status import rejected_by_reason

    plain = ("round", "version", "cohort", "on_time", "late", "body_bytes", "step_bytes", "loss", "rule", "radius")
    return {
        **{key: report[key] for key in plain},
        "shortfall": report["shortfall"] or None,
        "rejected": rejected_by_reason(report),
    }


def reasons(rejected: Mapping[str, int]) -> str:
    """Reasons for people: ``non-finite 2, too-large 1``."""
    return ", ".join(f"{reason} {count}" for reason, count in rejected.items())


def scalar(value: Any) -> bool:
    """Whether a line of text holds it, and it is there at all."""
    return value is not None and not isinstance(value, dict | list)
