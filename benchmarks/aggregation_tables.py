"""Fills the tables of docs/aggregation.md from the benchmarks' results and from the code, as `doc_tables` does.

    python -m benchmarks.aggregation_tables
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean

from benchmarks.byzantine import ATTACKS, PUBLISHED
from benchmarks.doc_tables import BLOCK, COMMANDS, ROOT, filled, markdown, records
from gossamer.aggregator.rules import rule
from gossamer.methods import METHODS, method

PAGE = ROOT / "docs" / "aggregation.md"
COMMANDS.update(
    {
        "rules": "python -m benchmarks.rules --json benchmarks/results/rules.json",
        "rules_memory": "python -m benchmarks.rules_memory --json benchmarks/results/rules_memory.json",
        "byzantine": "python benchmarks/byzantine.py --json benchmarks/results/byzantine.json "
        "--plot benchmarks/results/byzantine.png",
    }
)
EXAMPLES = {
    "fedavg": "fedavg",
    "fedprox": "fedprox:0.1",
    "feddyn": "feddyn:1.0",
    "fednova": "fednova",
    "scallion": "scallion:0.5/0.1",
    "scafcom": "scafcom:0.5/0.1",
    "locodl": "locodl:0.5/1.0/0.1/1.0",
    "scafflix": "scafflix:0.7/0.5/1.0",
    "bicolor": "bicolor:1.0/0.5/0.02/0.02",
    "normec": "normec:0.1/0.1/0.5",
    "marina": "marina:2.0/0.5",
}
"""A spec of every method, for what its class says of itself."""


def speed(n: int) -> str:
    """CPU seconds of each rule and of the reference library, for n updates of a million coordinates."""
    rows = [row for row in records("rules") if row["n"] == n]
    out = []
    for row in rows:
        apart = row["max_relative_difference"]
        out.append(
            [
                f"`{row['rule']}`",
                *_beside(row.get("first_seconds"), row.get("reference_first_seconds")),
                *_beside(row["seconds"], row["reference_seconds"]),
                None if row["extra_mb"] is None else f"{row['extra_mb']:.0f}",
                None if apart is None else f"{apart:.0e}",
            ]
        )
    sides = ["first", "ByzFL, first", "faster", "later", "ByzFL, later", "faster"]
    return markdown(["rule", *sides, "extra MB", "largest difference"], out)


def _beside(ours: float | None, theirs: float | None) -> list[str | None]:
    """Our seconds, theirs, and how often ours go into theirs."""
    if ours is None:
        return [None, None, None]
    return [f"{ours:.3f}", *((None, None) if theirs is None else (f"{theirs:.2f}", f"{theirs / ours:.1f}x"))]


def memory() -> str:
    """Peak memory of whole rounds read from the inbox."""
    rows = [
        [f"`{row['rule']}`", f"{row['updates']:,}", f"{row['peak_mb']:,.0f}", f"{row['seconds']:,.0f}"]
        for row in records("rules_memory")
    ]
    return markdown(["rule", "updates of 1,000,000 parameters, 1 bit", "peak MB of the process", "CPU s"], rows)


def attacks() -> str:
    """Accuracy of each rule without attack and under the worst of the attacks, by codec; means of seeds."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in records("byzantine"):
        found[row["codec"], row["rule"], row["attack"]].append(row["accuracy"])
    pairs = sorted({(codec, rule_) for codec, rule_, _ in found})
    out = []
    for codec, spec in pairs:
        score = {name: mean(found[codec, spec, name]) for name in ATTACKS if (codec, spec, name) in found}
        if not set(PUBLISHED) | {"none"} <= set(score):
            continue
        six = {name: score[name] for name in PUBLISHED}
        worst = min(six, key=six.__getitem__)
        row = [codec, f"`{spec}`", _share(score["none"]), f"{_share(six[worst])} ({worst})"]
        tried = [name for name in ATTACKS if name != "none" and name in score]  # in order, so that ties have one winner
        lowest = min(tried, key=score.__getitem__) if set(ATTACKS) <= set(score) else None
        out.append([*row, None if lowest is None else f"{_share(score[lowest])} ({lowest})"])
    headings = ["updates", "rule", "no attack", "worst of the six published attacks", "worst of all, adaptive ones too"]
    return markdown(headings, out, names=2)


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def methods() -> str:
    """What each method costs beside one vector up and one down, read from its class."""
    out = []
    for name in METHODS:
        one = method(EXAMPLES[name])
        needs = [
            word
            for holds, word in (
                (one.unbiased, "an unbiased codec"),
                (one.unbiased_down, "an unbiased codec down"),
                (one.lossless_down, "`fp32` down"),
                (one.everybody, "every device in every round"),
                (one.averaged, "rule `mean`"),
                (one.punctual, "nothing late"),
                (one.fixed_fleet, "a fleet that stays as it began"),
            )
            if holds
        ]
        down = f"{1 + len(one.companions)} d"
        out.append([f"`{one.spec}`", down, f"{8 * len(one.own)} d", "yes" if one.steps else "no", ", ".join(needs)])
    headings = ["method", "down", "kept on the device, bytes", "own server step", "needs"]
    return markdown(headings, out, names=5)


def minima() -> str:
    """The fewest updates that each rule works with."""
    specs = ("mean", "median", "trimmed-mean:2", "krum:2", "multi-krum:2", "geometric-median", "centered-clipping",
             "norm-clip", "clipped-differences", "bulyan:2", "sign-majority", "nnm:2+trimmed-mean:2",
             "bucketing:2+trimmed-mean:1")  # fmt: skip
    rows = [[f"`{spec}`", rule(spec).minimum, "yes" if rule(spec).portable else "no"] for spec in specs]
    return markdown(["rule", "fewest updates", "the same bits on every machine"], rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "speed": lambda: speed(100),
    "speed-small": lambda: speed(20),
    "speed-large": lambda: speed(500),
    "memory": memory,
    "attacks": attacks,
    "methods": methods,
    "minima": minima,
}


def main(page: Path = PAGE) -> int:
    """Rewrite the page; say which tables wait for results."""
    text = page.read_text()
    missing = sorted(set(TABLES) - {block[2] for block in BLOCK.finditer(text)})
    if missing:
        print(f"{page.name} has no block for {', '.join(missing)}", file=sys.stderr)
        return 1
    new = filled(text, TABLES)
    page.write_text(new)
    waiting = [block[2] for block in BLOCK.finditer(new) if "*Not measured yet:" in block[0]]
    print(f"{page.name}: {'not measured yet: ' + ', '.join(waiting) if waiting else 'every table has its figures'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
