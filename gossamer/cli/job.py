"""``gossamer job``: what the fleet trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory, parse_option, when
from gossamer.cli.output import Json, emit, emit_one
from gossamer.errors import ConfigError

app = typer.Typer(help="Create, watch, pause and export jobs.", no_args_is_help=True)


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="TOML: name, rounds, cohorts, codec_up, [fit], [closing], ...")],
    trainer: Annotated[str, typer.Option(help="The devices' trainer factory, package.module:factory.")],
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the factory; repeatable.")] = None,
    state: StateDirectory = DEFAULT_STATE,
    dry_run: Annotated[bool, typer.Option(help="Check and show, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create a job. Its first model is what the trainer's `initial(seed)` returns, here as on every device.

    Example: gossamer job create gait.toml --trainer gait.model:trainer --option data=sample.npz
    """
    from gossamer.aggregator.jobs import JobSettings, create_job
    from gossamer.aggregator.store import Store
    from gossamer.compression.lattice import digest, to_lattice
    from gossamer.compression.layout import Layout
    from gossamer.fleet.server_files import ServerFiles
    from gossamer.settings import read_toml

    files = ServerFiles(state)
    fleet = files.settings().fleet
    table = {"fleet": fleet, "job": 1, "seed": 0, **read_toml(file, "write one; docs/getting-started.md shows how")}
    settings = JobSettings.from_mapping(table)
    if settings.fleet != fleet:
        raise ConfigError(f"{file}: fleet {settings.fleet!r}, but {state} is of fleet {fleet!r}")
    made = make_trainer(trainer, dict(parse_option(each) for each in option or []))
    arrays = made.initial(settings.seed)
    layout = Layout.of(arrays)
    model = to_lattice(layout.flatten(arrays))
    if not dry_run:
        store = Store.open(files.store)
        try:
            create_job(store, settings, model, layout)
        finally:
            store.close()
    shown: dict[str, Any] = {"name": settings.name, "job": settings.job, "parameters": layout.size}
    shown |= {"rounds": settings.rounds, "model_digest": digest(model).hex(), "created": not dry_run}
    emit_one(shown, as_json=as_json)


def make_trainer(name: str, options: dict[str, Any]) -> Any:
    """Import a trainer factory and call it, in this process: the operator runs the operator's own code."""
    from gossamer.agent.work import make_trainer as load_trainer

    return load_trainer(name, options, [])


@app.command("list")
def list_jobs(state: StateDirectory = DEFAULT_STATE, as_json: Json = False) -> None:
    """List the jobs: round, model version, updates waiting.

    Example: gossamer job list --json
    """
    from gossamer.aggregator.store import Store, inbox, jobs, rounds
    from gossamer.fleet.server_files import ServerFiles

    store = Store.open(ServerFiles(state).store)
    rows = []
    try:
        with store.read() as db:
            for job in jobs.every(db):
                latest = rounds.latest(db, job.job)
                settings = json.loads(job.settings)
                rows.append(
                    {
                        "name": job.name,
                        "job": job.job,
                        "state": job.state.value,
                        "round": latest.round if latest else None,
                        "rounds": settings["rounds"],
                        "model_version": job.version,
                        "updates_in": inbox.arrived(db, job.job, latest.round)[1] if latest else 0,
                        "since": when(latest.opened_at) if latest else None,
                    }
                )
    finally:
        store.close()
    emit(rows, as_json=as_json, title="jobs", empty="no jobs yet: gossamer job create FILE")


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="The job's name.")],
    file: Annotated[Path, typer.Argument(help="An .npz file to write: one array per tensor.")],
    state: StateDirectory = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Write a job's current model.

    Example: gossamer job export gait model.npz
    """
    import numpy as np

    from gossamer.aggregator.jobs import layout_from_json
    from gossamer.aggregator.store import Store, jobs, models
    from gossamer.compression.lattice import digest, from_lattice
    from gossamer.fleet.server_files import ServerFiles

    store = Store.open(ServerFiles(state).store)
    try:
        with store.read() as db:
            row = next((job for job in jobs.every(db) if job.name == name), None)
            lattice = models.lattice(db, row.job, row.version) if row else None
    finally:
        store.close()
    if row is None or lattice is None:
        raise ConfigError(f"no job {name!r} in {state}; `gossamer job list` names them")
    layout = layout_from_json(row.layout)
    arrays = dict(zip((n for n, _ in layout.entries), layout.unflatten(from_lattice(lattice)), strict=True))
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its own keyword for one
    partial.replace(file)
    emit_one({"file": str(file), "version": row.version, "model_digest": digest(lattice).hex()}, as_json=as_json)
