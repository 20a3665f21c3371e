"""A short command beside the agent's loop: started, glanced at, and ended when it takes too long. Never waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

#: How much of what a command prints is kept; the rest is read and thrown away.
KEPT_BYTES = 1 << 16
#: Of so many bytes at one look: more than a pipe holds, and no writer, however fast, keeps the loop from turning.
READS = 4
#: How often a command that runs is looked at.
GLANCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; ``code`` None: it could not be started, or took too long."""

    code: int | None
    printed: str


class Command:
    """One run of ``words``, without a shell; ``deadline`` on the clock of :meth:`look`."""

    def __init__(self, words: Sequence[str], deadline: float) -> None:
        self._deadline = deadline
        self._printed = bytearray()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the site's own command, or a tool by its fixed name
                list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"}, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self._printed += str(error).encode()
        else:
            assert self._process.stdout is not None  # noqa: S101 - asked for
            os.set_blocking(self._process.stdout.fileno(), False)

    def look(self, now: float) -> Ended | None:
        """Return how it ended, or None: it still runs."""
        if self._process is None:
            return Ended(None, self._text)
        self._read(self._process)
        code = self._process.poll()
        if code is None and now < self._deadline:
            return None
        if code is not None:
            self._read(self._process)  # what came between
        self.kill()
        return Ended(code, self._text)

    def kill(self) -> None:
        """End it and all that it started. Harmless when it has ended."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it is reaped later, or never
                self._process.wait(GLANCE_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def _text(self) -> str:
        return self._printed.decode(errors="replace")

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for
        with contextlib.suppress(BlockingIOError):
            for _ in range(READS):
                data = os.read(process.stdout.fileno(), KEPT_BYTES)
                if not data:
                    return
                self._printed += data[: KEPT_BYTES - len(self._printed)]
