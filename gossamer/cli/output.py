"""Tables for people, JSON for programs: the same rows, chosen by ``--json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

PIPE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where nobody has a terminal of 80."""

Row = Mapping[str, Any]


def emit(rows: Sequence[Row], *, as_json: bool, title: str = "", empty: str = "nothing to show") -> None:
    """Print rows as a table, or as a JSON array of objects. The columns are the keys of the first row."""
    if as_json:
        sys.stdout.write(json.dumps(list(rows), indent=2, default=str) + "\n")
        return
    from rich.console import Console  # here, so that --help need not wait for it
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    if not rows:
        console.print(empty, style="dim")
        return
    table = Table(title=Text(printable(title)) if title else None, title_justify="left", header_style="dim")
    for column in rows[0]:
        numbers = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(value)) for value in row.values()))  # Text: no markup in data
    console.print(table)


def emit_one(row: Row, *, as_json: bool) -> None:
    """Print one record: ``key  value`` lines, or a JSON object."""
    if as_json:
        sys.stdout.write(json.dumps(dict(row), indent=2, default=str) + "\n")
        return
    width = max((len(key) for key in row), default=0)
    for key, value in row.items():
        sys.stdout.write(f"{key.replace('_', ' '):<{width}}  {printable(value)}\n")


def printable(value: Any) -> str:
    """A value as text for a terminal: nothing for None, and no control character that some device chose.

    >>> printable("battery \x1b[2J 12 %")
    'battery ?[2J 12 %'
    """
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def figure(value: float | None) -> float | None:
    """Four digits of a number: nobody decides by the fifth."""
    return None if value is None else float(f"{value:.4g}")


def note(text: str) -> None:
    """Say something to the person, not to the program that reads standard output."""
    sys.stderr.write(text + "\n")
