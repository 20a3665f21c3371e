"""The manifest: the current round in at most 300 bytes, signed by the fleet key, read by every device.

A device believes nothing about the model but what stands here: version, digest, and the ways to get there.
Version 0 is the trainer's initial model for ``fit.seed``, put on the lattice, and costs no byte to send.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossamer.errors import IncompleteMessage, InputError, MalformedMessage
from gossamer.wire import cose
from gossamer.wire.codes import JobState, Kind
from gossamer.wire.items import Reader, encode, sequence
from gossamer.wire.limits import (
    DIGEST_BYTES,
    ID_BYTES,
    KEY_ID_BYTES,
    MAX_CODEC_CHARS,
    MAX_INT32,
    MAX_OBJECT_BYTES,
    MAX_ROUND_BYTES,
    MAX_SECTIONS,
    MAX_SEED,
    MAX_WAYS,
)
from gossamer.wire.participation import Participation
from gossamer.wire.sections import Sections, read_sections

MAX_MANIFEST_BYTES = MAX_ROUND_BYTES - 4 - cose.ENVELOPE_BYTES
"""Bytes of the payload: ROUND's type and length take 4."""


@dataclass(frozen=True, slots=True)
class Way:
    """One object that leads to the manifest's version: a delta from ``from_version``, or a snapshot (0)."""

    from_version: int
    object_id: bytes
    size: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Fit:
    """How a device trains: epochs and batch in counts, the learning rate in millionths, the job's seed."""

    local_epochs: int
    batch_size: int
    learning_rate_micro: int
    seed: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The current round of a job.

    Args:
        job: the job's number; ``state``: open, finished or paused.
        round, version, digest: the open round, and the model it starts from (16 bytes of SHA-256).
        participation: who takes part.
        ways: objects that lead to ``version``, best first.
        codec: spec of the codec for updates.
        fit: how to train.
        deadline: Unix seconds; advice for planning, a device decides nothing by it.
        key_id: which key signed (:func:`gossamer.wire.cose.key_id`); a hint.
        sections: number (:class:`gossamer.wire.codes.Section`) and bytes of named additions, ascending. A
            device skips those that it does not know.
    """

    job: int
    state: JobState
    round: int
    version: int
    digest: bytes
    participation: Participation
    ways: tuple[Way, ...]
    codec: str
    fit: Fit
    deadline: int
    key_id: bytes
    sections: Sections = ()

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise MalformedMessage unless this is what a reader would accept (sizes, ranges, whole length)."""
        payload = self.serialize()
        if len(payload) > MAX_MANIFEST_BYTES:
            raise MalformedMessage(
                f"a manifest has at most {MAX_MANIFEST_BYTES} bytes, this has {len(payload)}; "
                "leave out some of the ways to the model"
            )
        try:
            _read_fields(Reader(payload))
        except (IncompleteMessage, InputError) as wrong:
            raise MalformedMessage(f"not a manifest: {wrong}") from wrong

    def section(self, number: int) -> bytes | None:
        """Return the bytes of a named addition, or None."""
        return dict(self.sections).get(number)

    def serialize(self) -> bytes:
        """Return the payload of the signature: about 130 bytes with three ways."""
        try:
            return sequence(
                self.job,
                self.state,
                self.round,
                self.version,
                self.digest,
                self.participation.fields,
                [[w.from_version, w.object_id, w.size, w.kind] for w in self.ways],
                self.codec,
                [self.fit.local_epochs, self.fit.batch_size, self.fit.learning_rate_micro, self.fit.seed],
                self.deadline,
                self.key_id,
                [[number, data] for number, data in self.sections],
            )
        except InputError as wrong:
            raise MalformedMessage(str(wrong)) from wrong

    @classmethod
    def parse(cls, payload: bytes) -> Manifest:
        """Read a payload; trailing items are ignored. MalformedMessage also when it is cut off."""
        try:
            reader = Reader(payload, MAX_ROUND_BYTES)
            fields = _read_fields(reader)
            reader.skip_rest()
        except (IncompleteMessage, InputError) as wrong:
            raise MalformedMessage(f"not a manifest: {wrong}") from wrong
        return cls(*fields)


_Fields = tuple[
    int, JobState, int, int, bytes, Participation, tuple[Way, ...], str, Fit, int, bytes, Sections
]  # in the order of the wire and of Manifest


def _read_fields(reader: Reader) -> _Fields:
    return (
        reader.uint("job"),
        JobState(reader.uint("state", max(JobState))),
        reader.uint("round"),
        reader.uint("version"),
        reader.bytes_("digest", DIGEST_BYTES, least=DIGEST_BYTES),
        _read_participation(reader),
        tuple(_read_way(reader) for _ in range(reader.array("ways", MAX_WAYS))),
        reader.text("codec", MAX_CODEC_CHARS),
        _read_fit(reader),
        reader.uint("deadline"),
        reader.bytes_("key id", KEY_ID_BYTES, least=KEY_ID_BYTES),
        read_sections(reader, MAX_SECTIONS, MAX_ROUND_BYTES),
    )


def _read_participation(reader: Reader) -> Participation:
    reader.array("participation", 4, least=4)
    return Participation(
        reader.uint("rule", MAX_INT32),
        reader.uint("seed", MAX_SEED),
        reader.uint("devices"),
        reader.uint("cohorts"),
    )


def _read_way(reader: Reader) -> Way:
    reader.array("way", 4, least=4)
    return Way(
        reader.uint("from version"),
        reader.bytes_("object id", ID_BYTES, least=ID_BYTES),
        reader.uint("size", MAX_OBJECT_BYTES, least=1),
        Kind(reader.uint("kind", Kind.SNAPSHOT, least=Kind.DELTA)),
    )


def _read_fit(reader: Reader) -> Fit:
    reader.array("fit", 4, least=4)
    return Fit(
        reader.uint("local epochs", MAX_INT32),
        reader.uint("batch size", MAX_INT32),
        reader.uint("learning rate", MAX_INT32),
        reader.uint("seed", MAX_SEED),
    )


def with_ways(manifest: Manifest, ways: Iterable[Way]) -> Manifest:
    """Return the manifest with as many of ``ways``, taken in order, as fit."""
    kept = replace(manifest, ways=())
    for way in ways:
        try:
            kept = replace(kept, ways=(*kept.ways, way))
        except MalformedMessage:
            break
    return kept


def manifest_aad(fleet: str) -> bytes:
    """Return the external data of a manifest's signature: CBOR ``["m", fleet]``."""
    return encode(["m", fleet])


def sign_manifest(key: Ed25519PrivateKey, manifest: Manifest, fleet: str) -> bytes:
    """Return the ``cose`` item of a ROUND."""
    return cose.sign1(key, manifest.serialize(), manifest_aad(fleet))


def verify_manifest(public: Ed25519PublicKey, data: bytes, fleet: str) -> Manifest:
    """Return the manifest that the fleet key signed for this fleet.

    Raises:
        BadSignature, MalformedMessage: as :func:`gossamer.wire.cose.verify1`.
    """
    return Manifest.parse(cose.verify1(public, data, manifest_aad(fleet)))
