"""``gossamer doctor``: what is wrong here, and what mends it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, note


def doctor(
    config: Annotated[
        Path | None, typer.Option(help="A device: its configuration file.", envvar="GOSSAMER_CONFIG")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="A server: its state directory.", envvar="GOSSAMER_STATE")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="On a device: let its trainer train for an epoch.")] = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a device or a server, and say what mends it.

    Looks at settings and keys, disk, store and budget, gates, runtime and trainer, link and modem, the systemd
    unit, the broker (name, port, TLS, account, topics, packets) and the clock. It changes nothing, and can run
    beside the agent or the server. Without options it looks at /etc/gossamer/agent.toml and at gossamer-state,
    whichever is there. On a device without this command: python -m gossamer.doctor.

    Exit codes: 0 nothing fails (there may be warnings), 1 something fails, 2 there is nothing to look at.

    Example: gossamer doctor --config /etc/gossamer/agent.toml --train
    """
    import json
    import time

    from gossamer.doctor.finding import Level, broken, rows
    from gossamer.doctor.main import examine, line, sides

    found = []
    for each in examine(*sides(config, state, os.environ), os.environ, time.time(), train=train):
        found.append(each)
        if not as_json:
            sys.stdout.write(line(each) + "\n")
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps(list(rows(found)), indent=2) + "\n")
    counts = {level: sum(each.level is level for each in found) for level in (Level.FAIL, Level.WARN)}
    note(f"{len(found)} checks: {counts[Level.FAIL]} fail, {counts[Level.WARN]} warn")
    if broken(found):
        raise typer.Exit(1)
