"""The round engine: a thin shell that takes decisions from ``cohort``, mathematics from ``seal``, and
writes what came of it into the store, one transaction per change.

A round goes OPEN -> SEALING -> SEALED. The first step fixes the set of updates, the second is the seal:
new version, step, engine state, receipts, and the next round with its signed manifest, all or nothing.
A kill between any two statements leaves the round where it was, and the same engine, or another one on
another machine, computes the same bytes from it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection

from gossamer.aggregator.bodies import Bodies
from gossamer.aggregator.cohort import Arrived, Close, Watch, closes, cohort, fleet_size
from gossamer.aggregator.jobs import JobSettings, model_at
from gossamer.aggregator.manifests import Model, Offered, build_manifest, choose_ways, signed_round
from gossamer.aggregator.reports import round_report
from gossamer.aggregator.rules import Update, rule
from gossamer.aggregator.seal import EngineState, SealResult, announced, seal
from gossamer.aggregator.store import Store, devices, inbox, jobs, models, objects, rounds, states
from gossamer.aggregator.store.jobs import JobRow, JobState
from gossamer.aggregator.store.rounds import RoundRow, RoundState
from gossamer.compression import Context
from gossamer.errors import MalformedMessage, StoreError
from gossamer.wire import codes
from gossamer.wire.cose import open_unverified
from gossamer.wire.header import UpdateHeader
from gossamer.wire.participation import Participation, ParticipationRule

log = logging.getLogger(__name__)

#: How often the time waited for an open round is written down: what a kill can make it wait longer.
WAITED_EVERY_SECONDS = 5.0
#: Cycles of a model with history that a delta passes through at most, each a basis to be made anew at every seal,
#: also for a device that never comes; whoever is further behind takes the snapshot.
REPLAYED_CYCLES = 16


class Progress(enum.Enum):
    """What one call of :meth:`Engine.step` did."""

    IDLE = "no open job"
    WAITING = "for updates, or for devices to begin with"
    OPENED = "the first round"
    SEALED = "a round"


@dataclass(frozen=True, slots=True)
class Next:
    """The round that follows: its number, its fleet and the ways to its model."""

    round: int
    participation: Participation
    offered: Sequence[Offered]


class Engine:
    """Seals the rounds of the fleet's current job. Remembers nothing that the store does not know.

    Args:
        store: of the fleet.
        key: the fleet's signing key.
    """

    def __init__(self, store: Store, key: Ed25519PrivateKey) -> None:
        self._store = store
        self._key = key
        self._watch = Watch()
        self._written_seconds = 0.0

    def step(self, *, now: float, monotonic: float) -> Progress:
        """Do the one next thing there is to do. ``now``: Unix seconds; ``monotonic``: any steady clock.

        Raises:
            StoreBusy: try again; StoreError: the store is damaged or full.
        """
        with self._store.read() as db:
            job = jobs.current(db)
            latest = None if job is None else rounds.latest(db, job.job)
        if job is None or job.state is not JobState.OPEN:
            return Progress.IDLE
        settings = JobSettings.from_json(job.settings)
        if latest is None:
            return self._begin(job, settings, now)
        if latest.state is RoundState.OPEN and not self._close(settings, latest, monotonic):
            return Progress.WAITING
        return self._seal(job, settings, latest, now)

    def _begin(self, job: JobRow, settings: JobSettings, now: float) -> Progress:
        with self._store.read() as db:
            model = Model(0, model_at(db, job, 0))
            following = _following(db, job, settings, None, model, [])
        if following is None:
            return Progress.WAITING
        message = self._sign(settings, model, following, now, EngineState.initial(settings, model.shared))
        with self._store.write() as db:
            held = jobs.lock(db, job.job, exclusive=True)
            if held is None or held.state is not job.state or rounds.latest(db, job.job) is not None:
                return Progress.WAITING  # paused meanwhile, or another aggregator was faster
            _open(db, job.job, following, model, message, now)
        return Progress.OPENED

    def _close(self, settings: JobSettings, latest: RoundRow, monotonic: float) -> bool:
        """Fix the set of updates if the round is due; returns whether it is fixed."""
        waited = self._watch.look(latest.job, latest.round, latest.waited_seconds, monotonic)
        if abs(waited - self._written_seconds) >= WAITED_EVERY_SECONDS:
            with self._store.write() as db:
                rounds.waited(db, latest.job, latest.round, waited)
            self._written_seconds = waited
        minimum = rule(settings.rule).minimum
        with self._store.read() as db:
            if closes(settings.closing, minimum, _arrived(db, settings, latest), waited) is Close.NOT_YET:
                return False
        with self._store.write() as db:
            held = jobs.lock(db, latest.job, exclusive=True)
            present = rounds.get(db, latest.job, latest.round)
            if present is None or present.state is not RoundState.OPEN:
                return False  # another aggregator was faster; look again
            if held is None or held.state is not JobState.OPEN:
                return False  # paused meanwhile
            # Asked again under the lock: an update that came since is in the set, and may change the answer.
            how = closes(settings.closing, minimum, _arrived(db, settings, latest), waited)
            if how is Close.NOT_YET:
                return False
            if how is Close.EMPTY_HANDED:
                carried = inbox.carry(db, latest.job, latest.round)
                log.info("round %d of %s closes without updates; %d carried on", latest.round, settings.name, carried)
            rounds.waited(db, latest.job, latest.round, waited)
            rounds.set_state(db, latest.job, latest.round, RoundState.SEALING)
        return True

    def _seal(self, job: JobRow, settings: JobSettings, latest: RoundRow, now: float) -> Progress:
        with self._store.read() as db:
            present = jobs.get(db, job.job)
            if present is None or present.version != job.version:
                return Progress.WAITING  # another aggregator was faster
            state = _state(db, job, settings)
            counted = inbox.counted(db, job.job, latest.round)
            gone = sum(index < latest.devices for index in devices.revoked(db))
        bodies = Bodies(self._store, job.job, state.d, context_of=_contexts(self._store, job, state))
        updates = [
            Update(
                u.index,
                bodies.get(u.round, u.device, u.base_version),
                examples=u.examples,
                lag=state.version - u.base_version,
                round=u.round,
                sections=sections_of(u.header),
            )
            for u in counted
        ]
        secret = secret_of(self._key, job.job)
        result = seal(state, updates, settings, devices=latest.devices, secret=secret, revoked=gone)
        model = Model(result.state.version, result.state.model)
        with self._store.read() as db:
            following = _following(db, job, settings, latest, model, [result.step])
        if following is None:
            raise StoreError("devices have vanished from the store; restore it from a backup")
        message = self._sign(settings, model, following, now, result.state)
        report = round_report(latest, len(cohort(settings, latest.devices, latest.round)), counted, result)
        with self._store.write() as db:
            held = jobs.lock(db, job.job, exclusive=True)
            if held is None or held.version != job.version:
                return Progress.WAITING  # another aggregator sealed it: the same bytes
            if held.state is not job.state:
                return Progress.WAITING  # paused meanwhile: the manifest was signed for an open job
            _write_seal(db, settings, latest, result, json.dumps(report, sort_keys=True), now)
            _open(db, job.job, following, model, message, now)
            if following.round >= settings.rounds:
                rounds.set_state(db, job.job, following.round, RoundState.SEALED)
                jobs.advance(db, job.job, version=model.version, state=JobState.FINISHED)
            else:
                jobs.advance(db, job.job, version=model.version, state=held.state)
        log.info("sealed round %d of %s with %d updates", latest.round, settings.name, len(counted))
        if counted and result.report.shortfall:
            log.warning("round %d of %s moved nothing: %s", latest.round, settings.name, result.report.shortfall)
        return Progress.SEALED

    def _sign(
        self, settings: JobSettings, model: Model, following: Next, now: float, state: EngineState
    ) -> bytes:
        finished = following.round >= settings.rounds
        manifest = build_manifest(
            settings,
            model,
            following.participation,
            round_=following.round,
            state=codes.JobState.FINISHED if finished else codes.JobState.OPEN,
            deadline=now + settings.closing.deadline_seconds,
            key=self._key,
            offered=following.offered,
            codebooks=state.codebooks,
            announced=announced(settings, state),
        )
        return signed_round(manifest, self._key, settings.fleet)


def secret_of(key: Ed25519PrivateKey, job: int) -> bytes:
    """Return 32 bytes for a private job's noise that follow from what only the server has; always the same."""
    return hmac.new(key.private_bytes_raw(), b"gossamer job secret %d" % job, hashlib.sha256).digest()


def sections_of(header: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return what an accepted update's header adds; it was verified when it was accepted."""
    try:
        return UpdateHeader.parse(open_unverified(header)[0]).sections
    except MalformedMessage as error:
        raise StoreError(f"the inbox holds an update without a header: {error}; restore a backup") from error


def _arrived(db: Connection, settings: JobSettings, latest: RoundRow) -> Arrived:
    revoked = devices.revoked(db)
    expected = cohort(settings, latest.devices, latest.round) - revoked
    on_time, every = inbox.arrived(db, latest.job, latest.round)
    enrolled = devices.count(db) - len(revoked)
    last = latest.round + 1 >= settings.rounds
    buffered = settings.schedule(latest.devices).rule == ParticipationRule.ANYTIME
    rootless = settings.trusted is not None and not inbox.has(db, latest.job, latest.round, settings.trusted)
    return Arrived(on_time, every - on_time, len(expected), enrolled, last, buffered, rootless)


def _state(db: Connection, job: JobRow, settings: JobSettings) -> EngineState:
    stored = states.get(db, job.job)
    if stored is None:
        raise StoreError(f"job {job.name}: the engine's state is missing; restore the store from a backup")
    model = model_at(db, job, job.version)
    return EngineState.restore(settings, job.version, model, models.from_blob(stored.target), stored.state)


def _contexts(store: Store, job: JobRow, state: EngineState) -> Callable[[int], Context]:
    """Return what an update's body is read with, by the version it was made from."""

    def context_of(version: int) -> Context:
        if version == state.version or state.model.frame is None:
            return replace(state.model.context(upward=True), codebooks=state.codebooks)
        with store.read() as db:
            return replace(model_at(db, job, version).context(upward=True), codebooks=state.codebooks)

    return context_of


def _following(
    db: Connection, job: JobRow, settings: JobSettings, latest: RoundRow | None, model: Model, steps: Sequence[bytes]
) -> Next | None:
    """Return the round after ``latest`` (None: the first), or None while the fleet is too small.

    ``steps`` are those that the store does not have yet.
    """
    number = 0 if latest is None else latest.round + 1
    previous = None if latest is None else latest.devices
    size = fleet_size(settings, number, devices.count(db), previous)
    if size is None:
        return None
    participation = settings.schedule(size)
    finished = number >= settings.rounds
    held: Counter[int] = devices.held(db, settings.job, None if finished else cohort(settings, size, number))
    known = model.version - len(steps)
    oldest = max(min(held, default=known), known - models.STEPS_KEPT + 1, 0)
    oldest = min(oldest, known)
    early = None
    if model.shared.frame is not None:
        oldest = _replayed_from(db, settings, oldest, known)
        early = model_at(db, job, oldest)
    earlier = models.steps(db, settings.job, after=oldest, upto=known) or []
    return Next(number, participation, choose_ways(model, [*earlier, *steps], held, early))


def _replayed_from(db: Connection, settings: JobSettings, oldest: int, known: int) -> int:
    """Return a version kept whole from which steps are replayed up to ``known``: at ``oldest`` or before, if near."""
    beginning = (known // settings.cycle - models.CYCLES_KEPT + 1) * settings.cycle
    reach = min(models.STEPS_KEPT - 1, REPLAYED_CYCLES * settings.cycle)
    for start in (models.whole_before(db, settings.job, oldest), beginning, known - models.LATTICES_KEPT + 1):
        if known - reach <= start == models.whole_before(db, settings.job, start):
            return start
    return known


def _open(db: Connection, job: int, following: Next, model: Model, message: bytes, now: float) -> None:
    """Enter the next round and the objects that its manifest names."""
    fleet = following.participation.devices
    rounds.open_round(db, job, following.round, version=model.version, devices=fleet, manifest=message, now=now)
    for each in following.offered:
        found = objects.StoredObject(each.way.object_id, int(each.kind), each.data)
        objects.put(db, job, found, round_=following.round)
    objects.prune(db, job, round_=following.round)


def _write_seal(
    db: Connection, settings: JobSettings, latest: RoundRow, result: SealResult, report: str, now: float
) -> None:
    """Enter the new version, the engine's state and the receipts of the round."""
    after = result.state
    # What is carried on is read with the model it was made from, however many rounds it is carried.
    waiting = inbox.counted(db, latest.job, latest.round + 1)
    carried = min((update.base_version for update in waiting), default=after.version)
    models.add(
        db, latest.job, after.version, digest=result.digest, state=after.model.to_bytes(), step=result.step, now=now,
        latest=max(settings.states_kept, after.version - carried + 1), cycle=settings.cycle,
    )  # fmt: skip
    stored = states.StoredState(latest.round + 1, models.to_blob(after.target), after.memories())
    states.put(db, latest.job, stored)
    inbox.seal(db, latest.job, latest.round, after.version)
    rounds.seal(db, latest.job, latest.round, report=report, now=now)
