"""A thin link between two network interfaces, for kernels without netem.

Runs in a namespace of its own that holds one end of two veth pairs and carries Ethernet frames from one
to the other through AF_PACKET sockets: serialised at a bit rate, delayed, jittered without reordering,
lost at random from a seeded generator, dropped at the tail of a bounded queue.

    python -m tests.lab.link_emulator IF_A IF_B --rate 40000 --delay 350 --loss 2

Prints ``ready`` once it forwards. SIGUSR1 cuts the link, SIGUSR2 restores it, SIGTERM ends it and prints
counters as JSON.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field

ETH_P_ALL = 0x0003
OUTGOING = 4  # sll_pkttype of a frame this host sent itself
FRAME_BYTES = 65_536


@dataclass
class Direction:
    """One way over the link. ``rate`` bit/s (0: unlimited), ``delay`` and ``jitter`` seconds, ``loss`` 0..1."""

    out: socket.socket
    rate: float
    delay: float
    jitter: float
    loss: float
    queue_bytes: int
    dice: random.Random
    idle_at: float = 0.0
    last_due: float = 0.0
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("frames", "bytes", "lost", "cut", "overflowed"), 0)
    )

    def due(self, now: float, size: int, cut: bool) -> float | None:
        """Return when a frame of ``size`` bytes that arrives at ``now`` leaves, or None when it never does."""
        self.counters["frames"] += 1
        fate = "cut" if cut else "lost" if self.dice.random() < self.loss else None
        starts = max(now, self.idle_at)
        if fate is None and self.rate and (starts - now) * self.rate / 8 > self.queue_bytes:
            fate = "overflowed"
        if fate is not None:
            self.counters[fate] += 1
            return None
        self.counters["bytes"] += size
        self.idle_at = starts + (size * 8 / self.rate if self.rate else 0.0)
        wanted = self.idle_at + max(0.0, self.delay + self.dice.uniform(-self.jitter, self.jitter))
        self.last_due = max(self.last_due, wanted)  # a radio link delays, but does not reorder
        return self.last_due


class Emulator:
    """Forwards frames until told to stop."""

    def __init__(self, ports: tuple[socket.socket, socket.socket], ways: tuple[Direction, Direction]) -> None:
        self.ways = dict(zip(ports, ways, strict=True))
        self.cut = False
        self.stopped = False
        self._pending: list[tuple[float, int, Direction, bytes]] = []
        self._order = itertools.count()

    def run(self) -> None:
        """Forward until :attr:`stopped`."""
        selector = selectors.DefaultSelector()
        for port in self.ways:
            selector.register(port, selectors.EVENT_READ)
        while not self.stopped:
            self._send_due(time.monotonic())
            wait = self._pending[0][0] - time.monotonic() if self._pending else 0.2
            for key, _events in selector.select(max(0.0, wait)):
                self._receive(key.fileobj)  # type: ignore[arg-type]

    def _receive(self, port: socket.socket) -> None:
        while True:
            try:
                frame, address = port.recvfrom(FRAME_BYTES)
            except BlockingIOError:
                return
            if address[2] == OUTGOING:
                continue
            way = self.ways[port]
            due = way.due(time.monotonic(), len(frame), self.cut)
            if due is not None:
                heapq.heappush(self._pending, (due, next(self._order), way, frame))

    def _send_due(self, now: float) -> None:
        while self._pending and self._pending[0][0] <= now:
            _due, _number, way, frame = heapq.heappop(self._pending)
            try:
                way.out.send(frame)
            except OSError:
                way.counters["lost"] += 1


def packet_socket(interface: str) -> socket.socket:
    """Open a non-blocking packet socket on ``interface`` that sees every frame."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    port.bind((interface, 0))
    port.setblocking(False)
    return port


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interfaces", nargs=2)
    parser.add_argument("--rate", type=float, default=0, help="bit/s, A to B")
    parser.add_argument("--rate-back", type=float, help="bit/s, B to A (default: as --rate)")
    parser.add_argument("--delay", type=float, default=0, help="ms one way")
    parser.add_argument("--jitter", type=float, default=0, help="ms")
    parser.add_argument("--loss", type=float, default=0, help="per cent")
    parser.add_argument("--queue", type=int, default=20_000, help="bytes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    a, b = (packet_socket(name) for name in options.interfaces)

    def way(out: socket.socket, rate: float, seed: int) -> Direction:
        return Direction(
            out, rate, options.delay / 1e3, options.jitter / 1e3, options.loss / 100, options.queue,
            random.Random(seed),
        )  # fmt: skip

    back = options.rate if options.rate_back is None else options.rate_back
    emulator = Emulator((a, b), (way(b, options.rate, options.seed), way(a, back, options.seed + 1)))
    signal.signal(signal.SIGUSR1, lambda *_: setattr(emulator, "cut", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(emulator, "cut", False))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(emulator, "stopped", True))
    print("ready", flush=True)
    emulator.run()
    print(json.dumps({name: w.counters for name, w in zip(("a>b", "b>a"), emulator.ways.values(), strict=True)}))


if __name__ == "__main__":
    main()
