"""Carries out what the session machine asks for: link, store, training child. One life of a session."""

from __future__ import annotations

import logging
import random
import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gossamer.agent import actions as do
from gossamer.agent.actions import Action
from gossamer.agent.config import AgentSettings
from gossamer.agent.gatekeeper import Gatekeeper
from gossamer.agent.goodput import Goodput
from gossamer.agent.journal import Log
from gossamer.agent.ledger import LedgerWriter
from gossamer.agent.plan import Held
from gossamer.agent.progress import Vitals
from gossamer.agent.purse import Purse
from gossamer.agent.runner import TrainerProcess
from gossamer.agent.session import Session
from gossamer.agent.states import State
from gossamer.agent.store import AgentStore
from gossamer.agent.thrift import Thrift
from gossamer.agent.training import child_settings, entry_of, fit_fields, model_of, secret_of
from gossamer.errors import BrokerRefused, BrokerUnreachable, ConfigError, TrainerFailed, TrainerKilled
from gossamer.mqtt.link import Handler, MqttLink
from gossamer.mqtt.settings import Will
from gossamer.mqtt.shared_link import SharedLink
from gossamer.wire.manifest import Manifest
from gossamer.wire.messages import Death

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MakeLink = Callable[[Handler, Callable[[int], None]], SharedLink]
"""How a session gets a link through another's connection: handler, and what to call before a descriptor closes."""

_SHARED_KINDS = "mch"
#: paho's own timers (pings) are looked at this often while connected, or four times a keepalive if that is more.
_TICK_SECONDS = 5.0


class Contact:
    """Shell of one session. The service calls :meth:`turn`, waits, and reports what is ready.

    Any :class:`gossamer.errors.StoreError` passes through: the session is then over, and its state is that of
    the store.
    """

    def __init__(
        self, settings: AgentSettings, store: AgentStore, selector: selectors.BaseSelector, log: Log,
        ledger: LedgerWriter, key: Ed25519PrivateKey, fleet_key: Ed25519PublicKey, *,
        stop: Callable[[], bool], make_link: MakeLink | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._selector = selector
        self._log = log
        self._ledger = ledger
        self._key = key
        self._stop = stop
        self._topics = settings.wire_topics()
        self._link: MqttLink | SharedLink = (
            MqttLink(settings.mqtt(), self, closing=self._closing) if make_link is None
            else make_link(self, self._closing)
        )  # fmt: skip
        model = store.model()
        held = None if model is None else Held(model.job, model.version, model.digest)
        marks = store.marks()
        self._session = Session(
            settings, fleet_key, held=held, marks=marks, outbox=store.outbox(), partial=store.partial()
        )
        self._child: TrainerProcess | None = None
        self._pipes: frozenset[int] = frozenset()
        self._order: Manifest | None = None
        self._tokens: dict[int, int] = {}
        self._boot = store.boot()
        self._ever_connected = marks.job >= 0
        self._started = self._connect_at = time.monotonic()
        self._attempt = 0
        self._retries = 0
        seed = settings.backoff_seed
        self._tick_seconds = min(_TICK_SECONDS, settings.broker.keepalive_seconds / 4)
        self._rng = random.Random(seed if seed >= 0 else f"{settings.device_id}:{self._boot}")  # noqa: S311
        self._gates = Gatekeeper(settings.gates, settings.windows(), settings.state_dir, log)
        self._purse = Purse(settings, store, ledger)
        rate, milliseconds = store.link()
        self._goodput = Goodput(float(rate), milliseconds / 1000)
        self._thrift = Thrift(settings.budget.exhausted_contact_seconds)
        self._over = self._hanging_up = False

    # -- for the service's loop ----------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Everything that is due, before waiting."""
        self._look_around(now)
        self._save(now)
        if not self._link.is_connected and now >= self._connect_at and self._link.reachable:
            self._connect(now)
        self._link.tick()
        self._execute(self._session.tick(time.monotonic()))
        self._check_child(time.monotonic())
        if self._link.wants_write():
            self._link.on_writable()
        if self._link.fileno() >= 0:
            write = selectors.EVENT_WRITE if self._link.wants_write() else 0
            self._watch(self._link.fileno(), selectors.EVENT_READ | write)

    def ready(self, descriptor: int, events: int) -> None:
        """A descriptor is ready."""
        if descriptor == self._link.fileno():
            if events & selectors.EVENT_WRITE:
                self._link.on_writable()
            if events & selectors.EVENT_READ:
                self._link.on_readable()
        elif self._child is not None and descriptor in self._child.descriptors:
            self._read_child(self._child, descriptor)

    def next_deadline(self, now: float) -> float:
        """When :meth:`turn` has something to do."""
        times = [self._session.next_deadline(now), self._gates.next_deadline(now), self._thrift.next_deadline(now)]
        connecting = not self._link.is_connected and self._link.reachable
        times.append(self._connect_at if connecting else now + self._tick_seconds)
        if self._child is not None:
            times.append(self._child.deadline)
        return min(times)

    def vitals(self, now: float) -> Vitals:
        """How it is, after a turn."""
        return Vitals(self.next_deadline(now), self._session.state is State.TRAINING, self._child is not None)

    def account(self) -> None:
        """Pass the link's byte account to the ledger."""
        self._ledger.seen(self._link.account())

    @property
    def summary(self) -> str:
        """One line for ``systemctl status``."""
        manifest = self._session.manifest
        where = "" if manifest is None else f", round {manifest.round}, version {manifest.version}"
        return f"{self._session.state.value}{where}, {'online' if self._link.is_connected else 'offline'}"

    def close(self) -> None:
        """End child and link, in at most about a second; the store is as it is."""
        self._end_child()
        self._gates.close()
        self._say_goodbye()
        self._over = True  # what still arrives is for the next session
        self._link.disconnect()
        self._ledger.seen(self._link.account(), closed=True)

    def _say_goodbye(self) -> None:
        if self._link.is_connected and self._settings.announce and not self._over:
            self._publish(do.Publish("s", Death(self._boot).serialize()))

    def _look_around(self, now: float) -> None:
        """Tell the session what windows, gates and budget say: at every turn, for the wall clock may have been set."""
        self._fund(now)
        self._gates.turn(now, time.time())
        self._execute(self._session.available(self._gates.refusal, now))

    def _save(self, now: float) -> None:
        """Hang up when even the reserve is spent. A host application's connection is its own affair."""
        if isinstance(self._link, SharedLink):
            return
        exhausted, idle = self._session.attendance.exhausted, self._session.is_idle
        contact_at = self._thrift.next_contact(now, exhausted=exhausted, idle=idle)
        if contact_at is not None:
            self._say_goodbye()
            self._hanging_up = True
            self._link.disconnect()
            self._hanging_up = False
            self._connect_at = contact_at
            if exhausted:
                pause = contact_at - now
                self._log(logging.WARNING, f"the month's bytes are spent, with the reserve: hung up for {pause:.0f} s")

    def _fund(self, now: float) -> None:
        if self._purse.is_asked:
            self.account()
            manifest = self._session.manifest
            if manifest is not None:
                self._purse.signed(manifest.deadline)
            self._execute(self._session.fund(self._purse.funds(None if manifest is None else manifest.job), now))

    # -- the link ------------------------------------------------------------------------------------------

    def _connect(self, now: float) -> None:
        boot = self._boot + 1
        will = Will(self._topics.device_topic("s", self._settings.device_id), Death(boot).serialize())
        try:
            self._store.keep_boot(boot)
            self._boot = boot
            self._purse.connecting()
            self._link.connect(self._stop, will if self._settings.announce else None)
        except BrokerUnreachable as error:
            if not self._stop():
                self._retry(now, error, limit=False)
        except BrokerRefused as error:
            self._retry(now, error, limit=True)

    def _retry(self, now: float, error: BrokerUnreachable | BrokerRefused, *, limit: bool) -> None:
        """Full jitter: a fleet that lost its broker does not come back at the same moment."""
        patience = self._settings.give_up_seconds
        if not self._ever_connected and patience and (limit or now - self._started >= patience):
            raise error
        most = self._settings.backoff_limit_seconds
        if not limit:
            most = min(most, self._settings.backoff_first_seconds * 2.0 ** min(self._attempt, 30))
        self._attempt += 1
        pause = self._rng.uniform(0, most)
        self._connect_at = time.monotonic() + pause
        self._log(logging.WARNING, f"{error}; trying again in {pause:.1f} s")

    def connected(self, session_present: bool) -> None:  # noqa: ARG002 - subscriptions are made anew
        """From the link."""
        self._ever_connected = True
        self._watch(self._link.fileno(), selectors.EVENT_READ)
        self._log(logging.INFO, f"connected to {self._link.where}")
        self._thrift.connected(time.monotonic())
        self._fund(time.monotonic())
        self._execute(self._session.connected(time.monotonic(), self._boot))

    def message(self, topic: str, payload: bytes, token: int) -> None:  # noqa: ARG002 - the link acknowledges
        """From the link."""
        parts = self._topics.parse(topic)
        if self._over or parts is None or parts.device not in (None, self._settings.device_id):
            return
        self._ledger.message("down", payload)
        self._attempt = 0  # a broker that accepts and hangs up at once does not count as being there
        self._execute(self._session.message(parts.kind, payload, time.monotonic()))

    def puback(self, mid: int) -> None:
        """From the link."""
        if self._goodput.acknowledged(mid, time.monotonic()):
            self._store.keep_link(round(self._goodput.bytes_per_second), round(1000 * self._goodput.rtt_seconds))
        token = self._tokens.pop(mid, None)
        if token is not None and not self._over:
            self._execute(self._session.puback(token, time.monotonic()))

    def disconnected(self, reason: str) -> None:
        """From the link."""
        self._tokens.clear()
        self._goodput.disconnected()
        if self._over:
            return
        self._session.disconnected(time.monotonic())
        if self._hanging_up:
            return
        self._retries += 1
        most = min(self._settings.backoff_limit_seconds, self._settings.backoff_first_seconds * 2.0**self._attempt)
        self._attempt = min(self._attempt + 1, 30)
        pause = self._rng.uniform(0, most)
        self._connect_at = time.monotonic() + pause
        self._log(logging.WARNING, f"{reason}; connecting again in {pause:.1f} s")

    def _closing(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def _watch(self, descriptor: int, events: int) -> None:
        known = self._selector.get_map().get(descriptor)
        if known is None:
            self._selector.register(descriptor, events)
        elif known.events != events:
            self._selector.modify(descriptor, events)

    # -- actions -------------------------------------------------------------------------------------------

    def _execute(self, actions: list[Action]) -> None:
        for action in actions:
            _DO[type(action)](self, action)

    def _publish(self, action: do.Publish) -> None:
        if not self._link.is_connected:
            return  # the session hears of it, and sends again
        self._purse.sending(action.payload)
        topic = self._topics.device_topic(action.kind, self._settings.device_id)
        mid = self._link.publish(topic, action.payload, retain=action.kind == "s")
        self._goodput.sent(mid, len(action.payload), time.monotonic())
        self._ledger.message("up", action.payload)
        if action.token is not None:
            self._tokens[mid] = action.token

    def _filters(self, kinds: tuple[str, ...]) -> list[str]:
        device = self._settings.device_id
        return [
            self._topics.shared_topic(kind) if kind in _SHARED_KINDS else self._topics.device_topic(kind, device)
            for kind in kinds
        ]

    def _subscribe(self, action: do.Subscribe) -> None:
        if self._link.is_connected:
            self._link.subscribe(*self._filters(action.kinds))

    def _unsubscribe(self, action: do.Unsubscribe) -> None:
        if self._link.is_connected:
            self._link.unsubscribe(*self._filters(action.kinds))

    def _train(self, action: do.Train) -> None:
        if action.data is not None:
            self._ledger.count("body_bytes_down", len(action.data))
        self._order = action.manifest
        self._log(logging.INFO, f"round {action.manifest.round}: training from version {action.manifest.version}")
        try:
            fields = fit_fields(
                self._settings, self._store, action, self._retries, secret=secret_of(self._key),
                body_within=self._session.attendance.body_within(),
            )  # fmt: skip
            self._retries = 0
            self._child = TrainerProcess(child_settings(self._settings), "fit", fields, time.monotonic())
        except TrainerFailed as error:
            self._execute(self._session.training_failed(str(error), time.monotonic()))
            return
        self._pipes = self._child.descriptors
        for descriptor in self._pipes:
            self._selector.register(descriptor, selectors.EVENT_READ)

    # -- the training child --------------------------------------------------------------------------------

    def _read_child(self, child: TrainerProcess, descriptor: int) -> None:
        try:
            answers = child.on_readable(descriptor)
            if descriptor not in child.descriptors:
                self._closing(descriptor)
            for answer in answers:
                self._take(answer)
        except ConfigError as error:  # ends the agent; the fleet hears why it is gone
            self._execute(self._session.unable(str(error)))
            raise
        except TrainerFailed as error:
            self._end_child()
            killed = isinstance(error, TrainerKilled)
            self._execute(self._session.training_failed(str(error), time.monotonic(), killed=killed))

    def _check_child(self, now: float) -> None:
        if self._child is None:
            return
        try:
            self._child.check(now)
        except TrainerFailed as error:
            self._end_child()
            self._execute(self._session.training_failed(str(error), now))

    def _take(self, answer: dict[str, Any]) -> None:
        manifest = self._order
        assert manifest is not None  # noqa: S101 - set with the child
        if answer["type"] == "model":
            model = model_of(manifest, answer)
            self._store.keep_model(model)
            self._execute(self._session.model_ready(Held(model.job, model.version, model.digest)))
            return
        self._end_child()
        now = time.monotonic()
        if answer["type"] == "bad-model":
            self._execute(self._session.model_bad(answer["detail"], now))
            return
        if answer["type"] == "too-long":
            self._execute(self._session.unaffordable(answer["bytes"], now))
            return
        if answer["type"] == "abstain":
            self._execute(self._session.abstained(answer["detail"], now))
            return
        entry = entry_of(self._settings, self._key, manifest, answer)
        self._store.post(entry)
        self._ledger.count("body_bytes_up", len(entry.body))
        self._execute(self._session.update_ready(entry, now))

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            for descriptor in self._pipes:
                self._closing(descriptor)
        self._child = self._order = None


_DO: dict[type[Any], Callable[[Contact, Any], None]] = {
    do.Publish: Contact._publish,
    do.Subscribe: Contact._subscribe,
    do.Unsubscribe: Contact._unsubscribe,
    do.Train: Contact._train,
    do.KeepManifest: lambda self, a: self._store.keep_manifest(a.job, a.round, a.version),
    do.BeginPartial: lambda self, a: self._store.begin_partial(a.object_id, a.offer),
    do.KeepChunk: lambda self, a: self._store.keep_chunk(a.object_id, a.index, a.data),
    do.DropPartial: lambda self, _: self._store.drop_partial(),
    do.Settle: lambda self, a: self._store.settle(a.object_id, counted=a.counted),
    do.Skip: lambda self, a: self._store.skip(a.job, a.round),
    do.Count: lambda self, a: self._ledger.count(a.name),
    do.Log: lambda self, a: self._log(a.level, a.text),
}
