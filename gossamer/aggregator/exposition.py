"""A fleet's jobs as Prometheus metrics: statuses -> text in the exposition format, version 0.0.4. Pure.

A family has one line ``# HELP``, one ``# TYPE`` and then its samples, ``name{label="value"} number``. Counters end in
``_total`` and never fall while a job lives; what a device claims of itself (losses, examples) is not among them.

>>> sample("gossamer_x_total", {"job": 'a"b'}, 3)
'gossamer_x_total{job="a\\\\"b"} 3'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gossamer.aggregator.status import JobStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("open", "paused", "finished")

Found = dict[str, list[tuple[Mapping[str, str], float]]]
"""Name of a family -> its samples: labels and value."""

COUNTER, GAUGE = "counter", "gauge"

FAMILIES: dict[str, tuple[str, str]] = {
    "gossamer_job_state": (GAUGE, "1 for the state that a job is in."),
    "gossamer_job_rounds_planned": (GAUGE, "Rounds of the job."),
    "gossamer_job_rounds_total": (COUNTER, "Rounds sealed."),
    "gossamer_job_rounds_short_total": (COUNTER, "Rounds whose rule had too few usable updates."),
    "gossamer_job_model_version": (GAUGE, "Version of the shared model."),
    "gossamer_job_parameters": (GAUGE, "Parameters of the model."),
    "gossamer_job_devices": (GAUGE, "Devices that cohorts are drawn from."),
    "gossamer_job_updates_waiting": (GAUGE, "Updates in for the open round."),
    "gossamer_updates_counted_total": (COUNTER, "Updates that the rule saw."),
    "gossamer_updates_rejected_total": (COUNTER, "Updates that the rule rejected."),
    "gossamer_update_body_bytes_total": (COUNTER, "Bytes of update bodies."),
    "gossamer_step_bytes_total": (COUNTER, "Bytes of the steps of the model."),
    "gossamer_rule_radius": (GAUGE, "Clipping radius of the last round; 0 for a rule without one."),
    "gossamer_privacy_epsilon_spent": (GAUGE, "Epsilon of what was released so far."),
    "gossamer_privacy_epsilon_budget": (GAUGE, "Epsilon that the job may spend."),
    "gossamer_privacy_delta": (GAUGE, "Delta of both."),
    "gossamer_privacy_releases": (GAUGE, "Most rounds in which one device has counted."),
    "gossamer_privacy_may_release": (GAUGE, "1 while the budget pays for another round."),
    "gossamer_messages_refused_total": (COUNTER, "Messages that the bridge refused, of all jobs."),
}
"""Name -> type and help, in the order of the text."""


def metrics_text(statuses: Sequence[JobStatus], refused: Mapping[str, int]) -> str:
    """Return the metrics of jobs.

    Args:
        statuses: of the jobs.
        refused: reason -> messages that the bridge refused, of the whole fleet.

    Raises:
        ConfigError: a job is private and dp-accounting is missing.
    """
    found: Found = {name: [] for name in FAMILIES}
    for status in statuses:
        for name, labels, value in _of_job(status):
            found[name].append(({"job": status.settings.name, **labels}, value))
    found["gossamer_messages_refused_total"] += [({"reason": reason}, n) for reason, n in sorted(refused.items())]
    return families_text(FAMILIES, found)


def families_text(families: Mapping[str, tuple[str, str]], found: Found) -> str:
    """Return the text of families (as `FAMILIES`), those without samples left out."""
    lines: list[str] = []
    for name, samples in found.items():
        if samples:
            kind, text = families[name]
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [sample(name, labels, value) for labels, value in samples]
    return "".join(f"{line}\n" for line in lines)


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """Return one line, without its line feed."""
    inside = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _of_job(status: JobStatus) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield family, labels beside ``job``, and value."""
    totals = status.totals
    for state in STATES:
        yield "gossamer_job_state", {"state": state}, int(status.state == state)
    plain: dict[str, float] = {
        "gossamer_job_rounds_planned": status.settings.rounds,
        "gossamer_job_rounds_total": totals.rounds,
        "gossamer_job_rounds_short_total": totals.short,
        "gossamer_job_model_version": status.version,
        "gossamer_job_parameters": status.layout.size,
        "gossamer_job_devices": status.devices,
        "gossamer_job_updates_waiting": status.waiting,
        "gossamer_update_body_bytes_total": totals.body_bytes,
        "gossamer_step_bytes_total": totals.step_bytes,
    }
    yield from ((name, {}, value) for name, value in plain.items())
    yield "gossamer_updates_counted_total", {"when": "on-time"}, totals.on_time
    yield "gossamer_updates_counted_total", {"when": "late"}, totals.late
    for reason, count in totals.rejected.items():
        yield "gossamer_updates_rejected_total", {"reason": reason}, count
    if status.reports:
        yield "gossamer_rule_radius", {}, float(status.reports[-1]["radius"])
    yield from _of_privacy(status.privacy())


def _of_privacy(statement: Mapping[str, Any] | None) -> Iterator[tuple[str, dict[str, str], float]]:
    if statement is None:
        return
    for name, key in (
        ("epsilon_spent", "epsilon_spent"), ("epsilon_budget", "epsilon_budget"), ("delta", "delta"),
        ("releases", "releases_done"), ("may_release", "may_release"),
    ):  # fmt: skip
        value = statement[key]
        yield f"gossamer_privacy_{name}", {}, int(value) if isinstance(value, bool) else value


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
