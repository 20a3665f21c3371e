"""Windows of availability: the hours, and a session that rests outside them without losing what has begun."""

from __future__ import annotations

import doctest
import logging
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.agent import contact as contact_module
from gossamer.agent import windows
from gossamer.agent.contact import Contact
from gossamer.agent.gates import Refusal
from gossamer.agent.ledger import LedgerWriter
from gossamer.agent.session import State
from gossamer.agent.windows import MINUTES, NEVER, Window, clock, next_change, open_at, parse
from gossamer.errors import ConfigError
from gossamer.wire import messages as msg
from gossamer.wire.codes import Absence

from .device import Device, settings
from .server_side import ServerSide
from .test_session import exchange, play_round

HOUR, DAY = 3600.0, 86_400.0
SOME_DAY = 20_000 * DAY  # 2024-10-04, midnight UTC


def hour(text: str, day: int = 0) -> float:
    return SOME_DAY + day * DAY + 60 * (60 * int(text[:2]) + int(text[3:]))


# The hours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "at", "is_open", "change"),
    [
        (["01:00-05:30"], "00:59", False, ("01:00", 0)),
        (["01:00-05:30"], "01:00", True, ("05:30", 0)),
        (["01:00-05:30"], "05:30", False, ("01:00", 1)),
        (["22:30-04:00"], "23:00", True, ("04:00", 1)),
        (["22:30-04:00"], "00:00", True, ("04:00", 0)),
        (["22:30-04:00"], "12:00", False, ("22:30", 0)),
        (["22:00-24:00", "00:00-02:00"], "23:00", True, ("02:00", 1)),  # no change at midnight
        (["01:00-03:00", "02:00-05:00"], "01:30", True, ("05:00", 0)),
        (["08:00-09:00", "20:00-21:00"], "12:00", False, ("20:00", 0)),
    ],
)
def test_by_hand(texts: list[str], at: str, is_open: bool, change: tuple[str, int]) -> None:
    assert open_at(parse(texts), hour(at)) is is_open
    assert next_change(parse(texts), hour(at)) == hour(*change)


def test_always() -> None:
    for texts in ([], ["00:00-24:00"], ["00:00-12:00", "12:00-00:00"]):
        assert open_at(parse(texts), hour("13:00"))
        assert next_change(parse(texts), hour("13:00")) == NEVER


@pytest.mark.parametrize(
    "text",
    ["", "1:00-2:00", "01:00-01:00", "24:00-01:00", "01:00-24:01", "01:60-02:00", " 01:00-02:00", "٠١:00-02:00"],
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ConfigError, match="expected windows such as"):
        Window.parse(text)


bounds = st.tuples(st.integers(0, MINUTES - 1), st.integers(0, MINUTES)).filter(lambda w: w[0] != w[1])
some_windows = st.lists(bounds.map(lambda w: Window(*w)), max_size=4)


@given(some_windows, st.integers(0, 2 * 86_400 - 1))
def test_against_a_naive_second_implementation(given_: list[Window], second: int) -> None:
    """Minute by minute, by walking around the clock."""
    minutes: set[int] = set()
    for window in given_:
        minute = window.start
        while minute != window.stop:
            minutes.add(minute % MINUTES)
            minute = (minute + 1) % MINUTES if window.stop != MINUTES else minute + 1
    unix = SOME_DAY + second
    minute = second // 60
    now = not given_ or minute % MINUTES in minutes
    assert open_at(given_, unix) is now
    ahead = (m for m in range(minute + 1, minute + MINUTES + 1) if given_ and (m % MINUTES in minutes) is not now)
    first = next(ahead, None)
    assert next_change(given_, unix) == (NEVER if first is None else SOME_DAY + 60 * first)


def test_clock() -> None:
    assert clock(hour("01:05") + 59) == "01:05 UTC"


# The session -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> ServerSide:
    return ServerSide()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path)
    device.connect()
    return device


def open_or_close(device: Device, is_open: bool) -> None:
    detail = "outside the windows of availability; the next opens at 01:00 UTC"
    device.run(device.session.available(None if is_open else Refusal(Absence.WINDOW, detail), device.now))


def test_nothing_begins_outside_and_the_log_says_why(device: Device, server: ServerSide) -> None:
    open_or_close(device, False)
    device.take()
    play_round(device, server)
    assert device.session.state is State.RESTING
    assert (server.counted, device.trained) == ({}, {})
    (line,) = device.log
    assert line.level == logging.INFO
    assert line.text == "round 0: not now (window): outside the windows of availability; the next opens at 01:00 UTC"
    for _ in range(3):
        device.wait(600)
        open_or_close(device, False)
    assert device.take() == []  # nor does it ask
    assert device.session.next_deadline(device.now) == NEVER
    open_or_close(device, True)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_it_asks_at_the_opening_for_what_it_missed(device: Device, server: ServerSide) -> None:
    device.take()
    open_or_close(device, False)
    device.wait(HOUR)
    assert device.take() == []
    open_or_close(device, True)
    device.wait(0)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_a_round_that_closed_meanwhile_is_not_done(device: Device, server: ServerSide) -> None:
    open_or_close(device, False)
    play_round(device, server)
    server.advance()
    play_round(device, server)
    open_or_close(device, True)
    exchange(device, server)
    assert list(server.counted) == [1]


def test_an_upload_goes_on_outside(device: Device, server: ServerSide) -> None:
    server.codec = "fp32"
    device.receive("m", server.manifest())
    assert device.session.state is State.SENDING
    open_or_close(device, False)
    device.disconnect()
    device.connect()
    exchange(device, server)
    assert list(server.counted) == [0]
    assert device.session.state is State.RESTING
    server.advance()
    play_round(device, server)
    assert list(server.counted) == [0]


def test_a_fit_goes_on_outside_but_is_not_tried_again(device: Device, server: ServerSide) -> None:
    device.hold_training = []
    device.receive("m", server.manifest())
    open_or_close(device, False)
    assert device.session.state is State.TRAINING
    assert device.hold_training.pop()
    device.run(device.session.training_failed("ended by SIGKILL", device.now, killed=True))
    assert (device.session.state, device.hold_training) == (State.RESTING, [])
    open_or_close(device, True)
    (order,), device.hold_training = device.hold_training, None
    open_or_close(device, False)
    device.train(order)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_a_download_goes_on_outside_and_what_it_brought_waits(device: Device, server: ServerSide) -> None:
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    (get,) = device.take()
    answers = server.handle(get)
    for kind, payload in answers[:2]:
        device.receive(kind, payload)
    open_or_close(device, False)
    device.receive("m", server.manifest(deadline=1))  # the same round, signed anew
    assert device.session.state is State.FETCHING
    for kind, payload in answers[2:]:
        device.receive(kind, payload)
    exchange(device, server)
    assert (device.session.state, server.counted) == (State.RESTING, {})
    gets = len(server.gets)
    open_or_close(device, True)
    exchange(device, server)
    assert list(server.counted) == [6]
    assert len(server.gets) == gets  # it was not fetched again


@pytest.mark.parametrize("moved_on", [False, True])
def test_what_waits_outlives_a_restart_but_not_the_round(device: Device, server: ServerSide, moved_on: bool) -> None:
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    open_or_close(device, False)
    exchange(device, server)
    gets = len(server.gets)
    if moved_on:
        server.advance()
    else:
        device.boot()
        open_or_close(device, False)
        device.connect()
    play_round(device, server)
    assert server.counted == {}
    open_or_close(device, True)
    exchange(device, server)
    assert list(server.counted) == [7 if moved_on else 6]
    assert (len(server.gets) > gets) is moved_on
    assert device.counts == []  # what came for an earlier round is not tried as this one's


def test_a_download_of_an_old_round_ends_outside(device: Device, server: ServerSide) -> None:
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    device.take()
    open_or_close(device, False)
    server.advance()
    play_round(device, server)
    assert (device.session.state, server.counted) == (State.RESTING, {})
    assert device.log[-1].text.startswith("round 7: not now (window)")
    open_or_close(device, True)
    exchange(device, server)
    assert list(server.counted) == [7]


def test_a_job_that_asks_nothing_is_no_matter_of_hours(device: Device, server: ServerSide) -> None:
    open_or_close(device, False)
    server.state = msg.JobState.PAUSED
    play_round(device, server)
    assert (device.session.state, device.log) == (State.RESTING, [])


# The shell -------------------------------------------------------------------------------------------------------


class Clock:
    """A wall clock and a steady one; only the first is ever set."""

    def __init__(self, wall: float) -> None:
        self.wall, self.steady = wall, 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


def test_the_shell_wakes_at_the_opening_and_survives_a_clock_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path)  # for its store
    own = settings(tmp_path, available=["01:00-05:30"])
    told: list[Refusal | None] = []
    fake = Clock(hour("23:59"))
    monkeypatch.setattr(contact_module, "time", fake)
    assert device.store is not None
    ledger = LedgerWriter()
    shell = Contact(own, device.store, None, lambda *_: None, ledger, device.key, device.fleet_key, stop=lambda: True)  # type: ignore[arg-type]
    monkeypatch.setattr(shell._session, "available", lambda refusal, now: told.append(refusal) or [])
    closed = Refusal(Absence.WINDOW, "outside the windows of availability; the next opens at 01:00 UTC")

    def look() -> Refusal | None:
        told.clear()
        shell.turn(fake.monotonic())
        return told[-1]

    shell._connect_at = NEVER
    assert look() == closed
    assert shell.next_deadline(fake.steady) == fake.steady + 61 * 60
    fake.wall += 61 * 60
    fake.steady += 61 * 60
    assert look() is None
    fake.wall = hour("12:00")  # set forward
    assert look() == closed
    fake.wall = hour("02:00")  # and back
    assert look() is None
    assert shell.next_deadline(fake.steady) == fake.steady + 3.5 * HOUR
    fake.wall = 0.0  # a board without a battery, before its first time signal
    assert look() == closed


def test_settings(tmp_path: Path) -> None:
    assert settings(tmp_path).windows() == ()
    assert settings(tmp_path, available=["22:30-04:00"]).windows() == (Window(1350, 240),)
    with pytest.raises(ConfigError, match="available: expected windows"):
        settings(tmp_path, available=["night"])
    with pytest.raises(ConfigError, match="available: expected a list of texts"):
        settings(tmp_path, available="01:00-05:30")


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(windows).failed == 0
    assert time.gmtime(SOME_DAY)[:5] == (2024, 10, 4, 0, 0)
