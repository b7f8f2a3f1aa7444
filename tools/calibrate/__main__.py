"""`python -m tools.calibrate PORT`: calibrate a board's sensors with a reference meter.

Walks through the channels, shows the live reading, takes what the reference meter shows, and
saves the result. The board measures, judges and stores by itself (console command `cal`).
PORT is a serial port, or mqtt://host/device_id (with `calibration` in its setting mqtt.allow).
"""

from __future__ import annotations

import argparse
import select
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from tools import client
from tools.calibrate import backup, walk
from tools.progress import ToolError, fail, step

_LIVE_S = 1.0


class Terminal:
    """The person at standard input; see walk.Person."""

    def say(self, text: str) -> None:
        """See Person."""
        print(text, flush=True)

    def ask(self, question: str, live: Callable[[], str] | None = None) -> str:
        """See Person."""
        if live is not None:
            print(live())
        print(f"{question}: ", end="", flush=True)
        if live is not None and sys.stdin.isatty() and sys.stdout.isatty():
            while not select.select([sys.stdin], [], [], _LIVE_S)[0]:
                # the line above the question, without disturbing what is being typed
                print(f"\x1b7\x1b[1A\r\x1b[K{live()}\x1b8", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            raise walk.Quit
        if not sys.stdin.isatty():
            print(line.rstrip("\n"))
        return line.strip()


def default_file(board: client.Board) -> Path:
    """Named by device and day."""
    device = board.command("status").get("device", "board")
    return Path(f"calibration-{device}-{date.today().isoformat()}.json")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("port", nargs="?", help="default: the only board that is plugged in")
    parser.add_argument(
        "--channel", action="append", metavar="NAME", help="this one only (may be repeated)"
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="where the result goes")
    parser.add_argument("--export", action="store_true", help="save only, calibrate nothing")
    parser.add_argument("--restore", type=Path, metavar="FILE", help="put a saved one back")
    options = parser.parse_args(argv)
    try:
        if options.restore:
            backup.read(options.restore)
        step(f"connecting to {options.port or 'the board'}")
        with client.connect(options.port) as board:
            board.wait_ready()
            if options.restore:
                names = backup.restore(board, options.restore)
                step(f"{options.restore} is in force: {' '.join(names)}")
                return 0
            path = options.save or default_file(board)
            if not options.export:
                outcomes = walk.walk(board, Terminal(), options.channel)
                print("\n" + "\n".join(walk.report(outcomes)))
                if not outcomes:
                    return 0
            backup.save(board, path)
            step(f"saved in {path}; put it back with --restore {path}")
        return 0
    except ToolError as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("interrupted; what was calibrated so far is in force")


if __name__ == "__main__":
    sys.exit(main())
