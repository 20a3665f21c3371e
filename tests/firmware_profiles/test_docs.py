"""The page's tables are those of the profiles and of the last measurement."""

from __future__ import annotations

import json

from benchmarks.plan_tables import PAGE, RESULTS, TABLES, filled


def test_the_tables_are_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page), "python -m benchmarks.plan_tables"
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)


def test_the_measurement_in_the_page_is_within_what_it_promises():
    rows = json.loads(RESULTS.read_text())
    taken = [row for row in rows if not row["case"].startswith("idle")]
    assert len(taken) == 6
    assert all(abs(row["difference_percent"]) <= 5 for row in rows)
