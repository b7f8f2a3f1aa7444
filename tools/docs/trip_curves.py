"""`python -m tools.docs.trip_curves`: the thermal curves as a plot; the table of trip times.

Both come from running firmware/protection/thermal.py window by window, not from the formula.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from firmware import board as boards
from firmware import controller
from firmware.protection import thermal
from tools.docs.blocks import IMAGES, table
from tools.progress import step

PLOT = IMAGES / "trip-curves.png"
_MULTIPLES = (1.0, 1.1, 1.25, 1.35, 1.5, 2.0, 3.0, 5.0)
_LONGEST_S = 4 * 3600
_CYCLE = 40  # scans of a 60 Hz cycle at 416 us


def trip_times(multiple: float, window: int = _CYCLE) -> list[float]:
    """Seconds from cold until each class trips at `multiple` times limit_a; inf: it holds.

    In the units of the 20 A outlet's channel, as the controller sets it up.
    """
    board = boards.load("pico_w")
    outlet = board.outlets[0]
    per_count = board.channels[outlet.channel].full_scale / 2048
    scans_per_s = 1_000_000 // board.scan_period_us
    count = len(thermal.CLASSES)
    bank = thermal.Bank(count, scans_per_s)
    pickup = outlet.rating_ma * controller._PICKUP_PERCENT / 100 / per_count
    for i, element in enumerate(bank.elements):
        element.configure(int(pickup * pickup), thermal.TAU_S[i], thermal.COOL_S[i])
        square = int((multiple * outlet.rating_ma / per_count) ** 2)
        bank.block[element.at + thermal.T_LOAD] = square * window
    times = [float("inf")] * count
    if multiple * 100 < controller._PICKUP_PERCENT:
        return times
    steps = 0
    while float("inf") in times and steps * window < _LONGEST_S * scans_per_s:
        hot = bank.step(window, 1)
        steps += 1
        for i in range(count):
            if hot >> i & 1 and times[i] == float("inf"):
                times[i] = steps * window * board.scan_period_us / 1e6
    return times


def _shown(seconds: float) -> str:
    if seconds == float("inf"):
        return "holds"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


@functools.cache
def time_table() -> str:
    """Trip times from cold by class and multiple of the outlet's limit."""
    times = {m: trip_times(m) for m in _MULTIPLES}
    rows = []
    for i, name in enumerate(thermal.CLASSES):
        constants = f"{thermal.TAU_S[i]} / {thermal.COOL_S[i]} s"
        rows.append((f"`{name}`", constants, *(_shown(times[m][i]) for m in _MULTIPLES)))
    headings = ("class", "heating / cooling", *(f"{m:g} ×" for m in _MULTIPLES))
    return table(headings, rows)


def plot(path: Path = PLOT) -> None:
    """All classes with the two fast stages, double logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    short_x, short_s = controller._SHORT_TIME_X, controller._SHORT_TIME_MS / 1000
    board = boards.load("pico_w")
    peak_x = 8.0
    peak_s = 2 * board.scan_period_us / 1e6
    start = controller._PICKUP_PERCENT / 100
    # evenly spaced by what lies above the pick-up, where the curve is steepest
    above = [0.005 * ((short_x / start - 1) / 0.005) ** (i / 60) for i in range(61)]
    multiples = [start * (1 + x) for x in above]
    times = [trip_times(m) for m in multiples]
    figure, axes = plt.subplots(figsize=(8.0, 5.0), dpi=110)
    colours = ("#c1121f", "#2a6f97", "#588157", "#9c6644")
    for i, name in enumerate(thermal.CLASSES):
        axes.loglog(multiples, [t[i] for t in times], color=colours[i], label=name)
    axes.plot([short_x, short_x, peak_x], [times[-1][0], short_s, short_s], color="#444444")
    axes.plot([peak_x, peak_x, 20], [short_s, peak_s, peak_s], color="#444444")
    axes.axvspan(0.8, start, color="#588157", alpha=0.12)
    axes.text(0.815, 0.05, "holds for ever", rotation=90, color="#3a5a40", va="center")
    axes.text(short_x * 0.97, 0.55 * short_s, "short-time: 6 × for 0.5 s", ha="right", va="top")
    axes.text(peak_x * 0.97, 1.6 * peak_s, "peak: 8 × √2, two scans", ha="right")
    axes.set_xlim(0.8, 20)
    axes.set_ylim(5e-4, 3600)
    ticks = (1, 1.5, 2, 3, 4, 6, 8, 10, 20)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} s"))
    axes.grid(alpha=0.3)
    axes.set_xlabel("steady sine, in multiples of limit_a (set to the outlet's rating)")
    axes.set_ylabel("time to trip from cold")
    axes.set_title("When an outlet trips, by trip class")
    axes.legend(title="trip_class", loc="upper right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def main() -> int:
    """Draw the plot and print the table."""
    plot()
    step(f"{PLOT.relative_to(IMAGES.parents[1])} is drawn")
    print(time_table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
