"""The picture: accuracy over payload bytes, Gossamer beside the same training at fp32."""

from __future__ import annotations

from pathlib import Path

from gossamer.demo.figures import Figures

GOSSAMER_COLOUR = "#0b7285"
FP32_COLOUR = "#868e96"


def write_plot(figures: Figures, path: Path) -> None:
    """Write the PNG. matplotlib is imported here, so that nothing else waits for it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    plot, axes = pyplot.subplots(figsize=(8, 4.5), dpi=150)
    ours = [p for p in figures.curve if p.payload_bytes > 0]
    reference = [p for p in figures.curve if p.fp32_payload_bytes and p.accuracy_fp32 is not None]
    axes.plot(
        [p.fp32_payload_bytes or 0 for p in reference],
        [p.accuracy_fp32 or 0.0 for p in reference],
        color=FP32_COLOUR, linewidth=1.8, label="the same training at fp32",
    )  # fmt: skip
    axes.plot(
        [p.payload_bytes for p in ours], [p.accuracy for p in ours],
        color=GOSSAMER_COLOUR, linewidth=2.4, label=f"Gossamer, {figures.codec} up, {figures.codec_down} down",
    )  # fmt: skip
    axes.axhline(figures.accuracy, color=GOSSAMER_COLOUR, linewidth=0.6, linestyle=":")
    axes.text(
        0.02, 0.8, f"{figures.factor:.0f}x fewer bytes\nto {figures.accuracy:.1%}" if figures.factor >= 1 else "",
        transform=axes.transAxes, color=GOSSAMER_COLOUR, fontsize=12, fontweight="bold",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: human_bytes(value)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("payload of all devices, up and down (log scale)")
    axes.set_ylabel("accuracy on held-out windows" if figures.data == "watch" else "accuracy on held-out images")
    axes.set_title(f"{figures.devices} devices, {figures.rounds} rounds, {figures.parameters:,} parameters", loc="left")
    axes.grid(visible=True, which="major", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    plot.tight_layout()
    plot.savefig(path)
    pyplot.close(plot)


def human_bytes(count: float) -> str:
    """Return ``count`` bytes in the unit a person would use: 512 B, 34.1 kB, 2.8 MB (powers of 1,000).

    >>> human_bytes(512), human_bytes(34_120), human_bytes(2_800_000)
    ('512 B', '34.1 kB', '2.8 MB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < size * 1000:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e12:.3g} TB"
