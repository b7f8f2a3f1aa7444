"""Plots of the bench, for docs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def latency_histogram(latencies_us: Sequence[float], path: Path) -> None:
    """Histogram of trip latencies in us, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 3.2), dpi=110)
    axes.hist(latencies_us, bins=range(0, 1050, 50), color="#2a6f97", edgecolor="white")
    axes.axvline(1000, color="#c1121f", linestyle="--", label="target: 1 ms")
    axes.set_xlabel("from the current crossing the limit to the relay pin's edge, us")
    axes.set_ylabel("short circuits")
    axes.set_title(f"{len(latencies_us)} short circuits at random phases, chip under load")
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
