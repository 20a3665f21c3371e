"""A link that does everything wrong: drops, duplicates, reorders, corrupts and cuts. No randomness of its own.

Two lanes carry bytes. Packets published with a token are acknowledged, as a broker does with QoS 1: in order,
and without any promise that they arrive. A cut loses what is not acknowledged, in either lane, except a prefix
that got through before it.
"""

from collections import deque
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Packet:
    data: bytes
    token: int | None = None
    acknowledged: bool = False


class Lane:
    """Packets under way in one direction, oldest first. Faults take the index of their victim."""

    def __init__(self) -> None:
        self.packets: deque[Packet] = deque()

    def __len__(self) -> int:
        return len(self.packets)

    def push(self, data: bytes, token: int | None = None) -> None:
        self.packets.append(Packet(data, token))

    def pop(self) -> bytes | None:
        return self.packets.popleft().data if self.packets else None

    def acknowledge(self, token: int) -> None:
        for i, packet in enumerate(self.packets):
            if packet.token == token:
                self.packets[i] = replace(packet, acknowledged=True)

    def drop(self, index: int) -> None:
        del self.packets[index]

    def duplicate(self, index: int) -> None:
        self.packets.append(self.packets[index])

    def reorder(self, index: int) -> None:
        """Move a packet to the end."""
        packet = self.packets[index]
        del self.packets[index]
        self.packets.append(packet)

    def corrupt(self, index: int, bit: int) -> None:
        data = bytearray(self.packets[index].data)
        data[bit // 8 % len(data)] ^= 1 << bit % 8
        self.packets[index] = replace(self.packets[index], data=bytes(data))

    def cut(self, survivors: int) -> None:
        """Lose every packet that is not acknowledged, but for the first ``survivors`` of those."""
        kept: deque[Packet] = deque()
        for packet in self.packets:
            if packet.acknowledged or survivors > 0:
                survivors -= not packet.acknowledged
                kept.append(packet)
        self.packets = kept


class FakeLink:
    """Sender and receiver with a broker between them."""

    def __init__(self) -> None:
        self.up = Lane()
        self.down = Lane()
        self.connected = True
        self._unacknowledged: deque[int] = deque()

    def publish(self, data: bytes, token: int) -> None:
        """Sender to receiver; lost when there is no connection."""
        if self.connected:
            self.up.push(data, token)
            self._unacknowledged.append(token)

    def reply(self, data: bytes) -> None:
        """Receiver to sender; lost when there is no connection (nothing is ever kept for anybody)."""
        if self.connected:
            self.down.push(data)

    def puback(self) -> int | None:
        """The oldest token the broker has not acknowledged yet, which it thereby does."""
        if not self._unacknowledged:
            return None
        token = self._unacknowledged.popleft()
        self.up.acknowledge(token)
        return token

    def cut(self, up_survivors: int = 0, down_survivors: int = 0) -> None:
        self.connected = False
        self._unacknowledged.clear()
        self.up.cut(up_survivors)
        self.down.cut(down_survivors)

    def connect(self) -> None:
        self.connected = True
