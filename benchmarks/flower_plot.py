"""The picture of ``flower_wire``: accuracy over the IP bytes of one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gossamer.demo.plot import FP32_COLOUR, GOSSAMER_COLOUR, human_bytes

DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Curve:
    """A system's (IP bytes of a device, accuracy) after each round."""

    label: str
    points: Sequence[tuple[float, float]]
    ours: bool


def write_plot(curves: Sequence[Curve], target: float, path: Path) -> None:
    """Write the PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    plot, axes = pyplot.subplots(figsize=(8, 4.5), dpi=150)
    drawn = {True: 0, False: 0}
    for curve in curves:
        style = DASHES[drawn[curve.ours] % len(DASHES)]
        drawn[curve.ours] += 1
        colour, width = (GOSSAMER_COLOUR, 2.4) if curve.ours else (FP32_COLOUR, 1.8)
        x, y = zip(*curve.points, strict=True)
        axes.plot(x, y, color=colour, linewidth=width, linestyle=style, label=curve.label)
    axes.axhline(target, color=GOSSAMER_COLOUR, linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: human_bytes(value)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("IP bytes of one device, up and down (log scale)")
    axes.set_ylabel("accuracy on held-out images")
    axes.set_title(f"IP bytes to {target:.1%}", loc="left")
    axes.grid(visible=True, which="major", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=7)
    plot.tight_layout()
    plot.savefig(path)
    pyplot.close(plot)
