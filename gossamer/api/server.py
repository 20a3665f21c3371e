"""``gossamer.serve``: the server's side, from a script."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.aggregator.store import Store
    from gossamer.dashboard.meter import Meter
    from gossamer.fleet.server_files import ServerFiles


def serve(state: str | os.PathLike[str], *, page: str | None = None) -> None:
    """Run bridge and aggregator of a fleet until SIGTERM or SIGINT, as ``gossamer serve --state STATE`` does.

    Takes the main thread of the program (signal handlers) and needs ``pip install 'gossamer[server]'``.

    Args:
        state: the server's state directory, made by ``gossamer fleet init``.
        page: where the live page listens, "127.0.0.1:8787"; None: there is no page.

    Raises:
        ConfigError: no fleet there, or a setting that cannot work. BrokerUnreachable, BrokerRefused, StoreError:
            why it ended; the store is intact.
    """
    from pathlib import Path

    from gossamer.aggregator.store import Store
    from gossamer.broker_bridge.server import run_server
    from gossamer.dashboard.meter import Meter
    from gossamer.fleet.keys import load_key
    from gossamer.fleet.server_files import ServerFiles

    files, meter = ServerFiles(Path(state)), Meter()
    settings = files.settings()
    key = load_key(files.key)
    store = Store.open(files.store)
    try:
        with _page(files, store, meter, page):
            run_server(store, key=key, mqtt=settings.mqtt(), bridge=settings.bridge_settings(), metered=meter)
    finally:
        store.close()


@contextlib.contextmanager
def _page(files: ServerFiles, store: Store, meter: Meter, address: str | None) -> Iterator[None]:
    if address is None:
        yield
        return
    from gossamer.dashboard.actions import Actions
    from gossamer.dashboard.desk import Desk
    from gossamer.dashboard.server import PageServer
    from gossamer.dashboard.settings import page_settings

    settings = files.settings()
    desk = Desk(store, settings.fleet, meter)
    server = PageServer(desk, Actions(files, store), page_settings(settings.page).listening(address))
    server.start()
    try:
        yield
    finally:
        server.stop()
