"""The states of the session machine and what moves it, in one table; ``docs/architecture.md`` draws it."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where the work of this device stands."""

    WAITING = "waiting"  # for a manifest
    RESTING = "resting"  # the manifest asks nothing of this device, or a gate, a window or the budget says no
    FETCHING = "fetching"  # the way to the model is being downloaded
    TRAINING = "training"  # the child runs
    SENDING = "sending"  # an update is in the outbox


class Trigger(Enum):
    """What moves it."""

    NOT_MINE = "not mine"
    NOT_NOW = "not now"
    LACKS_OBJECT = "lacks object"
    CAN_TRAIN = "can train"
    HAS_UPDATE = "has update"
    SETTLED = "settled"


_S, _T = State, Trigger
_FREE = (_S.WAITING, _S.RESTING, _S.FETCHING)
TRANSITIONS: dict[tuple[State, Trigger], State] = {
    **{(state, _T.NOT_MINE): _S.RESTING for state in (*_FREE, _S.TRAINING)},
    **{(state, _T.NOT_NOW): _S.RESTING for state in (*_FREE, _S.TRAINING)},
    **{(state, _T.LACKS_OBJECT): _S.FETCHING for state in (*_FREE, _S.TRAINING)},
    **{(state, _T.CAN_TRAIN): _S.TRAINING for state in (*_FREE, _S.TRAINING)},
    (_S.TRAINING, _T.HAS_UPDATE): _S.SENDING,
    (_S.SENDING, _T.SETTLED): _S.WAITING,
}
