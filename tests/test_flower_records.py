"""The pure parts of benchmarks/flower_wire.py: counters, extrapolation, records. The rest runs a real Flower."""

from __future__ import annotations

import json

import pytest

from benchmarks.flower_records import Entry, FlowerCost, records, until_reached
from benchmarks.flower_run import FlowerRound
from benchmarks.flower_wire import parse_options
from benchmarks.hosts import MAX_DEVICES, Traffic, hosts, parse_counters

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    5000      10    0    0    0     0          0         0     5000      10    0    0    0     0       0          0
    d0:    1140      10    0    0    0     0          0         0      570       5    0    0    0     0       0          0
   d12:14000000   10000    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  dummy0:   100       1    0    0    0     0          0         0        0       0    0    0    0     0       0          0
"""  # noqa: E501 - as the kernel writes it


def rounds(*counters: tuple[float, float]) -> list[FlowerRound]:
    return [FlowerRound(at, 0.5, up, down, 0.0) for at, (up, down) in enumerate(counters)]


def test_counters_are_read_from_the_servers_side_without_ethernet_headers():
    assert parse_counters(NET) == {0: Traffic(1000, 500), 12: Traffic(13_860_000, 0)}


def test_a_cost_keeps_the_first_round_apart():
    cost = FlowerCost.of(rounds((6_000, 2_000), (466_000, 440_000), (926_000, 877_000), (1_384_000, 1_316_000)))
    assert (cost.first_up, cost.first_down) == (466_000, 440_000)
    assert (cost.round_up, cost.round_down) == (459_000, 438_000)


def test_extrapolated_to_what_was_measured_it_is_what_was_measured():
    measured = rounds((6_000, 2_000), (466_000, 440_000), (926_000, 877_000), (1_384_000, 1_316_000))
    cost = FlowerCost.of(measured)
    assert cost.after(1) == Traffic(466_000, 440_000)
    assert cost.after(3) == Traffic(1_384_000, 1_316_000)
    assert cost.after(100) == Traffic(466_000 + 99 * 459_000, 440_000 + 99 * 438_000)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_cost_needs_two_rounds(count: int):
    with pytest.raises(ValueError, match="2 rounds or more"):
        FlowerCost.of(rounds(*[(1.0, 1.0)] * count))


def test_no_rounds_have_no_cost():
    with pytest.raises(ValueError, match="at least 1"):
        FlowerCost(1, 1, 1, 1, 2).after(0)


def test_a_run_counts_until_the_target_is_met():
    assert until_reached([0.1, 0.6, 0.4, 0.9], lambda so_far: so_far[-1] >= 0.5) == [0.1, 0.6]
    assert until_reached([0.1, 0.2], lambda so_far: so_far[-1] >= 0.5) == [0.1, 0.2]
    assert until_reached([], lambda _: True) == []


def test_records_are_flat_and_relative_to_the_first():
    payload = Traffic(9_000, 12_000)
    ours = Entry(
        "Gossamer", "x", 40, True, 0.94444, Traffic(40_000, 50_000), "measured", payload, 89_000, {"TLS": 3_000}
    )
    theirs = Entry("Flower", "vanilla", 80, True, 0.9441, Traffic(36_000_000, 36_000_000), "computed")
    made = records([ours, theirs], federation="mnist20", seed=3, devices=20, target=0.944)
    assert [row["ratio"] for row in made] == [1.0, 800.0]
    assert [row["ip_bytes"] for row in made] == [90_000, 72_000_000]
    assert made[0]["payload_down"] == 12_000
    assert made[1]["ledger_bytes"] is None
    assert [row["ledger_TLS"] for row in made] == [3_000, None]
    assert made[0].keys() == made[1].keys()
    assert json.loads(json.dumps(made)) == made
    assert not any(isinstance(value, dict | list) for row in made for value in row.values())


def test_one_measured_round_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse_options(["--flower-rounds", "1"])
    assert "at least 2" in capsys.readouterr().err


@pytest.mark.parametrize("devices", [0, MAX_DEVICES + 1])
def test_too_many_devices_make_no_namespace(devices: int):
    with pytest.raises(ValueError, match=f"1 to {MAX_DEVICES}"), hosts(devices):
        pass
