"""`make bench`: measure, print a table, write build/bench.json and the plots of docs/."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.bench import chip, heap, lanes, metering, mqtt, plots, protection
from tools.progress import ToolError

ROOT = Path(__file__).resolve().parents[2]
JSON = ROOT / "build" / "bench.json"
DOCS = ROOT / "docs" / "benchmarks.md"
_BEGIN = "<!-- table: make bench ARGS=--docs -->"
_END = "<!-- end of table -->"

# key -> (what it is, target, whether less is better)
_TARGETS: dict[str, tuple[str, float, bool]] = {
    "fast_trip_us.max": ("fast trip, worst", 1000, True),
    "scan_us.mean": ("scan of 8 channels, mean", 45, True),
    "control_step_us.mean": ("control step, mean", 2000, True),
    "control_step_alloc_bytes": ("control step, bytes allocated", 0, True),
    "windows_lost": ("windows lost in 60 s of load", 0, True),
    "cpu_idle_percent": ("CPU idle, %", 60, False),
    "cpu_idle_percent_busy": ("CPU idle with console and telemetry, %", 50, False),
    "heap_free_bytes": ("heap free, bytes", 120_000, False),
    "boot_to_relays_open_ms": ("reset to relays open, ms", 15, True),
    "boot_to_protecting_ms": ("reset to protecting, ms", 1000, True),
    "needed_reporting_bytes": ("as .mpy with MQTT: smallest heap, reporting", 0, False),
    "needed_answering_bytes": ("the same, and a command answered", 0, False),
    "spare_of_pico_w_bytes": ("the same: left of a Pico W's 190 KB", 50_000, False),
    "metering.irms_error_percent.max": ("RMS current, worst error, %", 0.5, True),
    "metering.power_error_percent.max": ("power (factor >= 0.49), worst error, %", 1, True),
    "metering.frequency_error_hz.max": ("frequency, worst error, Hz", 0.02, True),
    "protection.nuisance_trips": ("nuisance trips on played-back recordings", 0, True),
    "protection.missed_trips": ("missed trips", 0, True),
    "command_to_relay_ms.p50": ("MQTT command to relay, median, ms", 50, True),
    "command_to_relay_ms.max": ("MQTT command to relay, worst, ms", 150, True),
    "mqtt_heap_bytes": ("heap that connected MQTT takes, without TLS", 25_000, True),
    "mqtt_library_bytes": ("lib/mqtt.py as .mpy", 12_288, True),
    "mqtt_turn_ms": ("MQTT busy: longest turn of its tasks, ms", 16.7, True),
    "mqtt_delay_ms": ("asked for long answers by MQTT: control lane's delay, ms", 16.7, True),
    "console_delay_ms": ("the same by the console", 0, False),
    "mqtt_trip_us.max": ("MQTT busy, with handshakes: fast trip, worst, us", 1000, True),
    "mqtt_control_gap_ms": ("the same: control lane's longest pause, ms", 1500, True),
}


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures by dotted name."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            result |= flat(value, prefix + key + ".")
        else:
            result[prefix + key] = value
    return result


def rows(figures: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(figure, measured, target, verdict) for every figure."""
    result = []
    every: dict[str, Any] = {}
    for part in ("chip", "mpy_heap", "metering", "protection", "mqtt", "lanes"):
        prefix = part + "." if part in ("metering", "protection") else ""
        every |= flat(figures[part], prefix)
    for key, value in every.items():
        if key.endswith("conditions"):
            continue
        text, target, less = _TARGETS.get(key, (key, 0, False))
        if not target and not less:
            result.append((text, str(value), "", ""))
            continue
        met = value <= target if less else value >= target
        sign = "<=" if less else ">="
        result.append((text, str(value), f"{sign} {target:g}", "met" if met else "MISSED"))
    return result


def write_docs(figures: dict[str, Any]) -> None:
    """Put the table into docs/benchmarks.md, between its two marks."""
    lines = ["| figure | measured | target | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(figures)]
    lines += ["", "Conditions: " + figures["chip"]["conditions"] + "."]
    for part in ("metering", "protection"):
        lines += ["", part.capitalize() + ": " + figures[part]["conditions"] + "."]
    before, _, rest = DOCS.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    DOCS.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after)


def show(figures: dict[str, Any]) -> bool:
    """Print the table; whether every target is met."""
    table = Table(title="Tailgate on the emulated RP2040, MQTT on the unix port")
    for heading in ("figure", "measured", "target", ""):
        table.add_column(heading)
    good = True
    for row in rows(figures):
        table.add_row(*row)
        good = good and row[3] != "MISSED"
    console = Console(width=100)
    console.print(table)
    console.print("conditions: " + figures["chip"]["conditions"])
    for part in ("metering", "protection"):
        console.print(part + ": " + figures[part]["conditions"])
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="measure the figures of docs/benchmarks.md")
    parser.add_argument("--faults", type=int, default=chip.FAULTS, help="short circuits to time")
    parser.add_argument(
        "--docs", action="store_true", help="write table and plot into docs/benchmarks.md, too"
    )
    options = parser.parse_args()
    try:
        link = mqtt.measure()
        memory = heap.measure()
        part, latencies = chip.measure(options.faults)
        crowded = lanes.measure()
        # last: these leave stand-ins for the chip's modules behind
        readings = metering.measure()
        trips = protection.measure()
    except ToolError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    figures = {
        "chip": part,
        "mpy_heap": memory,
        "metering": readings,
        "protection": trips,
        "mqtt": link,
        "lanes": crowded,
    }
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(figures, indent=1) + "\n")
    plots.latency_histogram(latencies, JSON.parent / "trip-latency.png")
    good = show(figures)
    if options.docs:
        plots.latency_histogram(latencies, ROOT / "docs" / "img" / "trip-latency.png")
        write_docs(figures)
    print(f"written: {JSON.relative_to(ROOT)}")
    if not good:
        print("some figures miss their targets (marked above)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
