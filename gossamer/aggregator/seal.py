"""One aggregation step, as a pure function: state and updates in, the next state and a step body out.

Two-way compression (EF21-P, Gruntkowska et al., ICML 2023): the server keeps a *target* model that no
device ever sees, and devices keep the *shared* model, which moves by compressed steps towards it::

    target(v+1) = target(v) + server_step(rule(updates))
    step        = C_down(target(v+1) - shared(v))
    shared(v+1) = shared(v).after(step)

What the codec left out of one step is in the difference of the next, so nothing is lost on the way down.

Shapes: target and the shared model's weights are int32 (d,) in lattice units of 2^-20; a step is codec bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Protocol, runtime_checkable

import cbor2
import numpy as np
import numpy.typing as npt

from gossamer.aggregator.jobs import JobSettings
from gossamer.aggregator.rules import Report, State, Update, Updates, rule
from gossamer.aggregator.server_step import Turn, server_step
from gossamer.compression import codec
from gossamer.compression.codebooks import Codebooks, Usage
from gossamer.compression.lattice import LATTICE_BITS, from_lattice, to_lattice
from gossamer.compression.memory import memory as device_memory
from gossamer.compression.memory_server import ServerMemory
from gossamer.compression.shared import SharedModel
from gossamer.errors import LatticeOverflow, MalformedBody, StoreError

Lattice = npt.NDArray[np.int32]

#: The target stays within half of the lattice's range, so that a step that overshoots it still fits.
TARGET_LIMIT = 1 << 30
#: Just below the lattice's range: float32 has steps of 128 units there and must not round up out of it.
STEP_LIMIT = (1 << 31) - 256
#: The codec that takes over when codec_down would leave the lattice; never needed by a healthy model.
LOSSLESS = "fp32"


@runtime_checkable
class Used(Protocol):
    """A body that tells how it used its codebooks (None: it has none)."""

    def usage(self) -> Usage | None:
        """Counts of its codes."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one round hands to the next. ``rule`` and ``server`` are memories of those two."""

    version: int
    model: SharedModel
    target: Lattice
    rule: State
    server: State
    codebooks: Codebooks | None = None  # of a job whose updates are coded with them
    memory: ServerMemory | None = None  # of a job whose devices send differences to what they sent before

    @property
    def shared(self) -> Lattice:
        """The weights that every device holds."""
        return self.model.weights

    @classmethod
    def initial(cls, settings: JobSettings, model: SharedModel) -> EngineState:
        """Return the state before the first round, from version 0."""
        d = len(model.weights)
        memory = rule(settings.rule).init(d)
        codebooks = Codebooks.initial(model.layout) if settings.learns_codebooks else None
        summed = ServerMemory.zeros(d) if device_memory(settings.memory).summed else None
        return cls(0, model, model.weights, memory, server_step(settings.server_step).init(d), codebooks, summed)

    def memories(self) -> bytes:
        """Return the memories of rule and server step, the codebooks, and the sum of updates, as CBOR."""
        versions = (self.codebooks, *self.codebooks.known) if self.codebooks else ()
        books = [each.serialize() for each in versions]
        summed = b"" if self.memory is None else self.memory.to_bytes()
        return cbor2.dumps([self.rule.to_dict(), self.server.to_dict(), books, summed], canonical=True)

    @classmethod
    def restore(
        cls, settings: JobSettings, version: int, model: SharedModel, target: Lattice, memories: bytes
    ) -> EngineState:
        """The inverse of what the store keeps; empty ``memories`` are those of version 0.

        Raises:
            StoreError: the bytes are damaged; InputError: they are of another rule or model.
        """
        if not memories:
            return cls.initial(settings, model)
        try:
            of_rule, of_server, _, summed = cbor2.loads(memories)
        except (cbor2.CBORError, ValueError, TypeError) as error:
            raise StoreError(f"the engine's state of job {settings.name} is damaged: {error}") from error
        d = len(target)
        server = server_step(settings.server_step).restore(of_server, d)
        memory = rule(settings.rule).restore(of_rule, d)
        of_devices = ServerMemory.from_bytes(summed, d) if summed else None
        return cls(version, model, target, memory, server, stored_codebooks(memories), of_devices)


@dataclass(frozen=True, slots=True)
class SealResult:
    """What a round made: the next state, the step that leads to its shared model, and the rule's report."""

    state: EngineState
    step: bytes
    digest: bytes
    report: Report
    saturated: int  # coordinates of the target that the lattice's range cut off


def seal(state: EngineState, updates: Sequence[Update], settings: JobSettings, *, devices: int) -> SealResult:
    """Aggregate a round's updates into the next version. ``devices``: of the fleet, in its cohorts or not.

    The result depends on the set of updates only: the same bits for any order, machine or restart.
    """
    d = len(state.shared)
    aggregate, rule_memory, report = rule(settings.rule).apply(state.rule, Updates.of(updates, d))
    summed = state.memory
    if summed is not None:
        summed = summed.plus((units, 1) for units in _sent(updates, d))
        aggregate = summed.step(devices)
    target, saturated = state.target, 0
    optimizer, turn = server_step(settings.server_step), Turn(state.version, settings.cohorts)  # a version per round
    if report.shortfall:
        move, server_memory = optimizer.skip(state.server, turn)
    else:
        move, server_memory = optimizer.apply(state.server, aggregate, turn)
    if move is not None:
        target, saturated = _moved(state.target, move)
    step, model = _step(state.model, target, settings, state.version + 1)
    codebooks = _refitted(state, updates)
    after = EngineState(state.version + 1, model, target, rule_memory, server_memory, codebooks, summed)
    return SealResult(after, step, model.digest, report, saturated)


def _sent(updates: Sequence[Update], d: int) -> Iterator[Lattice]:
    """Yield what updates add to a sum over rounds; one beyond the lattice is none that a device has remembered."""
    for update in updates:
        with suppress(LatticeOverflow):
            yield to_lattice(update.body.read(0, d))


def stored_codebooks(memories: bytes) -> Codebooks | None:
    """Return the codebooks that `EngineState.memories` holds, with the versions before them, or None."""
    if not memories:
        return None
    versions = [Codebooks.parse(each) for each in cbor2.loads(memories)[2]]
    return replace(versions[0], known=tuple(versions[1:])) if versions else None


def _refitted(state: EngineState, updates: Sequence[Update]) -> Codebooks | None:
    """Fit the codebooks to a round's updates after rounds 1, 2, 4, 8, ..: the values' shape soon settles."""
    books, number = state.codebooks, state.version + 1
    if books is None or number & (number - 1):
        return books
    usages = [update.body.usage() for update in updates if isinstance(update.body, Used)]
    fresh = [usage for usage in usages if usage is not None and usage.version == books.version]
    return books.refit(reduce(add, fresh)) if fresh else books


def step_seed(seed: int, version: int) -> int:
    """Return the codec's seed for the step that leads to ``version``."""
    data = f"gossamer step {seed} {version}".encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big")


def _moved(target: Lattice, move: npt.NDArray[np.float64]) -> tuple[Lattice, int]:
    """Return target + move on the lattice, and how many coordinates had to be cut to its range."""
    with np.errstate(over="ignore"):
        units = np.rint(np.clip(move, -4096.0, 4096.0) * float(1 << LATTICE_BITS))
    wanted = target.astype(np.int64) + units.astype(np.int64)
    kept = np.clip(wanted, -TARGET_LIMIT, TARGET_LIMIT)
    return kept.astype(np.int32), int(np.count_nonzero(kept != wanted))


def _step(model: SharedModel, target: Lattice, settings: JobSettings, version: int) -> tuple[bytes, SharedModel]:
    """Return the step body and the shared model after it, as every device will compute it."""
    difference = np.clip(target.astype(np.int64) - model.weights, -STEP_LIMIT, STEP_LIMIT)
    wanted = from_lattice(difference)
    context = model.context(upward=False)
    for spec in (settings.codec_down, LOSSLESS):
        body = codec(spec).encode(wanted, seed=step_seed(settings.seed, version), context=context)
        try:
            return body, model.after(body)
        except MalformedBody:
            continue  # the codec overshot the range of the lattice
    raise AssertionError("a lossless step to a target within the lattice stays within the lattice")
