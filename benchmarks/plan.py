"""The planner's bytes beside the interface's: one participation of a real agent on an emulated link.

    python -m benchmarks.plan --json benchmarks/results/plan.json        (as root, for the network namespaces; 90 s)

Three models, plain and over TLS, and an idle connection: the same as ``tests/system/test_byte_model.py``. The planner
knows the layout, the codec and the names; not the bodies, nor how many packets there were. Records: ``case, layout,
codec, transport, measured, planned, difference_percent`` and the planned bytes by cause.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gossamer.cli.output import emit
from gossamer.firmware_profiles.body_sizes import encoded, shape_of
from gossamer.firmware_profiles.byte_model import Model
from gossamer.firmware_profiles.exchanges import JobSize, Names
from gossamer.firmware_profiles.model_files import layout_of
from gossamer.firmware_profiles.packets import Tally, Transport
from gossamer.firmware_profiles.updates import UpdateMaker
from tests.lab.namespaces import REPOSITORY, as_root_of_namespace

SHOWN = ("case", "layout", "codec", "transport", "measured", "planned", "difference_percent")


def measured() -> list[dict[str, Any]]:
    """Run the experiment of :mod:`tests.lab.participations`."""
    command = as_root_of_namespace([sys.executable, "-m", "tests.lab.participations"])
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if done.returncode:
        raise RuntimeError(f"the experiment failed:\n{done.stderr[-3000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def model_of(record: Mapping[str, Any]) -> Model:
    """What the planner makes of an experiment's layout and codec."""
    layout = layout_of(record["layout"])
    sizes = encoded(UpdateMaker(layout, seed=0), record["codec"], record["codec"], 1, shape_of(layout)).sizes
    transport = Transport(
        tls=record["tls"], certificate_bytes=record["certificate_bytes"], mtu_bytes=record["mtu_bytes"]
    )
    job = JobSize(record["codec"], local_epochs=1, batch_size=16, devices=2, cohorts=2, round=1)
    return Model(transport, Names("lab", "behind-1"), job, sizes)


def participation(record: Mapping[str, Any]) -> Tally:
    """The planned participation; the device is its cohort's only one."""
    return model_of(record).participation(connects=True, alone=True)


def idle(record: Mapping[str, Any]) -> tuple[int, int, int]:
    """The planned bytes of the idle time, from the pings and polls that it really had; and those two numbers."""
    manifest = record["counters"]["down_manifest_bytes"]
    pings = record["ledger"].get("up/ping", 0) // 2
    model = model_of(record)
    one = Tally(model.transport)
    talk = model.conversation(one)
    polls = round(manifest / (participation(record).by_cause["manifest"] / 2)) - 2
    for _ in range(pings):
        talk.ping()
    for _ in range(polls):
        talk.poll()
    return one.total, pings, polls


def compared(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each participation, and one for the idle time."""
    rows = []
    for record in records:
        tally = participation(record)
        rows.append(_row(record, record["case"], record["interface_bytes"], tally.total, tally.by_cause))
        if record["idle_bytes"]:
            planned, pings, polls = idle(record)
            name = f"idle: {pings} pings, {polls} polls"
            rows.append(_row(record, name, record["idle_bytes"], planned, dict.fromkeys(tally.by_cause, 0)))
    return rows


def _row(
    record: Mapping[str, Any], case: str, measured_bytes: int, planned: int, causes: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "case": case, "layout": record["layout"], "codec": record["codec"],
        "transport": "TLS" if record["tls"] else "plain",
        "measured": measured_bytes, "planned": planned,
        "difference_percent": round(100 * (planned - measured_bytes) / measured_bytes, 2), **causes,
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    rows = compared(measured())
    emit([{key: row[key] for key in SHOWN} for row in rows], as_json=False, title="IP bytes of one participation")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
