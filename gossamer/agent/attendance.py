"""Whether this device takes part now, and what it has said about it. Pure, like the session.

Each (round, reason) is said once: a line in the log, and an ABSENT. That goes out at once or with the next connection,
and is repeated at the next one if the broker did not acknowledge it; it makes no connection of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gossamer.agent import actions as do
from gossamer.agent.actions import Action
from gossamer.agent.budget import Cost, Funds
from gossamer.agent.gates import Refusal, one_line
from gossamer.wire.codes import Absence
from gossamer.wire.messages import Absent

if TYPE_CHECKING:
    from gossamer.agent.config import AgentSettings
    from gossamer.wire.accounts import Account
    from gossamer.wire.manifest import Manifest, Way


class Attendance:
    """What gates and budget say of the round at hand."""

    def __init__(self, settings: AgentSettings) -> None:
        link = settings.link
        self._tell = settings.tell_absences
        self._profile = settings.profile
        self._cost = Cost(link.envelope_bytes, link.per_byte_micro)
        self._gate: Refusal | None = None
        self._funds: Funds | None = None
        self._short = False
        self._told: set[tuple[int, int, Absence]] = set()
        self._owed: Absent | None = None
        self._token = 0  # negative from the first on: an upload's are 0 and more

    @property
    def is_open(self) -> bool:
        """Whether every gate is open."""
        return self._gate is None

    @property
    def exhausted(self) -> bool:
        """Whether even the reserve is spent."""
        return self._funds is not None and self._funds.exhausted

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be said."""
        return self._owed is None

    @property
    def account(self) -> Account | None:
        """For BIRTH and ABSENT."""
        return None if self._funds is None else self._funds.account(self._profile)

    def gate(self, refusal: Refusal | None) -> bool:
        """What the gates say now; True: plan again, for there is more to do, or to say."""
        before, self._gate = self._gate, refusal
        if refusal is None or before is None:
            return before is not None
        return (refusal.reason, refusal.quiet) != (before.reason, before.quiet)

    def fund(self, funds: Funds) -> bool:
        """What the month's account says now; True: plan again, for there is more than when there was too little."""
        before, self._funds = self._funds, funds
        return self._short and (before is None or funds.left > before.left)

    def refusal(self, way: Way | None, *, here: bool) -> Refusal | None:
        """Why not to begin now. ``way``: what has to be fetched first; ``here``: it has been."""
        self._short = False
        if self._gate is not None or self._funds is None:
            return self._gate
        fetched = way.size if way is not None and not here else 0
        refusal = self._funds.refusal(self._cost.of(fetched, self._funds.body_bytes))
        self._short = refusal is not None
        return refusal

    def too_dear(self, body_bytes: int) -> Refusal | None:
        """Why an update that has been made, of so many bytes, is not sent."""
        return None if self._funds is None else self._funds.refusal(self._cost.of(body_bytes))

    def body_within(self) -> int | None:
        """The longest update that may be sent, in bytes; None: any."""
        if self._funds is None or self._funds.budget == 0:
            return None
        return self._cost.body_within(self._funds.left)

    def tell(self, manifest: Manifest, refusal: Refusal, *, online: bool, log: bool = True) -> list[Action]:
        """Say once why not this round."""
        key = (manifest.job, manifest.round, refusal.reason)
        if refusal.quiet or key in self._told:
            return []
        self._told = {each for each in self._told if each[:2] == key[:2]} | {key}
        actions: list[Action] = []
        if log:
            text = f"round {manifest.round}: not now ({refusal.reason.label}): {refusal.detail}"
            actions.append(do.Log(logging.INFO, text))
        if not self._tell:
            return actions
        self._token -= 1
        self._owed = Absent(manifest.job, manifest.round, refusal.reason, one_line(refusal.detail), self.account)
        return actions + (self.connected() if online else [])

    def connected(self) -> list[Action]:
        """What is owed goes out (again)."""
        return [] if self._owed is None else [do.Publish("u", self._owed.serialize(), self._token)]

    def acknowledged(self, token: int) -> bool:
        """The broker has the message published under ``token``; False: it was none of these."""
        if token == self._token:
            self._owed = None
        return token < 0
