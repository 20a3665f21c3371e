"""The planner's bytes against the interface's: three models, plain and over TLS, and an idle connection.

``docs/planning.md`` shows the table that this prints.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.plan import SHOWN, compared, measured
from gossamer.cli.output import emit

pytestmark = [pytest.mark.system, pytest.mark.timeout(500)]

TOLERANCE_PERCENT = 5.0


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found = compared(measured())
    emit([{key: row[key] for key in SHOWN} for row in found], as_json=False)
    return found


def test_a_participation_costs_what_was_planned(rows: list[dict[str, Any]]):
    taken = [row for row in rows if not row["case"].startswith("idle")]
    assert len(taken) == 6
    assert {row["transport"] for row in taken} == {"plain", "TLS"}
    assert all(abs(row["difference_percent"]) <= TOLERANCE_PERCENT for row in taken), taken


def test_so_does_a_connection_without_rounds(rows: list[dict[str, Any]]):
    ping, poll = (row for row in rows if row["case"].startswith("idle"))
    assert "1 pings, 0 polls" in ping["case"]
    assert "0 pings, 1 polls" in poll["case"]
    # Four and eight packets: one more or less would be 7 % at least.
    assert all(abs(row["difference_percent"]) <= TOLERANCE_PERCENT for row in (ping, poll)), (ping, poll)
