"""`python -m tools.docs.monitor_picture`: docs/img/monitor.png, the monitor's real live view.

Runs the firmware against the simulated truck with its console on a port, switches and plugs, runs
`python -m tools.monitor` on a pseudo-terminal meanwhile and draws its last frame.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import select
import signal
import sys
import time
from pathlib import Path

from tools.docs import terminal_picture
from tools.docs.blocks import IMAGES
from tools.progress import ToolError, fail, step
from tools.simulator.device import DeviceError, SimulatedDevice
from tools.simulator.port import SimulatedPort

PICTURE = IMAGES / "monitor.png"
COLUMNS = 110
ROWS = 30
_MINUTES = 1.5

# (seconds to wait before it, what the truck or the board is told)
SCRIPT = (
    (3.0, "sim plug cabin1 heater"),
    (0.0, "on cabin1"),
    (12.0, "sim plug bed1 circular_saw"),
    (0.0, "on bed1"),
    (9.0, "off bed1"),
    (6.0, "sim plug bed240 resistive amps=12"),
    (0.0, "on bed240"),
    (10.0, "on bed1"),
    (8.0, "sim plug cabin2 resistive amps=17.5"),
    (0.0, "on cabin2"),
    (9.0, "sim short bed1"),
    (6.0, ""),
)
_ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Frame(terminal_picture.Screen):
    """A terminal that is drawn from its top left corner each time, as rich does."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns)
        self._height = rows
        self.clear()

    def clear(self) -> None:
        """An empty screen."""
        self.rows = [[]]
        self.at = 0

    def show(self, text: str) -> None:
        """Draw the last whole frame in a stream of them."""
        frames = text.split("\x1b[H")
        if len(frames) < 3:
            raise ToolError("the monitor has drawn nothing")
        self.clear()
        self.feed(frames[-2].replace("\r\n", "\n").replace("\n", "\r\n"))
        del self.rows[self._height :]


def _watch(port: SimulatedPort, terminal: int) -> str:
    """Play the script; all that the monitor has drawn."""
    text = ""

    def read(seconds: float) -> None:
        nonlocal text
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if select.select([terminal], [], [], 0.05)[0]:
                text += os.read(terminal, 65536).decode(errors="replace")

    for seconds, line in SCRIPT:
        read(seconds)
        step(line or "(done)")
        if line.startswith("sim "):
            port.sim(line[4:])
        elif line:
            # the port has one user, the monitor; this is typed as if on the same one
            port.call(functools.partial(port.device.type, line))
    return text


def picture(path: Path) -> list[str]:
    """Draw it into `path`; its text. ToolError when something is not as expected."""
    with SimulatedPort(SimulatedDevice()) as port, contextlib.ExitStack() as keep:
        words = ["tools.monitor", port.path, "--window", str(_MINUTES)]
        process, master = terminal_picture.start(words, ROWS, COLUMNS, "xterm")
        keep.callback(os.close, master)
        try:
            text = _watch(port, master)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(10)
    frame = Frame(COLUMNS, ROWS)
    frame.show(text)
    lines = frame.text()
    if not any("tripped: peak" in line for line in lines):
        raise ToolError("the monitor does not show the trip:\n" + "\n".join(lines))
    terminal_picture.draw(frame, 0, path, size=20)
    return lines


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.docs.monitor_picture", description=__doc__
    )
    parser.add_argument("--output", type=Path, default=PICTURE)
    options = parser.parse_args(argv)
    try:
        print("\n".join(picture(options.output)))
    except (ToolError, DeviceError, OSError) as error:
        return fail(error)
    step(f"{options.output.name} is drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
