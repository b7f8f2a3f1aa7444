# Temperature of an NTC thermistor from a converter code. Outer lane and derating.
# 10 kOhm NTC (B = 3950 K) to ground, 10 kOhm to the reference: the code is ratiometric.

import math

_B_KELVIN = 3950
_R25 = 10_000
_R_PULL = 10_000
_T25 = 298.15
_OPEN = 4080
_SHORT = 15


def celsius(code: int):
    """Degrees Celsius, or None when the sensor is open (code at the top) or shorted.

    R = pull-up x code / (4096 - code); 1/T = 1/T25 + ln(R / R25) / B (beta equation).
    """
    if code >= _OPEN or code <= _SHORT:
        return None
    ohm = _R_PULL * code / (4096 - code)
    return 1 / (1 / _T25 + math.log(ohm / _R25) / _B_KELVIN) - 273.15
