"""`python -m tools.fuzz [--lines N] [--seed N]`: figures as JSON; exit code 1 when a run fails."""

from __future__ import annotations

import argparse
import json
import sys

from tools.fuzz import run
from tools.progress import ToolError, fail


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=run.__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        print(json.dumps(run.report(*run.play(options.lines, options.seed)), indent=2))
    except (run.Failure, ToolError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
