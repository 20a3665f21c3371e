"""Checks of the broker, each step of a connection by itself: address, port, TLS, account, what it allows."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from gossamer.doctor.certificate import check_tls
from gossamer.doctor.finding import Finding, Level, fail, ok, skip
from gossamer.doctor.packets import Granted, ask
from gossamer.errors import BrokerRefused, ConfigError, GossamerError
from gossamer.mqtt import MqttLink, MqttSettings

SUFFIX = "-doctor"
"""Behind the client id: under its own a broker would throw the agent out that runs beside this."""
NO_BROKER = "check that broker.port is the one for MQTT, broker.tls and its certificates"
TIMEOUT_SECONDS = 10.0
OVERHEAD_BYTES = 200
"""Topic, header and envelope around a chunk, at most about this."""


@dataclass
class Heard:
    """What came over a link, in the order of coming."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)

    def connected(self, session_present: bool) -> None:
        """Nothing to note."""

    def message(self, topic: str, payload: bytes, token: int) -> None:  # noqa: ARG002 - the Handler's form
        """Keep it."""
        self.messages.append((topic, payload))

    def puback(self, mid: int) -> None:
        """Nothing to note: the broker's word proves nothing."""

    def disconnected(self, reason: str) -> None:
        """Nothing to note: what did not come says it."""

    def of(self, topic: str) -> list[bytes]:
        """The payloads that came on a topic."""
        return [payload for each, payload in self.messages if each == topic]


def visitor(settings: MqttSettings) -> MqttSettings:
    """The same client for a short visit: another id, no will, nothing kept."""
    return replace(settings, client_id=settings.client_id + SUFFIX, will=None, clean=True)


def reach(settings: MqttSettings, now: float) -> Iterator[Finding]:
    """Address, port and TLS; ends after the first that fails."""
    try:
        settings.check()
    except ConfigError as error:
        yield fail("broker settings", str(error), "correct the table [broker]")
        return
    for step in (address, port, lambda each: check_tls(each, now)):
        found = step(settings)
        yield found
        if found.level is Level.FAIL:
            return


def address(settings: MqttSettings) -> Finding:
    """Whether the broker's name resolves."""
    try:
        entries = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        mend = "check broker.host, /etc/resolv.conf, and that the link is up (ip route)"
        return fail("broker address", f"{settings.host} does not resolve: {error.strerror or error}", mend)
    found = ", ".join(dict.fromkeys(str(entry[4][0]) for entry in entries))
    return ok("broker address", f"{settings.host} is {found}" if found != settings.host else found)


def port(settings: MqttSettings) -> Finding:
    """Whether somebody listens there."""
    begun = time.monotonic()
    try:
        socket.create_connection((settings.host, settings.port), TIMEOUT_SECONDS).close()
    except TimeoutError:
        mend = "a firewall or the operator's APN swallows it: let TCP out to that port"
        return fail("broker port", f"{settings.where} does not answer within {TIMEOUT_SECONDS:.0f} s", mend)
    except OSError as error:
        mend = "check broker.port and that the broker runs: systemctl status mosquitto"
        return fail("broker port", f"{settings.where}: {error.strerror or error}", mend)
    return ok("broker port", f"{settings.where} answers in {(time.monotonic() - begun) * 1000:.0f} ms")


def log_in(settings: MqttSettings, heard: Heard) -> tuple[Finding, MqttLink | None]:
    """Connect as the agent or server would; the caller disconnects."""
    try:
        link = MqttLink(visitor(settings), heard)
        link.connect()
    except BrokerRefused as error:
        who = f"user {settings.username!r}" if settings.username else "a client without a name"
        return fail("broker login", *refusal(who, _split(str(error))[0].rpartition(": ")[2])), None
    except GossamerError as error:
        return fail("broker login", *_split(str(error))), None
    as_whom = f"as {settings.username!r}" if settings.username else "without a name"
    return ok("broker login", f"accepted {as_whom}, MQTT {settings.protocol}"), link


def refusal(who: str, reason: str) -> tuple[str, str]:
    """What is wrong and what to do, by the reason in the broker's CONNACK. Pure."""
    account = any(word in reason.lower() for word in ("authori", "password", "banned"))
    mend = (
        "take username and password from the enrolment, let the broker read its password file again "
        "(systemctl reload mosquitto)"
        if account
        else f"{NO_BROKER}, and broker.protocol, 3.1.1 or 5"
    )
    return f"{who} is refused: {reason}", mend


def largest(settings: MqttSettings, needed_bytes: int, what: str) -> Finding:
    """What the broker says is the largest packet; MQTT 5 only, whichever version is configured."""
    granted = ask(visitor(replace(settings, protocol="5")))
    name = "broker packet"
    if granted is None:
        return skip(name, "the broker does not speak MQTT 5, so it does not say how large a packet may be")
    if granted.refused:
        return skip(name, f"not told: {granted.refused}")
    limit = granted.largest_packet
    if limit is None:
        return ok(name, "no limit announced")
    if limit < needed_bytes + OVERHEAD_BYTES:
        mend = f"set {what} to {max(64, limit - OVERHEAD_BYTES)} or less, or raise the broker's limit (max_packet_size)"
        return fail(name, f"the broker takes packets of up to {limit} bytes; {what} is {needed_bytes}", mend)
    return ok(name, f"up to {limit} bytes")


def subscriptions(settings: MqttSettings, filters: tuple[str, ...]) -> Finding:
    """Whether the broker grants subscriptions. Mosquitto's access list decides at delivery, so a yes is no proof."""
    return judge_subscriptions(filters, ask(visitor(settings), filters))


def judge_subscriptions(filters: tuple[str, ...], granted: Granted | None) -> Finding:
    """Turn a SUBACK into an answer. Pure."""
    if granted is None or len(granted.subscribed) < len(filters):
        return fail("broker subscribe", "no answer to SUBSCRIBE", "look at the broker's log")
    denied = [each for each, code in zip(filters, granted.subscribed, strict=True) if code >= 0x80]
    if denied:
        mend = "let the account subscribe to them: the broker's access list"
        return fail("broker subscribe", f"refused: {', '.join(denied)}", mend)
    return ok("broker subscribe", f"granted: {', '.join(filters)}")


def pump(link: MqttLink, until: Callable[[], bool], seconds: float) -> bool:
    """Drive a link until something is so; False: it was not, in that time."""
    import select

    end = time.monotonic() + seconds
    while link.is_connected and time.monotonic() < end:
        if until():
            return True
        events = select.POLLIN | (select.POLLOUT if link.wants_write() else 0)
        poll = select.poll()
        poll.register(link.fileno(), events)
        for _, event in poll.poll(100):
            if event & select.POLLOUT:
                link.on_writable()
            if event & ~select.POLLOUT:
                link.on_readable()
        link.tick()
    return until()


def _split(text: str) -> tuple[str, str]:
    """Our messages end in what to look at: the last sentence is the mend."""
    found, stop, mend = text.partition(". Check ")
    if stop:
        return found, f"check {mend}"
    return text, NO_BROKER if "is it an MQTT broker" in text else "look at the broker's log"
