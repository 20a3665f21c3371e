"""A fleet as an operator makes it: ``fleet init``, ``enroll``, ``job create``, a server and agents as processes.

The trainer is ``tests.agent.tiny``, whose updates follow from (seed, round) alone: the same job ends with the same
model over every broker, naming and processor.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gossamer.agent import work
from gossamer.aggregator.jobs import JobSettings, create_job, model_at
from gossamer.aggregator.store import Store, inbox, jobs, rejections, rounds, uploads
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.server_files import ServerFiles
from gossamer.wire.topics import Topics
from tests.brokers import HOST, Listening
from tests.lab.namespaces import REPOSITORY

TRAINER = "tests.agent.tiny:make"
#: Patience of the agents that suits a broker on the same machine.
QUICK = {
    "status_timeout_seconds": 1.0, "manifest_wait_seconds": 0.5, "manifest_poll_seconds": 2.0,
    "backoff_first_seconds": 0.1, "backoff_limit_seconds": 0.5, "fit_nice": 0, "ledger_interval_seconds": 1.0,
}  # fmt: skip
SECONDS = 60.0

Process = subprocess.Popen[bytes]


@dataclass
class SmallFleet:
    """Files of a fleet; processes come and go."""

    directory: Path
    files: ServerFiles
    topics: Topics
    devices: tuple[str, ...]
    processes: list[Process] = field(default_factory=list)

    # -- processes -----------------------------------------------------------------------------------------

    def serve(self) -> Process:
        """Start the server."""
        return self.run("server", [sys.executable, "-m", "gossamer.cli", "serve", "--state", str(self.files.directory)])

    def agent(self, device: str, python: list[str] | None = None) -> Process:
        """Start a device's agent, by ``python`` if it is not this one."""
        config = self.files.device(device)
        return self.run(device, [*(python or [sys.executable]), "-m", "gossamer.agent", "--config", str(config)])

    def run(self, name: str, command: list[str]) -> Process:
        """Start a process of the fleet, its words in ``NAME.log``."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"}
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=REPOSITORY)
        self.processes.append(process)
        return process

    def log(self, name: str) -> Path:
        """What a process has said."""
        return self.directory / f"{name}.log"

    def stop(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait(self, until: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait for something; a failure shows the logs' ends."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"nothing happened within {seconds:.0f} s\n{self._logs()}"
            time.sleep(0.05)

    def _logs(self) -> str:
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {log.name}\n" + log.read_text(errors="replace")[-1500:] for log in logs)

    # -- what the store says -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def store(self) -> Iterator[Any]:
        """The store's connection, for reading."""
        store = Store.open(self.files.store)
        try:
            with store.read() as db:
                yield db
        finally:
            store.close()

    def finished(self) -> bool:
        """Whether the job has run all its rounds."""
        with self.store() as db:
            job = jobs.current(db)
            return job is not None and job.state is jobs.JobState.FINISHED

    def digest(self) -> str:
        """Digest of the newest model."""
        with self.store() as db:
            job = jobs.current(db)
            assert job is not None
            return model_at(db, job, job.version).digest.hex()

    def counted(self) -> list[tuple[int, str, int | None]]:
        """Round, device and version of every update that was accepted."""
        with self.store() as db:
            found = [inbox.receipt(db, 1, each.round, name) for each in rounds.every(db, 1) for name in self.devices]
        return sorted((each.round, each.device, each.sealed_in) for each in found if each is not None)

    def rejected(self) -> dict[str, int]:
        """Reason -> how many messages."""
        with self.store() as db:
            return rejections.totals(db)

    def chunks_on_disk(self, device: str) -> int:
        """Of an upload that is not complete."""
        with self.store() as db:
            return len(uploads.have(db, device))


def make(
    directory: Path, broker: Listening, *, topics: Topics | None = None, names: tuple[str, ...] = ("d0", "d1"),
    accounts: bool = False, trainer: str = TRAINER, options: Mapping[str, Any] | None = None,
    agent: Mapping[str, Any] | None = None, **job: Any,
) -> SmallFleet:  # fmt: skip
    """Make keys, accounts, devices and a job; nothing runs yet. ``agent``: settings of the devices beside QUICK."""
    topics = Topics("t") if topics is None else topics
    files = ServerFiles(directory / "state")
    options = {"d": 40} if options is None else dict(options)
    address = BrokerAddress(HOST, broker.port, tls=broker.tls is not None, insecure=False)
    init_fleet(files, topics.fleet, address, accounts=accounts, topics=topics)
    _authority(files.config, broker)
    for name in names:
        spec = DeviceSpec(name, trainer, options, str(directory / f"agent-{name}"))
        config = enroll(files, spec, address)
        quick = {**QUICK, **(agent or {})}
        config.write_text("".join(f"{key} = {value}\n" for key, value in quick.items()) + config.read_text())
        _authority(config, broker)
    settings = JobSettings("job", 1, topics.fleet, seed=3, rounds=job.pop("rounds", 2), **job)
    model = work.first_model(work.make_trainer(trainer, options, []), settings.seed, settings.cycle, settings.method)
    store = Store.open(files.store)
    create_job(store, settings, model.weights, model.layout)
    store.close()
    return SmallFleet(directory, files, topics, names)


def _authority(config: Path, broker: Listening) -> None:
    """Let a TLS client believe the test's broker."""
    if broker.tls is not None:
        config.write_text(config.read_text().replace("[broker]\n", f'[broker]\nca_file = "{broker.tls.ca_file}"\n'))


@contextlib.contextmanager
def running(fleet: SmallFleet) -> Iterator[SmallFleet]:
    """The server and all devices, until the block ends."""
    try:
        fleet.serve()
        for name in fleet.devices:
            fleet.agent(name)
        yield fleet
    finally:
        fleet.stop()
