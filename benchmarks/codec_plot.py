"""The picture of the codec benchmark: squared error against bits, ours, the peers', and the rate-distortion line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

OURS = "#0b7285"
PEERS = "#d9480f"
LINE = "#868e96"
FONT = 7.5
LETTER = 0.6 * FONT  # a letter's width, about, in points
POINTS_PER_INCH = 72
FLOOR = 6e-3
"""Smallest error shown: 8 bits and more stand far below everything else, and would press it together."""
CEILING = 1.5
"""Above 1 an update is worse than none; unbiased codecs of few coordinates are, before they are averaged."""


def write_plot(records: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel a federation, at the middle one of the measured rounds; codecs without error have no place in it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    federations = list(dict.fromkeys(record["federation"] for record in records))
    figure, panels = pyplot.subplots(
        len(federations), 1, figsize=(10, 7.5 * len(federations)), dpi=120, squeeze=False, layout="constrained"
    )
    drawn = []
    for axes, federation in zip(panels[:, 0], federations, strict=True):
        own = [record for record in records if record["federation"] == federation and record["nmse"] > 0]
        rounds = sorted({record["round"] for record in own})
        drawn.append([record for record in own if record["round"] == rounds[len(rounds) // 2]])
        _panel(axes, drawn[-1])
    figure.draw_without_rendering()  # places of points are known only once the panels have theirs
    for axes, shown in zip(panels[:, 0], drawn, strict=True):
        _label(axes, shown)
    pyplot.savefig(path)
    pyplot.close(figure)


def _panel(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    bits = np.geomspace(0.004, 6, 400)
    axes.plot(bits, 2.0 ** (-2 * bits), color=LINE, linewidth=1.2, label="Gaussian rate-distortion, 2^(-2 bits)")
    for peer, colour, marker, label in ((False, OURS, "o", "Gossamer"), (True, PEERS, "s", "peers' own code")):
        group = [record for record in records if record["peer"] is peer and FLOOR <= record["nmse"] <= CEILING]
        if not group:
            continue
        axes.scatter(
            [record["bits_per_parameter"] for record in group], [record["nmse"] for record in group],
            s=26, color=colour, marker=marker, label=label, zorder=3,
        )  # fmt: skip
    first = records[0]
    axes.set(xscale="log", yscale="log", xlim=(0.004, 14), ylim=(FLOOR, CEILING))
    axes.set_xlabel("bits a parameter, of real bodies (log scale)")
    axes.set_ylabel("normalised squared error (log scale)")
    axes.set_title(f"{first['federation']}, {first['parameters']:,} parameters, round {first['round']}", loc="left")
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.legend(frameon=False, loc="lower left")


def _label(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    """Names beside the points, each where it covers the fewest points and names so far."""
    points = [r for r in records if FLOOR <= r["nmse"] <= CEILING]
    scale = POINTS_PER_INCH / axes.figure.dpi
    at = axes.transData.transform([(r["bits_per_parameter"], r["nmse"]) for r in points]) * scale
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    for (x, y), record in sorted(zip(at.tolist(), points, strict=True), key=lambda pair: -len(pair[1]["codec"])):
        width = LETTER * len(record["codec"])
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + FONT) for dx, dy in _offsets(width)]
        best = min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken) + 1e-3 * abs(box[1] - y))
        taken.append(best)
        axes.annotate(
            record["codec"], (record["bits_per_parameter"], record["nmse"]), xytext=(best[0] - x, best[1] - y),
            textcoords="offset points", fontsize=FONT, color=PEERS if record["peer"] else OURS,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": LINE, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def _offsets(width: float) -> list[tuple[float, float]]:
    rows = [0.0, *(sign * FONT * step / 2 for step in range(1, 24) for sign in (1, -1))]
    return [(dx, dy - FONT / 2) for dy in rows for dx in (6.0, 18.0, -6.0 - width, -18.0 - width)]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
