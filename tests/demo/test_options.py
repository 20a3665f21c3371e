"""What may be asked of a demo run, and in which words it is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gossamer.demo.options import MAX_DEVICES, DemoOptions, device_name
from gossamer.errors import ConfigError

OPTIONS = DemoOptions(
    data="watch", seed=0, devices=10, cohorts=2, rounds=5, codec="fp32", codec_down="fp32", rule="mean", attackers=0,
    attack="none",
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{}, {"devices": 2}, {"devices": MAX_DEVICES}, {"cohorts": 10}, {"cohorts": 1}, {"rounds": 1}, {"attackers": 9},
     {"broker": "mqtt://h"}],
    ids=str,
)  # fmt: skip
def test_what_may_be_asked(changes: dict[str, object]) -> None:
    replace(OPTIONS, **changes).check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": 1}, "--devices 1: expected 2 to 100"),
        ({"devices": MAX_DEVICES + 1}, "--devices 101: expected 2 to 100"),
        ({"cohorts": 0}, "--cohorts 0: expected 1 to the number of devices"),
        ({"cohorts": 11}, "--cohorts 11: expected 1 to the number of devices"),
        ({"rounds": 0}, "--rounds 0: expected 1 or more"),
        ({"attackers": -1}, "--attackers -1: expected fewer than devices"),
        ({"attackers": 10}, "--attackers 10: expected fewer than devices"),
        ({"seed": -1}, "--seed -1: expected 0 or more"),
        ({"broker": "localhost"}, "expected mqtt://HOST:PORT, mqtts://HOST:PORT or embedded"),
        ({"broker": "http://h:1"}, "--broker 'http://h:1': expected mqtt://"),
        ({"broker": "mqtt://:1883"}, "expected mqtt://"),
        ({"broker": "mqtt://h/topic"}, "expected mqtt://"),
    ],
)
def test_what_may_not(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        replace(OPTIONS, **changes).check()
    assert words in str(refused.value)


@pytest.mark.parametrize("broker", ["mqtt://h:x", "mqtt://h:99999", "mqtt://[::1"])
def test_a_port_that_is_none(broker: str) -> None:
    with pytest.raises(ConfigError, match="expected mqtt://HOST:PORT"):
        replace(OPTIONS, broker=broker).check()


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("embedded", ("127.0.0.1", 4711, False)), ("mqtt://h", ("h", 1883, False)), ("mqtts://h/", ("h", 8883, True)),
        ("mqtt://h:7", ("h", 7, False)), ("mqtts://[::1]:9", ("::1", 9, True)),
    ],
)  # fmt: skip
def test_where_the_broker_is(broker: str, address: tuple[str, int, bool]) -> None:
    assert replace(OPTIONS, broker=broker).broker_address(4711) == address


def test_the_last_devices_lie() -> None:
    options = replace(OPTIONS, attackers=3)
    assert (options.attacker_indexes, options.honest) == ((7, 8, 9), 7)
    assert OPTIONS.attacker_indexes == ()
    assert [device_name(index) for index in (0, 42)] == ["device-00", "device-42"]


def test_options_survive_their_file() -> None:
    assert DemoOptions(**json.loads(json.dumps(OPTIONS.to_mapping()))) == OPTIONS
