"""`python -m tools.monitor PORT`: live view of one board over serial, or of many over MQTT.

In a terminal the view is redrawn in place; elsewhere there is a line a second and one for each
event. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from tools import client
from tools.monitor import plot
from tools.monitor.feeds import Feed, MqttFeed, SerialFeed, View
from tools.monitor.log import Log
from tools.monitor.screen import Screen, plain
from tools.progress import ToolError, fail, step

_TICK_S = 0.1
_FIRST_S = 5.0  # for the first state messages of boards that are online


class Logs:
    """The CSV files of a run: one, or one for each board when there are several."""

    def __init__(self, path: Path | None, several: bool) -> None:
        self._path = path
        self._several = several
        self._open: dict[str, Log] = {}
        if path is not None and not several:
            self._open[""] = Log(path)  # what is wrong with the file shows before it is needed

    def add(self, views: list[View], when: float) -> None:
        """A row for each board."""
        if self._path is None:
            return
        for view in views:
            key = view.name if self._several else ""
            if key not in self._open:
                self._open[key] = Log(_named(self._path, key))
            self._open[key].add(view, when)

    def paths(self) -> dict[str, Path]:
        """Files that were written, by board."""
        return {name: log.path for name, log in self._open.items()}

    def close(self) -> None:
        """Close all."""
        for log in self._open.values():
            log.close()


def _named(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if name else path


# -- what is shown -------------------------------------------------------------------------------


def _stamp() -> str:
    return datetime.datetime.now().strftime("%H:%M:%S")


def as_json(view: View) -> str:
    """One line: the board's own status, with `time`, `online` and, when away, `trouble`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    at = now.replace("+00:00", "Z")  # of this machine: the board's clock may not be set
    body: dict[str, Any] = {"time": at, "device": view.name}
    body["online"] = view.online
    if view.trouble:
        body["trouble"] = view.trouble
    if view.status is not None and view.online:
        body |= dict(view.status.raw) | {"time": at}
    return json.dumps(body)


class _Lines:
    """Output for pipes: a line each second and board, a line for each event."""

    def __init__(self, feed: Feed, json_lines: bool) -> None:
        self._feed = feed
        self._json = json_lines

    def tick(self) -> None:
        """Between the seconds: events, as they come."""
        for name, event in self._feed.take_events():
            if self._json:
                print(json.dumps({"device": name, "event": dict(event.raw)}), flush=True)
            else:
                print(f"{_stamp()} {name} event: {event}", flush=True)

    def second(self, views: list[View]) -> None:
        """Each second."""
        for view in views:
            print(as_json(view) if self._json else plain(view, _stamp()), flush=True)


class _Drawn:
    """Output for a terminal."""

    def __init__(self, feed: Feed, live: Live, screen: Screen) -> None:
        self._feed = feed
        self._live = live
        self._screen = screen
        self._drawn = 0.0

    def tick(self) -> None:
        """Four times a second, so that events and resizing show at once."""
        if time.monotonic() - self._drawn >= 0.25:
            self._drawn = time.monotonic()
            self._feed.take_events()
            self._screen.update(self._feed.views())
            self._live.update(self._screen, refresh=True)

    def second(self, views: list[View]) -> None:
        """Each second."""
        self._screen.sample(views)


@contextlib.contextmanager
def _output(options: argparse.Namespace, feed: Feed) -> Iterator[_Lines | _Drawn]:
    console = Console()
    if options.json or options.plain or not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(feed, options.json)
        return
    screen = Screen(options.window * 60)
    with Live(screen, console=console, screen=True, auto_refresh=False) as live:
        yield _Drawn(feed, live, screen)


def watch(options: argparse.Namespace, feed: Feed, logs: Logs) -> None:
    """Show and log until the time is over (for ever without `--for`)."""
    interval = options.interval
    began = time.monotonic()
    due = began
    with _output(options, feed) as output:
        while options.seconds is None or time.monotonic() - began < options.seconds:
            output.tick()
            if time.monotonic() >= due:
                # after a pause (the computer slept) it goes on, and does not catch up
                due += interval * (1 + (time.monotonic() - due) // interval)
                views = feed.views()
                logs.add(views, time.time())
                output.second(views)
            time.sleep(_TICK_S)
        output.tick()


def once(options: argparse.Namespace, feed: Feed) -> int:
    """Print each board's status; 1 when one of them is away."""
    until = time.monotonic() + _FIRST_S
    while time.monotonic() < until and any(
        view.status is None and "offline" not in view.trouble for view in feed.views()
    ):
        time.sleep(_TICK_S)
    views = feed.views()
    if options.json:
        for view in views:
            print(as_json(view))
    elif sys.stdout.isatty():
        screen = Screen(options.window * 60)
        screen.update(views)
        console = Console()
        console.print(screen, height=24 * len(views))
    else:
        for view in views:
            print(plain(view, _stamp()))
    return 0 if views and all(view.online for view in views) else 1


# -- the command line ----------------------------------------------------------------------------


def _figure(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from {low:g} to {high:g}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.monitor", description=__doc__)
    parser.add_argument(
        "port", nargs="?", help="serial port, socket:// or rfc2217:// (default: the only board)"
    )
    parser.add_argument(
        "--mqtt", metavar="URL", help="all boards of mqtt://[user:password@]host[:port][/device]"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append a row each second")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="at the end, draw what was logged (.png, .svg)"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="CSV", help="only plot this log, ask no board"
    )
    parser.add_argument(
        "--set-time", action="store_true", help="first set the clock of the board from here"
    )
    parser.add_argument("--once", action="store_true", help="print the status and end")
    parser.add_argument("--json", action="store_true", help="JSON, an object a line")
    parser.add_argument("--plain", action="store_true", help="lines, also in a terminal")
    parser.add_argument(
        "--interval", type=_figure(0.2, 3600), default=1.0, metavar="S", help="default: 1 s"
    )
    parser.add_argument(
        "--window", type=_figure(0.2, 1440), default=5.0, metavar="MIN", help="of the charts"
    )
    parser.add_argument(
        "--for", dest="seconds", type=_figure(0, 1e9), metavar="S", help="end after so long"
    )
    return parser


def _draw(logs: Logs, picture: Path) -> None:
    several = len(logs.paths()) > 1
    for name, path in logs.paths().items():
        target = _named(picture, name if several else "")
        try:
            plot.draw(path, target)
        except ToolError as error:
            fail(error)
        else:
            step(f"{target} is drawn")


def _run(options: argparse.Namespace) -> int:
    if options.source is not None:
        if options.plot is None:
            raise ToolError("--from needs --plot FILE: say what to draw into")
        plot.draw(options.source, options.plot)
        return 0
    if options.mqtt and options.port:
        raise ToolError("either a port or --mqtt, not both")
    if options.set_time:
        where = options.mqtt or options.port
        if options.mqtt and "://" not in where:
            where = f"mqtt://{where}"
        with client.connect(where) as board:
            board.set_time()
    if options.mqtt or (options.port or "").startswith(("mqtt://", "mqtts://")):
        address = options.mqtt or options.port
        feed: Feed = MqttFeed(address if "://" in address else f"mqtt://{address}")
    else:
        feed = SerialFeed(options.port, options.interval)
    with contextlib.ExitStack() as keep:
        keep.callback(feed.close)
        if options.once:
            return once(options, feed)
        path = options.csv
        if path is None and options.plot is not None:
            folder = keep.enter_context(tempfile.TemporaryDirectory(prefix="tailgate-"))
            path = Path(folder) / "log.csv"
        logs = Logs(path, several=isinstance(feed, MqttFeed) and not feed.single)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                watch(options, feed, logs)
        finally:
            # a second Ctrl-C would leave the picture half drawn
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            logs.close()
            if options.plot is not None:
                _draw(logs, options.plot)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    options = _parser().parse_args(argv)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        return _run(options)
    except ToolError as error:
        return fail(error)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # whoever read the lines has gone (`| head`): nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
