# The control lane: finished windows in, relay commands, journal records and snapshot out.
# step() is called by the control task, once a mains cycle; integers only, no allocation.
# command() is called by the outer lane (console, MQTT, schedule); it may refuse with a reason.
#
# Safety order, always: open first, record second, report third.

from array import array

from micropython import const

from firmware import conditions, events, pieces
from firmware.protection import outlet as o
from firmware.protection import thermal
from firmware.protection.dispatch import Dispatch
from firmware.sensing import plausibility
from firmware.storage import retained
from firmware.switching import Switching

_LEARN_WINDOWS = const(24)  # zero and noise of the sensors, before anything may close
_LEARN_EXTRA = const(60)  # so many more while a zero still moves
_OPEN_WINDOWS = const(12)  # after opening: relay and arc are done, the channel is at rest
# The same after no more than twice the rating, which leaves no tail in a current transformer: half
# a cycle until the coil is off, 20 ms for the relay, half a cycle for the arc.
_QUIET_WINDOWS = const(4)
_CLOSING_WINDOWS = const(3)  # a relay's operate time is 10 ms
_MADE_WINDOWS = const(6)  # a whole one of them has shown the current, however late they are read
# No window for so long: the sampler is dead. The longest window has 27 ms (29 on the ESP32).
_SILENT_MS = const(80)
_STEP_MS = const(20)
_LOOK_MS = const(8)  # half a mains cycle
_KEEP_MS = const(5000)
_LOCKOUT_TRIPS = const(3)
_LOCKOUT_S = const(3600)
_PICKUP_PERCENT = const(105)
_WELD_PERCENT = const(3)  # of the rating: current with an open relay
_NO_SHORT_TIME = const((1 << 24) - 1)  # counts squared: more than there can be
_SQRT2 = 1.41421356
_WINDOWS = const(16)  # in one step, as many as the ring has slots
# the blocks' layouts: reduce.B_…, reduce.M_…, thermal.T_… (a test compares them)
_B_FLAGS = const(5)
_B_MOVE = const(6)
_M_RMS = const(4)
_M_LOW = const(6)
_M_HIGH = const(7)
_T_LOAD = const(0)
_T_LIMIT = const(3)
_CLOSING = const(1)  # outlet.CLOSING
_ON = const(2)
_P_AT = const(0)  # thermal.P_AT and so on
_P_LOAD = const(1)
_P_MA = const(2)
_P_LEGS = const(3)
_P_WORDS = const(4)
_R_SAMPLER = const(5)  # a row of the fault table, see plausibility.py
_M_WELD = const(23)

# Faults that end the recording of the waveforms, as a trip does; not those whose cause is older
# than the ring when they are found, or not in it.
_WAVE_FAULTS = (events.SENSOR, events.CLIPPED, events.GROUND_FAULT, events.EXTERNAL)
_FAULTS = (
    events.SENSOR,
    events.WELDED,
    events.SUPPLY,
    events.LEASE_LOST,
    events.CONTACTOR,
    events.UNDERVOLTAGE,
    events.OVERVOLTAGE,
    events.FREQUENCY,
    events.OVERTEMPERATURE,
    events.SELFTEST,
    events.NOT_CEASED,
    events.CONTACT,
)

_WHY = {
    events.THERMAL: "overload",
    events.PEAK: "short circuit",
    events.SHORT_TIME: "heavy overload",
    events.SENSOR: "current sensor",
    events.WELDED: "welded relay",
    events.LEASE_LOST: "control loop stood still",
    events.SELFTEST: "self-test",
    events.NOT_CEASED: "the inverter did not stop",
    events.CONTACT: "a contact of the transfer switch",
}


def why(reason: int, text: str = "") -> str:
    """A reason code in words for people; `text`: which check of a sensor it was."""
    if text and reason == events.SENSOR:
        return "sensor: " + text
    text = _WHY.get(reason) or conditions.WHY.get(reason, "")
    return text or events.name(events.REASONS, reason)


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

    def __init__(self, outlet, meter, element):  # on demand: boot
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
        self.at_rest = True
        self.fault_now = events.NONE  # what the last window showed
        self.code = 0  # which check opened it, while `reason` is its sensor
        self.open_windows = 0
        self.closing_windows = 0
        self.limit_ma = outlet.rating_ma
        self.pickup_sq = 0  # of the thermal stage, counts squared
        self.ma_q8 = 0  # counts x 8 -> mA x 256, see configure()
        self.base = meter.at  # its words in the meter's block
        self.trips = 0  # since power on
        self.trip_s = [-_LOCKOUT_S] * _LOCKOUT_TRIPS  # uptime of the last ones


class Controller:
    """The control lane of one board. `fast` is the hal's FastLane, `meter` the Meter on it;
    `heat` and `gather` are thermal.step and thermal.gather or their twins."""

    def __init__(  # on demand: boot
        self, board, fast, meter, journal, settings, clock, heat=thermal.step, inputs=None,
        gather=thermal.gather,
    ):  # fmt: skip
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
        self.amps_ma = array("i", bytes(4 * n))  # last cycle
        self.power_w = array("i", bytes(4 * n))
        self._gather = gather
        self._plan = array("i", bytes(4 * _P_WORDS * n))
        self._sums = array("i", bytes(12))  # two legs and the total
        for x in self.outlets:
            at = x.index * _P_WORDS
            self._plan[at + _P_AT] = x.base
            self._plan[at + _P_LOAD] = x.thermal.at + _T_LOAD
            for leg in x.outlet.legs:
                self._plan[at + _P_LEGS] |= 1 << leg
        if board.has_gangs():
            from firmware.protection.gangdispatch import GangDispatch

            kind = GangDispatch
        else:
            kind = Dispatch  # type: ignore[assignment]
        self.dispatch = kind(board, elements[n:], self.scans_per_s)
        self.priorities = [x.priority for x in board.outlets]
        self.starting = _LEARN_WINDOWS
        self._extra = _LEARN_EXTRA
        self.contactor_blocked = False  # a welded relay: nothing behind the contactor may close
        self.unfit = 0  # the self-test that failed: nothing may close, see selftest.py
        self.limits_set = 0  # how often, for that
        self.checking = False  # its first round is not over
        self.pending = 0  # bits: to be switched on one after another, see later()
        self.pending_by = events.BY_CONTROL
        self._pending_force = False
        self.latch_dirty = False  # storage has something to save
        self.stalls = 0  # windows came late and merged
        self.windows = 0
        self._merged = 0
        self._silent_ms = 0
        self._is_silent = False
        self._look_ms = 0
        self.checks = plausibility.Plausibility(self)
        self.switching = Switching(self)
        self.gangs = None  # outlets that are poles of one feed, where the board has any
        self.carrying = 0  # bits: current may flow with an open relay, see gangs.py
        if board.has_gangs():
            from firmware.gangs import Gangs

            self.gangs = Gangs(self)  # type: ignore[assignment]
            self.gang = self.gangs.of  # type: ignore[attr-defined]
        self._leg_ma = 0
        self._total_w = 0
        self._idle = True  # no outlet was on in the last window
        self.conditions = conditions.Conditions(self, inputs)
        self.station = None  # what is exported beside the outlets, see power/station.py
        self.retain = None  # keeps four words over a reset of the chip, see storage/retained.py
        self._kept = array("i", [0, 0, 0, 0])
        self._keep_ms = 0
        self.configure()
        settings.on_change(self._setting_changed)

    # -- settings ------------------------------------------------------------------------------

    def _setting_changed(self, name: str):
        if not (name.startswith("wifi.") or name.startswith("mqtt.")):
            self.configure()
            if self.station is not None:
                self.station.configure()

    def configure(self):  # on demand
        """Turn the owner's settings and the calibration into limits in counts (allocates: outer
        lane, boot)."""
        settings = self.settings
        fast = self.fast
        for outlet in self.outlets:
            pieces.breathe()  # 10 ms each
            index = outlet.index
            per_count = outlet.meter.unit_per_count
            outlet.ma_q8 = int(per_count * 32 + 0.5)
            self._plan[index * _P_WORDS + _P_MA] = outlet.ma_q8
            rating = outlet.outlet.rating_ma
            outlet.limit_ma = int(settings.outlet(index, "limit_a") * 1000 + 0.5)
            kind = thermal.CLASSES.index(settings.outlet(index, "trip_class"))
            pickup = outlet.limit_ma * _PICKUP_PERCENT / 100 / per_count
            outlet.pickup_sq = int(pickup * pickup)
            square = self.conditions.tenths * self.conditions.tenths
            limit = outlet.pickup_sq * square // 100
            outlet.thermal.configure(limit, thermal.TAU_S[kind], thermal.COOL_S[kind])
            channel = outlet.outlet.channel
            peak = settings.outlet(index, "peak") and settings.outlet(index, "peak_x")
            fast.set_peak(channel, int(peak * rating * _SQRT2 / per_count))
            short = settings.outlet(index, "short_x") * rating / per_count
            square = int(short * short)
            if not settings.outlet(index, "short_time"):
                square = _NO_SHORT_TIME
            delay_ms = int(settings.outlet(index, "short_s") * 1000)
            fast.set_short_time(channel, square, delay_ms)
        pieces.breathe()
        rank = [settings.outlet(outlet.index, "priority") for outlet in self.outlets]
        shed = [settings.get("shed." + x) for x in ("restore_s", "min_off_s", "margin_w")]
        shed.append(settings.get("shed.restarts"))
        pieces.breathe()
        hertz = settings.get("supply.hz")
        fast.set_nominal_hz(hertz or 60)
        nominal_mv = settings.get("supply.nominal_v") * 1000
        per_count = self.meter.volts[0].unit_per_count
        self.checks.configure(int(nominal_mv / per_count))
        pieces.breathe()  # from here on limits and priorities change together
        self._leg_ma = int(settings.get("leg.limit_a") * 1000)
        self._total_w = settings.get("total.limit_w")
        for i in range(len(rank)):
            self.priorities[i] = rank[i]
        if self.station is not None:
            self.station.limit(self)
        self.dispatch.configure(self.priorities, self._leg_ma, self._total_w, *shed)
        self.set_limits(self.conditions.tenths)
        around = self.conditions
        setup = pieces.once("firmware.conditions_setup")
        for part in setup.PARTS:
            pieces.breathe()
            part(around)
        for outlet in self.outlets:
            pieces.breathe()
            setup.outlet(around, outlet.index)
        setup.watch(around)
        around.configured()
        pieces.breathe()
        self.switching.configure()

    def set_limits(self, tenths: int):
        """Legs and total at so many tenths of their limits (control lane: it got hot)."""
        dispatch = self.dispatch
        for leg in dispatch.legs:
            leg.limit = self._leg_ma * tenths // 10
        dispatch.total.limit = self._total_w * tenths // 10
        self.limits_set = (self.limits_set + 1) & 0xFFFF

    def limits_agree(self, index: int) -> bool:
        """Whether limits that are kept twice are still the same: of the outlet `index` (or none),
        the legs and the total (self-test)."""
        dispatch = self.dispatch
        tenths = self.conditions.tenths
        for leg in dispatch.legs:
            if leg.limit != self._leg_ma * tenths // 10:
                return False
        if index < len(self.outlets):
            outlet = self.outlets[index]
            at = outlet.thermal.at + _T_LIMIT
            if self.bank.block[at] != outlet.pickup_sq * (tenths * tenths) // 100:
                return False
        return dispatch.total.limit == self._total_w * tenths // 10

    def restore(self, latched: dict, heat=None, ages=None, kept=None):  # on demand: boot
        """Take over what was before the reset.

        `latched`: {name: (reason, trips, heat permille, …)}; `heat`: {name: permille} of all
        outlets; `ages`: {name: seconds since its last trips}; `kept`: words that the chip's reset
        has left, see storage/retained.py: newer than the others, where they are good."""
        kept = retained.unpack(kept) if kept else None
        for outlet in self.outlets:
            i = outlet.index
            name = outlet.name
            permille = (heat or {}).get(name, 0)
            row = latched.get(name)
            if row is not None:
                permille = max(permille, row[2])
            if kept is not None and i < retained.OUTLETS:
                permille = kept[1][i]
            for age in (ages or {}).get(name, ())[-_LOCKOUT_TRIPS:]:
                self._note_trip(outlet, self.clock.now_s - age)
            if row is None and kept is not None and i in kept[0]:
                # flash has not heard of it
                row = (kept[0][i], 1)
                if row[0] not in _FAULTS:
                    self._note_trip(outlet, self.clock.now_s)
                self.latch_dirty = True
            if row is not None:
                self._latch(outlet, row[0], row[1])
            outlet.thermal.set_permille(min(max(permille, 0), 4000))
        if self.gangs is not None:
            self.gangs.settle()

    def _latch(self, outlet, reason: int, trips: int):
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

    def _note_trip(self, outlet, at_s: int) -> bool:
        """A trip at this uptime; True when it is the third within an hour."""
        times = outlet.trip_s
        times[0] = times[1]
        times[1] = times[2]
        times[2] = at_s
        return at_s - times[0] < _LOCKOUT_S

    def latched(self) -> dict:
        """What must survive a reset, for storage."""
        result = {}
        for outlet in self.outlets:
            if outlet.state in (o.TRIPPED, o.LOCKOUT, o.FAULT):
                reason = events.LOCKED if outlet.state == o.LOCKOUT else outlet.reason
                heat = outlet.thermal.permille()
                result[outlet.name] = (reason, outlet.trips, heat, self.clock.wall())
        return result

    def heat(self) -> dict:
        """{name: heat in permille} of the outlets that are warm, for storage."""
        result = {}
        for outlet in self.outlets:
            permille = outlet.thermal.permille()
            if permille >= 10:
                result[outlet.name] = permille
        return result

    def trips_s(self) -> dict:
        """{name: uptimes of the trips within the last hour}, for storage."""
        result = {}
        for outlet in self.outlets:
            times = [t for t in outlet.trip_s if self.clock.now_s - t < _LOCKOUT_S]
            if times:
                result[outlet.name] = times
        return result

    def cool_off(self, seconds: int):
        """It has become known that the device was off for so long: what is left of the restored
        heat decays (outer lane)."""
        for outlet in self.outlets:
            outlet.thermal.cool_off(seconds, self.clock.now_s)
            for i in range(_LOCKOUT_TRIPS):
                if outlet.trip_s[i] <= 0:
                    outlet.trip_s[i] -= seconds

    # -- the lane ------------------------------------------------------------------------------

    def looks(self) -> bool:
        """Whether step() has something to look at between two windows, too: pins other than those
        of the sensors."""
        return self.station is not None or self.gangs is not None or self.conditions.wired

    def pause_ms(self) -> int:
        """How long step() would find nothing to do, ms."""
        return _LOOK_MS if self.looks() else self.fast.pause_ms()

    def is_due(self) -> bool:
        """Whether step() would find something to do."""
        if self.fast.window() >= 0:
            return True
        # without windows, too: it is this lane that finds a dead sampler
        return self.clock.since_ms() >= (_LOOK_MS if self.looks() else _STEP_MS)

    def step(self) -> int:
        """Handle every finished window and renew the lease; returns how many there were."""
        fast = self.fast
        passed = self.clock.update()
        self.journal.tick(passed)
        if self.conditions.wired:
            self._look_ms += passed
            if self._look_ms >= _LOOK_MS:  # its stages count turns
                self._look_ms = 0
                self.conditions.turn()
        if self.station is not None:
            self.station.turn(passed)
        if self.gangs is not None:
            self.gangs.turn()
        count = 0
        while count < _WINDOWS:  # other tasks get turns even while each takes longer than it lasts
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
                self._fell_silent()
        if fast.renew_lease():
            self._lease_was_lost()
        if self.retain is not None:
            self._keep_ms += passed
            if self._keep_ms >= _KEEP_MS:
                self._keep_ms = 0
                retained.pack(self._kept, self.outlets)
                self.retain(self._kept)
        if count > 1:  # they merge when the ring is full
            self._look_for_merged()
        return count

    def _fell_silent(self):
        self._is_silent = True
        self.fast.open_all()
        for outlet in self.outlets:
            if o.energised(outlet.state):
                self.checks.latch(outlet, _R_SAMPLER)
        if self.fast.revive():
            self.journal.add(events.FAULT, -1, events.SENSOR, _R_SAMPLER, events.BY_FAST)

    def _look_for_merged(self):
        merged = self.fast.windows_merged() - self._merged
        if merged:
            self._merged += merged
            self.stalls += 1
            late_ms = merged * self.meter.n * self.fast.period_us // 1000
            self.journal.add(events.STALL, -1, events.NONE, late_ms, events.BY_FAST)

    def _lease_was_lost(self):
        self.fast.acknowledge_lease()
        self.pending = 0
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
        self.conditions.window(n * meter.periods, self._idle)
        if self.station is not None:
            self.station.window(n * meter.periods)
        block = meter.block
        if block[_B_FLAGS] or self.conditions.low or self.checks.active:
            self.checks.window()  # may open outlets, and take a reading out of the block
        heat = self.bank.block
        amps_ma = self.amps_ma
        power_w = self.power_w
        sums = self._sums
        self._gather(block, heat, self._plan, len(amps_ma), amps_ma, power_w, sums)
        on_mask = 0
        opening = 0
        bit = 1
        for outlet in self.outlets:
            state = outlet.state
            if state == _ON or state == _CLOSING:
                on_mask |= bit
                if outlet.closing_windows < _MADE_WINDOWS:
                    outlet.closing_windows += 1
                    if outlet.closing_windows == _CLOSING_WINDOWS:
                        outlet.state = o.step(state, o.E_CLOSED) >> 4
                    elif outlet.closing_windows == _MADE_WINDOWS:
                        self.switching.made(outlet)
            elif not outlet.at_rest:
                opening |= bit
                outlet.open_windows += 1
                if outlet.open_windows >= _OPEN_WINDOWS:
                    outlet.open_windows = 0
                    outlet.at_rest = True
                    outlet.meter.learn_zero(True)
                    self.switching.broke(outlet)
            bit += bit
        dispatch = self.dispatch
        dispatch.opening = opening
        dispatch.set_sums(n, sums, amps_ma, power_w, heat, meter.periods)
        hot = self.bank.step(n, meter.periods)
        if hot & (on_mask | self.carrying):
            for outlet in self.outlets:
                if hot & (on_mask | self.carrying) & outlet.thermal.bit:
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
        self._idle = not on_mask
        shed = dispatch.decide(n, hot, on_mask)
        if shed:
            self._shed(shed & on_mask)
        elif dispatch.shed_mask:
            back = dispatch.restorable(n)
            if back >= 0:
                self._restore_shed(self.outlets[back])
        if on_mask:
            dispatch.note_demand(on_mask)

    def _fast_trips(self, trips: int):
        if self.gangs is not None:
            trips = self.gangs.culprits(trips)
        for outlet in self.outlets:
            if trips >> outlet.index & 1:
                peak = self.fast.is_peak_trip(outlet.index)
                ground = self.fast.is_ground_trip(outlet.index)
                m = outlet.meter
                refused = o.step(outlet.state, o.E_TRIP) & 15 == o.REFUSE
                amps = 0 if refused else self.fast.excursion(m.index)  # goes with the trip
                self.fast.acknowledge_trip(outlet.index)
                self.pending &= ~(1 << outlet.index)
                if ground:
                    if o.energised(outlet.state) or outlet.state == o.SHED:
                        self._trip(outlet, events.GROUND_FAULT, 0, events.BY_FAST)
                    continue
                if refused:
                    # Current although it has tripped; the kernel has recorded it. A converter that
                    # is broken may do this each cycle to all of them, so it has to be cheap.
                    self.fast.freeze_wave(outlet.index, 0, False)
                    continue
                if peak:  # in this window, or in those that came after it
                    amps = max(m.word(_M_HIGH) - 2048, 2048 - m.word(_M_LOW), amps)
                    amps = amps * 8 * outlet.ma_q8 >> 8
                else:  # the control lane may be late: what it was that tripped
                    amps = _root_q3(self.fast.trip_square(m.index)) * outlet.ma_q8 >> 8
                reason = events.PEAK if peak else events.SHORT_TIME
                self._trip(outlet, reason, amps, events.BY_FAST)

    def _move(self, outlet, event: int, kind: int, reason: int, value: int, source: int) -> bool:
        """Send an event to the outlet's state machine: relay first, then the record."""
        if outlet.outlet.gang:
            return self.gangs.move(outlet, event, kind, reason, value, source)
        result = o.step(outlet.state, event)
        action = result & 15
        if action == o.REFUSE:
            return False
        if action == o.OPEN:
            if event == o.E_OFF:
                self.switching.open(outlet)
            else:
                self.fast.open(outlet.index)
            outlet.thermal.energise(False)
        elif action == o.CLOSE:
            if not self.switching.close(outlet):
                return False
            outlet.thermal.energise(True)
            outlet.closing_windows = 0
            outlet.open_windows = 0
            outlet.at_rest = False
            outlet.meter.learn_zero(False)  # at once: the window that is open may carry current
            self.dispatch.note_closed(outlet.index)
        was_on = o.energised(outlet.state)
        if was_on and action == o.OPEN:
            much = self.switching.opened(outlet, reason, value)
            outlet.open_windows = 0 if much else _OPEN_WINDOWS - _QUIET_WINDOWS
            self.dispatch.opening |= 1 << outlet.index
        outlet.state = result >> 4
        outlet.reason = reason
        if outlet.state == o.SHED:
            self.dispatch.note_shed(outlet.index)
        elif self.dispatch.shed_mask >> outlet.index & 1:
            self.dispatch.note_gone(outlet.index)
        self.journal.add(kind, outlet.index, reason, value, source)
        self.latch_dirty = True
        self._keep_ms = _KEEP_MS  # at the end of this turn
        if (
            event == o.E_TRIP
            or event == o.E_WELD
            or (event == o.E_FAULT and was_on and reason in _WAVE_FAULTS and not self._is_silent)
        ):
            self.fast.freeze_wave(outlet.index, self.journal.last_seq, was_on)
        return True

    def _trip(self, outlet, reason: int, value: int, source: int):
        if self._move(outlet, o.E_TRIP, events.TRIPPED, reason, value, source):
            outlet.trips += 1
            if self._note_trip(outlet, self.clock.now_s):
                self._move(outlet, o.E_LOCK, events.LOCKOUT, events.LOCKED, outlet.trips, source)

    def _welded(self, outlet):
        """Current flows although the relay is open: open the contactor, and latch it once."""
        # Its own relay cannot cut it any more: the contactor upstream can.
        blocked = self.contactor_blocked
        self.contactor_blocked = True
        self.fast.contactor(False)
        if outlet.state != o.FAULT or outlet.reason != events.WELDED:
            self.dispatch.stuck_mask |= 1 << outlet.index
            amps = outlet.meter.word(_M_RMS) * outlet.ma_q8 >> 8
            self._move(outlet, o.E_WELD, events.FAULT, events.WELDED, amps, events.BY_CONTROL)
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
                lowered = self.station is not None and self.station.lowered
                if dispatch.own_mask >> i & 1 and not lowered:
                    # It overloads itself: a shed outlet comes back by itself, a fault must not.
                    # (In a mode with less than the usual power it is none, and never fits.)
                    self._trip(outlet, reason, value, events.BY_CONTROL)
                else:
                    self._move(outlet, o.E_SHED, events.SHED, reason, value, events.BY_CONTROL)

    def fail(self, code: int):
        """A self-test failed (its number): open everything, and let nothing close."""
        self.fast.open_all()
        self.contactor_blocked = True
        self.pending = 0
        self.unfit = code
        by = events.BY_CONTROL
        for outlet in self.outlets:
            if o.energised(outlet.state) or outlet.state == o.SHED:
                self._move(outlet, o.E_FAULT, events.FAULT, events.SELFTEST, code, by)
        self.journal.add(events.FAULT, -1, events.SELFTEST, code, by)

    def mend(self):
        """What failed is good again."""
        self.unfit = 0
        self._unblock()

    def _restore_shed(self, outlet):
        dispatch = self.dispatch
        dispatch.note_refused(outlet.index)  # unless it comes back
        around = self.conditions
        if outlet.thermal.is_hot() or self.contactor_blocked:
            return
        if self.station is not None and self.station.holds(outlet.index):
            return
        if around.blocks(outlet.index) or around.rests(outlet.index):
            return
        if outlet.fault_now:
            return
        load = dispatch.total.load
        if self._move(
            outlet, o.E_RESTORE, events.RESTORED, outlet.reason, load, events.BY_CONTROL
        ):
            dispatch.note_restored(outlet.index)

    # -- commands ------------------------------------------------------------------------------

    def command(self, verb: str, index: int, source: int, force: bool = False) -> str:
        """Do `on`, `off` or `reset` to an outlet; "" when done, else why not, in a sentence."""
        outlet = self.outlets[index]
        self.pending &= ~(1 << index)
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
            self.journal.note(events.REFUSED, index, reason, 0, source)
            return text
        if verb == "on":
            if o.energised(outlet.state):
                return ""
            if self.station is not None and self.station.eases(index):
                self.pending |= 1 << index  # close_next() asks again
                self.pending_by = source
                self._pending_force = force
                return ""
            if outlet.state == o.SHED:
                self._move(outlet, o.E_OFF, events.OFF, events.COMMAND, 0, source)
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
            self.switching.relays.replaced(outlet.index)
            self.dispatch.stuck_mask &= ~(1 << outlet.index)
            self._unblock()
        return ""

    def later(self, index: int, source: int, force: bool = False) -> str:
        """Switch an outlet on when its turn comes, one inrush at a time; "" or why not. What has
        no room by then is refused, which goes on record."""
        outlet = self.outlets[index]
        reason, text = self._may_close(outlet, force)
        if reason:
            self.journal.note(events.REFUSED, index, reason, 0, source)
        elif not o.energised(outlet.state):
            self.pending |= 1 << index
            self.pending_by = source
            self._pending_force = force
        return text

    def close_next(self):
        """Outer lane, each half second: the most important of those that wait for their turn."""
        if self.pending:
            for i in self.dispatch.order:
                if self.pending >> i & 1:
                    self.command("on", i, self.pending_by, self._pending_force)
                    return

    def warning(self, name: str) -> str:
        """What to tell somebody who has just changed the setting `name`, or ""."""
        return self._words("warning", name) if name.find("limit_") > 0 else ""

    def _words(self, what: str, *about) -> str:
        """A sentence from the module `admission`, which is in memory no longer than that."""
        return getattr(pieces.once("firmware.admission"), what)(self, *about)

    def _unblock(self):
        """The welded relay was repaired (reset --force): close the contactor again, unless
        another one is welded."""
        for outlet in self.outlets:
            if outlet.state == o.FAULT and outlet.reason == events.WELDED:
                return
        if self.unfit:
            return
        self.contactor_blocked = False
        if not self.starting and not self._is_silent:
            self.fast.contactor(True)

    def _may_close(self, outlet, force: bool) -> tuple:  # on demand
        """(0, "") or (reason code, sentence that goes on from "<outlet>: ")."""
        name = outlet.name
        state = outlet.state
        if o.energised(state):
            return 0, ""
        gang = outlet.outlet.gang
        if gang:
            return events.NOT_ALLOWED, "%s is fed by the transfer switch: %s start" % (gang, gang)
        if self.unfit:
            return events.SELFTEST, self._words("unfit")
        if self.starting or self.checking:
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
                why(outlet.reason, self.checks.text(outlet)),
                name,
            )
        if state == o.SHED and not force:
            return events.MIN_OFF, self._words("waits", outlet.index)
        if outlet.fault_now:
            return outlet.fault_now, "fault (%s)" % self._fault_text(outlet)
        if self.contactor_blocked:
            return events.CONTACTOR, "the main contactor is open because a relay is welded"
        reason = self.conditions.blocks(outlet.index)
        if reason:
            return reason, "not now: " + why(reason)
        if outlet.thermal.is_hot():
            return events.HOT, self._hot_text(outlet)
        if self.station is not None:
            reason, text = self.station.blocks(outlet.index)
            if reason:
                return reason, text
        full = self.dispatch.refuses(outlet.index, force)
        if full is not None:
            return events.ADMISSION, self._words("full", outlet.index, full, force)
        return 0, ""

    def _may_reset(self, outlet, force: bool) -> tuple:  # on demand
        for pole in (outlet,) if self.gangs is None else self.gangs.poles(outlet):
            reason, text = self._resists(pole, force)
            if reason:
                return reason, text
        return 0, ""

    def _resists(self, outlet, force: bool) -> tuple:  # on demand
        name = outlet.name
        state = outlet.state
        if state == o.LOCKOUT and not force:
            return events.LOCKED, "locked out: find the cause, then reset %s --force" % name
        if state in (o.TRIPPED, o.LOCKOUT, o.FAULT) and outlet.fault_now:
            return outlet.fault_now, "the cause is still there (%s)" % self._fault_text(outlet)
        if self.unfit:
            return events.SELFTEST, self._words("unfit")
        reason = self.conditions.blocks(outlet.index)
        if reason and outlet.reason in conditions.WHY:
            return reason, "the cause is still there (%s)" % why(reason)
        if self.station is not None:
            reason, text = self.station.resists(outlet.index)
            if reason:
                return reason, text
        if state == o.FAULT:
            if outlet.reason == events.WELDED and not force:
                return events.WELDED, "have the relay replaced, then reset %s --force" % name
        if state in (o.TRIPPED, o.LOCKOUT) and outlet.thermal.is_hot():
            return events.HOT, self._hot_text(outlet)
        return 0, ""

    def _fault_text(self, outlet) -> str:
        return why(outlet.fault_now, self.checks.text(outlet))

    def _hot_text(self, outlet) -> str:
        return "still at %d %% of its trip heat, it has to cool below 90 %%" % (
            outlet.thermal.permille() // 10
        )
