"""Numbers of the sections that these objectives use; `gossamer.wire.codes` names them for the wire."""

from __future__ import annotations

from collections.abc import Mapping

Sections = Mapping[int, bytes]

MANIFEST_OBJECTIVE = 12
"""Down: which objective, ASCII."""
MANIFEST_DUAL = 9
"""Down: `gossamer.objectives.auc_minimax.Dual` to start from."""
MANIFEST_SCORES = 10
"""Down: the fleet's `gossamer.objectives.histogram.ScoreHistogram`."""
UPDATE_DUAL = 3
"""Up: the scalars after the local steps."""
UPDATE_SCORES = 4
"""Up: the device's histogram."""
