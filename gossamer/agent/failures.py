"""What may be told about a fit that failed. Pure.

The text of an exception may quote the data that it failed on, and a process that died may have printed some. Nothing
but updates leaves a device: so what is told is one of our own sentences with numbers in it, or the exception's class.
"""

from __future__ import annotations

import re

_TELLABLE = re.compile(
    r"the fit took longer than fit_timeout_seconds = [0-9.e+]+"
    r"|the training process was ended by SIG[A-Z0-9]+(?: \(out of memory\?\))?"
    r"|the training process ended with exit code -?[0-9]+"
    r"|the loss became -?(?:nan|inf) in local epoch [0-9]+ of [0-9]+, step [0-9]+"
    r"|Trainer\.fit: weights\[[0-9]+\] has NaN or infinity"
    r"|Trainer\.fit: expected a finite loss, got -?(?:nan|inf)"
    r"|out of memory"
    r"|[A-Za-z_][A-Za-z0-9_]{0,40}(?:Error|Exception)(?=: )"
)


def tellable(detail: str) -> str:
    """Return what an ABSENT may say of a failure; the log of the device has ``detail``.

    >>> tellable("ValueError: could not convert 'Jane Doe' to float (trainer.py:7)")
    'ValueError; the log has more'
    >>> tellable("Jane Doe is missing")
    'the fit failed; the log has more'
    """
    found = _TELLABLE.match(detail)
    return f"{found[0] if found else 'the fit failed'}; the log has more"
