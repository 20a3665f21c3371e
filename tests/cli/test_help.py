"""Every command explains itself, with an example that would work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import gossamer
from gossamer.cli.app import app

from .command import apart


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from leaves(each, (*path, name))


TREE = typer.main.get_command(app)
COMMANDS = dict(leaves(TREE))


def test_the_tree_is_the_documented_one() -> None:
    expected = "demo init train plan serve page broker config doctor agent-run bridge-run aggregator-run"
    expected += " fleet-init fleet-enroll fleet-revoke fleet-list"
    expected += " job-create job-list job-show job-export job-metrics wire-decode codec-list codec-measure"
    expected += " profiles-list profiles-show profiles-detect profiles-calibrate"
    assert {"-".join(path) for path in COMMANDS} == set(expected.split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_an_example(path: tuple[str, ...], flag: str) -> None:
    shown = CliRunner().invoke(app, [*path, flag])
    assert shown.exit_code == 0, shown.output
    assert "Example:" in shown.output
    assert "Usage:" in shown.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_is_of_this_command_and_its_options_exist(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    example = re.search(r"Example: (.*(?:\n.*\S.*)*)", command.help).group(1)
    words = shlex.split(example[example.index("gossamer ") :].split(" > ")[0])
    assert tuple(words[: len(path) + 1]) == ("gossamer", *path)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    silent = [parameter.name for parameter in COMMANDS[path].params if not getattr(parameter, "help", None)]
    assert not silent


@pytest.mark.parametrize("group", ["agent", "bridge", "aggregator", "fleet", "job", "profiles", "wire"])
def test_a_group_alone_shows_its_help(group: str) -> None:
    shown = CliRunner().invoke(app, [group])
    assert "Usage:" in shown.output
    assert TREE.commands[group].help


def test_version_and_the_module() -> None:
    assert apart("--version").out == f"gossamer {gossamer.__version__}\n"
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2
