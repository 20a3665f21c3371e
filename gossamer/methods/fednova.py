"""FedNova: updates count per local step. Wang and others, NeurIPS 2020; arXiv 2007.07481, equation 11 for plain SGD.

    device   as in FedAvg; says how many local steps it took (section STEPS)
    server   aggregate of (tau / steps_i) (w_i - w); the job's ``server_step`` moves the model

With plain averaging a device of many examples, and so many steps an epoch, pulls the model further than its weight in
the mean says. tau, the steps that a round counts for, is the median of what its cohort took (the paper takes the mean,
which one device that exaggerates can move), or fixed by the spec: with small cohorts of unequal devices a median that
changes from round to round weighs the rounds differently, a fixed tau does not.

What remains is the drift within a device's local steps, of the order of the learning rate: the fixed point is the
optimum in the limit of small steps, where FedAvg's is not.

A lie is worth nothing: steps claimed too few multiply the update before the rule sees it, exactly as if the device had
sent a larger one, and by at most `MAX_FACTOR`; steps claimed too many make it smaller. Without the section, or with one
that cannot be read, an update counts as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.errors import IncompleteMessage, InputError, PeerError
from gossamer.methods.base import Draft, Local, Method, Round, Sections, Vector
from gossamer.wire.codes import UpdateSection
from gossamer.wire.items import Reader, encode

MAX_STEPS = 1 << 20
"""Local steps of a round: a factor is at least tau / 2^20."""

MAX_FACTOR = 16.0
"""What few steps can multiply an update by: devices of one fleet rarely differ by more from their median."""


def write_steps(steps: int) -> bytes:
    """The section of 1 to `MAX_STEPS` steps: a CBOR unsigned integer; more are said to be as many.

    >>> write_steps(300).hex()
    '19012c'
    """
    return encode(min(max(1, steps), MAX_STEPS))


def read_steps(sections: Sections) -> int | None:
    """Steps that an update claims, or None if it says nothing that can be believed."""
    data = sections.get(UpdateSection.STEPS)
    if data is None:
        return None
    try:
        reader = Reader(data)
        steps = reader.uint("steps", MAX_STEPS, 1)
    except (PeerError, IncompleteMessage):
        return None
    return steps if reader.at_end else None


class FedNova(Method):
    """Spec ``fednova``, or ``fednova:TAU`` with the steps that every round counts for."""

    def __init__(self, tau: float = 0.0) -> None:
        if not (tau == 0.0 or 1.0 <= tau <= MAX_STEPS):
            raise InputError(f"fednova needs 1 to {MAX_STEPS} steps that a round counts for, or none, got {tau}")
        self.spec = f"fednova:{tau!r}" if tau else "fednova"
        self.tau = tau

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        del own, round_
        fitted = local.fit(shared[0])
        sections = {**fitted.sections, UpdateSection.STEPS: write_steps(fitted.steps)}
        return Draft(fitted.loss, trained=fitted.weights, sections=sections)

    def factors(self, sections: Sequence[Sections]) -> Sequence[float]:
        """See `Method`.

        >>> FedNova().factors([{1: write_steps(steps)} for steps in (5, 10, 40)] + [{}])
        [2.0, 1.0, 0.25, 1.0]
        """
        claimed = [read_steps(each) for each in sections]
        known = sorted(steps for steps in claimed if steps is not None)
        if not known:
            return [1.0] * len(claimed)
        tau = self.tau or float(known[(len(known) - 1) // 2])
        return [1.0 if steps is None else min(tau / steps, MAX_FACTOR) for steps in claimed]
