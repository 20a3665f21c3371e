"""``fleet list``, ``show`` and ``why`` over a store with a round open; enrolment of many; dry runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gossamer.agent.config import load
from gossamer.aggregator.store import Store, absences, accounts, devices, rejections
from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.fleet.keys import fingerprint
from gossamer.wire.codes import Absence
from tests.aggregator.fleets import Fleet, key_of

from .command import Run
from .jobs import directory


@pytest.fixture
def state(run: Run, tmp_path: Path) -> Path:
    """Round 1 of a job for four devices in one cohort: one counted, one without battery, one offline, one waiting."""

    def make(file: Path) -> None:
        fleet = Fleet.make(file, cohorts=1)
        fleet.step()
        with fleet.store.write() as db:
            for name in ("d0", "d1", "d2", "d3"):
                devices.born(db, name, boot=1, job=1, version=0, now=fleet.now)
            devices.died(db, "d2", boot=1, now=fleet.now + 5)
            absences.keep(db, AbsenceRow("d1", 1, 0, Absence.BATTERY, "battery 12 %, wanted 30 %", fleet.now + 1))
            accounts.keep(db, AccountRow("d1", "2026-11", 1_930_000, 2_000_000, "pi-zero-2w", fleet.now))
            accounts.keep(db, AccountRow("d3", "2026-11", 500, 0, "", fleet.now))
            rejections.add(db, "quota", "d1", "Offer", now=1.0, known=True)
        fleet.put("d0", 0)
        fleet.store.close()

    return directory(run, tmp_path, make)


def names(run: Run, state: Path, *words: str) -> list[str]:
    return [row["device"] for row in json.loads(run("fleet", "list", "--state", state, "--json", *words).out)]


def test_the_list_says_where_everybody_stands(run: Run, state: Path) -> None:
    rows = json.loads(run("fleet", "list", "--state", state, "--json").out)
    assert [(row["device"], row["cohort"], row["reason"]) for row in rows] == [
        ("d0", 0, "counted"), ("d1", 0, "battery"), ("d2", 0, "offline"), ("d3", 0, "waiting"),
    ]  # fmt: skip
    assert (rows[1]["spent_bytes"], rows[1]["budget_bytes"], rows[1]["profile"]) == (1_930_000, 2_000_000, "pi-zero-2w")
    assert (rows[0]["spent_bytes"], rows[3]["budget_bytes"], rows[3]["profile"]) == (None, None, None)
    shown = run("fleet", "list", "--state", state).out
    assert "1.93 MB of 2 MB" in shown
    assert "online" in shown
    assert " ago" in shown
    assert "500 B" in shown


def test_the_list_is_filtered(run: Run, state: Path) -> None:
    assert names(run, state, "--offline") == ["d2"]
    assert names(run, state, "--absent") == ["d1", "d2"]
    assert names(run, state, "--reason", "battery") == ["d1"]
    assert names(run, state, "--reason", "absent") == ["d1"]
    assert names(run, state, "--in-state", "revoked") == []
    assert "none of 4 devices" in run("fleet", "list", "--state", state, "--in-state", "revoked").out
    run("fleet", "revoke", "d3", "--state", state, "--yes")
    assert names(run, state, "--in-state", "revoked") == ["d3"]
    assert names(run, state, "--reason", "revoked") == ["d3"]


def test_show_tells_all_of_one(run: Run, state: Path) -> None:
    told = json.loads(run("fleet", "show", "d1", "--state", state, "--json").out)
    key = key_of("d1").public_key().public_bytes_raw()
    assert told["key_fingerprint"] == fingerprint(key)
    assert (told["in_cohort"], told["cohort"], told["next_turn"], told["reason"]) == (True, 0, 1, "battery")
    assert [each["reason"] for each in told["absences"]] == ["battery"]
    assert [each["reason"] for each in told["refusals"]] == ["quota"]
    assert told["updates"] == []
    assert json.loads(run("fleet", "show", "d0", "--state", state, "--json").out)["updates"][0]["round"] == 0
    shown = run("fleet", "show", "d1", "--state", state).out
    for words in (fingerprint(key), "last absences", "battery 12 %, wanted 30 %", "no updates"):
        assert words in shown
    run("fleet", "show", "d11", "--state", state).refused("no device d11", "did you mean")


def test_why_says_it_in_a_sentence_and_by_its_exit_code(run: Run, state: Path) -> None:
    shown = run("fleet", "why", "d1", "--state", state)
    assert shown.code == 1
    assert "it stayed away: battery 12 %, wanted 30 %" in shown.out
    assert "gates.battery_percent" in shown.out
    told = json.loads(run("fleet", "why", "d1", "--state", state, "--round", "0", "--json").out)
    assert (told["verdict"], told["absent"], told["round"]) == ("absent", True, 0)
    assert run("fleet", "why", "d0", "--state", state).code == 0
    assert run("fleet", "why", "d3", "--state", state).code == 0, "there is time until the deadline"
    run("fleet", "why", "d0", "--state", state, "--round", "7").refused("rounds 0 to 0")
    run("fleet", "why", "nobody", "--state", state).refused("no device nobody", "fleet list")


def test_revoke_tried_out(run: Run, fleet: Path) -> None:
    told = json.loads(run("fleet", "revoke", "pump-1", "--state", fleet, "--dry-run", "--json").out)
    assert (told["was"], told["revoked"], told["broker_account"]) == ("enrolled", False, "kept elsewhere")
    assert names(run, fleet, "--in-state", "enrolled") == ["pump-1"]
    told = json.loads(run("fleet", "revoke", "pump-1", "--state", fleet, "--yes", "--json").out)
    assert told["revoked"] is True


CSV = """device, trainer, host, port, option.data, option.n
pump-2, , , , /data/2.npz, 3
"pump-3", other:make, localhost, 1999, /data/3.npz,
"""


def test_many_at_once(run: Run, fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(CSV)
    words = ("fleet", "enroll", "--from", "d.csv", "--trainer", "m:f", "--option", "n=1", "--state", fleet)
    tried = run(*words, "--dry-run", "--json")
    assert [(row["device"], row["enrolled"]) for row in json.loads(tried.out)] == [("pump-2", False), ("pump-3", False)]
    assert [each.name for each in (fleet / "devices").iterdir()] == ["pump-1.toml"]
    assert names(run, fleet) == ["pump-1"]
    made = run(*words)
    assert made.code == 0
    assert "Each holds its device's private key" in made.err
    second, third = (load(fleet / "devices" / f"pump-{n}.toml", {}) for n in (2, 3))
    assert (second.trainer, second.trainer_options) == ("m:f", {"data": "/data/2.npz", "n": 3})
    assert (third.trainer, third.trainer_options) == ("other:make", {"data": "/data/3.npz", "n": 1})
    assert (third.broker.host, third.broker.port, second.broker.port) == ("localhost", 1999, 1883)
    run(*words).refused("enrolled already")


WRONG = [
    ("device\npump-2\npump-1\n", ("pump-1 is enrolled already",)),
    ("device\npump-2\npump-2\n", ("pump-2 is named twice",)),
    ("device\npump-2\na/b\n", ("device: expected",)),
    ("device,trainer\npump-2,m:f\npump-3,mf\n", ("device pump-3", "package.module:factory")),
    ("device,port\npump-2,1883\npump-3,x\n", ("line 3", "port 'x'")),
    ("device,port\npump-2,1883\npump-3,99999\n", ("device pump-3", "port from 1 to 65535")),
    ("device,colour\npump-2,red\n", ("line 1", "column 'colour'", "option.KEY")),
    ("name\npump-2\n", ("line 1",)),
    ("device\n", ("names no device",)),
    ("device,trainer\npump-2,m:f,more\n", ("line 2", "expected 2 fields")),
    ("device,trainer\npump-2\n", ("line 2", "expected 2 fields")),
    ('device\n"pump-2\n', ("line",)),
    ("device,option.a-b\npump-2,3\n", ("line 2", "KEY a parameter")),
]


def test_a_file_with_one_wrong_line_enrols_nobody(run: Run, fleet: Path, tmp_path: Path) -> None:
    for text, words in WRONG:
        (tmp_path / "d.csv").write_text(text)
        run("fleet", "enroll", "--from", "d.csv", "--trainer", "m:f", "--state", fleet).refused(*words)
    assert names(run, fleet) == ["pump-1"]
    assert [each.name for each in (fleet / "devices").iterdir()] == ["pump-1.toml"]


def test_a_profile_and_a_budget_go_into_the_configuration(run: Run, fleet: Path, tmp_path: Path) -> None:
    words = ("fleet", "enroll", "p", "--trainer", "m:f", "--state", fleet)
    run(*words, "--budget", "2 apples").refused("budget '2 apples'", "2MB/month")
    run(*words, "--profile", "no such").refused("no such")
    assert run(*words, "--profile", "pi-zero-2w", "--budget", "2MB/month").code == 0
    settings = load(fleet / "devices" / "p.toml", {})
    assert (settings.profile, settings.budget.monthly_bytes) == ("pi-zero-2w", 2_000_000)
    (tmp_path / "d.csv").write_text("device,profile,budget\nq,pi-4,70kB/day\nr,,\n")
    many = ("fleet", "enroll", "--from", "d.csv", "--trainer", "m:f", "--budget", "1MB/month", "--state", fleet)
    assert run(*many).code == 0
    q, r = (load(fleet / "devices" / f"{name}.toml", {}) for name in "qr")
    assert (q.profile, q.budget.monthly_bytes) == ("pi-4", 2_100_000)
    assert (r.profile, r.budget.monthly_bytes) == ("", 1_000_000)


def test_enroll_wants_one_or_many(run: Run, fleet: Path) -> None:
    run("fleet", "enroll", "--trainer", "m:f", "--state", fleet).refused("either the id of a device, or --from")
    run("fleet", "enroll", "p", "--from", "d.csv", "--trainer", "m:f", "--state", fleet).refused("either")
    run("fleet", "enroll", "p", "--state", fleet).refused("--trainer is missing")
    run("fleet", "enroll", "--from", "none.csv", "--trainer", "m:f", "--state", fleet).refused("none.csv")


def test_init_for_programs(run: Run, tmp_path: Path) -> None:
    told = json.loads(run("fleet", "init", "farm1", "--state", "s", "--json").out)
    assert Path(told["password_file"]).is_file()
    assert (told["fleet"], told["key"]) == ("farm1", "s/fleet.key")


def test_a_store_of_before_is_listed(run: Run, fleet: Path) -> None:
    store = Store.open(fleet / "store.db")
    store.close()
    assert json.loads(run("fleet", "list", "--state", fleet, "--json").out)[0]["reason"] == "no-job"
