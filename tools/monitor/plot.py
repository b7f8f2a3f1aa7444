"""A picture of a log: power above, currents of the outlets below, gaps where nobody answered."""

from __future__ import annotations

import datetime
import math
from pathlib import Path

from tools.monitor import log
from tools.progress import ToolError

_GAP_S = 5.0


def series(path: Path) -> tuple[list[datetime.datetime], dict[str, list[float]]]:
    """Times and the columns that hold power or current; nan where nothing was measured."""
    names, rows = log.read(path)
    wanted = [name for name in names if name == "power_w" or name.endswith("_a")]
    times: list[datetime.datetime] = []
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for row in rows:
        try:
            when = datetime.datetime.fromisoformat(row["time"])
            figures = {name: float(row[name] or "nan") for name in wanted}
        except ValueError:
            continue  # a torn row that has enough commas
        if times and (when - times[-1]).total_seconds() > _GAP_S:
            times.append(times[-1] + datetime.timedelta(seconds=1))
            for name in wanted:
                found[name].append(math.nan)
        times.append(when)
        for name in wanted:
            found[name].append(figures[name])
    if not times:
        raise ToolError(f"{path} has no rows to plot yet")
    return times, found


def draw(source: Path, picture: Path, title: str = "") -> None:
    """Plot the log `source` into `picture` (.png, .svg, .pdf)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates
    from matplotlib import pyplot as plt

    times, found = series(source)
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(10, 6), layout="constrained", height_ratios=(2, 3)
    )
    above.fill_between(times, found["power_w"], alpha=0.25, linewidth=0)
    above.plot(times, found["power_w"], linewidth=1.2)
    above.set_ylabel("total power, W")
    above.set_ylim(bottom=0)
    outlets = {name[: -len("_state")] for name in log.read(source)[0] if name.endswith("_state")}
    styles = [":", "--", "-."]
    for column, figures in found.items():
        name = column.removesuffix("_a")
        if name in outlets and any(amps > 0 for amps in figures):
            below.plot(times, figures, linewidth=1.2, label=name)
        elif name not in outlets and column != "power_w":
            style = styles.pop(0) if styles else "-"
            below.plot(times, figures, style, linewidth=0.9, color="0.5", label=f"leg {name}")
    below.set_ylabel("current, A")
    below.set_ylim(bottom=0)
    below.legend(loc="upper left", fontsize="small", ncols=4)
    below.set_xlabel("UTC")
    for axes in (above, below):
        axes.grid(True, alpha=0.3)
        axes.margins(x=0)
    below.xaxis.set_major_formatter(dates.ConciseDateFormatter(below.xaxis.get_major_locator()))
    figure.suptitle(title or source.name, fontsize="medium")
    try:
        figure.savefig(picture, dpi=110)
    except (OSError, ValueError) as error:
        raise ToolError(f"{picture} cannot be written: {error}") from error
    finally:
        plt.close(figure)
