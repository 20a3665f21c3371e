"""Any order of faults, cuts and crashes: the exact body is delivered once, and a wrong one never."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gossamer.errors import IncompleteMessage, MalformedMessage
from gossamer.wire import limits
from gossamer.wire.ids import object_id
from gossamer.wire.messages import Code, Kind, Reason, Receipt, Status, parse
from gossamer.wire.transfer import Sender, SenderState
from tests.wire.bridge_model import Bridge
from tests.wire.fake_link import FakeLink

picks = st.integers(0, 10_000)


class Transfers(RuleBasedStateMachine):
    """One upload over the worst of links."""

    @initialize(body=st.binary(min_size=1, max_size=40), chunk_bytes=st.integers(1, 12), window=st.integers(1, 5))
    def begin(self, body, chunk_bytes, window):
        self.body, self.chunk_bytes, self.window = body, chunk_bytes, window
        self.now = 0.0
        self.link, self.bridge = FakeLink(), Bridge()
        self.corruptions = 0
        self.new_session(resumed=False)

    def new_session(self, resumed=True):
        self.sender = Sender(
            object_id(self.body),
            Kind.UPDATE,
            self.body,
            chunk_bytes=self.chunk_bytes,
            window=self.window,
            status_timeout=10,
        )
        if self.link.connected:
            self.publish(self.sender.start(self.now, resumed=resumed))

    def publish(self, sends):
        for send in sends:
            self.link.publish(send.message.serialize(), send.token)

    # --- what should happen

    @rule()
    def arrive(self):
        if (data := self.link.up.pop()) is not None:
            for reply in self.bridge.take(data, self.now):
                self.link.reply(reply.serialize())

    @rule()
    def answer(self):
        if (data := self.link.down.pop()) is not None:
            try:
                message = parse(data)
            except (IncompleteMessage, MalformedMessage):
                return
            if isinstance(message, Status):
                self.publish(self.sender.status(message, self.now))
            elif isinstance(message, Receipt):
                self.publish(self.sender.receipt(message, self.now))

    @rule()
    def puback(self):
        if (token := self.link.puback()) is not None:
            self.publish(self.sender.puback(token, self.now))

    @rule(seconds=st.sampled_from([0.1, 3, 11, 90]))
    def wait(self, seconds):
        self.now += seconds
        self.publish(self.sender.tick(self.now))

    # --- what goes wrong

    @rule(up=st.booleans(), fault=st.sampled_from(["drop", "duplicate", "reorder"]), pick=picks)
    def disturb(self, up, fault, pick):
        lane = self.link.up if up else self.link.down
        if len(lane):
            getattr(lane, fault)(pick % len(lane))

    @precondition(lambda self: len(self.link.up))
    @rule(pick=picks, bit=picks)
    def corrupt(self, pick, bit):
        # Only on the way up: STATUS is what the sender trusts its broker for.
        self.link.up.corrupt(pick % len(self.link.up), bit)
        self.corruptions += 1

    @precondition(lambda self: self.link.connected)
    @rule(up=st.integers(0, 3), down=st.integers(0, 1))
    def cut(self, up, down):
        self.link.cut(up, down)
        self.sender.disconnected(self.now)

    @precondition(lambda self: not self.link.connected)
    @rule()
    def reconnect(self):
        self.link.connect()
        if self.sender.state is SenderState.SPENT:
            self.new_session()
        else:
            self.publish(self.sender.connected(self.now))

    @rule(up=st.integers(0, 3))
    def sender_crashes(self, up):
        self.link.cut(up)
        self.link.connect()
        self.new_session()

    @rule(steps=st.integers(0, 3))
    def receiver_will_crash(self, steps):
        self.bridge.steps_to_crash = steps

    # --- what must hold

    @invariant()
    def never_a_wrong_body_and_never_twice(self):
        assert self.bridge.delivered in ([], [self.body])

    @invariant()
    def what_the_sender_was_told_is_true(self):
        if self.sender.outcome in (Code.COUNTED, Code.ALREADY):
            assert self.bridge.inbox == {object_id(self.body): self.body}

    @invariant()
    def sends_are_bounded(self):
        assert self.sender.sends <= limits.SENDS_PER_CHUNK * self.sender.chunks + limits.SPARE_SENDS
        assert len(self.sender._in_flight) <= self.window + 1

    def teardown(self):
        if not hasattr(self, "sender"):
            return
        self.bridge.steps_to_crash = None
        self.link.connect()
        before = self.sender.sends
        stale = len(self.link.up) + len(self.link.down)
        if not self.sender.done:
            self.publish(self.sender.connected(self.now))
        healed = 0
        for _ in range(2_000):
            while len(self.link.up) or len(self.link.down) or self.link._unacknowledged:
                self.arrive()
                self.answer()
                self.puback()
                self.sends_are_bounded()
            if self.sender.outcome is not None:
                break
            if self.sender.done:
                before = 0
                self.new_session()
                continue
            healed += 1
            self.now = max(self.now, self.sender.next_deadline(self.now))
            self.publish(self.sender.tick(self.now))
        if self.sender.outcome is Reason.WRONG_OBJECT:
            assert self.corruptions
            return
        assert self.sender.outcome in (Code.COUNTED, Code.ALREADY)
        assert self.bridge.delivered == [self.body]
        assert self.sender.next_deadline(self.now) is None
        # From a healed link on: one question, what is missing, and again for each bad body; a question of
        # old that was still under way brings one more answer.
        rounds = 2 + (1 + limits.MAX_BAD_BODIES if self.corruptions else 0)
        assert self.sender.sends - before <= (rounds + stale) * (self.sender.chunks + 1)
        assert healed <= 4 * rounds


Transfers.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestTransfers = Transfers.TestCase
