"""Methods: the device's and the server's half of each federated algorithm, side by side. Pure.

Registered in `registry`; selected by ``method = "..."`` in a job's settings.
"""

from __future__ import annotations

from gossamer.methods.base import Draft, Fitted, Local, Method, Round, View
from gossamer.methods.registry import METHODS, method

__all__ = ["METHODS", "Draft", "Fitted", "Local", "Method", "Round", "View", "method"]
