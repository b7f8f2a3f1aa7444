"""The car that is charged from the truck's 240 V outlet: SAE J1772 from the car's side.

It loads the control pilot through a diode (2.74 kohm: it is there; 882 ohm: it wants current; 246
ohm: and ventilation), reads from the pulses how much it may draw, takes it some seconds later, and
draws it through its on-board charger. Made by plant.py, which calls tick() each 100 ms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tools.simulator.loads import SQRT2, Load
from tools.simulator.wiring import SimError

if TYPE_CHECKING:
    from tools.simulator.plant import Plant
    from tools.simulator.truck import Circuit

_SOURCE_OHMS = 1000.0
_OHMS = {"B": 2740.0, "C": 882.0, "D": 246.0}
_DIODE_V = 0.7
_MID_MV = 1650.0
_MV_PER_V = 1000.0 / 12.0  # of the divider behind the pilot
_WAKE_US = 1_000_000  # from the first pulses to the wish for current, and from voltage to current
_LOSS = 0.08  # of the on-board charger
_VOLTS = 240.0
_FALL_A_PER_S = 50.0
FAULTS = ("ok", "no_diode", "shorted", "no_follow", "ventilate")


def offered_amps(duty: float, hz: float) -> float:
    """What a duty cycle (0 to 1) offers, A: SAE J1772, table 3; 0: nothing."""
    percent = duty * 100.0
    if not 950.0 <= hz <= 1050.0 or percent < 8.0 or percent > 97.0:
        return 0.0
    if percent < 10.0:
        return 6.0
    if percent <= 85.0:
        return percent * 0.6
    return min(80.0, (percent - 64.0) * 2.5)


class Charger(Load):
    """The on-board charger: what it draws follows a target with a ramp."""

    summary = "the car at the charger"

    def __init__(self) -> None:
        super().__init__(2)
        self._from = 0.0
        self._target = 0.0
        self._since_us = 0
        self._slope = 0.0  # A per us
        self.in_phase = SQRT2 * 0.99
        self.quadrature = SQRT2 * math.sqrt(1.0 - 0.99 * 0.99)

    def amps(self, t_us: float) -> float:
        """RMS at nominal voltage."""
        done = self._slope * (t_us - self._since_us)
        rest = self._target - self._from
        if done >= abs(rest):
            return self._target
        return self._from + math.copysign(max(0.0, done), rest)

    def aim(self, t_us: int, amps: float, per_s: float) -> None:
        """Go to `amps` at so much a second."""
        if amps != self._target:
            self._from = self.amps(t_us)
            self._target = amps
            self._since_us = t_us
            self._slope = per_s * 1e-6

    def stop(self) -> None:
        """No current from now on."""
        self._from = self._target = 0.0

    def deenergise(self, t_us: int) -> None:
        self.stop()

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        amps = self.amps(t_us)
        if amps <= 0.0:
            return 0.0
        return amps * self.per_unit * (self.in_phase * sin - self.quadrature * cos)


class Car:
    """Car, cable and pilot. `drive()` is the charger's side of the pilot."""

    def __init__(self, plant: Plant, outlet: Circuit) -> None:
        self.plant = plant
        self.outlet = outlet
        self.plugged = False
        self.fault = "ok"
        self.ready = True  # the owner wants it charged
        self.max_a = 48.0
        self.kwh = 75.0
        self.percent = 50.0
        self.follow_s = 3.0
        self.ramp_a_per_s = 8.0
        self.taken_j = 0.0  # from the outlet
        self.hot_unplugs = 0
        self.wants = False  # S2 is closed
        self.duty = 0.0  # a chip that does not drive it leaves it at -12 V
        self.hz = 1000.0
        self.obeyed = 0.0
        self._heard = 0.0
        self._heard_us = 0
        self._powered_us: int | None = None
        self._charger = Charger()
        self._label = ""
        self._since_us = 0
        self._period = 1000.0
        self._high_us = 0.0
        self._high_mv = self._low_mv = 0.0
        self._tick_us = 0
        self._update()

    # -- the pilot -----------------------------------------------------------------------------

    @property
    def letter(self) -> str:
        """State of the pilot as the car makes it."""
        if self.fault == "shorted":
            return "E"
        if not self.plugged:
            return "A"
        if not self.wants:
            return "B"
        return "D" if self.fault == "ventilate" else "C"

    def drive(self, duty: float, hz: float, t_us: int) -> None:
        """The charger's output: pulses of +-12 V, or steady at a duty of 1 or 0."""
        self.duty, self.hz = duty, hz
        self._since_us = t_us
        self._update()

    def _loaded(self, volts: float) -> float:
        letter = self.letter
        if letter == "E":
            return 0.0
        if letter == "A":
            return volts
        ohms = _OHMS[letter]
        if self.fault == "no_diode":
            return volts * ohms / (_SOURCE_OHMS + ohms)
        if volts < 0.0:
            return volts
        return _DIODE_V + (volts - _DIODE_V) * ohms / (_SOURCE_OHMS + ohms)

    def _update(self) -> None:
        self._period = 1e6 / self.hz
        self._high_us = self._period * self.duty
        self._high_mv = _MID_MV + self._loaded(12.0) * _MV_PER_V
        self._low_mv = _MID_MV + self._loaded(-12.0) * _MV_PER_V

    def millivolts(self, t_us: float) -> float:
        """At the chip's pin, at an instant."""
        high = (t_us - self._since_us) % self._period < self._high_us
        return self._high_mv if high else self._low_mv

    # -- what happens to it --------------------------------------------------------------------

    def plug(self, t_us: int) -> None:
        """Plug it in."""
        if self.plugged:
            raise SimError("the car is plugged in already")
        self.plugged = True
        self.wants = False
        self.obeyed = self._heard = 0.0
        self._heard_us = t_us
        self._powered_us = None
        if not self._label:
            self._charger = Charger()
            self._label = self.plant.truck.plug(self.outlet, "car", self._charger)
        self._update()

    def unplug(self, t_us: int, parts_ms: float = 100.0) -> None:
        """Pull the plug: its pilot pin parts first, the others `parts_ms` later."""
        if not self.plugged:
            raise SimError("no car is plugged in")
        self.plugged = False
        self.wants = False
        self._update()
        self.plant.at(t_us + round(parts_ms * 1000), self._part)

    def _part(self, t_us: int) -> None:
        if self.plugged or not self._label:
            return
        if self.outlet.powered and self._charger.amps(t_us) > 0.5:
            self.hot_unplugs += 1
        self.plant.truck.unplug(self.outlet, self._label)
        self._label = ""

    def set_fault(self, fault: str) -> None:
        """One of FAULTS."""
        self.fault = fault
        self._update()

    def tick(self, t_us: int) -> None:
        """Each 100 ms: look at the pilot, wish, follow, draw."""
        span_us, self._tick_us = t_us - self._tick_us, t_us
        if not self.plugged:
            return
        powered = self.outlet.powered
        amps = self._charger.amps(t_us) if powered else 0.0
        joules = amps * _VOLTS * self._charger.per_unit * span_us * 1e-6
        if joules:
            self.taken_j += joules
            full = 100.0 * joules * (1.0 - _LOSS) / (self.kwh * 3.6e6)
            self.percent = min(100.0, self.percent + full)
        pulsing = 0.0 < self.duty < 1.0 and self.fault != "shorted"
        offer = offered_amps(self.duty, self.hz) if pulsing else 0.0
        if abs(offer - self._heard) > 0.1:
            self._heard, self._heard_us = offer, t_us
        heard_us = t_us - self._heard_us
        late = heard_us >= self.follow_s * 1e6
        deaf = self.fault == "no_follow" and self._heard < self.obeyed
        if self.wants and not deaf and (late or self.obeyed == 0.0):
            self.obeyed = self._heard
        charge = self.ready and self.percent < 100.0
        before = self.wants
        if not self.wants:
            self.wants = charge and self._heard > 0.0 and heard_us >= _WAKE_US
            if self.wants:
                self.obeyed = self._heard
        elif not charge or (self._heard == 0.0 and amps < 0.5 and late):
            self.wants = amps >= 0.5
        if self.wants != before:
            self._update()
        if not powered:
            self._powered_us = None
        elif self._powered_us is None:
            self._powered_us = t_us
        target = 0.0
        awake = self._powered_us is not None and t_us - self._powered_us >= _WAKE_US
        if self.wants and awake and charge and self.fault != "ventilate":
            target = min(self.obeyed, self.max_a)
            if self.percent > 95.0:  # the last bit goes slowly
                target = min(target, max(2.0, self.max_a * (100.0 - self.percent) / 5.0))
        falls = target < amps
        self._charger.aim(t_us, target, max(_FALL_A_PER_S if falls else 0.0, self.ramp_a_per_s))

    # -- the truth -----------------------------------------------------------------------------

    def truth(self, t_us: int) -> dict[str, Any]:
        """What really is."""
        powered = self.outlet.powered and bool(self._label)
        return {
            "plugged": self.plugged,
            "pilot": self.letter,
            "duty_percent": self.duty * 100.0,
            "offered_a": offered_amps(self.duty, self.hz) if 0.0 < self.duty < 1.0 else 0.0,
            "obeyed_a": self.obeyed,
            "amps": self._charger.amps(t_us) if powered else 0.0,
            "percent": self.percent,
            "taken_kwh": self.taken_j / 3.6e6,
            "hot_unplugs": self.hot_unplugs,
        }

    def words(self) -> str:
        """For `sim state`."""
        if not self.plugged:
            return "(none)"
        t = self.truth(self.plant.truck.now_us)
        fault = "" if self.fault == "ok" else f", {self.fault}"
        return (
            f"pilot {t['pilot']}, offered {t['offered_a']:.1f} A, draws {t['amps']:.1f} A, "
            f"{t['percent']:.1f} %{fault}"
        )
