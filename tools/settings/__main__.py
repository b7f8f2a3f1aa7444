"""`python -m tools.settings export FILE`: a board's settings as a file, and back with `import`.

Secrets (passwords) never leave a board, so an export names those that have to be set again by
hand; a file for `import` may hold them. `import` is all or nothing, and makes it last; with
--try it holds until the next start only, with --dry-run it says what it would do.
The port may be mqtt://host/device_id (see the setting mqtt.allow).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tools import client
from tools.progress import ToolError, fail, step
from tools.settings import backup


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.settings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", help="default: the only board that is plugged in")
    orders = parser.add_subparsers(dest="order", required=True)
    order = orders.add_parser("show", help="print what differs from its default")
    order.add_argument("--all", action="store_true", help="print every setting")
    order = orders.add_parser("export", help="save the settings in a file")
    order.add_argument("file", type=Path)
    order.add_argument("--changed", action="store_true", help="only what is not the default")
    order = orders.add_parser("import", help="put the settings of a file in force")
    order.add_argument("file", type=Path)
    order.add_argument("--skip-unknown", action="store_true", help="pass over unknown ones")
    how = order.add_mutually_exclusive_group()
    how.add_argument("--try", action="store_true", dest="trial", help="until the next start only")
    how.add_argument("--dry-run", action="store_true", help="change nothing")
    options = parser.parse_args(argv)
    try:
        if options.order == "import":
            backup.read(options.file)
        step(f"connecting to {options.port or 'the board'}")
        with client.connect(options.port) as board:
            board.wait_ready()
            _run(board, options)
        return 0
    except (ToolError, client.ClientError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("interrupted")


def _run(board: client.Board, options: argparse.Namespace) -> None:
    if options.order == "show":
        for name, value in backup.export(board, not options.all)["settings"].items():
            print(f"{name:20} {_word(value)}")
    elif options.order == "export":
        found = backup.save(board, options.file, options.changed)
        step(f"{len(found['settings'])} settings saved in {options.file}")
        if found.get("secrets"):
            step(f"not in it, because they are secrets: {' '.join(found['secrets'])}")
    else:
        _import(board, options)


def _import(board: client.Board, options: argparse.Namespace) -> None:
    done = backup.restore(board, options.file, options.skip_unknown, options.dry_run)
    for name, (before, now) in done.changed.items():
        print(f"{name:20} {_word(before)} -> {_word(now)}")
    for note in done.notes:
        step(f"note: {note}")
    if done.unknown:
        step(f"left out, not known to this board: {' '.join(done.unknown)}")
    if options.dry_run:
        step(f"{len(done.changed)} settings would change")
        return
    if not options.trial:
        board.settings.save()
    lasting = "in force until the next start" if options.trial else "in force and saved"
    step(f"{len(done.changed)} settings changed, {lasting}")
    if done.needs_reboot:
        step(f"only after a reboot: {' '.join(done.needs_reboot)}")


def _word(value: Any) -> str:
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if value != "" else '""'


if __name__ == "__main__":
    sys.exit(main())
