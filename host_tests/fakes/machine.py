"""A stand-in for MicroPython's `machine` on CPython: pins that keep their level and tell it.

`install()` makes `import machine` give this module. A test hangs its plant on `board.on_level`;
`levels` and `edges` say what the firmware did. There is one chip per process: `reset()` makes it
new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

levels: dict[int, int] = {}
edges: list[tuple[int, int]] = []
duties: dict[int, int] = {}  # of PWM pins, 0 to 65535
on_level: Callable[[int, int], None] | None = None
on_read: Callable[[int], int] | None = None  # level of an input, else as in `levels`
on_duty: Callable[[int, int, int], None] | None = None  # GPIO, Hz, 0 to 65535
irq_off = 0


def install() -> None:
    """Make `import machine` work."""
    sys.modules["machine"] = sys.modules[__name__]


def reset(listener: Callable[[int, int], None] | None = None) -> None:
    """A chip out of reset: no pin driven, nobody listens but `listener(gpio, level)`."""
    global on_level, irq_off
    global on_read, on_duty
    on_read = on_duty = None
    levels.clear()
    edges.clear()
    duties.clear()
    on_level = listener
    irq_off = 0


def disable_irq() -> int:
    global irq_off
    irq_off += 1
    return irq_off - 1


def enable_irq(state: int) -> None:
    global irq_off
    irq_off = state


class Pin:
    """A GPIO; all objects of one number are the same pin."""

    IN, OUT = 0, 1
    PULL_UP, PULL_DOWN = 1, 2

    def __init__(
        self, number: int, mode: int = IN, pull: int | None = None, value: int | None = None
    ) -> None:
        self.number = number
        self.mode = mode
        self.pull = pull
        if mode == Pin.OUT:
            self.value(value or 0)

    def value(self, level: int | None = None) -> int:
        if level is None:
            if self.mode == Pin.IN and on_read is not None:
                return on_read(self.number)
            return levels.get(self.number, 0)
        assert level in (0, 1)
        if levels.get(self.number) != level:
            levels[self.number] = level
            edges.append((self.number, level))
            if on_level is not None:
                on_level(self.number, level)
        return level


class PWM:
    """A pin that pulses; `duties` keeps its duty cycle."""

    def __init__(self, pin: Pin, freq: int = 0, duty_u16: int = 0) -> None:
        assert freq > 0
        self._number = pin.number
        self.frequency = freq
        self.duty_u16(duty_u16)

    def duty_u16(self, duty: int | None = None) -> int:
        if duty is not None:
            assert 0 <= duty <= 65535
            duties[self._number] = duty
            if on_duty is not None:
                on_duty(self._number, self.frequency, duty)
        return duties[self._number]
