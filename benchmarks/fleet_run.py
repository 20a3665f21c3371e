"""A Gossamer fleet between network namespaces: Mosquitto with accounts, a server, and one agent for each device.

Everything is as in a real fleet: TLS, signatures, broker accounts and access lists, one process for each agent and one
for each fit, the agents' default timing. Counted are the IP bytes on each device's own interface, from before its
first packet until after its goodbye.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.hosts import SERVER_ADDRESS, Hosts, Traffic, stop
from gossamer.agent.trainer import NumpyTrainer
from gossamer.agent.work import first_model
from gossamer.aggregator.jobs import JobSettings, create_job
from gossamer.aggregator.store import Store
from gossamer.demo.bytes_by_cause import by_cause
from gossamer.demo.options import device_name
from gossamer.demo.supervisor import last_lines
from gossamer.demo.watcher import Watcher
from gossamer.demo.workspace import Workspace
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from tests.brokers import MOSQUITTO, self_signed

REPOSITORY = Path(__file__).resolve().parents[1]
PORT = 8883
LOOK_SECONDS = 0.1
READY_SECONDS = 2.0
"""Broker and server are up by then, so that no refused connection is counted."""
ROUND_SECONDS = 180.0
"""A round takes 1 to 10 s for twenty devices on two cores."""
GOODBYE_SECONDS = 0.5
"""After the last agent has ended: the last acknowledgements on the cables."""


@dataclass(frozen=True)
class FleetPlan:
    """What the fleet does: the job, each device's trainer factory and options, and when it is done.

    ``reached`` is told the accuracies of all rounds so far and says whether the target is met; the job's last
    round ends the run as well.
    """

    job: JobSettings
    devices: int
    trainer: str
    options: Callable[[int], dict[str, Any]]
    judge: NumpyTrainer
    reached: Callable[[Sequence[float]], bool]
    tls: bool = True
    on_round: Callable[[int, float], None] = field(default=lambda _round, _accuracy: None)


@dataclass(frozen=True)
class FleetResult:
    """What was measured. Traffic and ledger are of all devices together, in bytes."""

    accuracies: tuple[float, ...]
    reached: bool
    traffic: Mapping[int, Traffic]
    ledgers: Sequence[Mapping[str, int]]
    seconds: float

    @property
    def ledger_bytes(self) -> int:
        """IP bytes by the agents' own account."""
        return sum(n for one in self.ledgers for key, n in one.items() if not key.startswith("count/"))

    @property
    def payload_up(self) -> int:
        """Bytes of update bodies made, all devices."""
        return sum(one.get("count/body_bytes_up", 0) for one in self.ledgers)

    @property
    def payload_down(self) -> int:
        """Bytes of model deltas and snapshots received, all devices."""
        return sum(one.get("count/down_body_bytes", 0) for one in self.ledgers)

    @property
    def causes(self) -> dict[str, int]:
        """IP bytes by cause, all devices."""
        return by_cause(self.ledgers)


def run_fleet(hosts: Hosts, directory: Path, plan: FleetPlan) -> FleetResult:
    """Run a job until its target.

    Raises:
        RuntimeError: a process ended or a round does not come to its end; holds the last lines of the logs.
    """
    directory.mkdir(parents=True)
    space = Workspace(directory.resolve())
    space.logs.mkdir()
    broker = _make_fleet(space, plan)
    environment = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    store = Store.open(space.server.store)
    python = [sys.executable, "-m"]
    serve = [*python, "gossamer.cli", "serve", "--state", str(space.server.directory)]
    try:
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(hosts.running(hosts.server, command, space.logs / f"{name}.log", environment))
                for name, command in (("broker", broker), ("server", serve))
            ]
            time.sleep(READY_SECONDS)
            before, began = hosts.counters(), time.monotonic()
            agents = [
                stack.enter_context(
                    hosts.running(
                        hosts.device(index),
                        [*python, "gossamer.agent", "--config", str(space.agent_config(index))],
                        space.logs / f"{device_name(index)}.log",
                        environment,
                    )
                )
                for index in range(plan.devices)
            ]
            watcher = Watcher(space, store, plan.judge)
            reached = _follow(watcher, plan, [*servers, *agents])
            seconds = time.monotonic() - began
            stop(agents)
            time.sleep(GOODBYE_SECONDS)
            after = hosts.counters()
            traffic = {index: after[index] - before[index] for index in range(plan.devices)}
            accuracies = tuple(sealed.accuracy for sealed in watcher.sealed)
            return FleetResult(accuracies, reached, traffic, watcher.ledgers(plan.devices), seconds)
    finally:
        store.close()


def _follow(watcher: Watcher, plan: FleetPlan, processes: Sequence[Any]) -> bool:
    """Look until the target is met or the job ends; returns whether it was met."""
    deadline = time.monotonic() + ROUND_SECONDS
    while True:
        if watcher.look():
            deadline = time.monotonic() + ROUND_SECONDS
            accuracies = [sealed.accuracy for sealed in watcher.sealed]
            plan.on_round(len(accuracies), accuracies[-1])
            if plan.reached(accuracies):
                return True
        if watcher.finished:
            return False
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            logs = (f"{log.stem}: {last_lines(log, 2)}" for log in sorted(watcher.space.logs.iterdir()))
            raise RuntimeError(f"the fleet stands still in round {watcher.round}:\n" + "\n".join(logs))
        time.sleep(LOOK_SECONDS)


def _make_fleet(space: Workspace, plan: FleetPlan) -> list[str]:
    """Make keys, accounts, devices and the job; returns the broker's command line."""
    certificate, key = self_signed(space.directory, SERVER_ADDRESS)
    authority = f'ca_file = "{certificate}"\n' if plan.tls else ""
    address = BrokerAddress(SERVER_ADDRESS, PORT, plan.tls, insecure=not plan.tls)
    init_fleet(space.server, plan.job.fleet, address, accounts=True)
    space.server.config.write_text(space.server.config.read_text() + authority)
    for index in range(plan.devices):
        name = device_name(index)
        enroll(space.server, DeviceSpec(name, plan.trainer, plan.options(index), str(space.agent_state(index))))
        config = space.agent_config(index)
        more = f'trainer_path = ["{REPOSITORY}"]\nledger_interval_seconds = 1.0\n'
        config.write_text(config.read_text().replace("\n[broker]\n", f"{more}\n[broker]\n{authority}"))
        space.agent_state(index).mkdir(parents=True)
    first = first_model(plan.judge, plan.job.seed, plan.job.cycle, plan.job.method)
    store = Store.open(space.server.store)
    try:
        create_job(store, plan.job, first.weights, first.layout)
    finally:
        store.close()
    lines = [f"listener {PORT} {SERVER_ADDRESS}", "persistence false", "max_queued_messages 100000"]
    lines += ["allow_anonymous false", f"password_file {space.server.passwords}", f"acl_file {space.server.rules}"]
    lines += ["user root"] if os.geteuid() == 0 else []
    lines += [f"certfile {certificate}", f"keyfile {key}"] if plan.tls else []
    config = space.directory / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    return [MOSQUITTO, "-c", str(config)]
