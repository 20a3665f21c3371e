"""The command tree. Each command imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

import gossamer
from gossamer.cli import agent, broker, codec, config, demo, doctor, fleet, job, page, plan, profiles, serve, wire
from gossamer.cli import init as init_project
from gossamer.cli import train as train_project
from gossamer.cli.exit_codes import exit_codes

app = typer.Typer(
    name="gossamer",
    help="Federated learning on the thinnest links there are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # or [fit] in a help text is taken for markup, and vanishes
    epilog=exit_codes(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gossamer {gossamer.__version__}")
        raise typer.Exit


@app.callback()
def gossamer_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Federated learning on the thinnest links there are.

    Begin with: gossamer demo
    """


app.command("demo")(demo.demo)
app.command("init")(init_project.init)
app.command("train")(train_project.train)
app.command("plan")(plan.plan)
app.command("serve")(serve.serve)
app.command("page")(page.page)
app.command("broker")(broker.broker)
app.command("config")(config.config)
app.command("doctor")(doctor.doctor)
app.add_typer(agent.app, name="agent")
app.add_typer(serve.bridge_app, name="bridge")
app.add_typer(serve.aggregator_app, name="aggregator")
app.add_typer(fleet.app, name="fleet")
app.add_typer(job.app, name="job")
app.add_typer(profiles.app, name="profiles")
app.add_typer(wire.app, name="wire")
app.add_typer(codec.app, name="codec")
