"""What is plugged into the outlets: load models and the catalogue of appliances. Used by truck.py.

The truck calls `energise` when voltage reaches the load, `deenergise` when it is gone, and in
between `current` for every sample, several thousand times a second: keep it lean, no numpy.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.simulator import recordings
from tools.simulator.supply import NEVER_US, NOMINAL_V, TAU
from tools.simulator.wiring import SimError, choose

SQRT2 = math.sqrt(2.0)
SHORT_OHMS = 0.1  # plug, cord and inverter: 1200 A RMS into a bolted short at 120 V
_SPENT = 12.0  # time constants after which an inrush is over: e^-12 is far below one count


class Load(ABC):
    """One load. `legs` is how many 120 V legs it hangs on: 1, or 2 for a 240 V outlet.

    `current` returns amps at an instant, positive into the load while the outlet's own voltage
    is. Its arguments: time (us), the outlet's voltage (V), sine and cosine of that voltage's
    phase, and the phase in cycles. `per_unit` is the supply's RMS over nominal, kept up to date
    by the truck: loads that are not simply a conductance scale by it.
    """

    summary = ""

    def __init__(self, legs: int) -> None:
        self.volts = NOMINAL_V * legs
        self.per_unit = 1.0
        self.source_ohms = 0.0
        self.on_us = 0

    def energise(self, t_us: int, cycles: float) -> None:
        """Voltage arrives."""
        self.on_us = t_us

    def deenergise(self, t_us: int) -> None:  # noqa: B027  (most loads forget nothing)
        """Voltage is gone."""

    @abstractmethod
    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        """Amps at an instant."""


def _rating(
    load: str, volts: float, watts: float | None, amps: float | None, default_watts: float
) -> float:
    """Steady RMS amps out of a `watts` or an `amps` parameter."""
    if watts is not None and amps is not None:
        raise SimError(f"{load}: give watts or amps, not both")
    return amps if amps is not None else (default_watts if watts is None else watts) / volts


def _lagging(amps: float, pf: float) -> tuple[float, float]:
    """Peaks of the parts in phase with the voltage and a quarter behind it, of RMS amps."""
    return SQRT2 * amps * pf, SQRT2 * amps * math.sqrt(1.0 - pf * pf)


class Resistive(Load):
    """Heater: current in phase, in proportion to the voltage."""

    summary = "plain resistance; watts= or amps="

    def __init__(self, legs: int, watts: float | None = None, amps: float | None = None) -> None:
        super().__init__(legs)
        self.siemens = _rating("resistive", self.volts, watts, amps, 1000.0) / self.volts

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        return volts * self.siemens


class Lamp(Load):
    """Tungsten lamp: a cold filament conducts `inrush` times better, and warms exponentially."""

    summary = "tungsten; watts= or amps=, inrush= (2.8; up to 10 when stone cold), decay_ms= (25)"

    def __init__(
        self,
        legs: int,
        watts: float | None = None,
        amps: float | None = None,
        inrush: float = 2.8,
        decay_ms: float = 25.0,
    ) -> None:
        super().__init__(legs)
        self.siemens = _rating("lamp", self.volts, watts, amps, 500.0) / self.volts
        self.excess = inrush - 1.0
        self.rate = 1e-3 / decay_ms  # per us

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        x = (t_us - self.on_us) * self.rate
        if x > _SPENT:
            return volts * self.siemens
        return volts * self.siemens * (1.0 + self.excess * math.exp(-x))


class Motor(Load):
    """Motor: lagging sine whose RMS falls from `inrush` times `amps` exponentially to `amps`.

    `dc` = 1 adds the offset of a winding switched on at the worst moment (the current must start
    from zero), decaying within a cycle; 0 leaves it out.
    """

    summary = "lagging current with inrush; amps= inrush= (8) decay_ms= (100) pf= (0.8) dc= (0)"

    def __init__(
        self,
        legs: int,
        amps: float = 10.0,
        inrush: float = 8.0,
        decay_ms: float = 100.0,
        pf: float = 0.8,
        dc: float = 0.0,
    ) -> None:
        super().__init__(legs)
        if not 0.0 < pf <= 1.0:
            raise SimError(f"motor: pf={pf:g} is outside 0 to 1")
        self.in_phase, self.quadrature = _lagging(amps, pf)
        self.excess = inrush - 1.0
        self.rate = 1e-3 / decay_ms
        self.dc = dc
        self.dc_amps = 0.0

    def energise(self, t_us: int, cycles: float) -> None:
        self.on_us = t_us
        angle = TAU * (cycles % 1.0)
        start = self.in_phase * math.sin(angle) - self.quadrature * math.cos(angle)
        self.dc_amps = -self.dc * start * (1.0 + self.excess)

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        wave = self.per_unit * (self.in_phase * sin - self.quadrature * cos)
        x = (t_us - self.on_us) * self.rate
        if x > _SPENT:
            return wave
        wave *= 1.0 + self.excess * math.exp(-x)
        if self.dc_amps:
            wave += self.per_unit * self.dc_amps * math.exp(-(t_us - self.on_us) / 12_000.0)
        return wave


class Compressor(Motor):
    """Motor that a thermostat starts and stops, and that cannot start against pressure.

    Runs `run_s`, rests `rest_s`, and so on. Voltage back within `equalise_s` of its last running
    finds pressure in the way: the rotor stays locked (at the inrush current) until its overload
    opens after `overload_s`, which closes again `cool_s` later.
    """

    summary = (
        "motor that cycles; amps= inrush= (12) decay_ms= pf= run_s= (600) rest_s= (900) "
        "equalise_s= (180) overload_s= (6) cool_s= (60)"
    )

    def __init__(
        self,
        legs: int,
        amps: float = 6.0,
        inrush: float = 12.0,
        decay_ms: float = 120.0,
        pf: float = 0.7,
        run_s: float = 600.0,
        rest_s: float = 900.0,
        equalise_s: float = 180.0,
        overload_s: float = 6.0,
        cool_s: float = 60.0,
    ) -> None:
        super().__init__(legs, amps, inrush, decay_ms, pf)
        # none shorter than 1 ms, lest it turn without end within one sample
        self._run_us, self._rest_us = max(1000, round(run_s * 1e6)), round(rest_s * 1e6)
        self._overload_us, self._cool_us = max(1000, round(overload_s * 1e6)), round(cool_s * 1e6)
        self._equalise_us = round(equalise_s * 1e6)
        self.state = "off"  # off, running, resting, locked, tripped
        self._until_us = NEVER_US
        self._pressed_us: int | None = None  # when it last built up pressure

    def _start(self, t_us: int) -> None:
        pressed = self._pressed_us is not None and t_us - self._pressed_us < self._equalise_us
        self.state = "locked" if pressed else "running"
        self.on_us = t_us
        self._until_us = t_us + (self._overload_us if pressed else self._run_us)

    def energise(self, t_us: int, cycles: float) -> None:
        self._start(t_us)

    def deenergise(self, t_us: int) -> None:
        if self.state == "running":
            self._pressed_us = t_us
        self.state = "off"
        self._until_us = NEVER_US

    def _turn(self) -> None:
        at = self._until_us
        if self.state == "running":
            self._pressed_us = at
            self.state, self._until_us = "resting", at + self._rest_us
        elif self.state == "locked":
            self.state, self._until_us = "tripped", at + self._cool_us
        elif self.state == "resting":  # the thermostat leaves it time enough: never locked
            self._pressed_us = None
            self._start(at)
        else:
            self._start(at)

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        while t_us >= self._until_us:
            self._turn()
        if self.state == "running":
            return Motor.current(self, t_us, volts, sin, cos, cycles)
        if self.state == "locked":
            return (
                self.per_unit * (1.0 + self.excess) * (self.in_phase * sin - self.quadrature * cos)
            )
        return 0.0


class HeatPump(Compressor):
    """Compressor of an air conditioner: at the start its current lags more (`start_pf`), and a
    timer keeps it off for `delay_s` after an interruption, so that it does not find the pressure
    (0: it has none, and its rotor locks).
    """

    summary = (
        "compressor with a timer; as compressor, and locked_a= (110) start_pf= (0.5) "
        "delay_s= (180; 0: none, it locks when interrupted)"
    )

    def __init__(
        self,
        legs: int,
        amps: float = 17.0,
        locked_a: float = 110.0,
        decay_ms: float = 150.0,
        pf: float = 0.88,
        start_pf: float = 0.5,
        run_s: float = 600.0,
        rest_s: float = 600.0,
        equalise_s: float = 180.0,
        overload_s: float = 6.0,
        cool_s: float = 60.0,
        delay_s: float = 180.0,
    ) -> None:
        if locked_a < amps or not 0.0 < start_pf <= 1.0:
            raise SimError("heat_pump: locked_a is at least amps, start_pf within 0 to 1")
        super().__init__(
            legs,
            amps,
            locked_a / amps,
            decay_ms,
            pf,
            run_s,
            rest_s,
            equalise_s,
            overload_s,
            cool_s,
        )
        self._delay_us = round(delay_s * 1e6)
        self._start_in_phase, self._start_quadrature = _lagging(locked_a, start_pf)

    def energise(self, t_us: int, cycles: float) -> None:
        super().energise(t_us, cycles)
        if self.state == "locked" and self._delay_us:
            self.state, self._until_us = "resting", t_us + self._delay_us

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        while t_us >= self._until_us:
            self._turn()
        if self.state not in ("running", "locked"):
            return 0.0
        steady = self.in_phase * sin - self.quadrature * cos
        start = self._start_in_phase * sin - self._start_quadrature * cos
        x = (t_us - self.on_us) * self.rate if self.state == "running" else 0.0
        share = math.exp(-x) if x < _SPENT else 0.0
        return self.per_unit * (steady + share * (start - steady))


class Smps(Load):
    """Rectifier and capacitor: a pulse of current round each voltage peak, and a charging surge.

    A half-sine pulse over the fraction d of a half-cycle has a crest factor of sqrt(2 / d).
    """

    summary = "rectifier; watts= or amps=, crest= (3) inrush= (peak amps, 30) decay_ms= (3)"

    _SIZE = 720
    _CENTRE = 85.0  # degrees: the capacitor stops charging just after the peak

    def __init__(
        self,
        legs: int,
        watts: float | None = None,
        amps: float | None = None,
        crest: float = 3.0,
        inrush: float = 30.0,
        decay_ms: float = 3.0,
    ) -> None:
        super().__init__(legs)
        if not SQRT2 <= crest <= 10.0:
            raise SimError(f"smps: crest={crest:g} is outside 1.42 to 10")
        if watts is not None and amps is not None:
            raise SimError("smps: give watts or amps, not both")
        half_width = 90.0 * 2.0 / (crest * crest)
        size = self._SIZE
        table = []
        for k in range(size):
            degrees = 360.0 * k / size
            away = abs((degrees % 180.0) - self._CENTRE)
            pulse = math.cos(math.pi / 2.0 * away / half_width) if away < half_width else 0.0
            table.append(pulse if degrees < 180.0 else -pulse)
        rms = math.sqrt(sum(x * x for x in table) / size)
        if amps is None:
            per_amp = (
                self.volts
                * SQRT2
                / rms
                * sum(x * math.sin(TAU * k / size) for k, x in enumerate(table))
                / size
            )
            amps = (200.0 if watts is None else watts) / per_amp
        self._table = [x * amps / rms for x in table]
        self._table.append(self._table[0])
        self._surge = inrush / (self.volts * SQRT2)
        self.rate = 1e-3 / decay_ms

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        x = (cycles % 1.0) * self._SIZE
        k = int(x)
        table = self._table
        amps = self.per_unit * (table[k] + (table[k + 1] - table[k]) * (x - k))
        x = (t_us - self.on_us) * self.rate
        if x < _SPENT:
            amps += volts * self._surge * math.exp(-x)
        return amps


class EvCharger(Load):
    """Car: nothing until it has made up its mind, then a ramp to `amps`, at power factor `pf`.

    A car may take 5 s to follow the pilot (SAE J1772).
    """

    summary = "car charger; amps= (32) delay_s= (5) ramp_a_per_s= (4) pf= (0.99)"

    def __init__(
        self,
        legs: int,
        amps: float = 32.0,
        delay_s: float = 5.0,
        ramp_a_per_s: float = 4.0,
        pf: float = 0.99,
    ) -> None:
        super().__init__(legs)
        if not 0.0 < pf <= 1.0 or ramp_a_per_s <= 0.0:
            raise SimError("ev: pf must be within 0 to 1 and ramp_a_per_s more than 0")
        self.amps = amps
        self.in_phase, self.quadrature = _lagging(1.0, pf)
        self._delay_us = delay_s * 1e6
        self._slope = ramp_a_per_s * 1e-6

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        amps = (t_us - self.on_us - self._delay_us) * self._slope
        if amps <= 0.0:
            return 0.0
        if amps > self.amps:
            amps = self.amps
        return amps * self.per_unit * (self.in_phase * sin - self.quadrature * cos)


class Short(Load):
    """Short circuit through `ohms` of plug and cord, besides the supply's own resistance."""

    summary = "short circuit; ohms= (0.1)"

    def __init__(self, legs: int, ohms: float = SHORT_OHMS) -> None:
        super().__init__(legs)
        self.ohms = ohms
        self._legs = legs
        self._peak = SQRT2 * self.volts

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        # From the unloaded voltage: the drop that the truck applies is this load's own doing.
        return self._peak * self.per_unit * sin / (self.ohms + self._legs * self.source_ohms)


class HalfWave(Load):
    """Resistance behind a diode (a hair dryer on low heat): it has a DC part. amps= is the RMS."""

    summary = "resistance behind a diode; watts= or amps="

    def __init__(self, legs: int, watts: float | None = None, amps: float | None = None) -> None:
        super().__init__(legs)
        # half the heat of the resistance: RMS is 1/sqrt 2 of the full wave's, power a half
        if amps is not None:
            self.siemens = _rating("half_wave", self.volts, watts, amps, 0.0) / self.volts * SQRT2
        else:
            self.siemens = _rating("half_wave", self.volts, watts, None, 500.0) / self.volts * 2.0

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        return volts * self.siemens if volts > 0.0 else 0.0


class Dimmer(Load):
    """Resistance behind a triac that fires `angle` degrees into each half-cycle.

    watts= or amps= is what the resistance draws at full conduction (angle 0).
    """

    summary = "resistance behind a triac; watts= or amps= (undimmed), angle= (90 degrees)"

    def __init__(
        self, legs: int, watts: float | None = None, amps: float | None = None, angle: float = 90.0
    ) -> None:
        super().__init__(legs)
        if not 0.0 <= angle <= 180.0:
            raise SimError(f"dimmer: angle={angle:g} is outside 0 to 180")
        self.siemens = _rating("dimmer", self.volts, watts, amps, 500.0) / self.volts
        self._from = angle / 360.0

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        return volts * self.siemens if cycles % 0.5 >= self._from else 0.0


class Recorded(Load):
    """A recording, from its switching-on, then its steady part for ever, locked to the supply.

    It begins up to a cycle before the recorded switching-on, at the phase that the supply happens
    to have, so that the recorded point on the wave (and with it the inrush) is kept: current flows
    up to one cycle after closing. Its amps scale with the supply voltage relative to nominal; the
    voltage of the recording itself (225 V of the laboratory machines, say) has no bearing.
    """

    summary = "a recording; scale= or amps= (steady RMS)"

    def __init__(
        self,
        legs: int,
        recording: recordings.Recording,
        scale: float | None = None,
        amps: float | None = None,
    ) -> None:
        super().__init__(legs)
        if scale is not None and amps is not None:
            raise SimError(f"{recording.name}: give scale or amps, not both")
        if amps is not None:
            scale = amps / recording.steady_rms
        self.scale = 1.0 if scale is None else scale
        self.recording = recording
        self._table = recording.current
        self._per_cycle = recording.per_cycle
        self._loop = recording.loop_start
        self._length = recording.loop_length
        self._end = recording.loop_start + recording.loop_length
        self._base = 0.0

    def energise(self, t_us: int, cycles: float) -> None:
        self.on_us = t_us
        onset = self.recording.onset / self._per_cycle
        self._base = cycles - (onset - (onset - cycles) % 1.0)

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        x = (cycles - self._base) * self._per_cycle
        if x >= self._end:
            x = self._loop + (x - self._loop) % self._length
        elif x < 0.0:  # a channel with a phase shift may look a little before energising
            return 0.0
        k = int(x)
        table = self._table
        return (table[k] + (table[k + 1] - table[k]) * (x - k)) * self.scale * self.per_unit


KINDS: dict[str, Callable[..., Load]] = {
    "resistive": Resistive,
    "motor": Motor,
    "compressor": Compressor,
    "heat_pump": HeatPump,
    "smps": Smps,
    "lamp": Lamp,
    "ev": EvCharger,
    "short": Short,
    "half_wave": HalfWave,
    "dimmer": Dimmer,
}
_MAY_BE_ZERO = ("dc", "angle", "inrush", "delay_s", "rest_s", "equalise_s", "cool_s")


@dataclass(frozen=True)
class Appliance:
    """A catalogue entry: a kind of load with its figures, for 120 or 240 V outlets."""

    kind: str
    volts: int
    summary: str
    parameters: dict[str, float]
    recording: str = ""


def _entry(
    kind: str, summary: str, volts: int = 120, recording: str = "", **parameters: float
) -> Appliance:
    return Appliance(kind, volts, summary, parameters, recording)


APPLIANCES: dict[str, Appliance] = {
    "circular_saw": _entry(
        "motor",
        "12 A saw, starts at 10 x for a third of a second",
        amps=12,
        inrush=10,
        decay_ms=110,
        pf=0.85,
    ),
    "drill": _entry("motor", "6.5 A hammer drill", amps=6.5, inrush=5, decay_ms=60, pf=0.9),
    "angle_grinder": _entry("motor", "10 A grinder", amps=10, inrush=6, decay_ms=150, pf=0.9),
    "shop_vacuum": _entry(
        "motor", "9 A wet and dry vacuum", amps=9, inrush=6, decay_ms=120, pf=0.9
    ),
    "air_compressor": _entry(
        "compressor",
        "13 A job-site compressor, fills and rests",
        amps=13,
        inrush=7,
        decay_ms=200,
        pf=0.8,
        run_s=90,
        rest_s=120,
        equalise_s=10,
    ),
    "fridge": _entry(
        "compressor",
        "1.4 A refrigerator, starts at 14 x, stalls if restarted soon",
        amps=1.4,
        inrush=14,
        decay_ms=120,
        pf=0.65,
    ),
    "window_ac": _entry(
        "compressor",
        "9 A air conditioner",
        amps=9,
        inrush=5,
        decay_ms=150,
        pf=0.92,
        run_s=600,
        rest_s=300,
    ),
    "fan": _entry("motor", "0.8 A box fan", amps=0.8, inrush=3, decay_ms=400, pf=0.7),
    "kettle": _entry("resistive", "1500 W kettle", watts=1500),
    "heater": _entry("resistive", "1500 W space heater", watts=1500),
    "coffee_maker": _entry("resistive", "1000 W coffee maker", watts=1000),
    "griddle": _entry("resistive", "1800 W griddle", watts=1800),
    "hair_dryer": _entry(
        "recording",
        "1800 W hair dryer, recorded (PLAID 1376)",
        amps=15,
        recording="plaid_1376_hairdryer_studio35_mediumhot",
    ),
    "hair_dryer_low": _entry("half_wave", "600 W hair dryer on low: half waves", watts=600),
    "microwave": _entry(
        "recording",
        "1100 W microwave, recorded (PLAID 1046)",
        amps=10.5,
        recording="plaid_1046_microwave_sunbeam_high",
    ),
    "laptop": _entry(
        "smps",
        "90 W laptop supply, 40 A for a moment when plugged in",
        watts=90,
        inrush=40,
        decay_ms=3,
    ),
    "tv": _entry("smps", "150 W television", watts=150, inrush=35),
    "phone_charger": _entry("smps", "20 W charger", watts=20, inrush=10, decay_ms=1),
    "tool_charger": _entry("smps", "500 W battery charger for tools", watts=500, inrush=45),
    "work_light": _entry("lamp", "500 W halogen work light", watts=500),
    "led_light": _entry("smps", "40 W LED work light", watts=40, inrush=20, decay_ms=1),
    "cfl_lamp": _entry(
        "recording",
        "9 W fluorescent lamp, recorded (PLAID 707)",
        recording="plaid_707_compact_fluorescent_lamp_off_on",
    ),
    "dimmed_lamp": _entry("dimmer", "500 W lamps dimmed to half", watts=500, angle=90),
    "ev_charger_120": _entry("ev", "portable car charger, 12 A", amps=12),
    "ev_charger": _entry("ev", "car charger, 32 A after 5 s", volts=240, amps=32),
    "table_saw_240": _entry(
        "motor", "15 A cabinet saw", volts=240, amps=15, inrush=8, decay_ms=150, pf=0.82
    ),
    "well_pump_240": _entry(
        "motor", "10 A submersible pump", volts=240, amps=10, inrush=6, decay_ms=120, pf=0.78
    ),
    "welder_240": _entry(
        "smps", "5 kW inverter welder", volts=240, watts=5000, crest=2, inrush=60, decay_ms=8
    ),
    "central_ac_240": _entry(
        "heat_pump",
        "17 A central air conditioner, 110 A while its rotor is locked",
        volts=240,
    ),
    "dryer_240": _entry("resistive", "5400 W clothes dryer", volts=240, watts=5400),
}


def build(what: str, outlet: str, legs: int, parameters: dict[str, float]) -> Load:
    """Make the load for `plug <outlet> <what> name=value ...`; SimError when it cannot be."""
    appliance = APPLIANCES.get(what)
    if appliance is None:
        choose("appliance or kind of load", what, [*APPLIANCES, *KINDS])
        return make(what, what, legs, parameters)
    volts = 120 * legs
    if appliance.volts != volts:
        raise SimError(f"{what} is a {appliance.volts} V appliance and {outlet} gives {volts} V")
    merged: dict[str, float] = dict(appliance.parameters)
    for one, other in (("watts", "amps"), ("amps", "watts")):
        if one in parameters:
            merged.pop(other, None)
    if "scale" in parameters:
        merged.pop("amps", None)
    merged.update(parameters)
    return make(what, appliance.kind, legs, merged, appliance.recording)


def make(
    label: str, kind: str, legs: int, parameters: dict[str, float], recording: str = ""
) -> Load:
    """Make a load of a kind (or of a recording) from checked parameters."""
    known: tuple[str, ...] = ("scale", "amps")
    if kind != "recording":
        known = tuple(inspect.signature(KINDS[kind]).parameters)[1:]  # all but the legs
    for name, value in parameters.items():
        choose(f"parameter of {label}", name, known)
        if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            raise SimError(f"{label}: {name}={value:g} must be more than 0")
    arguments: dict[str, Any] = parameters
    if kind == "recording":
        return Recorded(legs, recordings.load(recording), **arguments)
    return KINDS[kind](legs, **arguments)
