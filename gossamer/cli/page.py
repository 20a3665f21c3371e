"""``gossamer page``, and the page beside ``gossamer serve``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory
from gossamer.cli.output import note
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.aggregator.store import Store
    from gossamer.dashboard.meter import Meter
    from gossamer.dashboard.server import PageServer
    from gossamer.fleet.server_files import ServerFiles

Address = Annotated[
    str | None, typer.Option("--page", help="Where the live page listens, HOST:PORT. [default: server.toml's]")
]
NoPage = Annotated[bool, typer.Option("--no-page", help="Do without the live page.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="Database URL, when it is not store.db in the state directory.")
]


def page(
    state: StateDirectory = DEFAULT_STATE,
    listen: Annotated[str | None, typer.Option("--page", help="Where it listens, HOST:PORT.")] = None,
    store: StoreUrl = None,
) -> None:
    """Run the live page alone until SIGTERM, over the store of a server that runs elsewhere or not at all.

    The table [page] of server.toml sets address and token; `gossamer serve` has the same page built in.

    Example: gossamer page --state /srv/gossamer --page 127.0.0.1:8787
    """
    from gossamer.aggregator.store import Store
    from gossamer.dashboard.meter import Meter
    from gossamer.fleet.server_files import ServerFiles

    log_lines()
    files = ServerFiles(state)
    files.settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    opened = Store.open(store or files.store)
    try:
        server = page_server(files, opened, Meter(), listen)
        server.start()
        note(f"page {server.url}")
        stop.wait()
        server.stop()
    finally:
        opened.close()


@contextlib.contextmanager
def page_beside(files: ServerFiles, store: Store, meter: Meter, address: str | None, *, wanted: bool) -> Iterator[None]:
    """Run the page while the block runs. Only where it was asked for by name is it an error that it cannot run."""
    server = None
    if wanted and (address is not None or files.settings().page.enabled):
        try:
            server = page_server(files, store, meter, address)
        except ConfigError as error:
            if address is not None or "token" in str(error):
                raise
            logging.getLogger("gossamer").warning("no page: %s", error)
    if server is None:
        yield
        return
    server.start()
    note(f"page {server.url}")
    try:
        yield
    finally:
        server.stop()


def page_server(files: ServerFiles, store: Store, meter: Meter, address: str | None) -> PageServer:
    """Make the page of a state directory.

    Raises:
        ConfigError: its settings cannot work, it cannot listen, or what it needs is not installed.
    """
    from gossamer.dashboard.settings import page_settings

    settings = files.settings()
    found = page_settings(settings.page)
    if address is not None:
        found = found.listening(address)
    try:
        from gossamer.dashboard.server import PageServer
    except ModuleNotFoundError as error:
        raise ConfigError(f"the page needs {error.name}: pip install 'gossamer[server]'") from error
    from gossamer.dashboard.actions import Actions
    from gossamer.dashboard.desk import Desk

    return PageServer(Desk(store, settings.fleet, meter), Actions(files, store), found)


def log_lines() -> None:
    """One line an event on standard error; journald adds the time itself."""
    form = "%(levelname)s %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=form)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its starts and ends are ours
