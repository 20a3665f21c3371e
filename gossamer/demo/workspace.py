"""The directory of a demo run: a fleet, its job and its devices, made once and found again after a crash."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.agent.work import first_model
from gossamer.aggregator.automatic import Decisions, decide
from gossamer.aggregator.job_settings import ThreatSettings
from gossamer.aggregator.jobs import ClosingSettings, FitSettings, JobSettings, create_job
from gossamer.aggregator.privacy import PrivacySettings
from gossamer.aggregator.store import Store, devices
from gossamer.compression.layout import Layout
from gossamer.demo.federation import fleet as fleet_of
from gossamer.demo.federation import model_for
from gossamer.demo.options import DemoOptions, device_name
from gossamer.demo.settings import CLIP_NORM, DELTA, DemoSettings
from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.server_files import ServerFiles
from gossamer.methods import method

FLEET = "demo"
JOB = 1
ROUND_SECONDS = 3600.0
"""Deadline of a round: none in practice, so that a run is the same whatever is killed in it."""

UNDECIDED_SECONDS = 10.0
"""The same where devices decide whether they send: nothing tells that a round is complete."""

AGENT_TIMING = {
    "status_timeout_seconds": 2.0,
    "manifest_wait_seconds": 2.0,
    "manifest_poll_seconds": 10.0,
    "bridge_down_patience_seconds": 3.0,
    "backoff_first_seconds": 0.2,
    "backoff_limit_seconds": 1.0,
    "ledger_interval_seconds": 1.0,
    "fit_nice": 0,
}
"""Loopback is faster than a satellite: what waits for seconds or hours elsewhere waits for less here."""


@dataclass(frozen=True)
class Workspace:
    """Paths of a run."""

    directory: Path

    @property
    def server(self) -> ServerFiles:
        """The server's state directory."""
        return ServerFiles(self.directory / "server")

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.directory / "logs"

    @property
    def pids(self) -> Path:
        """Name -> process id, JSON."""
        return self.directory / "processes.json"

    def agent_config(self, index: int) -> Path:
        """Configuration file of a device."""
        return self.server.device(device_name(index))

    def agent_state(self, index: int) -> Path:
        """State directory of a device."""
        return self.directory / "agents" / device_name(index)


def job_settings(options: DemoOptions, tuned: DemoSettings) -> JobSettings:
    """The job of a demo run."""
    private = PrivacySettings(options.epsilon, DELTA, CLIP_NORM) if options.epsilon else None
    return JobSettings(
        name=options.data,
        job=JOB,
        fleet=FLEET,
        seed=options.seed,
        rounds=options.rounds,
        cohorts=options.cohorts,
        participation=options.participation,
        rule=options.rule,
        server_step=options.server_step or tuned.server_step,
        method=options.method,
        codec_up=options.codec,
        codec_down=options.codec_down,
        fit=FitSettings(tuned.local_epochs, tuned.batch_size, tuned.learning_rate, tuned.schedule),
        closing=closing_of(options),
        privacy=private,
        threat=ThreatSettings(options.attackers / options.devices),
    )


def closing_of(options: DemoOptions) -> ClosingSettings:
    """When a round of the demo closes: with its whole cohort, where it is known who comes."""
    if options.participation == "importance":
        return ClosingSettings(deadline_seconds=UNDECIDED_SECONDS)
    quorum = -(-options.devices // options.cohorts) if options.participation == "anytime" else 0
    lag = 0 if method(options.method).punctual else ClosingSettings().max_lag
    return ClosingSettings(quorum, ROUND_SECONDS, "extend", max_lag=lag)


def settled(options: DemoOptions, tuned: DemoSettings) -> tuple[JobSettings, Decisions]:
    """The same with what "auto" comes to for this model and fleet, and why; the noise of a private run too."""
    model = model_for(options.data)
    layout = Layout.of(model.init(options.seed), getattr(model, "axes", {}))
    return decide(job_settings(options, tuned), layout, options.devices)


def prepare(directory: Path, options: DemoOptions, tuned: DemoSettings, port: int) -> Workspace:
    """Make the workspace, or take up the one that a killed run of the same options left.

    Raises:
        ConfigError: the directory holds something else, or the options cannot work.
    """
    space = Workspace(directory)
    remembered = directory / "options.json"
    if remembered.exists():
        if json.loads(remembered.read_text()) != options.to_mapping():
            raise ConfigError(f"{directory} holds a run with other options; choose another --dir or remove it")
        _move_broker(space, options, port)
        return space
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty and holds no demo run; choose another --dir")
    settings, _ = settled(options, tuned)
    settings.check()
    space.logs.mkdir(parents=True)
    _make_fleet(space, options, settings.rule, port)
    trainers, _pooled = fleet_of(options.data, options.devices, options.seed)
    first = first_model(trainers[0], options.seed, settings.cycle, settings.method)
    store = Store.open(space.server.store)
    try:
        create_job(store, settings, first.weights, first.layout)
    finally:
        store.close()
    partial = remembered.with_suffix(".partial")
    partial.write_text(json.dumps(options.to_mapping()))
    partial.replace(remembered)
    return space


def _make_fleet(space: Workspace, options: DemoOptions, rule: str, port: int) -> None:
    host, port, tls = options.broker_address(port)
    address = BrokerAddress(host, port, tls, insecure=False)
    init_fleet(space.server, FLEET, address, accounts=False)
    if options.ca_file:
        _append(space.server.config, f'ca_file = "{Path(options.ca_file).resolve()}"\n')
    for index in range(options.devices):
        name = device_name(index)
        spec = DeviceSpec(name, trainer_of(options, index), trainer_options(space, options, index, rule),
                          str(space.agent_state(index).resolve()))  # fmt: skip
        enroll(space.server, spec)
        config = space.server.device(name)
        timing = "".join(f"{key} = {value}\n" for key, value in AGENT_TIMING.items())
        authority = f'ca_file = "{Path(options.ca_file).resolve()}"\n' if options.ca_file else ""
        text = config.read_text().replace("\n[broker]\n", f"{timing}\n[broker]\n{authority}")
        config.write_text(text)
        space.agent_state(index).mkdir(parents=True)
    store = Store.open(space.server.store)
    try:
        with store.read() as db:
            found = devices.count(db)
    finally:
        store.close()
    if found != options.devices:
        raise ConfigError(f"{space.directory} was prepared in part by a run that was killed; remove it")


def trainer_of(options: DemoOptions, index: int) -> str:
    """Return the factory of a device: an honest trainer, or one that lies."""
    honest = index not in options.attacker_indexes
    return "gossamer.demo.federation:trainer" if honest else "gossamer.demo.attacker:trainer"


def trainer_options(space: Workspace, options: DemoOptions, index: int, rule: str) -> dict[str, Any]:
    """Return what the factory is called with; attackers know the server's rule."""
    given: dict[str, Any] = {
        "data": options.data,
        "device": index,
        "devices": options.devices,
        "seed": options.seed,
        "cache": str((space.directory / "cache").resolve()),
    }
    if index in options.attacker_indexes:
        cohort = options.devices // options.cohorts
        given |= {"attack": options.attack, "attackers": options.attackers, "cohort_size": cohort,
                  "job_seed": options.seed, "rule": rule}  # fmt: skip
    return given


def _move_broker(space: Workspace, options: DemoOptions, port: int) -> None:
    """The embedded broker of a continued run listens on another port."""
    _host, port, _tls = options.broker_address(port)
    for file in (space.server.config, *(space.agent_config(i) for i in range(options.devices))):
        lines = file.read_text().splitlines()
        text = "\n".join(f"port = {port}" if line.startswith("port = ") else line for line in lines) + "\n"
        partial = file.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(file)


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)
