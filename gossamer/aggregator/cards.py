"""The model card: what a model is, how it came about and what it promises, beside the file that holds it.

Pure: a status, a digest and a date -> plain values for JSON, and those -> Markdown. In the spirit of Mitchell and
others, "Model cards for model reporting", FAT* 2019, as far as a server knows the answers: what the data are, and
whom the model is for, the operator must add.

What the card says of a private job is public without noise, so it tells no figure that devices' data decide beside
those of the privacy statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gossamer.aggregator.status import JobStatus, rule_in_force, tolerated_by

FORMAT = 1
"""Of the JSON object."""

NOT_PRIVATE = "None. The model may tell of single devices' data."


def model_card(status: JobStatus, digest: str, date: str) -> dict[str, Any]:
    """Return the card of a job's current model; str, int, float, bool, None, lists and dicts of them.

    Args:
        status: of the job.
        digest: of the shared model, as signed manifests have it; hexadecimal.
        date: of the export, ISO 8601.

    Raises:
        ConfigError: the job is private and dp-accounting is missing.
    """
    settings, totals = status.settings, status.totals
    private = settings.privacy is not None
    return {
        "card": FORMAT,
        "name": settings.name,
        "fleet": settings.fleet,
        "date": date,
        "version": status.version,
        "model_digest": digest,
        "parameters": status.layout.size,
        "arrays": [{"name": name, "shape": list(shape)} for name, shape in status.layout.entries],
        "rounds_done": status.version,
        "rounds_planned": settings.rounds,
        "devices": status.devices,
        "cohorts": settings.cohorts,
        "participation": settings.participation,
        "method": settings.method,
        "objective": settings.objective or None,
        "memory": settings.memory,
        "server_step": settings.server_step,
        "local_epochs": settings.fit.local_epochs,
        "batch_size": settings.fit.batch_size,
        "learning_rate": settings.fit.learning_rate,
        "rule": rule_in_force(settings),
        "tolerates": tolerated_by(settings),
        "codec_up": settings.codec_up,
        "codec_down": settings.codec_down,
        "updates_counted": totals.updates,
        "updates_late": totals.late,
        "updates_rejected": None if private else dict(totals.rejected),
        "privacy": status.privacy(),
    }


SECTIONS: dict[str, dict[str, str]] = {
    "Model": {
        "version": "version", "model_digest": "digest", "parameters": "parameters", "date": "exported",
    },
    "Training": {
        "devices": "devices in the fleet", "rounds_done": "rounds done", "rounds_planned": "rounds planned",
        "cohorts": "rounds in a cycle", "participation": "participation", "method": "method", "objective": "objective",
        "local_epochs": "local epochs", "batch_size": "batch size", "learning_rate": "learning rate",
        "server_step": "server step", "memory": "memory", "codec_up": "codec of updates",
        "codec_down": "codec of the model's changes", "updates_counted": "updates counted",
        "updates_late": "of them late",
    },
    "Attackers": {"rule": "rule", "tolerates": "it tolerates", "updates_rejected": "updates rejected"},
}  # fmt: skip
"""Heading -> key of the card -> its name for people. Arrays and privacy are written apart."""


def as_markdown(card: Mapping[str, Any]) -> str:
    """Return the same card for people, as Markdown that ends with a line feed."""
    lines = [f"# {_text(card['name'])}, version {card['version']}", ""]
    lines += [f"Trained by fleet {_text(card['fleet'])}; its data never left its devices.", ""]
    for heading, names in SECTIONS.items():
        shown = {label: card[key] for key, label in names.items() if card[key] is not None}
        lines += [f"## {heading}", "", *_table(shown), ""]
    lines += ["## Arrays", "", "| name | shape |", "|---|---|"]
    lines += [f"| {_text(each['name'])} | {_shape(each['shape'])} |" for each in card["arrays"]]
    return "\n".join([*lines, "", "## Privacy", "", *_privacy(card["privacy"])]) + "\n"


def _privacy(statement: Mapping[str, Any] | None) -> list[str]:
    if statement is None:
        return [NOT_PRIVATE]
    single = {key.replace("_", " "): value for key, value in statement.items() if not isinstance(value, list)}
    lines = [
        f"Epsilon {_text(statement['epsilon_spent'])} of {_text(statement['epsilon_budget'])} spent at delta "
        f"{_text(statement['delta'])}; the unit is one {_text(statement['unit'])}.",
        "",
        *_table(single),
    ]
    for key, value in statement.items():
        if isinstance(value, list):
            lines += ["", f"{key.replace('_', ' ').capitalize()}:", "", *(f"* {_text(each)}" for each in value)]
    return lines


def _table(rows: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {label} | {_text(value)} |" for label, value in rows.items())]


def _shape(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides)) or "a number"


def _text(value: Any) -> str:
    """A value in a cell of a table: one line, no bar of its own."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{_text(key)}: {_text(each)}" for key, each in value.items()) or "none"
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
