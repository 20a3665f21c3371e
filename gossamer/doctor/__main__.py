"""``python -m gossamer.doctor``: for devices, which have no typer. The same checks as ``gossamer doctor``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from gossamer.doctor.finding import broken, rows
from gossamer.doctor.main import examine, line, sides
from gossamer.errors import GossamerError


def main() -> int:
    """Print what is found; the exit code is 1 if something fails, 2 if there is nothing to look at."""
    about = "Look for what is wrong with a device or a server, and say what mends it."
    parser = argparse.ArgumentParser(prog="python -m gossamer.doctor", description=about)
    parser.add_argument("--config", type=Path, help="the agent's configuration file")
    parser.add_argument("--state", type=Path, help="a server's state directory")
    parser.add_argument("--train", action="store_true", help="let the trainer train for an epoch, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    words = parser.parse_args()
    try:
        config, state = sides(words.config, words.state, os.environ)
        found = []
        for each in examine(config, state, os.environ, time.time(), train=words.train):
            found.append(each)
            if not words.json:
                sys.stdout.write(line(each) + "\n")
                sys.stdout.flush()
    except GossamerError as error:
        sys.stderr.write(f"gossamer: {error}\n")
        return error.exit_code
    if words.json:
        sys.stdout.write(json.dumps(list(rows(found)), indent=2) + "\n")
    return 1 if broken(found) else 0


if __name__ == "__main__":
    sys.exit(main())
