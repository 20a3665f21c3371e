"""What `benchmarks.byzantine` writes: the records' file, the table and the picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.byzantine_runs import Run

CLEAN = "none"
SHORT = {"inner-product-": "ipm ", "adaptive:": "knows rule: ", "shift-back": "shift back", "none": "clean"}

Row = dict[str, Any]


class Records:
    """A JSON file of flat records, kept after every run."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[Row] = list(json.loads(path.read_text())) if path and path.exists() else []

    def keys(self) -> set[tuple[Any, ...]]:
        """Of the runs that are there."""
        return {Run.key_of(row) for row in self.rows}

    def put(self, record: Row) -> None:
        """Add a record and write the file."""
        self.rows.append(record)
        self.write()

    def write(self) -> None:
        """Write the file in a fixed order, whole or not at all."""
        if self.path is None:
            return
        self.rows.sort(key=lambda row: tuple(str(part) for part in Run.key_of(row)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}")
        partial.write_text("[\n" + ",\n".join(json.dumps(row) for row in self.rows) + "\n]\n")
        partial.replace(self.path)


def means(records: Sequence[Row], codec: str) -> dict[str, dict[str, float]]:
    """Rule -> attack -> accuracy, the mean over seeds, for one codec."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in records:
        if row["codec"] == codec:
            found.setdefault(row["rule"], {}).setdefault(row["attack"], []).append(row["accuracy"])
    return {
        rule: {attack: sum(values) / len(values) for attack, values in cells.items()} for rule, cells in found.items()
    }


def worst(cells: dict[str, float], attacks: Sequence[str]) -> float:
    """The lowest accuracy under the attacks; NaN while one of them is missing."""
    return min(cells[name] for name in attacks) if all(name in cells for name in attacks) else float("nan")


def columns(records: Sequence[Row], published: Sequence[str]) -> list[str]:
    """The attacks that were run: clean, the published, the rest."""
    there = {row["attack"] for row in records}
    first = [name for name in (CLEAN, *published) if name in there]
    return first + sorted(there - set(first), key=lambda name: (name.startswith("adaptive:"), name))


def print_tables(records: Sequence[Row], published: Sequence[str]) -> None:
    """One table a codec, means over seeds."""
    for codec in dict.fromkeys(row["codec"] for row in records):
        table = means(records, codec)
        attacks = columns([row for row in records if row["codec"] == codec], published)
        names = [short(name) for name in attacks] + ["worst", "worst of all"]
        print(f"\n{codec}\n| rule | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
        for rule in sorted(table, key=lambda rule: -_ranked(table[rule], published)):
            cells = table[rule]
            values = [cells.get(name, float("nan")) for name in attacks]
            values += [worst(cells, published), worst(cells, [name for name in attacks if name != CLEAN])]
            print(f"| {rule} | {' | '.join(decimals(value) for value in values)} |")


def _ranked(cells: dict[str, float], published: Sequence[str]) -> float:
    """Where a rule stands: by its worst of what there is."""
    return min((value for name, value in cells.items() if name in published), default=0.0)


def short(name: str) -> str:
    """An attack's name as a column has room for it."""
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


def decimals(value: float) -> str:
    """.873; - for what was not run."""
    return "-" if np.isnan(value) else f"{value:.3f}".removeprefix("0")


def write_plot(records: Sequence[Row], published: Sequence[str], path: Path) -> None:
    """A panel a codec: rules down, attacks across, accuracy as a number and a colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    most = len(columns(records, published))
    codecs = list(dict.fromkeys(row["codec"] for row in records))
    heights = [1.6 + 0.32 * len(means(records, codec)) for codec in codecs]
    figure, panels = pyplot.subplots(
        len(codecs), 1, figsize=(4 + 0.62 * most, sum(heights) + 1), dpi=110, squeeze=False,
        layout="constrained", height_ratios=heights,
    )  # fmt: skip
    for axes, codec in zip(panels[:, 0], codecs, strict=True):
        table = means(records, codec)
        attacks = columns([row for row in records if row["codec"] == codec], published)
        rules = sorted(table, key=lambda rule: -_ranked(table[rule], published))
        values = np.array([[table[rule].get(name, np.nan) for name in attacks] for rule in rules])
        axes.imshow(values, vmin=0.1, vmax=0.95, cmap="RdYlGn", aspect="auto")
        axes.set_xticks(range(len(attacks)), [short(name) for name in attacks], rotation=35, ha="right", fontsize=8)
        axes.set_yticks(range(len(rules)), rules, fontsize=8)
        for (down, across), value in np.ndenumerate(values):
            ink = "white" if value < 0.25 or value > 0.85 else "black"  # the ends of the map are dark
            axes.text(across, down, decimals(value), ha="center", va="center", fontsize=7, color=ink)
        title = f"{codec}: accuracy of the model that the outvoted cohort leaves, mean of seeds"
        axes.set_title(title, loc="left", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    pyplot.savefig(path)
    pyplot.close(figure)
