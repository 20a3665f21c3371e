"""Aggregation rules: (n, d) updates -> one float64 (d,) and a report per device. Pure.

>>> import numpy as np
>>> from gossamer.aggregator.rules import Updates, rule
>>> median = rule("median")
>>> updates = Updates.dense(np.array([[1, 0], [2, 0], [900, 3]], dtype=np.float32))
>>> aggregate, state, report = median.apply(median.init(d=2), updates)
>>> aggregate.tolist()
[2.0, 0.0]
"""

from __future__ import annotations

from gossamer.aggregator.rules.base import Rule
from gossamer.aggregator.rules.registry import AROUND, PRESTEPS, RULES, rule
from gossamer.aggregator.rules.report import Report, Verdict
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Body, Dense, Packed, Raw, Update, Updates
from gossamer.aggregator.rules.weights import staleness_weight

__all__ = [
    "AROUND",
    "PRESTEPS",
    "RULES",
    "Body",
    "Dense",
    "Packed",
    "Raw",
    "Report",
    "Rule",
    "State",
    "Update",
    "Updates",
    "Verdict",
    "rule",
    "staleness_weight",
]
