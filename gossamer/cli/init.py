"""``gossamer init``: a project that runs as it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, emit_one, note


def init(
    name: Annotated[str, typer.Argument(help="Name of the project, and of the directory that is made.")],
    trainer: Annotated[str, typer.Option(help="What trains: numpy, torch or tflite.")] = "numpy",
    devices: Annotated[int, typer.Option(help="Devices to try it out with on this machine.")] = 4,
    directory: Annotated[Path, typer.Option("--dir", help="Where to make it.")] = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="In a directory that is not empty; no file is overwritten.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, make nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a project: a trainer with data of its own, settings, a systemd unit, and what to do next.

    Example: gossamer init pumps --trainer numpy --devices 4
    """
    from gossamer.project.making import Asked, make_project

    files = make_project(directory, Asked(name, trainer, devices, force), dry_run=dry_run)
    made = {"project": str(directory / name), "files": [file.name for file in files], "made": not dry_run}
    emit_one({**made, "files": made["files"] if as_json else ", ".join(file.name for file in files)}, as_json=as_json)
    note(f"next: cd {shlex.quote(str(directory / name))} && gossamer train")
