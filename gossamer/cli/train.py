"""``gossamer train``: the job of a project, from its first model to the exported one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.output import emit_one, figure, note
from gossamer.cli.threads import one_thread
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.fleet.server_files import ServerFiles
    from gossamer.project.following import Run
    from gossamer.project.progress import Display
    from gossamer.project.settings import Project
    from gossamer.project.training import Prepared, Wanted

#: Exit code of a run that was interrupted, as of a shell's (128 + SIGINT).
INTERRUPTED = 130


def train(
    rounds: Annotated[int | None, typer.Option(help="Rounds of training.")] = None,
    cohorts: Annotated[int | None, typer.Option(help="Rounds in a cycle; each device takes part in one.")] = None,
    codec: Annotated[str | None, typer.Option(help="auto, or what updates travel as: ternary:P, rot1, ...")] = None,
    local_epochs: Annotated[int | None, typer.Option(help="Epochs over a device's data in a round.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the local training.")] = None,
    rule: Annotated[str | None, typer.Option(help="mean, median, clipped-differences, auto, ...")] = None,
    method: Annotated[str | None, typer.Option(help="fedavg, fedprox:0.1, ...")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same model, to the bit.")] = None,
    devices: Annotated[int | None, typer.Option(help="Devices on this machine, as many as the project has.")] = None,
    project: Annotated[Path, typer.Option(help="Directory of the project.")] = Path(),
    state: Annotated[
        Path | None, typer.Option(help="State of a server that runs already: only create the job there, and follow it.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The model, with its card beside it.")] = Path("model.npz"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of lines.")] = False,
) -> None:
    """Train a project's model: broker, server and devices on this machine, the job, its progress, the model.

    What `project.toml` says is the default of every option. Ctrl-C, or worse, loses nothing: run it again, and it
    goes on. With --state the fleet is yours already, and Ctrl-C ends the watching only.

    Example: gossamer train --codec auto --local-epochs 5 --rounds 20 --cohorts 2
    """
    one_thread()

    from gossamer.project.settings import read_project, with_devices
    from gossamer.project.training import Wanted

    if not output.resolve().parent.is_dir():
        raise ConfigError(f"--output {output}: its directory does not exist; create it first")
    chosen = with_devices(read_project(project), devices)
    wanted = Wanted(rounds, cohorts, local_epochs, learning_rate, codec, rule, method, seed)
    if dry_run:
        _tell(_plan(chosen, wanted, state), as_json)
        return
    told = _elsewhere(chosen, wanted, state, output) if state is not None else _here(chosen, wanted, output)
    _tell(told, as_json)
    note(f"next: {output} is the trainer's arrays in order (numpy.load); README.md says how devices of your own join")


def _tell(rows: dict[str, Any], as_json: bool) -> None:
    """JSON has every key; for people, what there is nothing to say about is left out."""
    emit_one(rows if as_json else {key: value for key, value in rows.items() if value is not None}, as_json=as_json)


def _plan(project: Project, wanted: Wanted, state: Path | None) -> dict[str, Any]:
    """What a run would do; in a directory that goes away with it, where there is no fleet yet."""
    import tempfile

    from gossamer.aggregator.store import Store
    from gossamer.fleet.server_files import ServerFiles
    from gossamer.project.local_fleet import check_devices
    from gossamer.project.training import prepare_job

    files = ServerFiles(state or project.fleet)
    there = files.config.exists()
    if state is None and there:
        check_devices(project, files)
    if state is not None and not there:
        files.settings()  # says what is missing
    with tempfile.TemporaryDirectory() as nowhere:
        store = Store.open(files.store if there else Path(nowhere) / "store.db")
        try:
            fleet = files.settings().fleet if there else project.fleet_name
            planned = 0 if state is not None else project.settings.devices
            prepared = prepare_job(store, project, wanted, fleet, planned, local=state is None)
        finally:
            store.close()
    broker = "that of the fleet" if state is not None else project.settings.broker
    devices = f"those of {state}" if state is not None else f"{project.settings.devices} on this machine"
    return {"project": str(project.directory), "broker": broker, "devices": devices, **_job_rows(prepared),
            "created": False}  # fmt: skip


def _job_rows(prepared: Prepared) -> dict[str, Any]:
    """A job, and what was decided for it."""
    settings = prepared.settings
    return {
        "job": settings.name,
        "resumed": prepared.resumed,
        "rounds": settings.rounds,
        "cohorts": settings.cohorts,
        "parameters": prepared.layout.size,
        "codec_up": settings.codec_up,
        "codec_down": settings.codec_down,
        "why": _why(prepared),
        "local_epochs": settings.fit.local_epochs,
        "rule": settings.rule,
    }


def _why(prepared: Prepared) -> str | None:
    """What auto goes by, and where it was overruled."""
    choice, epochs = prepared.decisions.codec, prepared.settings.fit.local_epochs
    if choice is None:
        return None
    overruled = "" if epochs == choice.local_epochs else f"; {epochs} local epochs, as asked for"
    return choice.explain() + overruled


def _here(project: Project, wanted: Wanted, output: Path) -> dict[str, Any]:
    """Broker, server and devices on this machine."""
    from gossamer.aggregator.store import Store
    from gossamer.broker import free_port
    from gossamer.project import local_fleet
    from gossamer.project.following import Run
    from gossamer.project.training import accepts_device, enter, factory_of, prepare_job

    numbered = accepts_device(factory_of(project))
    with local_fleet.alone(project):
        port, page_port = free_port(), free_port()
        files = local_fleet.make_fleet(project, port, numbered)
        store = Store.open(files.store)
        try:
            prepared = enter(store, prepare_job(store, project, wanted, files.settings().fleet))
            settings = prepared.settings
            if again := local_fleet.retry_lost(project, store, settings.job):
                note(f"{', '.join(again)}: the round that was given up is tried again")
            run = Run(
                store, settings.job, settings.rounds, _judge(project, numbered), project.logs,
                local_fleet.processes(project, port, page_port),
                [project.agent_state(index) for index in range(project.settings.devices)],
                settings.closing.at_deadline == "extend" and not settings.closing.quorum,
            )  # fmt: skip
            return _followed(run, prepared, files, output, f"live page http://127.0.0.1:{page_port}")
        finally:
            store.close()


def _elsewhere(project: Project, wanted: Wanted, state: Path, output: Path) -> dict[str, Any]:
    """A fleet that runs already."""
    from gossamer.aggregator.store import Store
    from gossamer.fleet.server_files import ServerFiles
    from gossamer.project.following import Run
    from gossamer.project.training import accepts_device, enter, factory_of, prepare_job

    files = ServerFiles(state)
    fleet = files.settings().fleet
    numbered = accepts_device(factory_of(project))
    store = Store.open(files.store)
    try:
        prepared = enter(store, prepare_job(store, project, wanted, fleet, local=False))
        run = Run(store, prepared.settings.job, prepared.settings.rounds, _judge(project, numbered, 1), project.logs)
        return _followed(run, prepared, files, output, f"fleet {fleet} of {state}")
    finally:
        store.close()


def _judge(project: Project, numbered: bool, count: int | None = None) -> Any:
    """Judges on the held-out data of the local devices, or of the trainer as it is without a number."""
    from gossamer.agent.runner import ChildSettings
    from gossamer.project.judging import Judge
    from gossamer.project.local_fleet import device_options

    indexes = range(project.settings.devices if count is None else count)
    return Judge([
        ChildSettings(project.settings.trainer, device_options(project, index, numbered), (project.directory,))
        for index in indexes
    ])  # fmt: skip


def _followed(run: Run, prepared: Prepared, files: ServerFiles, output: Path, where: str) -> dict[str, Any]:
    """Follow the job to its end, and export what came of it."""
    from rich.console import Console

    from gossamer.cli.job_export import export_model
    from gossamer.project.progress import Display

    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: signals.append(n))
    settings = prepared.settings
    display = Display(Console(stderr=True), settings.name)
    _opening(display, prepared, where)
    if not run.follow(display, lambda: bool(signals)):
        again = "`gossamer train` goes on from there" if run.processes else "the job goes on; so does `gossamer train`"
        note(f"stopped in round {run.watcher.round} of {settings.rounds}; {again}")
        raise typer.Exit(INTERRUPTED)
    if run.judge.failure:
        note(f"the accuracy could not be told: {run.judge.failure}")
    exported = export_model(files.directory, settings.name, output)
    return {**_job_rows(prepared), "why": None, **_came_to(run), "model": exported["file"], "card": exported["card"]}


def _opening(display: Display, prepared: Prepared, where: str) -> None:
    settings, why = prepared.settings, _why(prepared)
    verb = "goes on" if prepared.resumed else "begins"
    display.say(
        f"Job {settings.name} {verb}: {settings.rounds} rounds, {prepared.layout.size} parameters, updates as "
        f"{settings.codec_up}, {settings.fit.local_epochs} local epochs, rule {settings.rule}; {where}"
    )
    if why is not None:
        display.say(f"Chosen by auto: {why}.")


def _came_to(run: Run) -> dict[str, Any]:
    """The figures of a finished job. Bytes are sums over all devices; None: only the devices know."""
    from gossamer.demo.bytes_by_cause import by_cause, downloaded

    watcher, last = run.watcher, run.judge.verdicts[-1] if run.judge.verdicts else None
    local = bool(run.states)
    return {
        "devices": watcher.devices,
        "updates": watcher.updates,
        "rejected": watcher.rejected,
        "accuracy": figure(last.accuracy) if last else None,
        "held_out_examples": last.examples if last else None,
        "loss_first_round": figure(watcher.losses[0]) if watcher.losses else None,
        "loss_last_round": figure(watcher.loss),
        "payload_bytes_up": watcher.body_bytes,
        "payload_bytes_down": downloaded(run.accounts) if local else None,
        "ip_bytes": sum(by_cause(run.accounts).values()) if local else None,
        "restarts": run.supervisor.restarts,
        "seconds": round(run.seconds, 1),
        "model_digest": watcher.digest,
    }
