# Outlets that are the poles of one feed (the board's table calls them a gang): they share a
# relay, so they close together or not at all, and open together whichever of them asks for it.
# Part of the control lane, made by the controller where the board has such outlets; allocates
# nothing but in settle(), which belongs to boot.
#
# The relay is switched once, as that of the first pole; then each pole has its record. What the
# fast lane shares between them (trips, plans) see hal/fastlane.py.

from micropython import const

from firmware import events
from firmware.protection import outlet as o

_M_LOW = const(6)  # reduce.M_LOW and so on
_M_HIGH = const(7)
_MID = const(2048)
_R_AT = const(6)  # relays.R_AT and so on
_R_WORDS = const(10)
_KEEP_MS = const(5000)  # as in controller.py: at the end of this turn
_OPEN_WINDOWS = const(12)  # as in controller.py
_QUIET_WINDOWS = const(4)
_NEVER_S = const(-3600)

# those that end the recording of the waveforms, as in controller.py
_WAVE_FAULTS = (events.SENSOR, events.CLIPPED, events.GROUND_FAULT, events.EXTERNAL)
# reasons whose value is the current of the pole itself
_OWN_MA = (events.THERMAL, events.PEAK, events.SHORT_TIME)
_RANK = (o.TRIPPED, o.FAULT, o.LOCKOUT)  # the later one needs more to be left


class Gangs:
    """Of one controller. `all`: the gangs, each a tuple of the controller's outlets, the one that
    leads first."""

    def __init__(self, controller):
        self._c = controller
        self.all: list = []
        names: list = []
        for outlet in controller.outlets:
            name = outlet.outlet.gang
            if name and name not in names:
                names.append(name)
                self.all.append(tuple([x for x in controller.outlets if x.outlet.gang == name]))
        self._allowed = controller.fast.allowed
        relays = controller.switching.relays.block
        for poles in self.all:
            for pole in poles[1:]:  # there is nothing to be learned of a relay it has not
                relays[pole.index * _R_WORDS + _R_AT] = -1

    def of(self, name: str) -> tuple:
        """Indexes of the outlets of the gang called `name`; () when there is none."""
        for poles in self.all:
            if poles[0].outlet.gang == name:
                return tuple([x.index for x in poles])
        return ()

    def poles(self, outlet) -> tuple:
        """The outlets of the gang of `outlet`; of one that stands alone itself."""
        for poles in self.all:
            if outlet in poles:
                return poles
        return (outlet,)

    # -- control lane --------------------------------------------------------------------------

    def turn(self):
        """Each turn: what is closed and not allowed any more opens, and with it what was planned.
        Whoever takes the permission away has mostly opened it before, with a better reason."""
        c = self._c
        fast = c.fast
        lost = self._allowed & ~fast.allowed
        self._allowed = fast.allowed
        if not lost:
            return
        for outlet in c.outlets:
            if lost >> outlet.index & 1:
                fast.open(outlet.index)
        for outlet in c.outlets:
            if lost >> outlet.index & 1 and o.energised(outlet.state):
                c._move(outlet, o.E_OFF, events.OFF, events.CONTACT, 0, events.BY_CONTROL)

    def culprits(self, trips: int) -> int:
        """Of the fast lane's trips those of the poles that carried most; the others of their gangs
        are acknowledged here."""
        fast = self._c.fast
        for poles in self.all:
            guilty = None
            most = -1
            asked = 0
            for pole in poles:
                i = pole.index
                if not trips >> i & 1:
                    continue
                asked += 1
                m = pole.meter
                if fast.is_peak_trip(i):
                    size = max(m.word(_M_HIGH) - _MID, _MID - m.word(_M_LOW))
                    size = max(size, fast.excursion(m.index))
                else:
                    size = fast.trip_square(m.index)
                if size > most:
                    most = size
                    guilty = pole
            if asked > 1:
                for pole in poles:
                    if pole is not guilty:
                        fast.acknowledge_trip(pole.index)
                        trips &= ~(1 << pole.index)
        return trips

    def move(self, outlet, event: int, kind: int, reason: int, value: int, source: int) -> bool:
        """As Controller._move(), for all poles: `outlet` is the one that it happened to."""
        c = self._c
        poles = self.poles(outlet)
        action = o.step(outlet.state, event) & 15
        if action == o.REFUSE:
            return False
        lead = poles[0]
        was_on = o.energised(outlet.state)
        much = False
        if action == o.OPEN:
            if event == o.E_OFF:
                c.switching.open(lead)
            else:
                c.fast.open(lead.index)
            if was_on:
                much = self._wear(lead, poles, reason, value)
        elif action == o.CLOSE:
            for pole in poles:
                if o.step(pole.state, event) & 15 != o.CLOSE:
                    return False
                if event == o.E_RESTORE and self._waits(pole):
                    return False
            if not c.switching.close(lead):
                return False
        self._record(outlet, event, action, was_on, much, kind, reason, value, source)
        fault = event == o.E_FAULT and was_on and reason in _WAVE_FAULTS
        if event == o.E_TRIP or event == o.E_WELD or fault:
            c.fast.freeze_wave(outlet.index, c.journal.last_seq, was_on)
        for pole in poles:
            if pole is not outlet:
                own = value
                if reason in _OWN_MA:
                    own = c.amps_ma[pole.index]
                elif reason == events.LEG:
                    own = c.dispatch.legs[pole.outlet.legs[0]].load
                self._record(pole, event, action, was_on, much, kind, reason, own, source)
                if kind == events.TRIPPED:
                    pole.trips += 1
                    c._note_trip(pole, c.clock.now_s)
                elif kind == events.RESET:
                    self._reset(pole, event)
        if kind == events.RESET:
            for pole in poles:
                c.dispatch.stuck_mask &= ~(1 << pole.index)
            if reason == events.WELDED:
                c.switching.relays.replaced(lead.index)
        elif event == o.E_WELD:
            for pole in poles:
                c.dispatch.stuck_mask |= 1 << pole.index
        c.latch_dirty = True
        c._keep_ms = _KEEP_MS
        if action == o.OPEN and c.station is not None:
            c.station.opened(outlet)
        return True

    def _record(
        self, pole, event: int, action: int, was_on: bool, much: bool, kind: int, reason: int,
        value: int, source: int,
    ):  # fmt: skip
        """What Controller._move() does to an outlet whose relay has been switched."""
        c = self._c
        result = o.step(pole.state, event)
        if result & 15 == o.REFUSE:
            return
        i = pole.index
        if action == o.OPEN:
            pole.thermal.energise(False)
            if was_on:
                pole.open_windows = 0 if much else _OPEN_WINDOWS - _QUIET_WINDOWS
                c.dispatch.opening |= 1 << i
        elif action == o.CLOSE:
            pole.thermal.energise(True)
            pole.closing_windows = 0
            pole.open_windows = 0
            pole.at_rest = False
            pole.meter.learn_zero(False)
            c.dispatch.note_closed(i)
        pole.state = result >> 4
        pole.reason = reason
        if pole.state == o.SHED:
            c.dispatch.note_shed(i)
        elif c.dispatch.shed_mask >> i & 1:
            c.dispatch.note_gone(i)
        c.journal.add(kind, i, reason, value, source)

    def _wear(self, lead, poles, reason: int, value: int) -> bool:
        """One relay opens: it has broken the largest current of its poles. True when much."""
        relays = self._c.switching.relays
        ma = 0
        for pole in poles:
            ma = max(ma, self._c.amps_ma[pole.index])
        if reason != events.COMMAND:
            relays.block[lead.index * _R_WORDS + _R_AT] = -1
        if reason == events.PEAK:
            ma = value * 724 >> 10  # over the square root of 2
        elif reason == events.SHORT_TIME:
            ma = value
        rating = lead.outlet.rating_ma
        relays.opened(lead.index, ma, rating)
        return ma > rating * 2

    def _waits(self, pole) -> bool:
        """It may not come back by itself yet."""
        around = self._c.conditions
        if pole.thermal.is_hot() or pole.fault_now:
            return True
        return around.blocks(pole.index) != 0 or around.rests(pole.index)

    def _reset(self, pole, event: int):
        pole.reason = events.NONE
        if event == o.E_FORCE:
            for i in range(len(pole.trip_s)):
                pole.trip_s[i] = _NEVER_S

    def carry(self, name: str, on: bool):
        """Current may flow through the sensors of a gang although its relay is open, because
        another contact feeds them (export): it is no welded relay, and no zero to be learnt. Its
        curves trip as if it were on."""
        c = self._c
        for poles in self.all:
            if poles[0].outlet.gang != name:
                continue
            for pole in poles:
                bit = 1 << pole.index
                if on:
                    c.carrying |= bit
                    pole.at_rest = True  # nothing is waited for that would end this
                    pole.meter.learn_zero(False)
                elif c.carrying & bit:
                    c.carrying &= ~bit
                    if not o.energised(pole.state):
                        pole.open_windows = 0  # at rest when the current has had time to end
                        pole.at_rest = False

    # -- boot ----------------------------------------------------------------------------------

    def settle(self):
        """At boot, after what was latched has been restored: all poles of a gang are what the
        worst of them is."""
        for poles in self.all:
            worst = None
            for pole in poles:
                if pole.state in _RANK and (
                    worst is None or _RANK.index(pole.state) > _RANK.index(worst.state)
                ):
                    worst = pole
            if worst is None:
                continue
            for pole in poles:
                if pole.state != worst.state:
                    reason = events.LOCKED if worst.state == o.LOCKOUT else worst.reason
                    self._c._latch(pole, reason, max(pole.trips, worst.trips))
