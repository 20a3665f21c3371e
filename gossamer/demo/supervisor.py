"""Operating-system processes of the demo: started, watched, started again when they die, ended together.

This is the small part of systemd that a demo needs. It never restarts a process whose exit code says that it would
fail the same way for ever.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gossamer.errors import GossamerError

RESTART_SECONDS = 0.3
"""Pause before a dead process is started again: long enough not to spin, short enough not to be noticed."""
STOP_SECONDS = 5.0
"""How long processes may take to end after SIGTERM (they promise 2 s) before they are killed."""
FATAL_EXIT_CODES = frozenset({2, 74, 77})
"""A setting, the disk, credentials: it would fail the same way for ever."""
MAX_FAILURES = 10
"""A process that ended by itself so often, whatever it said, is not started again. Being killed does not count."""
PR_SET_PDEATHSIG = 1


class ProcessFailed(GossamerError):
    """A process of the demo cannot run; the message holds the last lines it printed."""


@dataclass(slots=True)
class Supervised:
    """One process that should be running."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    died_at: float | None = None
    restarts: int = 0
    failures: int = 0


def _die_with_parent() -> None:
    """Ask the kernel to end this child when the demo itself is killed (Linux prctl)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(slots=True)
class Supervisor:
    """Keeps processes running until :meth:`stop`.

    ``pid_file`` holds a JSON object name -> process id, rewritten at every start, for whoever wants to
    look at (or kill) one of them.
    """

    pid_file: Path
    processes: dict[str, Supervised] = field(default_factory=dict)
    on_restart: Callable[[str], None] = lambda _name: None

    def start(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Start ``command`` under ``name``; its output goes to the file ``log``."""
        entry = Supervised(name, list(command), log, dict(environment))
        self.processes[name] = entry
        self._spawn(entry)

    def poll(self, now: float) -> None:
        """Start what died again.

        Raises:
            ProcessFailed: a process ended because of its configuration.
        """
        for entry in self.processes.values():
            if entry.process is None or entry.process.poll() is None:
                continue
            code = entry.process.returncode
            if entry.died_at is None and code > 0:
                entry.failures += 1
            if code in FATAL_EXIT_CODES or entry.failures > MAX_FAILURES:
                raise ProcessFailed(f"{entry.name} cannot run: {last_lines(entry.log)} (whole log: {entry.log})")
            if entry.died_at is None:
                entry.died_at = now
            elif now - entry.died_at >= RESTART_SECONDS:
                entry.restarts += 1
                self.on_restart(entry.name)
                self._spawn(entry)

    def stop(self) -> None:
        """End all processes: SIGTERM, and SIGKILL for those that do not listen."""
        alive = [e.process for e in self.processes.values() if e.process and e.process.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def restarts(self) -> int:
        """How often any process was started again."""
        return sum(entry.restarts for entry in self.processes.values())

    def _spawn(self, entry: Supervised) -> None:
        entry.died_at = None
        with entry.log.open("ab") as log:
            entry.process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                entry.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(entry.environment),
                preexec_fn=_die_with_parent,  # the demo has one thread when it starts children
            )
        pids = {name: e.process.pid for name, e in self.processes.items() if e.process}
        partial = self.pid_file.with_suffix(".partial")
        partial.write_text(json.dumps(pids))
        partial.replace(self.pid_file)


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last ``count`` lines of a log file, joined to one."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "no output"
    return " / ".join(line.strip() for line in lines[-count:]) or "no output"
