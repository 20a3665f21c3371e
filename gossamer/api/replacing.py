"""The process becomes the agent: a new program under the same process id.

What a script has imported, torch with its hundreds of megabytes, would stay in memory for as long as it lives; an
idle agent needs none of it. ``execve`` keeps the process id, so that systemd still sees the service it started, and
the environment, the working directory, standard streams and limits.
"""

from __future__ import annotations

import logging
import os
import signal
import site
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

from gossamer.agent.config import Script
from gossamer.api.reference import package_root
from gossamer.errors import InputError


def command(config: Path, script: Script | None) -> list[str]:
    """The command line of the agent, with this interpreter (of a virtual environment too) and its options.

    Raises :class:`InputError` where there is no interpreter to start.
    """
    if not sys.executable:
        raise InputError("no Python interpreter is known here (an embedded one?): use run(in_process=True)")
    # What multiprocessing asks for the same purpose: -X, -W, -I, -O and their like.
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    if sys.version_info >= (3, 11) and "-P" not in options:
        options.append("-P")  # no module of the working directory in front of the library's
    line = [sys.executable, *options, "-m", "gossamer.agent", "--config", str(config)]
    if script is not None:
        line += ["--trainer", script.trainer]
        for each in script.path:
            line += ["--trainer-path", str(each)]
        line += ["--", *script.arguments] if script.arguments else []
    return line


def environment() -> dict[str, str]:
    """Our environment; where this package was found by ``sys.path`` alone, it leads the new interpreter there."""
    variables = dict(os.environ)
    root = str(package_root())
    known = [each for each in variables.get("PYTHONPATH", "").split(os.pathsep) if each]
    if root not in [*site.getsitepackages(), site.getusersitepackages(), *known]:
        variables["PYTHONPATH"] = os.pathsep.join([*known, root])
    return variables


def replace(config: Path, script: Script | None) -> NoReturn:
    """Become the agent. Nothing after this runs: no ``finally``, no ``atexit``.

    Raises :class:`InputError` where somebody would miss this program: other threads, an interactive session.
    """
    if hasattr(sys, "ps1") or sys.flags.interactive:
        raise InputError("run() replaces this process, and with it your session: use start() and stop()")
    main = threading.main_thread()
    others = [each.name for each in threading.enumerate() if each is not main and not each.daemon]
    if others:
        raise InputError(
            f"run() replaces this process, and the threads {', '.join(others)} would end with it: "
            "use start() and stop() beside them, or run(in_process=True)"
        )
    line, variables = command(config, script), environment()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # A blocked signal stays blocked in the new program, which would never hear of its end.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    os.execve(line[0], line, variables)  # noqa: S606 - our own command line, no shell
