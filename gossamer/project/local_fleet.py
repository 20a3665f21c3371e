"""The fleet of a project on this machine: made once, found again after a crash, each step safe to repeat."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gossamer.agent.config import parse
from gossamer.agent.store import FILE_NAME, AgentStore
from gossamer.aggregator.store import Store, devices, inbox, rounds
from gossamer.demo.workspace import AGENT_TIMING
from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet
from gossamer.fleet.mosquitto import write_private
from gossamer.fleet.server_files import ServerFiles
from gossamer.project.settings import EMBEDDED, FILE, Project
from gossamer.settings import parse_toml

Tables = dict[str, Any]


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
        _rewrite(files.config, partial(_at, address))
    present = check_devices(project, files)
    for index in range(project.settings.devices):
        name = project.device(index)
        options = device_options(project, index, accepts_device)
        state = project.agent_state(index)
        if name not in present:
            enroll(files, DeviceSpec(name, project.settings.trainer, options, str(state)), address)
        state.mkdir(parents=True, exist_ok=True)
        _rewrite(files.device(name), partial(_device, project, options, address))
    project.logs.mkdir(parents=True, exist_ok=True)
    return files


def check_devices(project: Project, files: ServerFiles) -> set[str]:
    """The devices that are enrolled already. Raises ConfigError if there are more than are asked for."""
    wanted, present = project.settings.devices, _enrolled(files)
    surplus = sorted(present - set(map(project.device, range(wanted))))
    if surplus:
        raise ConfigError(
            f"{project.fleet} has the devices {', '.join(surplus)} beyond the {wanted} asked for, and rounds wait "
            f"for them: ask for {len(present)} devices, or remove {project.fleet} to begin anew"
        )
    return present


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


def _device(project: Project, options: Tables, address: BrokerAddress, given: Tables) -> Tables:
    """A device's configuration with what the project says now: its identity stays, all else follows the project."""
    settings, own = project.settings, project.settings.agent
    made = {**given, **AGENT_TIMING, "trainer": settings.trainer, "trainer_path": [str(project.directory)],
            "trainer_options": options}  # fmt: skip
    for key, value in own.items():
        made[key] = {**given.get(key, {}), **value} if isinstance(value, dict) else value
    made = _at(address, made)
    try:
        parse(made, project.directory, {})
    except ConfigError as error:
        raise ConfigError(f"{project.directory / FILE}: [agent]: {error}") from error
    return made


def _at(address: BrokerAddress, given: Tables) -> Tables:
    """The broker of this run may listen elsewhere than that of the last."""
    return {**given, "broker": {**given["broker"], "host": address.host, "port": address.port, "tls": address.tls}}


def _rewrite(file: Path, change: Callable[[Tables], Tables]) -> None:
    """Change a settings file, whole or not at all; nothing is written that is there already."""
    given = parse_toml(file.read_text())
    changed = change(given)
    if changed != given:
        write_private(file, "# Written by `gossamer train`. It may hold a private key.\n" + toml_text(changed))


def toml_text(tables: Tables) -> str:
    """Scalars, lists and tables of them as TOML.

    >>> print(toml_text({"a": 1, "t": {"b": [0.5, True], "c": "x"}}), end="")
    a = 1
    <BLANKLINE>
    [t]
    b = [0.5, true]
    c = "x"
    """
    lines = [f"{key} = {_value(value)}\n" for key, value in tables.items() if not isinstance(value, dict)]
    for key, table in tables.items():
        if isinstance(table, dict):
            lines.append(f"\n[{key}]\n")
            lines += [f"{name} = {_value(value)}\n" for name, value in table.items()]
    return "".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    # JSON escapes what TOML wants escaped, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
