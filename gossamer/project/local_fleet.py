"""The fleet of a project on this machine: made once, found again after a crash, each step safe to repeat."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gossamer.agent.store import FILE_NAME, AgentStore
from gossamer.aggregator.store import Store, devices, inbox, rounds
from gossamer.demo.workspace import AGENT_TIMING
from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.mosquitto import write_private
from gossamer.fleet.server_files import ServerFiles
from gossamer.project.settings import EMBEDDED, Project

_DONE = "# completed by gossamer train\n"
"""In a configuration that has everything: one without was left by a run that was killed in between."""


def make_fleet(project: Project, port: int, accepts_device: bool) -> ServerFiles:
    """Make or find the fleet; the embedded broker of this run listens on ``port``.

    ``accepts_device``: the factory takes ``device``, the number of a device on this machine.

    Raises:
        ConfigError: the fleet that is there has more devices than are asked for.
    """
    files = ServerFiles(project.fleet)
    address = project.broker_address(port)
    if not files.config.exists():
        init_fleet(files, project.fleet_name, address, accounts=False)
    else:
        _move(files.config, address)
    present = _enrolled(files)
    wanted = [project.device(index) for index in range(project.settings.devices)]
    surplus = sorted(present - set(wanted))
    if surplus:
        raise ConfigError(
            f"{project.fleet} has the devices {', '.join(surplus)} beyond the {len(wanted)} asked for, and rounds wait "
            f"for them: ask for {len(present)} devices, or remove {project.fleet} to begin anew"
        )
    for index, name in enumerate(wanted):
        options = device_options(project, index, accepts_device)
        state = project.agent_state(index)
        if name not in present:
            enroll(files, DeviceSpec(name, project.settings.trainer, options, str(state)), address)
        state.mkdir(parents=True, exist_ok=True)
        config = files.device(name)
        if _DONE not in config.read_text():
            write_private(config, _completed(config.read_text(), project))
        _move(config, address)
    project.logs.mkdir(parents=True, exist_ok=True)
    return files


def device_options(project: Project, index: int, accepts_device: bool) -> dict[str, Any]:
    """What the factory of a local device is called with."""
    return {**project.settings.trainer_options, **({"device": index} if accepts_device else {})}


def retry_lost(project: Project, store: Store, job: int) -> list[str]:
    """Let devices try again what they gave up in the round that is open; returns their names.

    A round here waits for every device of its cohort, and a trainer that failed may have been mended.
    """
    with store.read() as db:
        latest = rounds.latest(db, job)
        counted = frozenset() if latest is None else inbox.senders(db, job, latest.round)
    if latest is None:
        return []
    found = []
    for index in range(project.settings.devices):
        name, state = project.device(index), project.agent_state(index)
        if name in counted or not (state / FILE_NAME).exists():
            continue
        own = AgentStore(state, project.fleet_name, name)
        try:
            if own.retry(job, latest.round):
                found.append(name)
        finally:
            own.close()
    return found


@contextlib.contextmanager
def alone(project: Project) -> Iterator[None]:
    """Hold the fleet of a project for the length of the block. Raises ConfigError if another run has it."""
    project.fleet.mkdir(parents=True, exist_ok=True)
    with (project.fleet / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another `gossamer train` runs in {project.directory}: end that one first") from error
        yield


def processes(project: Project, port: int, page_port: int) -> dict[str, list[str]]:
    """Name -> arguments after ``python -m``, in the order in which to start them."""
    found = {}
    if project.settings.broker == EMBEDDED:
        found["broker"] = ["gossamer.cli", "broker", "--port", str(port)]
    found["server"] = ["gossamer.cli", "serve", "--state", str(project.fleet), "--page", f"127.0.0.1:{page_port}"]
    files = ServerFiles(project.fleet)
    for index in range(project.settings.devices):
        name = project.device(index)
        found[name] = ["gossamer.agent", "--config", str(files.device(name))]
    return found


def process_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of those processes: output that is not held back."""
    return {**environment, "PYTHONUNBUFFERED": "1"}


def _enrolled(files: ServerFiles) -> set[str]:
    store = Store.open(files.store)
    try:
        with store.read() as db:
            return {device.id for device in devices.every(db) if device.enrolled}
    finally:
        store.close()


def _completed(text: str, project: Project) -> str:
    """The configuration with this machine's own settings: quick timing, where the trainer lies, ``[agent]``."""
    own: dict[str, Any] = {**AGENT_TIMING, "trainer_path": [str(project.directory)]}
    tables = {key: value for key, value in project.settings.agent.items() if isinstance(value, dict)}
    own |= {key: value for key, value in project.settings.agent.items() if key not in tables}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())
    text = text.replace("\n[broker]\n", f"{_DONE}{lines}\n[broker]\n", 1)
    for name, table in tables.items():
        text += f"\n[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return text


def _move(file: Path, address: BrokerAddress) -> None:
    """The broker of this run may listen elsewhere than that of the last."""
    keys = {"host": json.dumps(address.host), "port": str(address.port), "tls": json.dumps(address.tls)}
    lines = file.read_text().splitlines()
    start = lines.index("[broker]") + 1
    for at in range(start, len(lines)):
        key = lines[at].partition(" = ")[0]
        if lines[at].startswith("["):
            break
        if key in keys:
            lines[at] = f"{key} = {keys[key]}"
    text = "\n".join(lines) + "\n"
    if text != file.read_text():
        write_private(file, text)
