"""`python -m tools.deploy`: the firmware onto a board with a stock MicroPython, over USB.

Copies only what changed, verifies by hash, leaves settings, journal and calibration alone (data/),
restarts the board and shows its first status.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from tools import stage
from tools.deploy import copying, ports
from tools.deploy.board import Board
from tools.progress import ToolError, fail, step


def deploy(port: str, tree: Path, source: bool, dry_run: bool) -> None:
    """Everything from opening the port to the first status. Raises ToolError."""
    step(f"connecting to {port}")
    with Board(port) as board:
        found = board.identify()
        step(f"{found.machine}, MicroPython {found.version_text}")
        wanted = stage.stage(tree, found.chip, source)
        step("comparing files")
        there = copying.held(board)
        todo = copying.plan(wanted, there)
        if not todo.nothing and "main.py" not in todo.copy:
            # it is taken away while files change, and so has to be written in any case
            todo.copy["main.py"] = wanted["main.py"]
            todo.same -= 1
        copying.check_room(todo, there, found.block, found.free_blocks)
        gone = f", {len(todo.remove)} to remove" if todo.remove else ""
        step(f"{len(todo.copy)} files to copy ({todo.size} bytes){gone}, {todo.same} unchanged")
        if dry_run:
            for path in sorted(todo.copy):
                print(f"copy   {path}")
            for path in sorted(todo.remove):
                print(f"remove {path}")
        elif not todo.nothing:
            _copy(board, todo, there)
            step("verifying")
            copying.verify(board, wanted)
        step("restarting the board")
        board.restart()
        step("its first status:")
        print(board.first_status())


def _copy(board: Board, todo: copying.Plan, there: dict[str, copying.Held]) -> None:
    columns = (TextColumn("  {task.description:32}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=console.is_terminal) as bar:
        task = bar.add_task("", total=todo.size)

        def advance(path: str, size: int) -> None:
            bar.update(task, advance=size, description=path[-32:])

        copying.apply(board, todo, there, advance)
        bar.update(task, description="copied")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.deploy", description=__doc__)
    parser.add_argument("--port", help="serial port (default: the only board that is plugged in)")
    parser.add_argument("--source", action="store_true", help="copy .py files, not compiled ones")
    parser.add_argument("--dry-run", action="store_true", help="say what would be copied")
    parser.add_argument(
        "--firmware", type=Path, default=stage.ROOT, metavar="DIR", help="deploy DIR, not this"
    )
    options = parser.parse_args(argv)
    try:
        port = ports.choose(options.port)
        deploy(port, options.firmware, options.source, options.dry_run)
        return 0
    except ToolError as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("interrupted; the board is safe, its relays open: run deploy again")


if __name__ == "__main__":
    sys.exit(main())
