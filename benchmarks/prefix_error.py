"""Squared error against the length of a prefix: what a cut transfer still brings.

    python -m benchmarks.prefix_error --json benchmarks/results/prefix_error.json --png docs/images/prefix_error.png

Real updates of the demo's data sets after ten rounds of plain averaging, every codec below, every place at which a
prefix may end. Records: data, codec, part, bytes, share_of_body, nmse, the mean over the devices. Takes a few seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.compression import codec
from gossamer.compression.prefix import decode_prefix, part_ends
from tests.compression.real_updates import real_updates

SPECS = ("ternary:0.06/msb", "topk:0.06/q4/msb", "randk:0.06/fp16", "nf4", "sign")
DATA = ("watch", "digits")
ROUND = 10
POINTS = 40  # of a curve: nf4 has a part for every 128 coordinates


def records_of(data: str, spec: str) -> list[dict[str, Any]]:
    """One record for each place at which the bodies may end; the first has no bytes and all of the error."""
    _, rounds = real_updates(data, ROUND)
    bodies = [codec(spec).encode(x, seed=i) for i, x in enumerate(rounds[-1])]
    ends = [part_ends(body, rounds[-1].shape[1]) for body in bodies]
    parts = min(map(len, ends))
    out = [{"data": data, "codec": spec, "part": 0, "bytes": 0.0, "share_of_body": 0.0, "nmse": 1.0}]
    for part in sorted({*np.linspace(1, parts, min(parts, POINTS)).astype(int).tolist()}):
        errors, lengths = [], []
        for x, body, places in zip(rounds[-1], bodies, ends, strict=True):
            y, _ = decode_prefix(body[: places[part - 1]], x.size)
            errors.append(float(np.square(x - y.astype(np.float64)).sum() / np.square(x.astype(np.float64)).sum()))
            lengths.append(places[part - 1])
        share = float(np.mean([n / len(body) for n, body in zip(lengths, bodies, strict=True)]))
        record = {"part": part, "bytes": float(np.mean(lengths)), "share_of_body": share}
        out.append({"data": data, "codec": spec, **record, "nmse": float(np.mean(errors))})
    return out


def write_plot(records: list[dict[str, Any]], path: Path) -> None:
    """One panel a data set: error against the share of the body that came."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(DATA), figsize=(5.5 * len(DATA), 4.5), dpi=120, sharey=True, layout="constrained"
    )
    for axes, data in zip(panels, DATA, strict=True):
        for number, spec in enumerate(SPECS):
            line = [r for r in records if r["data"] == data and r["codec"] == spec]
            if max(r["nmse"] for r in line) > 1:
                continue  # an unbiased codec of few coordinates errs by more than sending nothing, until it is averaged
            shares, errors = [r["share_of_body"] for r in line], [r["nmse"] for r in line]
            label = f"{spec}, {line[-1]['bytes']:,.0f} bytes"
            axes.plot(shares, errors, marker="os^Dv"[number], markersize=4, linewidth=1.2, label=label)
        axes.set(xlabel="share of the body that came", ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
        axes.set_title(f"{data}, round {ROUND}", loc="left")
        axes.legend(fontsize=8, frameon=False)
        axes.grid(visible=True, alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("normalised squared error")
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    """Measure, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write the plot")
    arguments = parser.parse_args()
    records = [record for data in DATA for spec in SPECS for record in records_of(data, spec)]
    for record in records:
        if "/msb" in record["codec"]:
            print(
                f"{record['data']:8} {record['codec']:18} part {record['part']}: {record['bytes']:7.0f} bytes, "
                f"{record['share_of_body']:6.1%} of the body, error {record['nmse']:.3f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n")
    if arguments.png:
        write_plot(records, arguments.png)


if __name__ == "__main__":
    main()
