"""What passes between a device and its broker, exchange by exchange, as packets.

Every message is the real one, serialised (:mod:`gossamer.wire`), with numbers as large as they are in a job some months
old; only its length counts. What TCP adds was read off captures of an agent and Mosquitto over an emulated link whose
round trip exceeds the 40 ms of a delayed acknowledgement:

* a lone segment is acknowledged by an empty one, unless the answer is there at once;
* Nagle's algorithm holds further small packets back until then, so they travel together;
* of a stream of full segments every second one is acknowledged.

How many acknowledgements ride on answers depends on the round trip and on how quick both ends are: a packet or two of a
participation, either way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gossamer.firmware_profiles import packets as mqtt
from gossamer.firmware_profiles.packets import PUBACK, Packet, Tally
from gossamer.wire import messages as msg
from gossamer.wire.accounts import Account
from gossamer.wire.codes import Code, JobState, Kind, Section
from gossamer.wire.cose import ENVELOPE_BYTES
from gossamer.wire.header import UpdateHeader
from gossamer.wire.limits import BROADCAST_FROM_BYTES, DEFAULT_CHUNK_BYTES, DIGEST_BYTES, ID_BYTES, KEY_ID_BYTES
from gossamer.wire.manifest import Fit, Manifest, Way, with_ways
from gossamer.wire.participation import Participation, ParticipationRule
from gossamer.wire.topics import Topics
from gossamer.wire.transfer.geometry import chunk_bytes_for, chunk_count, chunk_length

OBJECT_ID = bytes(ID_BYTES)
UNIX_TIME = 1_800_000_000
MONTH = 84
"""Of 2027, counted from January 2020."""


@dataclass(frozen=True, slots=True)
class Names:
    """What is in the topics, in CONNECT and in BIRTH.

    ``account_bytes``: user name and password with their lengths. A device with a ``budget_bytes`` a month or a
    ``profile`` says in BIRTH what it has spent.
    """

    fleet: str = "farm1"
    device: str = "gateway-0001"
    account_bytes: int = 0
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    budget_bytes: int = 0
    profile: str = ""

    @property
    def account(self) -> Account | None:
        """What BIRTH says of the device's bytes, half a budget spent."""
        if not self.budget_bytes and not self.profile:
            return None
        return Account(MONTH, self.budget_bytes // 2, self.budget_bytes, self.profile)

    def topic(self, kind: str) -> str:
        """The topic of a kind of message."""
        topics = Topics(self.fleet)
        return topics.shared_topic(kind) if kind in "mch" else topics.device_topic(kind, self.device)


@dataclass(frozen=True, slots=True)
class JobSize:
    """What of a job decides the length of its messages.

    Args:
        codec: of updates; local_epochs, batch_size as the manifest says them.
        devices, cohorts: of the fleet, and rounds until a device's turn comes again.
        round: a round number of typical length.
        deltas: ways in the manifest beside the snapshot: one where all devices hold the same version.
        has_history: the model keeps its history, as with ``hist``.
        plan_bytes: of the manifest's section of plans, 0 without.
    """

    codec: str
    local_epochs: int = 1
    batch_size: int = 32
    devices: int = 100
    cohorts: int = 1
    round: int = 100
    deltas: int = 1
    has_history: bool = False
    plan_bytes: int = 0


@dataclass
class Conversation:
    """Counts a device's exchanges onto a tally, one method each."""

    names: Names
    job: JobSize
    tally: Tally
    snapshot_bytes: int = 4_000
    delta_bytes: int = 400
    boot: int = 300
    _round: Packet = field(init=False)

    def __post_init__(self) -> None:
        self._round = mqtt.publish(self.names.topic("m"), self._manifest())

    def connect(self, *, resumed: bool = False) -> None:
        """SYN to the retained messages: handshakes, CONNECT, subscriptions, BIRTH, the manifest."""
        tally, names = self.tally, self.names
        tally.segments(1, up=True, extra=mqtt.SYN_OPTION_BYTES)
        tally.segments(1, up=False, extra=mqtt.SYN_OPTION_BYTES)
        tally.segments(1, up=True)
        tally.turns += 1
        if tally.transport.tls:
            self._handshake(resumed=resumed)
        death = msg.Death(self.boot).serialize()
        tally.flight(
            mqtt.connect(names.device, names.topic("s"), len(death), names.account_bytes), up=True,
            acks=0 if tally.transport.tls else 1,
        )  # fmt: skip
        if tally.transport.tls and not resumed:
            tally.bare("tls", mqtt.TICKET_BYTES, up=False)
            tally.segments(1, up=True)
        tally.flight(mqtt.CONNACK, up=False, acks=0 if resumed and tally.transport.tls else 1)
        asked, answer = mqtt.subscribe([names.topic(kind) for kind in "mha"])
        tally.flight(asked, up=True)
        tally.flight(answer, up=False)
        birth = msg.Birth(self.boot, max(0, self.job.round - 1), names.account).serialize()
        tally.flight(mqtt.publish(names.topic("s"), {"status": len(birth)}), up=True)
        state = mqtt.publish(names.topic("h"), {"status": len(msg.State(1, 1).serialize())})
        tally.flight(state, self._round, up=False)
        tally.flight(PUBACK, up=False)
        tally.flight(PUBACK, PUBACK, up=True)
        tally.turns += 4

    def goodbye(self) -> None:
        """DEATH, DISCONNECT and the close; what arrives after it is answered with resets."""
        tally = self.tally
        death = mqtt.publish(self.names.topic("s"), {"status": len(msg.Death(self.boot).serialize())})
        tally.flight(death, up=True)
        tally.flight(mqtt.DISCONNECT, up=True, acks=1)
        tally.flight(PUBACK, up=False)
        if tally.transport.tls:
            tally.bare("tls", mqtt.CLOSE_NOTIFY_BYTES, up=False)
        else:
            tally.segments(1, up=False)
        tally.resets(2)
        tally.turns += 1

    def manifest(self, *, rides_along: bool = False) -> None:
        """A new manifest while connected; ``rides_along``: in one segment with the STATUS before it."""
        tally = self.tally
        tally.flight(self._round, up=False, acks=0 if rides_along else 1)
        if rides_along:
            tally.segments(-1, up=False)
        tally.flight(PUBACK, up=True, acks=1)

    def ping(self) -> None:
        """PINGREQ and PINGRESP, each acknowledged by an empty segment."""
        self.tally.flight(mqtt.PING, up=True, acks=1)
        self.tally.flight(mqtt.PING, up=False, acks=1)
        self.tally.turns += 1

    def poll(self) -> None:
        """The agent asks whether there is a new manifest, and gets the old one on its own topic."""
        tally = self.tally
        tally.flight(self._get(), up=True, acks=1)
        tally.flight(PUBACK, up=False, acks=1)
        tally.flight(mqtt.publish(self.names.topic("a"), self._manifest()), up=False, acks=1)
        tally.flight(PUBACK, up=True, acks=1)
        tally.turns += 2

    def download(self, size: int) -> None:
        """GET a model object of so many bytes, and get it."""
        tally, shared = self.tally, size > BROADCAST_FROM_BYTES
        if shared:
            asked, answer = mqtt.subscribe([self.names.topic("c")])
            tally.flight(asked, up=True)
            tally.flight(answer, up=False, acks=1)
        tally.flight(self._get(), up=True)
        tally.flight(PUBACK, up=False, acks=1)
        tally.turns += 2 if shared else 1
        self._object(size, b"", up=False)
        if shared:
            asked, answer = mqtt.unsubscribe([self.names.topic("c")])
            tally.flight(asked, up=True)
            tally.segments(-1, up=True)  # it rides with the last acknowledgements
            tally.flight(answer, up=False, acks=1)

    def upload(self, size: int) -> None:
        """An update's OFFER with its body, or chunks behind it, and STATUS."""
        header = UpdateHeader(1, self.job.round, self.job.round, 500, 500_000).serialize()
        self._object(size, bytes(len(header) + ENVELOPE_BYTES), up=True)
        status = {"status": len(msg.Status(OBJECT_ID, Code.COUNTED).serialize())}
        self.tally.flight(mqtt.publish(self.names.topic("a"), status), up=False, acks=1)
        self.tally.flight(PUBACK, up=True, acks=1)
        self.tally.turns += 1

    def _handshake(self, *, resumed: bool) -> None:
        tally = self.tally
        hello = mqtt.RESUMING_HELLO_BYTES if resumed else mqtt.CLIENT_HELLO_BYTES
        flight = mqtt.RESUMED_FLIGHT_BYTES
        if not resumed:
            flight = mqtt.SERVER_FLIGHT_BYTES + tally.transport.certificate_bytes
        tally.bare("tls", hello, up=True)
        tally.segments(1, up=False)
        tally.bare("tls", flight, up=False)
        tally.segments(1, up=True)
        tally.bare("tls", mqtt.CLIENT_FINISHED_BYTES, up=True)
        tally.bare("tls", mqtt.TICKET_BYTES, up=False)
        tally.turns += 2

    def _object(self, size: int, header: bytes, *, up: bool) -> None:
        """OFFER, and chunks behind it if there is more than one."""
        tally = self.tally
        step = chunk_bytes_for(size, self.names.chunk_bytes)
        chunks = chunk_count(size, step)
        kind = Kind.UPDATE if up else Kind.DELTA
        body = bytes(size) if chunks == 1 else b""
        offer = len(msg.Offer(OBJECT_ID, kind, size, step, header, body).serialize())
        cause = "update" if up else "model"
        inside = {cause: len(body), "signatures": len(header), "status": offer - len(body) - len(header)}
        topic = self.names.topic("u" if up else "c" if size > BROADCAST_FROM_BYTES else "a")
        stream = [mqtt.publish(topic, inside)]
        for index in range(chunks if chunks > 1 else 0):
            length = chunk_length(size, step, index)
            frame = len(msg.Chunk(OBJECT_ID, index, bytes(length)).serialize()) - length
            stream.append(mqtt.publish(topic, {cause: length, "status": frame}))
        before = tally.packets
        tally.flight(*stream, up=up)
        self._acknowledged(len(stream), tally.packets - before, up=up)
        tally.turns += 1 + len(stream) // 8

    def _acknowledged(self, messages: int, segments: int, *, up: bool) -> None:
        """PUBACKs and TCP's own, of a stream of so many messages in so many segments."""
        tally = self.tally
        if messages == 1:
            tally.segments(max(1, segments // 2), up=not up)
            tally.flight(PUBACK, up=not up, acks=1)
            return
        tally.segments(segments // 2, up=not up)
        # The first PUBACK goes alone, the others gather while the stream runs.
        tally.flight(PUBACK, up=not up)
        gathered = max(1, (messages - 1) // PUBACKS_TOGETHER)
        tally.flight(*[PUBACK] * (messages - 1), up=not up)
        tally.segments(gathered - 1, up=not up)
        tally.segments(gathered, up=up)

    def _get(self) -> Packet:
        return mqtt.publish(self.names.topic("u"), {"status": len(msg.Get(OBJECT_ID, ()).serialize())})

    def _manifest(self) -> dict[str, int]:
        """Parts of ROUND: the manifest and its signature are one cause, as in the agent's ledger."""
        job = self.job
        sections = [(int(Section.HISTORY), b"")] if job.has_history else []
        if job.plan_bytes:
            sections.append((int(Section.PLAN), bytes(job.plan_bytes)))
        manifest = Manifest(
            1, JobState.OPEN, job.round, job.round, bytes(DIGEST_BYTES),
            Participation(ParticipationRule.RESHUFFLED, 0, max(job.devices, job.cohorts), job.cohorts), (), job.codec,
            Fit(job.local_epochs, job.batch_size, 100_000, 0), UNIX_TIME, bytes(KEY_ID_BYTES), tuple(sections),
        )  # fmt: skip
        ways = [Way(0, OBJECT_ID, max(1, self.snapshot_bytes), Kind.SNAPSHOT)]
        early = range(max(0, job.round - job.cohorts), max(0, job.round - job.cohorts) + job.deltas)
        ways += [Way(version, OBJECT_ID, max(1, self.delta_bytes), Kind.DELTA) for version in early]
        whole = replace(with_ways(manifest, ways))
        return {"manifest": len(msg.Round(bytes(len(whole.serialize()) + ENVELOPE_BYTES)).serialize())}


PUBACKS_TOGETHER = 4
"""As many as a window has chunks: they are acknowledged about when the next one is sent."""
