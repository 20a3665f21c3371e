"""A relay in front of a broker that holds everything up once it has passed so many bytes upwards."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


class Relay:
    """Forwards connections to ``port`` until ``hold_after`` bytes went up; then nothing passes until :meth:`cut`.

    After the cut, which closes all its connections, it forwards without end.
    """

    def __init__(self, port: int, hold_after: int) -> None:
        self.broker = port
        self.up_bytes = 0
        self.held = threading.Event()
        self._left: int | None = hold_after
        self._cut = threading.Event()
        self._stop = threading.Event()
        self._server = socket.create_server((HOST, 0))
        self._server.settimeout(0.05)
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Close every connection and let later ones pass."""
        self._left = None
        self._cut.set()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._cut.set()
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                device, _ = self._server.accept()
                self._threads.append(threading.Thread(target=self._forward, args=(device, not self._cut.is_set())))
                self._threads[-1].start()

    def _forward(self, device: socket.socket, first: bool) -> None:
        with device, contextlib.suppress(OSError), socket.create_connection((HOST, self.broker)) as broker:
            while not self._stop.is_set() and not (first and self._cut.is_set()):
                if self.held.is_set() and first:
                    self._cut.wait(0.05)
                    continue
                for ready in select.select([device, broker], [], [], 0.05)[0]:
                    data = ready.recv(512)
                    if not data:
                        return
                    (broker if ready is device else device).sendall(data)
                    if ready is device:
                        self._count(len(data))

    def _count(self, n: int) -> None:
        self.up_bytes += n
        if self._left is not None and self.up_bytes >= self._left:
            self.held.set()


@contextlib.contextmanager
def relay(port: int, hold_after: int) -> Iterator[Relay]:
    """Run a relay."""
    made = Relay(port, hold_after)
    try:
        yield made
    finally:
        made.close()
