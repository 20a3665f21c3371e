"""The other end, for tests: a bridge and an aggregator of the simplest kind, as pure functions of messages.

``handle`` takes what a device published and returns what the bridge would publish to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.compression import decode, lattice, objects
from gossamer.compression.layout import Layout
from gossamer.errors import IncompleteMessage, MalformedMessage
from gossamer.wire import messages as msg
from gossamer.wire.header import verify_update
from gossamer.wire.limits import BROADCAST_FROM_BYTES
from gossamer.wire.manifest import Fit, sign_manifest
from gossamer.wire.participation import Participation
from gossamer.wire.transfer import Done, Need, Receiver, chunk_bytes_for

from .tiny import Tiny

FLEET, DEVICE, JOB, SEED = "t1", "dev-3", 7, 11
FLEET_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DEVICE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

Out = list[tuple[str, bytes]]


@dataclass
class ServerSide:
    """One device's view of the server. ``counted``: round -> body, in the order of counting."""

    codec: str = "sign"
    d: int = 40
    chunk_bytes: int = 64
    job: int = JOB
    devices: int = 1
    cohorts: int = 1
    keep_ways: bool = True
    counted: dict[int, bytes] = field(default_factory=dict)
    sealed: dict[bytes, int] = field(default_factory=dict)
    offered: dict[bytes, Receiver] = field(default_factory=dict)
    gets: list[bytes] = field(default_factory=list)
    round: int = 0
    state: msg.JobState = msg.JobState.OPEN

    def __post_init__(self) -> None:
        weights = Tiny(self.d).initial(SEED)
        self.layout = Layout.of(weights)
        self.models = [lattice.to_lattice(self.layout.flatten(weights))]
        self.objects: dict[bytes, tuple[bytes, msg.Kind]] = {}
        self.ways: tuple[msg.Way, ...] = ()
        self.down_bad = False

    @property
    def version(self) -> int:
        return len(self.models) - 1

    def advance(self) -> None:
        """Seal the round: the model moves by what was counted, or by a nudge."""
        body = self.counted.get(self.round)
        step = np.ones(self.layout.size, np.int32)
        if body is not None:
            step = lattice.to_lattice(decode(body, self.layout.size))
            self.sealed[msg.object_id(body)] = self.version + 1
        self.models.append((self.models[-1] + step).astype(np.int32))
        self.round += 1
        new = self.models[-1]
        ways = []
        # The sum of all steps from a version is the merged delta; here simply the difference.
        for start in range(max(0, self.version - 2), self.version):
            data = objects.encode_delta([], (new - self.models[start]).astype(np.int32))
            ways.append(self._way(start, data, msg.Kind.DELTA))
        ways.append(self._way(0, objects.encode_snapshot(new), msg.Kind.SNAPSHOT))
        self.ways = tuple(ways)

    def _way(self, start: int, data: bytes, kind: msg.Kind) -> msg.Way:
        self.objects[msg.object_id(data)] = (data, kind)
        return msg.Way(start, msg.object_id(data), len(data), kind)

    def manifest(self, **changes: object) -> bytes:
        key = changes.pop("key", FLEET_KEY)
        fleet = changes.pop("fleet", FLEET)
        fields: dict[str, object] = {
            "job": self.job, "state": self.state, "round": self.round, "version": self.version,
            "digest": lattice.digest(self.models[-1]),
            "participation": Participation(0, 5, self.devices, self.cohorts), "ways": self.ways,
            "codec": self.codec, "fit": Fit(1, 8, 100_000, SEED), "deadline": 0, "key_id": b"abcd", **changes,
        }  # fmt: skip
        manifest = msg.Manifest(**fields)  # type: ignore[arg-type]
        return msg.Round(sign_manifest(key, manifest, fleet)).serialize()  # type: ignore[arg-type]

    def handle(self, payload: bytes) -> Out:
        try:
            message = msg.parse(payload)
        except (MalformedMessage, IncompleteMessage):
            return []
        if isinstance(message, msg.Get):
            return self._get(message)
        if isinstance(message, msg.Offer):
            receiver = self.offered.get(message.object_id)
            if receiver is None or receiver.done:
                receiver = self.offered[message.object_id] = Receiver(message)
                return self._received(receiver, receiver.start(0.0))
            return self._received(receiver, receiver.offered(message, 0.0))
        if isinstance(message, msg.Chunk) and message.object_id in self.offered:
            receiver = self.offered[message.object_id]
            return self._received(receiver, receiver.chunk(message, 0.0))
        if isinstance(message, msg.Query):
            return self._query(message.object_id)
        return []

    def _get(self, message: msg.Get) -> Out:
        self.gets.append(message.object_id)
        if message.object_id == msg.MANIFEST_ID:
            return [("m", self.manifest())]
        known = self.objects.get(message.object_id)
        if known is None:
            return []
        data, kind = known
        size = chunk_bytes_for(len(data), self.chunk_bytes)
        inline = data if len(data) <= size else b""
        out: Out = []
        if not message.missing or inline:
            offer = msg.Offer(message.object_id, kind, len(data), size, b"", inline)
            out.append(("a", offer.serialize()))
        if not inline:
            for index in message.missing or range(-(-len(data) // size)):
                chunk = msg.Chunk(message.object_id, index, data[index * size : (index + 1) * size])
                out.append(("c" if len(data) > BROADCAST_FROM_BYTES else "a", chunk.serialize()))
        return out

    def _query(self, object_id: bytes) -> Out:
        if object_id in self.sealed:
            return [("a", msg.Receipt(object_id, self.sealed[object_id]).serialize())]
        if any(msg.object_id(body) == object_id for body in self.counted.values()):
            return [("a", msg.Status(object_id, msg.Code.ALREADY).serialize())]
        receiver = self.offered.get(object_id)
        missing = receiver.missing if receiver is not None else ()
        return [("a", msg.Status(object_id, msg.Code.MISSING, missing).serialize())]

    def _received(self, receiver: Receiver, outputs: object) -> Out:
        out: Out = []
        for output in outputs:  # type: ignore[attr-defined]
            if isinstance(output, Need):
                status = msg.Status(receiver.offer.object_id, msg.Code.MISSING, output.missing)
                out.append(("a", status.serialize()))
            elif isinstance(output, Done):
                out.append(("a", self._count(receiver.offer, output.body).serialize()))
        return out

    def _count(self, offer: msg.Offer, body: bytes) -> msg.Status:
        header = verify_update(DEVICE_KEY.public_key(), offer.header, FLEET, DEVICE, body)
        if header.round in self.counted:
            return msg.Status(offer.object_id, msg.Code.ALREADY)
        if header.round < self.round - 1:
            return msg.Status(offer.object_id, msg.Code.CLOSED)
        self.counted[header.round] = body
        return msg.Status(offer.object_id, msg.Code.COUNTED)
