"""Ten thousand devices, and the fifty that were asked for."""

from __future__ import annotations

import pytest

from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.aggregator.store.devices import Device, DeviceState
from gossamer.dashboard.asking import asked
from gossamer.dashboard.device_rows import Asked, DeviceRow, OpenRound, chosen, row_of
from gossamer.dashboard.views import ledgers_view
from gossamer.errors import InputError
from gossamer.wire.codes import Absence

ROUND = OpenRound(job=1, version=7, round=7, called=frozenset({0, 1, 2, 3, 4}), arrived=frozenset({"d0"}))
NOVEMBER = 1_795_000_000.0
NOW = AbsenceRow("d", 1, 7, Absence.BATTERY, "battery 12 %, wanted 30 %", 5.0)
EARLIER = AbsenceRow("d", 1, 6, Absence.METERED, "the link is metered", 4.0)


def account(month: str, spent: int, budget: int, profile: str = "") -> AccountRow:
    return AccountRow("d", month, spent, budget, profile, 3.0)


def device(
    index: int, *, online: bool = True, state: DeviceState = DeviceState.ENROLLED, seen: float = 10.0, job: int = 1
) -> Device:
    return Device(f"d{index}", index, "00", b"", state, job, 6, 1, online, seen)


def row(found: Device, absent: AbsenceRow | None = None, told: AccountRow | None = None) -> DeviceRow:
    return row_of(found, ROUND, absent, told)


@pytest.mark.parametrize(
    ("found", "absent", "standing", "reason"),
    [
        (device(0), None, "arrived", ""),
        (device(0), NOW, "arrived", "battery"),
        (device(1), None, "waiting", ""),
        (device(1), NOW, "absent", "battery"),
        (device(1, online=False), NOW, "absent", "battery"),
        (device(1, online=False), None, "offline", ""),
        (device(1), EARLIER, "waiting", ""),
        (device(9), EARLIER, "resting", "metered"),
        (device(9), None, "resting", ""),
        (device(1, state=DeviceState.REVOKED), NOW, "revoked", "battery"),
        (device(0, state=DeviceState.REVOKED), None, "arrived", ""),
    ],
)
def test_standing(found: Device, absent: AbsenceRow | None, standing: str, reason: str) -> None:
    made = row(found, absent)
    assert (made.standing, made.reason) == (standing, reason)


def test_the_model_that_it_holds() -> None:
    assert (row(device(1)).model_version, row(device(1)).lag) == (6, 1)
    assert (row(device(1, job=9)).model_version, row(device(1, job=9)).lag) == (0, 7), "of another job"
    assert row(device(1, seen=0.0)).lag is None, "never heard"


def fleet(n: int) -> list[DeviceRow]:
    made = []
    for index in range(n):
        revoked = index % 100 == 99
        state = DeviceState.REVOKED if revoked else DeviceState.ENROLLED
        found = device(index, online=index % 10 != 0, state=state, seen=float(index))
        told = account("2026-11", index, 2 * n, "pi-4") if index % 2 else None
        made.append(row_of(found, ROUND, EARLIER if index % 50 == 7 else None, told))
    return made


def test_a_page_of_ten_thousand() -> None:
    rows = fleet(10_000)
    shown = chosen(rows, Asked())
    assert [each["index"] for each in shown["devices"]] == list(range(50))
    assert (shown["found"], shown["pages"]) == (10_000, 200)
    counts = shown["counts"]
    assert (counts["devices"], counts["revoked"], counts["offline"]) == (10_000, 100, 1000)
    assert counts["online"] + counts["offline"] + counts["revoked"] == 10_000
    assert counts["reasons"] == {"metered": 200}
    last = chosen(rows, Asked(page=99_999))
    assert (last["page"], last["devices"][-1]["index"]) == (200, 9_999)


@pytest.mark.parametrize(
    ("given", "first", "found"),
    [
        ({"text": "D77"}, 77, 1 + 10 + 100),
        ({"state": "offline"}, 0, 1000),
        ({"state": "revoked"}, 99, 100),
        ({"reason": "metered"}, 7, 200),
        ({"standing": "arrived"}, 0, 1),
        ({"order": "last_contact"}, 9_999, 10_000),
        ({"order": "silent"}, 0, 10_000),
        ({"order": "spent"}, 9_999, 10_000),
        ({"order": "device", "page": "2", "size": "1"}, 1, 10_000),
        ({"text": "nothing like it"}, None, 0),
    ],
)
def test_search_filter_and_order(given: dict[str, str], first: int | None, found: int) -> None:
    shown = chosen(fleet(10_000), asked(given))
    assert shown["found"] == found
    assert [each["index"] for each in shown["devices"][:1]] == ([] if first is None else [first])


@pytest.mark.parametrize(
    "given",
    [{"page": "0"}, {"page": "-1"}, {"page": "x"}, {"page": "²"}, {"size": "501"}, {"size": "9" * 40},
     {"state": "asleep"}, {"order": "'"}, {"standing": "gone"}],
)  # fmt: skip
def test_what_nobody_can_ask_for(given: dict[str, str]) -> None:
    (key,) = given
    with pytest.raises(InputError, match=f"{key}=.*expected"):
        asked(given)


def test_ledgers_of_the_month_are_not_hidden_by_a_clock_that_is_ahead() -> None:
    told = ledgers_view(
        [
            row(device(1), None, account("2026-11", 500, 400, "")),
            row(device(2), None, account("2026-11", 100, 400, "")),
            row(device(3), None, account("2026-11", 50, 0, "pi-4")),
            row(device(4), None, account("2026-10", 9_999, 400, "")),
            row(device(5)),
            row(device(6), None, account("2361-04", 1, 1, "")),
        ],
        now=NOVEMBER,
    )
    assert told == {
        "month": "2026-11", "telling": 3, "spent_bytes": 650, "budget_bytes": 800, "spent_of_budget_bytes": 600,
        "spent_up": 1,
    }  # fmt: skip
