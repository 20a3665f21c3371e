"""Why a device did not take part: every answer there is, brought about in a real store by a real engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gossamer.aggregator.engine import Progress
from gossamer.aggregator.pausing import pause_job
from gossamer.aggregator.store import absences, devices, rejections, uploads
from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.errors import ConfigError
from gossamer.fleet.facts import device_facts, round_facts, standings
from gossamer.fleet.why import Verdict, Why, why
from gossamer.wire.codes import Absence
from tests.aggregator.fleets import FLEET_KEY, Fleet, closing, key_of


@dataclass
class Case:
    """A fleet of four in two cohorts, its first round open for a minute. ``mine``: in the cohort; ``other``: not."""

    fleet: Fleet

    @property
    def mine(self) -> str:
        return self.fleet.cohort(0)[0]

    @property
    def other(self) -> str:
        return self.fleet.cohort(1)[0]

    def online(self, name: str, *, job: int = 1, version: int = 0) -> None:
        with self.fleet.store.write() as db:
            devices.born(db, name, boot=1, job=job, version=version, now=self.fleet.now)

    def offline(self, name: str) -> None:
        with self.fleet.store.write() as db:
            devices.died(db, name, boot=1, now=self.fleet.now)

    def absent(self, name: str, reason: Absence, detail: str = "", round_: int = 0) -> None:
        with self.fleet.store.write() as db:
            absences.keep(db, AbsenceRow(name, 1, round_, reason, detail, self.fleet.now))

    def refused(self, name: str, reason: str) -> None:
        with self.fleet.store.write() as db:
            rejections.add(db, reason, name, "what it was", now=self.fleet.now, known=True)

    def ask(self, name: str, round_: int | None = None) -> Why:
        with self.fleet.store.read() as db:
            device, around = devices.get(db, name), round_facts(db, round_)
            assert device is not None
            answer = why(around, device_facts(db, device, around), self.fleet.now)
            if round_ is None:
                (listed,) = [each for each in standings(db, self.fleet.now) if each.facts.device.id == name]
                assert (listed.answer.verdict, listed.answer.reason) == (answer.verdict, answer.reason)
        assert answer.text
        assert answer.mend
        assert [fact.at for fact in answer.facts] == sorted((fact.at for fact in answer.facts), reverse=True)
        return answer

    def seal(self) -> None:
        """Run the engine until the open round is sealed and the next is open."""
        while self.fleet.step() is not Progress.SEALED:
            pass
        self.fleet.step()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    fleet = Fleet.make(tmp_path / "s.db")
    fleet.step()
    fleet.now += 60
    return Case(fleet)


def counted(case: Case) -> None:
    case.online(case.mine)
    case.fleet.put(case.mine, 0)


def late(case: Case) -> None:
    case.fleet.put(case.mine, 0, counted_in=1)


def revoked(case: Case) -> None:
    case.online(case.mine)
    with case.fleet.store.write() as db:
        devices.revoke(db, case.mine)


def waiting(case: Case) -> None:
    case.online(case.mine)


def never(case: Case) -> None:
    pass


def offline(case: Case) -> None:
    case.online(case.mine)
    case.fleet.now += 90
    case.offline(case.mine)
    case.fleet.now += 3600


def other_job(case: Case) -> None:
    case.online(case.mine, job=7)


def paused(case: Case) -> None:
    case.online(case.mine)
    pause_job(case.fleet.store, FLEET_KEY, "test")


def battery(case: Case) -> None:
    case.online(case.mine)
    case.absent(case.mine, Absence.BATTERY, "battery 12 %, wanted 30 %")


def spent(case: Case) -> None:
    case.online(case.mine)
    case.absent(case.mine, Absence.BUDGET, "1.93 of 2.00 MB spent; this round takes 14 kB")


def rejected(case: Case) -> None:
    case.online(case.mine)
    case.refused(case.mine, "bad-signature")


def gone_after_absence(case: Case) -> None:
    battery(case)
    case.fleet.now += 60
    case.offline(case.mine)


def absent_after_refusal(case: Case) -> None:
    rejected(case)
    case.fleet.now += 60
    case.absent(case.mine, Absence.LOAD, "load 97 %")


def refused_before_this_round(case: Case) -> None:
    case.online(case.mine)
    with case.fleet.store.write() as db:
        rejections.add(db, "quota", case.mine, "old", now=1.0, known=True)


def uploading(case: Case) -> None:
    case.online(case.mine)
    body = case.fleet.body(case.mine, 0)
    header = case.fleet.header(case.mine, 0, body)
    with case.fleet.store.write() as db:
        uploads.begin(db, uploads.Upload(case.mine, b"12345678", 0, len(body), 100, header), now=case.fleet.now)
        uploads.keep(db, case.mine, 0, body[:100], now=case.fleet.now)


def upload_of_an_old_round(case: Case) -> None:
    case.online(case.mine)
    header = case.fleet.header(case.mine, 9, b"x", round=9)
    with case.fleet.store.write() as db:
        uploads.begin(db, uploads.Upload(case.mine, b"12345678", 0, 900, 100, header), now=case.fleet.now)


@pytest.mark.parametrize(
    ("happen", "verdict", "reason", "words", "mend"),
    [
        (counted, Verdict.COUNTED, "counted", "its update came", "nothing to do"),
        (late, Verdict.LATE, "late", "it counts in round 1", "deadline_seconds"),
        (revoked, Verdict.REVOKED, "revoked", "nothing it sends is believed", "fleet enroll d"),
        (waiting, Verdict.WAITING, "waiting", "in the cohort and online, holds the model", "before the deadline"),
        (never, Verdict.NEVER_SEEN, "never-seen", "never in contact", "carry its configuration"),
        (offline, Verdict.OFFLINE, "offline", "1 h ago", "power and signal"),
        (other_job, Verdict.OTHER_JOB, "other-job", "last spoke of job 7", "key job"),
        (paused, Verdict.PAUSED, "paused", "job test is paused", "gossamer job resume test"),
        (battery, Verdict.ABSENT, "battery", "battery 12 %, wanted 30 %", "gates.battery_percent"),
        (spent, Verdict.ABSENT, "budget", "1.93 of 2.00 MB spent", "next month"),
        (rejected, Verdict.REJECTED, "bad-signature", "what it was", "revoke and enroll d"),
        (gone_after_absence, Verdict.OFFLINE, "offline", "it is offline", "power and signal"),
        (absent_after_refusal, Verdict.ABSENT, "load", "load 97 %", "gates.load_percent"),
        (refused_before_this_round, Verdict.WAITING, "waiting", "has not come yet", "doctor"),
        (uploading, Verdict.UPLOADING, "uploading", "100 B of", "nothing to do"),
        (upload_of_an_old_round, Verdict.WAITING, "waiting", "has not come yet", "doctor"),
    ],
)  # fmt: skip
def test_every_answer(
    case: Case, happen: Callable[[Case], None], verdict: Verdict, reason: str, words: str, mend: str
) -> None:
    happen(case)
    answer = case.ask(case.mine)
    assert (answer.verdict, answer.reason) == (verdict, reason), answer
    assert words in answer.text
    assert mend in answer.mend


def test_the_newest_fact_decides_and_the_others_are_told(case: Case) -> None:
    absent_after_refusal(case)
    (fact,) = case.ask(case.mine).facts
    assert fact.text == "a message was refused: bad-signature: what it was"
    case.fleet.now += 60
    case.offline(case.mine)
    texts = [fact.text.split(":")[0] for fact in case.ask(case.mine).facts]
    assert texts == ["it stayed away", "a message was refused"]


def test_a_device_of_another_cohort_is_told_its_turn(case: Case) -> None:
    answer = case.ask(case.other)
    assert (answer.verdict, answer.reason) == (Verdict.OTHER_COHORT, "other-cohort")
    assert answer.text.endswith("its turn is round 1, 1 round on")
    for name in case.fleet.cohort(0):
        case.fleet.put(name, 0)
    case.seal()
    assert case.ask(case.other).verdict is Verdict.NEVER_SEEN
    # Of the first round, seen from the second: its turn is the open one.
    assert case.ask(case.other, 0).text.endswith("its turn is round 1")
    assert "about" in case.ask(case.mine).text, "there is a pace now"


def test_a_device_enrolled_in_the_middle_of_a_cycle(case: Case) -> None:
    with case.fleet.store.write() as db:
        devices.enroll(db, "new", key_of("new").public_key().public_bytes_raw())
    case.online("new")
    answer = case.ask("new")
    assert answer.verdict is Verdict.NOT_DEALT
    turn = int(answer.text.split("its turn is round ")[1].split(",")[0])
    assert turn in (2, 3)
    assert case.fleet.settings.schedule(5).is_member(turn, 4)


def test_a_sealed_round(case: Case) -> None:
    first, second = case.fleet.cohort(0)
    case.online(first)
    case.absent(second, Absence.CHARGING, "on battery")
    case.fleet.put(first, 0)
    with case.fleet.store.write() as db:
        devices.revoke(db, second)
    case.seal()
    with case.fleet.store.write() as db:
        devices.enroll(db, second, key_of(second).public_key().public_bytes_raw())
    assert "sealed in version 1" in case.ask(first, 0).text
    answer = case.ask(second, 0)
    assert (answer.verdict, answer.reason) == (Verdict.ABSENT, "charging")
    with pytest.raises(ConfigError, match="rounds 0 to 1"):
        case.ask(first, 5)


@pytest.mark.parametrize(("seen", "verdict"), [(-500.0, Verdict.OFFLINE), (0.0, Verdict.MISSED)])
def test_a_sealed_round_of_which_nothing_is_known(case: Case, seen: float, verdict: Verdict) -> None:
    first, second = case.fleet.cohort(0)
    case.fleet.put(first, 0)
    with case.fleet.store.write() as db:
        devices.born(db, second, boot=1, job=1, version=0, now=case.fleet.now + seen)
        devices.revoke(db, second)
    case.seal()
    with case.fleet.store.write() as db:
        devices.enroll(db, second, key_of(second).public_key().public_bytes_raw())
    assert case.ask(second, 0).verdict is verdict


def test_an_update_that_the_rule_left_out(tmp_path: Path) -> None:
    from tests.cli.jobs import BAD, Spoilt

    fleet = Spoilt.make(tmp_path / "s.db", cohorts=1, codec_up="fp32")
    case = Case(fleet)
    fleet.step()
    for name in fleet.cohort(0):
        fleet.put(name, 0)
    case.seal()
    answer = case.ask(BAD, 0)
    assert (answer.verdict, answer.reason) == (Verdict.RULED_OUT, "ruled-out: too-large")
    assert answer.verdict.absent
    assert not answer.verdict.took_part
    assert "look at the trainer of d0" in answer.mend
    assert case.ask("d1", 0).verdict is Verdict.COUNTED


def test_a_job_that_is_finished_and_a_fleet_without_one(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path / "s.db")
    case = Case(fleet)
    assert case.ask("d0").verdict is Verdict.NO_JOB
    with pytest.raises(ConfigError, match="no round yet"):
        case.ask("d0", 0)
    fleet.run()
    assert case.ask("d0").verdict is Verdict.FINISHED


@pytest.mark.parametrize(
    ("participation", "needs"),
    [
        ("reshuffled", {}), ("uniform", {}), ("fixed", {}), ("anytime", {"closing": closing(quorum=2)}),
        ("importance", {"codec_up": "rot1"}),
    ],
)  # fmt: skip
def test_whoever_is_told_a_turn_has_it(tmp_path: Path, participation: str, needs: dict[str, Any]) -> None:
    fleet = Fleet.make(tmp_path / "s.db", size=7, participation=participation, rounds=9, cohorts=3, **needs)
    case = Case(fleet)
    fleet.step()
    with fleet.store.read() as db:
        around = round_facts(db)
    assert around is not None
    schedule = around.schedule
    for index in range(7):
        told = schedule.next_turn(index)
        turns = [each for each in range(1, 9) if fleet.settings.schedule(7).is_member(each, index)]
        assert told == (turns[0] if turns else None)
        case.ask(f"d{index}")
    if participation in ("reshuffled", "fixed"):
        assert sorted(schedule.turns()) == list(range(7))
        assert {index for index, turn in schedule.turns().items() if turn == 0} == schedule.members()
