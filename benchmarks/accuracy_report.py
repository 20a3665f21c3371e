"""Tables and the plot of `benchmarks.bytes_to_accuracy`, from its records alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gossamer.cli.output import emit
from gossamer.demo.plot import human_bytes

REFERENCES = {"vanilla": "ratio_vanilla", "fp32": "ratio_tuned"}
Row = Mapping[str, Any]


def payload(row: Row) -> int:
    """Bytes up and down."""
    return int(row["payload_up"] + row["payload_down"])


def add_ratios(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The records with how many times more bytes the uncompressed runs of the same seed took; None if unknown."""
    rows = list(rows)
    by_key = {(row["federation"], row["codec"], row["seed"], row["target"]): row for row in rows if row["reached"]}
    out = []
    for row in rows:
        ratios: dict[str, float | None] = {}
        for codec, name in REFERENCES.items():
            reference = by_key.get((row["federation"], codec, row["seed"], row["target"]))
            known = reference is not None and row["reached"]
            ratios[name] = round(payload(reference) / payload(row), 1) if reference and known else None
            wire = round(reference["wire_bytes"] / row["wire_bytes"], 1) if reference and known else None
            ratios[f"wire_{name}"] = wire
        out.append({**row, **ratios})
    return out


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A row for each federation and codec: means over the seeds that reached the target, deviation between them."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["federation"], row["codec"]), []).append(row)
    return [_group(*key, group) for key, group in groups.items()]


def _group(federation: str, codec: str, group: Sequence[Row]) -> dict[str, Any]:
    there = [row for row in group if row["reached"]]

    def mean(values: Sequence[float | None], digits: int = 1) -> float | None:
        known = [value for value in values if value is not None]
        return round(statistics.mean(known), digits) if known else None

    payloads = [payload(row) / 1000 for row in there]
    return {
        "federation": federation,
        "codec": codec,
        "reached": f"{len(there)}/{len(group)}",
        "rounds": mean([row["rounds"] for row in there]),
        "up_kB": mean([row["payload_up"] / 1000 for row in there]),
        "down_kB": mean([row["payload_down"] / 1000 for row in there]),
        "payload_kB": mean(payloads),
        "+-": round(statistics.stdev(payloads), 1) if len(payloads) > 1 else None,
        "wire_kB": mean([row["wire_bytes"] / 1000 for row in there]),
        "x_vanilla": mean([row["ratio_vanilla"] for row in there]),
        "x_tuned": mean([row["ratio_tuned"] for row in there]),
        "wire_x_vanilla": mean([row["wire_ratio_vanilla"] for row in there]),
        "wire_x_tuned": mean([row["wire_ratio_tuned"] for row in there]),
        "best_accuracy": mean([row["accuracy"] for row in group], 4),
    }


def print_tables(rows: Sequence[Row]) -> None:
    """One table of means; seeds that did not get there are counted, not averaged."""
    emit(summary(rows), as_json=False, title="bytes of a device to the target accuracy", empty="no runs yet")


def plot(rows: Sequence[Row], curves: Sequence[Row], path: Path) -> None:
    """A row of two pictures for each federation: accuracy over wire bytes, and the bytes to the target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["federation"] for row in rows))
    figure, axes = pyplot.subplots(
        max(1, len(names)), 2, figsize=(12, 4 * max(1, len(names))), squeeze=False, layout="constrained",
        width_ratios=(3, 2),
    )  # fmt: skip
    for name, (left, right) in zip(names, axes, strict=False):
        own = [row for row in rows if row["federation"] == name]
        codecs = list(dict.fromkeys(row["codec"] for row in own))
        colours = {codec: f"C{i % 10}" for i, codec in enumerate(codecs)}
        _draw_curves(left, [row for row in curves if row["federation"] == name], own, colours)
        _draw_points(right, summary(own), colours)
        left.set_title(f"{name}: accuracy over bytes of a device on the wire (TLS)", fontsize=10, loc="left")
        right.set_title(f"bytes of a device to {100 * own[0]['target']:.1f} %", fontsize=10, loc="left")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_curves(axes: Any, curves: Sequence[Row], rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    labelled, best = set(), 0.0
    for row in rows:
        points = [each for each in curves if (each["codec"], each["seed"]) == (row["codec"], row["seed"])]
        label = row["codec"] if row["codec"] not in labelled else None
        labelled.add(row["codec"])
        wire, accuracy = [p["wire_bytes"] for p in points], [p["accuracy"] for p in points]
        best = max([best, *accuracy])
        axes.plot(wire, accuracy, color=colours[row["codec"]], linewidth=1.2, alpha=0.8, label=label)
    axes.axhline(rows[0]["target"], color="grey", linewidth=0.8, linestyle=":")
    axes.set_ylim(max(0.0, rows[0]["target"] - 0.35), min(1.0, max(best, rows[0]["target"]) + 0.02))
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
    axes.set_ylabel("accuracy on held-out examples")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    _bytes_axis(axes, "bytes, up and down (log scale)")


def _draw_points(axes: Any, means: Sequence[Row], colours: Mapping[str, str]) -> None:
    """Payload and wire bytes as two points on a line: a bar has no honest beginning on a log scale."""
    there = [row for row in means if row["payload_kB"] is not None]
    for place, row in enumerate(reversed(there)):
        low, high, colour = 1000 * row["payload_kB"], 1000 * row["wire_kB"], colours[row["codec"]]
        axes.plot([low, high], [place, place], color=colour, linewidth=1)
        axes.plot(low, place, "o", color=colour, markerfacecolor="white", label="payload" if not place else None)
        axes.plot(high, place, "o", color=colour, label="wire, TLS" if not place else None)
        for value, move, side in ((low, -7, "right"), (high, 7, "left")):
            axes.annotate(human_bytes(value), (value, place), xytext=(move, -3), textcoords="offset points", ha=side,
                          fontsize=7.5)  # fmt: skip
    axes.set_yticks(range(len(there)), [row["codec"] for row in reversed(there)], fontsize=8)
    axes.set_ylim(-0.6, len(there) - 0.2)
    if there:
        axes.legend(fontsize=8, frameon=False, loc="upper left")
        _bytes_axis(axes, "mean of the seeds that got there (log scale)")
        axes.set_xlim(300 * min(row["payload_kB"] for row in there), 5000 * max(row["wire_kB"] for row in there))


def _bytes_axis(axes: Any, label: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _position: human_bytes(value))
    axes.set_xlabel(label)
    axes.grid(visible=True, which="major", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
