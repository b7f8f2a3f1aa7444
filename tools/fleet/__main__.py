"""`python -m tools.fleet`: many controllers at one broker, with their rate, latency and loss.

The messages are those of the firmware: one controller runs first, on real MicroPython, and is
recorded. Without `--broker` a mosquitto is started on the loopback, and ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.fleet.record import record
from tools.fleet.run import Fleet, saturated
from tools.fleet.store import Store
from tools.progress import ToolError, fail, step
from tools.runtime.broker import Mosquitto

_STORE_S = 20


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is no HOST:PORT")
    return host, int(port)


def _number(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 5000:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of controllers (1 to 5000)")
    return int(text)


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not {least:g} to {most:g} seconds")
        return value

    return convert


def _sockets(wanted: int) -> None:
    """Let this process have one socket for each controller; ToolError when it may not."""
    wanted += 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ToolError(f"a process may open {hard} files here, and this needs {wanted}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _print(figures: dict[str, Any]) -> None:
    table = Table(title="fleet", show_header=False)
    for name, value in figures.items():
        if isinstance(value, dict):
            value = "  ".join(f"{key} {number}" for key, number in value.items())
        table.add_row(name, "-" if value is None else str(value))
    Console(width=90).print(table)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fleet", description=__doc__)
    parser.add_argument("-n", "--number", type=_number, default=200, help="controllers (200)")
    parser.add_argument(
        "--seconds", type=_seconds(1, 86400), default=30.0, help="how long they talk (30)"
    )
    parser.add_argument(
        "--interval", type=_seconds(0.1, 60), default=1.0, help="s between states (1)"
    )
    parser.add_argument("--broker", type=_address, metavar="HOST:PORT", help="instead of our own")
    parser.add_argument("--restart-broker", action="store_true", help="restart it half-way")
    parser.add_argument("--store", action="store_true", help="with docs/fleet's Prometheus")
    parser.add_argument(
        "--without-nodelay", action="store_true", help="our own broker without set_tcp_nodelay"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args(words)
    try:
        if options.restart_broker and options.broker:
            raise ToolError("--restart-broker is for our own broker only")
        if options.store and options.broker:
            raise ToolError("--store is for our own broker only")
        if options.store and options.seconds < _STORE_S:
            raise ToolError(f"--store takes {_STORE_S} s: Prometheus fetches each 10 s")
        _sockets(options.number)
        step("one controller says what all of them will say")
        recording = record()
        with tempfile.TemporaryDirectory() as home:
            if options.broker:
                fleet = Fleet(
                    options.number, recording, options.broker, interval_s=options.interval
                )
                figures = fleet.run(options.seconds)
            else:
                # set_tcp_nodelay: as docs/fleet.md says
                extra = [] if options.without_nodelay else ["set_tcp_nodelay true"]
                keep = options.restart_broker
                with contextlib.ExitStack() as stack:
                    own = stack.enter_context(Mosquitto(Path(home), persistent=keep, extra=extra))
                    store = None
                    if options.store:
                        store = stack.enter_context(Store(Path(home), own.port))
                    address = ("127.0.0.1", own.port)
                    fleet = Fleet(
                        options.number, recording, address, own, options.interval, store=store
                    )
                    figures = fleet.run(options.seconds, options.restart_broker)
    except ToolError as error:
        return fail(error)
    if options.json:
        print(json.dumps(figures))
    else:
        _print(figures)
    why = saturated(figures)
    if why:
        step(f"these times are not the broker's: {why}; take fewer controllers or --interval")
    return 0


if __name__ == "__main__":
    sys.exit(main())
