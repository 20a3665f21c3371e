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
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Protocol, runtime_checkable

import cbor2
import numpy as np
import numpy.typing as npt

from gossamer.aggregator import beside
from gossamer.aggregator.beside import Beside
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.prepare import clipped, prepared
from gossamer.aggregator.round_rule import rule_of_job, rule_of_round
from gossamer.aggregator.rules import Report, State, Update, Updates
from gossamer.aggregator.rules.state import pack, unpack
from gossamer.aggregator.server_step import Turn, server_step
from gossamer.compression import codec
from gossamer.compression.codebooks import Codebooks, Usage
from gossamer.compression.lattice import LATTICE_BITS, from_lattice, to_lattice
from gossamer.compression.memory import MAX_WEIGHT
from gossamer.compression.memory import memory as device_memory
from gossamer.compression.memory_server import ServerMemory
from gossamer.compression.registry import LOSSLESS
from gossamer.compression.shared import SharedModel
from gossamer.errors import IncompleteMessage, LatticeOverflow, MalformedBody, MalformedMessage, StoreError
from gossamer.methods import View, method
from gossamer.methods.base import Memory, Sections, Vector
from gossamer.wire.codes import UpdateSection
from gossamer.wire.items import Reader

Lattice = npt.NDArray[np.int32]

#: The target stays within half of the lattice's range, so that a step that overshoots it still fits.
TARGET_LIMIT = 1 << 30
#: Just below the lattice's range: float32 has steps of 128 units there and must not round up out of it.
STEP_LIMIT = (1 << 31) - 256


@runtime_checkable
class Used(Protocol):
    """A body that tells how it used its codebooks (None: it has none)."""

    def usage(self) -> Usage | None:
        """Counts of its codes."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one round hands to the next. ``rule``, ``server`` and ``method`` are memories of those three.

    The weights are the first ``d`` coordinates of model and target; the method's companions follow.
    """

    version: int
    model: SharedModel
    target: Lattice
    rule: State
    server: State
    codebooks: Codebooks | None = None  # of a job whose updates are coded with them
    memory: ServerMemory | None = None  # of a job whose devices send differences to what they sent before
    method: Memory = field(default_factory=dict)
    beside: Beside = field(default_factory=dict)
    rows: int = 1

    @property
    def d(self) -> int:
        """Coordinates of an update."""
        return len(self.shared) // self.rows

    @property
    def shared(self) -> Lattice:
        """The weights that every device holds."""
        return self.model.weights

    @classmethod
    def initial(cls, settings: JobSettings, model: SharedModel) -> EngineState:
        """Return the state before the first round, from version 0."""
        rows = 1 + len(method(settings.method).companions)
        d = len(model.weights) // rows
        memory = rule_of_job(settings).init(d)
        codebooks = Codebooks.initial(model.layout) if settings.learns_codebooks else None
        summed = ServerMemory.zeros(d) if device_memory(settings.memory).summed else None
        step = server_step(settings.server_step).init(d)
        return cls(0, model, model.weights, memory, step, codebooks, summed, rows=rows)

    def memories(self) -> bytes:
        """Return all but model and target, as CBOR."""
        versions = (self.codebooks, *self.codebooks.known) if self.codebooks else ()
        books = [each.serialize() for each in versions]
        summed = b"" if self.memory is None else self.memory.to_bytes()
        of_method = {name: pack(vector) for name, vector in self.method.items()}
        of_two = (self.rule.to_dict(), self.server.to_dict())
        return cbor2.dumps([*of_two, books, summed, of_method, dict(self.beside)], canonical=True)

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
            of_rule, of_server, _, summed, of_method, said = [*cbor2.loads(memories), {}, {}][:6]
            vectors = {str(name): unpack(data) for name, data in of_method.items()}
            small = {str(name): bytes(data) for name, data in said.items()}
        except (cbor2.CBORError, ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"the engine's state of job {settings.name} is damaged: {error}") from error
        rows = 1 + len(method(settings.method).companions)
        d = len(target) // rows
        server = server_step(settings.server_step).restore(of_server, d)
        memory = rule_of_job(settings).restore(of_rule, d)
        of_devices = ServerMemory.from_bytes(summed, d) if summed else None
        books = stored_codebooks(memories)
        return cls(version, model, target, memory, server, books, of_devices, vectors, small, rows)


@dataclass(frozen=True, slots=True)
class SealResult:
    """What a round made: the next state, the step that leads to its shared model, and the rule's report."""

    state: EngineState
    step: bytes
    digest: bytes
    report: Report
    saturated: int  # coordinates of the target that the lattice's range cut off


def seal(
    state: EngineState, updates: Sequence[Update], settings: JobSettings, *, devices: int, secret: bytes = b"",
    revoked: int = 0,
) -> SealResult:  # fmt: skip
    """Aggregate a round's updates into the next version.

    ``devices``: of the fleet, in its cohorts or not; ``revoked``: how many of them nothing is expected from.

    The result depends on the set of updates, and for a private job on its ``secret``, only: the same bits for any
    order, machine or restart. Raises ConfigError past a privacy budget.
    """
    d, chosen, number = state.d, method(settings.method), state.version
    if chosen.punctual:  # what a round that closed empty-handed has carried on is as late as any
        updates = [update for update in updates if not update.lag]
    ready = prepared(updates, chosen, settings, devices)
    ready = clipped(ready, d, chosen.clip(state.method, _view(state, settings, ready, devices, number)))
    seen = Updates.of(ready, d, fleet=max(1, devices - revoked), round=number, workers=settings.workers)
    aggregate, rule_memory, report = rule_of_round(settings, secret, number, devices).apply(state.rule, seen)
    after = replace(state, version=number + 1, rule=rule_memory, codebooks=_refitted(state, updates))
    after = replace(
        after, beside=beside.after(settings, state.beside, ready, report, devices=devices, round_=number)
    )
    if after.memory is not None:
        remembers = device_memory(settings.memory)
        summed = after.memory.plus((units, remembers.weighed(weight)) for units, weight in _sent(updates, d))
        aggregate, after = summed.step(devices * remembers.unit), replace(after, memory=summed)
    if chosen.steps and not report.shortfall:
        moves, after = _stepped(after, aggregate, settings, ready, report, devices)
    else:
        moves, after = _optimized(after, None if report.shortfall else aggregate, settings)
    target, saturated = (after.target, 0) if moves is None else _moved(after.target, moves.reshape(-1))
    after = replace(after, target=target)
    step, model = _step(state.model, after.target, settings, after.version)
    return SealResult(replace(after, model=model), step, model.digest, report, saturated)


def _optimized(
    state: EngineState, aggregate: Vector | None, settings: JobSettings
) -> tuple[Vector | None, EngineState]:
    """What the job's server step makes of an aggregate (d,), or of a round that has none: (rows, d) or None."""
    optimizer, turn = server_step(settings.server_step), Turn(state.version - 1, settings.cohorts)  # a version a round
    if aggregate is None:
        move, memory = optimizer.skip(state.server, turn)
    else:
        move, memory = optimizer.apply(state.server, aggregate, turn)
    if move is None:
        return None, replace(state, server=memory)
    return np.pad(move, (0, (state.rows - 1) * state.d)), replace(state, server=memory)


def _stepped(
    state: EngineState, aggregate: Vector, settings: JobSettings, ready: Sequence[Update], report: Report, devices: int
) -> tuple[Vector | None, EngineState]:
    """What the method's own server half makes of an aggregate (d,): moves (rows, d)."""
    judged = zip(ready, report.verdicts, strict=True)  # both in ascending (device, round)
    counted = [update for update, verdict in judged if verdict.accepted]
    view = _view(state, settings, counted, devices, state.version - 1)
    moves, memory = method(settings.method).step(state.method, aggregate, view)
    return moves, replace(state, method=memory)


def _view(state: EngineState, settings: JobSettings, counted: Sequence[Update], devices: int, round_: int) -> View:
    shared, target = (real(each).reshape(state.rows, -1) for each in (state.shared, state.target))
    return View(
        shared, target, devices, len(counted), round_, settings.cohorts,
        [dict(update.sections) for update in counted], settings.seed,
        full=settings.schedule(devices).is_full(round_),
    )  # fmt: skip


def real(units: Lattice) -> Vector:
    """Lattice units -> float64, exact."""
    return units.astype(np.float64) / float(1 << LATTICE_BITS)


def announced(settings: JobSettings, state: EngineState) -> Sections:
    """Sections of the next manifest that follow from the state."""
    return {**method(settings.method).announce(state.method), **beside.announced(settings, state.beside)}


def _sent(updates: Sequence[Update], d: int) -> Iterator[tuple[Lattice, int | None]]:
    """Yield what updates add to a sum over rounds, and the weight they claim there.

    One beyond the lattice is none that a device has remembered.
    """
    for update in updates:
        with suppress(LatticeOverflow):
            yield to_lattice(update.body.read(0, d)), _claimed_weight(update)


def _claimed_weight(update: Update) -> int | None:
    data = dict(update.sections).get(UpdateSection.WEIGHT)
    try:
        return None if data is None else Reader(data).uint("weight", MAX_WEIGHT, 1)
    except (IncompleteMessage, MalformedMessage):
        return None


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
    for spec in (settings.codec_down, LOSSLESS):  # the latter if the former would leave the lattice
        body = codec(spec).encode(wanted, seed=step_seed(settings.seed, version), context=context)
        try:
            return body, model.after(body)
        except MalformedBody:
            continue  # the codec overshot the range of the lattice
    raise AssertionError("a lossless step to a target within the lattice stays within the lattice")
