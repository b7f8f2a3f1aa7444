"""`python -m tools.docs.capture_plot`: docs/img/capture.png, a captured short circuit.

From the real firmware on real MicroPython: an angle grinder runs, its cord is short-circuited, the
outlet trips, and tools/capture draws what `capture bed1 --json` says. `--text` prints what people
see instead (`capture bed1`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.capture.output import plot
from tools.capture.record import Record, parse
from tools.docs.blocks import IMAGES
from tools.progress import ToolError, fail, step
from tools.simulator.device import DeviceError, SimulatedDevice

PICTURE = IMAGES / "capture.png"
_SHORT = "short bed1 ohms=0.75"  # as much as its sensor can just show


def record() -> tuple[Record, list[str]]:
    """The captured short circuit, and its screen."""
    with SimulatedDevice("simulated", seed=2) as device:
        device.run(1.5)
        device.command("on bed1")
        device.sim("plug bed1 angle_grinder")
        device.run(4.0)
        device.sim(_SHORT)
        device.expect("bed1 tripped peak", 0.5)
        device.run(0.2)
        first = len(device.lines)
        device.command("capture bed1")
        device.expect("with --json", 3.0, since=first)
        screen = [line.text for line in device.lines[first:]]
        device.type("capture bed1 --json")
        text = device.expect(r"^{.*}$", 3.0).group(0)
    return parse(json.loads(text)), screen


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs.capture_plot", description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("--text", action="store_true", help="print the screen, draw nothing")
    options = parser.parse_args(argv)
    try:
        found, screen = record()
    except (ToolError, DeviceError) as error:
        return fail(error)
    if options.text:
        print("\n".join(screen))
        return 0
    plot(found, options.output)
    step(f"{options.output.name} is drawn: {found.title}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
