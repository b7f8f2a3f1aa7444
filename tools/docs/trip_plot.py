"""`python -m tools.docs.trip_plot`: a recorded motor start on a 20 A outlet, as a plot.

Once as an 11 A motor, which holds, and once as a 45 A motor, which trips. From the real firmware
on real MicroPython: the curve is what its converter read (it ends at 250 A), below are the
relay's pin and contact.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware import board as boards
from firmware.storage.settings import Settings
from tools.docs.blocks import IMAGES
from tools.progress import ToolError, fail, step
from tools.simulator.device import DeviceError, SimulatedDevice

PLOT = IMAGES / "motor-start.png"
_RECORDING = "elesys_induction_motor_run_4_6"
_OUTLET = "bed1"
_BEFORE_S = 0.05


@dataclass
class Run:
    """One start: current by time (s from plugging in, A), contact movements, what was said."""

    amps: float
    times: list[float]
    current: list[float]
    contacts: list[tuple[float, bool]]
    pin: list[tuple[float, bool]]
    said: str


def record(amps: float, seconds: float) -> Run:
    """Plug the recorded motor, scaled to `amps` steady, into an outlet that is on."""
    board = boards.load("simulated")
    channel = board.channels[board.outlets[board.outlet_index(_OUTLET)].channel]
    with SimulatedDevice("simulated") as device:
        truck: Any = device.truck
        scans: list[tuple[int, int]] = []
        plain = truck.scan

        def scan(t_us: int) -> list[int]:
            codes: list[int] = plain(t_us)
            scans.append((t_us, codes[channel.index]))
            return codes

        truck.scan = scan
        device.run(1.5)
        device.command(f"on {_OUTLET}")
        device.run(0.5)
        start_us = device.now_us
        device.sim(f"play {_OUTLET} {_RECORDING} amps={amps:g}")
        device.run(seconds)
        said = [line.text for line in device.lines if f"{_OUTLET} tripped" in line.text]
        points = [(t - start_us, code) for t, code in scans if t >= start_us - _BEFORE_S * 1e6]
        moves = [(t - start_us, closed) for t, who, closed in truck.contacts if who == _OUTLET]
        gpio = board.outlets[board.outlet_index(_OUTLET)].relay
        edges = [(t - start_us, bool(level)) for t, pin, level in truck.edges if pin == gpio]
    if not points:
        raise ToolError("the firmware read nothing: the samples do not pass the truck's scan()")
    return Run(
        amps,
        [t / 1e6 for t, _ in points],
        [(code - 2048) * channel.full_scale / 2048 / 1000 for _, code in points],
        [(t / 1e6, closed) for t, closed in moves],
        [(t / 1e6, level) for t, level in edges],
        said[0].split(" ", 4)[-1] if said else "",
    )


def plot(runs: list[Run], path: Path) -> None:
    """One panel a run, current above and the relay's contact below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    peak_x = Settings(boards.load("simulated")).get(f"{_OUTLET}.peak_x")
    rating = boards.load("simulated").outlets[0].rating_ma / 1000
    limit = peak_x * rating * 2**0.5
    figure, axes = plt.subplots(
        2, len(runs), figsize=(10.0, 4.6), dpi=110, sharex="col", height_ratios=(5, 1)
    )
    for column, run in enumerate(runs):
        current, relay = axes[0][column], axes[1][column]
        current.axhline(limit, color="#c1121f", linestyle="--", linewidth=0.9)
        current.axhline(-limit, color="#c1121f", linestyle="--", linewidth=0.9)
        current.plot(run.times, run.current, color="#2a6f97", linewidth=0.8)
        current.set_ylim(-275, 275)
        current.set_title(f"{run.amps:g} A motor: " + (run.said or "holds"))
        current.grid(alpha=0.3)
        end = run.times[-1]
        for level, moves, colour in ((1.6, run.pin, "#9c6644"), (0.0, run.contacts, "#588157")):
            states = [(-1.0, False), *moves, (end, moves[-1][1])]
            heights = [level + int(c) for _, c in states]
            relay.step([t for t, _ in states], heights, where="post", color=colour)
        relay.set_ylim(-0.3, 2.9)
        relay.set_yticks([0.5, 2.1], ["contact", "relay pin"])
        relay.set_xlim(-_BEFORE_S if end > 0.2 else -0.01, end)
        relay.set_xlabel("seconds after the motor was plugged in")
        relay.grid(alpha=0.3)
    axes[0][0].set_ylabel("current, A (as converted)")
    axes[0][0].text(0.99, 0.93, f"peak limit ±{limit:.0f} A", color="#c1121f", ha="right",
                    va="bottom", transform=axes[0][0].transAxes)  # fmt: skip
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs.trip_plot", description=__doc__)
    parser.add_argument("--output", type=Path, default=PLOT)
    options = parser.parse_args(argv)
    try:
        runs = [record(11.0, 0.8), record(45.0, 0.08)]
        for run in runs:
            top = max(map(abs, run.current))
            step(f"{run.amps:g} A motor: {top:.0f} A at most; {run.said or 'holds'}")
        plot(runs, options.output)
    except (ToolError, DeviceError) as error:
        return fail(error)
    step(f"{options.output.name} is drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
