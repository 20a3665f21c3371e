"""What a rule did with each device's update, for the round's record and the operator."""

from __future__ import annotations

from dataclasses import dataclass

NON_FINITE = "non-finite"
TOO_LARGE = "too-large"
WRONG_LAYOUT = "wrong-layout"
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One update's treatment.

    Args:
        index: device index.
        lag: model versions it was late.
        reason: empty if accepted, else why it was rejected (one of the constants of this module).
        norm: Euclidean norm of the update; 0.0 if rejected. Of rules that screen in passing it has the accuracy of
            float32, and its last digits may differ between machines.
        factor: what the rule's clipping multiplied (the update, or its difference to the memory) with, or, where a
            rule weighs updates, their weight, the heaviest having 1.0. 1.0 untouched; 0.0 rejected, or left out by a
            rule that selects.
        weight: bounded weight, before normalisation; rules of one vote each ignore it. 0.0 if rejected.
    """

    index: int
    lag: int
    reason: str
    norm: float
    factor: float
    weight: float

    @property
    def accepted(self) -> bool:
        """Whether the rule saw the update."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Report:
    """One round's verdicts in the order of :class:`~gossamer.aggregator.rules.updates.Updates`.

    ``radius`` is the clipping radius (0.0: the rule has none); ``shortfall`` says, if not empty, why
    nothing was aggregated.
    """

    rule: str
    verdicts: tuple[Verdict, ...]
    radius: float = 0.0
    shortfall: str = ""

    @property
    def rejected(self) -> tuple[Verdict, ...]:
        """Those that the rule did not see."""
        return tuple(verdict for verdict in self.verdicts if not verdict.accepted)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON or CBOR."""
        devices = [
            {
                "device": v.index,
                "lag": v.lag,
                "accepted": v.accepted,
                "reason": v.reason,
                "norm": v.norm,
                "factor": v.factor,
                "weight": v.weight,
            }
            for v in self.verdicts
        ]
        return {"rule": self.rule, "radius": self.radius, "shortfall": self.shortfall, "devices": devices}
