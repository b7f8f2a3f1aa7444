# The control lane: finished windows in, relay commands, journal records and snapshot out.
# step() is called by the control task, once a mains cycle; integers only, no allocation.
# command() is called by the outer lane (console, MQTT, schedule); it may refuse with a reason.
#
# Safety order, always: open first, record second, report third.

from micropython import const

from firmware import events
from firmware.protection import outlet as o
from firmware.protection import thermal
from firmware.protection.dispatch import Dispatch
from firmware.sensing.plausibility import ChannelCheck

_LEARN_WINDOWS = const(24)  # zero and noise of the sensors, before anything may close
_LEARN_EXTRA = const(60)  # so many more while a zero still moves
_OPEN_WINDOWS = const(12)  # after opening: relay and arc are done, the channel is at rest
_CLOSING_WINDOWS = const(3)  # a relay's operate time is 10 ms
_SUPPLY_WINDOWS = const(30)  # no-volt release: shorter dips ride through
_SILENT_MS = const(200)  # no window for so long: the sampler is dead
_STEP_MS = const(50)
_LOCKOUT_TRIPS = const(3)
_LOCKOUT_S = const(3600)
_SHORT_TIME_X = const(6)
_SHORT_TIME_MS = const(500)
_PICKUP_PERCENT = const(105)
_WELD_PERCENT = const(3)  # of the rating: current with an open relay
_OWN_FAULT_X = const(2)  # x its limit: what is to be shed and draws more trips instead
_SQRT2 = 1.41421356
# the blocks' layouts: reduce.B_…, reduce.M_…, thermal.T_… (a test compares them)
_B_FLAGS = const(5)
_B_MOVE = const(6)
_M_SQ = const(3)
_M_RMS = const(4)
_M_LOW = const(6)
_M_HIGH = const(7)
_M_POWER = const(17)
_M_FLAGS = const(22)
_T_LOAD = const(0)
_F_ALWAYS = const(3)  # flags that count although the relay is closed: rail, frozen
_M_RESIDUE = const(0)
_M_NOISE = const(1)
_M_WELD = const(23)

_FAULTS = (events.SENSOR, events.WELDED, events.SUPPLY, events.LEASE_LOST, events.CONTACTOR)

_WHY = {
    events.THERMAL: "overload",
    events.PEAK: "short circuit",
    events.SHORT_TIME: "heavy overload",
    events.SENSOR: "current sensor",
    events.WELDED: "welded relay",
    events.SUPPLY: "supply lost",
    events.LEASE_LOST: "control loop stood still",
    events.CONTACTOR: "main contactor open",
}


def why(reason: int) -> str:
    """A reason code in words for people."""
    return _WHY.get(reason, events.name(events.REASONS, reason))


def _root_q3(square: int) -> int:
    """Square root x 8 by Newton's method (no floats: the control lane must not allocate)."""
    s = square << 6
    root = 8192
    while True:
        q = (root + s // root) >> 1
        if q >= root:
            return root
        root = q if q else 1


class OutletControl:
    """What the control lane knows of one outlet."""

    def __init__(self, outlet, meter, element):
        self.outlet = outlet
        self.index = outlet.index
        self.name = outlet.name
        self.meter = meter
        self.state = o.OFF
        self.reason = events.NONE
        self.thermal = element
        weld = outlet.rating_ma * _WELD_PERCENT / 100 / meter.unit_per_count
        meter.set_word(_M_WELD, int(weld * weld))
        meter.learn_zero(True)
        self.check = ChannelCheck()
        self.at_rest = True
        self.fault_now = events.NONE  # what the last window showed
        self.open_windows = 0
        self.closing_windows = 0
        self.limit_ma = outlet.rating_ma
        self.ma_q8 = int(meter.unit_per_count * 32 + 0.5)  # counts x 8 -> mA x 256
        self.base = meter.at  # its words in the meter's block
        self.trips = 0  # since power on
        self.trip_s = [-_LOCKOUT_S] * _LOCKOUT_TRIPS  # uptime of the last ones


class Controller:
    """The control lane of one board. `fast` is the hal's FastLane, `meter` the Meter on it;
    `heat` is thermal.step or its twin."""

    def __init__(self, board, fast, meter, journal, settings, clock, heat=thermal.step):
        self.board = board
        self.fast = fast
        self.meter = meter
        self.journal = journal
        self.settings = settings
        self.clock = clock
        self.scans_per_s = 1_000_000 // fast.period_us
        n = len(board.outlets)
        self.bank = thermal.Bank(n + len(board.legs) + 1, self.scans_per_s, heat)
        elements = self.bank.elements
        self.outlets = [
            OutletControl(x, meter.currents[x.index], elements[x.index]) for x in board.outlets
        ]
        self.amps_ma = [0] * n  # last cycle
        self.power_w = [0] * n
        self.dispatch = Dispatch(board, elements[n:], self.scans_per_s)
        self.priorities = [x.priority for x in board.outlets]
        self.starting = _LEARN_WINDOWS
        self._extra = _LEARN_EXTRA
        self.contactor_blocked = False  # a welded relay: nothing behind the contactor may close
        self.latch_dirty = False  # storage has something to save
        self._wave_outlet = -1  # whose trip froze the waveforms
        self._wave_seq = 0
        self.calibration_dirty = False
        self.stalls = 0  # windows came late and merged
        self.windows = 0
        self._merged = 0
        self._silent_ms = 0
        self._is_silent = False
        self._low_volts = [0] * len(meter.volts)
        self._supply_lost = False
        self._supply_q3 = 0  # half of the nominal voltage, counts x 8
        self._mv_q8 = 0  # counts x 8 -> mV x 256
        self.configure()
        settings.on_change(self._setting_changed)

    # -- settings ------------------------------------------------------------------------------

    def _setting_changed(self, name: str):
        if not (name.startswith("wifi.") or name.startswith("mqtt.")):
            self.configure()

    def configure(self):
        """Turn the owner's settings into limits in counts (allocates: outer lane, boot)."""
        settings = self.settings
        fast = self.fast
        for outlet in self.outlets:
            index = outlet.index
            per_count = outlet.meter.unit_per_count
            rating = outlet.outlet.rating_ma
            outlet.limit_ma = int(settings.outlet(index, "limit_a") * 1000 + 0.5)
            kind = thermal.CLASSES.index(settings.outlet(index, "trip_class"))
            pickup = outlet.limit_ma * _PICKUP_PERCENT / 100 / per_count
            outlet.thermal.configure(
                int(pickup * pickup), thermal.TAU_S[kind], thermal.COOL_S[kind]
            )
            channel = outlet.outlet.channel
            peak_x = settings.outlet(index, "peak_x")
            fast.set_peak(channel, int(peak_x * rating * _SQRT2 / per_count))
            short = _SHORT_TIME_X * rating / per_count
            fast.set_short_time(channel, int(short * short), _SHORT_TIME_MS)
            self.priorities[index] = settings.outlet(index, "priority")
        hertz = settings.get("supply.hz")
        fast.set_nominal_hz(hertz or 60)
        nominal_mv = settings.get("supply.nominal_v") * 1000
        per_count = self.meter.volts[0].unit_per_count
        self._supply_q3 = int(nominal_mv / 2 / per_count * 8)
        self._mv_q8 = int(per_count * 32 + 0.5)
        self.dispatch.configure(
            self.priorities,
            int(settings.get("leg.limit_a") * 1000),
            settings.get("total.limit_w"),
            settings.get("shed.restore_s"),
            settings.get("shed.min_off_s"),
            settings.get("shed.margin_w"),
        )

    def restore(self, latched: dict):
        """Take over what tripped before the reset: {name: (reason, trips, heat permille, …)}."""
        for outlet in self.outlets:
            if outlet.name in latched:
                reason, trips, heat, _ = latched[outlet.name]
                if reason == events.LOCKED:
                    outlet.state = o.LOCKOUT
                elif reason in _FAULTS:
                    outlet.state = o.FAULT
                else:
                    outlet.state = o.TRIPPED
                if reason == events.WELDED:  # the contactor must not feed it at the next start
                    self.contactor_blocked = True
                    self.dispatch.stuck_mask |= 1 << outlet.index
                outlet.reason = reason
                outlet.trips = trips
                outlet.thermal.set_permille(min(max(heat, 0), 4000))

    def latched(self) -> dict:
        """What must survive a reset, for storage."""
        result = {}
        for outlet in self.outlets:
            if outlet.state in (o.TRIPPED, o.LOCKOUT, o.FAULT):
                reason = events.LOCKED if outlet.state == o.LOCKOUT else outlet.reason
                heat = outlet.thermal.permille()
                result[outlet.name] = (reason, outlet.trips, heat, self.clock.wall())
        return result

    # -- the lane ------------------------------------------------------------------------------

    def step(self) -> int:
        """Handle every finished window and renew the lease; returns how many there were."""
        fast = self.fast
        passed = self.clock.update()
        self.journal.tick(passed)
        count = 0
        while True:
            at = fast.window()
            if at < 0:
                break
            self.meter.take(fast.ring, at)
            fast.release_window()
            self._window()
            count += 1
        if count:
            self._silent_ms = 0
            self.windows = (self.windows + count) & 0x1FFFFFFF
            if self._is_silent:
                self._is_silent = False
                if not self.starting:
                    fast.contactor(not self.contactor_blocked)
        elif not self._is_silent:
            # A soft sampler stands still as long as this lane does: only time in which it could
            # have delivered counts.
            self._silent_ms += passed if passed < _STEP_MS else _STEP_MS
            if self._silent_ms > _SILENT_MS:
                self._is_silent = True
                fast.open_all()
                for outlet in self.outlets:
                    if o.energised(outlet.state):
                        self._move(
                            outlet, o.E_FAULT, events.FAULT, events.SENSOR, 0, events.BY_CONTROL
                        )
        fast.renew_lease()
        if fast.lease_lost():
            self._lease_was_lost()
        merged = fast.windows_merged()
        if merged != self._merged:
            late_ms = (merged - self._merged) * self.meter.n * fast.period_us // 1000
            self._merged = merged
            self.stalls += 1
            self.journal.add(events.STALL, -1, events.NONE, late_ms, events.BY_FAST)
        return count

    def _lease_was_lost(self):
        self.fast.acknowledge_lease()
        for outlet in self.outlets:
            if o.energised(outlet.state):
                self._move(outlet, o.E_FAULT, events.FAULT, events.LEASE_LOST, 0, events.BY_FAST)
        if self.fast.contactor_closed:
            self.fast.contactor(not self.contactor_blocked)

    def _window(self):
        """One finished window: stages that ended it already first, then the slow ones."""
        fast = self.fast
        meter = self.meter
        n = meter.n
        trips = fast.fast_trips()
        if trips:
            self._fast_trips(trips)
        self._supply()
        block = meter.block
        heat = self.bank.block
        amps_ma = self.amps_ma
        power_w = self.power_w
        flags_any = block[_B_FLAGS]
        starting = self.starting
        on_mask = 0
        i = 0
        for outlet in self.outlets:
            at = outlet.base
            state = outlet.state
            if state == o.ON or state == o.CLOSING:
                on_mask |= 1 << i
                if state == o.CLOSING:
                    outlet.closing_windows += 1
                    if outlet.closing_windows >= _CLOSING_WINDOWS:
                        outlet.state = o.step(state, o.E_CLOSED) >> 4
            elif not outlet.at_rest:
                outlet.open_windows += 1
                if outlet.open_windows >= _OPEN_WINDOWS:
                    outlet.open_windows = 0
                    outlet.at_rest = True
                    outlet.meter.learn_zero(True)
            if flags_any or outlet.check.active:
                flags = block[at + _M_FLAGS]
                if not (outlet.at_rest or starting):
                    flags &= _F_ALWAYS  # its current may flow
                if flags or outlet.check.active:
                    outlet.fault_now = fault = outlet.check.judge(flags)
                    if fault:
                        self._fault(outlet, fault)
                        if fault == events.SENSOR:
                            # Its reading is nonsense: it must not heat the curve nor load the
                            # limits, which would shed outlets that are sound.
                            block[at + _M_SQ] = 0
                            block[at + _M_RMS] = 0
                            block[at + _M_POWER] = 0
            sq = block[at + _M_SQ]
            heat[outlet.thermal.at + _T_LOAD] = sq if sq > 0 else 0
            amps_ma[i] = block[at + _M_RMS] * outlet.ma_q8 >> 8
            power_w[i] = block[at + _M_POWER]
            i += 1
        dispatch = self.dispatch
        dispatch.set_loads(n, amps_ma, power_w, heat)
        hot = self.bank.step(n, meter.periods)
        if hot & on_mask:
            for outlet in self.outlets:
                if hot & on_mask & outlet.thermal.bit:
                    amps = amps_ma[outlet.index]
                    self._trip(outlet, events.THERMAL, amps, events.BY_CONTROL)
            on_mask &= ~hot
        n *= meter.periods
        if self.starting:
            self.starting -= 1
            if not self.starting:
                if self._extra and block[_B_MOVE] >> len(meter.volts):
                    self._extra -= 1  # a zero far from mid-scale is still being learnt
                    self.starting = 1
                else:
                    fast.contactor(not self.contactor_blocked)
        shed = dispatch.decide(n, hot, amps_ma, power_w, on_mask)
        if shed:
            self._shed(shed & on_mask)
        elif dispatch.shed_mask:
            back = dispatch.restorable(n)
            if back >= 0:
                self._restore_shed(self.outlets[back])
        if on_mask:
            dispatch.note_demand(amps_ma, power_w, on_mask)

    def _fast_trips(self, trips: int):
        for outlet in self.outlets:
            if trips >> outlet.index & 1:
                peak = self.fast.is_peak_trip(outlet.index)
                self.fast.acknowledge_trip(outlet.index)
                m = outlet.meter
                if peak:  # in this window, or in those that came after it
                    amps = self.fast.excursion(m.index)
                    amps = max(m.word(_M_HIGH) - 2048, 2048 - m.word(_M_LOW), amps)
                    amps = amps * 8 * outlet.ma_q8 >> 8
                else:  # the control lane may be late: what it was that tripped
                    amps = _root_q3(self.fast.trip_square(m.index)) * outlet.ma_q8 >> 8
                reason = events.PEAK if peak else events.SHORT_TIME
                self._trip(outlet, reason, amps, events.BY_FAST)

    def _supply(self):
        """No-volt release: a machine must not start by itself when the supply returns."""
        lost = False
        block = self.meter.block
        i = 0
        for m in self.meter.volts:
            if block[m.at + _M_RMS] < self._supply_q3:
                if self._low_volts[i] < _SUPPLY_WINDOWS:
                    self._low_volts[i] += 1
            else:
                self._low_volts[i] = 0
            if self._low_volts[i] >= _SUPPLY_WINDOWS:
                lost = True
            i += 1
        if lost:
            for outlet in self.outlets:
                if o.energised(outlet.state) and not self._has_supply(outlet):
                    self._move(
                        outlet, o.E_FAULT, events.FAULT, events.SUPPLY, 0, events.BY_CONTROL
                    )
        if lost != self._supply_lost and not self.starting:
            self._supply_lost = lost
            kind = events.FAULT if lost else events.CLEARED
            millivolts = self.meter.volts[0].word(_M_RMS) * self._mv_q8 >> 8
            self.journal.add(kind, -1, events.SUPPLY, millivolts, events.BY_CONTROL)

    def _has_supply(self, outlet) -> bool:
        low = self._low_volts
        if len(low) == 1:
            return low[0] < _SUPPLY_WINDOWS
        volts = outlet.outlet.volts
        if volts == 0:
            return low[0] < _SUPPLY_WINDOWS
        if volts == 1:
            return low[1] < _SUPPLY_WINDOWS
        return low[0] < _SUPPLY_WINDOWS and low[1] < _SUPPLY_WINDOWS

    def _move(self, outlet, event: int, kind: int, reason: int, value: int, source: int) -> bool:
        """Send an event to the outlet's state machine: relay first, then the record."""
        result = o.step(outlet.state, event)
        action = result & 15
        if action == o.REFUSE:
            return False
        if action == o.OPEN:
            self.fast.open(outlet.index)
        elif action == o.CLOSE:
            if not self.fast.close(outlet.index):
                return False
            outlet.closing_windows = 0
            outlet.open_windows = 0
            outlet.at_rest = False
            outlet.meter.learn_zero(False)  # at once: the window that is open may carry current
            self.dispatch.note_closed(outlet.index)
        outlet.state = result >> 4
        outlet.reason = reason
        if outlet.state == o.SHED:
            self.dispatch.note_shed(outlet.index)
        elif self.dispatch.shed_mask >> outlet.index & 1:
            self.dispatch.note_gone(outlet.index)
        self.journal.add(kind, outlet.index, reason, value, source)
        self.latch_dirty = True
        return True

    def _trip(self, outlet, reason: int, value: int, source: int):
        if self._move(outlet, o.E_TRIP, events.TRIPPED, reason, value, source):
            outlet.trips += 1
            self.fast.freeze_wave()
            if self._wave_outlet < 0:
                self._wave_outlet = outlet.index
                self._wave_seq = self.journal.last_seq
            times = outlet.trip_s
            times[0] = times[1]
            times[1] = times[2]
            now = self.clock.now_s
            times[2] = now
            if now - times[0] < _LOCKOUT_S:
                self._move(outlet, o.E_LOCK, events.LOCKOUT, events.LOCKED, outlet.trips, source)

    def _fault(self, outlet, fault: int):
        """A window has shown `fault` (again): open, and latch it once."""
        if fault != events.WELDED:
            if outlet.state != o.FAULT:
                self._move(outlet, o.E_FAULT, events.FAULT, fault, 0, events.BY_CONTROL)
            return
        # Its own relay cannot cut it any more: the contactor upstream can.
        blocked = self.contactor_blocked
        self.contactor_blocked = True
        self.fast.contactor(False)
        if outlet.state != o.FAULT or outlet.reason != events.WELDED:
            self.dispatch.stuck_mask |= 1 << outlet.index
            amps = outlet.meter.word(_M_RMS) * outlet.ma_q8 >> 8
            self._move(outlet, o.E_WELD, events.FAULT, fault, amps, events.BY_CONTROL)
            if blocked:
                return
            for other in self.outlets:
                if o.energised(other.state):
                    self._move(
                        other, o.E_FAULT, events.FAULT, events.CONTACTOR, 0, events.BY_CONTROL
                    )

    def _shed(self, mask: int):
        dispatch = self.dispatch
        for outlet in self.outlets:  # all relays first, then the records
            if mask >> outlet.index & 1:
                self.fast.open(outlet.index)
        for outlet in self.outlets:
            i = outlet.index
            if mask >> i & 1:
                if dispatch.shed_by_total >> i & 1:
                    reason, value = events.TOTAL, dispatch.total.load
                else:
                    reason, value = events.LEG, 0
                    for leg in outlet.outlet.legs:
                        if dispatch.legs[leg].load > value:
                            value = dispatch.legs[leg].load
                if self.amps_ma[i] > outlet.limit_ma * _OWN_FAULT_X:
                    # It overloads itself: a shed outlet comes back by itself, a fault must not.
                    self._trip(outlet, reason, value, events.BY_CONTROL)
                else:
                    self._move(outlet, o.E_SHED, events.SHED, reason, value, events.BY_CONTROL)

    def _restore_shed(self, outlet):
        if outlet.thermal.is_hot() or not self._has_supply(outlet) or self.contactor_blocked:
            return
        load = self.dispatch.total.load
        if self._move(
            outlet, o.E_RESTORE, events.RESTORED, outlet.reason, load, events.BY_CONTROL
        ):
            self.dispatch.note_restored(outlet.index)

    # -- commands ------------------------------------------------------------------------------

    def command(self, verb: str, index: int, source: int, force: bool = False) -> str:
        """Do `on`, `off` or `reset` to an outlet; "" when done, else why not, in a sentence."""
        outlet = self.outlets[index]
        if verb == "off":
            if o.energised(outlet.state) or outlet.state == o.SHED:
                self._move(outlet, o.E_OFF, events.OFF, events.COMMAND, 0, source)
            else:
                self.fast.open(index)  # whatever the state: off means open
            return ""
        if verb == "on":
            reason, text = self._may_close(outlet, force)
        elif verb == "reset":
            reason, text = self._may_reset(outlet, force)
        else:
            return "unknown verb '%s' (there are: on off reset)" % verb
        if reason:
            self.journal.add(events.REFUSED, index, reason, 0, source)
            return text
        if verb == "on":
            if o.energised(outlet.state):
                return ""
            if not self._move(outlet, o.E_ON, events.ON, events.COMMAND, 0, source):
                return "%s: the fast lane holds its relay open" % outlet.name
            return ""
        if outlet.state in (o.OFF, o.ON, o.CLOSING, o.SHED):
            return ""
        was = outlet.reason
        event = o.E_FORCE if force else o.E_RESET
        self._move(outlet, event, events.RESET, was, 0, source)
        outlet.reason = events.NONE
        if force:
            for i in range(_LOCKOUT_TRIPS):  # its owner looked into it: the count starts anew
                outlet.trip_s[i] = -_LOCKOUT_S
        if was == events.WELDED:
            self.dispatch.stuck_mask &= ~(1 << outlet.index)
            self._unblock()
        return ""

    def _unblock(self):
        """The welded relay was repaired (reset --force): close the contactor again, unless
        another one is welded."""
        for outlet in self.outlets:
            if outlet.state == o.FAULT and outlet.reason == events.WELDED:
                return
        self.contactor_blocked = False
        if not self.starting and not self._is_silent:
            self.fast.contactor(True)

    def _may_close(self, outlet, force: bool) -> tuple:
        """(0, "") or (reason code, sentence that goes on from "<outlet>: ")."""
        name = outlet.name
        state = outlet.state
        if o.energised(state):
            return 0, ""
        if self.starting:
            return events.SELFTEST, "the sensors are still being measured, try in a second"
        if self._is_silent:
            return events.SENSOR, "the sampler stands still, so nothing would protect it"
        if state == o.TRIPPED:
            return events.LATCHED, "tripped (%s): find the cause, then reset %s" % (
                why(outlet.reason),
                name,
            )
        if state == o.LOCKOUT:
            return events.LOCKED, "locked out after %d trips: reset %s --force" % (
                outlet.trips,
                name,
            )
        if state == o.FAULT:
            return outlet.reason or events.LATCHED, "fault (%s): reset %s first" % (
                why(outlet.reason),
                name,
            )
        if state == o.SHED and not force:
            return events.MIN_OFF, (
                "shed, comes back by itself when there is room (--force tries now)"
            )
        if outlet.fault_now:
            return outlet.fault_now, "fault (%s)" % why(outlet.fault_now)
        if self.contactor_blocked:
            return events.CONTACTOR, "the main contactor is open because a relay is welded"
        if not self._has_supply(outlet):
            return events.SUPPLY, "there is no supply voltage"
        if outlet.thermal.is_hot():
            return events.HOT, self._hot_text(outlet)
        full = 0 if force else self.dispatch.fits(outlet.index, 0, 0)
        if full:
            return events.ADMISSION, (
                "drew %.1f A when last on, and the %s has no room for that (--force tries)"
                % (self.dispatch.demand_ma[outlet.index] / 1000, ("leg", "total")[full - 1])
            )
        if state == o.SHED:
            self._move(outlet, o.E_OFF, events.OFF, events.COMMAND, 0, events.BY_CONTROL)
        return 0, ""

    def _may_reset(self, outlet, force: bool) -> tuple:
        name = outlet.name
        state = outlet.state
        if state == o.LOCKOUT and not force:
            return events.LOCKED, "locked out: find the cause, then reset %s --force" % name
        if state in (o.TRIPPED, o.LOCKOUT, o.FAULT) and outlet.fault_now:
            return outlet.fault_now, "the cause is still there (%s)" % why(outlet.fault_now)
        if state == o.FAULT:
            if outlet.reason == events.WELDED and not force:
                return events.WELDED, "have the relay replaced, then reset %s --force" % name
            if outlet.reason == events.SUPPLY and not self._has_supply(outlet):
                return events.SUPPLY, "there is still no supply voltage"
        if state in (o.TRIPPED, o.LOCKOUT) and outlet.thermal.is_hot():
            return events.HOT, self._hot_text(outlet)
        return 0, ""

    def _hot_text(self, outlet) -> str:
        return "still at %d %% of its trip heat, it has to cool below 90 %%" % (
            outlet.thermal.permille() // 10
        )

    # -- calibration and waveforms (outer lane) ------------------------------------------------

    def calibration(self) -> dict:
        """Per channel: gain against the board's nominal, learnt zero and noise in counts."""
        result = {}
        for m in self.meter.channels:
            zero = self.fast.zero(m.index) + m.word(_M_RESIDUE) / 256
            result[m.channel.name] = {
                "gain": round(self.meter.gains[m.index], 4),
                "zero_counts": round(zero, 2),
                "noise_counts": round((m.word(_M_NOISE) / 256) ** 0.5, 2),
            }
        return result

    def calibrate(self, channel: int, what: str, value: float) -> str:
        """`gain`: `value` is what a reference meter shows now, A or V. "" or why not."""
        m = self.meter.channels[channel]
        if what == "zero":
            return "the zero is learnt by itself whenever the outlet is off"
        if m.channel.kind == "aux":
            return "only currents and voltages have a gain"
        unit, least = ("A", 1.0) if m.channel.kind == "current" else ("V", 50.0)
        reading = m.rms() / 1000
        if reading < least:
            return "the load is off or too small: at least %g %s must flow" % (least, unit)
        gain = self.meter.gains[channel] * value / reading
        if not 0.8 <= gain <= 1.2:
            return "%g %s against a reading of %.2f %s is a gain of %.3f (allowed: 0.8 to 1.2)" % (
                value,
                unit,
                reading,
                unit,
                gain,
            )
        self.meter.set_gain(channel, gain)
        self._rescale()
        self.journal.add(
            events.SETTING, -1, events.CALIBRATION, int(gain * 1000), events.BY_CONTROL
        )
        self.calibration_dirty = True
        return ""

    def set_gains(self, gains):
        """Put back stored gains, by channel index."""
        for index, gain in enumerate(gains):
            self.meter.set_gain(index, gain)
        self._rescale()

    def _rescale(self):
        for outlet in self.outlets:
            outlet.ma_q8 = int(outlet.meter.unit_per_count * 32 + 0.5)
        self.configure()

    def capture(self, index: int) -> dict:
        """The outlet's channels over 300 ms: codes as hexadecimal, oldest first, four digits each.

        There is one recording of all channels. A trip freezes it 60 ms later, and `trip` and
        `event` then say whose trip it was; reading it sets it free for the next one.
        """
        outlet = self.outlets[index].outlet
        m = self.meter.channels[outlet.channel]
        v = self.meter.volts[min(outlet.volts, 1) if len(self.meter.volts) > 1 else 0]
        frozen = self.fast.wave_frozen()
        result = {
            "outlet": outlet.name,
            "frozen": frozen,
            "trip": self.outlets[self._wave_outlet].name if self._wave_outlet >= 0 else None,
            "event": self._wave_seq,
            "scan_period_us": self.fast.period_us,
            "zero": self.fast.zero(m.index),
            "amps_per_count": m.unit_per_count / 1000,
            "volts_zero": self.fast.zero(v.index),
            "volts_per_count": v.unit_per_count / 1000,
            "current": self.fast.wave_hex(m.index),
            "voltage": self.fast.wave_hex(v.index),
        }
        if frozen:
            self.fast.run_wave()
            self._wave_outlet = -1
            self._wave_seq = 0
        return result
