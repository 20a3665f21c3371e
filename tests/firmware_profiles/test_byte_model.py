"""The packets of the byte model: pinned to captures of an agent and Mosquitto, and what must hold of their sums.

The whole is held against a real interface by ``tests/system/test_byte_model.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer.firmware_profiles import packets as mqtt
from gossamer.firmware_profiles.byte_model import MONTH_SECONDS, Habits, Model, Sizes
from gossamer.firmware_profiles.exchanges import JobSize, Names
from gossamer.firmware_profiles.packets import Tally, Transport

NAMES = Names("lab", "behind-1")
JOB = JobSize("rot1", local_epochs=1, batch_size=16, devices=2, cohorts=2, round=1)
SIZES = Sizes(update=37, delta=38, snapshot=660)
PLAIN = Transport(tls=False, mtu_bytes=1500)
TLS = Transport(tls=True, certificate_bytes=421, mtu_bytes=1500)


def model(transport: Transport = TLS, sizes: Sizes = SIZES, **more: object) -> Model:
    return Model(transport, NAMES, JOB, sizes, **more)  # type: ignore[arg-type]


def test_packets_as_they_were_captured():
    assert mqtt.connect("behind-1", NAMES.topic("s"), 3, 0).size == 49  # captured with a boot counter of a byte less
    assert [each.size for each in mqtt.subscribe([NAMES.topic(kind) for kind in "mha"])] == [49, 7]
    assert [each.size for each in mqtt.subscribe([NAMES.topic("c")])] == [15, 5]
    assert [each.size for each in mqtt.unsubscribe([NAMES.topic("c")])] == [14, 4]
    assert mqtt.publish(NAMES.topic("u"), {"status": 11}).size == 37  # GET
    assert mqtt.publish(NAMES.topic("a"), {"status": 12}).size == 38  # STATUS


@pytest.mark.parametrize(("transport", "captured"), [(PLAIN, 2801), (TLS, 5611)], ids=["plain", "TLS"])
def test_a_small_participation_as_it_was_captured(transport: Transport, captured: int):
    planned = model(transport).participation(connects=True, alone=True).total
    assert abs(planned - captured) <= 0.01 * captured


@pytest.mark.parametrize(("transport", "ping", "poll"), [(PLAIN, 212, 646), (TLS, 256, 734)], ids=["plain", "TLS"])
def test_pings_and_polls(transport: Transport, ping: int, poll: int):
    tally = Tally(transport)
    talk = model(transport).conversation(tally)
    talk.ping()
    assert tally.total == ping
    talk.poll()
    assert tally.total == ping + poll


def test_causes_are_all_of_it_and_none_is_negative():
    for transport in (PLAIN, TLS):
        for size in (1, 3_999, 4_001, 400_000):
            for connects in (True, False):
                tally = model(transport, Sizes(size, size, size)).participation(connects=connects)
                assert sum(tally.by_cause.values()) == tally.total == tally.bytes_up + tally.bytes_down
                assert min(*tally.up.values(), *tally.down.values()) >= 0
                assert tally.by_cause["update"] == tally.by_cause["model"] == size
                assert (tally.by_cause["tls"] > 0) == transport.tls
                assert (tally.by_cause["connect"] > 0) == connects


def test_more_bytes_cost_more_and_every_layer_costs_something():
    sizes = [Sizes(n, n, n) for n in (10, 500, 3_000, 5_000, 50_000)]
    totals = [model(sizes=each).participation(connects=False).total for each in sizes]
    assert totals == sorted(totals)
    whole = model(sizes=sizes[-1])
    base = whole.participation(connects=False).total
    for cheaper in (replace(TLS, tls=False), replace(TLS, timestamps=False)):
        assert replace(whole, transport=cheaper).participation(connects=False).total < base
    for dearer in (replace(TLS, mtu_bytes=600), replace(TLS, ip_version=6), replace(TLS, loss_per_million=20_000)):
        assert replace(whole, transport=dearer).participation(connects=False).total > base
    certificate = replace(TLS, certificate_bytes=2_421)
    assert replace(whole, transport=certificate).participation(connects=False).total == base
    assert replace(whole, transport=certificate).participation(connects=True).total >= (
        whole.participation(connects=True).total + 2_000
    )


def test_loss_is_sent_again():
    lossy = model(replace(PLAIN, loss_per_million=200_000)).participation(connects=False)
    clean = model(PLAIN).participation(connects=False)
    assert lossy.by_cause["retransmitted"] == pytest.approx(clean.total * 0.25, rel=0.01)


def test_cohorts_mean_more_manifests():
    one = replace(model(), job=replace(JOB, cohorts=1)).participation(connects=False)
    ten = replace(model(), job=replace(JOB, cohorts=10)).participation(connects=False)
    assert ten.by_cause["manifest"] == pytest.approx(10 * one.by_cause["manifest"], rel=0.05)


def test_an_idle_month_is_its_pings_polls_and_reconnects():
    habits = Habits(keepalive_seconds=1000, poll_seconds=3_600, reconnects_a_day=0)
    month = model(habits=habits).idle_month()
    tally = Tally(TLS)
    talk = model().conversation(tally)
    talk.poll()
    for _ in range(3):
        talk.ping()
    assert month.total == tally.total * (MONTH_SECONDS // 3_600)
    assert model(habits=replace(habits, reconnects_a_day=1)).idle_month().total > month.total
    assert model(habits=replace(habits, stays=False)).idle_month().total == 0


def test_a_device_with_a_budget_says_in_birth_what_it_has_spent():
    told = replace(model(), names=replace(NAMES, budget_bytes=2_000_000, profile="pi-4"))
    more = told.participation(connects=True).total - model().participation(connects=True).total
    assert more == 1 + 2 + 5 + 5 + 5  # an array of month, spent, budget and profile


def test_a_resumed_connection_is_shorter():
    full, resumed = Tally(TLS), Tally(TLS)
    model().conversation(full).connect()
    model().conversation(resumed).connect(resumed=True)
    assert 700 < full.total - resumed.total < 1_100  # certificate, signature, a second ticket
