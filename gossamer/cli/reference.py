"""The reference of all commands, made from the command tree: Markdown for docs/cli.md, roff for man(1).

::

    python -m gossamer.cli.reference > docs/cli.md
    python -m gossamer.cli.reference --man > gossamer.1
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import typer

import gossamer
from gossamer.cli.exit_codes import EXIT_CODES

HEADER = """\
# Commands

Made by `python -m gossamer.cli.reference`; a test holds it against the commands. `gossamer COMMAND --help` says the
same on a terminal, and `python -m gossamer.cli.reference --man` as a manual page.

Tables go to standard output, and everything said to a person goes to standard error, so that pipes stay clean. Wherever
a command prints a table or a record, `--json` prints the same for programs. What cannot be undone has `--dry-run`.
`gossamer --install-completion` teaches bash, zsh or fish the commands, and the names of devices, jobs, codecs, rules
and profiles ([operations.md](operations.md#the-shell)).
"""


VALUES = {"int": "N", "integer": "N", "float": "X", "Path": "PATH", "path": "PATH"}
"""Type of an option -> what stands for its value."""


@dataclass(frozen=True)
class Option:
    """One option or argument: how it is written, what it is for, and what stands when it is left out."""

    form: str
    text: str
    default: str
    is_argument: bool


@dataclass(frozen=True)
class Command:
    """One command that does something. ``paragraphs`` are its description without the example."""

    words: tuple[str, ...]
    usage: str
    paragraphs: tuple[str, ...]
    example: str
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        """``gossamer fleet why``."""
        return " ".join(self.words)


def commands(root: Any = None, words: tuple[str, ...] = ("gossamer",)) -> Iterator[Command]:
    """All commands of the tree, in the order of its help."""
    if root is None:
        from gossamer.cli.app import app

        root = typer.main.get_command(app)
    if hasattr(root, "commands"):
        for name, each in root.commands.items():
            if not each.hidden:
                yield from commands(each, (*words, name))
        return
    text = inspect.cleandoc(root.help or "")
    body, _, example = text.partition("Example: ")
    options = tuple(option_of(each) for each in root.params if not getattr(each, "hidden", False))
    named = [each.form for each in options if each.is_argument]
    usage = " ".join([*words, "[OPTIONS]", *named] if len(named) < len(options) else [*words, *named])
    paragraphs = tuple(" ".join(each.split()) for each in body.split("\n\n") if each.strip())
    yield Command(words, usage, paragraphs, " ".join(example.split()), options)


def option_of(parameter: Any) -> Option:
    """One parameter of a command."""
    is_argument = parameter.param_type_name == "argument"
    kind = _kind(parameter)
    if is_argument:
        form = parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]"
    else:
        written = [each for each in (*parameter.opts, *parameter.secondary_opts) if each.startswith("--")]
        form = " / ".join(written) + (f" {kind}" if kind else "")
        if parameter.multiple:
            form += " ..."
    default = "required" if parameter.required else _default(parameter)
    variable = getattr(parameter, "envvar", None)
    text = parameter.help or ""
    return Option(form, f"{text} Environment: {variable}." if variable else text, default, is_argument)


def _kind(parameter: Any) -> str:
    """What stands for the value: ``FILE``, ``N``, or the words to choose from."""
    if getattr(parameter, "is_flag", False):
        return ""
    described = getattr(parameter, "type_descriptor", None)  # typer from 0.25 on; before it click's types
    wanted = described.annotation if described is not None else parameter.type
    wanted = (get_args(wanted) or (wanted,))[0]
    choices = wanted if isinstance(wanted, enum.EnumMeta) else getattr(wanted, "choices", ())
    if choices:
        return "|".join(str(getattr(each, "value", each)) for each in choices)
    name = wanted.__name__ if isinstance(wanted, type) else str(getattr(wanted, "name", "")).removesuffix(" range")
    return VALUES.get(name, "TEXT")


def _default(parameter: Any) -> str:
    value = parameter.default
    if callable(value):
        value = None
    value = getattr(value, "value", value)
    if isinstance(value, bool) and parameter.secondary_opts:
        return str((parameter.opts if value else parameter.secondary_opts)[0])
    nothing = value is None or value is False or value in ("", (), []) or "Sentinel" in type(value).__name__
    return "" if nothing else str(value)


def markdown() -> str:
    """The text of docs/cli.md."""
    every = list(commands())
    parts = [HEADER, "| command | |\n|---|---|\n" + "".join(_listed(each) for each in every)]
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n\n| | |\n|---|---|\n{codes}")
    parts += [_section(each) for each in every]
    return "\n".join(parts)


def _listed(command: Command) -> str:
    target = command.name.replace(" ", "-")
    first = command.paragraphs[0]
    return f"| [`{command.name}`](#{target}) | {_cell(_sentence(first))} |\n"


def _section(command: Command) -> str:
    lines = [f"## {command.name}", "", f"    {command.usage}", ""]
    for paragraph in command.paragraphs:
        lines += [_text(paragraph), ""]
    lines += ["Example:", "", "```sh", command.example, "```", ""]
    if command.options:
        lines += ["| | | default |", "|---|---|---|"]
        lines += [_row(each) for each in command.options] + [""]
    return "\n".join(lines)


def _row(option: Option) -> str:
    return f"| `{_cell(option.form)}` | {_cell(_text(option.text))} | {_cell(option.default)} |"


def _sentence(text: str) -> str:
    return re.split(r"(?<=[a-z)0-9])\. |: ", text)[0].rstrip(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _text(text: str) -> str:
    """Without what Markdown would take for a tag or a link."""
    return re.sub(r"(?<!`)<(\w+)>", r"&lt;\1&gt;", text).replace("[", "\\[")


def man() -> str:
    """The same as a manual page."""
    lines = [f'.TH GOSSAMER 1 "" "gossamer {gossamer.__version__}" "User commands"', ".SH NAME"]
    lines += ["gossamer \\- federated learning over thin MQTT links", ".SH SYNOPSIS", ".B gossamer", ".I COMMAND"]
    lines += ["[OPTIONS]", ".SH COMMANDS"]
    for command in commands():
        lines += [f".SS {_roff(command.usage)}"]
        for paragraph in command.paragraphs:
            lines += [_roff(paragraph), ".PP"]
        for each in command.options:
            given = f" Default: {each.default}." if each.default not in ("", "required") else ""
            lines += [".TP", f".B {_roff(each.form)}", _roff(each.text + given)]
        lines += [".PP", "Example:", ".PP", ".nf", ".RS 4", _roff(command.example), ".RE", ".fi"]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _roff(meaning)]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + escaped if escaped.startswith(".") else escaped


if __name__ == "__main__":
    sys.stdout.write(man() if "--man" in sys.argv[1:] else markdown())
