"""`python -m tools.docs.trip_curves`: every trip class as a time-current plot, and as tables.

The table of trip times (also a block of the documents) comes from running
firmware/protection/thermal.py window by window. The plot has the formula as a line and, as
points, what was measured: a load in the simulated truck, through the outlet's sensor, converter,
kernel, meter and controller, to the relay's coil (host_tests/fakes/playback.py), on a board whose
legs and total carry ten times as much. With them stand UL 489's times and IEC 60898-1's bands.
Fails when a point is off its curve by more than 10 % (two cycles), or outside UL 489's times.
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from firmware import board as boards
from firmware import controller
from firmware.protection import thermal
from firmware.storage import settings
from tools.docs.blocks import IMAGES, table
from tools.progress import ToolError, step

PLOT = IMAGES / "trip-curves.png"
_MULTIPLES = (1.0, 1.1, 1.25, 1.35, 1.5, 2.0, 3.0, 5.0)
_LONGEST_S = 4 * 3600
PICKUP = controller._PICKUP_PERCENT / 100
RATINGS = {"bed1": 20.0, "bed240": 40.0}
HOT_X = 0.8
_COLD = (1.1, 1.2, 1.35, 1.6, 2.0, 3.0, 4.0, 5.8)
_WARM = (1.1, 1.35, 2.0, 4.0)
_BEYOND = (6.3, 7.0, 7.8, 8.5, 10.0, 12.0)
# (multiple, seconds): from there on not later than that. 200 %: up to 30 A; larger ones have more
_UL_489 = ((1.35, 3600.0), (2.0, 120.0))
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
    headings = ("class", "closed / open", *(f"{m:g} ×" for m in _MULTIPLES))
    return table(headings, rows)


@dataclass(frozen=True)
class Point:
    """A measured trip: through sensors, converter, kernel, meter and controller."""

    kind: str
    outlet: str
    hot: bool
    multiple: float
    seconds: float
    expected: float
    stage: str

    @property
    def error(self) -> float:
        """Against the curve, as a share of it."""
        return self.seconds / self.expected - 1


def curve_s(kind: str, multiple: float, hot: bool = False) -> float:
    """The formula: t = tau ln((r^2 - h) / (r^2 - 1)); hot: after 80 % of limit_a for long."""
    r2 = (multiple / PICKUP) ** 2
    heat = (HOT_X / PICKUP) ** 2 if hot else 0.0
    return thermal.TAU_S[thermal.CLASSES.index(kind)] * math.log((r2 - heat) / (r2 - 1))


def measure(kind: str) -> list[Point]:
    """Trips of both classes of outlet, cold and hot, and at the stages beyond the curve."""
    from host_tests.fakes.playback import trip_time

    points: list[Point] = []
    settings = {f"{name}.trip_class": kind for name in RATINGS}
    long_s = 8 * thermal.TAU_S[thermal.CLASSES.index(kind)]
    for outlet, rating in RATINGS.items():
        for hot, multiples in ((False, _COLD), (True, _WARM), (False, _BEYOND)):
            before = [(HOT_X * rating, long_s)] if hot else []
            for multiple in multiples:
                expected = curve_s(kind, multiple, hot)
                within = 1.3 * expected + 1
                seed = len(points)  # other sensors, and another moment in the mains cycle
                found = trip_time(outlet, multiple * rating, within, settings, before, seed)
                if found is None:
                    raise ToolError(f"{kind}: {outlet} holds {multiple:g} x for {within:.0f} s")
                stage = found[1].split()[-1]
                points.append(Point(kind, outlet, hot, multiple, found[0], expected, stage))
    return points


def measured_table(points: list[Point]) -> str:
    """Measured against the formula."""
    rows = []
    for p in points:
        start = "80 % before" if p.hot else "cold"
        expected = f"{p.expected:.4g} s" if p.stage == "thermal" else ""
        error = f"{100 * p.error:+.1f} %" if p.stage == "thermal" else ""
        measured = f"{p.seconds:.4g} s"
        rows.append(
            (p.kind, p.outlet, start, f"{p.multiple:g} ×", measured, expected, error, p.stage)
        )
    headings = ("class", "outlet", "start", "load", "measured", "curve", "error", "stage")
    return table(headings, rows)


def faults(points: list[Point]) -> list[str]:
    """What is off the curve by more than 10 % and two cycles, or outside UL 489's times."""
    bad = []
    for p in points:
        limit = min((t for x, t in _UL_489 if p.multiple >= x), default=math.inf)
        if p.seconds > limit:
            bad.append(f"{p.kind} on {p.outlet}: {p.multiple:g} x takes {p.seconds:.0f} s")
        off = abs(p.seconds - p.expected)
        if p.stage == "thermal" and off > max(0.1 * p.expected, 2 / 60):
            bad.append(f"{p.kind} on {p.outlet}: {p.multiple:g} x is {100 * p.error:+.0f} % off")
    return bad


def plot(points: list[Point], path: Path = PLOT) -> None:
    """A panel for each class: formula, measured points, standards; double logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    board = boards.load("pico_w")
    owner = settings.Settings(board)
    short_x, short_s = owner.outlet(0, "short_x"), owner.outlet(0, "short_s")
    peak_x = owner.outlet(0, "peak_x")
    peak_s = 2 * board.scan_period_us / 1e6
    # evenly spaced by what lies above the pick-up, where the curve is steepest
    multiples = [
        PICKUP * (1 + 0.002 * ((short_x / PICKUP - 1) / 0.002) ** (i / 90)) for i in range(91)
    ]
    figure, panels = plt.subplots(2, 2, figsize=(11.0, 10.0), dpi=90, sharex=True, sharey=True)
    for axes, kind in zip(panels.flat, thermal.CLASSES, strict=True):
        axes.axvspan(0.8, PICKUP, color="#588157", alpha=0.10)
        # IEC 60898-1, up to 32 A: thermal part between holding and tripping, C for the magnet
        axes.fill(
            [1.13, 1.45, 2.55, 2.55, 1.13], [3600, 3600, 60, 1, 3600], color="#2a6f97", alpha=0.10
        )
        axes.fill([5, 10, 10, 5], [0.1, 0.1, 5e-4, 5e-4], color="#2a6f97", alpha=0.10)
        axes.plot([1.35, 1.35], [3600, 7200], color="#c1121f", lw=1)
        axes.plot([2.0, 2.0], [120, 7200], color="#c1121f", lw=1)
        axes.plot([1.35, 2.0], [3600, 120], "v", color="#c1121f", label="UL 489: not later")
        axes.plot([1.0], [3600], ">", color="#588157", label="UL 489: holds 100 %")
        for hot, style in ((False, "-"), (True, "--")):
            times = [curve_s(kind, m, hot) for m in multiples]
            label = "curve, after 80 %" if hot else "curve, from cold"
            axes.loglog(multiples, times, style, color="#333333", lw=1.2, label=label)
        last = curve_s(kind, short_x)
        top = max(last, short_s)
        axes.plot([short_x, short_x, peak_x], [top, short_s, short_s], color="#333333", lw=1.2)
        axes.plot([peak_x, peak_x, 20], [short_s, peak_s, peak_s], color="#333333", lw=1.2)
        marks = (
            ("bed1", False, "o", "20 A outlet"),
            ("bed240", False, "s", "40 A outlet"),
            ("bed1", True, "^", "20 A, after 80 %"),
            ("bed240", True, "D", "40 A, after 80 %"),
        )
        for outlet, hot, mark, label in marks:
            mine = [p for p in points if (p.kind, p.outlet, p.hot) == (kind, outlet, hot)]
            x, y = [p.multiple for p in mine], [p.seconds for p in mine]
            axes.plot(
                x, y, mark, mfc="none", color="#e07a00", ms=6 if mark == "o" else 4, label=label
            )
        tau = thermal.TAU_S[thermal.CLASSES.index(kind)]
        axes.set_title(f"{kind} (τ = {tau} s)")
        axes.grid(alpha=0.3)
        axes.set_xlim(0.8, 20)
        axes.set_ylim(5e-4, 7200)
        ticks = (1, 1.5, 2, 3, 4, 6, 8, 10, 20)
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} s"))
    first = panels[0][0]
    first.text(0.82, 0.03, "holds for ever", rotation=90, color="#3a5a40", va="center", fontsize=8)
    first.text(1.62, 700, "IEC 60898\nthermal", color="#2a6f97", fontsize=8)
    first.text(5.2, 0.02, "IEC 60898\ntype C", color="#2a6f97", fontsize=8)
    first.legend(loc="lower left", bbox_to_anchor=(0.08, 0.02), fontsize=8)
    for axes in panels[1]:
        axes.set_xlabel("steady sine, × limit_a (set to the rating)")
    for axes in panels[:, 0]:
        axes.set_ylabel("time to trip")
    figure.suptitle("When an outlet trips: formula, measured points, standards")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def main() -> int:
    """Measure, draw the plot, print both tables; fails when a class is off its curve."""
    points: list[Point] = []
    for kind in thermal.CLASSES:
        step(f"measuring class {kind} in the simulated truck")
        points += measure(kind)
    plot(points)
    step(f"{PLOT.relative_to(IMAGES.parents[1])} is drawn")
    print(time_table())
    print(measured_table(points))
    worst = max((p for p in points if p.stage == "thermal"), key=lambda p: abs(p.error))
    print(f"largest error: {100 * worst.error:+.1f} % ({worst.kind}, {worst.multiple:g} x)")
    bad = faults(points)
    for line in bad:
        step(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
