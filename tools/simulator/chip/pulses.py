# machine.PWM of the simulated chip: tells the host frequency and duty, which drive the pin from
# then on. Loaded by machine.py when somebody asks for it.

import machine
from micropython import const

_PULSES = const(9)  # as in ../link.py
_PULSE_HZ = const(10)


class PWM:
    def __init__(self, pin, *, freq=None, duty_u16=None, **_):
        self._n = pin._n if isinstance(pin, machine.Pin) else pin
        self._hz = 0
        self._duty = 0
        self.init(freq=freq, duty_u16=duty_u16)

    def init(self, *, freq=None, duty_u16=None, **_):
        machine._output[self._n] = 1
        machine._level[self._n] = 2  # whatever is written to the pin next is news
        if freq is not None:
            self.freq(freq)
        if duty_u16 is not None:
            self.duty_u16(duty_u16)

    def freq(self, hz=None):
        if hz is None:
            return self._hz
        if not 8 <= hz <= 4_000_000:  # of the RP2040, about
            raise ValueError("freq")
        self._hz = hz
        machine._tell(_PULSE_HZ, self._n | hz << 8)

    def duty_u16(self, duty=None):
        if duty is None:
            return self._duty
        self._duty = duty = max(0, min(65535, duty))
        machine._tell(_PULSES, self._n | duty << 8)

    def deinit(self):
        self.duty_u16(0)
