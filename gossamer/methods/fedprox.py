"""FedProx: a pull back to where the round began. Li and others, MLSys 2020; arXiv 1812.06127, algorithm 2.

Device: local epochs on ``f_i(w) + pull / 2 ||w - w_t||^2``; sends ``w_i - w_t``. The server's step is the job's.
A larger pull keeps devices with unlike data together and costs speed; 0.001 to 1 are usual.
"""

from __future__ import annotations

import math

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Method, Round, Vector


class FedProx(Method):
    """Spec ``fedprox:PULL``."""

    def __init__(self, pull: float) -> None:
        if not 0.0 < pull < math.inf:
            raise InputError(f"fedprox needs a finite pull above 0, got {pull}")
        self.spec = f"fedprox:{pull!r}"
        self.pull = pull

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        del own, round_
        fitted = local.fit(shared[0], proximal=self.pull)
        return Draft(fitted.loss, trained=fitted.weights, sections=fitted.sections)
