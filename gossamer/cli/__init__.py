"""The ``gossamer`` command. Importing this package loads nothing; :func:`main` does."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the exit code is 0, or that of the error (see :mod:`gossamer.errors`)."""
    from gossamer.errors import GossamerError

    try:
        from gossamer.cli.app import app
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich", "click"}:
            raise
        sys.stderr.write(
            f"gossamer: the command line needs the package {missing.name}: pip install 'gossamer[cli]'. "
            "On a device, `python -m gossamer.agent --config FILE` runs without it.\n"
        )
        sys.exit(2)
    try:
        app(prog_name="gossamer")  # also as python -m gossamer.cli
    except GossamerError as error:
        sys.stderr.write(f"gossamer: {error}\n")
        sys.exit(error.exit_code)
