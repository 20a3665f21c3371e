"""What the agent takes of a device, where bytes and counts decide; ``benchmarks/device_footprint.py`` has the rest."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.device_footprint import memory, quiet_day
from tests.lab.namespaces import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(200)]

MAX_IDLE_KIB = 45 * 1024
MAX_DAY_BYTES = 13_000
MAX_ENVIRONMENT_BYTES = 110_000_000


def test_a_quiet_day_over_tls(tmp_path: Path) -> None:
    day = quiet_day(tmp_path)
    print(f"{day.pings:.1f} pings x {day.ping_bytes:.0f} + {day.polls:.1f} polls x {day.poll_bytes:.0f} bytes")
    assert 150 <= day.ping_bytes <= 260
    assert day.poll_bytes > day.ping_bytes
    assert day.total_bytes <= MAX_DAY_BYTES


def test_a_ping_is_what_the_interface_counts() -> None:
    command = ["unshare", "-r", "-n", sys.executable, "-m", "tests.lab.pings"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    found = re.findall(r"(plain|tls) (\d+) pings: counted (\d+), interface (\d+)", done.stdout)
    assert len(found) == 2, done.stderr
    for _, pings, counted, interface in found:
        assert int(pings) >= 4
        assert counted == interface


def test_an_idle_agent_is_small_and_has_no_numpy(tmp_path: Path) -> None:
    found = memory(tmp_path)
    print(found)
    assert found.rss_kib <= MAX_IDLE_KIB
    assert found.threads == 1
    assert not found.numpy_mapped


def test_what_the_agent_needs_is_small() -> None:
    """The files of everything that the agent's own requirements name, and theirs."""
    sizes: dict[str, int] = {}
    open_ends = ["gossamer"]
    while open_ends:
        name = open_ends.pop()
        if name in sizes:
            continue
        package = importlib.metadata.distribution(name)
        sizes[name] = sum(path.stat().st_size for f in package.files or () if (path := Path(f.locate())).is_file())
        wanted = [each for each in package.requires or () if "extra ==" not in each and "python_version <" not in each]
        open_ends += [re.split(r"[^A-Za-z0-9_-]", each)[0] for each in wanted if "python_full_version" not in each]
    sizes["gossamer"] = sum(path.stat().st_size for path in (REPOSITORY / "gossamer").rglob("*") if path.is_file())
    print(sizes)
    assert {"numpy", "paho-mqtt", "cbor2", "cryptography"} < set(sizes)
    assert sum(sizes.values()) <= MAX_ENVIRONMENT_BYTES
