"""``gossamer job``: what the fleet trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli import job_export, job_pause, job_show
from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory, parse_option, when
from gossamer.cli.job_show import threat_rows
from gossamer.cli.output import Json, emit, emit_one, figure
from gossamer.cli.reading import reading
from gossamer.errors import ConfigError, GossamerError

if TYPE_CHECKING:
    from gossamer.aggregator.automatic import Decisions
    from gossamer.aggregator.jobs import JobSettings
    from gossamer.compression.shared import SharedModel

app = typer.Typer(help="Create, list, show, pause and export jobs.", no_args_is_help=True)


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="TOML: name, rounds, cohorts, rule, [fit], [threat], [privacy], ...")],
    trainer: Annotated[str, typer.Option(help="The devices' trainer factory, package.module:factory.")],
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the factory; repeatable.")] = None,
    plans: Annotated[
        Path | None, typer.Option(help="TOML with [plans.CLASS]: codec, local_epochs; as `gossamer plan` writes it.")
    ] = None,
    state: StateDirectory = DEFAULT_STATE,
    dry_run: Annotated[bool, typer.Option(help="Check and show, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create a job, and say what was decided for it where the file leaves codecs, rule or noise to be decided.

    Its first model is what the trainer's `initial(seed)` returns, here as on every device.

    Example: gossamer job create gait.toml --trainer gait.model:trainer --option data=sample.npz
    """
    from gossamer.aggregator.automatic import decide
    from gossamer.aggregator.jobs import JobSettings, check_model, create_job
    from gossamer.aggregator.store import Store, devices
    from gossamer.compression.shared import SharedModel
    from gossamer.fleet.server_files import ServerFiles
    from gossamer.methods import method
    from gossamer.settings import read_toml

    files = ServerFiles(state)
    fleet = files.settings().fleet
    table = {"fleet": fleet, "job": 1, "seed": 0, **read_toml(file, "write one; docs/getting-started.md shows how")}
    if plans is not None:
        table |= plans_of(plans, table)
    settings = JobSettings.from_mapping(table)
    if settings.fleet != fleet:
        raise ConfigError(f"{file}: fleet {settings.fleet!r}, but {state} is of fleet {fleet!r}")
    options = dict(parse_option(each) for each in option or [])
    model = first_model(trainer, options, settings)
    layout = model.layout.parted(1 + len(method(settings.method).companions))
    store = Store.open(files.store)
    try:
        with store.read() as db:
            enrolled = devices.count(db)
        settings, decisions = decide(settings, layout, enrolled)
        check_model(settings, model.layout.size)
        if not dry_run:
            create_job(store, settings, model.weights, model.layout)
    finally:
        store.close()
    model = SharedModel.first(model.layout, model.weights, settings.cycle)
    shown: dict[str, Any] = {"name": settings.name, "job": settings.job, "parameters": layout.size}
    shown |= decided_rows(settings, decisions, enrolled)
    for name, plan in settings.plans:
        own = (plan.codec or settings.codec_up, plan.local_epochs or settings.fit.local_epochs)
        shown[f"plan_{name}"] = f"{own[0]}, local epochs {own[1]}"
    shown |= {"rounds": settings.rounds, "model_digest": model.digest.hex(), "created": not dry_run}
    emit_one(shown, as_json=as_json)


def plans_of(file: Path, table: dict[str, Any]) -> dict[str, Any]:
    """The plans of a file of their own.

    Raises:
        ConfigError: there is something else in it, or the job has plans already.
    """
    from gossamer.settings import read_toml

    found = read_toml(file, "`gossamer plan --write-plans FILE` makes one")
    if set(found) != {"plans"}:
        came = ", ".join(found) or "nothing"
        raise ConfigError(f"{file}: expected tables [plans.CLASS] and nothing else, got {came}")
    if "plans" in table:
        raise ConfigError(f"{file}: the job's own file has plans already; keep one of the two")
    return found


def decided_rows(settings: JobSettings, decisions: Decisions, enrolled: int) -> dict[str, Any]:
    """What a job will run with, and why where it was left to be decided."""
    from gossamer.aggregator.status import rule_in_force, tolerated_by

    shown: dict[str, Any] = {"codec_up": settings.codec_up, "codec_down": settings.codec_down}
    if decisions.codec is not None:
        shown["why"] = decisions.codec.explain()
    shown |= {"method": settings.method, "rule": rule_in_force(settings), "tolerates": tolerated_by(settings)}
    if decisions.rule is not None:
        shown["why_this_rule"] = decisions.rule.why
    shown |= threat_rows(settings, max(enrolled, settings.cohorts))
    if decisions.privacy is not None:
        planned = decisions.privacy
        shown |= {"epsilon": figure(planned.epsilon), "delta": planned.settings.delta}
        shown["releases_a_device"] = planned.releases
        shown |= {"noise_multiplier": planned.noise_multiplier, "clip_norm": planned.settings.clip_norm}
        shown["mechanism"] = planned.settings.mechanism
    return shown


def first_model(name: str, options: dict[str, Any], settings: JobSettings) -> SharedModel:
    """Import a trainer factory, also from the working directory, and ask for the first model, companions included.

    In this process: the operator runs the operator's own code.

    Raises:
        ConfigError, TrainerFailed: no such factory, or it failed; the message has the exception.
    """
    from gossamer.agent import work

    try:
        made = work.make_trainer(name, options, [str(Path.cwd())])
        return work.first_model(made, settings.seed, settings.cycle, settings.method)
    except GossamerError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"trainer {name!r} failed: {type(error).__name__}: {error}") from error


@app.command("list")
def list_jobs(state: StateDirectory = DEFAULT_STATE, as_json: Json = False) -> None:
    """List the jobs: round, model version, updates waiting.

    Example: gossamer job list --json
    """
    from gossamer.aggregator.jobs import JobSettings
    from gossamer.aggregator.store import inbox, jobs, rounds

    rows, spent = [], []
    with reading(state) as db:
        for job in jobs.every(db):
            latest = rounds.latest(db, job.job)
            settings = JobSettings.from_json(job.settings)
            spent.append(epsilon_of(settings, job.version))
            rows.append(
                {
                    "name": job.name,
                    "job": job.job,
                    "state": job.state.value,
                    "round": latest.round if latest else None,
                    "rounds": settings.rounds,
                    "model_version": job.version,
                    "updates_in": inbox.arrived(db, job.job, latest.round)[1] if latest else 0,
                    "since": when(latest.opened_at) if latest else None,
                }
            )
    if any(spent):
        rows = [{**row, "epsilon": each} for row, each in zip(rows, spent, strict=True)]
    emit(rows, as_json=as_json, title="jobs", empty="no jobs yet: gossamer job create FILE")


def epsilon_of(settings: JobSettings, rounds_done: int) -> str | None:
    """Epsilon spent and the budget, ``1.25/8``; None for a job that is not private.

    A list of jobs does not fail for want of dp-accounting: what is spent is then ``?``.
    """
    from gossamer.aggregator.privacy import spent
    from gossamer.aggregator.round_rule import plan_of

    if settings.privacy is None:
        return None
    try:
        so_far = f"{spent(plan_of(settings), rounds_done):.3g}"
    except ConfigError:
        so_far = "?"
    return f"{so_far}/{settings.privacy.epsilon:g}"


app.command("show")(job_show.show)
app.command("metrics")(job_show.metrics)
app.command("export")(job_export.export)
app.command("pause")(job_pause.pause)
app.command("resume")(job_pause.resume)
