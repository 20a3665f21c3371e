"""Allowances and settings."""

import pytest

from gossamer.broker_bridge.limits import Allowances, Spending
from gossamer.broker_bridge.settings import BridgeSettings, buckets_of
from gossamer.errors import ConfigError
from tests.broker_bridge.desk import TOPICS


def test_a_burst_and_then_a_rate() -> None:
    allowances = Allowances(2.0, 3.0)
    assert [allowances.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert allowances.take("b", 0.0)
    assert [allowances.take("a", 0.5) for _ in range(2)] == [True, False]
    assert [allowances.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_a_large_cost_is_granted_once_and_waited_off() -> None:
    allowances = Allowances(1.0, 3.0)
    assert allowances.take("a", 0.0, cost=10.0)
    assert not allowances.take("a", 7.9)
    assert allowances.take("a", 8.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    allowances = Allowances(1.0, 1.0)
    assert allowances.take("a", 100.0)
    assert not allowances.take("a", 0.0)


def test_what_a_failed_transaction_took_is_given_back() -> None:
    allowances = Allowances(1.0, 3.0, remembered=2)
    for _ in range(5):
        spending = Spending(0.0)
        assert [spending.take(allowances, "a", cost) for cost in (1.0, 10.0, 1.0)] == [True, True, False]
        spending.give_back()
        spending.give_back()  # once is enough
    spending = Spending(0.0)
    assert all(spending.take(allowances, name) for name in "abc")
    spending.give_back()  # of "a", too, which is forgotten already
    assert [allowances.take("b", 0.0) for _ in range(4)] == [True, True, True, False]


def test_memory_is_bounded() -> None:
    allowances = Allowances(1.0, 1.0, remembered=10)
    for n in range(1000):
        allowances.take(str(n), 0.0)
    assert len(allowances._left) == 10


@pytest.mark.parametrize(("text", "count"), [("00-ff", 256), ("00-7f,c0", 129), ("0a", 1), ("00-0f, 08-17", 24)])
def test_buckets(text: str, count: int) -> None:
    found = buckets_of(text)
    assert len(found) == count
    assert found == sorted(set(found))


@pytest.mark.parametrize("text", ["", "0", "00-", "ff-00", "100", "xx", "00-ff-11", "FF"])
def test_buckets_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"bridge\.buckets"):
        buckets_of(text)


def test_all_buckets_are_one_subscription_and_some_are_some() -> None:
    assert BridgeSettings(TOPICS).subscriptions() == ["g1/t/u/+/+", "g1/t/s/+/+"]
    some = BridgeSettings(TOPICS, buckets="00,7f").subscriptions()
    assert some == ["g1/t/u/00/+", "g1/t/u/7f/+", "g1/t/s/00/+", "g1/t/s/7f/+"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("chunk_bytes", 0),
        ("window", 0),
        ("coalesce_seconds", -1.0),
        ("partial_bytes", 0),
        ("messages_per_second", 0.0),
        ("message_burst", 0),
        ("poll_seconds", 0.0),
    ],
)
def test_settings_are_checked_by_name(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"bridge\.{key}"):
        BridgeSettings(TOPICS, **{key: value}).check()  # type: ignore[arg-type]
