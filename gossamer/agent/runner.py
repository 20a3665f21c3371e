"""The agent's side of the training child: start it, feed it, read its answers, end it.

Nothing here blocks: the request lies in an anonymous file (memfd) that is the child's stdin, answers and
complaints come through two pipes that the agent's selector watches. :func:`run` is the blocking form.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from gossamer.agent.child import OUT_OF_MEMORY, PARENT_VARIABLE
from gossamer.agent.frames import frame, take_frame
from gossamer.errors import ConfigError, IncompleteMessage, MalformedMessage, TrainerFailed, TrainerKilled

#: How much of the child's stderr is kept, and how much of it a message shows.
_STDERR_BYTES = 4096
_STDERR_LINES = 3
#: Between the end of the answers and the end of the process.
_FAREWELL_SECONDS = 2.0
_GLANCE_SECONDS = 0.01
_READ_BYTES = 1 << 16
_LAST_READS = 16
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)
_LAST_ANSWERS = frozenset({"update", "abstain", "too-long", "bad-model", "initial", "figures"})
#: Of the service manager, for the agent alone.
_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Answer = dict[str, Any]


@dataclass(frozen=True)
class ChildSettings:
    """What to run and its limits. ``memory_bytes`` 0: no limit. ``arguments``: a script's ``sys.argv[1:]``."""

    trainer: str
    options: Mapping[str, Any]
    path: tuple[Path, ...] = ()
    timeout_seconds: float = 3600.0
    memory_bytes: int = 0
    threads: int = 1
    nice: int = 0
    arguments: tuple[str, ...] = ()


class TrainerProcess:
    """One child with one request.

    Register :attr:`descriptors` for reading; call :meth:`on_readable` for each that is, and :meth:`check` now
    and then. Both return the answers that are complete; after the last one :attr:`finished` is True.
    """

    def __init__(self, settings: ChildSettings, op: str, fields: Mapping[str, Any], now: float) -> None:
        """Start the child; ``now`` is the clock of :meth:`check`. Raises :class:`TrainerFailed`."""
        request = {
            **fields,
            "op": op,
            "trainer": settings.trainer,
            "options": dict(settings.options),
            "path": [str(each) for each in settings.path],
            "arguments": list(settings.arguments),
            "memory_bytes": settings.memory_bytes,
            "nice": settings.nice,
        }
        stdin = os.memfd_create("gossamer-request")
        try:
            with os.fdopen(os.dup(stdin), "wb") as file:
                file.write(frame(request))
            os.lseek(stdin, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gossamer.agent.child"],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(settings),
                start_new_session=True,  # a Ctrl-C at the agent's terminal is the agent's to handle
            )
        except OSError as error:
            raise TrainerFailed(f"the training process cannot be started: {error}") from error
        finally:
            os.close(stdin)
        self._out, self._err = (pipe.fileno() for pipe in self._pipes)
        for descriptor in (self._out, self._err):
            os.set_blocking(descriptor, False)
        self._open = {self._out, self._err}
        self._answers = bytearray()
        self._complaints = b""
        self._timeout = settings.timeout_seconds
        self._memory_bytes = settings.memory_bytes
        self.deadline = now + settings.timeout_seconds
        self.finished = False

    @property
    def descriptors(self) -> frozenset[int]:
        """The pipes that are still open."""
        return frozenset(self._open)

    @property
    def _pipes(self) -> list[IO[bytes]]:
        return [pipe for pipe in (self._process.stdout, self._process.stderr) if pipe is not None]

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def on_readable(self, descriptor: int) -> list[Answer]:
        """Read one pipe; return complete answers.

        Raises :class:`TrainerFailed` if the child ended without its last answer or says that it failed.
        """
        if descriptor not in self._open:
            return []
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            self._open.discard(descriptor)
            if descriptor == self._out:
                self._at_end()
            return []
        if descriptor == self._err:
            self._complaints = (self._complaints + data)[-_STDERR_BYTES:]
            return []
        self._answers += data
        return self._take()

    def check(self, now: float) -> None:
        """Raise :class:`TrainerFailed`, and end the child, when it has had its time."""
        if not self.finished and now >= self.deadline:
            self.kill()
            raise TrainerFailed(
                f"the fit took longer than fit_timeout_seconds = {self._timeout:g} and was ended: "
                "ask for fewer local epochs, or set a longer limit"
            )

    def kill(self) -> None:
        """End the child and its workers now, and take its exit code. Harmless when it has ended."""
        self.finished = True
        # Only before its exit code is taken: until then the kernel gives its number to no other group.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._open.clear()
        for pipe in self._pipes:
            pipe.close()

    def _take(self) -> list[Answer]:
        answers: list[Answer] = []
        while True:
            try:
                answer = take_frame(self._answers)
            except IncompleteMessage:
                return answers
            except MalformedMessage as error:
                self.kill()
                raise TrainerFailed(f"the training process answered nonsense: {error}") from error
            if answer["type"] == "error":
                self._fail(answer)
            answers.append(answer)
            if answer["type"] in _LAST_ANSWERS:
                # Not the end of file: a process that the user's code left behind may hold the pipe open.
                self.kill()
                return answers

    def _fail(self, answer: Answer) -> NoReturn:
        self.kill()
        detail = str(answer.get("detail"))
        if answer.get("kind") == "ConfigError":
            raise ConfigError(detail)
        raise TrainerFailed(detail)

    def _at_end(self) -> NoReturn:
        """The child has closed its answers before the last one."""
        self._await_end()
        self._drain_complaints()
        self.kill()
        code = self._process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code == -signal.SIGKILL:
            how += " (out of memory?)"
        elif code in _CRASHES and self._memory_bytes:  # libraries that do not look whether they got memory
            how += f" (out of memory? fit_memory_bytes is {self._memory_bytes})"
        elif any(words in self.complaint for words in OUT_OF_MEMORY):
            how += " (out of memory; see fit_memory_bytes)"
        failure = TrainerKilled if code == -signal.SIGKILL else TrainerFailed
        raise failure(f"the training process {how}: {self.complaint or 'it printed nothing'}")

    def _await_end(self) -> None:
        """Give the child time to end by itself, but leave its exit code to :meth:`kill`."""
        end = time.monotonic() + _FAREWELL_SECONDS
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, self._process.pid, how) is None and time.monotonic() < end:
            time.sleep(_GLANCE_SECONDS)

    def _drain_complaints(self) -> None:
        try:
            for _ in range(_LAST_READS):  # a process that the user's code left behind may never stop writing
                if self._err not in self._open or not (data := os.read(self._err, _READ_BYTES)):
                    return
                self._complaints = (self._complaints + data)[-_STDERR_BYTES:]
        except BlockingIOError:
            pass

    @property
    def complaint(self) -> str:
        """The last lines of the child's stderr, as one line."""
        lines = [line.strip() for line in self._complaints.decode(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-_STDERR_LINES:])


def run(
    settings: ChildSettings, op: str, fields: Mapping[str, Any], stop: Callable[[], bool] = lambda: False
) -> list[Answer]:
    """Run a child to its end and return its answers. Blocks; raises :class:`TrainerFailed`."""
    child = TrainerProcess(settings, op, fields, time.monotonic())
    answers: list[Answer] = []
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in child.descriptors:
                selector.register(descriptor, selectors.EVENT_READ)
            while not child.finished and not stop():
                for key, _ in selector.select(0.2):
                    answers += child.on_readable(key.fd)
                    if key.fd not in child.descriptors:
                        selector.unregister(key.fd)
                child.check(time.monotonic())
    finally:
        child.kill()
    return answers


def _environment(settings: ChildSettings) -> dict[str, str]:
    variables = dict.fromkeys(_THREAD_VARIABLES, str(settings.threads))
    variables[PARENT_VARIABLE] = str(os.getpid())
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    return {**inherited, **variables}
