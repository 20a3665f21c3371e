"""The numbers with a name: kinds of object, status codes, reasons for a rejection or an absence, states of a job."""

from __future__ import annotations

from enum import IntEnum

from gossamer.errors import InputError

FIRST_REASON = 16
"""Status codes from here on say that the object was rejected, and why."""


class Kind(IntEnum):
    """What an object is."""

    UPDATE = 0
    DELTA = 1
    SNAPSHOT = 2


class Section(IntEnum):
    """A named addition to a manifest, of bytes that its readers understand or skip."""

    HISTORY = 1
    """Empty. The shared model keeps its history, in cycles as long as there are cohorts."""
    CODEBOOKS = 2
    """The value tables that updates are coded with."""
    MEMORY = 3
    """Spec (ASCII) of what devices remember between updates, unless it is ``ef14``."""
    CHOICE = 4
    """Empty. Devices may send in another codec than the manifest's, by the link they are on."""
    ADAPTIVE = 5
    """Empty. ``local_epochs`` is an upper bound: each device finds out what brings most per byte."""
    METHOD = 6
    """Spec (ASCII) of how devices train and what they send, unless it is ``fedavg``."""
    TRUSTED = 7
    """Index (CBOR unsigned integer) of a device that takes part in every round: its update is the root of trust."""
    THRESHOLD = 8
    """What a device divides the length of its update by to get its chance of sending it; see `gossamer.wire.chance`."""
    DUAL = 9
    """The scalars of an AUC objective."""
    SCORES = 10
    """What the fleet's scores look like, as histograms."""
    ROTATION = 11
    """Empty. All devices of a round rotate alike, so that their votes can be counted without being decoded."""
    OBJECTIVE = 12
    """Spec (ASCII) of what devices optimise, where the trainer leaves it to the job."""
    PLAN = 13
    """Codec and local epochs by class of device; see `gossamer.wire.plans`."""


class UpdateSection(IntEnum):
    """A named addition to an update's signed header."""

    STEPS = 1
    """Local steps taken (CBOR unsigned integer)."""
    CHANCE = 2
    """The probability with which the device decided to send."""
    DUAL = 3
    """The scalars of an AUC objective after the local steps."""
    SCORES = 4
    """What the device's scores look like, as histograms."""
    WEIGHT = 5
    """The weight of the device's updates in a sum over rounds (CBOR unsigned integer)."""


class Code(IntEnum):
    """What a STATUS says, apart from rejections."""

    COUNTED = 0
    """Complete, durable, and will be part of a sealed round."""
    MISSING = 1
    """These chunks are missing; an empty list: the object is not known, offer it again."""
    ALREADY = 2
    """An update of this device was counted for this round before."""
    CLOSED = 3
    """The round is over and the update too old to be counted late: fold it back into the residual."""
    QUOTA = 4
    """The device has used up what it may store here: try again later."""


class Reason(IntEnum):
    """Why an object was rejected for good; the status code of the rejection."""

    UNSPECIFIED = 16
    """Also stands for every reason this version does not know."""
    BAD_SIGNATURE = 17
    MALFORMED = 18
    TOO_LARGE = 19
    WRONG_LAYOUT = 20
    NON_FINITE = 21
    UNKNOWN_DEVICE = 22
    REVOKED = 23
    WRONG_JOB = 24
    FUTURE_ROUND = 25
    UNKNOWN_CODEC = 26
    REPLAYED = 27
    NOT_IN_COHORT = 28
    WRONG_OBJECT = 29
    """The bytes do not have the digest that their id promises."""

    @property
    def label(self) -> str:
        """The name in messages, tables and metrics: ``bad-signature``."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def named(cls, name: str) -> Reason:
        """Look a reason up by ``bad-signature`` or ``BAD_SIGNATURE``; raises InputError."""
        try:
            return cls[name.upper().replace("-", "_")]
        except KeyError:
            raise InputError(f"{name!r} is not a reason; known: {', '.join(r.label for r in cls)}") from None


class Absence(IntEnum):
    """Why a device does not take part in a round that asks for it."""

    OTHER = 0
    """Also stands for every reason this version does not know."""
    WINDOW = 1
    """Outside its hours of availability."""
    METERED = 2
    ROAMING = 3
    BATTERY = 4
    CHARGING = 5
    """Not on external power."""
    TEMPERATURE = 6
    LOAD = 7
    DISK = 8
    COMMAND = 9
    """The site's own command said no."""
    BUDGET = 10
    """The month's bytes."""
    TRAINING = 11
    """The fit gave no usable result."""
    ABSTAINED = 12
    """It has trained, and by the job's own rules sends nothing."""

    @property
    def label(self) -> str:
        """The name in messages, tables and metrics: ``battery``."""
        return self.name.lower()


class JobState(IntEnum):
    """The state of a job in the manifest."""

    OPEN = 0
    FINISHED = 1
    PAUSED = 2
