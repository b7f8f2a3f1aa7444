# Temperature of an NTC thermistor from a converter code. Outer lane and derating.
# 10 kOhm NTC (B = 3950 K) to ground, 10 kOhm to the reference: the code is ratiometric.

import math

_B_KELVIN = 3950
_R25 = 10_000
_R_PULL = 10_000
_T25 = 298.15
# An RP2040 gives 16 to 4079 for 0 V to the reference (E11).
_OPEN = 4064
_SHORT = 31


def celsius(code: int):
    """Degrees Celsius, or None when the sensor is open (code at the top) or shorted.

    R = pull-up x code / (4096 - code); 1/T = 1/T25 + ln(R / R25) / B (beta equation).
    """
    if code >= _OPEN or code <= _SHORT:
        return None
    ohm = _R_PULL * code / (4096 - code)
    return 1 / (1 / _T25 + math.log(ohm / _R25) / _B_KELVIN) - 273.15


def code(celsius: float) -> int:
    """Converter code at a temperature in degrees Celsius; hotter is lower."""
    ohm = _R25 * math.exp(_B_KELVIN * (1 / (celsius + 273.15) - 1 / _T25))
    return int(4096 * ohm / (ohm + _R_PULL) + 0.5)
