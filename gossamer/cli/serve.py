"""``gossamer serve``, ``bridge run``, ``aggregator run``: the server's side, in one process or several."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory
from gossamer.cli.output import note
from gossamer.cli.page import Address, NoPage, StoreUrl, log_lines, page_beside

if TYPE_CHECKING:
    from gossamer.aggregator.engine import Progress
    from gossamer.aggregator.store import Store

bridge_app = typer.Typer(help="Run the bridge alone: MQTT to store and back.", no_args_is_help=True)
aggregator_app = typer.Typer(help="Run the aggregator alone, over the same store.", no_args_is_help=True)

Buckets = Annotated[str | None, typer.Option(help="Serve these devices only, by bucket: 00-7f,c0")]


@bridge_app.callback()
def _bridge() -> None:
    """Run the bridge alone: MQTT to store and back."""


@aggregator_app.callback()
def _aggregator() -> None:
    """Run the aggregator alone, over the same store."""


def serve(
    state: StateDirectory = DEFAULT_STATE, store: StoreUrl = None, page: Address = None, no_page: NoPage = False
) -> None:
    """Run bridge, aggregator and the live page in one process until SIGTERM.

    The page is for this machine alone unless [page] in server.toml says otherwise.

    Example: gossamer serve --state /srv/gossamer --page 127.0.0.1:8787
    """
    _run(state, store, bridge=True, aggregator=True, buckets=None, page=page, no_page=no_page)


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


def _run(
    state: Path, store_url: str | None, *, bridge: bool, aggregator: bool, buckets: str | None,
    page: str | None = None, no_page: bool = True,
) -> None:  # fmt: skip
    import dataclasses

    from gossamer.aggregator.store import Store
    from gossamer.broker_bridge.server import run_server
    from gossamer.dashboard.meter import Meter
    from gossamer.fleet.keys import load_key
    from gossamer.fleet.server_files import ServerFiles

    log_lines()
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
    meter = Meter()
    try:
        with page_beside(files, opened, meter, page, wanted=not no_page):
            note(f"{' and '.join(parts)} of fleet {settings.fleet}{where}")
            run_server(
                opened,
                key=key,
                mqtt=mqtt if bridge else None,
                bridge=worker if bridge else None,
                progressed=lambda progress: _tell(opened, progress),
                metered=meter,
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
