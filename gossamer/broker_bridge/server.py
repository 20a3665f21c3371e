"""The processes a server can be: bridge, aggregator, or both in one."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.aggregator.engine import Progress
from gossamer.aggregator.runner import run_aggregator
from gossamer.aggregator.store import Store
from gossamer.broker_bridge.bridge import Bridge
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.broker_bridge.shell import BridgeShell
from gossamer.mqtt import MqttSettings
from gossamer.mqtt.account import ByteAccount

#: How long a seal that is being computed may hold up the end. It is begun again at the next start.
STOP_SECONDS = 1.0

Progressed = Callable[[Progress], None]
Metered = Callable[[ByteAccount], None]


def run_server(
    store: Store,
    *,
    key: Ed25519PrivateKey | None = None,
    mqtt: MqttSettings | None = None,
    bridge: BridgeSettings | None = None,
    poll_seconds: float = 0.5,
    progressed: Progressed = lambda _progress: None,
    metered: Metered = lambda _account: None,
) -> None:
    """Run until SIGTERM or SIGINT: with a ``key`` an aggregator, with ``mqtt`` and ``bridge`` a bridge.

    Together in one process they tell each other what happened; alone each looks at the store every
    ``poll_seconds``. ``progressed`` is called, in the event loop, for each round opened or sealed here, ``metered``
    once a second with what the bridge's link has cost.

    Raises:
        BrokerUnreachable, BrokerRefused, StoreError: why it ended; the store is intact.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(
            store, stop, key=key, mqtt=mqtt, bridge=bridge, poll_seconds=poll_seconds, progressed=progressed,
            metered=metered,
        )  # fmt: skip

    asyncio.run(main())


async def serve(
    store: Store,
    stop: asyncio.Event,
    *,
    key: Ed25519PrivateKey | None = None,
    mqtt: MqttSettings | None = None,
    bridge: BridgeSettings | None = None,
    poll_seconds: float = 0.5,
    progressed: Progressed = lambda _progress: None,
    metered: Metered = lambda _account: None,
) -> None:
    """As :func:`run_server`, inside an event loop, until ``stop`` is set."""
    shell: BridgeShell | None = None
    engine: EngineThread | None = None

    def told(progress: Progress) -> None:
        progressed(progress)
        if shell is not None:
            shell.changed()

    if key is not None:
        engine = EngineThread(store, key, poll_seconds, told)
    if mqtt is not None and bridge is not None:
        counted = engine.wake if engine else lambda: None
        shell = BridgeShell(Bridge(store, bridge), mqtt, counted=counted, metered=metered)
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
    try:
        if engine is not None:
            waits.append(engine.start())
        if shell is not None:
            waits.append(asyncio.ensure_future(shell.run(stop)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        if shell is not None:
            shell.changed()
            await asyncio.wait(waits[-1:])
    finally:
        stop.set()
        if engine is not None:
            await engine.stop()
    for wait in waits:
        if wait.done() and not wait.cancelled():
            wait.result()


class EngineThread:
    """The aggregator in a thread of its own, beside an event loop.

    The thread is a daemon: a seal in the middle of its arithmetic may be cut off, it loses nothing.
    """

    def __init__(self, store: Store, key: Ed25519PrivateKey, poll_seconds: float, progressed: Progressed) -> None:
        self._store = store
        self._key = key
        self._poll_seconds = poll_seconds
        self._progressed = progressed
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> asyncio.Future[None]:
        """Begin; the future ends with the thread, and carries its exception."""
        threading.Thread(target=self._run, name="gossamer-engine", daemon=True).start()
        return self._ended

    def wake(self) -> None:
        """Something was counted."""
        self._wake.set()

    async def stop(self) -> None:
        """End, waiting STOP_SECONDS at most."""
        self._stop.set()
        self._wake.set()
        await asyncio.wait([self._ended], timeout=STOP_SECONDS)

    def _run(self) -> None:
        problem: BaseException | None = None
        try:
            run_aggregator(
                self._store,
                self._key,
                self._stop,
                self._poll_seconds,
                wake=self._wake,
                progressed=lambda progress: self._tell(self._progressed, progress),
            )
        except BaseException as error:
            problem = error
        self._tell(self._finish, problem)

    def _finish(self, problem: BaseException | None) -> None:
        if self._ended.done():
            return
        if problem is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(problem)

    def _tell(self, function: Callable[..., None], argument: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, argument)
