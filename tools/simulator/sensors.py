"""Sensors and converter: from amps and volts to 12-bit codes. Called by truck.py.

One Sensor per board channel: gain, offset, noise, phase shift, rounding, clipping, faults.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

from tools.simulator.wiring import SimError

MID_SCALE = 2048.0
TOP_CODE = 4095
DEFAULT_NOISE = 1.5  # counts RMS: what a Hall sensor and a 12-bit converter leave together
NOISE_LENGTH = 65521  # prime, so that eight channels do not see the same stretch again and again
SUPPLY_MV = 3300.0
FAULTS = ("ok", "open", "short", "frozen")

# RP2040-E11: these codes are hit far too often; about 9 codes wide (data sheet, ADC chapter).
_SPIKES = (511, 1535, 2559, 3583)
_SPIKE_HALF_WIDTH = 4


def spiked_codes() -> list[int]:
    """Ideal code -> code of an RP2040 with the E11 flaw (monotone; nine codes fall into one)."""
    codes = list(range(TOP_CODE + 1))
    for spike in _SPIKES:
        for code in range(spike - _SPIKE_HALF_WIDTH, spike + _SPIKE_HALF_WIDTH + 1):
            codes[code] = spike
    return codes


@lru_cache(maxsize=8)
def noise_table(seed: int) -> list[float]:
    """Unit-RMS gaussian noise; drawing it per conversion would cost more than all the physics."""
    rng = random.Random(f"noise {seed}")
    return [rng.gauss(0.0, 1.0) for _ in range(NOISE_LENGTH)]


def ntc_millivolts(celsius: float) -> float:
    """Pin voltage of a 10 kohm NTC (B = 3950) to ground under a 10 kohm pull-up to 3.3 V."""
    if not -60.0 <= celsius <= 300.0:
        raise SimError(f"temperature {celsius:g} is outside -60 to 300 degrees C")
    ohms = 10_000.0 * math.exp(3950.0 * (1.0 / (celsius + 273.15) - 1.0 / 298.15))
    return SUPPLY_MV * ohms / (ohms + 10_000.0)


class Sensor:
    """One channel's measuring chain.

    `counts_per_unit` is per volt, per amp or (aux) per millivolt at the pin. `base` already holds
    mid-scale, the offset and the half count that makes int() round.

    Faults: `open` reads 4095 and `short` reads 0, as a Hall sensor does whose supply or output
    wire breaks (its output is pulled to a rail, not to mid-scale); `frozen` repeats the last code.
    """

    def __init__(self, name: str, kind: str, full_scale: int, offset: float) -> None:
        self.name = name
        self.kind = kind
        # aux: the converter itself, 0 to 3.3 V over 4096 codes, whatever the channel's scale is
        self._nominal = 4096.0 / SUPPLY_MV if kind == "aux" else MID_SCALE / (full_scale / 1000.0)
        self.gain = 1.0
        self.offset = 0.0 if kind == "aux" else offset
        self.noise = DEFAULT_NOISE
        self.phase_deg = 0.0  # positive: the sensor's output leads, as a loaded CT's does
        self.dnl = False
        self.fault = "ok"
        self.last = int(MID_SCALE)
        self.counts_per_unit = 0.0
        self.base = 0.0
        self._update()

    def _update(self) -> None:
        self.counts_per_unit = self._nominal * self.gain
        self.base = (0.0 if self.kind == "aux" else MID_SCALE) + self.offset + 0.5

    @property
    def constant(self) -> int | None:
        """The code a faulty sensor gives, None for a healthy one."""
        if self.fault == "open":
            return TOP_CODE
        if self.fault == "short":
            return 0
        return self.last if self.fault == "frozen" else None

    def set_fault(self, fault: str) -> None:
        """Set one of FAULTS."""
        if fault not in FAULTS:
            raise SimError(f"no sensor state '{fault}'; there is: {' '.join(FAULTS)}")
        self.fault = fault

    def configure(
        self,
        gain: float | None = None,
        offset: float | None = None,
        noise: float | None = None,
        phase: float | None = None,
        dnl: float | None = None,
    ) -> None:
        """Gain (1 = right), offset (counts), noise (counts RMS), phase (degrees), dnl (0 or 1)."""
        for name, value, low, high in (
            ("gain", gain, -10, 10),
            ("offset", offset, -4096, 4096),
            ("noise", noise, 0, 1000),
            ("phase", phase, -45, 45),
            ("dnl", dnl, 0, 1),
        ):
            if value is not None and not low <= value <= high:
                raise SimError(f"sensor {name}={value:g} is outside {low} to {high}")
        if gain is not None:
            self.gain = gain
        if offset is not None:
            self.offset = offset
        if noise is not None:
            self.noise = noise
        if phase is not None:
            self.phase_deg = phase
        if dnl is not None:
            self.dnl = bool(dnl)
        self._update()
