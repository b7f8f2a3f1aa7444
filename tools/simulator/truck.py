"""The simulated truck: supply, relays, loads and sensors of one board, on one clock.

Used by CPython tests directly, by the host process of `make run` over two FIFOs, and by the
emulated chip one conversion at a time. Every call carries the time in us, which never goes back;
nothing here looks at a wall clock, and the same seed and calls give the same codes.

Current at opening: a contact opens its release time after the coil is off; a current above 0.5 A
then goes on as an arc to its next zero, half a cycle at most. A contact that bounces interrupts
the current without an arc, and does not make the loads start anew.

`python -m tools.simulator.truck --bench` prints what a scan costs.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from typing import Any

from tools.simulator import commands, sensors
from tools.simulator.loads import Load
from tools.simulator.relays import Relay
from tools.simulator.sensors import NOISE_LENGTH, Clipping, Sensor
from tools.simulator.supply import NEVER_US, TAU, Supply
from tools.simulator.wiring import SimError, Wiring, demo_board

__all__ = ["Circuit", "SimError", "Truck"]

_ARC_AMPS = 0.5  # less than this a contact interrupts at once
_WELD_WINDOW_US = 10_000  # contacts weld while closing or bouncing, not later
_ADC_MEASURE_US = 100  # conversions come 2 us apart; metering needs no more than this

_CONSTANT, _IDLE, _VOLTAGE, _CURRENT, _FUNCTION = range(5)


class Circuit:
    """One outlet: its relay, what is plugged in, and what has flowed."""

    __slots__ = (
        "amps",
        "amps_rms",
        "arc_end_us",
        "arcing",
        "charge",
        "currents",
        "drop",
        "factor",
        "index",
        "joules",
        "leg",
        "loads",
        "mark_charge",
        "mark_joules",
        "name",
        "peak",
        "power",
        "powered",
        "relay",
        "shift",
        "sign",
        "span",
        "square",
        "watch_weld",
        "watts",
    )

    def __init__(self, index: int, outlet: Any, relay: Relay) -> None:
        self.name: str = outlet.name
        self.index = index
        self.relay = relay
        self.leg: int = outlet.volts  # 0, 1 or 2 = across both
        self.sign = -1.0 if outlet.volts == 1 else 1.0
        self.span = 2 if outlet.volts == 2 else 1
        self.factor = self.sign * self.span  # outlet volts over L1-N volts
        self.shift = 0.5 if outlet.volts == 1 else 0.0  # phase of its voltage, cycles
        self.loads: dict[str, Load] = {}
        self.currents: tuple[Any, ...] = ()  # bound methods of what conducts now
        self.powered = False
        self.arcing = False
        self.arc_end_us = 0
        self.amps = 0.0
        self.drop = 0.0
        self.square = 0.0
        self.power = 0.0
        self.charge = 0.0  # integral of amps squared, A2 s
        self.joules = 0.0
        self.mark_charge = 0.0
        self.mark_joules = 0.0
        self.amps_rms = 0.0
        self.watts = 0.0
        self.peak = 0.0
        self.watch_weld = False


class Truck:
    """The plant. See docs/architecture.md, "Truck", for the calls others rely on."""

    # What exports power has around it, see plant.py. Of the class, because CPython looks up the
    # attributes of an instance faster as long as there are no more than 29.
    plant: Any = None

    def __init__(self, board: Any, seed: int = 0, mains_hz: float = 60.0) -> None:
        self.wiring = Wiring(board)
        self.skew_us: float | None = None  # between conversions of one scan; None: the board's
        self._board_skew = getattr(board, "skew_us", None)
        self._twice = [i for i, c in enumerate(board.channels) if getattr(c, "twice", False)]
        self.truth_step_us = 500  # longest step of the metering integrals; smaller = more exact
        self.supply = Supply(hz=mains_hz)
        if self.wiring.power is not None:
            from tools.simulator.utility import VehicleSupply

            self.supply = VehicleSupply(mains_hz)
        self.edges: list[tuple[int, int, int]] = []
        self.contacts: list[tuple[int, str, bool]] = []
        self.pins: dict[int, int | None] = {}
        self.input_levels: dict[str, int] = dict.fromkeys(self.wiring.inputs, 0)
        self.aux_mv: dict[int, float] = {}
        self.silent = False  # conversions never end; whoever samples has to look
        self.relays: dict[str, Relay] = {n: Relay(n) for n in self.wiring.relay_names}
        self.circuits = [
            Circuit(i, o, self.relays[self.wiring.relay_of(o.name)])
            for i, o in enumerate(self.wiring.outlets)
        ]
        rng = random.Random(seed)
        self.sensors = [
            Sensor(c.name, c.kind, c.full_scale, rng.uniform(-4.0, 4.0))
            for c in self.wiring.channels
        ]
        for i, channel in enumerate(self.wiring.channels):
            if channel.kind == "aux":
                warm = channel.name.startswith("temperature")
                self.aux_mv[i] = sensors.ntc_millivolts(25.0) if warm else 0.0
        self._noise = sensors.noise_table(seed)
        self._noise_at = 0
        self._tables = (None, sensors.E11_CODES, sensors.spiked_codes())
        if getattr(board, "adc_errata", None) == "e11":
            for sensor in self.sensors:
                sensor.configure(dnl=1)
        self._now = 0
        self._measured_us = 0
        self._cycle_start_us = 0
        self._cycle_end_us = 0
        self._next_us = NEVER_US
        self._live: list[Circuit] = []
        self._leg_drops = [0.0, 0.0, 0.0]  # of L1, L2 and across
        self._selected: dict[int, int | None] = {}
        self._scan_plan: list[tuple[Any, ...]] = []
        self._adc_plans: list[tuple[tuple[Any, ...], ...]] = []
        self._plan_key: tuple[float | None, float] = (-1.0, 0.0)
        self._set_cycle_end(0)
        if self.wiring.power is not None:
            from tools.simulator.plant import Plant

            self.plant = Plant(self, mains_hz)
        self.changed()

    # -- what the firmware's hardware does ----------------------------------------------------

    @property
    def now_us(self) -> int:
        """Time of the latest call."""
        return self._now

    def scan(self, t_us: int) -> list[int]:
        """Codes of all channels in scan order, each converted as long after `t_us` as the board
        (or `skew_us`, from each to the next) says."""
        self._advance(t_us)
        self._measure(t_us)
        if self._plan_key != (self.skew_us, self.supply.hz):
            self._replan()
        codes = self._codes(self._scan_plan, t_us)
        for i in self._twice:
            codes[i] = codes[i] + codes.pop() + 1 >> 1
        return codes

    def adc(self, gpio: int, t_us: int) -> int:
        """One conversion of ADC pin `gpio`, multiplexer addressed by the pins as they are.

        A pin or address that nothing is wired to reads 0.
        """
        self._advance(t_us)
        if t_us - self._measured_us >= _ADC_MEASURE_US:
            self._measure(t_us)
        try:
            channel = self._selected[gpio]
        except KeyError:
            channel = self._selected[gpio] = self.wiring.channel_at(gpio, self.pins)
        if channel is None:
            return 0
        return self._codes(self._adc_plans[channel], t_us)[0]

    @property
    def latency_us(self) -> int:
        """No contact follows its coil sooner than this, so that scans this far ahead are certain
        whatever the chip does with its pins; the link fetches them in one exchange."""
        quickest = min(min(r.operate_us, r.release_us) for r in self.relays.values())
        return max(0, quickest - 500)

    def set_pin(self, gpio: int, level: int | None, t_us: int) -> None:
        """The chip drives `gpio` high or low, or releases it (None: pull-downs keep coils off).

        `t_us` may lie up to `latency_us` before the clock: see there.
        """
        if t_us < self._now and t_us < self._now - self.latency_us:
            raise ValueError(f"an edge at {t_us} us is too late for a clock at {self._now} us")
        self._advance(max(t_us, self._now))
        before = self.pins.get(gpio)
        if level is not None:
            level = 1 if level else 0
        self.pins[gpio] = level
        if gpio in self.wiring.mux_address:
            self._selected.clear()
        name = self.wiring.coils.get(gpio)
        if name is None or bool(before) == bool(level):
            if name is None and self.plant is not None:
                self.plant.pin(gpio, level, t_us)
            return
        self.edges.append((t_us, gpio, 1 if level else 0))
        if self.plant is not None:
            self.plant.coil(name, bool(level), t_us)
        self.relays[name].drive(bool(level), t_us)
        self._run_due(t_us)  # a relay set to move in no time at all moves now
        self._reschedule()

    def set_pulses(
        self, gpio: int, t_us: int, hz: int | None = None, duty_u16: int | None = None
    ) -> None:
        """The chip changes frequency or duty (0 to 65535) of a pin's PWM."""
        self._advance(t_us)
        self.pins[gpio] = None  # the next level is news
        if self.plant is not None:
            self.plant.pulses(gpio, t_us, hz, duty_u16)

    def read_pin(self, gpio: int, t_us: int) -> int:
        """Level of a pin: of an input as it is wired, of an output as it is driven."""
        self._advance(t_us)
        name = self.wiring.input_names.get(gpio)
        if name is None:
            if gpio in self.wiring.seen:
                level: int = self.plant.seen(self.wiring.seen[gpio])
                return level
            return self.pins.get(gpio) or 0
        relay = name.removesuffix("_feedback")
        if relay != name and relay in self.relays:
            return int(self.relays[relay].closed)
        if name == "gfci" and self.wiring.power is not None:  # its detector answers a test
            test = self.wiring.power.get("ground_test")
            if test is not None and self.pins.get(test):
                return 1
        return self.input_levels[name]

    def command(self, line: str) -> str:
        """Obey a simulator command at the time of the latest call; SimError when it cannot be."""
        self._measure(self._now)
        return commands.run(self, line)

    def truth(self, t_us: int) -> dict[str, Any]:
        """What really is, for verdicts: amps, watts, contacts, energy.

        `amps_rms` and `watts` are of the last whole cycle, `peak_a` is the greatest instantaneous
        current since the previous call, `energy_wh` the integral since the start, all of it as it
        flowed, whatever the sensors say.
        """
        self._advance(t_us)
        self._measure(t_us)
        outlets: dict[str, dict[str, Any]] = {}
        for c in self.circuits:
            outlets[c.name] = {
                "commanded": c.relay.coil,
                "closed": c.relay.closed,
                "powered": c.powered,
                "fault": c.relay.fault,
                "amps_rms": c.amps_rms,
                "watts": c.watts,
                "peak_a": c.peak,
                "energy_wh": c.joules / 3600.0,
                "loads": list(c.loads),
            }
            c.peak = abs(c.amps)
        truth: dict[str, Any] = {
            "t_us": t_us,
            "outlets": outlets,
            "watts": sum(c.watts for c in self.circuits),
            "supply": {"volts": self.supply.rms, "hz": self.supply.hz, "live": self.supply.live},
        }
        contactor = self.relays.get("contactor")
        if contactor is not None:
            truth["contactor"] = {
                "commanded": contactor.coil,
                "closed": contactor.closed,
                "fault": contactor.fault,
            }
        if self.plant is not None:
            truth.update(self.plant.truth(t_us))
        return truth

    # -- what commands do ---------------------------------------------------------------------

    def circuit(self, name: str) -> Circuit:
        """An outlet by name; SimError names the outlets there are."""
        return self.circuits[self.wiring.outlet_index(name)]

    def plug(self, circuit: Circuit, name: str, load: Load) -> str:
        """Plug a load in beside the others; returns the name it goes by (`drill_2` the second)."""
        label, n = name, 1
        while label in circuit.loads:
            n += 1
            label = f"{name}_{n}"
        circuit.loads[label] = load
        load.per_unit = self.supply.per_unit
        load.source_ohms = self.supply.ohms
        if circuit.powered:
            load.energise(self._now, self.supply.cycles(self._now) + circuit.shift)
        self.changed()
        return label

    def unplug(self, circuit: Circuit, name: str | None = None) -> None:
        """Pull one load out, or all of them."""
        for label in list(circuit.loads) if name is None else [name]:
            load = circuit.loads.pop(label)
            if circuit.powered:
                load.deenergise(self._now)
        self.changed()

    def set_relay_fault(self, name: str, fault: str) -> None:
        """`ok`, `welded` or `stuck` for an outlet's relay or the `contactor`."""
        relay = self.relays[name]
        if relay.set_fault(fault, self._now):
            self.contacts.append((self._now, name, relay.closed))
        self.changed()

    def freeze_sensor(self, index: int) -> None:
        """Let a sensor repeat the code it would give now."""
        self.sensors[index].last = self._codes(self._adc_plans[index], self._now)[0]
        self.sensors[index].set_fault("frozen")
        self.changed()

    def changed(self) -> None:
        """Take up any change of supply, relays, loads or sensors at the present time."""
        contactor = self.relays.get("contactor")
        for circuit in self.circuits:
            for load in circuit.loads.values():
                load.per_unit = self.supply.per_unit
                load.source_ohms = self.supply.ohms
            circuit.watch_weld = circuit.relay.weld_amps > 0.0 or (
                contactor is not None and contactor.weld_amps > 0.0
            )
        if self.supply.ohms == 0.0:
            self._leg_drops[:] = [0.0, 0.0, 0.0]
            for circuit in self.circuits:
                circuit.drop = 0.0
        self._set_cycle_end(self._now)
        self._settle()
        self._reschedule()

    # -- the clock ----------------------------------------------------------------------------

    def _advance(self, t_us: int) -> None:
        """Move the clock, letting whatever was due on the way happen at its own time."""
        if t_us < self._now:
            raise ValueError(f"the truck's clock went back from {self._now} to {t_us} us")
        if t_us >= self._next_us:
            while self._next_us <= t_us:
                due = max(self._next_us, self._now)
                self._measure(due)
                self._now = due
                self._run_due(due)
                self._reschedule()
        self._now = t_us

    def _run_due(self, t_us: int) -> None:
        moved = False
        for name, relay in self.relays.items():
            while relay.next_us <= t_us:
                if relay.step(t_us):
                    self.contacts.append((t_us, name, relay.closed))
                    moved = True
                    if self.plant is not None:
                        self.plant.moved(name, relay.closed, t_us)
        if self.supply.restore_us <= t_us:
            self.supply.restore()
            self.changed()
        elif moved:
            self._settle()
        if self.plant is not None and self.plant.next_us <= t_us:
            self.plant.run_due(t_us)

    def _reschedule(self) -> None:
        self._next_us = min(self.supply.restore_us, *(r.next_us for r in self.relays.values()))
        if self.plant is not None:
            self.due_at(self.plant.next_us)

    def due_at(self, t_us: int) -> None:
        """The clock stops at that time, if not before."""
        self._next_us = min(self._next_us, t_us)

    # -- who has current ----------------------------------------------------------------------

    def _settle(self) -> None:
        """Work out which outlets have voltage after a change, and tell their loads."""
        t = self._now
        self._measure(t)
        contactor = self.relays.get("contactor")
        live = self.supply.live
        cycles = self.supply.cycles(t)
        for c in self.circuits:
            bouncing = False
            connected = c.relay.closed and (contactor is None or contactor.closed)
            if connected or not live or not c.loads:  # an arc ends with what draws it
                c.arcing = False
            elif c.powered and not c.arcing:
                bouncing = self._bouncing(c.relay) or (
                    contactor is not None and self._bouncing(contactor)
                )
                if not bouncing and abs(c.amps) > _ARC_AMPS:
                    c.arcing = True
                    c.arc_end_us = t + round(0.5e6 / self.supply.hz)
            powered = live and (connected or c.arcing or bouncing)
            if powered and not c.powered:
                for load in c.loads.values():
                    load.energise(t, cycles + c.shift)
            elif c.powered and not powered:
                for load in c.loads.values():
                    load.deenergise(t)
            c.powered = powered
            conducts = powered and not bouncing
            c.currents = tuple(x.current for x in c.loads.values()) if conducts else ()
        if self.plant is not None:
            self.plant.settle(t)
        self._live = [c for c in self.circuits if c.currents]
        self._sample(t)  # again, now with the new state: the integrals start from here
        self._replan()

    @staticmethod
    def _bouncing(relay: Relay) -> bool:
        return relay.coil and not relay.closed and relay.next_us != NEVER_US

    # -- metering of the truth ----------------------------------------------------------------

    def _set_cycle_end(self, t_us: int) -> None:
        cycles = self.supply.cycles(t_us)
        # 1e-4: a cycle's end is rounded to 1 us, and the next one must not end right there
        left = math.floor(cycles + 1e-4) + 1 - cycles
        self._cycle_end_us = t_us + max(1, round(left / self.supply.per_us))

    def _measure(self, t_us: int) -> None:
        """Carry the integrals on to `t_us`, stopping at each cycle's end."""
        last = self._measured_us
        if t_us <= last:
            return
        while True:
            at = t_us
            if self._live and at - last > self.truth_step_us:
                at = last + self.truth_step_us
            if at >= self._cycle_end_us:
                at = self._cycle_end_us
                self._sample(at)
                self._close_cycle(at)
            else:
                self._sample(at)
            if at >= t_us:
                return
            last = at

    def _close_cycle(self, t_us: int) -> None:
        span = (t_us - self._cycle_start_us) * 1e-6
        if span > 0.0:
            for c in self.circuits:
                c.amps_rms = math.sqrt(max(0.0, c.charge - c.mark_charge) / span)
                c.watts = (c.joules - c.mark_joules) / span
                c.mark_charge = c.charge
                c.mark_joules = c.joules
        self._cycle_start_us = t_us
        self._set_cycle_end(t_us)

    def _sample(self, t_us: int) -> None:
        """Currents at `t_us`; trapezoid of their squares and powers since the last sample."""
        half = (t_us - self._measured_us) * 0.5e-6
        self._measured_us = t_us
        if not self._live:
            return
        supply = self.supply
        cycles = supply.cyc0 + (t_us - supply.t0) * supply.per_us
        angle = TAU * (cycles % 1.0)
        sin = math.sin(angle)
        cos = math.cos(angle)
        volts = sin * (supply.a + supply.b * sin * sin)
        out = False
        for c in self._live:
            v = volts * c.factor - c.drop
            sign = c.sign
            amps = 0.0
            for current in c.currents:
                amps += current(t_us, v, sin * sign, cos * sign, cycles + c.shift)
            square = amps * amps
            power = amps * v
            c.charge += (c.square + square) * half
            c.joules += (c.power + power) * half
            c.square = square
            c.power = power
            if c.arcing and (
                amps * c.amps <= 0.0 or -_ARC_AMPS < amps < _ARC_AMPS or t_us >= c.arc_end_us
            ):
                out = True
                c.arcing = False
            c.amps = amps
            if amps > c.peak:
                c.peak = amps
            elif -amps > c.peak:
                c.peak = -amps
            if c.watch_weld:
                self._weld_if_hot(c, t_us)
        if supply.ohms:
            self._drop_volts()
        if out:
            self._extinguish(t_us)

    def _extinguish(self, t_us: int) -> None:
        """Arcs that have gone out: their outlets are dead now."""
        for c in self.circuits:
            if c.currents and not c.arcing and not self._connected(c):
                for load in c.loads.values():
                    load.deenergise(t_us)
                c.powered = False
                c.currents = ()
        if self.plant is not None:
            self.plant.settle(t_us)
        self._live = [c for c in self.circuits if c.currents]
        self._forget_dead()
        self._replan()

    def _connected(self, circuit: Circuit) -> bool:
        contactor = self.relays.get("contactor")
        return circuit.relay.closed and (contactor is None or contactor.closed)

    def _forget_dead(self) -> None:
        for c in self.circuits:
            if not c.currents:
                c.amps = c.square = c.power = 0.0

    def _weld_if_hot(self, circuit: Circuit, t_us: int) -> None:
        for relay in (circuit.relay, self.relays.get("contactor")):
            if (
                relay is not None
                and relay.fault == "ok"
                and relay.closed
                and 0.0 < relay.weld_amps < abs(circuit.amps)
                and t_us - relay.closed_us < _WELD_WINDOW_US
            ):
                relay.set_fault("welded", t_us)

    def _drop_volts(self) -> None:
        """Voltage lost in the source, from the currents of this sample, for use in the next."""
        one = two = 0.0
        for c in self._live:
            if c.leg == 0:
                one += c.amps
            elif c.leg == 1:
                two += c.amps
            else:
                one += c.amps
                two -= c.amps
        supply = self.supply
        ohms = supply.ohms
        drops = self._leg_drops
        # Limited, because with a load of less than `ohms` using it a sample late would diverge.
        peak = supply.a
        drops[0] = min(peak, max(-peak, ohms * one))
        drops[1] = min(peak, max(-peak, ohms * two))
        drops[2] = drops[0] - drops[1]
        for c in self.circuits:
            c.drop = drops[c.leg]

    # -- conversion ---------------------------------------------------------------------------

    def _replan(self) -> None:
        """Precompute, for each channel, everything a conversion needs that does not change."""
        self._forget_dead()
        if not self._live:
            self._leg_drops[:] = [0.0, 0.0, 0.0]
            for c in self.circuits:
                c.drop = 0.0
        self._plan_key = (self.skew_us, self.supply.hz)
        delays = self._board_skew
        if self.skew_us is not None or delays is None:
            step = 5.0 if self.skew_us is None else self.skew_us
            delays = [i * step for i in range(len(self.sensors))]
        self._scan_plan = [self._entry(i, delays[i]) for i in range(len(self.sensors))]
        # what is converted twice comes once more at the end
        self._scan_plan += [self._entry(i, delays[i]) for i in reversed(self._twice)]
        self._adc_plans = [(self._entry(i, 0),) for i in range(len(self.sensors))]

    def _entry(self, index: int, delay_us: int) -> tuple[Any, ...]:
        sensor = self.sensors[index]
        codes: Any = self._tables[sensor.dnl]
        if sensor.clip:
            codes = Clipping(sensor, codes)
        # A leading sensor shows now what the wire does a little later.
        later = delay_us + sensor.phase_deg / 360.0 / self.supply.per_us
        angle = TAU * later * self.supply.per_us
        turn = (math.cos(angle), math.sin(angle), later)
        constant = sensor.constant
        if constant is not None:
            return (_CONSTANT, constant, 0.0, 0.0, *turn, None, None)
        base, scale = sensor.base, sensor.counts_per_unit
        if sensor.fault == "off":
            return (_IDLE, base, 0.0, sensor.noise, *turn, None, codes)
        if sensor.kind == "voltage":
            factor = self.wiring.voltage_factor[index]
            leg = 2 if factor == 2.0 else (1 if factor < 0.0 else 0)
            return (_VOLTAGE, base, scale, sensor.noise, *turn, (factor, leg), codes)
        if sensor.kind == "current":
            outlet = self.wiring.outlet_of_channel.get(index)
            if outlet is not None and self.circuits[outlet].currents:
                return (_CURRENT, base, scale, sensor.noise, *turn, self.circuits[outlet], codes)
        elif self.plant is not None and sensor.name in self.plant.channels:
            what = self.plant.channels[sensor.name]
            return (_FUNCTION, base, scale, sensor.noise, *turn, what, codes)
        else:
            base += scale * self.aux_mv.get(index, 0.0)
        return (_IDLE, base, 0.0, sensor.noise, *turn, None, codes)

    def _codes(self, plan: Any, t_us: int) -> list[int]:
        """Convert the channels of a plan. The hot path: one sine and one cosine for all."""
        supply = self.supply
        cycles = supply.cyc0 + (t_us - supply.t0) * supply.per_us
        angle = TAU * (cycles % 1.0)
        sin0 = math.sin(angle)
        cos0 = math.cos(angle)
        a = supply.a
        b = supply.b
        noise = self._noise
        at = self._noise_at
        result = []
        for mode, base, scale, sigma, cos_d, sin_d, later, what, codes in plan:
            at += 1
            if at >= NOISE_LENGTH:
                at = 0
            if mode == _IDLE:
                x = base + sigma * noise[at]
            elif mode == _CONSTANT:
                result.append(base)
                continue
            else:
                sin = sin0 * cos_d + cos0 * sin_d
                volts = sin * (a + b * sin * sin)
                if mode == _VOLTAGE:
                    factor, leg = what
                    x = base + scale * (volts * factor - self._leg_drops[leg]) + sigma * noise[at]
                elif mode == _FUNCTION:
                    x = base + scale * what(t_us + later) + sigma * noise[at]
                else:
                    cos = cos0 * cos_d - sin0 * sin_d
                    volts = volts * what.factor - what.drop
                    sign = what.sign
                    phase = cycles + later * supply.per_us + what.shift
                    amps = 0.0
                    for current in what.currents:
                        amps += current(t_us + later, volts, sin * sign, cos * sign, phase)
                    x = base + scale * amps + sigma * noise[at]
            code = int(x) if 0.0 <= x < 4096.0 else (0 if x < 0.0 else 4095)
            result.append(code if codes is None else codes[code])
        self._noise_at = at
        return result


def _bench() -> None:
    """Print the cost of a scan, idle and with five loads (wall time of this computer)."""
    for title, lines in (
        ("idle", ()),
        (
            "five loads",
            (
                "plug cabin1 circular_saw",
                "plug cabin2 laptop",
                "plug bed1 microwave",
                "plug bed2 work_light",
                "plug bed240 ev_charger",
            ),
        ),
        (
            "five recordings",
            (
                "play cabin1 4_6",
                "play cabin2 1046",
                "play bed1 1376",
                "play bed2 707",
                "play bed240 4_6",
            ),
        ),
    ):
        truck = Truck(demo_board())
        for gpio in truck.wiring.coils:
            truck.set_pin(gpio, 1, 0)
        for line in lines:
            truck.command(line)
        scans = 24_000
        before = time.perf_counter()
        for n in range(1, scans + 1):
            truck.scan(n * 416)
        mean = (time.perf_counter() - before) / scans * 1e6
        print(
            f"{title:16} {mean:6.2f} us a scan of {len(truck.sensors)} channels "
            f"({100 * mean * 2400 / 1e6:.1f} % of one core in real time)"
        )


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m tools.simulator.truck`."""
    parser = argparse.ArgumentParser(description="The simulated truck on its own.")
    parser.add_argument("--bench", action="store_true", help="print what a scan costs")
    options = parser.parse_args(arguments)
    if not options.bench:
        parser.print_help()
        return 2
    _bench()
    return 0


if __name__ == "__main__":
    sys.exit(main())
