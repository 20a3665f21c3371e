"""Checks of the runtime: Python and its packages, and whether the trainer can be made, and train."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import math
import platform
import re
import struct
import sys
import time
from collections.abc import Iterator, Mapping

from gossamer.agent.config import AgentSettings
from gossamer.agent.runner import ChildSettings, run
from gossamer.agent.training import child_settings
from gossamer.doctor.finding import Finding, fail, ok
from gossamer.errors import GossamerError

OLDEST_PYTHON = (3, 10)
AGENT_PACKAGES = {"numpy": "numpy", "paho-mqtt": "paho.mqtt", "cbor2": "cbor2", "cryptography": "cryptography"}
SERVER_PACKAGES = {**AGENT_PACKAGES, "SQLAlchemy": "sqlalchemy"}
"""Name at the registry -> module."""
TRAINER_RUNTIMES = {"torch": "torch", "ai_edge_litert": "tflite", "tflite_runtime": "tflite-legacy"}
"""Module -> the extra of Gossamer that installs it."""
SHOWN_SECONDS = 300.0
"""A trainer that takes longer to be made or to train one epoch is given up here; the agent waits as configured."""


def packages(wanted: Mapping[str, str]) -> Finding:
    """Whether the packages are there, and in which versions; a distribution may ship one without its metadata."""
    found, missing = [f"Python {platform.python_version()}"], []
    for name, module in wanted.items():
        if not _is_there(module):
            missing.append(name)
            continue
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} of unknown version")
    if sys.version_info < OLDEST_PYTHON:
        return fail("runtime", found[0], "install Python 3.10 or later")
    if missing:
        mend = f"{sys.executable} -m pip install {' '.join(missing)}"
        return fail("runtime", f"{', '.join(missing)} not installed ({', '.join(found)})", mend)
    present = [module for module in TRAINER_RUNTIMES if _is_there(module)]
    extras = f"; for training: {', '.join(present)}" if present else "; for training: numpy only"
    return ok("runtime", ", ".join(found) + extras)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def trainer(settings: AgentSettings, *, train: bool) -> Iterator[Finding]:
    """Whether the trainer can be made in a child process, as for a fit, and with ``train`` whether it trains."""
    child = child_settings(settings)
    began = time.monotonic()
    try:
        (answer,) = run(_within(child), "initial", {"seed": 0})
    except GossamerError as error:
        yield fail("trainer", str(error), mend_of(str(error)))
        return
    count = sum(math.prod(shape) for _, shape, _ in answer["weights"])
    yield ok("trainer", f"{settings.trainer} gives {count:,} parameters, in {time.monotonic() - began:.1f} s")
    if train:
        yield _trained(settings, child)


def _trained(settings: AgentSettings, child: ChildSettings) -> Finding:
    """One epoch from the trainer's own first weights, within the limits of a real fit."""
    began = time.monotonic()
    inner = {"factory": settings.trainer, "options": settings.trainer_options}
    tiny = dataclasses.replace(child, trainer="gossamer.doctor.tiny_fit:attempt", options=inner)
    try:
        (answer,) = run(_within(tiny), "initial", {"seed": 0})
    except GossamerError as error:
        return fail("trainer fit", str(error), mend_of(str(error)))
    (_, _, data), *_ = answer["weights"]
    examples, loss = struct.unpack("<2f", data)
    took = time.monotonic() - began
    return ok("trainer fit", f"an epoch over {examples:,.0f} examples, loss {loss:.4g}, in {took:.1f} s")


def _within(child: ChildSettings) -> ChildSettings:
    """The same, given up earlier: somebody waits."""
    return dataclasses.replace(child, timeout_seconds=min(child.timeout_seconds, SHOWN_SECONDS))


def mend_of(error: str) -> str:
    """What to do about a trainer's error, by its text."""
    missing = re.search(r"[Nn]o module named '?([\w.]+)", error)
    if missing is not None:
        module = missing[1].split(".")[0]
        extra = TRAINER_RUNTIMES.get(module)
        if extra is not None:
            return f"{sys.executable} -m pip install 'gossamer[{extra}]'"
        return f"install {module} into this environment, or name its directory in trainer_path"
    if "memory" in error:
        return "raise fit_memory_bytes, or make the model or the batch smaller"
    if "fit_timeout_seconds" in error or "longer than" in error:
        return "raise fit_timeout_seconds, or train fewer epochs"
    if "NaN" in error or "finite" in error:
        return "lower the learning rate, or look at the data"
    return "correct the trainer or its options (trainer, [trainer_options]); the message has the place"
