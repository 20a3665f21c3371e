"""``gossamer serve``, ``bridge run``, ``aggregator run``: the server's side, in one process or several."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory
from gossamer.cli.output import note

if TYPE_CHECKING:
    from gossamer.aggregator.engine import Progress
    from gossamer.aggregator.store import Store

bridge_app = typer.Typer(help="Run the bridge alone: MQTT to store and back.", no_args_is_help=True)
aggregator_app = typer.Typer(help="Run the aggregator alone, over the same store.", no_args_is_help=True)

StoreUrl = Annotated[
    str | None, typer.Option("--store", help="Database URL, when it is not store.db in the state directory.")
]
Buckets = Annotated[str | None, typer.Option(help="Serve these devices only, by bucket: 00-7f,c0")]


@bridge_app.callback()
def _bridge() -> None:
    """Run the bridge alone: MQTT to store and back."""


@aggregator_app.callback()
def _aggregator() -> None:
    """Run the aggregator alone, over the same store."""


def serve(state: StateDirectory = DEFAULT_STATE, store: StoreUrl = None) -> None:
    """Run bridge and aggregator in one process until SIGTERM.

    Example: gossamer serve --state /srv/gossamer
    """
    _run(state, store, bridge=True, aggregator=True, buckets=None)


@bridge_app.command("run")
def bridge_run(state: StateDirectory = DEFAULT_STATE, store: StoreUrl = None, buckets: Buckets = None) -> None:
    """Run a bridge worker until SIGTERM.

    Several share a fleet by its buckets, each under a broker client id of its own.

    Example: gossamer bridge run --state /srv/gossamer --buckets 00-7f
    """
    _run(state, store, bridge=True, aggregator=False, buckets=buckets)


@aggregator_app.command("run")
def aggregator_run(state: StateDirectory = DEFAULT_STATE, store: StoreUrl = None) -> None:
    """Run the aggregator until SIGTERM.

    Example: gossamer aggregator run --state /srv/gossamer
    """
    _run(state, store, bridge=False, aggregator=True, buckets=None)


def _run(state: Path, store_url: str | None, *, bridge: bool, aggregator: bool, buckets: str | None) -> None:
    import dataclasses

    from gossamer.aggregator.store import Store
    from gossamer.broker_bridge.server import run_server
    from gossamer.fleet.keys import load_key
    from gossamer.fleet.server_files import ServerFiles

    _log_lines()
    files = ServerFiles(state)
    settings = files.settings()
    mqtt, worker = settings.mqtt(), settings.bridge_settings()
    if buckets is not None:
        worker = dataclasses.replace(worker, buckets=buckets)
        worker.check()
        mqtt = dataclasses.replace(mqtt, client_id=f"{mqtt.client_id}-{buckets}")
    key = load_key(files.key) if aggregator else None
    opened = Store.open(store_url or files.store)
    parts = [name for name, wanted in (("bridge", bridge), ("aggregator", aggregator)) if wanted]
    where = f", broker {settings.broker.host}:{settings.broker.port}" if bridge else ""
    note(f"{' and '.join(parts)} of fleet {settings.fleet}{where}")
    try:
        run_server(
            opened,
            key=key,
            mqtt=mqtt if bridge else None,
            bridge=worker if bridge else None,
            progressed=lambda progress: _tell(opened, progress),
        )
    finally:
        opened.close()


def _tell(store: Store, progress: Progress) -> None:
    """Log what a sealed round came to."""
    import json

    from gossamer.aggregator.engine import Progress
    from gossamer.aggregator.store import jobs, rounds

    if progress is not Progress.SEALED:
        return
    with store.read() as db:
        job = jobs.current(db)
        latest = rounds.latest(db, job.job) if job else None
        sealed = rounds.get(db, latest.job, latest.round - 1) if latest else None
    if job is None or sealed is None or sealed.report is None:
        return
    report = json.loads(sealed.report)
    logging.getLogger("gossamer").info(
        "%s: round %d sealed as version %d: %d updates (%d late, %d rejected), %d bytes up, step %d bytes, loss %.4f",
        job.name, report["round"], report["version"], report["on_time"] + report["late"], report["late"],
        report["rejected"], report["body_bytes"], report["step_bytes"], report["loss"],
    )  # fmt: skip


def _log_lines() -> None:
    """One line an event on standard error; journald adds the time itself."""
    form = "%(levelname)s %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=form)
