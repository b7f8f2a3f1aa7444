"""What is connected to the emulated chip's pins: a plant that gets edges and gives voltages.

Every pin edge and every conversion reaches the plant at its exact emulated time; its digital
outputs are looked at once per emulated millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

FIRST_ADC_GPIO = 26
_TEMPERATURE_CHANNEL = 4
_STUCK_NS = 50_000_000  # as good as never, and it works again after a `sim converter ok`
_CODE_AT_27_C = 876  # 0.706 V of 3.3 V (RP2040 data sheet, 4.9.5)
POLL_NS = 1_000_000


class Plant(Protocol):
    """What the simulated truck offers; times in us, never going back."""

    def adc(self, gpio: int, t_us: int) -> int:
        """12-bit code of one conversion of the ADC pin `gpio`."""

    def set_pin(self, gpio: int, level: int | None, t_us: int) -> None:
        """The chip drives `gpio` to 0 or 1, or lets go of it (None)."""

    def read_pin(self, gpio: int, t_us: int) -> int:
        """Level that the plant puts onto `gpio`."""


class Edge(NamedTuple):
    """One change of what the chip puts onto a pin: 1, 0 or None (released)."""

    t_us: float
    gpio: int
    level: int | None


class Wiring:
    """Connects one emulated chip to a plant and keeps a record of edges."""

    def __init__(
        self,
        mcu: Any,
        plant: Plant | None,
        inputs: Iterable[int],
        quiet: Iterable[int],
    ) -> None:
        """`inputs`: pins that the plant drives. `quiet`: pins whose edges are not recorded."""
        self.mcu = mcu
        self.plant = plant
        self.inputs = tuple(inputs)
        self.quiet = frozenset(quiet)
        self.edges: list[Edge] = []
        self.on_edge: Callable[[Edge], None] | None = None
        self.conversions = 0
        self._levels: list[int | None] = [None] * len(mcu.gpio)
        self._driven: dict[int, int] = {}
        self._clock = mcu.clock
        for gpio, pin in enumerate(mcu.gpio):
            pin.add_listener(self._listener(gpio))
        self._adc = mcu.adc
        self._adc.on_adc_read = self._convert
        if plant is not None and self.inputs:
            self._poll_alarm = self._clock.create_alarm(self._poll)
            self._poll_alarm.schedule(0)

    def _listener(self, gpio: int) -> Callable[[Any, Any], None]:
        def changed(new: Any, _old: Any) -> None:
            self._set(gpio, int(new))

        return changed

    def _set(self, gpio: int, state: int) -> None:
        # states above 1 are kinds of input, with or without pulls
        level = state if state < 2 else None
        if level == self._levels[gpio]:
            return
        self._levels[gpio] = level
        nanos = self._clock.nanos
        if self.plant is not None:
            self.plant.set_pin(gpio, level, int(nanos / 1000))
        if gpio in self.quiet:
            return
        edge = Edge(nanos / 1000, gpio, level)
        self.edges.append(edge)
        if self.on_edge is not None:
            self.on_edge(edge)

    def level(self, gpio: int) -> int | None:
        """What the chip puts onto a pin now: 1, 0 or None (it is an input)."""
        return self._levels[gpio]

    def released(self) -> None:
        """A reset has let go of the pads; the emulator tells nobody, so this does."""
        for gpio, pin in enumerate(self.mcu.gpio):
            self._set(gpio, int(pin.value))

    def drive(self, gpio: int, level: int | None) -> None:
        """Put a level onto a pin from outside; None lets go of it."""
        pin = self.mcu.gpio[gpio]
        if level is None:
            self._driven.pop(gpio, None)
            pin.release_input()
        elif self._driven.get(gpio) != level:
            self._driven[gpio] = level
            pin.set_input_value(bool(level))

    def _poll(self) -> None:
        assert self.plant is not None
        now = int(self._clock.nanos / 1000)
        for gpio in self.inputs:
            self.drive(gpio, 1 if self.plant.read_pin(gpio, now) else 0)
        self._poll_alarm.schedule(POLL_NS)

    def _convert(self, channel: int) -> None:
        """A conversion starts: the value is that of now, the result is ready 2 us later."""
        self.conversions += 1
        converter = self._adc
        if channel == _TEMPERATURE_CHANNEL:
            code = _CODE_AT_27_C
        elif self.plant is None:
            code = 0
        else:
            code = self.plant.adc(FIRST_ADC_GPIO + channel, int(self._clock.nanos / 1000))
        converter.channel_values[channel] = 0 if code < 0 else min(code, 4095)
        converter.current_channel = channel
        silent = self.plant is not None and getattr(self.plant, "silent", False)
        converter.sample_alarm.schedule(_STUCK_NS if silent else converter.sample_time * 1000)
