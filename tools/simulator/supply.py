"""The truck's inverter: split-phase 120/240 V, 60 or 50 Hz. Called by truck.py.

Phase runs on through every change of frequency, through a sag and through a loss, so a returning
supply is not in step with anything by accident only.
"""

from __future__ import annotations

import math

from tools.simulator.wiring import SimError

TAU = 2.0 * math.pi
NOMINAL_V = 120.0  # RMS, each leg to neutral
NEVER_US = 1 << 62


class Supply:
    """Voltage of L1 to neutral; L2 is its negative.

    Hot-path view, read by the truck in every scan: `cycles = cyc0 + (t - t0) * per_us` and, with
    s = sin(2 pi cycles), volts L1-N = s * (a + b * s * s). The cubic term is the third harmonic
    (sin 3x = 3 sin x - 4 sin^3 x), flat-topped as an inverter under load makes it.
    """

    name = "supply"  # in sentences

    def __init__(self, hz: float = 60.0, volts: float = NOMINAL_V) -> None:
        self.hz = hz
        self.volts = volts
        self.on = True
        self.thd_percent = 0.0
        self.ohms = 0.0  # source resistance of each leg; 0 = stiff
        self.factor = 1.0  # of a sag or swell going on
        self.restore_us = NEVER_US  # end of a sag, swell or timed loss
        self.t0 = 0
        self.cyc0 = 0.0
        self.per_us = hz * 1e-6
        self.a = 0.0
        self.b = 0.0
        self._shape()

    def _shape(self) -> None:
        h = self.thd_percent / 100.0
        peak = self.rms * math.sqrt(2.0) / math.sqrt(1.0 + h * h)  # RMS stays what was asked for
        self.a = peak * (1.0 + 3.0 * h)
        self.b = -4.0 * h * peak

    @property
    def rms(self) -> float:
        """Volts RMS of one leg to neutral at present, unloaded."""
        return self.volts * self.factor if self.on else 0.0

    @property
    def per_unit(self) -> float:
        """Present voltage over the nominal 120 V."""
        return self.rms / NOMINAL_V

    @property
    def live(self) -> bool:
        """False when there is too little voltage (below 10 %) for anything to run."""
        return self.per_unit >= 0.1

    def cycles(self, t_us: int) -> float:
        """Phase of L1 in cycles since the start."""
        return self.cyc0 + (t_us - self.t0) * self.per_us

    def set_hz(self, hz: float, t_us: int) -> None:
        """Change the frequency (40 to 70 Hz) without a step in phase."""
        if not 40.0 <= hz <= 70.0:
            raise SimError(f"{self.name} hz={hz:g} is outside 40 to 70")
        self.cyc0 = self.cycles(t_us)
        self.t0 = t_us
        self.hz = hz
        self.per_us = hz * 1e-6

    def set_volts(self, volts: float) -> None:
        """Set the leg voltage, V RMS (0 to 200)."""
        if not 0.0 <= volts <= 200.0:
            raise SimError(f"{self.name} volts={volts:g} is outside 0 to 200 (leg to neutral)")
        self.volts = volts
        self._shape()

    def set_thd(self, percent: float) -> None:
        """Set the third harmonic, percent of the fundamental (0 to 30)."""
        if not 0.0 <= percent <= 30.0:
            raise SimError(f"{self.name} thd={percent:g} is outside 0 to 30 percent")
        self.thd_percent = percent
        self._shape()

    def set_ohms(self, ohms: float) -> None:
        """Set the source resistance of each leg (0 to 0.2 ohm)."""
        if not 0.0 <= ohms <= 0.2:
            raise SimError(f"{self.name} ohms={ohms:g} is outside 0 to 0.2")
        self.ohms = ohms

    def set_on(self, on: bool, t_us: int, duration_ms: float | None = None) -> None:
        """Lose or return the supply; with a duration, a loss ends by itself."""
        self.on = on
        self.factor = 1.0
        self.restore_us = NEVER_US if duration_ms is None else t_us + round(duration_ms * 1000)
        self._shape()

    def disturb(self, percent: float, duration_ms: float, t_us: int) -> None:
        """Sag or swell to `percent` of the set voltage for `duration_ms`."""
        if not 0.0 <= percent <= 150.0:
            raise SimError(f"{self.name} sag or swell of {percent:g} is outside 0 to 150 percent")
        if not self.on:
            raise SimError(f"the {self.name} is off; first: sim {self.name} on")
        if duration_ms <= 0.0:
            raise SimError(f"{self.name} ms={duration_ms:g} must be more than 0")
        self.factor = percent / 100.0
        self.restore_us = t_us + round(duration_ms * 1000)
        self._shape()

    def restore(self) -> None:
        """End a sag, swell or timed loss. Called by the truck when `restore_us` is reached."""
        self.on = True
        self.factor = 1.0
        self.restore_us = NEVER_US
        self._shape()
