"""Runs the command line: in this process where that is the same, in a process of its own where it is not."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def refused(self, *words: str, code: int = 2) -> None:
        """One line on standard error that begins ``gossamer:`` and holds all words, and nothing else."""
        assert self.code == code, self
        assert self.err.startswith("gossamer: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.out + self.err
        for word in words:
            assert word in self.err


Run = Callable[..., Ended]


def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """What ``python -m gossamer.cli`` does, without the seconds that a new interpreter takes."""

    def run(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["gossamer", *map(str, words)])
        capfd.readouterr()
        try:
            runpy.run_module("gossamer.cli", run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, *capfd.readouterr())

    return run


def apart(*words: str | Path, cwd: Path | None = None, stdin: bytes | None = None) -> Ended:
    """``python -m gossamer.cli`` in a process of its own."""
    command = [sys.executable, "-m", "gossamer.cli", *map(str, words)]
    ended = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, timeout=60)
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())
