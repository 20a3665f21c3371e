"""The month's bytes: what is charged survives kills and clocks, and what is too dear is not begun."""

from __future__ import annotations

import doctest
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gossamer.agent import budget, ledger
from gossamer.agent.budget import Cost, Funds, mended
from gossamer.agent.goodput import Goodput
from gossamer.agent.ledger import AHEAD_BYTES, LedgerWriter
from gossamer.agent.purse import CONNECT_BYTES, ENVELOPE_BYTES, Purse
from gossamer.agent.session import State
from gossamer.agent.store import AgentStore, read_ledger
from gossamer.agent.thrift import Thrift
from gossamer.agent.training import fit_fields, own_plan
from gossamer.compression import codec
from gossamer.errors import TrainerFailed
from gossamer.mqtt.account import ByteAccount
from gossamer.wire.codes import Absence, Section
from gossamer.wire.manifest import Fit
from gossamer.wire.messages import Account, Birth, Offer, parse
from gossamer.wire.plans import Plan, Plans

from .device import Device, settings
from .server_side import JOB, SEED, ServerSide
from .test_gates import absences
from .test_session import exchange, play_round

MONTH = "2026-11"


# Arithmetic ------------------------------------------------------------------------------------------------------


def test_what_is_too_dear_says_what_is_spent_and_what_it_takes() -> None:
    funds = Funds(MONTH, 1_790_000, 2_000_000, 10)
    assert (funds.reserve, funds.left, funds.exhausted) == (200_000, 10_000, False)
    assert funds.refusal(10_000) is None
    no = funds.refusal(14_200)
    assert no is not None
    assert (no.reason, no.quiet) == (Absence.BUDGET, False)
    assert no.detail == "1.79 MB of 2.00 MB spent (200.0 kB reserved); this round takes 14.2 kB"
    over = replace(funds, spent=2_000_500).refusal(1)
    assert over is not None
    assert over.detail == "2.00 MB of 2.00 MB spent; this round takes 1 B"
    assert replace(funds, spent=2_000_500).exhausted
    assert Funds(MONTH, 10**12).refusal(10**9) is None, "no limit"


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**7))
def test_the_longest_body_that_fits_fits_and_one_byte_more_does_not(left: int, envelope: int, per_byte: int) -> None:
    cost = Cost(envelope, per_byte)
    body = cost.body_within(left)
    assert (body < 0) == (cost.of(0) > left)
    assert body < 0 or cost.of(body) <= left < cost.of(body + 2)


def test_the_account_is_left_out_where_it_says_nothing() -> None:
    assert Funds(MONTH, 5).account("") is None
    assert Funds(MONTH, 5).account("pi-4") == Account(82, 5, 0, "pi-4")
    assert Funds("1970-01", 5, 9).account("") == Account(0, 5, 9, "")


@pytest.mark.parametrize("module", [budget, ledger])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# Kills and clocks ------------------------------------------------------------------------------------------------

MONTHS = ("1970-01", "2026-10", "2026-11", "2026-12", "2027-01")
UNREAD = 5_000
"""Most that arrives between two looks, in this test."""


def unix(month: str) -> float:
    year, number = month.split("-")
    return float((np.datetime64(f"{year}-{number}-15") - np.datetime64("1970-01-01")) / np.timedelta64(1, "s"))


class Life(RuleBasedStateMachine):
    """A device's account through sends, receipts, kills, boots and clocks, against the truth."""

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="gossamer-budget-"))
        self.directory = self.place / "state"
        self.config = settings(self.place, budget={"monthly_bytes": 10**9})
        self.clock = unix("2026-10")
        self.month = "2026-10"
        self.truth = 0  # bytes since the month began to be shown
        self.unseen = 0  # received, and not looked at yet
        self.lost = 0  # received and never looked at: most that can be missing
        self.over = 0  # most that can be too much
        self.boot()

    def boot(self) -> None:
        self.store = AgentStore(self.directory, "t1", "dev-3")
        self.store._db.connection.execute("PRAGMA synchronous = OFF")
        self.passed = ByteAccount()
        self.ledger = LedgerWriter(lambda: self.clock)
        self.purse = Purse(self.config, self.store, self.ledger, lambda: self.clock)

    def pass_by(self, up: int, down: int) -> None:
        self.passed = self.passed + ByteAccount({"payload": up}, {"payload": down})
        self.truth += up + down

    def look(self) -> Funds:
        self.ledger.seen(self.passed)
        self.unseen = 0
        return self.purse.funds(None)

    @rule(length=st.integers(0, 4_000), overhead=st.integers(0, ENVELOPE_BYTES), killed=st.booleans())
    def send(self, length: int, overhead: int, killed: bool) -> None:
        """Gone, and not looked at yet, when a kill comes."""
        self.look()
        self.purse.sending(bytes(length))
        self.pass_by(length + overhead, 0)
        if killed:
            self.kill()

    @rule(count=st.integers(0, CONNECT_BYTES))
    def connect(self, count: int) -> None:
        self.look()
        self.purse.connecting()
        self.pass_by(count, 0)

    @rule(count=st.integers(1, UNREAD))
    def receive(self, count: int) -> None:
        if self.unseen + count <= UNREAD:
            self.pass_by(0, count)
            self.unseen += count

    @rule()
    def write(self) -> None:
        self.look()
        self.ledger.write(self.store)

    @rule()
    def kill(self) -> None:
        """With what was received and not looked at; nothing that was sent may be missing."""
        self.store.close()
        self.lost += self.unseen
        self.over += AHEAD_BYTES + 4_000 + ENVELOPE_BYTES
        self.unseen = 0
        self.boot()

    @rule()
    def stop(self) -> None:
        self.write()
        self.store.close()
        self.boot()

    @rule(month=st.sampled_from(MONTHS))
    def set_clock(self, month: str) -> None:
        """A month that was not shown before begins anew; everything else changes nothing."""
        self.look()
        self.clock = unix(month)
        if month > self.month:
            self.over = self.ledger.unwritten  # what the old month still had is charged to the new one
            self.month, self.truth, self.lost = month, 0, 0
        self.look()

    @rule()
    def nothing_is_forgotten_and_little_is_invented(self) -> None:
        funds = self.look()
        assert funds.month == self.month
        assert self.truth - self.lost <= funds.spent <= self.truth + self.over
        assert self.store.spent(self.month) <= funds.spent

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.nothing_is_forgotten_and_little_is_invented()
            self.store.close()
            shutil.rmtree(self.place)


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)


def purse(directory: Path, clock: str, **limit: int) -> tuple[AgentStore, LedgerWriter, Purse]:
    store = AgentStore(directory / "state", "t1", "dev-3")
    writer = LedgerWriter(lambda: unix(clock))
    return store, writer, Purse(settings(directory, budget=limit), store, writer, lambda: unix(clock))


def test_a_boot_in_1970_goes_on_with_the_month_it_knows(tmp_path: Path) -> None:
    store, writer, _ = purse(tmp_path, "2026-11", monthly_bytes=10_000)
    writer.seen(ByteAccount({"payload": 7_000}, {"tcp": 500}))
    writer.write(store)
    store.close()
    store, writer, own = purse(tmp_path, "1970-01", monthly_bytes=10_000)
    assert own.funds(None) == Funds("2026-11", 7_500, 10_000, 10)
    writer.seen(ByteAccount({"payload": 100}, {}))
    writer.write(store)
    store.close()
    store, _, own = purse(tmp_path, "2026-12", monthly_bytes=10_000)
    assert own.funds(None) == Funds("2026-12", 0, 10_000, 10)
    store.close()
    store, _, own = purse(tmp_path, "2026-11", monthly_bytes=10_000)
    assert own.funds(None).spent == 0, "the month that was shown stays, its account too"
    store.close()
    assert sum(read_ledger(tmp_path / "state").months["2026-11"]["up"].values()) == 7_100


def test_a_clock_that_once_ran_ahead_does_not_block_the_account_for_good(tmp_path: Path) -> None:
    store, writer, own = purse(tmp_path, "2026-11", monthly_bytes=10_000)
    writer.seen(ByteAccount({"payload": 4_000}, {}))
    writer.write(store)
    store.close()
    store, writer, own = purse(tmp_path, "2099-01", monthly_bytes=10_000)
    assert own.funds(None).spent == 0
    writer.seen(ByteAccount({"payload": 3_000}, {"tcp": 50}))
    writer.write(store)
    store.close()
    store, writer, own = purse(tmp_path, "2026-12", monthly_bytes=10_000)
    own.signed(0)
    own.signed(int(unix("2026-09")))
    own.signed(2**62)
    assert own.funds(None) == Funds("2099-01", 3_050, 10_000, 10), "the clock alone is not believed"
    writer.seen(ByteAccount({"payload": 500}, {}))
    own.signed(int(unix("2026-11")))
    assert own.funds(None) == Funds("2026-12", 3_550, 10_000, 10), "carried along, not refilled"
    store.close()
    store, _, own = purse(tmp_path, "1970-01", monthly_bytes=10_000)
    own.signed(int(unix("2026-11")))
    assert own.funds(None) == Funds("2026-12", 3_550, 10_000, 10)
    store.close()
    store, _, own = purse(tmp_path, "2027-01", monthly_bytes=10_000)
    assert own.funds(None).spent == 0
    store.close()
    assert set(read_ledger(tmp_path / "state").months) == {"2026-11", "2026-12"}


@given(*(st.integers(0, 400) for _ in range(3)))
def test_no_mend_moves_the_account_to_a_month_that_nobody_shows(seen: int, clock: int, signed: int) -> None:
    names = [f"{1990 + n // 12}-{n % 12 + 1:02d}" for n in (seen, clock, signed)]
    month = mended(*names)
    assert month in (None, names[1])
    assert (month is not None) == (abs(clock - signed) <= 1 and seen > max(clock, signed) + 1)


def test_a_kill_leaves_what_was_charged_ahead_under_its_own_name(tmp_path: Path) -> None:
    store, _, own = purse(tmp_path, "2026-11", monthly_bytes=10_000)
    own.sending(bytes(900))
    store.close()
    store, writer, own = purse(tmp_path, "2026-11", monthly_bytes=10_000)
    assert own.funds(None).spent == 2 * AHEAD_BYTES
    writer.write(store)
    store.close()
    assert read_ledger(tmp_path / "state").months == {"2026-11": {"up": {"unaccounted": 2 * AHEAD_BYTES}, "down": {}}}
    store, _, own = purse(tmp_path, "2026-11", monthly_bytes=10_000)
    assert own.funds(None).spent == 2 * AHEAD_BYTES, "once"
    store.close()


def test_without_a_budget_nothing_is_charged_ahead(tmp_path: Path) -> None:
    store, _, own = purse(tmp_path, "2026-11")
    assert not own.is_asked
    own.connecting()
    own.sending(bytes(4_000))
    assert store.settle_ahead("2026-11") == 0
    store.close()


# When the reserve is spent ---------------------------------------------------------------------------------------


def test_one_contact_a_day_and_a_new_month_is_noticed_at_once() -> None:
    thrift = Thrift(86_400.0)
    assert thrift.next_contact(5.0, exhausted=False, idle=True) is None
    assert thrift.next_contact(6.0, exhausted=True, idle=True) is None, "there is no connection to end"
    thrift.connected(10.0)
    assert thrift.next_contact(29.0, exhausted=True, idle=True) is None, "the manifest may be on its way"
    assert thrift.next_contact(40.0, exhausted=True, idle=False) is None, "what has begun goes on"
    assert thrift.next_contact(50.0, exhausted=True, idle=True) == 86_450.0
    assert thrift.next_contact(60.0, exhausted=True, idle=True) is None, "once"
    assert thrift.next_contact(70.0, exhausted=False, idle=True) == 70.0
    assert thrift.next_contact(71.0, exhausted=False, idle=True) is None
    thrift.connected(80.0)
    assert thrift.next_contact(500.0, exhausted=False, idle=True) is None


def test_a_session_that_still_has_to_say_something_is_not_idle(tmp_path: Path) -> None:
    device, server = Device(tmp_path), ServerSide()
    device.connect()
    fund(device, -1)
    assert (device.session.attendance.exhausted, device.session.is_idle) == (True, True)
    device.receive("m", server.manifest())
    assert not device.session.is_idle
    device.take()
    assert device.session.is_idle


# The session -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> ServerSide:
    return ServerSide()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path, profile="pi-zero-2w", link={"envelope_bytes": 1_000, "per_byte_micro": 0})
    device.connect()
    device.take()
    return device


def fund(device: Device, left: int, **changes: Any) -> None:
    funds = Funds(MONTH, 1_000_000 - left, 1_000_000, 0, **changes)
    device.run(device.session.fund(funds, device.now))


def test_a_round_that_is_too_dear_waits_for_the_next_month(device: Device, server: ServerSide) -> None:
    fund(device, 999)
    device.receive("m", server.manifest())
    said = absences(device.take())
    assert [(each.round, each.absence) for each in said] == [(0, Absence.BUDGET)]
    assert said[0].account == Account(82, 999_001, 1_000_000, "pi-zero-2w")
    assert said[0].detail == "999.0 kB of 1.00 MB spent; this round takes 1.0 kB"
    fund(device, 998)
    device.receive("m", server.manifest(deadline=1))
    assert (device.take(), device.session.state, device.trained) == ([], State.RESTING, {})
    fund(device, 1_000_000)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_the_download_is_part_of_the_price(device: Device, server: ServerSide) -> None:
    for _ in range(4):
        server.advance()
    smallest = min(way.size for way in server.ways if way.from_version == 0)
    fund(device, 1_000 + smallest - 1, body_bytes=0)
    play_round(device, server)
    assert (server.gets, server.counted) == ([], {})
    fund(device, 1_000 + smallest + 100, body_bytes=101)
    assert server.gets == []
    fund(device, 1_000 + smallest + 101, body_bytes=101)
    exchange(device, server)
    assert list(server.counted) == [4]


def test_what_has_begun_is_paid(device: Device, server: ServerSide) -> None:
    for _ in range(4):
        server.advance()
    fund(device, 100_000)
    device.receive("m", server.manifest())
    fund(device, -50)
    device.disconnect()
    device.connect()
    exchange(device, server)
    assert device.session.state is State.RESTING, "the download has ended, and the fit was not begun"
    assert absences([p for k, p in device.out if k == "u"]) == []
    fund(device, 100_000)
    exchange(device, server)
    assert list(server.counted) == [4]


def test_birth_has_the_account_and_not_a_byte_without_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with_one, without = Device(tmp_path / "a", profile="pi-4"), Device(tmp_path / "b")
    for device in (with_one, without):
        device.run(device.session.fund(Funds(MONTH, 7_000), device.now))
        device.connect()
    births = [parse(payload) for device in (with_one, without) for kind, payload in device.out if kind == "s"]
    assert births == [Birth(1, 0, Account(82, 7_000, 0, "pi-4")), Birth(1, 0)]


def plans(*entries: Plan) -> tuple[tuple[int, bytes], ...]:
    return ((int(Section.PLAN), Plans(entries).serialize()),)


def body_of(device: Device) -> bytes:
    (offer,) = (m for m in map(parse, (p for k, p in device.out if k == "u")) if isinstance(m, Offer))
    return offer.body


def tag(spec: str) -> bytes:
    return codec(spec).encode(np.zeros(40), seed=0)[:1]


def test_an_update_that_is_too_long_is_made_in_the_next_cheaper_codec(
    device: Device, server: ServerSide
) -> None:
    """fp32 takes 161 bytes here, q8 some 45, sign 6."""
    server.codec = "fp32"
    named = plans(Plan("pi-4", "q8", 0), Plan("pi-5", "sign", 0))
    fund(device, 1_000 + 60)
    device.receive("m", server.manifest(sections=named))
    body = body_of(device)
    assert body[:1] == tag("q8")
    assert len(body) <= 60
    device.boot()
    assert device.store is not None
    assert device.store.body_bytes(JOB) == len(body), "what the next one is reckoned with"
    assert device.store.body_bytes(JOB + 1) == 0


def test_an_update_that_is_too_long_in_every_codec_is_not_sent(device: Device, server: ServerSide) -> None:
    server.codec = "fp32"
    fund(device, 1_000 + 60)
    device.receive("m", server.manifest(sections=()))
    (said,) = absences(device.take())
    assert (said.absence, said.round) == (Absence.BUDGET, 0)
    assert said.detail.endswith("this round takes 1.2 kB")
    assert (device.session.state, device.trained) == (State.RESTING, {})
    assert device.store is not None
    assert device.store.marks().done_round == 0, "it is not trained for again"
    fund(device, 100_000)
    server.advance()
    play_round(device, server)
    assert list(server.counted) == [1]


# Plans -----------------------------------------------------------------------------------------------------------


def test_a_device_heeds_the_plan_of_its_class(device: Device, server: ServerSide) -> None:
    named = plans(Plan("pi-4", "q8", 0), Plan("pi-zero-2w", "rot1", 1))
    device.receive("m", server.manifest(sections=named))
    assert body_of(device)[:1] == tag("rot1")


@pytest.mark.parametrize(
    ("profile", "codec_", "epochs"),
    [("", "sign", 1), ("pi-4", "q8", 1), ("pi-zero-2w", "sign", 1), ("pi-5", "sign", 1), ("jetson-nano", "rot1", 1)],
)
def test_what_each_class_does(tmp_path: Path, server: ServerSide, profile: str, codec_: str, epochs: int) -> None:
    entries = (Plan("jetson-nano", "rot1", 9), Plan("pi-4", "q8", 0), Plan("pi-zero-2w", "", 1))
    device = Device(tmp_path, profile=profile)
    device.connect()
    device.receive("m", server.manifest(sections=plans(*entries)))
    manifest = device.session.manifest
    assert manifest is not None
    own = own_plan(device.settings, manifest)
    assert (own.codec, own.local_epochs) == (codec_, epochs), "never more epochs than the manifest's"


def test_fewer_epochs_than_all_do(tmp_path: Path, server: ServerSide) -> None:
    device = Device(tmp_path, profile="pi-4")
    device.connect()
    entries = plans(Plan("pi-4", "", 2))
    device.receive("m", server.manifest(sections=entries, fit=Fit(5, 8, 100_000, SEED)))
    assert device.session.manifest is not None
    assert own_plan(device.settings, device.session.manifest).local_epochs == 2


def test_plans_that_cannot_be_read_cost_the_round(device: Device, server: ServerSide) -> None:
    device.receive("m", server.manifest(sections=((int(Section.PLAN), b"\x00"),)))
    (said,) = absences(device.take())
    assert said.absence is Absence.TRAINING
    assert said.detail == "the fit failed; the log has more"
    assert any("plans cannot be read" in line.text for line in device.log)
    assert device.session.manifest is not None
    with pytest.raises(TrainerFailed):
        own_plan(device.settings, device.session.manifest)


# The link that was measured --------------------------------------------------------------------------------------


def test_the_rate_is_that_at_which_acknowledgements_come() -> None:
    link = Goodput()
    for mid, count in enumerate((100, 4_000, 4_000, 4_000)):
        link.sent(mid, count, 10.0)
    assert not link.acknowledged(99, 10.5), "not of ours"
    assert not any(link.acknowledged(mid, 10.7 + 1.6 * mid) for mid in (0, 1))
    link.sent(4, 4_000, 12.4)
    assert not any(link.acknowledged(mid, 10.7 + 1.6 * mid) for mid in (2, 3))
    assert link.acknowledged(4, 10.7 + 1.6 * 4)
    assert (link.bytes_per_second, link.rtt_seconds) == (pytest.approx(2_500), 0.0)
    link.sent(6, 4_000, 20.0)
    link.disconnected()
    assert not link.acknowledged(6, 21.0)
    link.sent(7, 4_000, 30.0)
    assert link.acknowledged(7, 32.0)
    assert link.bytes_per_second == pytest.approx(2_500 + 0.25 * (2_000 - 2_500)), "one message: its average"


def test_acknowledgements_in_one_go_are_not_the_rate() -> None:
    link = Goodput()
    for mid in range(4):
        link.sent(mid, 4_000, 0.0)
    assert not any(link.acknowledged(mid, 8.0) for mid in range(3))
    assert link.acknowledged(3, 8.0)
    assert link.bytes_per_second == 2 * 16_000 / 8.0


def test_the_round_trip_is_the_shortest_and_is_slowly_forgotten() -> None:
    link = Goodput()
    for mid, (took, known) in enumerate(((2.2, 2.2), (0.8, 0.8), (5.0, 0.88), (0.7, 0.7))):
        link.sent(mid, 300, 100.0 * mid)
        assert link.acknowledged(mid, 100.0 * mid + took)
        assert link.rtt_seconds == pytest.approx(known)
    assert link.bytes_per_second == 0.0


def test_a_free_choice_goes_by_the_rate_that_was_measured_unless_one_is_set(tmp_path: Path, server: ServerSide) -> None:
    choice = ((int(Section.CHOICE), b""),)
    for name, link, sections, rate in (
        ("measured", {}, choice, 2_500),
        ("set", {"bytes_per_second": 900}, choice, 900),
        ("no choice", {}, (), None),
    ):
        (tmp_path / name).mkdir()
        device = Device(tmp_path / name, link=link)
        assert device.store is not None
        device.store.keep_link(2_500, 800)
        device.hold_training = []
        device.connect()
        device.receive("m", server.manifest(sections=sections))
        fields = fit_fields(device.settings, device.store, device.hold_training[0], secret=bytes(32))
        assert (fields["link"] or {}).get("bytes_per_second") == rate, name
        device.store.close()


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    store = AgentStore(tmp_path / "state", "t1", "dev-3")
    assert store.link() == (0, 0)
    store.keep_link(2_500, 800)
    store.close()
    store = AgentStore(tmp_path / "state", "t1", "dev-3")
    assert store.link() == (2_500, 800)
    store.close()
