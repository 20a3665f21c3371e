"""docs/aggregation.md says what rules, methods and results say."""

from __future__ import annotations

from benchmarks.aggregation_tables import PAGE, TABLES
from benchmarks.doc_tables import BLOCK, filled

TEXT = PAGE.read_text()


def test_the_tables_are_what_the_code_and_the_results_say() -> None:
    assert {block[2] for block in BLOCK.finditer(TEXT)} == set(TABLES)
    for block in BLOCK.finditer(TEXT):
        if "*Not measured yet: " not in block[0]:
            assert filled(block[0], TABLES) == block[0], "run `python -m benchmarks.aggregation_tables`"
