"""What is written down about a sealed round: one JSON object, bounded whatever the size of the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gossamer.aggregator.seal import SealResult
from gossamer.aggregator.store.inbox import CountedUpdate
from gossamer.aggregator.store.rounds import RoundRow
from gossamer.wire.header import MICRO

#: Devices listed one by one, those that the rule rejected before the others.
MAX_DEVICES = 200


def round_report(latest: RoundRow, cohort: int, counted: Sequence[CountedUpdate], result: SealResult) -> dict[str, Any]:
    """Return the report of a round: counts, bytes, mean loss, and the rule's verdicts.

    ``loss`` is the mean of what devices claim, weighted by the examples they claim: for looking at, not for
    deciding anything.
    """
    names = {update.index: update.device for update in counted}
    on_time = [update for update in counted if update.round == latest.round]
    examples = sum(update.examples for update in counted)
    loss = sum(update.examples * update.loss_micro for update in counted) / MICRO / max(1, examples)
    verdicts = sorted(result.report.verdicts, key=lambda verdict: (verdict.accepted, verdict.index))
    return {
        "round": latest.round,
        "version": result.state.version,
        "cohort": cohort,
        "on_time": len(on_time),
        "late": len(counted) - len(on_time),
        "body_bytes": sum(update.size for update in counted),
        "step_bytes": len(result.step),
        "examples": examples,
        "loss": loss,
        "saturated": result.saturated,
        "rule": result.report.rule,
        "radius": result.report.radius,
        "shortfall": result.report.shortfall,
        "rejected": len(result.report.rejected),
        "devices": [
            {
                "device": names.get(verdict.index, str(verdict.index)),
                "lag": verdict.lag,
                "reason": verdict.reason,
                "norm": verdict.norm,
                "factor": verdict.factor,
                "weight": verdict.weight,
            }
            for verdict in verdicts[:MAX_DEVICES]
        ],
    }
