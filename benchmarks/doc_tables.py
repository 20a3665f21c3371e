"""Fills the tables of docs/compression.md from the benchmarks' results, so that no figure there is typed by hand.

    python -m benchmarks.doc_tables

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is one of `TABLES`. Results that are not
there leave a line that names the command which makes them. A test compares the page with what this makes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accuracy_report import summary
from benchmarks.federations import FEDERATIONS, model_for
from benchmarks.training_settings import UNCOMPRESSED
from benchmarks.wire import Envelope, measured
from gossamer.aggregator.automatic import decided
from gossamer.aggregator.jobs import AUTO, JobSettings
from gossamer.compression.auto import HIST_PARAMETERS, LinkFacts, for_device
from gossamer.compression.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "compression.md"
RESULTS = ROOT / "benchmarks" / "results"
DIGESTS = ROOT / "tests" / "vectors" / "hist_digests.json"
BLOCK = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

ROUND = 10
"""Of the codecs' table: the model has left its beginnings, and is not done."""
SHOWN = (
    "fp32", "fp16", "q8", "q4", "q4s", "nf4", "rot4:ls", "rot2:ls", "rot1", "rot1:ls", "sign",
    "ternary:0.001", "ternary:0.01", "ternary:0.02", "ternary:0.02@layer", "ternary:0.02/msb", "ternary:0.06",
    "ternary:0.2", "topk:0.001/q4", "topk:0.01/q4", "topk:0.1/q4", "topk:0.1/fp16",
    "randk:0.1/fp16", "randk:0.1/q4", "hist:200", "hist:400", "hist:1000", "hist:0.01", "hist:0.05",
)  # fmt: skip
SHOWN_BY_ROUND = ("hist:200", "hist:400", "hist:1000", "ternary:0.01", "sign", "nf4", "rot4:ls")
COMMANDS = {
    "codecs": "python -m benchmarks.codecs --json benchmarks/results/codecs.json --plot benchmarks/results/codecs.png",
    "bytes_to_accuracy": "python benchmarks/bytes_to_accuracy.py --json benchmarks/results/bytes_to_accuracy.json",
    "flower_wire": "python -m benchmarks.flower_wire --json benchmarks/results/flower_wire.json "
    "--plot benchmarks/results/flower_wire.png",
    "prefix_error": "python -m benchmarks.prefix_error --json benchmarks/results/prefix_error.json "
    "--png docs/images/prefix_error.png",
}
CAUSES = ("bodies", "signatures", "manifests", "status", "MQTT", "connect", "TLS", "TCP/IP")

Row = Mapping[str, Any]


class NotMeasured(Exception):
    """Results that a table needs are not there; says which command makes them."""


def filled(text: str, tables: Mapping[str, Callable[[], str]] | None = None) -> str:
    """The page with every table made anew; raises KeyError for a table of another name."""
    known = TABLES if tables is None else tables
    return BLOCK.sub(lambda block: block[1] + _made(known[block[2]]) + block[3], text)


def _made(table: Callable[[], str]) -> str:
    try:
        return table()
    except NotMeasured as missing:
        return f"*Not measured yet: `{missing}`.*\n"


def records(name: str) -> list[Row]:
    """The records of a benchmark; raises `NotMeasured`."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise NotMeasured(COMMANDS[name])
    rows: list[Row] = json.loads(file.read_text())
    return rows


def markdown(headings: Sequence[str], rows: Sequence[Sequence[object]], names: int = 1) -> str:
    """A table; the first ``names`` columns are words, the others numbers; None is an empty cell."""
    marks = ["---"] * names + ["---:"] * (len(headings) - names)
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in [list(headings), marks, *cells])


# -- codecs ------------------------------------------------------------------------------------------------


def codecs() -> str:
    """Bits, error and time of each codec at one round, on two models; the peers behind."""
    rows = {(r["federation"], r["codec"]): r for r in records("codecs") if r["round"] == ROUND}
    peers = dict.fromkeys(codec for (_, codec), r in rows.items() if r["peer"])
    out = []
    for codec in (*SHOWN, *peers):
        big, small = rows.get(("mnist20", codec)), rows.get(("watch-cnn", codec))
        if big or small:
            name = codec if codec in peers else f"`{codec}`"
            out.append([name, *_cost(big, bound=True), *_cost(small), *_times(big or small)])
    headings = ["codec", "mnist20: bytes", "bits", "error", "over bound", "watch-cnn: bytes", "bits", "error"]
    return markdown([*headings, "encode, ms", "decode, ms"], out)


def _cost(row: Row | None, *, bound: bool = False) -> list[str | None]:
    if row is None:
        return [None] * (4 if bound else 3)
    cost: list[str | None] = [f"{row['bytes']:,.0f}", f"{row['bits_per_parameter']:.3f}", f"{row['nmse']:.4f}"]
    if bound:
        known = row["bound"] == "positions and values" and row["bound_bits"]
        cost.append(f"{row['bits_per_parameter'] / row['bound_bits'] - 1:+.1%}" if known else None)
    return cost


def _times(row: Row | None) -> list[str | None]:
    if row is None:
        return [None, None]
    return [f"{row[f'{side}_ms_per_million']:.1f}" for side in ("encode", "decode")]


def by_round() -> str:
    """The same codec at the measured rounds of mnist20: what history is worth."""
    rows = {(r["codec"], r["round"]): r for r in records("codecs") if r["federation"] == "mnist20"}
    rounds = sorted({number for _, number in rows})
    out = []
    for codec in SHOWN_BY_ROUND:
        if (codec, rounds[0]) in rows:
            found = [rows[codec, number] for number in rounds]
            out.append([f"`{codec}`", *(f"{r['bytes']:,.0f} / {r['nmse']:.3f}" for r in found)])
    return markdown(["codec", *(f"round {number}: bytes / error" for number in rounds)], out)


def prefix() -> str:
    """What each part of a most-significant-first body brings."""
    rows = [r for r in records("prefix_error") if "/msb" in r["codec"] and r["part"]]
    out = []
    for data, codec in dict.fromkeys((r["data"], r["codec"]) for r in rows):
        parts = [r for r in rows if (r["data"], r["codec"]) == (data, codec)]
        out.append([data, f"`{codec}`", *(f"{r['share_of_body']:.0%} / {r['nmse']:.3f}" for r in parts)])
    count = max(map(len, out)) - 2
    return markdown(["data", "codec", *(f"{n + 1} of {count}: share / error" for n in range(count))], out, names=2)


# -- bytes to an accuracy ----------------------------------------------------------------------------------


def accuracy() -> str:
    """Means over the seeds, federation by federation."""
    out = []
    for row in summary(records("bytes_to_accuracy")):
        numbers = [_kilo(row[key]) for key in ("up_kB", "down_kB", "payload_kB", "+-", "wire_kB")]
        ratios = [_times_less(row[key]) for key in ("x_vanilla", "x_tuned", "wire_x_vanilla", "wire_x_tuned")]
        out.append([row["federation"], f"`{row['codec']}`", row["reached"], row["rounds"], *numbers, *ratios])
    headings = ["federation", "codec", "reached", "rounds", "up, kB", "down, kB", "payload, kB", "+-", "wire, kB"]
    ratios = ["payload / vanilla", "/ tuned", "wire / vanilla", "/ tuned"]
    return markdown([*headings, *ratios], out, names=2) + _picture("bytes_to_accuracy", "Accuracy over wire bytes")


def auto_against_best() -> str:
    """``auto`` beside the best fixed codec of each federation, by wire bytes, where every seed got there."""
    rows = [r for r in records("bytes_to_accuracy") if r["codec"] not in UNCOMPRESSED]
    if not any(_is_auto(r) for r in rows):
        raise NotMeasured(COMMANDS["bytes_to_accuracy"])
    out = []
    for name in dict.fromkeys(r["federation"] for r in rows):
        means = [m for m in summary([r for r in rows if r["federation"] == name]) if m["wire_kB"] is not None]
        mine = next((m for m in means if _is_auto(m)), None)
        fixed = [m for m in means if not _is_auto(m)]
        if mine is None or not fixed:
            continue
        best = min(fixed, key=lambda m: float(m["wire_kB"]))
        whole = all(len(set(side["reached"].split("/"))) == 1 for side in (mine, best))
        ratio = f"{mine['wire_kB'] / best['wire_kB'] - 1:+.0%}" if whole else "not every seed got there"
        sides = [mine["reached"], mine["rounds"], _kilo(mine["wire_kB"]), f"`{best['codec']}`", best["rounds"],
                 _kilo(best["wire_kB"]), ratio]  # fmt: skip
        out.append([name, *sides])
    return markdown(["federation", "`auto`: reached", "rounds", "wire, kB", "best fixed", "rounds", "wire, kB",
                     "`auto` over it"], out)  # fmt: skip


def _is_auto(row: Row) -> bool:
    return str(row["codec"]).startswith(AUTO)


def _kilo(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _times_less(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def _picture(name: str, caption: str) -> str:
    file = RESULTS / f"{name}.png"
    return f"\n![{caption}](../benchmarks/results/{name}.png)\n" if file.exists() else ""


# -- the wire ----------------------------------------------------------------------------------------------


def wire() -> str:
    """Flower and Gossamer: IP bytes of a device to the target."""
    rows = records("flower_wire")
    out = [
        [r["system"], r["setting"], r["rounds"], f"{r['ip_up']:,}", f"{r['ip_down']:,}", f"{r['ip_bytes']:,}",
         f"{r['ratio']:,.0f}", "measured" if str(r["how"]).startswith("measured") else "extrapolated"]
        for r in rows
    ]  # fmt: skip
    first = rows[0]
    caption = f"Federation `{first['federation']}`, seed {first['seed']}, to {first['target']:.1%}.\n\n"
    return caption + markdown(["system", "setting", "rounds", "up", "down", "IP bytes", "ratio", ""], out, names=2)


def causes() -> str:
    """Where a device's IP bytes go in the same run."""
    row = next((r for r in records("flower_wire") if r["system"] == "Gossamer"), None)
    if row is None or row.get("ledger_bytes") is None:
        raise NotMeasured(COMMANDS["flower_wire"])
    total = sum(row[f"ledger_{cause}"] for cause in CAUSES)
    return markdown(
        ["", *CAUSES],
        [
            ["bytes a round", *(f"{row[f'ledger_{cause}'] / row['rounds']:,.0f}" for cause in CAUSES)],
            ["share", *(f"{row[f'ledger_{cause}'] / total:.0%}" for cause in CAUSES)],
        ],
    )


def envelope() -> str:
    """What a link adds to bodies: the constants of `benchmarks.wire`."""

    def row(name: str, one: Envelope) -> list[str]:
        return [name, f"{one.connection:,.0f}", f"{one.round_:,.0f}", f"+{one.per_byte:.1%}"]

    plain, tls = measured()
    rows = [row("plain", plain), row("TLS 1.3, full handshake", tls)]
    return markdown(["", "a connection with its goodbye", "a round", "each byte of a body"], rows)


# -- what follows from the code ----------------------------------------------------------------------------


def choices() -> str:
    """What ``auto`` decides for the federations, with a job's default link, and what devices on other links send."""
    out = []
    for name, each in FEDERATIONS.items():
        model = model_for(name)
        layout = Layout.of(model.init(0), getattr(model, "axes", {}))
        settings = JobSettings(name, 1, "bench", 0, 1, each.cohorts, codec_up=AUTO, codec_down=AUTO)
        chosen, choice = decided(settings, layout, each.devices)
        if choice is None:
            continue
        given = settings.link
        link = partial(LinkFacts, given.envelope_bytes, given.per_byte_micro / 1e6)
        wifi = for_device(choice, link(1e6, metered=False))
        dear = for_device(choice, LinkFacts(4 * given.envelope_bytes, given.per_byte_micro / 1e6))
        jobs = (f"`{spec}`" for spec in (chosen.codec_up, chosen.codec_down, chosen.server_step))
        others = (f"`{device.codec_up}`" for device in (wifi, dear))
        out.append([name, f"{layout.size:,}", *jobs, chosen.fit.local_epochs, *others])
    table = markdown(["federation", "parameters", "up", "down", "server step", "epochs", "a device on unmetered Wi-Fi",
                      "one whose envelope is four times as dear"], out)  # fmt: skip
    return f"{table}\n(`hist` is considered for models of {HIST_PARAMETERS:,} parameters or more.)\n"


def digests() -> str:
    """The digests of ``hist``, as the tests expect them on every machine."""
    found: Mapping[str, str] = json.loads(DIGESTS.read_text())
    return markdown(["what", "SHA-256"], [[name, f"`{digest}`"] for name, digest in found.items()], names=2)


TABLES: dict[str, Callable[[], str]] = {
    "codecs": codecs,
    "by-round": by_round,
    "prefix": prefix,
    "accuracy": accuracy,
    "auto-against-best": auto_against_best,
    "wire": wire,
    "causes": causes,
    "envelope": envelope,
    "choices": choices,
    "digests": digests,
}


def main() -> int:
    """Rewrite the page; say which tables wait for results."""
    text = PAGE.read_text()
    missing = sorted(set(TABLES) - {block[2] for block in BLOCK.finditer(text)})
    if missing:
        print(f"{PAGE.name} has no block for {', '.join(missing)}", file=sys.stderr)
        return 1
    new = filled(text)
    PAGE.write_text(new)
    waiting = [block[2] for block in BLOCK.finditer(new) if "*Not measured yet:" in block[0]]
    print(f"{PAGE.name}: {'rewritten' if new != text else 'as it was'}; "
          f"{'not measured yet: ' + ', '.join(waiting) if waiting else 'every table has its figures'}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
