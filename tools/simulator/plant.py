"""What a truck that exports power has around it: grid, transfer switch, home, inverter, battery.

Made by truck.py for a board with `power`; a truck without has none of it. It shares the truck's
clock: whatever happens by itself stands on the agenda and happens at its own time. The parts are
in utility.py, home.py and car.py, the commands in plantcommands.py.

How it is wired. The home hangs on the contacts `grid` and `source` of the transfer switch; `bond`
connects the vehicle's neutral to earth. The source contact is the relay of the outlets of the gang
`home`, whose sensors sit at the charge port. The wallbox has a contactor of its own between port
and grid: closed while the inverter is connected, and then the vehicle's voltage is the grid's.
Both contacts closed without that: the difference of the two voltages drives a current through
`TIE_OHMS`, as it would.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tools.simulator.car import Car
from tools.simulator.home import Home
from tools.simulator.supply import NEVER_US
from tools.simulator.utility import Grid, Inverter, VehicleSupply
from tools.simulator.wiring import CONTACTS

if TYPE_CHECKING:
    from tools.simulator.truck import Truck

TICK_US = 100_000
_RECOVERS = 1.0  # per cent, from which an empty battery gives something again
_STEADY_US = 5000  # without an edge for so long it does not pulse
_CONTACTOR_US = (20_000, 12_000)  # operate and release time of a 60 A contactor
_INPUT_US = 5000  # filter of the wallbox's input; longer than scans are fetched ahead


class Edges:
    """Duty of a pin whose edges come one by one, as the emulated chip's do."""

    def __init__(self) -> None:
        self.level = 0
        self.pulsing = False
        self.edge_us = -_STEADY_US
        self._rise_us = self._fall_us = 0
        self._said = (-1.0, 0.0)

    def edge(self, level: int, t_us: int) -> tuple[float, float] | None:
        """(duty, Hz) when they are other ones now."""
        before, self.edge_us = self.edge_us, t_us
        self.level = level
        if not level:
            self._fall_us = t_us
        last, self._rise_us = self._rise_us, t_us if level else self._rise_us
        if t_us - before >= _STEADY_US:
            self.pulsing = False
            return self._say(float(level), 1000.0)
        period = t_us - last
        if level and 0 < self._fall_us - last < period < _STEADY_US:
            self.pulsing = True
            return self._say((self._fall_us - last) / period, 1e6 / period)
        return None

    def steady(self, t_us: int) -> tuple[float, float] | None:
        """The same, now and then: pulses that have ended leave a level."""
        if not self.pulsing or t_us - self.edge_us < _STEADY_US:
            return None
        self.pulsing = False
        return self._say(float(self.level), 1000.0)

    def _say(self, duty: float, hz: float) -> tuple[float, float] | None:
        if abs(duty - self._said[0]) < 0.0015 and abs(hz - self._said[1]) < 1.5:  # 1 us is 0.1 %
            return None
        self._said = (duty, hz)
        return self._said


class Battery:
    """What is left in the vehicle: all feeds drain it, with the inverter's loss."""

    def __init__(self) -> None:
        self.kwh = 123.0
        self.joules = self.kwh * 3.6e6
        self.loss = 0.06  # of what is given or taken
        self.empty = False

    @property
    def percent(self) -> float:
        return 100.0 * self.joules / (self.kwh * 3.6e6)

    def drain(self, joules: float) -> None:
        """So much was given; negative: taken."""
        joules *= 1.0 / (1.0 - self.loss) if joules > 0.0 else 1.0 - self.loss
        self.joules = max(0.0, min(self.kwh * 3.6e6, self.joules - joules))


class Plant:
    """All of it together, with the transfer switch's auxiliary contacts and the books."""

    def __init__(self, truck: Truck, mains_hz: float) -> None:
        power = truck.wiring.power
        assert power is not None and isinstance(truck.supply, VehicleSupply)
        self.truck = truck
        self.supply: VehicleSupply = truck.supply
        self.grid = Grid(mains_hz)
        self.contacts = {name: truck.relays[name] for name in CONTACTS}
        for relay in self.contacts.values():
            relay.operate_us, relay.release_us = _CONTACTOR_US
        self.lies: dict[str, bool] = {}  # contact -> what its auxiliary contact says
        self.switched_neutral = True
        poles = [c for c in truck.circuits if c.name in truck.wiring.poles]
        self.poles = poles
        self.home = Home(truck, self.grid, poles)
        self.inverter = Inverter(self)
        self.battery = Battery()
        outlet = next(c for c in truck.circuits if c.span == 2 and c not in poles)
        self.car = Car(self, outlet)
        self._pilot: int = power["pilot"]
        self._permit: int = power["permit"]
        self._asked = False  # level of that pin
        self._hz: dict[int, int] = {}
        self._edges = {power[name]: Edges() for name in ("pilot", "set_point")}
        self.channels: dict[str, Callable[[float], float]] = {
            "grid_l1": self.grid.leg_one,
            "grid_l2": self.grid.leg_two,
            "pilot": self.car.millivolts,
        }
        # the books
        self.both_closed = 0  # times that a coil has closed one contact with the other one closed
        self.spans = dict.fromkeys(("parallel", "unbonded", "double_bond", "island"), 0)
        self.exported = [0.0, 0.0]  # J to the grid, from it
        self._flags: tuple[str, ...] = ()
        self._flags_us = 0
        self._joules = 0.0
        self._port_joules = 0.0
        self._was_good = True
        self.lost_us: int | None = None
        self.changeover: dict[str, float] = {}  # ms since the grid was lost
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._cancelled: set[int] = set()
        self._number = 0
        self.next_us = NEVER_US
        self.at(TICK_US, self._tick)

    # -- the agenda ----------------------------------------------------------------------------

    def at(self, t_us: int, what: Callable[[int], None]) -> int:
        """Do something at a time; the number that cancel() takes."""
        self._number += 1
        heapq.heappush(self._agenda, (t_us, self._number, what))
        self.next_us = self._agenda[0][0]
        self.truck.due_at(self.next_us)
        return self._number

    def cancel(self, number: int) -> None:
        """Take something off the agenda; 0, or what has happened already, is nothing."""
        if any(number == entry[1] for entry in self._agenda):
            self._cancelled.add(number)

    def run_due(self, t_us: int) -> None:
        """Do what is due. Called by the truck's clock."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= t_us:
            _, number, what = heapq.heappop(agenda)
            if number in self._cancelled:
                self._cancelled.discard(number)
            else:
                what(t_us)
        self.next_us = agenda[0][0] if agenda else NEVER_US

    def touched(self) -> None:
        """Something electrical has changed."""
        self.truck.changed()

    def _tick(self, t_us: int) -> None:
        self.at(t_us + TICK_US, self._tick)
        self.books(t_us)
        grid = self.grid
        if grid.island:
            self._drift(t_us)
        if self.inverter.state in ("off", "starting", "lost"):
            self.inverter.update(t_us)
        for gpio, edges in self._edges.items():
            found = edges.steady(t_us)
            if found:
                self._pulse(gpio, *found, t_us)
        self.car.tick(t_us)

    def _drift(self, t_us: int) -> None:
        hz = self.grid.hz + self.island_drift * TICK_US * 1e-6
        if 40.0 <= hz <= 70.0:
            self.grid.set_hz(hz, t_us)
        self.after_grid(t_us)

    # -- pins ----------------------------------------------------------------------------------

    def coil(self, name: str, on: bool, t_us: int) -> None:
        """The chip has driven or released a contact's coil."""
        if self.lost_us is not None:
            if name == "grid" and not on:
                self._mark("isolate", t_us)
            elif name == "source" and on:
                self._mark("source", t_us)

    def pin(self, gpio: int, level: int | None, t_us: int) -> None:
        """Another pin of the chip: permit, or one that pulses left at a level."""
        if gpio == self._permit:
            if bool(level) != self._asked:
                self._asked = bool(level)
                self.truck.edges.append((t_us, gpio, int(self._asked)))
            self.at(t_us + _INPUT_US, lambda now: self._permitted(bool(level), now))
        elif gpio in self._edges:
            found = self._edges[gpio].edge(1 if level else 0, t_us)
            if found:
                self._pulse(gpio, *found, t_us)

    def _permitted(self, on: bool, t_us: int) -> None:
        if on != self.inverter.permit:
            self.inverter.permit = on
            self.inverter.update(t_us)

    def pulses(self, gpio: int, t_us: int, hz: int | None, duty_u16: int | None) -> None:
        """Frequency or duty of a pin with PWM."""
        if hz is not None:
            self._hz[gpio] = hz
        if duty_u16 is None:
            return
        if gpio in self._edges:
            self._edges[gpio] = Edges()
            self._pulse(gpio, duty_u16 / 65535.0, self._hz.get(gpio, 1000), t_us)

    def _pulse(self, gpio: int, duty: float, hz: float, t_us: int) -> None:
        if gpio == self._pilot:
            self.car.drive(duty, hz, t_us)
        else:
            self.inverter.duty = duty
            self.inverter.update(t_us)

    def seen(self, name: str) -> int:
        """Level of an auxiliary contact's pin: low is closed."""
        closed = self.lies.get(name, self.contacts[name].closed)
        return 0 if closed else 1

    # -- what changes --------------------------------------------------------------------------

    def moved(self, name: str, closed: bool, t_us: int) -> None:
        """A contact has followed its coil."""
        if name not in CONTACTS:
            return
        if closed and name != "bond":
            other = "source" if name == "grid" else "grid"
            if self.contacts[other].closed:
                self.both_closed += 1
        if self.lost_us is not None:
            if name == "grid" and not closed:
                self._mark("isolated", t_us)
            elif name == "source" and closed:
                self._mark("fed", t_us)

    def _mark(self, what: str, t_us: int) -> None:
        assert self.lost_us is not None
        self.changeover.setdefault(what, (t_us - self.lost_us) / 1000.0)

    def after_grid(self, t_us: int) -> None:
        """The grid's voltage or frequency is another one now."""
        grid = self.grid
        good = grid.good
        if self._was_good and not good:
            self.lost_us = t_us
            self.changeover = {}
        self._was_good = good
        self.inverter.update(t_us)
        self.touched()

    def start_island(self, drift: float, t_us: int) -> None:
        """The utility has gone; what the inverter gives keeps the voltage up, if it gives any."""
        if not self.inverter.connected:
            self.grid.set_on(False, t_us)
            self.after_grid(t_us)
            return
        self.grid.island = True
        self.island_drift = drift
        if self.inverter.fault != "blind":
            self.at(t_us + round(self.inverter.detect_ms * 1000), self._detect)
        self.after_grid(t_us)

    island_drift = 0.0

    def _detect(self, t_us: int) -> None:
        if self.grid.island and "island" in self.truck.input_levels:
            self.truck.input_levels["island"] = 1

    def settle(self, t_us: int) -> None:
        """After every change: called by the truck when it has worked out its outlets."""
        self.books(t_us)
        grid, source, bond = (self.contacts[name].closed for name in CONTACTS)
        self.home.settle(t_us, grid)
        if self.inverter.connected:
            for pole in self.poles:
                pole.currents += (self.inverter.current,)
        flags = []
        if source and (grid or self.inverter.connected):
            flags.append("parallel")
        if self.switched_neutral and source and not grid and not bond:
            flags.append("unbonded")
        if bond and (grid or not self.switched_neutral):
            flags.append("double_bond")
        if self.grid.island:
            flags.append("island")
        self._flags = tuple(flags)

    def books(self, t_us: int) -> None:
        """Carry times and energies on; before anything changes that they are booked by."""
        span = t_us - self._flags_us
        self._flags_us = t_us
        for name in self._flags:
            self.spans[name] += span
        joules = sum(c.joules for c in self.truck.circuits)
        given, self._joules = joules - self._joules, joules
        if given:
            self.battery.drain(given)
            battery = self.battery
            most = _RECOVERS if battery.empty else 0.0
            if battery.empty != (battery.percent <= most):
                self._run_dry(not battery.empty, t_us)
        port = sum(c.joules for c in self.poles)
        if port != self._port_joules:
            if self.inverter.connected:
                self.exported[port < self._port_joules] += abs(port - self._port_joules)
            self._port_joules = port

    def fill(self, kwh: float, percent: float) -> None:
        """Another battery, filled so far. One that was empty gives a voltage again."""
        now = self.truck.now_us
        self.books(now)
        battery = self.battery
        battery.kwh, battery.joules = kwh, kwh * 3.6e6 * percent / 100.0
        if battery.empty == (percent > 0.0):
            self._run_dry(not battery.empty, now)
        self.touched()

    def _run_dry(self, empty: bool, t_us: int) -> None:
        """The battery is empty, or was charged since."""
        self.battery.empty = empty
        self.supply.set_on(not empty, t_us)
        self.at(t_us, self._after_dry)

    def _after_dry(self, t_us: int) -> None:
        self.inverter.update(t_us)
        self.touched()

    # -- the truth -----------------------------------------------------------------------------

    def truth(self, t_us: int) -> dict[str, Any]:
        """What really is, for verdicts; see docs/scenarios.md."""
        self.books(t_us)
        grid, inverter, home = self.grid, self.inverter, self.home
        watts = sum(c.watts for c in self.poles)
        slip = (grid.cycles(t_us) - self.supply.cycles(t_us) + 0.5) % 1.0 - 0.5
        closed = {f"{name}_closed": relay.closed for name, relay in self.contacts.items()}
        return {
            "home": {
                "feed": home.feed,
                "loads": list(home.loads),
                "watts": 0.0 if inverter.connected else watts,
                **closed,
                "both_closed": self.both_closed,
                **{
                    f"{name}_ms": self.spans[name] / 1000.0
                    for name in ("parallel", "unbonded", "double_bond")
                },
                **{f"{name}_after_ms": ms for name, ms in self.changeover.items()},
            },
            "grid": {
                "l1_v": grid.leg_volts(0),
                "l2_v": grid.leg_volts(1),
                "hz": grid.hz,
                "good": grid.good,
                "slip_deg": slip * 360.0,
                "inverter": inverter.state,
                "permit": inverter.permit,
                "set_point_w": inverter.rating_w * inverter.duty,
                "export_w": watts if inverter.connected else 0.0,
                "exported_kwh": self.exported[0] / 3.6e6,
                "imported_kwh": self.exported[1] / 3.6e6,
                "island_ms": self.spans["island"] / 1000.0,
            },
            "car": self.car.truth(t_us),
            "battery": {"kwh": self.battery.joules / 3.6e6, "percent": self.battery.percent},
        }

    def state(self) -> list[str]:
        """Lines for `sim state`."""
        t = self.truth(self.truck.now_us)
        home, grid, battery = t["home"], t["grid"], t["battery"]
        loads = " ".join(home["loads"]) or "(nothing on)"
        lies = " ".join(f"{n}={'closed' if c else 'open'}" for n, c in self.lies.items())
        permit = "permit" if grid["permit"] else "no permit"
        volts = f"{grid['l1_v']:.1f} {grid['l2_v']:.1f} V {grid['hz']:g} Hz"
        if lies:
            loads += f", lies: {lies}"
        return [
            f"  home       fed by {home['feed']}, {home['watts']:.0f} W of the vehicle, {loads}",
            f"  utility    {volts}, {grid['slip_deg']:.0f} degrees ahead",
            f"  inverter   {grid['inverter']}, {permit}, {grid['export_w']:.0f} W to the grid",
            f"  car        {self.car.words()}",
            f"  battery    {battery['kwh']:.2f} kWh, {battery['percent']:.1f} %",
        ]
