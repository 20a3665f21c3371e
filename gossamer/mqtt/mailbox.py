"""From any thread into one: notes are put, a byte wakes the selector of the thread that takes them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable

Note = Callable[[], None]

#: Bytes of messages that may wait for a thread that is busy (with its disk, say). What comes beyond is dropped:
#: the transfer machine asks for it again.
MAX_WAITING_BYTES = 8 << 20


class Mailbox:
    """Notes in the order in which they were put."""

    def __init__(self, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._most = max_waiting_bytes
        self._lock = threading.Lock()  # held for a few instructions, with no other lock inside
        self._notes: deque[tuple[Note, int]] = deque()
        self._waiting_bytes = 0
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._closed = False
        self.dropped = 0

    def put(self, note: Note, size: int = 0) -> bool:
        """Leave a note from any thread; False when it was dropped. ``size``: bytes it holds; 0 is never dropped."""
        with self._lock:
            if self._closed or (size and self._waiting_bytes + size > self._most):
                self.dropped += 1
                return False
            self._notes.append((note, size))
            self._waiting_bytes += size
        with contextlib.suppress(OSError):  # full of wake-ups already, or closed meanwhile
            self._writer.send(b"\0")
        return True

    def take(self) -> Note | None:
        """The next note, or None."""
        with self._lock:
            if not self._notes:
                return None
            note, size = self._notes.popleft()
            self._waiting_bytes -= size
            return note

    def fileno(self) -> int:
        """Readable when something was put; -1 once closed."""
        return self._reader.fileno()

    def clear_wakeups(self) -> None:
        """Before taking: what is put from now on wakes again."""
        with contextlib.suppress(OSError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        """Forget what is in it; puts from now on do nothing."""
        with self._lock:
            self._closed = True
            self._notes.clear()
        self._reader.close()
        self._writer.close()
