"""The firmware's core on CPython: real board table, fast lane, plain kernels, controller, journal
and settings, in simulated time.

`Rig` samples the simulated truck scan by scan. `WindowRig` is handed sinusoidal currents and
does a whole window in one scan's time, for tests over minutes or thousands of sequences: the
kernel's own code still closes the windows, counts the lease and trips on peaks.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

from host_tests.fakes import machine
from tools import cpython

machine.install()
cpython.install()

from firmware import board as boards  # noqa: E402
from firmware import events  # noqa: E402
from firmware.clock import Clock  # noqa: E402
from firmware.controller import Controller  # noqa: E402
from firmware.hal.fastlane import FastLane  # noqa: E402
from firmware.hal.inputs import Inputs  # noqa: E402
from firmware.protection import outlet as o  # noqa: E402
from firmware.sensing import kernel, reduce  # noqa: E402
from firmware.sensing.metering import Meter  # noqa: E402
from firmware.storage.journal import Journal  # noqa: E402
from firmware.storage.settings import Settings  # noqa: E402
from tools.simulator.truck import Truck  # noqa: E402

CONTROL_US = 8000  # controller._LOOK_MS


class HostLane(FastLane):
    """The fast lane with the plain kernel; `codes` is what the next scan converts."""

    def __init__(self, board: Any) -> None:
        FastLane.__init__(self, board)
        self.codes = array("i", [2048] * self.n_ch)
        self.attach()

    def attach(self) -> None:
        """Make the kernel work on this lane (there is one kernel per process)."""
        kernel.attach(self.st, self.ring, self.wave, self.codes)

    def scan(self) -> None:
        """One call of the sampler's timer."""
        kernel.scan()
        self.follow()

    def follow(self) -> None:
        """Open what the kernel says, as the portable sampler does."""
        closed = self.st[kernel.CLOSED]
        if closed:
            self.st[kernel.CLOSED] = 0
            for i, pin in enumerate(self._pins):
                if closed >> i & 1:
                    pin.value(1)
        opened = self.st[kernel.OPENED]
        if (opened | self.st[kernel.WAITING]) & self._path:
            self.permit(False)
        if opened:
            self.st[kernel.OPENED] = 0
            for i, pin in enumerate(self._pins):
                if opened >> i & 1:
                    pin.value(0)


class Core:
    """What both rigs share: everything above the sampler, and the clock."""

    def __init__(self, board: str | Any, settings: dict[str, Any] | None) -> None:
        self.t_us = 0
        machine.reset(self.on_level)
        cpython.install(lambda: self.t_us)
        self.board = boards.load(board) if isinstance(board, str) else board
        self._indexes = {outlet.name: outlet.index for outlet in self.board.outlets}
        self._coils = {outlet.name: outlet.relay for outlet in self.board.outlets}
        if self.board.contactor is not None:
            self._coils["contactor"] = self.board.contactor
        self.lane = HostLane(self.board)
        self.journal = Journal()
        self.settings = Settings(self.board, "")
        for name, value in (settings or {}).items():
            self.settings.set(name, value)
        self.meter = Meter(self.lane, reduce.reduce)
        self.clock = Clock()
        self.controller = Controller(
            self.board,
            self.lane,
            self.meter,
            self.journal,
            self.settings,
            self.clock,
            inputs=Inputs(self.board),
        )
        self.sampling = True  # False: the sampler is dead
        self.controlling = True  # False: the control task stands still
        self._next_control = 0

    def on_level(self, gpio: int, level: int) -> None:
        """A pin of the chip changed."""

    def index(self, name: str) -> int:
        return self._indexes[name]

    def do(self, verb: str, name: str, force: bool = False) -> str:
        """A command as from the console; "" or why not."""
        said: str = self.controller.command(verb, self.index(name), events.BY_CONSOLE, force)
        return said

    def state(self, name: str) -> str:
        text: str = o.STATES[self.controller.outlets[self.index(name)].state]
        return text

    def reason(self, name: str) -> str:
        return events.name(events.REASONS, self.controller.outlets[self.index(name)].reason)

    def coil(self, name: str) -> int:
        """Level of a relay pin, or of the contactor's."""
        return machine.levels.get(self._coils[name], 0)

    def log(self) -> list[str]:
        """The journal in words: "bed1 tripped thermal"."""
        lines = []
        for record in self.journal.since(0):
            name = self.board.outlets[record[2]].name if record[2] >= 0 else "-"
            kind = events.name(events.KINDS, record[1])
            lines.append(f"{name} {kind} {events.name(events.REASONS, record[3])}")
        return lines

    def _control(self) -> None:
        """A turn of the control task, when it is due."""
        if self.t_us >= self._next_control:
            if self.controlling:
                self.controller.step()
            self._next_control = self.t_us + self._pause_us()

    def _pause_us(self) -> int:
        pause_us: int = self.controller.pause_ms() * 1000  # as app.py
        return pause_us


class Rig(Core):
    """The core in the simulated truck, scan by scan."""

    def __init__(
        self,
        board: str | Any = "simulated",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        mains_hz: float = 60,
        boot_s: float = 0.8,
    ) -> None:
        self.truck: Truck | None = None
        Core.__init__(self, board, settings)
        self.truck = truck = Truck(self.board, seed=seed, mains_hz=mains_hz)
        machine.on_read = lambda gpio: truck.read_pin(gpio, self.t_us)
        machine.on_duty = lambda gpio, hz, duty: truck.set_pulses(gpio, self.t_us, hz, duty)
        for gpio, duty in machine.duties.items():
            truck.set_pulses(gpio, self.t_us, 1000, duty)
        self.run(boot_s)

    def on_level(self, gpio: int, level: int) -> None:
        if self.truck is not None:
            self.truck.set_pin(gpio, level, self.t_us)

    def sim(self, line: str) -> None:
        assert self.truck is not None
        self.truck.command(line)

    def scan(self) -> None:
        """One scan period, and the control task when it is due."""
        assert self.truck is not None
        self.t_us += self.lane.period_us
        if self.sampling:
            codes = self.truck.scan(self.t_us)
            if self.truck.silent:  # as the RP2040's scan does
                codes = [4095] * len(codes)
                self.lane.st[kernel.SILENT] += 1
            self.lane.codes[:] = array("i", codes)
            if self.lane.reads_pins:  # as the RP2040's scan does
                pins = [(x, self.truck.read_pin(x, self.t_us)) for x in self.board.inputs.values()]
                self.lane.st[kernel.PINS] = sum(level << gpio for gpio, level in pins)
            self.lane.scan()
        self._control()

    def run(self, seconds: float) -> None:
        end = self.t_us + round(seconds * 1e6)
        while self.t_us < end:
            self.scan()

    def until(self, good: Any, within_s: float) -> float:
        """Run until `good()`; returns how long that took, in s. Fails when it takes too long."""
        start = self.t_us
        while not good():
            assert self.t_us - start < within_s * 1e6, f"not within {within_s} s: {self.log()}"
            self.scan()
        return (self.t_us - start) / 1e6

    def amps(self, name: str) -> float:
        """What really flows, A RMS of the last cycle."""
        assert self.truck is not None
        amps: float = self.truck.truth(self.t_us)["outlets"][name]["amps_rms"]
        return amps


class WindowRig(Core):
    """The core with sinusoidal currents, one window at a time.

    `load`: A RMS that an outlet draws while its contact is closed; `welded`: names whose contact
    stays closed; `broken`: names whose sensor reads the top code; `volts`: per leg.
    """

    def __init__(
        self,
        board: str | Any = "simulated",
        settings: dict[str, Any] | None = None,
        before: WindowRig | None = None,
    ) -> None:
        """`before`: the same truck before a reset of its chip; what latched is known."""
        latched = before.controller.latched() if before else {}
        # nothing can wait for a scan here: a window runs three of them
        Core.__init__(self, board, {"relay.zero_cross": False, **(settings or {})})
        self.controller.restore(latched)
        self.load = dict.fromkeys((x.name for x in self.board.outlets), 0.0)
        self.welded: set[str] = set()
        self.broken: set[str] = set()
        self.offset = dict.fromkeys((x.name for x in self.board.outlets), 0)
        self.volts = 120.0
        self.n = round(1e6 / 60 / self.lane.period_us)
        if before:
            self.load, self.offset, self.volts = before.load, before.offset, before.volts
            self.welded, self.broken = before.welded, before.broken
        for _ in range(40):
            self.window()

    def amps(self, name: str) -> float:
        """What flows now, A RMS."""
        live = self.board.contactor is None or self.coil("contactor")
        closed = self.coil(name) or name in self.welded
        return self.load[name] if live and closed and self.volts > 60 else 0.0

    def window(self) -> None:
        """One mains cycle."""
        lane = self.lane
        st = lane.st
        n = self.n
        if self.sampling:
            volts = [self.volts * math.sqrt(2) / (c.full_scale / 2048e3) for c in self.meter_volts]
            peaks = {}
            for outlet in self.board.outlets:
                channel = self.board.channels[outlet.channel]
                peaks[outlet.index] = (
                    self.amps(outlet.name) * math.sqrt(2) / (channel.full_scale / 2048e3)
                )
            # the crest for two scans, through the kernel itself: peaks and lease
            for channel in self.board.channels:
                lane.codes[channel.index] = 2048
            for outlet in self.board.outlets:
                code = 2048 + self.offset[outlet.name] + round(peaks[outlet.index])
                code = 4095 if outlet.name in self.broken else code
                lane.codes[outlet.channel] = max(0, min(4095, code))
            st[kernel.N] = 1  # no crossing is near
            st[kernel.ARMED] = 0
            for _ in range(2):
                lane.scan()
            st[kernel.LEASE] = max(0, st[kernel.LEASE] - (n - 2))
            if st[kernel.LEASE] == 0:
                lane.scan()
            self._sums(volts, peaks)
            kernel._close(st, 1, 30)
            st[kernel.N] = 1
            lane.follow()
        self.t_us += n * lane.period_us
        while self._next_control <= self.t_us:
            at, self.t_us = self.t_us, max(self._next_control, self.t_us - CONTROL_US)
            self._control()
            self.t_us = at

    def _pause_us(self) -> int:
        return CONTROL_US  # there are no scans between two windows

    @property
    def meter_volts(self) -> list[Any]:
        return [c for c in self.board.channels if c.kind == "voltage"]

    def _sums(self, volts: list[float], peaks: dict[int, float]) -> None:
        """The whole window's sums: sines in phase with their voltage, some noise."""
        st = self.lane.st
        n = self.n
        st[kernel.N] = n
        st[kernel.V_PREV] = -30
        legs = [volts[0], -volts[-1] if len(volts) > 1 else -volts[0]]
        for channel in self.board.channels:
            c = self.lane.base(channel.index)
            st[c + kernel.C_SUM] = 0
            st[c + kernel.C_SQ] = n
            st[c + kernel.C_VX] = 0
            st[c + kernel.C_MIN] = 2046
            st[c + kernel.C_MAX] = 2050
        for i in range(len(volts)):
            c = self.lane.base(i)
            st[c + kernel.C_SQ] = round(n * volts[i] ** 2 / 2)
            st[c + kernel.C_VX] = round(n * legs[0] * legs[i] / 2)
            st[c + kernel.C_MIN] = max(0, 2046 - round(volts[i]))
            st[c + kernel.C_MAX] = min(4095, 2050 + round(volts[i]))
        for outlet in self.board.outlets:
            c = self.lane.base(outlet.channel)
            if outlet.name in self.broken:
                x = 4095 - st[c + kernel.C_ZERO]
                st[c + kernel.C_SUM] = n * x
                st[c + kernel.C_SQ] = n * x * x
                st[c + kernel.C_MIN] = st[c + kernel.C_MAX] = 4095
                continue
            peak = min(peaks[outlet.index], 2047)
            leg = legs[outlet.volts] if outlet.volts < 2 else legs[0] - legs[1]
            dc = 2048 + self.offset[outlet.name] - st[c + kernel.C_ZERO]
            st[c + kernel.C_SUM] = n * dc
            st[c + kernel.C_SQ] = round(n * (peak * peak / 2 + dc * dc)) + n
            st[c + kernel.C_VX] = round(n * abs(leg) * peak / 2)
            middle = 2048 + self.offset[outlet.name]
            st[c + kernel.C_MIN] = max(0, middle - round(peak) - 2)
            st[c + kernel.C_MAX] = min(4095, middle + round(peak) + 2)

    def run(self, seconds: float) -> None:
        end = self.t_us + round(seconds * 1e6)
        while self.t_us < end:
            self.window()

    def until(self, good: Any, within_s: float) -> float:
        """Run until `good()`; returns how long that took, in s."""
        start = self.t_us
        while not good():
            assert self.t_us - start < within_s * 1e6, f"not within {within_s} s: {self.log()}"
            self.window()
        return (self.t_us - start) / 1e6
