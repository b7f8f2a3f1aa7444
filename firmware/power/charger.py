# Charging another car from bed240, as a part of the station: the pilot's voltage from the meter,
# what the other outlets leave from the dispatcher, the pilot's duty to the contacts, and bed240's
# relay as the contactor. What SAE J1772 asks of a charger is power/evse.py. Called by the control
# task (turn, window, second: no allocation) and by the outer lane (the rest).

from micropython import const

from firmware import events
from firmware.power import evse as ev
from firmware.power import pilot
from firmware.protection import outlet as o

OUTLET = "bed240"
_STARTS = ("plug", "command")
_DIVIDER = const(12)  # 12 V of the pilot are 1000 mV at the pin
_MID = const(2048)
_MOST_MA = const(32_000)
_FIFTHS = const(4)  # of the outlet's limit: what a continuous load may draw
_AMPLE_MA = const(100_000)
_EVERY_MS = const(60)  # so often the others' load is looked at,
_LOOKS = const(8)  # and the best of so many looks counts: an inrush is over by then
_URGENT_MS = const(1_000)  # half of the time that the hard limit of leg and total allows
_SILENT_MS = const(200)  # without a window nobody watches the car
_FIRST = const(4)  # profile.NAMES: the mode in which a car comes first
_SHORT_MS = const(10_000)  # it has had less than its due for so long: others make way
_SHORT_MA = const(1_000)  # by more than this
_SATED_MS = const(30_000)  # it has taken less than it was offered for so long
_SATED_MA = const(2_000)  # by more than this; and so much more is kept for it
_SHY_MS = const(65_000)  # it was offered current for so long, and did not ask
_SPARE_MA = const(500)  # evse._SPARE_MA
_GROUND = const(11)  # row of protection/stages.py
_M_RMS = const(4)  # words of reduce.M_…
_M_LOW = const(6)
_M_HIGH = const(7)
# The event's reason for each of evse.WHY.
_REASONS = bytes(
    (
        events.NONE,
        events.ADMISSION,
        events.COMMAND,
        events.PILOT,
        events.PILOT,
        events.TOO_LONG,
        events.GROUND_FAULT,
        events.ADMISSION,
        events.LATCHED,
        events.SUPPLY,
        events.RESERVE,
        events.DONE,
        events.COMMAND,
        events.GROUND_FAULT,
        events.PILOT,
    )
)


class Charger:
    """`enabled`: bed240 belongs to it; `wanted`: its owner wants this car charged; `room_ma`: what
    leg and total leave."""

    def __init__(self, station):
        app = station.app
        self.station = station
        self.controller = controller = app.controller
        self.index = app.board.outlet_index(OUTLET)
        self.evse = ev.Evse()
        self.enabled = False
        self.room_ma = 0
        self._settings = app.settings
        self._outlet = controller.outlets[self.index]
        self._pilot = controller.meter.channels[app.board.aux("pilot")]
        self._mv_q8 = 0  # counts -> mV of the pilot, x 256
        self._on = False  # the contactor was closed from here
        self._told = ev.EMPTY  # state on record
        self._best_ma = 0
        self._looks = 0
        self._look_ms = _EVERY_MS
        self._urgent_ms = 0
        self._asks = True  # as far as is known: it was not offered anything yet
        self._short_ms = 0
        self._made = False  # others have just made way
        self._sated_ms = 0
        self._since_ms = 0  # the last window
        self._ready = False  # bed240 may be closed
        self._done = False  # the energy asked for is delivered
        self._begin_mwh = 0  # bed240's counter when the car came, or the session was started anew
        self._session_s = 0
        self._limit_ma = 0  # for this car only; 0: vehicle.most_a
        # After a hang or a crash nothing goes on by itself, see App._after_boot().
        self._plug = False
        self.wanted = False
        self._idle = ev.START  # why not, as long as it is not wanted
        self._first = app._ended_badly or not app.keeper.latch_store.trusted
        self.configure()

    # -- outer lane ------------------------------------------------------------------------------

    def configure(self):
        """The settings have changed."""
        get = self._settings.get
        per_count = self._pilot.unit_per_count
        self._mv_q8 = int(per_count * _DIVIDER * 256 + 0.5)
        plug = get("vehicle.start") == _STARTS[0]
        if plug and not self._plug:
            self.wanted = not self._first
        self._plug = plug
        self._nominal_v = int(get("supply.nominal_v")) * 2
        self._most_ma = int(get("vehicle.most_a") * 1000 + 0.5)
        self._energy_mwh = int(get("vehicle.energy_kwh") * 1_000_000 + 0.5)
        enabled = get("vehicle.enabled")
        dispatch = self.controller.dispatch
        if not enabled and dispatch.behind:
            dispatch.entitle(self.index, 0, 240)
        bit = 1 << self.index
        dispatch.yields = dispatch.yields | bit if enabled else dispatch.yields & ~bit
        if enabled != self.enabled:
            self.enabled = enabled
            self.evse = ev.Evse()
            self._told = ev.EMPTY
            self._since_ms = 0
            self._look_ms = _EVERY_MS * _LOOKS
            self._begin_mwh = self._counter()
            # bed240 changes hands: what it was switched on for is over
            if o.energised(self._outlet.state):
                self._open()
            self._on = False
        self.evse.tests = get("vehicle.gfci") == "tested"
        self.station.contacts.ground_test(self.evse.test_on)
        self.station.testing = self.evse.state == ev.TESTING
        self._allow(self._on or not enabled)
        self._show()

    def start(self) -> str:
        """Charge this car; "" or why not."""
        evse = self.evse
        if not self.enabled:
            return "vehicle.enabled is off"
        if evse.state == ev.REFUSED:
            evse.reset()
        if evse.state == ev.FAULT:
            return "fault (%s): find the cause, then vehicle reset" % self.why()
        if self._done:
            self._begin_mwh = self._counter()
            self._done = False
        self._first = False
        self.wanted = self._asks = True
        self._idle = ev.START
        evse.ask()
        return ""

    def stop(self) -> str:
        """No more for this car; "" or why not."""
        if not self.enabled:
            return "vehicle.enabled is off"
        self._stop()
        return ""

    def _stop(self):
        self.wanted = False
        self._idle = ev.NOT_WANTED

    def reset(self) -> str:
        """The owner has looked into a fault; "" or why it stays."""
        if not self.enabled:
            return "vehicle.enabled is off"
        if self._latched():
            return "%s: first reset %s" % (self.why(), OUTLET)
        if not self._earth():
            return "the ground fault is still there"
        self.evse.reset()
        return ""

    def limit(self, amps: float) -> str:
        """Offer this car no more than so many amperes, 6 to 32; "" or why not."""
        if not self.enabled:
            return "vehicle.enabled is off"
        self._limit_ma = int(amps * 1000 + 0.5)
        return ""

    def why(self) -> str:
        """Why it is in this state, in words; "" when there is nothing to say."""
        if not self.enabled:
            return "vehicle.enabled is off"
        evse = self.evse
        if evse.why == ev.TRIPPED:
            return "%s: %s (%s)" % (
                OUTLET,
                o.STATES[self._outlet.state],
                events.name(events.REASONS, self._outlet.reason),
            )
        if evse.why == ev.HELD:
            reason = self.controller.conditions.blocks(self.index)
            if reason:
                from firmware.controller import why

                return "not now: " + why(reason)
        return ev.WHY[evse.why]

    def _counter(self) -> int:
        return self.controller.meter.energy_mwh(self.index)

    def session_mwh(self) -> int:
        """What this car got, mWh."""
        return self._counter() - self._begin_mwh

    def run_s(self, now: int):
        """Once a second: the energy of this car."""
        if self.evse.state == ev.EMPTY and not self._on:
            self._begin_mwh = self._counter()
        elif self._energy_mwh and self.session_mwh() >= self._energy_mwh:
            self._done = True

    def blocks(self, index: int) -> tuple:
        """bed240 is nobody else's."""
        if self.enabled and index == self.index:
            return events.PILOT, "it charges cars (vehicle.enabled): vehicle start"
        return 0, ""

    def report(self) -> dict:
        """For console and MQTT, SI units."""
        evse = self.evse
        outlet = self._outlet
        on = self.enabled and o.energised(outlet.state)
        return {
            "vehicle": {
                "state": ev.STATES[evse.state] if self.enabled else "off",
                "why": self.why(),
                "pilot": "F" if evse.pilot_down or not self.enabled else pilot.NAMES[evse.pilot],
                "offered_a": round(evse.offer_ma / 1000, 1),
                "current_a": round(outlet.meter.rms() / 1000, 2) if on else 0.0,
                "power_w": round(self.controller.meter.watts(self.index), 0) if on else 0.0,
                "limit_a": evse.most_ma / 1000,
                "session_kwh": round(self.session_mwh() / 1e6, 3),
                "session_s": self._session_s,
                "start": "plug" if self._plug else "command",
                "faults": evse.faults,
            }
        }

    # -- control lane ----------------------------------------------------------------------------

    def turn(self, ms: int):
        """Each turn: what cannot wait for a window, or has none."""
        if not self.enabled:
            return
        self._since_ms += ms
        if self._since_ms > _SILENT_MS:
            # the sampler stands still: the controller has opened everything, and says so
            self._since_ms = _SILENT_MS
            if self.evse.closed or self.evse.offer_ma:
                self.evse.cut(ev.HELD)
                self._act()
        elif self._latched() and self.evse.why != ev.TRIPPED:
            self.evse.fail(ev.TRIPPED)
            self._act()

    def window(self, ms: int):
        """Each window: one step of the charger."""
        if not self.enabled:
            return
        self._since_ms = 0
        controller = self.controller
        if controller.starting:
            return
        evse = self.evse
        if self._latched():
            evse.fail(ev.TRIPPED)
        elif evse.why == ev.TRIPPED:
            evse.reset()  # somebody has reset the outlet
        if self._first and evse.state == ev.EMPTY and evse.rests_ms() > _SILENT_MS:
            self._next_car()  # none was there at the start
        self._look_ms += ms
        if self._look_ms >= (_EVERY_MS if evse.state else _EVERY_MS * _LOOKS):
            self._look_ms = 0
            self._look()
        if evse.closed:
            self._hurry(ms)
        block = controller.meter.block
        at = self._pilot.at
        q8 = self._mv_q8
        changed = evse.step(
            (block[at + _M_HIGH] - _MID) * q8 >> 8,
            (block[at + _M_LOW] - _MID) * q8 >> 8,
            controller.amps_ma[self.index],
            self.room_ma,
            self._earth(),
            ms,
        )
        if changed or evse.state or self._told or self._on or self._outlet.state:
            self._act()  # else nobody is there, and all of it is done

    def second(self):
        """Once a second."""
        if self.evse.closed and self._session_s < 1 << 28:
            self._session_s += 1

    def _next_car(self):
        """The car has gone: whoever plugs in now has come to charge."""
        self._first = self._done = False
        self._asks = True
        self._limit_ma = self._session_s = 0
        self.wanted = self._plug
        self._idle = ev.START

    def _latched(self) -> bool:
        state = self._outlet.state
        return state == o.TRIPPED or state == o.LOCKOUT or state == o.FAULT

    def _earth(self) -> bool:
        return not self.controller.conditions.stages.active >> _GROUND & 1

    def _look(self):
        """What the others leave, whether bed240 may be closed, and whether anybody minds."""
        controller = self.controller
        outlet = self._outlet
        around = controller.conditions
        i = self.index
        dispatch = controller.dispatch
        least = _AMPLE_MA
        for limit in dispatch.limits:
            if limit.mask >> i & 1:
                free = limit.limit - dispatch.expected(limit)
                if limit is dispatch.total:
                    free = free * 1000 // self._volts()
                if free < least:
                    least = free
        if least > self._best_ma or not self._looks:
            self._best_ma = least
        self._looks += 1
        if self._looks >= _LOOKS or not self.evse.state:
            self._looks = 0
            self.room_ma = self._best_ma
        self._ready = not (
            controller.unfit
            or controller.checking
            or controller.contactor_blocked
            or controller._is_silent
            or outlet.fault_now
            or outlet.thermal.is_hot()
            or around.blocks(i)
            or around.rests(i)
        )
        hold = ev.NONE
        if not self.wanted:
            hold = self._idle
        elif self._done:
            hold = ev.DONE
        elif self._is_kept(i):
            hold = ev.RESERVE
        elif self.station.holds(i):
            hold = ev.HOME
        elif not self._ready:
            hold = ev.HELD
        most = min(_MOST_MA, self._most_ma, outlet.limit_ma * around.tenths // 50 * _FIFTHS)
        if self._limit_ma:
            most = min(most, self._limit_ma)
        self.evse.configure(most, hold)
        self._precede(most, hold)

    def _precede(self, most_ma: int, hold: int):
        """In the mode `vehicle` a car that asks comes before the outlets behind it: what it is
        short of for some time they make way for. An inrush, or a saw's cut, is no reason yet; and
        what it does not take is nobody's."""
        evse = self.evse
        dispatch = self.controller.dispatch
        state = evse.state
        modes = self.station.modes
        if evse.pilot == pilot.C:
            self._asks = True
        elif state == ev.OFFERED and evse.rests_ms() >= _SHY_MS:
            self._asks = False
        due = 0
        sated = False  # it takes less than it is offered
        if modes is None or modes.now != _FIRST or hold or most_ma < pilot.LEAST_MA:
            pass
        elif state == ev.CHARGING:
            due = most_ma
            drawn = self.controller.amps_ma[self.index]
            sated = drawn + _SATED_MA < evse.offer_ma
            if not sated:
                self._sated_ms = 0
            elif self._sated_ms < _SATED_MS:
                self._sated_ms += _EVERY_MS
            else:
                due = min(most_ma, max(drawn + _SATED_MA, pilot.LEAST_MA))
        elif state == ev.WAITING or state == ev.ENDING or state == ev.OFFERED:
            due = pilot.LEAST_MA if self._asks else 0  # to see whether it takes it
        elif state == ev.TESTING:
            due = pilot.LEAST_MA
        if state != ev.CHARGING:
            self._sated_ms = 0
        if not due and not dispatch.behind:
            self._short_ms = 0
            return
        due = dispatch.entitle(self.index, due + _SPARE_MA if due else 0, self._volts())
        if sated or self.room_ma + (_SHORT_MA if evse.closed else 0) >= due:
            self._short_ms = 0
            if self._made and due:
                self._made = False
                evse.ask()  # the room was made for it: it need not last first
            return
        self._short_ms += _EVERY_MS
        if self._short_ms >= _SHORT_MS:
            self._short_ms = 0
            self._made = True
            self._make_way()

    def _make_way(self):
        """Open first, record second."""
        controller = self.controller
        on = 0
        for outlet in controller.outlets:
            if o.energised(outlet.state):
                on |= 1 << outlet.index
        gone = controller.dispatch.way(on)
        for outlet in controller.outlets:
            if gone >> outlet.index & 1:
                controller.fast.open(outlet.index)
        by = events.BY_CONTROL
        for outlet in controller.outlets:
            if gone >> outlet.index & 1:
                ma = controller.amps_ma[outlet.index]
                controller._move(outlet, o.E_SHED, events.SHED, events.VEHICLE, ma, by)

    def _is_kept(self, i: int) -> bool:
        """The battery is needed for something else."""
        battery = self.station.battery
        return battery is not None and battery.held >> i & 1 == 1

    def _volts(self) -> int:
        """From leg to leg: what a watt is worth; nominal at least."""
        controller = self.controller
        mv = 0
        leg = 0
        for meter in controller.meter.volts:
            rms = controller.meter.block[meter.at + _M_RMS]
            mv += rms * controller.conditions.mv_q8[leg] >> 8
            leg += 1
        return max(mv // 1000, self._nominal_v)

    def _hurry(self, ms: int):
        """The others passed a hard limit, beside which the car has no five seconds."""
        over = False
        for limit in self.controller.dispatch.limits:
            if limit.mask >> self.index & 1 and limit.is_timing():
                over = True
        self._urgent_ms = self._urgent_ms + ms if over else 0
        if self._urgent_ms >= _URGENT_MS:
            self.evse.cut(ev.NO_ROOM)

    def _act(self):
        """Contactor, pilot and record follow the charger; what opens goes first."""
        evse = self.evse
        outlet = self._outlet
        if self._on and evse.closed and not o.energised(outlet.state):
            # somebody else has opened it
            if outlet.state == o.SHED:
                evse.cut(ev.NO_ROOM)
            else:
                self._stop()
                evse.cut(ev.NOT_WANTED)
        if not evse.closed:
            self._on = False
            if o.energised(outlet.state) or outlet.state == o.SHED:
                self._open()
            self._allow(False)
        elif not self._on:
            self._close()
        self.station.testing = evse.state == ev.TESTING
        self.station.contacts.ground_test(evse.test_on)
        self._show()
        if evse.state != self._told:
            self._told = evse.state
            if evse.state == ev.EMPTY:
                self._next_car()
            reason = _REASONS[evse.why]
            by = events.BY_CONTROL
            self.controller.journal.add(events.CHARGE, self.index, reason, evse.state, by)

    def _allow(self, on: bool):
        """What the fast lane asks before it closes the relay, whoever tells it to."""
        fast = self.controller.fast
        if on:
            fast.allowed |= 1 << self.index
        else:
            fast.allowed &= ~(1 << self.index)

    def _open(self):
        controller = self.controller
        outlet = self._outlet
        controller.fast.open(self.index)  # without waiting for a zero of the current
        by = events.BY_CONTROL
        controller._move(outlet, o.E_OFF, events.OFF, events.PILOT, 0, by)

    def _close(self):
        controller = self.controller
        outlet = self._outlet
        if not self._ready:
            self.evse.cut(ev.HELD)
            return
        by = events.BY_CONTROL
        self._allow(True)
        if controller._move(outlet, o.E_ON, events.ON, events.PILOT, 0, by):
            self._on = True
        else:  # a fast trip that nobody has seen yet
            self._allow(False)
            self.evse.cut(ev.HELD)

    def _show(self):
        """What the pilot says: the wave, steady +12 V, or that there is no charger."""
        evse = self.evse
        duty = 10_000
        if evse.pilot_down or not self.enabled:
            duty = 0
        elif evse.offer_ma:
            duty = pilot.duty_permyriad(evse.offer_ma)
        self.station.contacts.pilot(duty)
