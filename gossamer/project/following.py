"""Runs what a job needs on this machine, and follows the job to its end. Whatever is killed meanwhile, the next
run goes on from there.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gossamer.aggregator.store import Store
from gossamer.demo.bytes_by_cause import downloaded
from gossamer.demo.supervisor import Supervisor
from gossamer.demo.watcher import ledgers
from gossamer.errors import TrainerFailed
from gossamer.project.judging import Judge
from gossamer.project.local_fleet import process_environment
from gossamer.project.progress import Display, Progress
from gossamer.project.watching import Ledger, Watcher, lost_rounds, why_lost

LOOK_SECONDS = 0.25
LEDGER_LOOK_SECONDS = 1.0
GIVE_UP_SECONDS = 10.0
"""A round that waits so long for a device whose trainer has failed would wait for its deadline."""
SETTLE_SECONDS = 2.5
"""After the last round the devices write their byte accounts: every second, and when they end."""


@dataclass
class Run:
    """One run of ``gossamer train``. Without ``processes`` the fleet is somebody else's, and only looked at.

    ``waits_for_all``: no round ends without every device of its cohort.
    """

    store: Store
    job: int
    rounds: int
    judge: Judge
    logs: Path
    processes: dict[str, list[str]] = field(default_factory=dict)
    states: Sequence[Path] = ()
    waits_for_all: bool = False
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self.store, self.job)
        self.supervisor = Supervisor(self.logs / "processes.json")
        self.accounts: list[Ledger] = []
        self._before = self._baseline()
        self._looked = self._sealed_at = self.began
        self._lost = lost_rounds(self._since())

    def follow(self, display: Display, stop: Callable[[], bool]) -> bool:
        """To the last round; returns False when ``stop`` ended it before.

        Raises:
            TrainerFailed: the trainer fails on the devices, and no round ends. ProcessFailed: one cannot run.
        """
        try:
            self._start()
            with display.running():
                while not (self.watcher.finished and self.judge.idle):
                    if stop():
                        return False
                    self._turn(display)
            if self.processes:
                time.sleep(SETTLE_SECONDS)
            return True
        finally:
            self.judge.close()
            self.supervisor.stop()
            self.accounts = self._since()

    @property
    def seconds(self) -> float:
        """Since this run began."""
        return time.monotonic() - self.began

    def _start(self) -> None:
        environment = process_environment()
        for name, arguments in self.processes.items():
            log = self.logs / f"{name}.log"
            self.supervisor.start(name, [sys.executable, "-m", *arguments], log, environment)

    def _turn(self, display: Display) -> None:
        now = time.monotonic()
        self.supervisor.poll(now)
        if self.watcher.look():
            self._sealed_at, self._lost = now, lost_rounds(self._since())
            self.judge.want(self.watcher.version, self.watcher.model())
        if now - self._looked >= LEDGER_LOOK_SECONDS:
            self.accounts, self._looked = self._since(), now
        if self._hopeless(now):
            raise TrainerFailed(f"round {self.watcher.round} does not end, the trainer fails: {why_lost(self.logs)}")
        self.judge.turn(now)
        ready, _, _ = select.select(list(self.judge.descriptors), [], [], LOOK_SECONDS)
        for descriptor in ready:
            self.judge.ready(descriptor)
        display.show(self.progress())

    def _hopeless(self, now: float) -> bool:
        """Whether the open round waits for a device that has given it up."""
        if not self.waits_for_all or self.watcher.finished or now - self._sealed_at < GIVE_UP_SECONDS:
            return False
        return lost_rounds(self.accounts) > self._lost

    def progress(self) -> Progress:
        """What is to be shown."""
        watcher = self.watcher
        return Progress(
            round=watcher.round,
            rounds=self.rounds,
            cohort=watcher.cohort,
            counted=watcher.counted,
            devices=watcher.devices,
            updates=watcher.updates,
            payload_up=watcher.body_bytes,
            payload_down=downloaded(self.accounts) if self.states else None,
            losses=tuple(watcher.losses),
            verdicts=tuple(self.judge.verdicts),
            rejected=watcher.rejected + watcher.refused(),
            restarts=self.supervisor.restarts,
            seconds=self.seconds,
        )

    def _baseline(self) -> list[Ledger]:
        """The accounts as they were when this job began, also when another run has begun it."""
        file = self.logs / f"accounts-before-job-{self.job}.json"
        if self.states and file.exists():
            kept: list[Ledger] = json.loads(file.read_text())
            return [*kept, *({} for _ in self.states[len(kept) :])]
        now = ledgers(self.states)
        if self.states:
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(now))
            partial.replace(file)
        return now

    def _since(self) -> list[Ledger]:
        """The accounts of the devices, without what they had before this job."""
        now = ledgers(self.states)
        return [
            {key: count - before.get(key, 0) for key, count in account.items()}
            for account, before in zip(now, self._before, strict=True)
        ]
