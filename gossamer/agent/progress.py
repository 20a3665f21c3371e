"""Whether the agent gets on with its work: what the service manager's watchdog is fed by. Pure.

Two things have to hold. The loop turns: nobody calls :meth:`Progress.turned` from a blocked one. And the session
machine handles what is due: after a turn, its next deadline lies ahead. An agent that is offline, rests, waits for a
slow link or for a long fit has a deadline ahead and is well; one whose deadline has passed and stays so, or that waits
for a child which is not there, would look alive from outside and never do anything again.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A deadline may be overdue, or a state out of step, for so long: a turn that handles one needs milliseconds.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a session says of itself after a turn.

    ``due``: its next deadline, on the clock of ``now``; ``training``: it waits for a training child;
    ``child``: there is one.
    """

    due: float
    training: bool
    child: bool


class Progress:
    """Judges one agent. ``block_seconds``: the longest step that is allowed to block the loop while it asks."""

    def __init__(self, block_seconds: float, now: float) -> None:
        self._block_seconds = block_seconds
        self._turned_at = now
        self._since: dict[str, float] = {}

    def turned(self, vitals: Vitals, now: float) -> str:
        """The loop has turned. Return "" if all is well, else in a few words what is stuck."""
        self._turned_at = now
        wrong = {
            "a deadline of the session is overdue": vitals.due <= now,
            "the session waits for a training process that is not there": vitals.training and not vitals.child,
        }
        self._since = {what: self._since.get(what, now) for what, holds in wrong.items() if holds}
        for what, since in self._since.items():
            if now - since >= PATIENCE_SECONDS:
                return f"{what}, and has been for {now - since:.0f} s"
        return ""

    def may_block(self, now: float) -> bool:
        """Whether a step that blocks the loop, and has just asked whether to go on, is within its time."""
        return now - self._turned_at < self._block_seconds + PATIENCE_SECONDS
