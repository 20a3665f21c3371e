"""Where messages travel: topics from a template, so that a fleet with its own naming keeps it.

By default ``g1/<fleet>/<kind>`` for what all share and ``g1/<fleet>/<kind>/<bucket>/<device>`` for what
belongs to one device. Kinds, one letter each because the topic is in every message:

====  =========  ==========================================================
u     up         OFFER, CHUNK, QUERY, GET, ABSENT of one device
a     down       STATUS, OFFER, CHUNK, RECEIPT for one device
s     up         BIRTH and DEATH of one device
m     shared     the manifest
c     shared     chunks of an object that many devices want
h     shared     the bridge's state
====  =========  ==========================================================
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from gossamer.errors import ConfigError
from gossamer.wire.limits import MAX_DEVICE_CHARS, MAX_FLEET_CHARS, MAX_TOPIC_CHARS

DEVICE_KINDS = "uas"
SHARED_KINDS = "mch"

SHARED_TEMPLATE = "g1/{fleet}/{kind}"
DEVICE_TEMPLATE = "g1/{fleet}/{kind}/{bucket}/{device}"

_FLEET = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_FLEET_CHARS}}}")
_DEVICE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:@-]{{0,{MAX_DEVICE_CHARS - 1}}}")
_BUCKET = re.compile("[0-9a-f]{2}")
_PLACE = re.compile(r"\{(\w*)\}")


def bucket_of(device: str) -> str:
    """Return the bucket of a device: the first byte of the SHA-256 of its id, as two hexadecimal digits.

    Bridge workers share a fleet by bucket; 256 are enough for any number of workers.

    >>> bucket_of("pump-7")
    '9a'
    """
    return hashlib.sha256(device.encode()).hexdigest()[:2]


def check_fleet(fleet: str) -> None:
    """Raise ConfigError unless ``fleet`` can be part of a topic."""
    if not _FLEET.fullmatch(fleet):
        raise ConfigError(f"fleet: expected 1 to {MAX_FLEET_CHARS} letters, digits, - or _, got {fleet!r}")


def check_device(device: str) -> None:
    """Raise ConfigError unless ``device`` can be part of a topic."""
    if not _DEVICE.fullmatch(device):
        raise ConfigError(
            f"device: expected 1 to {MAX_DEVICE_CHARS} letters, digits or . _ : @ -, "
            f"a letter or digit first, got {device!r}"
        )


@dataclass(frozen=True, slots=True)
class TopicParts:
    """What a topic says: its kind and, for a device's topics, whose it is."""

    kind: str
    device: str | None = None

    @property
    def bucket(self) -> str | None:
        """The bucket of the device, if there is one."""
        return None if self.device is None else bucket_of(self.device)


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one fleet.

    Args:
        fleet: 1 to 8 letters, digits, - or _.
        shared: template with ``{kind}``.
        device: template with ``{kind}`` and ``{device}``, which fills a level of its own, as does
            ``{bucket}``; without ``{bucket}`` the fleet cannot be shared among several bridges.

    Raises:
        ConfigError: a name or template that cannot work.
    """

    fleet: str
    shared: str = SHARED_TEMPLATE
    device: str = DEVICE_TEMPLATE
    _shared_form: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _device_form: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fleet(self.fleet)
        _check_template("shared", self.shared, {"kind"}, {"fleet", "kind"})
        _check_template("device", self.device, {"kind", "device"}, {"fleet", "kind", "bucket", "device"})
        object.__setattr__(self, "_shared_form", self._form(self.shared, SHARED_KINDS))
        object.__setattr__(self, "_device_form", self._form(self.device, DEVICE_KINDS))
        if any(self._device_form.fullmatch(self.shared_topic(kind)) for kind in SHARED_KINDS):
            raise ConfigError(
                f"topic templates: a device of a certain name would speak where the fleet does; expected "
                f"{self.shared!r} and {self.device!r} to differ in a fixed level, or in their number of levels"
            )

    def shared_topic(self, kind: str) -> str:
        """Return the topic of ``kind`` m, c or h."""
        _check_kind(kind, SHARED_KINDS)
        return self.shared.format(fleet=self.fleet, kind=kind)

    def device_topic(self, kind: str, device: str) -> str:
        """Return the topic of ``kind`` u, a or s for one device; raises ConfigError for an impossible id."""
        _check_kind(kind, DEVICE_KINDS)
        check_device(device)
        return self.device.format(fleet=self.fleet, kind=kind, bucket=bucket_of(device), device=device)

    def subscription(self, kind: str, bucket: str | None = None) -> str:
        """Return the filter for all topics of ``kind``, or for those of one bucket.

        Raises:
            ConfigError: a bucket is asked for and the kind or template has none.
        """
        if kind in SHARED_KINDS and bucket is None:
            return self.shared_topic(kind)
        _check_kind(kind, DEVICE_KINDS)
        if bucket is not None and ("{bucket}" not in self.device or not _BUCKET.fullmatch(bucket)):
            raise ConfigError(f"bucket {bucket!r}: expected two hexadecimal digits and {{bucket}} in {self.device!r}")
        return self.device.format(fleet=self.fleet, kind=kind, bucket=bucket or "+", device="+")

    def parse(self, topic: str) -> TopicParts | None:
        """Return what ``topic`` says, or None if it is none of ours (or names the wrong bucket)."""
        if len(topic) > MAX_TOPIC_CHARS:
            return None
        shared = self._shared_form.fullmatch(topic)
        if shared:
            return TopicParts(shared["kind"])
        match = self._device_form.fullmatch(topic)
        if not match or not _DEVICE.fullmatch(match["device"]):
            return None
        found = match.groupdict()
        if found.get("bucket", bucket_of(found["device"])) != bucket_of(found["device"]):
            return None
        return TopicParts(found["kind"], found["device"])

    def _form(self, template: str, kinds: str) -> re.Pattern[str]:
        parts = {
            "fleet": re.escape(self.fleet),
            "kind": f"(?P<kind>[{kinds}])",
            "bucket": "(?P<bucket>[0-9a-f]{2})",
            "device": "(?P<device>[^/]+)",
        }
        pieces = _PLACE.split(template)  # text and names of places in turn
        return re.compile("".join(parts[p] if i % 2 else re.escape(p) for i, p in enumerate(pieces)))


def _check_kind(kind: str, kinds: str) -> None:
    if len(kind) != 1 or kind not in kinds:
        raise ConfigError(f"topic kind: expected one of {', '.join(kinds)}, got {kind!r}")


def _check_template(name: str, template: str, needed: set[str], known: set[str]) -> None:
    places = _PLACE.findall(template)
    if not needed <= set(places) <= known or len(places) != len(set(places)):
        raise ConfigError(
            f"{name} topic template: expected each of {sorted(needed)} once, "
            f"nothing but {sorted(known)}, got {template!r}"
        )
    plain = _PLACE.sub("", template)
    if re.search(r"[^\x21-\x7e]|[+#{}]", plain) or template.startswith(("$", "/")):
        raise ConfigError(f"{name} topic template: no wildcard, space, brace or leading $ or /: {template!r}")
    levels = template.split("/")
    for place in {"bucket", "device"} & set(places):
        if f"{{{place}}}" not in levels:
            raise ConfigError(f"{name} topic template: {{{place}}} must fill a level of its own: {template!r}")
