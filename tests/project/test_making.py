"""``gossamer init``: what is written, what is refused, and that nothing is ever overwritten."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gossamer.agent import work
from gossamer.agent.trainer import FitConfig
from gossamer.errors import ConfigError
from gossamer.project.making import TRAINERS, Asked, contents, make_project
from gossamer.project.settings import read_project


def names(files: list[Path]) -> set[str]:
    return {file.name for file in files}


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_project_of_each_kind(tmp_path: Path, kind: str) -> None:
    files = make_project(tmp_path, Asked("pumps", kind))
    assert {"project.toml", "trainer.py", "sensors.py", "README.md", ".gitignore"} <= names(files)
    assert ((tmp_path / "pumps" / "model.tflite") in files) == (kind == "tflite")
    assert {file.name for file in (tmp_path / "pumps").iterdir()} == names(files)
    assert [each.name for each in tmp_path.iterdir()] == ["pumps"]  # nothing left beside it
    for file in files:
        if file.suffix == ".py":
            ast.parse(file.read_text())
        if file.suffix in (".md", ".toml"):
            assert "@" not in file.read_text(), file  # every word was filled in
        if file.suffix == ".md":
            headings = [line for line in file.read_text().splitlines() if line.startswith("#")]
            assert len(headings) == len(set(headings)), headings
    project = read_project(tmp_path / "pumps")
    assert (project.settings.name, project.settings.devices) == ("pumps", 4)
    assert project.fleet_name == "pumps"


def test_the_numpy_trainer_learns_and_repeats_itself(tmp_path: Path) -> None:
    """In a process of its own: the modules are called as those of other tests might be."""
    make_project(tmp_path, Asked("pumps"))
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / "pumps")!r})
import hashlib
from trainer import trainer
from gossamer.agent.trainer import FitConfig
own = trainer(2)
first = own.initial(3)
result = own.fit(first, FitConfig(20, 16, 0.1, 5, 0))
print(own.evaluate(first)["accuracy"] + 0.2 < own.evaluate(result.weights)["accuracy"], len(own.x))
print(hashlib.sha256(b"".join(w.tobytes() for w in result.weights)).hexdigest())
"""
    told = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    learns, digest = told[0].stdout.splitlines()
    assert learns.split()[0] == "True"
    assert told[1].stdout.splitlines()[1] == digest


def test_ones_own_readings_go_through_the_same_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path, Asked("pumps"))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.normal(size=(50, 33)), y=rng.integers(0, 4, 50))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    trainer = work.make_trainer("trainer.py:trainer", {"data": str(tmp_path / "own.npz")}, [str(tmp_path / "pumps")])
    result = trainer.fit(trainer.initial(0), FitConfig(1, 8, 0.1, 0, 0))
    assert result.examples == 40


@pytest.mark.parametrize(
    "name", ["", "-pumps", "a/b", "../up", ".hidden", "two words", "x" * 41, "gossamer", "Trainer"]
)
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 40 letters"):
        make_project(tmp_path, Asked(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked("pumps", "jax"), "--trainer jax: expected one of numpy, torch, tflite"),
        (Asked("pumps", devices=0), "--devices 0: expected 1 to"),
        (Asked("pumps", devices=51), "--devices 51"),
        (Asked("_-_"), "a letter or digit first"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, asked: Asked, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_project(tmp_path, asked)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "pumps"
    target.mkdir()
    make_project(tmp_path, Asked("pumps"))  # an empty directory is as good as none
    before = {file: file.read_bytes() for file in target.iterdir()}
    (target / "trainer.py").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not empty"):
        make_project(tmp_path, Asked("pumps"))
    with pytest.raises(ConfigError, match=r"has \.gitignore, README\.md, .*trainer\.py already"):
        make_project(tmp_path, Asked("pumps", force=True))
    assert (target / "trainer.py").read_text() == "mine"
    assert set(target.iterdir()) == set(before)


def test_force_adds_beside_what_is_there(tmp_path: Path) -> None:
    target = tmp_path / "pumps"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    make_project(tmp_path, Asked("pumps", force=True))
    assert (target / "notes.txt").read_text() == "mine"
    assert {file.name for file in target.iterdir()} == {"notes.txt", *contents(Asked("pumps"))}
    assert [each.name for each in tmp_path.iterdir()] == ["pumps"]


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "pumps").write_text("mine")
    for force in (False, True):
        with pytest.raises(ConfigError):
            make_project(tmp_path, Asked("pumps", force=force))
    assert (tmp_path / "pumps").read_text() == "mine"


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    files = make_project(tmp_path, Asked("pumps"), dry_run=True)
    assert names(files) == set(contents(Asked("pumps")))
    assert list(tmp_path.iterdir()) == []
