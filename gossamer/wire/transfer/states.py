"""Every transition of the two transfer machines. What is not in a table does not happen.

Sender::

    NEW ──START──► SENDING ──ALL_SENT──► WAITING ──VERDICT or SETTLED──► DONE
     └──ASK──► ASKING ◄──SILENCE── (SENDING, WAITING, ASKING)
                 └──GAPS──► SENDING ◄──GAPS── (WAITING)
    any of the three ──LOST──► CUT ──ASK──► ASKING (who wants a confirmation)
                                └───PUSH──► SENDING (who wants none)
    any ──VERDICT──► DONE;   SENDING ──EXHAUSTED──► SPENT
    DONE ──REOPEN──► SENDING (who wants no confirmation)

Receiver::

    COLLECTING ──WHOLE──► DONE
        └──WRONG──► COLLECTING, from nothing;   ──HOPELESS──► REJECTED

A machine does not know whether it is a device's or a bridge's. It does not handle: the choice of what to
send, two objects at once, the connection itself, giving up on a silent peer (the caller looks at
:attr:`Sender.unanswered`), messages of other objects (ignored), or durable storage (it says what to keep).
"""

from __future__ import annotations

from enum import Enum, auto


class SenderState(Enum):
    """Where a sender is."""

    NEW = auto()
    SENDING = auto()
    """Chunks are waiting for the window."""
    WAITING = auto()
    """All is sent; acknowledgements or a verdict are outstanding."""
    ASKING = auto()
    """A QUERY is out; nothing is sent before its answer."""
    CUT = auto()
    """No connection."""
    DONE = auto()
    SPENT = auto()
    """More was sent again than is sensible: try in another session."""


class SenderEvent(Enum):
    """What moves a sender."""

    START = auto()
    ASK = auto()
    PUSH = auto()
    ALL_SENT = auto()
    GAPS = auto()
    SILENCE = auto()
    LOST = auto()
    VERDICT = auto()
    SETTLED = auto()
    EXHAUSTED = auto()
    REOPEN = auto()


class ReceiverState(Enum):
    """Where a receiver is."""

    COLLECTING = auto()
    DONE = auto()
    REJECTED = auto()


class ReceiverEvent(Enum):
    """What moves a receiver."""

    WHOLE = auto()
    WRONG = auto()
    HOPELESS = auto()


_S, _E = SenderState, SenderEvent

SENDER: dict[tuple[SenderState, SenderEvent], SenderState] = {
    (_S.NEW, _E.START): _S.SENDING,
    (_S.NEW, _E.ASK): _S.ASKING,
    (_S.NEW, _E.VERDICT): _S.DONE,
    (_S.SENDING, _E.ALL_SENT): _S.WAITING,
    (_S.SENDING, _E.SILENCE): _S.ASKING,
    (_S.SENDING, _E.LOST): _S.CUT,
    (_S.SENDING, _E.VERDICT): _S.DONE,
    (_S.SENDING, _E.EXHAUSTED): _S.SPENT,
    (_S.WAITING, _E.GAPS): _S.SENDING,
    (_S.WAITING, _E.SILENCE): _S.ASKING,
    (_S.WAITING, _E.LOST): _S.CUT,
    (_S.WAITING, _E.VERDICT): _S.DONE,
    (_S.WAITING, _E.SETTLED): _S.DONE,
    (_S.ASKING, _E.GAPS): _S.SENDING,
    (_S.ASKING, _E.SILENCE): _S.ASKING,
    (_S.ASKING, _E.LOST): _S.CUT,
    (_S.ASKING, _E.VERDICT): _S.DONE,
    (_S.CUT, _E.ASK): _S.ASKING,
    (_S.CUT, _E.PUSH): _S.SENDING,
    (_S.CUT, _E.VERDICT): _S.DONE,
    (_S.DONE, _E.REOPEN): _S.SENDING,
    (_S.SPENT, _E.VERDICT): _S.DONE,
}

_R, _F = ReceiverState, ReceiverEvent

RECEIVER: dict[tuple[ReceiverState, ReceiverEvent], ReceiverState] = {
    (_R.COLLECTING, _F.WHOLE): _R.DONE,
    (_R.COLLECTING, _F.WRONG): _R.COLLECTING,
    (_R.COLLECTING, _F.HOPELESS): _R.REJECTED,
}
