"""A home behind its transfer switch, for tests of home backup above the real controller: three
contacts that take their time, weld, stick and lie; a grid; loads that draw what a test says.

`Household` is the WindowRig of board simulated_home with the real station part Home. Each look at
the plant checks what must never be: grid and source both closed, the source's relay energised
without the interlock, a home on the vehicle without its bond."""

from __future__ import annotations

from typing import Any

from host_tests.fakes import machine
from host_tests.fakes.rig import CONTROL_US, WindowRig

from firmware import events  # isort: skip
from firmware.power import home as homes  # isort: skip
from firmware.power import interlock as il  # isort: skip
from firmware.power import station as stations  # isort: skip
from firmware.power import transfer as tr  # isort: skip

CLOSE_US = 15_000  # coil to contact
OPEN_US = 12_000
BARE_US = 100_000  # a bond that drops out is seen, and the source opens


class Sense:
    """The grid's side of the switch, as sensing/gridsense.py shows it: of the last window."""

    def __init__(self, household: Household) -> None:
        self._household = household
        self.permille = [0, 0]
        self.low = self.high = 0
        self.mhz = 0
        self.good = self.broken = False
        self.code = 0
        self.channels = [m for m in household.meter.channels if m.channel.kind == "sense"]

    def configure(self) -> None:
        """The settings have changed: the voltage here is nominal at 120 V."""

    def window(self, ms: int) -> None:
        volts, hz = self._household.street()
        self.show(volts, volts, hz)
        broken = self._household.blind
        if broken:
            self.permille = [0, self.permille[1]]
            self.low = 0
            self.good = False
            self.code = broken
        self.broken = broken != 0

    def deny(self) -> None:
        """Energy comes in from a grid that does not show."""
        self._household.blind = 2 | self.channels[0].index + 1 << 4

    def show(self, one: float, two: float, hz: float) -> None:
        self.permille = [round(one / 0.12), round(two / 0.12)]
        self.low, self.high = min(self.permille), max(self.permille)
        self.mhz = round(hz * 1000) if self.high > 300 else 0
        self.good = self.low >= 880 and self.high <= 1100 and 59_300 <= self.mhz <= 60_500


class Store:
    def __init__(self, trusted: bool) -> None:
        self.trusted = trusted


class Keeper:
    def __init__(self, trusted: bool) -> None:
        self.latch_store = Store(trusted)


class Household(WindowRig):
    """`grid`: volts of both legs, 0: it failed; `hz`; `weld`, `stick`: bits of contacts that do
    not open, or close; `lies`: what an auxiliary contact says, whatever is. `blind`: the code of
    a broken grid sensor, 0: they are sound.
    `volts`: the vehicle's. `before`: the same home before the chip restarted."""

    def __init__(
        self,
        before: Household | None = None,
        bad_end: bool = False,
        trusted: bool = True,
        **settings: Any,
    ) -> None:
        self.blind: int = before.blind if before else 0
        self.grid: float = before.grid if before else 120.0
        self.hz: float = before.hz if before else 60.0
        self.weld: int = before.weld if before else 0
        self.stick: int = before.stick if before else 0
        self.lies: dict[int, bool] = before.lies if before else {}
        self.closed: int = before.closed & self.weld if before else 0  # the chip's pins fell
        self._since = [-1_000_000] * 3
        self._level = [0] * 3
        self._bare = 0
        self.bare_us = 0  # the longest time of the source without its bond
        self.dark_us = 0
        self.history: list[tuple[int, int]] = []  # when, which contacts are closed
        self.station: Any = None
        self.ready = False
        named = {name.replace("__", "."): value for name, value in settings.items()}
        WindowRig.__init__(self, "simulated_home", named, before)
        power = self.board.power
        assert power is not None
        self._pins = power["contacts"]
        self._aux = power["seen"]
        machine.on_read = self.read
        # what the part wants of an app
        self.fast = self.lane
        self.keeper = Keeper(trusted)
        self._ended_badly = bad_end
        self._stop = ""
        self.station = stations.Station(self)
        self.controller.station = self.station
        from firmware.hal.contacts import Contacts

        self.station.contacts = Contacts(power)
        self.station.sense = self.sense = Sense(self)
        self.home = homes.Home(self.station)
        self.station.add("home", self.home)
        self.ready = True

    # -- the plant ----------------------------------------------------------------------------

    def on_level(self, gpio: int, level: int) -> None:
        if not self.ready or gpio not in self._pins:
            return
        self.look()
        i = self._pins.index(gpio)
        self._level[i] = level
        self._since[i] = self.t_us
        if level and gpio == self._pins[1]:
            assert self.home.transfer.lock.outputs & il.SOURCE, "the relay without the interlock"
            assert self.lane.allowed & self.home.mask == self.home.mask

    def look(self) -> int:
        """Where the contacts are now."""
        was = self.closed
        for i, contact in enumerate(il.CONTACTS):
            up = self._level[i] == 1
            if self.t_us - self._since[i] < (CLOSE_US if up else OPEN_US):
                continue
            if up and not self.stick & contact:
                self.closed |= contact
            elif not up and not self.weld & contact:
                self.closed &= ~contact
        closed = self.closed
        assert closed & 3 != 3, f"grid and source are both closed: {self.log()}"
        assert closed & (il.GRID | il.BOND) != il.GRID | il.BOND, f"bonded twice: {self.log()}"
        if closed & il.SOURCE and not closed & il.BOND and self.home.transfer.lock.bonds:
            self._bare = self._bare or self.t_us
            self.bare_us = max(self.bare_us, self.t_us - self._bare)
        else:
            self._bare = 0
        if closed != was:
            self.history.append((self.t_us, closed))
        return closed

    def read(self, gpio: int) -> int:
        """Auxiliary contacts pull to ground when closed."""
        if gpio in self._aux:
            i = self._aux.index(gpio)
            closed = bool(self.look() & il.CONTACTS[i])
            return 0 if self.lies.get(il.CONTACTS[i], closed) else 1
        return 1

    def fed(self) -> str:
        """Who feeds the home."""
        closed = self.look()
        if closed & il.GRID and self.grid > 60:
            return "grid"
        return "vehicle" if closed & il.SOURCE and self.volts > 60 else "dark"

    def amps(self, name: str) -> float:
        if name.startswith("home_"):
            fed = self.ready and self.look() & il.SOURCE and self.volts > 60
            return self.load[name] if fed else 0.0
        return super().amps(name)

    def street(self) -> tuple[float, float]:
        """Volts and hertz on the grid's side."""
        if self.grid > 0:
            return self.grid, self.hz
        # a home that is fed from behind a closed grid contact feeds the street
        back = self.closed & il.SOURCE and self.backfeeds
        return (self.volts, 60.0) if back else (0.0, 0.0)

    backfeeds = False  # a second path to the street that no auxiliary contact shows

    def window(self) -> None:
        super().window()
        if self.ready and self.fed() == "dark":
            self.dark_us += self.n * self.lane.period_us

    # -- words --------------------------------------------------------------------------------

    @property
    def now(self) -> str:
        return tr.STATES[self.home.transfer.state]

    def transfers(self) -> list[str]:
        """The journal's transfers: "backup grid"."""
        return [
            f"{tr.STATES[r[4]]} {events.name(events.REASONS, r[3])}"
            for r in self.journal.since(0)
            if r[1] == events.TRANSFER
        ]

    def came(self, state: str, within_s: float) -> float:
        return self.until(lambda: self.now == state, within_s)

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = self.home.report()["home"]
        return found

    def ask(self, *words: str) -> str:
        """The command `home`; "" or why not."""
        from firmware.interfaces import homecommand

        self.controller.station = self.station
        try:
            homecommand.home(self, list(words), "console")
        except homecommand.Refused as error:
            return str(error)
        return ""


__all__ = ["BARE_US", "CONTROL_US", "Household", "Sense"]
