"""What would keep a healthy device away now: its windows, its gates, its month's bytes."""

from __future__ import annotations

import time

from gossamer.agent.budget import Funds
from gossamer.agent.config import AgentSettings
from gossamer.agent.gatekeeper import Gatekeeper
from gossamer.agent.gates import is_set
from gossamer.agent.ledger import clock_month
from gossamer.agent.records import Ledger
from gossamer.doctor.finding import Finding, ok, skip, warn
from gossamer.fleet.mends import absent
from gossamer.fleet.words import size
from gossamer.wire.codes import Absence

GLANCE_SECONDS = 0.02


def gates(settings: AgentSettings, now: float) -> Finding:
    """Ask the windows and gates as the agent does, commands and all, and wait for their answer."""
    if not is_set(settings.gates) and not settings.available:
        return skip("gates", "none is set: it takes part at any time")
    told: list[str] = []
    keeper = Gatekeeper(settings.gates, settings.windows(), settings.state_dir, lambda _level, text: told.append(text))
    end = time.monotonic() + settings.gates.command_timeout_seconds + 1.0
    try:
        keeper.turn(time.monotonic(), now)
        while (keeper.refusal is not None and keeper.refusal.quiet) and time.monotonic() < end:
            time.sleep(GLANCE_SECONDS)
            keeper.turn(time.monotonic(), now)
    finally:
        keeper.close()
    refusal = keeper.refusal
    if refusal is not None:
        return warn("gates", f"closed: {refusal.detail}", absent(refusal.reason))
    if told:
        return warn("gates", told[-1], "give them what they need (nmcli, mmcli, /sys), or set gates.unknown")
    return ok("gates", "open")


def budget(settings: AgentSettings, ledger: Ledger, now: float) -> Finding:
    """Hold the month's account against the budget, as the agent does. Pure."""
    limit = settings.budget
    month = max((clock_month(now), *ledger.months))
    causes = ledger.months.get(month, {})
    spent = sum(sum(way.values()) for way in causes.values())
    funds = Funds(month, spent, limit.monthly_bytes, limit.reserve_percent)
    if not funds.budget:
        return ok("budget", f"no limit; {size(spent)} in {month}")
    said = f"{size(spent)} of {size(funds.budget)} spent in {month}, {size(funds.reserve)} of it reserved"
    if funds.left <= 0:
        return warn("budget", f"{said}: no round until the next month", absent(Absence.BUDGET))
    return ok("budget", said)
