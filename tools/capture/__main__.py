"""`python -m tools.capture`: the recorded waveform of a trip as a plot, COMTRADE and CSV.

Reads a board (serial port, socket:// or mqtt:// address) or a file: a saved console log, MQTT
messages, or the JSON that --json FILE wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tools import client
from tools.capture import comtrade, output
from tools.capture.record import Record, find, parse
from tools.progress import ToolError, fail, step

_TRIES = 4
_PAUSE_S = 0.3
_ANSWER_S = 20.0
_NOT_YET = "not complete yet"


def read_board(board: client.Board, outlet: str | None, every: bool = False) -> Record:
    """The record of an outlet (None: of whoever tripped) from a board.

    Asks again while a trip is still being recorded, and when an answer arrived damaged."""
    tries = 0
    while True:
        tries += 1
        try:
            name = outlet or board.command("capture").get("trip")
            if not name:
                raise ToolError(
                    "no trip is recorded; name an outlet to see the present: "
                    "python -m tools.capture PORT bed1"
                )
            words = [name, *(["--all"] if every else [])]
            return parse(board.command("capture", *words, timeout_s=_ANSWER_S, repeat=True))
        except client.CommandRefused as error:
            if _NOT_YET not in str(error) or tries >= _TRIES:
                raise
        except ToolError as error:
            if "arrived damaged" not in str(error) or tries >= _TRIES:
                raise
            step(str(error))
        time.sleep(_PAUSE_S)


def read_file(path: Path, outlet: str | None, event: int | None) -> Record:
    """The last record of a file that is of this outlet and event (None: any)."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}") from error
    records = list(find(text))
    if not records:
        raise ToolError(f"{path}: no record in it; `capture bed1 --json` prints one")
    good = [
        r
        for r in records
        if outlet in (None, r.outlet) and event in (None, (r.event or {}).get("seq"))
    ]
    if not good:
        there = ", ".join(r.name for r in records)
        raise ToolError(f"{path}: no such record in it (there are: {there})")
    return good[-1]


def write(record: Record, options: argparse.Namespace, read_at: float | None) -> list[Path]:
    """Write what was asked for; the files."""
    base: Path = options.output / record.name
    trip_at = options.time or record.trip_epoch(read_at)
    if trip_at is None and options.comtrade != "none":
        step("the board's clock was not set: times in the .cfg are from its start (--time tells)")
    made = []
    if options.comtrade != "none":
        comtrade.write(record, base, options.comtrade, trip_at)
        made += [base.with_name(base.name + end) for end in (".cfg", ".dat")]
    if options.plot != "none":
        made.append(base.with_name(f"{base.name}.{options.plot}"))
        output.plot(record, made[-1])
    if options.csv:
        made.append(base.with_name(base.name + ".csv"))
        output.write_csv(record, made[-1])
    if options.json:
        made.append(base.with_name(base.name + ".json"))
        made[-1].write_text(json.dumps(record.raw) + "\n")
    return made


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no time such as 2026-01-31T12:00:00+00:00"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.capture", description=__doc__)
    parser.add_argument("source", metavar="PORT|URL|FILE")
    parser.add_argument("outlet", nargs="?", help="default: whoever tripped")
    parser.add_argument("--event", type=int, metavar="N", help="in a file: the one of this event")
    parser.add_argument("--all", action="store_true", help="every channel, not only the outlet's")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="default: here")
    parser.add_argument("--comtrade", choices=("binary", "ascii", "none"), default="binary")
    parser.add_argument("--plot", choices=("png", "svg", "none"), default="png")
    parser.add_argument("--csv", action="store_true")
    parser.add_argument("--json", action="store_true", help="what the board said, to read again")
    parser.add_argument("--time", type=_moment, metavar="UTC", help="when the trip was, ISO 8601")
    parser.add_argument("--clear", action="store_true", help="then let the next trip be recorded")
    options = parser.parse_args(argv)
    try:
        path = Path(options.source)
        if path.is_file():
            if options.all or options.clear:
                raise ToolError("--all and --clear need a board, and this is a file")
            made = write_and_say(read_file(path, options.outlet, options.event), options, None)
        elif path.suffix == ".json":
            raise ToolError(f"no such file: {path}")
        else:
            if options.event is not None:
                raise ToolError("--event is for files: a board keeps one record")
            with client.connect(options.source) as board:
                record = read_board(board, options.outlet, options.all)
                made = write_and_say(record, options, time.time())
                if options.clear and record.trip_scan is not None:
                    board.command("capture", "clear")
                    step("cleared: the next trip will be recorded")
    except (ToolError, OSError) as error:
        return fail(error)
    for file in made:
        print(file)
    return 0


def write_and_say(
    record: Record, options: argparse.Namespace, read_at: float | None
) -> list[Path]:
    """`write`, after a line on what it is."""
    after = record.scans - 1 - record.mark
    ms = record.period_us / 1000
    step(f"{record.title}: {record.mark * ms:.0f} ms before, {after * ms:.0f} ms after")
    return write(record, options, read_at)


if __name__ == "__main__":
    sys.exit(main())
