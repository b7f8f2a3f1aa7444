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
FAULTS = ("ok", "open", "short", "frozen", "off")

# RP2040-E11: these codes are hit far too often; each is about 9 codes wide (data sheet, errata).
_SPIKES = (511, 1535, 2559, 3583)
_SPIKE_HALF_WIDTH = 4
_EXTRA = 2 * _SPIKE_HALF_WIDTH  # steps that a wide code takes from those beyond it


def e11_codes() -> list[int]:
    """Ideal code -> code of an RP2040.

    Every step is as wide as an ideal one, but each of four codes takes nine of them, which shifts
    all codes beyond it by eight: a staircase, and the middle of the range is right. So the error
    is about +16, +8, 0, -8, -16 codes (published measurements of single chips: 15, 6, 1, 6, 15 at
    the same places), and neither the lowest 16 codes nor the highest 16 are reached.
    """
    codes: list[int] = []
    for code in range(TOP_CODE + 1):
        codes += [code] * (1 + _EXTRA if code in _SPIKES else 1)
    beyond = _EXTRA * len(_SPIKES) // 2
    return codes[beyond : beyond + TOP_CODE + 1]


def spiked_codes() -> list[int]:
    """Ideal code -> code of a converter with the spikes alone: the nine ideal codes around each
    fall into it, and nothing beyond is shifted. No real chip; what the correction of the real one
    must not spoil."""
    codes = list(range(TOP_CODE + 1))
    for spike in _SPIKES:
        for code in range(spike - _SPIKE_HALF_WIDTH, spike + _SPIKE_HALF_WIDTH + 1):
            codes[code] = spike
    return codes


E11_CODES = e11_codes()


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


class Clipping:
    """Every `period`-th conversion is the top code: a loose contact, or an amplifier that hits its
    supply. Stands in the place of a table of codes, so that healthy channels cost nothing."""

    def __init__(self, sensor: Sensor, codes: list[int] | None) -> None:
        self._sensor = sensor
        self._codes = codes

    def __getitem__(self, code: int) -> int:
        sensor = self._sensor
        sensor.conversions += 1
        if sensor.conversions >= sensor.clip:
            sensor.conversions = 0
            code = TOP_CODE
        return code if self._codes is None else self._codes[code]


class Sensor:
    """One channel's measuring chain.

    `counts_per_unit` is per volt, per amp or (aux) per millivolt at the pin. `base` already holds
    mid-scale, the offset and the half count that makes int() round.

    Faults: `open` reads the top code and `short` the lowest, as a Hall sensor does whose supply or
    output wire breaks (its output is pulled to a rail, not to mid-scale); `frozen` repeats the
    last code; `off` rests at its offset, with noise, whatever flows: what is left of a voltage
    sensor whose mains side came loose. `clip` = n: every n-th conversion is the top code; 0: none.
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
        self.dnl = 0
        self.clip = 0
        self.conversions = 0  # since the last one that clipped
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
            return E11_CODES[-1] if self.dnl == 1 else TOP_CODE
        if self.fault == "short":
            return E11_CODES[0] if self.dnl == 1 else 0
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
        clip: float | None = None,
    ) -> None:
        """Gain (1 = right), offset (counts), noise (counts RMS), phase (degrees), dnl (the
        converter's flaw: 0 none, 1 the RP2040's, see e11_codes(), 2 its spikes alone),
        clip (every n-th conversion, 0 = none)."""
        for name, value, low, high in (
            ("gain", gain, -10, 10),
            ("offset", offset, -4096, 4096),
            ("noise", noise, 0, 1000),
            ("phase", phase, -45, 45),
            ("dnl", dnl, 0, 2),
            ("clip", clip, 0, 10_000),
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
            self.dnl = int(dnl)
        if clip is not None:
            self.clip = int(clip)
        self._update()
