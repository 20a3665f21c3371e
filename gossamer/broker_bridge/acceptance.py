"""What an update must be to count: every check between an OFFER and the inbox, in one place.

Cheap checks on the unverified header come first, so that an upload that can never count is told so
before it is sent; nothing is believed, and nothing counted, before the signature over header *and* body
has been verified.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.engine import Connection

from gossamer.aggregator.beside import entitled_chance
from gossamer.aggregator.cohort import counting_round
from gossamer.aggregator.jobs import JobSettings, layout_from_json, model_at
from gossamer.aggregator.rules.norms import READ_COORDINATES
from gossamer.aggregator.rules.screening import MAX_MAGNITUDE
from gossamer.aggregator.seal import stored_codebooks
from gossamer.aggregator.store import jobs, models, rounds, states
from gossamer.aggregator.store.devices import Device
from gossamer.aggregator.store.jobs import JobRow
from gossamer.aggregator.store.rounds import RoundRow
from gossamer.compression import NOTHING, REGISTRY, Context, codec, open_body
from gossamer.compression.auto import DEVICE_CODECS
from gossamer.compression.hist import HIST
from gossamer.compression.registry import LOSSLESS
from gossamer.errors import BadSignature, MalformedBody, MalformedMessage, Refused
from gossamer.methods import method
from gossamer.wire import cose
from gossamer.wire.codes import Reason, UpdateSection
from gossamer.wire.header import UpdateHeader, verify_update
from gossamer.wire.participation import Participation, ParticipationRule

#: Versions from which updates are read without making their context anew: the open round's and late ones'.
CONTEXTS_KEPT = 4
_CONTEXTS: OrderedDict[tuple[int, int, bytes], Context] = OrderedDict()


@dataclass(frozen=True, slots=True)
class JobView:
    """The fleet's current job, as far as acceptance looks at it. ``d``: coordinates of an update."""

    row: JobRow
    settings: JobSettings
    d: int
    latest: RoundRow

    @property
    def max_body_bytes(self) -> int:
        """No honest update is longer."""
        return max(_max_body_bytes(spec, self.d) for spec in self.codecs)

    @property
    def codecs(self) -> tuple[str, ...]:
        """Those an update may be coded with."""
        own = self.settings.codec_up
        if method(self.settings.method).lossless:
            return (own, LOSSLESS)
        own_and_planned = (own, *self.settings.planned_codecs)
        if not self.settings.device_choice:
            return own_and_planned
        return (
            *own_and_planned,
            *(spec for spec in DEVICE_CODECS if self.settings.cycle or not spec.startswith(HIST.name)),
        )


def view(db: Connection) -> JobView | None:
    """Return the current job, its row held against a seal in between; None before its first round."""
    current = jobs.current(db)
    if current is None:
        return None
    row = jobs.lock(db, current.job, exclusive=False)
    latest = rounds.latest(db, current.job)
    if row is None or latest is None:
        return None
    settings = _settings(row.settings)
    rows = 1 + len(method(settings.method).companions)
    return JobView(row, settings, _size(row.layout) // rows, latest)


def peek(header: bytes) -> UpdateHeader:
    """Read a signed header without believing it.

    Raises:
        Refused: ``malformed``.
    """
    try:
        return UpdateHeader.parse(cose.open_unverified(header)[0])
    except MalformedMessage as error:
        raise Refused(Reason.MALFORMED.label, f"update header: {error}") from error


def place(db: Connection, job: JobView, device: Device, header: UpdateHeader) -> int | None:
    """Return the round in which such an update would be counted; None: its round is closed for good.

    Raises:
        Refused: it can never be counted.
    """
    if header.job != job.row.job:
        known = header.job < 1 << 31 and jobs.get(db, header.job) is not None
        if known:
            return None  # an earlier or later job of this fleet: not now
        raise Refused(Reason.WRONG_JOB.label, f"job {header.job}, this fleet works on {job.row.job}")
    if header.round > job.latest.round:
        raise Refused(Reason.FUTURE_ROUND.label, f"round {header.round}, open is {job.latest.round}")
    counted_in = counting_round(job.row, job.latest, job.settings, header.round)
    if counted_in is None:
        return None
    meant = rounds.get(db, job.row.job, header.round)
    if meant is None or header.base_version != meant.version:
        raise Refused(Reason.MALFORMED.label, f"round {header.round} does not start from {header.base_version}")
    if not _is_member(db, job, device, header.round):
        raise Refused(Reason.NOT_IN_COHORT.label, f"round {header.round} is not a round of this device")
    return counted_in


def called_since(db: Connection, device: Device, job: int, round_: int) -> bool:
    """Return whether the device takes part in a round after ``round_`` that still takes updates."""
    now = view(db)
    if now is None or now.row.job != job:
        return now is not None and now.row.job > job
    last = now.latest.round
    later = range(max(round_ + 1, last - now.settings.closing.max_lag), last + 1)
    return any(_is_member(db, now, device, number) for number in later if number < now.settings.rounds)


def check_size(job: JobView, size: int) -> None:
    """Refuse what no honest update can be, before a byte of it is kept."""
    if size > job.max_body_bytes:
        most = f"{job.settings.codec_up} has at most {job.max_body_bytes}"
        raise Refused(Reason.TOO_LARGE.label, f"an update of {size} bytes; {most}")


def verify(db: Connection, job: JobView, device: Device, fleet: str, header: bytes, body: bytes) -> UpdateHeader:
    """Return the header, now believed: this device signed it together with this body, which decodes.

    Raises:
        Refused: with the reason.
    """
    check_size(job, len(body))
    try:
        key = Ed25519PublicKey.from_public_bytes(device.public_key)
        found = verify_update(key, header, fleet, device.id, body)
    except BadSignature as error:
        raise Refused(Reason.BAD_SIGNATURE.label, str(error)) from error
    except MalformedMessage as error:
        raise Refused(Reason.MALFORMED.label, f"update header: {error}") from error
    _check_chance(db, job, device, found)
    _check_body(db, job, body, found.base_version)
    return found


def _check_chance(db: Connection, job: JobView, device: Device, header: UpdateHeader) -> None:
    """Under importance sampling an update weighs by its chance, which only the device's own coin may have granted."""
    if job.settings.participation != ParticipationRule.IMPORTANCE.name.lower():
        return
    meant = rounds.get(db, job.row.job, header.round)
    schedule = _participation(job.row.settings, job.latest.devices if meant is None else meant.devices)
    claim = header.section(UpdateSection.CHANCE)
    if claim is None or entitled_chance(schedule, claim, header.round, device.index) is None:
        what = "no chance" if claim is None else f"a chance of {claim.hex()}"
        raise Refused(Reason.NOT_IN_COHORT.label, f"round {header.round}: it claims {what}; the coin denies it")


def _check_body(db: Connection, job: JobView, body: bytes, base_version: int) -> None:
    if body[:1] not in {_tag(spec) for spec in job.codecs}:
        expected = " or ".join(f"{spec} ({_tag(spec).hex()})" for spec in job.codecs)
        what = f"expected a body of {expected}, this one begins with {body[:1].hex()}"
        raise Refused(Reason.UNKNOWN_CODEC.label, what)
    try:
        # This checks all of it: what opens decodes to d finite numbers.
        opened = open_body(body, job.d, _context(db, job, base_version))
    except MalformedBody as error:
        # Its signature is good, so nothing happened on the way: it was made so.
        reason = Reason.NON_FINITE if "finite" in str(error) else Reason.WRONG_LAYOUT
        raise Refused(reason.label, f"update body: {error}") from error
    # No rule may see it, and one that is left with too few would make nothing of the others.
    for start in range(0, job.d, READ_COORDINATES):
        if np.abs(opened.read(start, min(start + READ_COORDINATES, job.d))).max() > MAX_MAGNITUDE:
            raise Refused(Reason.TOO_LARGE.label, f"update body: a coordinate beyond the model's {MAX_MAGNITUDE:g}")


def _is_member(db: Connection, job: JobView, device: Device, round_: int) -> bool:
    meant = rounds.get(db, job.row.job, round_)
    if meant is None:
        return False
    trusted = device.index == job.settings.trusted
    return trusted or _participation(job.row.settings, meant.devices).is_member(round_, device.index)


def _context(db: Connection, job: JobView, version: int) -> Context:
    """What an update made from that version is read with; such a model is remembered, as it takes a while to make."""
    if job.settings.learns_codebooks:
        stored = states.get(db, job.row.job)
        return Context(layout_from_json(job.row.layout), codebooks=stored_codebooks(stored.state) if stored else None)
    if not job.settings.cycle:
        return NOTHING
    row = models.get(db, job.row.job, version)
    key = (job.row.job, version, b"" if row is None else bytes(row.digest))
    if key not in _CONTEXTS:
        if models.state(db, job.row.job, version) is None:
            return NOTHING  # no longer kept: `place` says what becomes of an update as late as that
        while len(_CONTEXTS) >= CONTEXTS_KEPT:
            _CONTEXTS.popitem(last=False)
        _CONTEXTS[key] = model_at(db, job.row, version).context(upward=True)
    return _CONTEXTS[key]


@lru_cache(maxsize=16)
def _settings(text: str) -> JobSettings:
    return JobSettings.from_json(text)


@lru_cache(maxsize=16)
def _size(text: str) -> int:
    return layout_from_json(text).size


@lru_cache(maxsize=64)
def _participation(settings: str, devices: int) -> Participation:
    return _settings(settings).schedule(devices)


@lru_cache(maxsize=16)
def _tag(spec: str) -> bytes:
    return bytes([REGISTRY.method(spec).tag])


@lru_cache(maxsize=16)
def _max_body_bytes(spec: str, d: int) -> int:
    return codec(spec).max_bytes(d)
