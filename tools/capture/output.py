"""A record as a plot (PNG or SVG) and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tools.capture.record import Record

_CURRENT, _VOLTAGE, _LIMIT, _TRIP = "#2a6f97", "#588157", "#c1121f", "#9c6644"


def plot(record: Record, path: Path) -> None:
    """Current with its peak limit above, the outlet's voltage below, by ms from the trip."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tailgate"  # names within an SVG are random otherwise
    from matplotlib import pyplot as plt

    channel = record.channel(record.current)
    figure, (amps, volts) = plt.subplots(
        2, 1, figsize=(9.0, 5.0), dpi=110, sharex=True, height_ratios=(3, 2)
    )
    times = record.times_ms(record.current)
    if channel.limit:
        for side in (channel.limit, -channel.limit):
            amps.axhline(side, color=_LIMIT, linestyle="--", linewidth=0.9)
        amps.annotate(f"peak limit ±{channel.limit:.0f} A", (0.005, channel.limit), (0, -3),
                      amps.get_yaxis_transform(), "offset points", color=_LIMIT,
                      va="top")  # fmt: skip
    # each conversion a dot: between two of them nothing is known
    amps.plot(times, channel.values, color=_CURRENT, linewidth=0.7, marker=".", markersize=2.0)
    volts.plot(
        record.times_ms(record.voltage[0][0]), record.volts(), color=_VOLTAGE, linewidth=0.8
    )
    if record.trip_scan is not None:
        for axis in (amps, volts):
            axis.axvline(0.0, color=_TRIP, linewidth=1.0)
        amps.annotate("trip", (0.0, 0.2), (-4, 0), amps.get_xaxis_transform(), "offset points",
                      color=_TRIP, ha="right")  # fmt: skip
    amps.set_title(f"{record.device}: {record.title}", fontsize=10)
    amps.set_ylabel(f"{record.current}, A")
    volts.set_ylabel("voltage, V")
    volts.set_xlabel("ms from the trip" if record.trip_scan is not None else "ms")
    for axis in (amps, volts):
        axis.grid(alpha=0.3)
        axis.margins(x=0.005)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    # without the time of writing: the same record gives the same file
    stamp = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=stamp)
    plt.close(figure)


def write_csv(record: Record, path: Path) -> None:
    """One row a scan: ms from the trip (of the scan's beginning), then each channel."""
    heads = [f"{c.name}_{c.unit}" for c in record.channels]
    values = [c.values for c in record.channels]
    if len(record.voltage) > 1 or record.voltage[0][1] != 1:
        heads.append(f"voltage_{record.outlet}_V")
        values.append(record.volts())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["t_ms", *heads, "tripped"])
        table = np.stack(values)
        for n in range(record.scans):
            t_ms = (n - record.mark) * record.period_us / 1000
            tripped = int(record.trip_scan is not None and n >= record.trip_scan)
            rows.writerow([f"{t_ms:.3f}", *(f"{x:.4f}" for x in table[:, n]), tripped])
