"""Figures of the emulated RP2040: the frozen firmware, the simulated truck, the chip's own clock.

`fast_trip_us` runs from the instant at which the simulated current crosses the peak limit to the
relay pin's edge, for faults at random phases of the mains and of the sampler, while the console is
flooded, reports are made, the collector runs, settings are saved and the control loop is now and
then blocked for a second.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware import board as boards
from tools.bench import image
from tools.emulator import EmulatedPico, NotSeen
from tools.progress import step
from tools.simulator.truck import Truck

CLOCK_HZ = 125_000_000
FAULTS = 200
_SQRT2 = math.sqrt(2.0)
_SHORT_OHMS = 0.1  # the truck's loop resistance of a short circuit
_PEAK_SCANS = 2
_PEAK_X = 8.0  # default of <outlet>.peak_x


class Chip:
    """The instrumented image (or `uf2`) with a truck on its pins; `board`: which table it is
    wired to, as `board.txt` says on the chip."""

    def __init__(
        self, seed: int = 0, uf2: Path | None = None, board: str = "pico", **options: Any
    ) -> None:
        self.board = boards.load(board)
        if board != "pico":
            options["files"] = {"board.txt": board.encode(), **options.get("files", {})}
        self.truck = Truck(self.board, seed=seed)
        self.pico = EmulatedPico(
            uf2 or image.ensure(),
            self.truck,
            inputs=(*self.board.inputs.values(), *(self.board.power or {}).get("seen", ())),
            quiet=self.board.mux_address,
            **options,
        )
        self.relays = {outlet.name: outlet.relay for outlet in self.board.outlets}

    def boot(self, seconds: float = 1.2) -> None:
        """Run until the firmware protects."""
        self.pico.run(seconds)

    def ask(self, line: str, timeout: float = 8.0) -> dict[str, Any]:
        """One command with --json; its answer."""
        console = self.pico.console
        console.seen = len(console.data)
        self.pico.send(line + " --json\r")
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            for row in bytes(console.data[console.seen :]).split(b"\n")[:-1]:
                text = row.rstrip(b"\r")
                if text.startswith(b"{") and text.endswith(b"}"):
                    found.append(json.loads(text))
                    return True
            return False

        self.pico.run_until(answered, timeout)
        console.seen = len(console.data)
        return found[-1]

    def crossing_us(self, name: str, at_us: int) -> tuple[float, float]:
        """When the current of a short circuit made at `at_us` crosses the peak limit.

        First the crossing after which it stays above the limit for two scans (the stage's own
        delay: a shorter excursion is no fault to it), then the first touch, which lies up to
        1.5 ms earlier when the short circuit begins shortly before a zero of the mains.
        """
        outlet = self.board.outlets[self.board.outlet_index(name)]
        supply = self.truck.supply
        volts_needed = _PEAK_X * outlet.rating_ma / 1000 * _SQRT2 * _SHORT_OHMS
        factor = 2.0 if outlet.volts == 2 else 1.0
        lasting = _PEAK_SCANS * self.board.scan_period_us

        def above(t: float) -> bool:
            s = math.sin(2.0 * math.pi * supply.cycles(t))  # type: ignore[arg-type]
            return abs(s * (supply.a + supply.b * s * s)) * factor >= volts_needed

        t = float(at_us)
        first = None
        start = None
        while True:
            if above(t):
                first = t if first is None else first
                start = t if start is None else start
                if t - start >= lasting:
                    return start, first
            else:
                start = None
            t += 1.0


def _close_all(chip: Chip) -> None:
    """Switch every outlet on. More is typed at the console than it takes under this load, so a
    line may be lost: then it is typed again."""
    pico = chip.pico
    for name in chip.relays:
        pico.send(f"on {name}\rstatus\r")
    for attempt in range(4):
        left = [name for name, gpio in chip.relays.items() if pico.level(gpio) != 1]
        if attempt:
            for name in left:
                pico.send(f"\rreset {name} --force\r")
                pico.run(1.0)
                pico.send(f"on {name}\r")
        try:
            pico.run_until(lambda: all(pico.level(x) == 1 for x in chip.relays.values()), 12.0)
            return
        except NotSeen:
            if attempt == 3:
                raise


def trip_latencies(
    chip: Chip, faults: int, seed: int, say: Callable[[str], None]
) -> list[tuple[float, float]]:
    """Latencies in us of `faults` short circuits under full load (see the module's text), each
    from the lasting crossing of the limit and from its first touch."""
    pico, truck = chip.pico, chip.truck
    rng = random.Random(seed)
    latencies: list[tuple[float, float]] = []
    chip.ask("load on")
    names = list(chip.relays)
    while len(latencies) < faults:
        _close_all(chip)
        pico.run(0.1)
        for name in rng.sample(names, len(names)):
            # more is asked of the console than it can print in the time
            pico.send("outlets\r")
            pico.run(rng.uniform(0.02, 0.07))
            gpio = chip.relays[name]
            if pico.level(gpio) != 1:
                continue  # a leg was shed by the neighbour's short circuit
            mark = len(pico.edges)
            at_us = int(pico.now_us)
            truck.command(f"short {name}")
            crossing, touch = chip.crossing_us(name, at_us)
            pico.run(0.012)
            opened = [e.t_us for e in pico.edges[mark:] if e.gpio == gpio and e.level == 0]
            at = opened[0] if opened else math.inf
            latencies.append((at - crossing, at - touch))
            truck.command(f"unplug {name}")
        for name in names:
            pico.send(f"reset {name} --force\r")
        pico.run(0.3)
        say(f"{len(latencies)} of {faults} faults, worst so far {max(latencies)[0]:.0f} us")
    chip.ask("load off", 12.0)
    return latencies[:faults]


def idle_percent(chip: Chip, seconds: float) -> float:
    """Share of time in which the core sleeps."""
    core = chip.pico._mcu.core
    t0, c0 = chip.pico.now_us, core.cycles
    chip.pico.run(seconds)
    cycles, passed = core.cycles - c0, (chip.pico.now_us - t0) * 1e-6
    return 100.0 * (1.0 - cycles / (passed * CLOCK_HZ))


def _latency_worker(job: tuple[int, int]) -> list[tuple[float, float]]:
    seed, faults = job
    chip = Chip(seed)
    chip.boot()
    return trip_latencies(chip, faults, seed, lambda text: step(f"process {seed}: {text}"))


def measure(faults: int = FAULTS) -> tuple[dict[str, Any], list[float]]:
    """The `chip` part of bench.json, and all trip latencies."""
    image.ensure()
    step(f"{faults} short circuits on the emulated chip under load (some minutes)")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        halves = pool.map_async(_latency_worker, [(1, faults - faults // 2), (2, faults // 2)])
        lists = halves.get()
    latencies = sorted(pair[0] for pair in lists[0] + lists[1])
    touches = [pair[1] for pair in lists[0] + lists[1]]
    step("boot, scan, control step, heap, idle time")
    chip = Chip(3)
    chip.boot()
    edges = chip.pico.edges
    contactor = [e.t_us for e in edges if e.gpio == chip.board.contactor and e.level == 1]
    relays_open = [e.t_us for e in edges if e.gpio in chip.relays.values() and e.level == 0]
    loads_on = "".join(f"on {name}\r" for name in chip.relays)
    for name in chip.relays:
        chip.truck.command(f"plug {name} resistive amps=6")
    chip.pico.send(loads_on)
    chip.pico.run(0.5)
    chip.ask("stats")
    idle = idle_percent(chip, 3.0)
    steps = chip.ask("stats")
    memory = chip.ask("mem")
    step("60 s of load without a lost window")
    busy = busy_minute(chip)
    allocated = chip.ask("alloc 200", 30.0)
    scans = chip.ask("scan 1000", 30.0)
    return {
        "fast_trip_us": {
            "p50": round(statistics.median(latencies), 1),
            "max": round(latencies[-1], 1),
            "n": len(latencies),
            "max_from_first_touch": round(max(touches), 1),
        },
        "scan_us": {
            # the clock's own cost is inside each single measurement
            "mean": round(scans["mean_us"] - scans["clock_us"], 1),
            "max": round(scans["max_us"] - scans["clock_us"], 1),
        },
        "scan_rate_hz": round(1e6 / chip.board.scan_period_us, 1),
        "control_step_us": {
            "mean": round(steps["step_us_mean"]),
            "max": steps["step_us_max"],
        },
        "control_step_alloc_bytes": allocated["worst_bytes"],
        "windows_lost": busy["lost"],
        "windows_merged_under_load": busy["merged"],
        "cpu_idle_percent": round(idle, 1),
        "cpu_idle_percent_busy": busy["idle_percent"],
        "heap_free_bytes": memory["free"],
        "heap_largest_free_bytes": memory["largest"],
        "boot_to_relays_open_ms": round(max(relays_open[: len(chip.relays)]) / 1000, 2),
        "boot_to_protecting_ms": round(contactor[0] / 1000, 1),
        "conditions": (
            "emulated RP2040 at 125 MHz, no flash wait states; frozen image; trips and "
            "windows_lost: console flooded, reports, garbage collection, settings saved, control "
            "loop blocked for 1 s every 5 s; step and idle: five outlets on, console quiet"
        ),
    }, latencies


def busy_minute(chip: Chip, seconds: float = 60.0) -> dict[str, Any]:
    """Windows lost and merged in `seconds` of everything at once; idle share with the console
    asked once a second and reports made, without the blocks."""
    before = chip.ask("stats")
    chip.ask("load on")
    asked = 0.0
    while asked < seconds:
        chip.pico.send("outlets\r")
        chip.pico.run(1.0)
        asked += 1.0
    chip.ask("load off", 12.0)
    after = chip.ask("stats", 12.0)
    core = chip.pico._mcu.core
    t0, c0 = chip.pico.now_us, core.cycles
    for _ in range(5):
        chip.pico.send("status --json\r")
        chip.pico.run(1.0)
    passed = (chip.pico.now_us - t0) * 1e-6
    return {
        "lost": after["lost"] - before["lost"],
        "merged": after["merged"] - before["merged"],
        "idle_percent": round(100.0 * (1.0 - (core.cycles - c0) / (passed * CLOCK_HZ)), 1),
    }
