"""The tables of ``docs/planning.md``: profiles from their files, measured and planned bytes from a result file.

    python -m benchmarks.plan_tables          (writes the page; a test compares it)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gossamer.firmware_profiles import Profiles

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "planning.md"
RESULTS = ROOT / "benchmarks" / "results" / "plan.json"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def devices() -> list[dict[str, Any]]:
    """One row a device profile."""
    return [
        {
            "profile": f"`{each.name}`", "": each.title, "memory MiB": each.memory_mib, "cores": each.cores,
            "MHz": each.clock_mhz, "idle mW": each.idle_milliwatts, "busy mW": each.busy_milliwatts,
            "training MFLOP/s": each.train_megaflops, "step µs": each.step_microseconds,
            "child starts in ms": each.start_milliseconds,
        }
        for each in Profiles(Path("/nonexistent")).devices()
    ]  # fmt: skip


def links() -> list[dict[str, Any]]:
    """One row a link profile."""
    return [
        {
            "profile": f"`{each.name}`", "": each.title, "up bit/s": each.rate_up_bits_per_second,
            "down bit/s": each.rate_down_bits_per_second, "round trip ms": each.round_trip_milliseconds,
            "loss %": each.loss_per_million / 1e4, "MTU": each.mtu_bytes, "sending mW": each.tx_milliwatts,
            "receiving mW": each.rx_milliwatts, "tail mW x ms": f"{each.tail_milliwatts} x {each.tail_milliseconds}",
            "EUR a MB": each.price_micro_eur_per_megabyte / 1e6 if each.metered else "-",
        }
        for each in Profiles(Path("/nonexistent")).links()
    ]  # fmt: skip


def measured() -> list[dict[str, Any]]:
    """One row an experiment."""
    return [
        {
            "": row["case"], "layout": f"`{row['layout']}`", "codec": f"`{row['codec']}`", "over": row["transport"],
            "measured": row["measured"], "planned": row["planned"], "difference %": row["difference_percent"],
        }
        for row in json.loads(RESULTS.read_text())
    ]  # fmt: skip


TABLES = {"devices": devices, "links": links, "measured": measured}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; numbers to the right."""
    head = list(rows[0])
    right = [all(isinstance(row[key], int | float) for row in rows) for key in head]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---:" if each else "---" for each in right) + "|"]
    lines += ["| " + " | ".join(_text(row[key]) for key in head) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)


def filled(page: str) -> str:
    """The page with its tables made anew."""
    return _TABLE.sub(lambda found: found[1] + markdown(TABLES[found[2]]()) + found[3], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
