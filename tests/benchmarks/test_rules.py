"""The benchmarks of rules in a quick form, without the peer: their records, and that the updates are as described."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rules
from benchmarks.rules_memory import fill, in_process
from gossamer.aggregator.rules import rule
from gossamer.aggregator.store import Store


def test_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rules.json"
    options = ["--n", "5", "--d", "3000", "--repeat", "1", "--no-peer", "--rules", "krum", "nnm+trimmed-mean"]
    monkeypatch.setattr("sys.argv", ["rules", *options, "--json", str(file)])
    rules.main()
    records = json.loads(file.read_text())
    assert [(r["rule"], r["n"], r["d"]) for r in records] == [("krum", 5, 3000), ("nnm+trimmed-mean", 5, 3000)]
    fields = {"rule", "n", "d", "seconds", "reference_seconds", "extra_mb", "max_relative_difference"}
    assert all(fields <= set(record) and record["seconds"] > 0 for record in records)


@pytest.mark.parametrize("name", [*rules.PEER_NAMES, *rules.OWN])
def test_specs_are_of_rules_that_can_do_it(name: str) -> None:
    for n in rules.SIZES:
        assert rule(rules.spec_of(name, n // 5)).minimum <= n


def test_a_fifth_of_the_updates_attacks() -> None:
    x = rules.made(20, 4000, 0, iid=False)
    against = np.sign(x @ x[-1])
    assert against.tolist() == [-1.0] * 4 + [1.0] * 16


def test_memory_is_that_of_a_process_that_aggregated(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.db")
    assert fill(store, 3, 5000) > 3 * 5000 / 8
    store.close()
    found = in_process(tmp_path / "store.db", "median", 3, 5000)
    assert found["seconds"] > 0
    assert found["peak_mb"] > 20
