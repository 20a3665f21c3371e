"""The same code over a link of 40 kbit/s, 700 ms round trip and 2 % loss, between two network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.lab.namespaces import REPOSITORY, as_root_of_namespace

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

WINDOW = 4
LEDGER_TOLERANCE = 0.02


def lab(*options: str) -> dict[str, Any]:
    """Run an experiment of tests/lab/slow_link.py."""
    command = as_root_of_namespace([sys.executable, "-m", "tests.lab.slow_link", *options])
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("broker", [(), ("--embedded",)], ids=["mosquitto", "embedded"])
def test_a_round_over_tls(broker: tuple[str, ...]):
    found = lab("--tls", *broker)
    assert found["counters"]["rounds_counted"] == 1
    assert found["counters"]["up_body_bytes"] == found["counters"]["body_bytes_up"], "nothing was sent twice"


def test_the_ledger_agrees_with_the_interface():
    found = lab("--loss", "0", "--codec", "fp32", "--codec-down", "fp32", "--rounds", "2", "--tls")
    difference = abs(found["interface_bytes"] - found["ledger_bytes"]) / found["interface_bytes"]
    assert difference <= LEDGER_TOLERANCE, found
    # Of 5,000 bytes a second headers take their part; a round trip is 700 ms, and more beside other traffic.
    assert 2_500 <= found["measured"]["link_rate"] <= 5_000, found
    assert 700 <= found["measured"]["link_rtt"] <= 4_000, found


@pytest.mark.parametrize("stall_seconds", [120, 10], ids=["TCP-survives", "reconnects"])
def test_thirty_seconds_without_a_link_in_mid_upload(stall_seconds: int):
    options = ("--codec", "fp32", "--chunk-bytes", "1000", "--cut", "30", "--stall", str(stall_seconds), "--tls")
    found = lab(*options)
    body, sent = found["counters"]["body_bytes_up"], found["counters"]["up_body_bytes"]
    assert found["counters"]["rounds_counted"] == 1
    assert 0 < found["chunks_at_cut"] < body / found["chunk_bytes"], "the cut was not in mid-upload"
    assert sent - body <= WINDOW * found["chunk_bytes"], "more than the chunks in flight were sent again"
