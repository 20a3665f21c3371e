"""Federated averaging: train, send the difference. McMahan and others, AISTATS 2017; arXiv 1602.05629.

Device: ``w_i = local epochs of SGD from w``; sends ``w_i - w``. The server's step is the job's ``server_step``.
"""

from __future__ import annotations

from gossamer.methods.base import Draft, Local, Method, Round, Vector


class FedAvg(Method):
    """Spec ``fedavg``."""

    spec = "fedavg"

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        del own, round_
        fitted = local.fit(shared[0])
        return Draft(fitted.loss, trained=fitted.weights, sections=fitted.sections)
