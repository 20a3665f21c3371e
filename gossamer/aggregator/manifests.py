"""The signed manifest of a round, and the ways to its model that it names.

A *way* is an object and the version it starts from: a delta for devices that hold that version, or the
snapshot for anybody. Each costs a dozen bytes of every device's traffic, so only those go in that the
round's own devices need, the most wanted first, until the manifest is full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.aggregator.job_settings import JobSettings
from gossamer.compression.codebooks import MAX_GROUPS, NORMAL, Codebooks
from gossamer.compression.memory import EF14
from gossamer.compression.objects import encode_delta, step_of
from gossamer.compression.shared import SharedModel
from gossamer.compression.ways import encode_delta as encode_way
from gossamer.compression.ways import encode_snapshot
from gossamer.errors import ConfigError, MalformedMessage
from gossamer.methods.fedavg import FedAvg
from gossamer.wire.codes import JobState, Kind, Section
from gossamer.wire.cose import key_id
from gossamer.wire.ids import object_id
from gossamer.wire.items import encode
from gossamer.wire.limits import ID_BYTES, MAX_INT32, MAX_OBJECT_BYTES
from gossamer.wire.manifest import Fit, Manifest, Way, sign_manifest, with_ways
from gossamer.wire.messages import Round
from gossamer.wire.participation import Participation
from gossamer.wire.plans import Plan, Plans

#: As large as a fleet's number is taken to be where it must fit a manifest.
MANY_DEVICES = (1 << 16) - 1
#: Versions a manifest may offer a delta from. More would not fit beside the snapshot.
MAX_DELTAS = 8
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Offered:
    """A way with the bytes behind it."""

    from_version: int
    kind: Kind
    data: bytes

    @property
    def way(self) -> Way:
        """As the manifest says it."""
        return Way(self.from_version, object_id(self.data), len(self.data), self.kind)


@dataclass(frozen=True, slots=True)
class Model:
    """A version as devices get it, with its number."""

    version: int
    shared: SharedModel

    @property
    def digest(self) -> bytes:
        """As the manifest says it."""
        return self.shared.digest


def choose_ways(
    model: Model, steps: Sequence[bytes], held: Mapping[int, int], early: SharedModel | None = None
) -> list[Offered]:
    """Return the snapshot, then deltas from the versions that most devices hold.

    Args:
        model: where the ways lead.
        steps: the latest steps, oldest first; the last one leads to ``model.version``. A device that is
            further behind than they reach takes the snapshot.
        held: version -> how many of the round's devices hold it.
        early: the model that the first of the steps started from; needed for models with history only.

    The snapshot is first because it is everybody's way out when a digest does not fit. A delta that is
    no smaller than the snapshot is left out.
    """
    snapshot = Offered(0, Kind.SNAPSHOT, encode_snapshot(model.shared))
    oldest = model.version - len(steps)
    wanted = [version for version in held if oldest <= version < model.version]
    wanted = sorted(wanted, key=lambda version: (-held[version], version))[:MAX_DELTAS]
    if early is None or early.frame is None:
        deltas = _deltas(model, steps, frozenset(wanted))
    else:
        deltas = _deltas_with_history(model, steps, frozenset(wanted), early)
    useful = [deltas[v] for v in wanted if v in deltas and len(deltas[v].data) < len(snapshot.data)]
    return [offered for offered in (snapshot, *useful) if len(offered.data) <= MAX_OBJECT_BYTES]


def _deltas(model: Model, steps: Sequence[bytes], wanted: frozenset[int]) -> dict[int, Offered]:
    """Walk back from the model step by step, and encode the change since each wanted version."""
    change: npt.NDArray[np.int64] = np.zeros(len(model.shared.weights), dtype=np.int64)
    found: dict[int, Offered] = {}
    for back, step in enumerate(reversed(steps), start=1):
        if len(found) == len(wanted):
            break
        change += step_of(step, len(change))
        version = model.version - back
        if version in wanted and change.min() >= _INT32.min and change.max() <= _INT32.max:
            data = encode_delta(list(steps[-back:]), change.astype(np.int32))
            found[version] = Offered(version, Kind.DELTA, data)
    return found


def _deltas_with_history(
    model: Model, steps: Sequence[bytes], wanted: frozenset[int], early: SharedModel
) -> dict[int, Offered]:
    """Walk forward from the earliest model step by step; the steps' sums are in the frames passed through."""
    found: dict[int, Offered] = {}
    at = early
    for number, step in enumerate(steps):
        version = model.version - len(steps) + number
        if version in wanted:
            found[version] = Offered(version, Kind.DELTA, encode_way(at, steps[number:], model.shared))
        if len(found) == len(wanted):
            break
        at = at.after(step)
    return found


def build_manifest(
    settings: JobSettings,
    model: Model,
    participation: Participation,
    *,
    round_: int,
    state: JobState,
    deadline: float,
    key: Ed25519PrivateKey,
    offered: Sequence[Offered],
    codebooks: Codebooks | None = None,
    announced: Mapping[int, bytes] | None = None,
) -> Manifest:
    """Return the manifest of a round, with as many of the ways as fit.

    ``announced``: sections that change from round to round, of method and objective.
    """
    rate = settings.fit.learning_rate_micro(min(round_, settings.rounds - 1), settings.rounds)
    fit = Fit(settings.fit.local_epochs, settings.fit.batch_size, rate, settings.seed)
    manifest = Manifest(
        job=settings.job,
        state=state,
        round=round_,
        version=model.version,
        digest=model.digest,
        participation=participation,
        ways=(),
        codec=settings.codec_up,
        fit=fit,
        deadline=max(0, int(deadline)),
        key_id=key_id(key.public_key()),
        sections=_sections(settings, codebooks, announced),
    )
    return with_ways(manifest, (each.way for each in offered))


def _sections(
    settings: JobSettings, codebooks: Codebooks | None, announced: Mapping[int, bytes] | None
) -> tuple[tuple[int, bytes], ...]:
    sections: dict[int, bytes] = dict(announced or {})
    if settings.cycle:
        sections[Section.HISTORY] = b""
    if codebooks is not None and codebooks.version:
        sections[Section.CODEBOOKS] = codebooks.serialize()
    if settings.memory != EF14.spec:
        sections[Section.MEMORY] = settings.memory.encode("ascii")
    if settings.device_choice:
        sections[Section.CHOICE] = b""
    if settings.fit.adaptive:
        sections[Section.ADAPTIVE] = b""
    if settings.method != FedAvg.spec:
        sections[Section.METHOD] = settings.method.encode("ascii")
    if settings.trusted is not None:
        sections[Section.TRUSTED] = encode(settings.trusted)
    if settings.one_rotation:
        sections[Section.ROTATION] = b""
    if settings.plans:
        plans = tuple(Plan(name, plan.codec, plan.local_epochs) for name, plan in settings.plans)
        sections[Section.PLAN] = Plans(plans).serialize()
    return tuple(sorted((int(number), data) for number, data in sections.items()))


def check_room(settings: JobSettings, announced: Mapping[int, bytes], snapshot_bytes: int) -> None:
    """Refuse a job whose manifests will not name the ways to its model: no device could follow it.

    Args:
        settings: of the job.
        announced: the longest sections that change from round to round.
        snapshot_bytes: of the largest snapshot.

    Raises:
        ConfigError: the last manifest would not have room for a snapshot and a delta.
    """
    books = Codebooks(1, (NORMAL,) * MAX_GROUPS) if settings.learns_codebooks else None
    last = settings.rounds
    ways = [
        Way(start, bytes(ID_BYTES), min(snapshot_bytes, MAX_OBJECT_BYTES), kind)
        for start, kind in ((0, Kind.SNAPSHOT), (last - 1, Kind.DELTA))
    ]
    try:
        manifest = build_manifest(
            settings, Model(last, SharedModel.plain(np.zeros(1, dtype=np.int32))),
            settings.schedule(max(settings.cohorts, MANY_DEVICES)), round_=last, state=JobState.OPEN,
            deadline=MAX_INT32, key=Ed25519PrivateKey.from_private_bytes(bytes(32)), offered=(), codebooks=books,
            announced=announced,
        )  # fmt: skip
        replace(manifest, ways=tuple(ways))
    except MalformedMessage as error:
        raise ConfigError(
            f"job {settings.name}: its manifests have no room for a snapshot and a delta, without which no device can "
            f"follow the model ({error}): expected shorter numbers in method, memory and codec_up, or one of method, "
            "memory, objective, codec nf4 and plans less"
        ) from error


def signed_round(manifest: Manifest, key: Ed25519PrivateKey, fleet: str) -> bytes:
    """Return the ROUND message that carries the signed manifest: at most 300 bytes."""
    return Round(sign_manifest(key, manifest, fleet)).serialize()
