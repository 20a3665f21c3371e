"""``gossamer.serve``: the server's side, from a script."""

from __future__ import annotations

import os


def serve(state: str | os.PathLike[str]) -> None:
    """Run bridge and aggregator of a fleet until SIGTERM or SIGINT, as ``gossamer serve --state STATE`` does.

    Takes the main thread of the program (signal handlers) and needs ``pip install 'gossamer[server]'``.

    Args:
        state: the server's state directory, made by ``gossamer fleet init``.

    Raises:
        ConfigError: no fleet there, or a setting that cannot work. BrokerUnreachable, BrokerRefused, StoreError:
            why it ended; the store is intact.
    """
    from pathlib import Path

    from gossamer.aggregator.store import Store
    from gossamer.broker_bridge.server import run_server
    from gossamer.fleet.keys import load_key
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(Path(state))
    settings = files.settings()
    key = load_key(files.key)
    store = Store.open(files.store)
    try:
        run_server(store, key=key, mqtt=settings.mqtt(), bridge=settings.bridge_settings())
    finally:
        store.close()
