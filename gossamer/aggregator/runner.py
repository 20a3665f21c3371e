"""The aggregator as a loop: the engine, a clock, and the patience to wait for a busy store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.aggregator.engine import Engine, Progress
from gossamer.aggregator.store import Store
from gossamer.errors import StoreBusy

log = logging.getLogger(__name__)


def run_aggregator(
    store: Store,
    key: Ed25519PrivateKey,
    stop: threading.Event,
    poll: float = 0.5,
    *,
    wake: threading.Event | None = None,
    progressed: Callable[[Progress], None] = lambda _progress: None,
) -> None:
    """Seal rounds until ``stop`` is set, looking at the store every ``poll`` seconds.

    ``wake`` set by whoever knows of something new makes it look at once (and, with ``stop``, end at once).
    ``progressed`` is told of every round opened or sealed, in this thread.

    Raises:
        StoreError: the store is damaged or full (DiskFull); what it held is intact.
    """
    wake = threading.Event() if wake is None else wake
    engine = Engine(store, key)
    while not stop.is_set():
        wake.clear()
        try:
            progress = engine.step(now=time.time(), monotonic=time.monotonic())
        except StoreBusy as busy:
            log.warning("%s", busy)
            progress = Progress.WAITING
        if progress in (Progress.OPENED, Progress.SEALED):
            progressed(progress)
        else:
            wake.wait(poll)
