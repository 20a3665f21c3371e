"""Every exception Gossamer raises, in one place.

::

    GossamerError
    ├── ConfigError              the operator's settings; the message says which key and what it expects
    ├── InputError               data handed to us by the user's own code (a trainer, a library call)
    │   ├── UnknownCodec         a spec string that names no codec
    │   ├── NonFiniteInput       NaN or infinity where a number was expected
    │   ├── LatticeOverflow      a weight too large for the fixed-point lattice
    │   └── LayoutMismatch       arrays whose names or shapes are not the model's
    ├── PeerError                bytes from the other side that can never become right: give up on them
    │   ├── MalformedMessage     not a message of the protocol
    │   ├── MalformedBody        not an update body, delta or snapshot
    │   ├── BadSignature         signed by nobody we trust, or not signed
    │   └── Refused              well-formed, but not wanted; carries a named reason
    ├── IncompleteMessage        a prefix of a message: wait for the rest
    ├── TransientError           worth another try later
    │   ├── BrokerUnreachable    no connection to the broker
    │   └── StoreBusy            the store is locked by another process
    ├── BrokerRefused            the broker answered and said no (credentials, protocol)
    ├── TrainerFailed            the training child process gave no usable result; one round is lost, not the agent
    │   └── TrainerKilled        somebody else ended it; worth a few more tries
    └── StoreError               durable state could not be written or read
        └── DiskFull             no space left; state on disk is as it was

The exit code of the command line follows from the class (:attr:`GossamerError.exit_code`).
"""

from __future__ import annotations


class GossamerError(Exception):
    """Base of all. A message says what was expected, what came, and what to do."""

    exit_code = 1


class ConfigError(GossamerError):
    """A setting is missing or wrong."""

    exit_code = 2


class InputError(GossamerError, ValueError):
    """A value handed over by the caller is not usable."""


class UnknownCodec(InputError):
    """A codec spec string that names no registered codec or has wrong parameters."""

    exit_code = 2


class NonFiniteInput(InputError):
    """NaN or infinity where finite numbers were expected."""


class LatticeOverflow(InputError):
    """A weight whose magnitude does not fit the fixed-point lattice."""


class LayoutMismatch(InputError):
    """Arrays whose names or shapes differ from the model layout."""


class PeerError(GossamerError):
    """Bytes from the other side that can never become right."""


class MalformedMessage(PeerError):
    """Bytes that are not a message of the protocol."""


class MalformedBody(PeerError):
    """Bytes that are not an update body, delta or snapshot of this model."""


class BadSignature(PeerError):
    """A signature that does not verify under the expected key."""


class Refused(PeerError):
    """A well-formed message that is not wanted.

    ``reason`` is the name of a member of :class:`gossamer.wire.messages.Reason`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class IncompleteMessage(GossamerError):
    """The bytes are a proper prefix of a message."""


class TransientError(GossamerError):
    """Worth another try later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: systemd's RestartForceExitStatus can tell it apart


class BrokerUnreachable(TransientError):
    """No connection to the broker could be made."""


class StoreBusy(TransientError):
    """The store stayed locked by another process."""


class BrokerRefused(GossamerError):
    """The broker answered and refused."""

    exit_code = 77  # EX_NOPERM


class TrainerFailed(GossamerError):
    """The training child gave no usable result."""


class TrainerKilled(TrainerFailed):
    """The training child was ended by SIGKILL: by the kernel for its memory, or by an operator."""


class StoreError(GossamerError):
    """Durable state could not be written or read."""

    exit_code = 74  # EX_IOERR


class DiskFull(StoreError):
    """No space left on the device that holds the state; what was there is intact."""
