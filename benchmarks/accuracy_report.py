"""Tables and the plot of `benchmarks.bytes_to_accuracy`, from its records alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gossamer.cli.output import emit

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
    """A row of two pictures for each federation: accuracy over wire bytes, and bars of bytes to the target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["federation"] for row in rows))
    figure, axes = pyplot.subplots(max(1, len(names)), 2, figsize=(11, 3.4 * max(1, len(names))), squeeze=False)
    for name, (left, right) in zip(names, axes, strict=False):
        own = [row for row in rows if row["federation"] == name]
        codecs = list(dict.fromkeys(row["codec"] for row in own))
        colours = {codec: f"C{i % 10}" for i, codec in enumerate(codecs)}
        _draw_curves(left, [row for row in curves if row["federation"] == name], own, colours)
        _draw_bars(right, summary(own))
        left.set_title(f"{name}: accuracy over bytes of a device on the wire (TLS)", fontsize=9)
        right.set_title(f"{name}: bytes of a device to {100 * own[0]['target']:.1f} %", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_curves(axes: Any, curves: Sequence[Row], rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    labelled = set()
    for row in rows:
        points = [each for each in curves if (each["codec"], each["seed"]) == (row["codec"], row["seed"])]
        label = row["codec"] if row["codec"] not in labelled else None
        labelled.add(row["codec"])
        wire, accuracy = [p["wire_bytes"] for p in points], [p["accuracy"] for p in points]
        axes.plot(wire, accuracy, color=colours[row["codec"]], linewidth=1, label=label)
    axes.axhline(rows[0]["target"], color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_ylim(max(0.0, rows[0]["target"] - 0.35), min(1.0, max(row["accuracy"] for row in rows) + 0.02))
    axes.set_xlabel("bytes")
    axes.legend(fontsize=7)


def _draw_bars(axes: Any, means: Sequence[Row]) -> None:
    there = [row for row in means if row["payload_kB"] is not None]
    places = range(len(there))
    axes.barh([p + 0.2 for p in places], [row["payload_kB"] for row in there], 0.4, label="payload")
    axes.barh([p - 0.2 for p in places], [row["wire_kB"] for row in there], 0.4, label="wire (TLS)")
    axes.set_yticks(list(places), [row["codec"] for row in there], fontsize=8)
    if there:
        axes.set_xscale("log")
        axes.legend(fontsize=7)
    axes.set_xlabel("kB")
