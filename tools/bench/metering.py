"""How well the firmware measures: current, power and frequency against numpy.

Recorded and synthetic loads run in the simulated truck, whose converter has the RP2040's 12 bits
and E11 flaw, and whose sensors have noise, an offset, a gain that is off and a current
transformer's phase. The firmware's own core (fast lane, kernels, zero learning, controller)
measures them on CPython, and what it shows after five seconds of steady load is held against the
finely sampled current of the load itself. It runs the plain kernels, which a differential test
(host_tests/micropython/device/twins.py) holds equal, bit for bit, to the machine code.

`python -m tools.bench.metering` prints the worst errors of each shape, and of each outlet.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.progress import ToolError, fail, step
from tools.simulator import loads, recordings
from tools.simulator.supply import TAU

if TYPE_CHECKING:
    from host_tests.fakes.rig import Rig
    from tools.simulator.truck import Circuit, Truck

AMPS = (2.0, 5.0, 10.0, 20.0)  # RMS, every outlet
AMPS_LOW = (0.1, 0.5, 1.0)  # where the target is absolute
AMPS_RATING = 40.0  # and the 240 V outlet at its rating
STEADY_S = 5.0  # of a load, before its reading is taken
LEAST_POWER_FACTOR = 0.49  # the target is for 0.5 and more, and a recording has 0.4998
GAIN_SPREAD = 0.05  # of the sensors, before they are calibrated
PHASE_DEG = 2.0  # by which a current transformer with its burden leads
PHASE_KNOWN_DEG = 0.2  # a calibration finds it to this, either way
_RUNS = ((1, 60.0), (2, 50.0))  # seed (noise, offsets, gains) and mains of a truck
_HERTZ = (47.0, 49.93, 50.0, 50.31, 59.7, 60.0, 60.07, 62.0)
_CALIBRATE_AMPS = 12.0  # a heater: within the legs' limits on all outlets at once
_AVG_BLOCKS = 24  # reduce._AVG_BLOCKS
_REST_S = 20.0  # outlets off: the sensors' noise is learnt
_POINTS = 1000  # of the true waveform in each cycle
_CREST = 3.5
_AGO = 6000  # cycles since which a load has been on: its inrush is over

Shape = Callable[[int, float], loads.Load]  # legs, A RMS


def _sine(power_factor: float) -> Shape:
    return lambda legs, amps: loads.Motor(legs, amps, inrush=1.0, pf=power_factor)


def _triac(legs: int, amps: float) -> loads.Load:
    # fired at 90 degrees it passes half the power: RMS / sqrt 2
    return loads.Dimmer(legs, amps=amps * math.sqrt(2.0), angle=90.0)


SYNTHETIC: dict[str, Shape] = {
    "sine": _sine(1.0),
    "sine, 0.7 lagging": _sine(0.7),
    "sine, 0.5 lagging": _sine(0.5),
    "half-wave": lambda legs, amps: loads.HalfWave(legs, amps=amps),
    "triac at 90°": _triac,
    "SMPS, crest 3.5": lambda legs, amps: loads.Smps(legs, amps=amps, crest=_CREST),
}


def _recorded(name: str) -> Shape:
    return lambda legs, amps: loads.Recorded(legs, recordings.load(name), amps=amps)


def shapes() -> dict[str, Shape]:
    """All shapes by name: the synthetic ones and every recording of the repository."""
    return SYNTHETIC | {name: _recorded(name) for name in recordings.available()}


@dataclass(frozen=True)
class Case:
    """One shape at one outlet and current, and what the firmware made of it."""

    shape: str
    outlet: str
    amps: float  # true RMS, A
    power_factor: float  # true
    current_error: float  # % of the true RMS
    power_error: float | None  # % of the true power; None below LEAST_POWER_FACTOR

    @property
    def low(self) -> bool:
        """Below the range of the relative targets."""
        return self.amps < 0.95 * AMPS[0]

    @property
    def error_ma(self) -> float:
        """Error of the current, mA."""
        return self.current_error * self.amps * 10.0


@dataclass
class Cover:
    """Cycles of the supply that went by, and those that the firmware's windows held."""

    passed: float = 0.0
    held: int = 0

    @property
    def percent(self) -> float:
        return 100.0 * self.held / round(self.passed)


class Station:
    """A truck with flawed sensors, the firmware calibrated in it, every outlet on."""

    def __init__(
        self,
        seed: int,
        mains_hz: float,
        reference: float = 1.0,
        phase_known: bool = True,
        flaw: int = 1,
    ) -> None:
        """`reference`: what the ammeter shows, by which the currents are calibrated, over the
        truth. `phase_known`: whether the sensors' phase is calibrated as well. `flaw` of the
        converter: see Sensor.configure(dnl=)."""
        # Not before it is needed: it puts a stand-in for the chip's modules into sys.modules.
        from host_tests.fakes import rig

        self.rig: Rig = rig.Rig(board="pico_w", seed=seed, mains_hz=mains_hz, boot_s=0.0)
        assert self.rig.truck is not None
        self.truck: Truck = self.rig.truck
        rng = random.Random(f"gains {seed}")
        for channel, sensor in zip(self.rig.board.channels, self.truck.sensors, strict=True):
            if sensor.kind == "aux":
                continue
            gain = rng.uniform(1.0 - GAIN_SPREAD, 1.0 + GAIN_SPREAD)
            current = sensor.kind == "current"
            sensor.configure(gain=gain, dnl=flaw, phase=PHASE_DEG if current else 0.0)
            if current and phase_known:
                off = rng.uniform(-PHASE_KNOWN_DEG, PHASE_KNOWN_DEG)
                self.rig.meter.set_phase(channel.index, PHASE_DEG + off)
        self.truck.changed()
        self.hertz_error = 0.0  # Hz, the worst reading of all blocks
        self.cover = Cover()
        self.rig.run(_REST_S)
        for circuit in self.truck.circuits:
            refused = self.rig.do("on", circuit.name)
            if refused:
                raise ToolError(f"bench of metering: {circuit.name} does not close: {refused}")
        self._calibrate(reference)

    def _calibrate(self, reference: float) -> None:
        for circuit in self.truck.circuits:
            self._plug(circuit, _sine(1.0)(circuit.span, _CALIBRATE_AMPS))
        self._steady()
        for channel in self.rig.board.channels:
            if channel.kind == "aux":
                continue
            value = self.truck.supply.rms
            if channel.kind == "current":
                value = _CALIBRATE_AMPS * reference
            meter = self.rig.meter
            gain = meter.gains[channel.index] * value * 1000 / meter.channels[channel.index].rms()
            meter.set_gain(channel.index, gain)
        self.rig.controller.configure()

    def _plug(self, circuit: Circuit, load: loads.Load) -> None:
        """This load alone, as if switched on long ago."""
        truck = self.truck
        truck.unplug(circuit)
        truck.plug(circuit, "load", load)
        t_us = truck.now_us
        phase = truck.supply.cycles(t_us) + circuit.shift
        load.energise(t_us - round(_AGO * 1e6 / truck.supply.hz), phase - _AGO)

    def _block(self) -> int:
        """Run to the end of the present ten-cycle block; the cycle of the supply that it was."""
        from firmware.sensing import reduce

        rig = self.rig
        block = rig.meter.block
        before = block[reduce.B_BLOCK]
        end_us = rig.t_us + 1_000_000
        while block[reduce.B_BLOCK] >= before:
            before = block[reduce.B_BLOCK]
            rig.scan()
            if rig.t_us > end_us:
                raise ToolError("bench of metering: the firmware closes no windows")
        # The window closed in the scan after the crossing, the control task saw it within 8 ms;
        # 0.05: noise may have closed it a little early.
        return math.floor(self.truck.supply.cycles(rig.t_us) + 0.05)

    def _steady(self) -> int:
        """Whole blocks for STEADY_S; the last cycle of the supply. Notes what they covered."""
        from firmware.sensing import reduce

        meter = self.rig.meter
        end_us = self.rig.t_us + round(STEADY_S * 1e6)
        first = last = self._block()
        while self.rig.t_us < end_us:
            last = self._block()
            self.cover.held += 10 * meter.periods
        self.cover.passed += last - first
        if not meter.locked or meter.block[reduce.B_PERIODS] != 1:
            raise ToolError("bench of metering: the windows are not locked to the supply")
        return last

    def measure(self, plan: Sequence[tuple[str, str, Shape, float]]) -> list[Case]:
        """Measure (outlet, name of the shape, shape, A RMS) of the plan, all at once."""
        from firmware.sensing import reduce

        rig = self.rig
        meter = rig.meter
        for circuit in self.truck.circuits:
            self.truck.unplug(circuit)
        for outlet, _, shape, amps in plan:
            circuit = self.truck.circuit(outlet)
            self._plug(circuit, shape(circuit.span, amps))
        last = self._steady()
        self._note_hertz()
        cases = []
        for outlet, name, _, _ in plan:
            if rig.state(outlet) != "on":
                raise ToolError(f"bench of metering: {outlet} with {name}: {rig.log()[-1]}")
            index = rig.index(outlet)
            read_a = meter.currents[index].rms() / 1000.0
            # The cycles that the reading is the mean of; all of them, when older ones fade.
            blocks = max(1, meter.currents[index].word(reduce.M_AVG_N))
            if blocks >= _AVG_BLOCKS:
                blocks = math.floor(STEADY_S * self.truck.supply.hz / 10)
            first = last - 10 * blocks
            amps, power, factor = self._truth(self.truck.circuit(outlet), first, last)
            power_error = None
            if factor >= LEAST_POWER_FACTOR:
                power_error = 100.0 * (meter.watts(index) / power - 1.0)
            cases.append(
                Case(name, outlet, amps, factor, 100.0 * (read_a / amps - 1.0), power_error)
            )
        return cases

    def _truth(self, circuit: Circuit, first: int, last: int) -> tuple[float, float, float]:
        """A RMS, W and power factor from cycle `first` to `last` of the supply."""
        supply = self.truck.supply
        (load,) = circuit.loads.values()
        if not isinstance(load, loads.Recorded):
            last = first + 1  # every cycle is the same
        # midpoints: a triac's edge lies between two of them
        cycles = first + (np.arange((last - first) * _POINTS) + 0.5) / _POINTS
        sin, cos = np.sin(TAU * cycles), np.cos(TAU * cycles)
        volts = circuit.factor * sin * (supply.a + supply.b * sin * sin)
        t_us = self.truck.now_us
        wave = zip(
            volts.tolist(),
            (circuit.sign * sin).tolist(),
            (circuit.sign * cos).tolist(),
            (cycles + circuit.shift).tolist(),
            strict=True,
        )
        amps = np.array([load.current(t_us, v, s, c, x) for v, s, c, x in wave])
        rms = float(np.sqrt(np.mean(amps**2)))
        power = float(np.mean(volts * amps))
        return rms, power, power / rms / float(np.sqrt(np.mean(volts**2)))

    def _note_hertz(self) -> None:
        error = abs(self.rig.meter.hertz() - self.truck.supply.hz)
        self.hertz_error = max(self.hertz_error, error)

    def sweep_hertz(self, hertz: Sequence[float]) -> None:
        """Frequencies without load, three readings each, after two to settle."""
        for circuit in self.truck.circuits:
            self.truck.unplug(circuit)
        for hz in hertz:
            self.rig.sim(f"supply hz={hz}")
            for n in range(5):
                self._block()
                if n >= 2:
                    self._note_hertz()


def grid(
    station: Station, chosen: dict[str, Shape], amps: Sequence[float], rating: bool = True
) -> list[Case]:
    """Every shape at every current on every outlet; with `rating`, at 40 A on the 240 V one.

    Five outlets at once, their currents staggered: those of AMPS load no leg with more than
    35 of its 40 A, beyond which the firmware would shed.
    """
    names = [c.name for c in station.truck.circuits]
    cases = []
    for name, shape in chosen.items():
        for turn in range(len(amps)):
            plan = [
                (outlet, name, shape, amps[(turn + i // 2) % len(amps)])
                for i, outlet in enumerate(names)
            ]
            cases += station.measure(plan)
        if rating:
            cases += station.measure([(names[-1], name, shape, AMPS_RATING)])
    return cases


def measure() -> dict[str, Any]:
    """The `metering` part of bench.json."""
    return _figures(*_all())


def _all(flaw: int = 1) -> tuple[list[Case], float, Cover]:
    """All cases, the worst frequency (error in Hz), the cycles covered."""
    chosen = shapes()
    step(f"metering: {len(chosen)} shapes of load on every outlet")
    jobs = [(seed, mains_hz, flaw) for seed, mains_hz in _RUNS]
    with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
        parts = pool.starmap(_run, jobs)
    cases = [case for part in parts for case in part[0]]
    cover = Cover(sum(p[2].passed for p in parts), sum(p[2].held for p in parts))
    return cases, max(part[1] for part in parts), cover


def _run(seed: int, mains_hz: float, flaw: int) -> tuple[list[Case], float, Cover]:
    station = Station(seed, mains_hz, flaw=flaw)
    chosen = shapes()
    cases = grid(station, chosen, AMPS)
    cases += grid(station, chosen, AMPS_LOW, rating=False)
    station.sweep_hertz(_HERTZ)
    return cases, station.hertz_error, station.cover


def _figures(cases: Sequence[Case], hertz_error: float, cover: Cover) -> dict[str, Any]:
    low = [abs(c.error_ma) for c in cases if c.low]
    power = [c.power_error for c in cases if c.power_error is not None and not c.low]
    spread = " or ".join(f"{hz:g} Hz" for _, hz in _RUNS)
    return {
        "irms_error_percent": _spread([c.current_error for c in cases if not c.low]),
        "irms_error_low_ma": {
            "p50": round(statistics.median(low), 1),
            "max": round(max(low), 1),
        },
        "power_error_percent": _spread(power),
        "frequency_error_hz": {"max": round(hertz_error, 4)},
        "cycles_covered_percent": round(cover.percent, 3),
        "recordings": len(recordings.available()),
        "cases": len(cases),
        "conditions": (
            "firmware's core on CPython with the plain kernels, held equal to the machine code "
            "bit for bit by a differential test; Pico W in the simulated truck (250 A full scale, "
            f"500 A on the 240 V outlet), supply {spread}; recordings and {len(SYNTHETIC)} "
            f"synthetic shapes at {_list(AMPS)} A RMS on every outlet, {AMPS_RATING:g} A on the "
            f"240 V one, and below 2 A (irms_error_low_ma) at {_list(AMPS_LOW)} A; what is shown "
            f"after {STEADY_S:g} s of steady load, long after the inrush; 12 bits with the E11 "
            "flaw, 1.5 counts of noise, offsets to 4 counts, gains off by up to "
            f"{GAIN_SPREAD * 100:g} %, calibrated with one {_CALIBRATE_AMPS:g} A heater, current "
            f"sensors lead by {PHASE_DEG:g} degrees, known to {PHASE_KNOWN_DEG:g}, conversions as "
            f"far apart as the chip's; outlets off for {_REST_S:g} s before; power of the "
            f"{len(power)} cases from 2 A with a power factor from 0.5"
        ),
    }


def _list(amps: Sequence[float]) -> str:
    return ", ".join(f"{a:g}" for a in amps)


def _spread(errors: Sequence[float]) -> dict[str, float]:
    """Median and worst of errors, whatever their sign."""
    sizes = [abs(e) for e in errors]
    return {"p50": round(statistics.median(sizes), 3), "max": round(max(sizes), 3)}


def _groups(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    yield "all", list(cases)
    for shape in dict.fromkeys(c.shape for c in cases):
        yield shape, [c for c in cases if c.shape == shape]
    for outlet in dict.fromkeys(c.outlet for c in cases):
        yield outlet, [c for c in cases if c.outlet == outlet]
    for amps in (*AMPS_LOW, *AMPS, AMPS_RATING):
        yield f"{amps:g} A", [c for c in cases if abs(c.amps / amps - 1.0) < 0.2]


def main() -> int:
    """Print the errors by shape, outlet and current, in % (below 2 A in mA)."""
    parser = argparse.ArgumentParser(description="How well the firmware measures.")
    parser.add_argument(
        "--spikes-only",
        action="store_true",
        help="a converter with the E11 spikes alone, which shifts nothing beyond them",
    )
    options = parser.parse_args()
    try:
        cases, hertz_error, cover = _all(flaw=2 if options.spikes_only else 1)
    except ToolError as error:
        return fail(error)
    table = Table(title="Errors of the firmware's readings")
    headings = ("", "n", "current, % p50", "max", "> 0.5", "power, % p50", "max", "> 1")
    for heading in (*headings, "below 2 A, mA", "> 30"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, group in _groups(cases):
        high = [c for c in group if not c.low]
        low = [abs(c.error_ma) for c in group if c.low]
        power = [c.power_error for c in high if c.power_error is not None]
        row = [name, str(len(group)), *_columns([c.current_error for c in high], 0.5)]
        row += _columns(power, 1.0)
        row += [f"{max(low):.1f}", str(sum(x > 30.0 for x in low))] if low else ["-", "-"]
        table.add_row(*row)
    console = Console(width=110)
    console.print(table)
    console.print(f"frequency: worst {hertz_error:.4f} Hz")
    console.print(f"cycles of the supply: {cover.passed:.0f} passed, {cover.held} in windows")
    return 0


def _columns(errors: Sequence[float], limit: float) -> tuple[str, str, str]:
    if not errors:
        return "-", "-", "-"
    spread = _spread(errors)
    beyond = sum(abs(e) > limit for e in errors)
    return f"{spread['p50']:.2f}", f"{spread['max']:.2f}", str(beyond)


if __name__ == "__main__":
    sys.exit(main())
