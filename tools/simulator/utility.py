"""The grid, and the vehicle's inverter in step with it. Used by plant.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tools.simulator.loads import SQRT2
from tools.simulator.supply import NOMINAL_V, TAU, Supply
from tools.simulator.wiring import SimError

if TYPE_CHECKING:
    from tools.simulator.plant import Plant

_GOOD = (0.88, 1.10, 59.3, 60.5)  # IEEE 1547's continuous range: outside it the grid is lost
_PHASE = 0.2  # cycles of the grid ahead of the vehicle at the start


class Grid(Supply):
    """The utility: as the vehicle's supply, with a level of its own for each leg."""

    name = "grid"

    def __init__(self, hz: float, phase: float = _PHASE) -> None:
        super().__init__(hz)
        self.nominal_hz = 60.0 if hz > 55 else 50.0
        self.cyc0 = phase
        self.legs = [1.0, 1.0]  # of the set voltage
        self.island = False  # nobody feeds it but the inverter

    def set_legs(self, one: float, two: float) -> None:
        """Voltages of L1 and L2, V RMS (0 to 200)."""
        for volts in (one, two):
            if not 0.0 <= volts <= 200.0:
                raise SimError(f"grid volts {volts:g} is outside 0 to 200 (leg to neutral)")
        self.legs = [one / NOMINAL_V, two / NOMINAL_V]

    def leg_volts(self, leg: int) -> float:
        """V RMS of a leg."""
        return self.rms * self.legs[leg]

    @property
    def mean(self) -> float:
        """Mean of the two legs over what was set."""
        return (self.legs[0] + self.legs[1]) / 2.0

    @property
    def alive(self) -> bool:
        """Whether anything can run on it."""
        return self.per_unit * max(self.legs) >= 0.1

    @property
    def good(self) -> bool:
        """Within the range in which everything stays connected."""
        low, high, least, most = _GOOD
        shift = self.nominal_hz - 60.0
        levels = [self.per_unit * leg for leg in self.legs]
        return (
            low <= min(levels) and max(levels) <= high and least <= self.hz - shift <= most
        ) and not self.island

    def volts_at(self, leg: int, t_us: float) -> float:
        """Voltage of a leg to neutral at an instant; L2 is the reverse of L1."""
        s = math.sin(TAU * ((self.cyc0 + (t_us - self.t0) * self.per_us) % 1.0))
        v = s * (self.a + self.b * s * s) * self.legs[leg]
        return -v if leg else v

    def leg_one(self, t_us: float) -> float:
        """What the sensor of L1 sees."""
        return self.volts_at(0, t_us)

    def leg_two(self, t_us: float) -> float:
        """What the sensor of L2 sees."""
        return self.volts_at(1, t_us)

    def set_phase(self, cycles: float, t_us: int) -> None:
        """Jump to a phase, cycles."""
        self.cyc0 = cycles
        self.t0 = t_us


class VehicleSupply(Supply):
    """The vehicle's inverter: it makes its own voltage, or takes part in the grid's."""

    leader: Grid | None = None

    def __init__(self, hz: float) -> None:
        super().__init__(hz)
        self.own_hz = hz

    @property
    def rms(self) -> float:
        """Volts RMS of one leg to neutral."""
        if self.leader is not None:
            return self.leader.rms * self.leader.mean
        return Supply.rms.fget(self)  # type: ignore[attr-defined,no-any-return]

    def set_hz(self, hz: float, t_us: int) -> None:
        if self.leader is not None:
            raise SimError("the vehicle follows the grid: its frequency is the grid's")
        super().set_hz(hz, t_us)
        self.own_hz = hz

    def steer(self, hz: float, t_us: int) -> None:
        """Run at another frequency for a while, to come into step with the grid."""
        super().set_hz(hz, t_us)

    def follow(self, grid: Grid) -> None:
        """Take over the grid's wave; again after each change of it."""
        self.leader = grid
        self.hz, self.per_us = grid.hz, grid.per_us
        self.t0, self.cyc0 = grid.t0, grid.cyc0
        self.a, self.b = grid.a * grid.mean, grid.b * grid.mean

    def leave(self, t_us: int) -> None:
        """Make an own voltage again, without a step in phase."""
        self.leader = None
        super().set_hz(self.own_hz, t_us)
        self._shape()


class Inverter:
    """Between charge port and grid, with the wallbox's contactor: it gives current in step with
    the grid, as much as the set point says, from `permit` on and until that falls."""

    FAULTS = ("ok", "no_cease", "over", "blind")

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.rating_w = 11_500.0
        self.start_ms = 2000.0  # to come into step
        self.cease_ms = 15.0  # after the 5 ms of the input
        self.detect_ms = 1000.0  # of an island
        self.ramp_w_per_s = 5000.0
        self.fault = "ok"  # no_cease: ignores permit falling; over: 30 % more; blind: no island
        self.state = "off"  # off, starting, connected, lost
        self.permit = False
        self.duty = 0.0
        self.import_w = 0.0  # what the vehicle takes from the grid
        self.events: list[tuple[int, str]] = [(0, "off")]
        self._from_w = 0.0
        self._target_w = 0.0
        self._since_us = 0
        self._event = 0
        self._volts = 2.0 * NOMINAL_V

    def watts(self, t_us: float) -> float:
        """What it means to give, W; negative: it takes."""
        rest = self._target_w - self._from_w
        done = self.ramp_w_per_s * (t_us - self._since_us) * 1e-6
        if done >= abs(rest):
            return self._target_w
        return self._from_w + math.copysign(max(0.0, done), rest)

    def current(self, t_us: int, volts: float, sin: float, cos: float, cycles: float) -> float:
        """Amps out of a pole, in phase with its voltage."""
        return SQRT2 * self.watts(t_us) / self._volts * sin

    @property
    def connected(self) -> bool:
        """Whether the wallbox's contactor is closed."""
        return self.state == "connected"

    def _go(self, state: str, t_us: int) -> None:
        if state != self.state:
            self.state = state
            self.events.append((t_us, state))

    def update(self, t_us: int) -> None:
        """Something was changed: the set point, the permit, the grid."""
        plant = self.plant
        grid = plant.grid
        wanted = self.permit or self.import_w > 0.0
        if self.state in ("off", "starting") and wanted:
            usable = grid.alive and grid.per_unit >= 0.5
            if self.state == "off" and usable:
                self._go("starting", t_us)
                supply = plant.supply
                slip = (grid.cycles(t_us) - supply.cycles(t_us) + 0.5) % 1.0 - 0.5
                supply.steer(grid.hz + slip / (self.start_ms / 1000.0), t_us)
                self._event = plant.at(t_us + round(self.start_ms * 1000), self._connect)
                plant.touched()
            elif self.state == "starting" and not usable:
                self._stop(t_us)
        elif self.state == "starting" or (self.state == "lost" and not wanted):
            self._stop(t_us)
        elif self.connected:
            if not grid.alive:  # nothing to follow: it falls back to a voltage of its own
                self._disconnect(t_us, "lost")
            elif wanted or self.fault == "no_cease":
                plant.supply.follow(grid)
                self._volts = grid.leg_volts(0) + grid.leg_volts(1)
                self._aim(t_us)
            elif not self._event:
                self._event = plant.at(t_us + round(self.cease_ms * 1000), self._cease)

    def _aim(self, t_us: int) -> None:
        target = self.rating_w * self.duty if self.permit else -self.import_w
        stopped = not self.permit or self.duty == 0.0
        if self.fault == "no_cease" and stopped and self.import_w == 0.0:
            target = self._target_w  # goes on as before
        elif self.fault == "over":
            target *= 1.3
        if self.plant.battery.empty:
            target = min(target, 0.0)
        if target != self._target_w:
            self._from_w = self.watts(t_us)
            self._target_w = target
            self._since_us = t_us

    def _stop(self, t_us: int) -> None:
        self.plant.cancel(self._event)
        self._event = 0
        self._go("off", t_us)
        self.plant.supply.leave(t_us)
        self.plant.touched()

    def _connect(self, t_us: int) -> None:
        self._event = 0
        self.plant.books(t_us)
        self._go("connected", t_us)
        self._from_w = self._target_w = 0.0
        self._since_us = t_us
        self.update(t_us)
        self.plant.touched()

    def _cease(self, t_us: int) -> None:
        self._event = 0
        if self.permit or self.import_w > 0.0 or self.fault == "no_cease":  # in the meantime
            self.update(t_us)
        else:
            self._disconnect(t_us, "off")

    def _disconnect(self, t_us: int, state: str) -> None:
        plant = self.plant
        plant.cancel(self._event)
        self._event = 0
        plant.books(t_us)
        self._from_w = self._target_w = 0.0
        self._go(state, t_us)
        plant.supply.leave(t_us)
        if plant.grid.island:
            plant.grid.island = False
            plant.grid.set_on(False, t_us)
        plant.touched()
