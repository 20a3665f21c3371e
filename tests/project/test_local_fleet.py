"""The fleet of a project: made once, found again however little of it there was."""

from __future__ import annotations

import dataclasses
import doctest
from pathlib import Path
from typing import Any

import pytest

from gossamer.agent.config import load
from gossamer.errors import ConfigError
from gossamer.fleet.server_files import ServerFiles
from gossamer.project import local_fleet
from gossamer.project.local_fleet import alone, make_fleet, processes
from gossamer.project.settings import Project, with_devices


def everything(directory: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in directory.rglob("*") if file.is_file() and "store.db" not in file.name}


def test_it_is_made_once(project: Project) -> None:
    files = make_fleet(project, 1111, accepts_device=True)
    before = everything(project.fleet)
    settings = load(files.device("local-01"), {})
    assert settings.trainer_options == {"d": 20, "device": 1}
    assert settings.trainer_path == [project.directory]
    assert settings.fit_threads == 2
    assert settings.link.bytes_per_second == 700
    assert settings.broker.port == files.settings({}).broker.port == 1111
    make_fleet(project, 1111, accepts_device=True)
    assert everything(project.fleet) == before
    assert load(files.device("local-00"), {}).device_key != settings.device_key


def test_a_factory_without_a_number(project: Project) -> None:
    files = make_fleet(project, 1111, accepts_device=False)
    assert load(files.device("local-01"), {}).trainer_options == {"d": 20}


def test_the_embedded_broker_listens_elsewhere_every_time(project: Project) -> None:
    make_fleet(project, 1111, accepts_device=True)
    files = make_fleet(project, 2222, accepts_device=True)
    ports = {load(files.device(f"local-0{index}"), {}).broker.port for index in range(2)}
    assert ports | {files.settings({}).broker.port} == {2222}
    moved = dataclasses.replace(project, settings=dataclasses.replace(project.settings, broker="mqtts://b.example"))
    files = make_fleet(moved, 3333, accepts_device=True)
    broker = load(files.device("local-00"), {}).broker
    assert (broker.host, broker.port, broker.tls) == ("b.example", 8883, True)


@pytest.mark.parametrize("at", range(5))
def test_killed_in_between_it_is_finished_by_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """After every step that writes a device's file, the power fails."""

    class PowerCut(Exception):
        pass

    writes = []
    real = local_fleet.write_private

    def write(path: Path, text: str) -> None:
        writes.append(path)
        if len(writes) > at:
            raise PowerCut
        real(path, text)

    monkeypatch.setattr(local_fleet, "write_private", write)
    for port in (1111, 2222):  # two runs: the second moves the broker as well
        try:
            make_fleet(project, port, accepts_device=True)
        except PowerCut:
            break
    monkeypatch.undo()
    files = make_fleet(project, 4444, accepts_device=True)
    for index in range(2):
        settings = load(files.device(f"local-0{index}"), {})
        assert (settings.trainer_path, settings.broker.port) == ([project.directory], 4444)
        assert project.agent_state(index).is_dir()


def test_what_the_project_says_later_reaches_the_devices(project: Project) -> None:
    files = make_fleet(project, 1111, accepts_device=True)
    before = load(files.device("local-00"), {})
    changed = dataclasses.replace(
        project.settings, trainer="other.py:make", trainer_options={"path": 'a "b" \x7f'}, agent={"fit_nice": 3}
    )
    make_fleet(dataclasses.replace(project, settings=changed), 1111, accepts_device=True)
    after = load(files.device("local-00"), {})
    assert (after.trainer, after.trainer_options) == ("other.py:make", {"path": 'a "b" \x7f', "device": 0})
    assert after.fit_nice == 3
    assert (after.device_key, after.device_index, after.topics) == (
        before.device_key, before.device_index, before.topics
    )  # fmt: skip


@pytest.mark.parametrize(
    ("agent", "message"),
    [({"fit_nicee": 1}, "did you mean fit_nice"), ({"fit_nice": 99}, "at most 19"), ({"link": 3}, "expected a table")],
)
def test_settings_of_agents_that_cannot_be(project: Project, agent: dict[str, Any], message: str) -> None:
    wrong = dataclasses.replace(project, settings=dataclasses.replace(project.settings, agent=agent))
    with pytest.raises(ConfigError, match=message) as told:
        make_fleet(wrong, 1, accepts_device=True)
    assert r"project.toml: [agent]" in str(told.value)


def test_examples() -> None:
    assert doctest.testmod(local_fleet).failed == 0


def test_more_devices_join_and_fewer_are_refused(project: Project) -> None:
    make_fleet(project, 1, accepts_device=True)
    make_fleet(with_devices(project, 3), 1, accepts_device=True)
    with pytest.raises(ConfigError, match="has the devices local-01, local-02 beyond the 1 asked for"):
        make_fleet(with_devices(project, 1), 1, accepts_device=True)


def test_two_at_a_time_are_refused(project: Project) -> None:
    def enter() -> Any:
        with alone(project):
            pass

    with alone(project), pytest.raises(ConfigError, match="another `gossamer train` runs"):
        enter()
    enter()


def test_what_is_started(project: Project) -> None:
    started = processes(project, 1, 2)
    assert list(started) == ["broker", "server", "local-00", "local-01"]
    assert started["local-01"][-1] == str(ServerFiles(project.fleet).device("local-01"))
    own = dataclasses.replace(project, settings=dataclasses.replace(project.settings, broker="mqtt://localhost:1"))
    assert list(processes(own, 1, 2)) == ["server", "local-00", "local-01"]
