"""What the agent takes of a device: memory when idle, disk, time to import, and the bytes of a quiet day.

    python -m benchmarks.device_footprint --json benchmarks/results/device_footprint.json        (one minute)

A real agent on a real Mosquitto over TLS that has taken part in a job and waits for the next one. Its byte account,
which the interface's own counters confirm (``tests/system/test_footprint.py``), over seconds in which it pings or polls
as often as otherwise in hours: the packets are the same, so bytes a day are their cost times how many the default
settings make of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gossamer.agent.config import defaults
from gossamer.agent.store import read_ledger
from tests.brokers import Listening, mosquitto
from tests.lab import small_fleet

ROOT = Path(__file__).resolve().parents[1]
DAY_SECONDS = 86_400
PUBACK_BYTES = 4
PING_BYTES = 2
#: An agent in the quiet period looks at its timers every second; the broker hangs up after 1.5 keepalives.
OFTEN_SECONDS = 3
RARELY_SECONDS = 50_000
QUIET_LOOKS = 12
"""Looks at an account, a tenth of a second apart, that must agree."""
IMPORTS = 9
DEVICE = "pump-17"


@dataclass(frozen=True)
class Idle:
    """An agent after its job, connected. ``numpy_mapped``: whether numpy is in its address space."""

    rss_kib: int
    pss_kib: int
    threads: int
    numpy_mapped: bool


@dataclass(frozen=True)
class QuietDay:
    """IP bytes, both ways together, of a ping and of a poll, and how often the default settings have them in a day."""

    ping_bytes: float
    poll_bytes: float
    pings: float
    polls: float

    @property
    def total_bytes(self) -> float:
        """Of a day in which nothing happens."""
        return self.pings * self.ping_bytes + self.polls * self.poll_bytes


@contextmanager
def waiting_agent(
    directory: Path, broker: Listening, *, keepalive_seconds: int, poll_seconds: int
) -> Iterator[tuple[small_fleet.SmallFleet, int]]:
    """A device that has run a job of two rounds to its end: the fleet and the agent's pid."""
    agent = {"manifest_poll_seconds": poll_seconds}
    fleet = small_fleet.make(directory, broker, names=(DEVICE,), agent=agent)
    config = fleet.files.device(DEVICE)
    config.write_text(config.read_text().replace("[broker]\n", f"[broker]\nkeepalive_seconds = {keepalive_seconds}\n"))
    try:
        fleet.serve()
        process = fleet.agent(DEVICE)
        fleet.wait(fleet.finished)
        yield fleet, process.pid
    finally:
        fleet.stop()


def idle(pid: int) -> Idle:
    """Look at a running agent."""
    status = Path(f"/proc/{pid}/status").read_text()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()

    def number(text: str, name: str) -> int:
        return int(text.split(f"\n{name}:")[1].split()[0])

    mapped = "numpy" in Path(f"/proc/{pid}/maps").read_text()
    return Idle(number(status, "VmRSS"), number(rollup, "Pss"), number(status, "Threads"), mapped)


def cost(fleet: small_fleet.SmallFleet, cause: str, unit: int, wanted: int) -> float:
    """IP bytes of one exchange that ``unit`` bytes of ``cause`` upwards stand for, over ``wanted`` of them."""

    def account() -> tuple[int, int]:
        (month,) = read_ledger(fleet.directory / f"agent-{DEVICE}").months.values()
        return month["up"].get(cause, 0) // unit, sum(month["up"].values()) + sum(month["down"].values())

    def next_one(after: int) -> tuple[int, int]:
        end = time.monotonic() + 60.0
        found, still = account(), 0
        while found[0] < after or still < QUIET_LOOKS:  # written each second: the answer has been counted as well
            assert time.monotonic() < end, "the agent's account does not move, or never rests"
            time.sleep(0.1)
            before, found = found, account()
            still = still + 1 if found == before else 0
        return found

    first, before = next_one(account()[0] + 2)  # what the job left over has passed
    last, behind = next_one(first + wanted)
    return (behind - before) / (last - first)


def quiet_day(directory: Path, *, wanted: int = 4) -> QuietDay:
    """Measure a ping and a poll over TLS."""
    own = defaults()
    with mosquitto(directory / "broker", tls=True) as broker:
        often, rarely = OFTEN_SECONDS, RARELY_SECONDS
        with waiting_agent(directory / "pings", broker, keepalive_seconds=often, poll_seconds=rarely) as (fleet, _):
            ping = cost(fleet, "ping", PING_BYTES, wanted)
        with waiting_agent(directory / "polls", broker, keepalive_seconds=rarely, poll_seconds=often) as (fleet, _):
            poll = cost(fleet, "puback", PUBACK_BYTES, wanted)
    return QuietDay(
        ping, poll, DAY_SECONDS / own["broker"]["keepalive_seconds"], DAY_SECONDS / own["manifest_poll_seconds"]
    )


def memory(directory: Path) -> Idle:
    """Measure an agent with default timing, over TLS, after two rounds with a numpy trainer."""
    timing = {"keepalive_seconds": RARELY_SECONDS, "poll_seconds": RARELY_SECONDS}
    with mosquitto(directory / "broker", tls=True) as broker, waiting_agent(directory, broker, **timing) as (_, pid):
        time.sleep(3.0)
        return idle(pid)


def install(directory: Path) -> dict[str, Any]:
    """Install the agent into a new environment without a pip of its own: bytes on disk, seconds to import it there."""
    environment = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "-q", "--no-cache-dir", str(ROOT)], check=True, cwd=directory)
    size = subprocess.run(["du", "-sb", str(environment)], capture_output=True, text=True, check=True).stdout
    code = "import time; t = time.perf_counter(); import gossamer.agent; print(time.perf_counter() - t)"
    run = [python, "-c", code]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = [subprocess.run(run, capture_output=True, check=True, cwd=directory, env=own) for _ in range(IMPORTS)]
    seconds = [float(each.stdout) for each in ended]
    listed = subprocess.run([*pip, "list", "--format=freeze"], capture_output=True, text=True, check=True)
    return {
        "environment_bytes": int(size.split()[0]),
        "packages": listed.stdout.split(),
        "import_seconds_median": statistics.median(seconds),
        "import_seconds_most": max(seconds),
    }


def main() -> None:
    """Measure everything; print and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gossamer-footprint-") as name:
        directory = Path(name)
        day = quiet_day(directory / "day")
        found = {
            "idle": asdict(memory(directory / "memory")),
            "quiet_day": {**asdict(day), "total_bytes": round(day.total_bytes)},
            "install": install(directory),
        }
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.json is not None:
        chosen.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
