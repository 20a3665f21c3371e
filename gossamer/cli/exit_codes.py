"""The exit codes of every command, in one place; they follow from the exception tree (:mod:`gossamer.errors`)."""

from __future__ import annotations

EXIT_CODES = {
    0: "done, or nothing is wrong",
    1: "it did not work, or the answer is no (something fails, a device is kept away)",
    2: "a setting, an option or a name is wrong; the message says which",
    74: "the disk or the store could not be used; what was there is intact",
    75: "try again later: the broker is not there, or the store is busy",
    77: "the broker refused the credentials or the protocol",
    130: "stopped by Ctrl-C",
}


def exit_codes() -> str:
    """All of them for the end of a help text; click leaves lines behind a backspace as they are."""
    lines = (f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())
    return "\b\n" + "\n".join(("Exit codes:", *lines))
