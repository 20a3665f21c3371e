"""``gossamer.Agent``: the device's side, from a script of the user's.

::

    from gossamer import Agent, TorchTrainer

    def trainer():
        return TorchTrainer(model, loss, data)

    if __name__ == "__main__":
        Agent("gossamer.toml", trainer).run()
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gossamer.agent.child import PARENT_VARIABLE
from gossamer.api.reference import reference
from gossamer.errors import ConfigError, GossamerError, InputError

if TYPE_CHECKING:
    import paho.mqtt.client as paho

    from gossamer.agent.service import Agent as Service
    from gossamer.mqtt.link import Handler
    from gossamer.mqtt.shared_link import SharedLink

#: An agent promises to end within 2 s; a slow disk gets some more.
_STOP_SECONDS = 10.0


class Agent:
    """The agent of one device.

    Args:
        config: the TOML file that ``gossamer fleet enroll`` made.
        trainer: a module-level function (or class) that makes the trainer when it is called with the
            configuration's ``[trainer_options]``, or its name, "package.module:factory"; None: the one that the
            configuration names. It is called in a child process for every fit, which imports the script anew.
        client: the application's own paho client, connected or connecting: one MQTT connection for both. The
            application drives it (``loop_start``, ``loop_forever``, a loop of its own) and connects it again; its
            callbacks and its will stay its own. The broker must let its account use this device's topics.
        call: runs a function soon in the thread that drives ``client``, where paho does not see to that itself:
            ``loop.call_soon_threadsafe`` of an asyncio loop. With ``loop_start`` it is not needed.

    :meth:`run` is for a program that is nothing but the agent, :meth:`start` and :meth:`stop` for one that has
    something else to do.

    Raises:
        InputError: another process could not find the trainer; the message says how to write it.
    """

    def __init__(
        self, config: str | os.PathLike[str], trainer: Callable[..., Any] | str | None = None, *,
        client: paho.Client | None = None, call: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:  # fmt: skip
        if client is not None and not callable(getattr(client, "message_callback_add", None)):
            raise InputError(f"client: expected a paho.mqtt.client.Client, got {type(client).__name__}")
        if client is None and call is not None:
            raise InputError("call: it belongs to client, which is not given")
        self._client, self._call = client, call
        self.config = Path(config).absolute()
        self._script = None if trainer is None else reference(trainer)
        self._service: Service | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def run(self, *, in_process: bool = False) -> None:
        """Take part in the fleet's training until SIGTERM or SIGINT.

        **This process is replaced** by the agent, under the same process id: what the script has imported and
        loaded leaves the memory, ``run`` never returns, and no ``finally`` or ``atexit`` of the script runs. An
        error of the configuration is one line and an exit code, as of ``gossamer agent run``.

        With ``in_process``, or with a ``client``, whose connection lives here, the agent runs here, beside what is
        loaded, and ``run`` returns after a signal (of the main thread) or :meth:`stop`.

        Raises:
            InputError: other threads or an interactive session would end; use :meth:`start`.
            GossamerError: with ``in_process``, what an operator has to change.
        """
        _refuse_child()
        if not in_process and self._client is None:
            from gossamer.api.replacing import replace

            replace(self.config, self._script)
        service = self._make()
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGTERM, signal.SIGINT)
            before = [signal.signal(number, lambda _number, _frame: service.stop()) for number in numbers]
            try:
                service.run()
            finally:
                for number, handler in zip(numbers, before, strict=True):
                    signal.signal(number, handler)
        else:
            service.run()

    def start(self) -> None:
        """Run the agent in a thread of its own; it takes no signals and logs as ``gossamer.agent`` (logging).

        The thread ends with the program; nothing is lost if that happens without :meth:`stop`.

        Raises:
            InputError: it runs already. ConfigError: the configuration cannot be used.
        """
        _refuse_child()
        if self.is_running:
            raise InputError("the agent runs already: one start() for each stop()")
        service = self._make()
        self._error = None

        def serve() -> None:
            try:
                service.run()
            except BaseException as error:
                self._error = error
                _log(logging.ERROR, str(error))

        self._thread = threading.Thread(target=serve, name="gossamer-agent", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = _STOP_SECONDS) -> None:
        """End the agent and wait for it, at most ``timeout`` seconds. Harmless when it does not run.

        Raises:
            GossamerError: why it had ended by itself.
        """
        if self._service is not None:
            self._service.stop()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise GossamerError(f"the agent has not ended within {timeout:g} s: its disk or its trainer hangs")
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    @property
    def is_running(self) -> bool:
        """Whether the thread of :meth:`start` is at work."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """Why the agent ended by itself, if it did; :meth:`stop` raises it."""
        return self._error

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _make(self) -> Service:
        from gossamer.agent.config import load, with_script
        from gossamer.agent.journal import Systemd
        from gossamer.agent.service import Agent as Service

        # Not our service manager: what the program reports to it is the program's business.
        settings = with_script(load(self.config), self._script)
        make_link = None if self._client is None else partial(_shared, self._client, self._call)
        self._service = Service(settings, _log, systemd=Systemd({}), make_link=make_link)
        return self._service


def _shared(
    client: paho.Client, call: Callable[[Callable[[], None]], object] | None, handler: Handler,
    closing: Callable[[int], None],
) -> SharedLink:  # fmt: skip
    from gossamer.mqtt.shared_link import SharedLink, at_once

    return SharedLink(client, handler, call=call or at_once, closing=closing)


def _log(level: int, text: str) -> None:
    logging.getLogger("gossamer.agent").log(level, "%s", text)


def _refuse_child() -> None:
    """A script without its guard would start an agent in every training child."""
    if os.environ.get(PARENT_VARIABLE) == str(os.getppid()):
        raise ConfigError(
            'the script starts the agent while it is imported: put Agent(...).run() under `if __name__ == "__main__":`'
        )
