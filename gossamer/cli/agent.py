"""``gossamer agent``: the device's side. On a device without typer: ``python -m gossamer.agent --config FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Run the agent of one device.", no_args_is_help=True)


@app.callback()
def agent() -> None:
    """Run the agent of one device."""


@app.command()
def run(
    config: Annotated[
        Path, typer.Option(help="The configuration file made by `gossamer fleet enroll`.", envvar="GOSSAMER_CONFIG")
    ],
) -> None:
    """Run the agent until SIGTERM; it ends within 2 seconds and loses nothing.

    Example: gossamer agent run --config /etc/gossamer/agent.toml
    """
    from gossamer.agent.service import run_agent

    raise typer.Exit(run_agent(config))
