"""What devices say of themselves: that they are there, that they do not take part, and what they have spent.

Nothing of it is signed: the broker's access list says who may write on a device's topic, and that is all. So it
decides which deltas are offered and what people read, and neither which round waits for whom nor what counts.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from gossamer.aggregator.store import absences, accounts, devices, jobs, rounds
from gossamer.aggregator.store.absences import AbsenceRow
from gossamer.aggregator.store.accounts import AccountRow
from gossamer.aggregator.store.devices import Device
from gossamer.errors import Refused
from gossamer.wire.accounts import Account, month_name
from gossamer.wire.codes import Reason
from gossamer.wire.messages import Absent, Birth, Death

#: Absences a second that one device may have written, and at once: a round has a few reasons at most, and an hour
#: few rounds. What comes beyond is counted as over its quota.
ABSENCES_PER_SECOND = 0.1
ABSENCES_AT_ONCE = 20.0
#: Job numbers beyond this no store has.
_MOST = (1 << 31) - 1


def born(db: Connection, device: Device, message: Birth, now: float) -> None:
    """A device is there."""
    job = jobs.current(db)
    number, newest = (0, 0) if job is None else (job.job, job.version)
    # Unsigned, and only used to choose which deltas to offer: a version that cannot be counts as none.
    version = message.version if message.version <= newest else 0
    heard = devices.born(db, device.id, boot=message.boot, job=number, version=version, now=now)
    # A retained BIRTH comes again whenever a bridge subscribes; what it says of bytes may be old by then.
    if heard and (message.boot > device.boot or accounts.get(db, device.id) is None):
        _note(db, device, message.account, now)


def died(db: Connection, device: Device, message: Death, now: float) -> None:
    """A device is gone."""
    devices.died(db, device.id, boot=message.boot, now=now)


def absent(db: Connection, device: Device, message: Absent, now: float) -> None:
    """A device does not take part in a round.

    Raises:
        Refused: there is no such job or round.
    """
    job = jobs.get(db, message.job) if message.job <= _MOST else None
    if job is None:
        raise Refused(Reason.WRONG_JOB.label, f"absent from job {message.job}, which this fleet does not have")
    newest = rounds.latest(db, message.job)
    if newest is None or message.round > newest.round:
        raise Refused(Reason.FUTURE_ROUND.label, f"absent from round {message.round}, which is not open yet")
    devices.seen(db, device.id, now=now)
    absences.keep(db, AbsenceRow(device.id, message.job, message.round, message.absence, message.detail, now))
    _note(db, device, message.account, now)


def _note(db: Connection, device: Device, account: Account | None, now: float) -> None:
    if account is not None:
        month = month_name(account.month)
        accounts.keep(db, AccountRow(device.id, month, account.spent, account.budget, account.profile, now))
