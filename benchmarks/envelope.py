"""IP bytes of a device's round by cause, over a link of 40 kbit/s, 700 ms and 2 % loss between two namespaces.

    python -m benchmarks.envelope --json out.json        (as root, for the network namespaces)

Counted on the device's interface, and by the agent's own ledger beside it. One device, Mosquitto, one connection that
stays open; the first record of each pair holds the connection too. Several codecs give several sizes of body, for the
bytes that a body of many chunks costs beyond its own. Records: ``tls, rounds, codec, interface_bytes,
ledger_bytes, difference_percent`` and bytes by cause.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from gossamer.cli.output import emit
from gossamer.demo.bytes_by_cause import by_cause
from tests.lab.namespaces import REPOSITORY, as_root_of_namespace


def measure(*, tls: bool, rounds: int, codec: str, loss: float) -> dict[str, Any]:
    """Run one experiment."""
    options = ["--codec", codec, "--rounds", str(rounds), "--loss", str(loss), *(["--tls"] if tls else [])]
    command = as_root_of_namespace([sys.executable, "-m", "tests.lab.slow_link", *options])
    found = json.loads(subprocess.check_output(command, text=True, cwd=REPOSITORY))
    ledger = {f"{way}/{cause}": n for way, causes in found["ledger"].items() for cause, n in causes.items()}
    ledger |= {f"count/{name}": n for name, n in found["counters"].items()}
    counted, own = found["interface_bytes"], found["ledger_bytes"]
    return {
        "tls": tls,
        "rounds": rounds,
        "codec": codec,
        "loss_percent": loss,
        "seconds": found["seconds"],
        "interface_bytes": counted,
        "ledger_bytes": own,
        "difference_percent": round(100 * (own - counted) / counted, 2),
        **by_cause([ledger]),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", default="ternary:0.08", help="one, or several with commas between")
    parser.add_argument("--loss", type=float, default=2.0, help="per cent")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    records = [
        measure(tls=tls, rounds=rounds, codec=codec, loss=options.loss)
        for codec in options.codec.split(",")
        for tls in (False, True)
        for rounds in (1, 6)
    ]
    emit(records, as_json=False, title="IP bytes of one device")
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
