"""``python -m gossamer.agent --config FILE``: the agent where the ``gossamer`` command is not installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run until SIGTERM; the exit code follows from the error (see :mod:`gossamer.errors`)."""
    parser = argparse.ArgumentParser(
        prog="gossamer.agent", description="Take part in a fleet's training.",
        epilog="Example: python -m gossamer.agent --config /etc/gossamer/agent.toml",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML configuration file")
    parser.add_argument("--trainer", metavar="NAME", help="package.module:factory or script.py:factory, not the file's")
    parser.add_argument(
        "--trainer-path", type=Path, action="append", default=[], metavar="DIR",
        help="where its modules are looked for as well; repeatable",
    )  # fmt: skip
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="after --: what a script sees as its own")
    given = parser.parse_args()
    from gossamer.agent.config import Script
    from gossamer.agent.service import run_agent

    script = None
    if given.trainer is not None:
        script = Script(given.trainer, tuple(given.trainer_path), tuple(given.arguments))
    elif given.trainer_path or given.arguments:
        parser.error("--trainer-path and arguments belong to --trainer, which is not given")
    return run_agent(given.config, script)


if __name__ == "__main__":
    sys.exit(main())
