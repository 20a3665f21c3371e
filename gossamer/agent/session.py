"""The session machine: what a device does when. Events and ``now`` in, actions out; no I/O, no clock.

:data:`~gossamer.agent.states.TRANSITIONS` is the whole machine. Whether the link is up is not a
state: work goes on without it, and sending resumes with it.

It does *not* handle: connecting and its pauses (the shell's), more than one update at a time (the outbox has
one place), anything a trainer does, and time: it never decides by the manifest's deadline. A message that
does not fit the state is ignored; one that is wrong is counted, and changes nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from gossamer.agent import actions as do
from gossamer.agent.actions import Action
from gossamer.agent.attendance import Attendance
from gossamer.agent.bridge import BridgeState
from gossamer.agent.failures import tellable
from gossamer.agent.fetch import NEVER, Fetch, Output
from gossamer.agent.gates import Refusal
from gossamer.agent.plan import Held, Need, decide, refusal
from gossamer.agent.records import Marks, OutboxEntry, Partial
from gossamer.agent.states import TRANSITIONS, State, Trigger
from gossamer.agent.upload import MAX_REST_SECONDS, Terms, Upload
from gossamer.errors import BadSignature, IncompleteMessage, MalformedMessage
from gossamer.wire import messages as msg
from gossamer.wire.codes import Absence
from gossamer.wire.manifest import Manifest, Way, verify_manifest
from gossamer.wire.transfer import Done, Reject

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gossamer.agent.budget import Funds
    from gossamer.agent.config import AgentSettings


KILLS_FORGIVEN = 4
"""A child that was killed trains again so often before its round is lost: memory that was short may be free a
moment later, but a fit that never fits must not wear the device down."""


class Session:
    """One device. Every event method returns the actions it leads to, to be executed in order."""

    def __init__(
        self, settings: AgentSettings, fleet_key: Ed25519PublicKey, *,
        held: Held | None = None, marks: Marks | None = None, outbox: OutboxEntry | None = None,
        partial: Partial | None = None,
    ) -> None:  # fmt: skip
        """Begin with what the store holds."""
        self.settings = settings
        self.state = State.WAITING if outbox is None else State.SENDING
        self.manifest: Manifest | None = None
        self.held = held
        self.marks = Marks() if marks is None else marks
        self._fleet_key = fleet_key
        self._partial = partial
        self._fetch: Fetch | None = None
        self._training: tuple[Manifest, Way | None] | None = None
        self.attendance = Attendance(settings)
        self._arrived: tuple[Way, bytes] | None = None  # a download that ended when nothing could begin
        self._upload = None if outbox is None else Upload(outbox, self._terms, fresh=False)
        self._bridge = BridgeState(settings.bridge_down_patience_seconds)
        self._bad: set[bytes] = set()
        self._base_bad = False
        self._kills = 0
        self._last_cose = b""
        self._online = False
        self._ask_at = NEVER
        self._ask_pause = settings.manifest_wait_seconds

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and nothing is left to be said."""
        return self.state in (State.WAITING, State.RESTING) and self.attendance.is_quiet

    # -- the link ------------------------------------------------------------------------------------------

    def connected(self, now: float, boot: int) -> list[Action]:
        """The link is up; ``boot`` counts connections."""
        self._online = True
        self._bridge.forget()
        self._ask_pause = self.settings.manifest_wait_seconds
        self._ask_at = now + self._ask_pause
        shared = self._fetch is not None and self._fetch.may_be_shared
        kinds = ("m", "h", "a", "c") if shared else ("m", "h", "a")
        actions: list[Action] = [do.Subscribe(kinds)]
        if self.settings.announce:
            version = self.held.version if self.held is not None else 0
            actions.append(do.Publish("s", msg.Birth(boot, version, self.attendance.account).serialize()))
        return [*actions, *self.attendance.connected(), *self._resume(now)]

    def disconnected(self, now: float) -> list[Action]:
        """The link is down."""
        self._online = False
        if self._upload is not None:
            self._upload.disconnected(now)
        return []

    def puback(self, token: int, now: float) -> list[Action]:
        """The broker has the message published under ``token``."""
        if self.attendance.acknowledged(token):
            return []
        return self._upload.puback(token, now) if self._upload is not None else []

    def message(self, kind: str, payload: bytes, now: float) -> list[Action]:
        """A message came on a topic of ``kind``."""
        try:
            message = msg.parse(payload)
        except (MalformedMessage, IncompleteMessage) as error:
            return do.refuse("malformed", f"message on {kind!r}: {error}")
        if isinstance(message, msg.Round) and kind in "ma":
            return self._on_round(message, now)
        if isinstance(message, msg.State) and kind == "h":
            return self._on_bridge(message, now)
        if isinstance(message, (msg.Status, msg.Receipt)) and kind == "a":
            return self._on_answer(message, now)
        if isinstance(message, (msg.Offer, msg.Chunk)) and kind in "ac" and self._fetch is not None:
            return self._fetched(self._fetch.message(message, now), now)
        return []

    # -- the training child --------------------------------------------------------------------------------

    def model_ready(self, held: Held) -> list[Action]:
        """The model of the round is durable."""
        if self.manifest is None or held.job != self.manifest.job:
            return []  # the fleet has gone on to another job meanwhile: to that one, this model is nothing
        self.held, self._partial = held, None
        self._bad, self._base_bad = set(), False
        return []

    def model_bad(self, detail: str, now: float) -> list[Action]:
        """What we hold, or have fetched, does not lead to the signed digest: only a snapshot will do now."""
        if self._training is None:
            return []
        _, way = self._training
        self._training, self._partial, self._base_bad = None, None, True
        if way is not None:
            self._bad.add(way.object_id)
        return [*do.refuse("bad-model", detail), do.DropPartial(), *self._plan(now)]

    def update_ready(self, entry: OutboxEntry, now: float) -> list[Action]:
        """An update is durable in the outbox."""
        self._training, self._kills = None, 0
        self.marks = replace(self.marks, done_job=entry.job, done_round=entry.round)
        self._enter(Trigger.HAS_UPDATE)
        self._upload = Upload(entry, self._terms, fresh=True)
        return [do.info(f"round {entry.round}: update of {len(entry.body)} bytes"), *self._resume(now)]

    def training_failed(self, detail: str, now: float, *, killed: bool = False) -> list[Action]:
        """The child gave no usable result: the round is lost. One that was ``killed`` may try again first."""
        if self._training is None:
            return []
        manifest, _ = self._training
        self._training = None
        if killed and self._kills < KILLS_FORGIVEN:
            self._kills += 1
            again = f"round {manifest.round}: {detail}; training again"
            return [do.Log(logging.WARNING, again), *self._plan(now)]
        self._kills = 0
        self.marks = replace(self.marks, done_job=manifest.job, done_round=manifest.round)
        lost = do.Log(logging.ERROR, f"round {manifest.round} is lost for this device: {detail}")
        told = self._tell(manifest, Refusal(Absence.TRAINING, tellable(detail)), log=False)
        return [do.Skip(manifest.job, manifest.round), lost, *told, *self._plan(now)]

    def unable(self, detail: str) -> list[Action]:
        """No fit can work before somebody has changed this device: told while there is time. The round stays open."""
        told = Refusal(Absence.TRAINING, tellable(detail))
        return [] if self._training is None else self._tell(self._training[0], told, log=False)

    def abstained(self, detail: str, now: float) -> list[Action]:
        """The device has trained, and by the job's own rules sends nothing: the round is over for it."""
        return self._not_sent(Refusal(Absence.ABSTAINED, ""), detail, now)

    def unaffordable(self, body_bytes: int, now: float) -> list[Action]:
        """The device has trained, and its update turned out to be too long for what is left of the budget."""
        dear = self.attendance.too_dear(body_bytes) or Refusal(Absence.BUDGET, f"an update of {body_bytes} bytes")
        return self._not_sent(dear, dear.detail, now)

    def _not_sent(self, why: Refusal, detail: str, now: float) -> list[Action]:
        if self._training is None:
            return []
        manifest, _ = self._training
        self._training, self._kills = None, 0
        self.marks = replace(self.marks, done_job=manifest.job, done_round=manifest.round)
        skip: list[Action] = [do.Skip(manifest.job, manifest.round), do.info(f"round {manifest.round}: {detail}")]
        return [*skip, *self._tell(manifest, why, log=False), *self._plan(now)]

    # -- time ----------------------------------------------------------------------------------------------

    def available(self, refusal: Refusal | None, now: float) -> list[Action]:
        """Whether the device may take part now: None, or why not.

        What has begun goes on: a download, a fit, an upload. Nothing begins while there is a refusal.
        """
        return self._plan(now) if self.attendance.gate(refusal) else []

    def fund(self, funds: Funds, now: float) -> list[Action]:
        """What the month's byte account says; what does not fit into it does not begin."""
        return self._plan(now) if self.attendance.fund(funds) else []

    def tick(self, now: float) -> list[Action]:
        """Do what is due. Call at :meth:`next_deadline`, or whenever convenient."""
        if not self._online:
            return []
        actions = self._ask(now) if self.attendance.is_open and now >= self._ask_at else []
        if self._bridge.impatient(now):
            actions += self._resume(now)
        if self._bridge.up and self._upload is not None:
            actions += self._upload.tick(now)
        if self._bridge.up and self._fetch is not None:
            actions += self._fetched(self._fetch.tick(now), now)
        return actions

    def next_deadline(self, now: float) -> float:
        """When :meth:`tick` has something to do next; infinity: never."""
        if not self._online:
            return NEVER
        times = [self._ask_at if self.attendance.is_open else NEVER, self._bridge.deadline]
        if self._bridge.up and self._upload is not None:
            times.append(self._upload.next_deadline(now))
        if self._bridge.up and self._fetch is not None:
            times.append(self._fetch.next_deadline(now))
        return min(times)

    # -- manifest ------------------------------------------------------------------------------------------

    def _on_round(self, message: msg.Round, now: float) -> list[Action]:
        if message.cose != self._last_cose:
            try:
                manifest = verify_manifest(self._fleet_key, message.cose, self.settings.fleet)
            except BadSignature as error:
                return do.refuse("bad-signature", f"manifest: {error}")
            except MalformedMessage as error:
                return do.refuse("malformed", f"manifest: {error}")
            reason = refusal(manifest, self.marks, self.settings.job)
            if reason is not None:
                came = f"job {manifest.job}, round {manifest.round}, version {manifest.version}"
                return do.refuse(reason, f"manifest of {came}; known: {self.marks}")
        self._ask_pause = self.settings.manifest_poll_seconds
        self._ask_at = now + self._ask_pause
        if message.cose == self._last_cose:
            return []
        self._last_cose = message.cose
        return self._believe(manifest, now)

    def _believe(self, manifest: Manifest, now: float) -> list[Action]:
        actions: list[Action] = []
        mark = replace(self.marks, job=manifest.job, round=manifest.round, version=manifest.version)
        if mark != self.marks:
            self.marks, self._bad, self._base_bad = mark, set(), False
            actions.append(do.KeepManifest(mark.job, mark.round, mark.version))
        if self.held is not None and self.held.job != manifest.job:
            self.held = None
        self.manifest = manifest
        return actions + self._plan(now)

    def _plan(self, now: float) -> list[Action]:
        """Do what the manifest asks for, unless something is under way that has to end first."""
        if self.manifest is None or self._upload is not None or self._training is not None:
            return []
        index = self.settings.device_index
        need, way = decide(self.manifest, self.held, self.marks, index, self._bad, base_bad=self._base_bad)
        if need in (Need.OBJECT, Need.TRAINING):
            here = self._arrived is not None and self._arrived[0] == way
            no = self.attendance.refusal(way, here=here)
            if no is not None:
                return self._rest(self.manifest, no, way)
        arrived, self._arrived = self._arrived, None
        if arrived is not None and arrived[0] == way:
            return self._train(*arrived)
        if way is not None:
            return self._start_fetch(way, now)
        actions = self._stop_fetch(keep=False)
        if need is Need.TRAINING:
            return actions + self._train(None, None)
        self._enter(Trigger.NOT_MINE)
        if need is Need.UNREACHABLE:
            have = self.held.version if self.held is not None else 0
            text = f"round {self.manifest.round}: no way from version {have} to {self.manifest.version}"
            actions.append(do.Log(logging.ERROR, text + "; waiting for another manifest"))
        return actions

    def _rest(self, manifest: Manifest, why: Refusal, way: Way | None) -> list[Action]:
        """There is something to do, but not now; a download under way goes on."""
        if self._fetch is not None and self._fetch.way == way:
            return []
        actions = self._stop_fetch(keep=False) if self._fetch is not None else []
        self._enter(Trigger.NOT_NOW)
        return [*actions, *self._tell(manifest, why)]

    def _tell(self, manifest: Manifest, why: Refusal, *, log: bool = True) -> list[Action]:
        return self.attendance.tell(manifest, why, online=self._online, log=log)

    def _ask(self, now: float) -> list[Action]:
        """Ask for the manifest: the broker may not retain, or have lost, what the bridge published."""
        busy = self._training is not None or self._upload is not None
        self._ask_at = now + self._ask_pause
        self._ask_pause = min(2 * self._ask_pause + 1, self.settings.manifest_poll_seconds)
        return [] if busy else [do.Publish("u", msg.Get(msg.MANIFEST_ID, ()).serialize())]

    # -- model ---------------------------------------------------------------------------------------------

    def _start_fetch(self, way: Way, now: float) -> list[Action]:
        if self._fetch is not None and self._fetch.way == way:
            return []
        partial = self._partial
        actions = self._stop_fetch(keep=partial is not None and partial.object_id == way.object_id)
        self._enter(Trigger.LACKS_OBJECT)
        self._fetch = Fetch(way, partial, self.settings.status_timeout_seconds)
        if self._online and self._fetch.may_be_shared:
            actions.append(do.Subscribe(("c",)))
        return actions + self._resume(now)

    def _stop_fetch(self, *, keep: bool) -> list[Action]:
        actions: list[Action] = []
        if self._fetch is not None and self._fetch.may_be_shared and self._online:
            actions.append(do.Unsubscribe(("c",)))
        if not keep and (self._fetch is not None or self._partial is not None):
            actions.append(do.DropPartial())
        self._fetch = self._partial = None
        return actions

    def _fetched(self, outputs: Iterable[Output], now: float) -> list[Action]:
        """Pass on what the download asks for, and draw the conclusion from its end."""
        actions: list[Action] = []
        for output in outputs:
            if not isinstance(output, (Done, Reject)):
                actions.append(output)
            elif self._fetch is not None:
                way = self._fetch.way
                actions += self._stop_fetch(keep=isinstance(output, Done))
                if isinstance(output, Done):
                    self._arrived = (way, output.body)
                    actions += self._plan(now)
                else:
                    self._bad.add(way.object_id)
                    actions += do.refuse(output.reason.label, f"object {way.object_id.hex()}")
                    actions += self._plan(now)
        return actions

    def _train(self, way: Way | None, data: bytes | None) -> list[Action]:
        assert self.manifest is not None  # noqa: S101 - planned from it
        self._enter(Trigger.CAN_TRAIN)
        self._training = (self.manifest, way)
        return [do.Train(self.manifest, way, data)]

    # -- update --------------------------------------------------------------------------------------------

    @property
    def _terms(self) -> Terms:
        own = self.settings
        rest = min(own.manifest_poll_seconds, MAX_REST_SECONDS)
        return Terms(own.chunk_bytes, own.window_chunks, own.status_timeout_seconds, rest)

    def _on_answer(self, message: msg.Status | msg.Receipt, now: float) -> list[Action]:
        if self._upload is None:
            return []
        actions, verdict = self._upload.answer(message, now)
        if verdict is None:
            return actions
        entry, self._upload = self._upload.entry, None
        self._enter(Trigger.SETTLED)
        if verdict.counted:
            line = do.info(f"round {entry.round}: update counted ({verdict.why})")
        else:
            text = f"round {entry.round}: update not counted ({verdict.why}); folded back into the residual"
            line = do.Log(logging.WARNING, text)
        return [*actions, do.Settle(entry.object_id, verdict.counted), line, *self._plan(now)]

    # -- the bridge ----------------------------------------------------------------------------------------

    def _on_bridge(self, message: msg.State, now: float) -> list[Action]:
        was_up = self._bridge.up
        if self._bridge.heard(message, now):
            return self._resume(now)
        if was_up and not self._bridge.up and self._upload is not None:
            self._upload.disconnected(now)
        return []

    def _resume(self, now: float) -> list[Action]:
        """Go on with what was under way, as after a reconnect."""
        if not self._online or not self._bridge.up:
            return []
        if self._upload is not None:
            return self._upload.connected(now)
        return self._fetched(self._fetch.start(now), now) if self._fetch is not None else []

    def _enter(self, trigger: Trigger) -> None:
        self.state = TRANSITIONS[self.state, trigger]
