"""Every command explains itself, with an example that would work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import gossamer
from gossamer import errors
from gossamer.cli.app import app
from gossamer.cli.exit_codes import EXIT_CODES
from gossamer.cli.reference import commands, man, markdown

from .command import apart


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from leaves(each, (*path, name))


ROOT = Path(__file__).resolve().parents[2]
ROFF = re.compile(r"\.(TH|SH|SS|TP|PP|B|I|nf|fi|RS|RE)\b")
TREE = typer.main.get_command(app)
COMMANDS = dict(leaves(TREE))


def test_the_reference_is_up_to_date() -> None:
    current = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert current == markdown(), "python -m gossamer.cli.reference > docs/cli.md"
    assert {each.words[1:] for each in commands()} == set(COMMANDS)


def test_the_manual_page_has_every_command_and_exit_code() -> None:
    page = man()
    for path in COMMANDS:
        assert f".SS gossamer {' '.join(path)}".replace("-", "\\-") in page
    raw = [line for line in page.splitlines() if line.startswith((".", "'")) and not ROFF.match(line)]
    assert not raw, "text that troff would take for a request"
    codes = {each.exit_code for each in vars(errors).values() if isinstance(each, type)}
    assert codes <= set(EXIT_CODES)
    assert all(f".B {code}\n" in page for code in EXIT_CODES)


def test_the_help_of_all_names_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(re.search(rf"^ *{code} ", shown, re.MULTILINE) for code in EXIT_CODES)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_an_example(path: tuple[str, ...], flag: str) -> None:
    shown = CliRunner().invoke(app, [*path, flag])
    assert shown.exit_code == 0, shown.output
    assert "Example:" in shown.output
    assert "Usage:" in shown.output
    for parameter in COMMANDS[path].params:
        for bracketed in re.findall(r"\[[a-z]+\]", parameter.help or ""):
            assert bracketed in " ".join(shown.output.split()), "taken for markup"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_is_of_this_command_and_its_options_exist(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    example = re.search(r"Example: (.*(?:\n.*\S.*)*)", command.help).group(1)
    words = shlex.split(example[example.index("gossamer ") :].split(" > ")[0])
    assert tuple(words[: len(path) + 1]) == ("gossamer", *path)
    context = command.make_context(" ".join(path), words[len(path) + 1 :])  # parses all of it, and runs nothing
    assert context.params


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    silent = [parameter.name for parameter in COMMANDS[path].params if not getattr(parameter, "help", None)]
    assert not silent


#: Commands that print no table and no record, and why.
WITHOUT_JSON = {
    "serve": "runs until it is stopped", "broker": "runs until it is stopped", "agent run": "runs until it is stopped",
    "bridge run": "runs until it is stopped", "aggregator run": "runs until it is stopped",
    "page": "runs until it is stopped",
    "job metrics": "prints what Prometheus reads",
}  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_whatever_prints_a_table_prints_json_too(path: tuple[str, ...]) -> None:
    has = any("--json" in parameter.opts for parameter in COMMANDS[path].params)
    assert has != (" ".join(path) in WITHOUT_JSON)


@pytest.mark.parametrize("group", ["agent", "bridge", "aggregator", "fleet", "job", "profiles", "wire"])
def test_a_group_alone_shows_its_help(group: str) -> None:
    shown = CliRunner().invoke(app, [group])
    assert "Usage:" in shown.output
    assert TREE.commands[group].help


def test_version_and_the_module() -> None:
    assert apart("--version").out == f"gossamer {gossamer.__version__}\n"
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2
