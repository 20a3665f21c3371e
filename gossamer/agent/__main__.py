"""``python -m gossamer.agent --config FILE``: the agent where the ``gossamer`` command is not installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run until SIGTERM; the exit code follows from the error (see :mod:`gossamer.errors`)."""
    parser = argparse.ArgumentParser(prog="gossamer.agent", description="Take part in a fleet's training.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML configuration file")
    arguments = parser.parse_args()
    from gossamer.agent.service import run_agent

    return run_agent(arguments.config)


if __name__ == "__main__":
    sys.exit(main())
