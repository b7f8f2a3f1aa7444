"""The home behind the transfer switch: its loads, and who feeds them. Used by plant.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulator.loads import Load
from tools.simulator.supply import Supply
from tools.simulator.utility import Grid
from tools.simulator.wiring import SimError

if TYPE_CHECKING:
    from tools.simulator.truck import Circuit, Truck

TIE_OHMS = 0.1  # cables between vehicle and grid, and the street behind them


class Across:
    """How a pole of the feed sees a load that lies across both."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def one(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        """Amps out of L1."""
        return self.load.current(t_us, 2.0 * volts, sin, cos, cycles)

    def two(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        """Amps out of L2: what came out of L1 goes back."""
        return -self.load.current(t_us, -2.0 * volts, -sin, -cos, cycles - 0.5)


class Tie:
    """Vehicle and grid in parallel out of step."""

    def __init__(self, grid: Grid, leg: int) -> None:
        self.grid = grid
        self.leg = leg

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        """Amps out of the vehicle."""
        return (volts - self.grid.volts_at(self.leg, t_us)) / TIE_OHMS


class Day(Load):
    """A household's use over a day: `kwh` in `day_s`, most of it in the evening."""

    summary = "a household's day; kwh= (30) day_s= (86400) start_h= (0)"
    # share of each hour, about as the load profiles of single houses have it
    HOURS = (
        2.6, 2.3, 2.2, 2.1, 2.2, 2.6, 3.6, 4.6, 4.5, 4.0, 3.8, 3.9,
        4.1, 4.1, 4.2, 4.4, 5.0, 6.2, 7.2, 7.0, 6.4, 5.4, 4.3, 3.3,
    )  # fmt: skip

    def __init__(
        self, legs: int, kwh: float = 30.0, day_s: float = 86_400.0, start_h: float = 0.0
    ) -> None:
        super().__init__(legs)
        if not 0.0 <= start_h < 24.0 or day_s < 1.0:
            raise SimError("day: start_h is 0 to 24, day_s at least 1")
        mean = kwh * 3.6e6 / day_s  # W
        self.watts = [mean * share * 24.0 / sum(self.HOURS) for share in self.HOURS]
        self._hour_us = day_s * 1e6 / 24.0
        self._start = start_h

    def at(self, t_us: float) -> float:
        """W at nominal voltage."""
        return self.watts[int(self._start + t_us / self._hour_us) % 24]

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        return volts * self.at(t_us) / (self.volts * self.volts)


class Home:
    """The panel behind the transfer switch: its loads, and who feeds them."""

    def __init__(self, truck: Truck, grid: Grid, poles: list[Circuit]) -> None:
        self.truck = truck
        self.grid = grid
        self.poles = poles
        self.loads: dict[str, tuple[int, Load]] = {}  # label -> (0 L1, 1 L2, 2 both, load)
        self.feed = "dark"  # grid, vehicle, both, dark
        self.feeds: list[tuple[int, str]] = [(0, "dark")]
        self._ties = [Tie(grid, pole.leg) for pole in poles]
        self._currents: list[tuple[Any, ...]] = [(), ()]

    def plug(self, name: str, leg: int, load: Load) -> str:
        """Connect a load; the label it goes by."""
        label, n = name, 1
        while label in self.loads:
            n += 1
            label = f"{name}_{n}"
        self.loads[label] = (leg, load)
        self._plan()
        if self.feed != "dark":
            self._energise(leg, load)
        self.truck.changed()
        return label

    def unplug(self, label: str | None) -> None:
        """Disconnect one load, or all."""
        for name in list(self.loads) if label is None else [label]:
            _, load = self.loads.pop(name)
            if self.feed != "dark":
                load.deenergise(self.truck.now_us)
        self._plan()
        self.truck.changed()

    def _plan(self) -> None:
        """What conducts at each pole."""
        currents: list[tuple[Any, ...]] = []
        for k, pole in enumerate(self.poles):
            mine: list[Any] = []
            for leg, load in self.loads.values():
                if leg == 2:
                    across = Across(load)
                    mine.append(across.two if pole.leg else across.one)
                elif leg == k:
                    mine.append(load.current)
            currents.append(tuple(mine))
        self._currents = currents

    def _energise(self, leg: int, load: Load) -> None:
        now = self.truck.now_us
        source: Supply = self.grid if self.feed == "grid" else self.truck.supply
        load.energise(now, source.cycles(now) + (0.5 if leg == 1 else 0.0))

    def settle(self, t_us: int, grid_closed: bool) -> None:
        """After any change: who feeds the home, and what flows through the charge port."""
        supply = self.truck.supply
        for k, pole in enumerate(self.poles):  # an arc needs something that it feeds
            if pole.arcing and not (pole.loads or self._currents[k] or grid_closed):
                pole.arcing = pole.powered = False
        fed = any(pole.powered for pole in self.poles)
        on_grid = grid_closed and self.grid.alive
        feed = "dark"
        if fed:
            feed = "both" if grid_closed else "vehicle"
        elif on_grid:
            feed = "grid"
        for leg, load in self.loads.values():
            if feed == "grid":
                level = self.grid.mean if leg == 2 else self.grid.legs[leg]
                load.per_unit = self.grid.per_unit * level
                load.source_ohms = 0.0
            else:
                load.per_unit = supply.per_unit
                load.source_ohms = supply.ohms
        if feed != self.feed:
            was, self.feed = self.feed, feed
            self.feeds.append((t_us, feed))
            if {was, feed} != {"vehicle", "both"}:
                for leg, load in self.loads.values():
                    if was != "dark":
                        load.current(t_us, 0.0, 0.0, 0.0, 0.0)  # a thermostat catches up
                        load.deenergise(t_us)
                    if feed != "dark":
                        self._energise(leg, load)
        for k, pole in enumerate(self.poles):
            pole.currents = ()
            if pole.powered and (pole.relay.closed or pole.arcing):
                own = tuple(load.current for load in pole.loads.values())
                pole.currents = own + self._currents[k]
                if grid_closed:
                    pole.currents += (self._ties[k].current,)
