"""Runs in worker processes, each finished one kept at once, so that a stopped benchmark goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.accuracy_runs import Outcome, Run, run

WORKERS = 2


def in_workers(
    runs: Sequence[Any], finished: Callable[[Any], None], workers: int = WORKERS, make: Callable[[Any], Any] = run
) -> None:
    """``make`` all, in processes of one BLAS thread; ``finished`` is called here, in the order in which they end."""
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        for done in as_completed([pool.submit(make, each) for each in runs]):
            finished(done.result())


class Records:
    """A JSON file of flat records, and beside it ``NAME_curves.json`` with one record a round."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = _read(path)
        self.curves: list[dict[str, Any]] = _read(self.curves_path)

    @property
    def curves_path(self) -> Path | None:
        """Where the accuracy of every round is kept."""
        return self.path.with_name(f"{self.path.stem}_curves.json") if self.path else None

    def has(self, wanted: Run) -> bool:
        """Whether this very run, with the same settings, was made before."""
        return any(Run.key_of(row) == wanted.key for row in self.rows)

    def put(self, outcome: Outcome) -> None:
        """Add a run in the place of an earlier one of the same federation, codec and seed, and write the files."""
        self.rows = [*_others(self.rows, outcome.record), outcome.record]
        self.curves = [*_others(self.curves, outcome.record), *outcome.curve]
        self.write()

    def write(self) -> None:
        """Write both files, whole or not at all."""
        for path, rows in ((self.path, self.rows), (self.curves_path, self.curves)):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(f".{os.getpid()}")
                partial.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
                partial.replace(path)


def _read(path: Path | None) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())) if path and path.exists() else []


def _others(rows: Sequence[dict[str, Any]], than: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = ("federation", "codec", "seed")
    return (row for row in rows if any(row[name] != than[name] for name in names))
