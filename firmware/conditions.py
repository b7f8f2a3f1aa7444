# What surrounds the outlets: supply, temperature, inputs, and how long they have been loaded.
# Feeds protection/stages.py with what was measured, and opens what its stages say. Part of the
# control lane: the controller calls turn() and window(); they allocate nothing.


from micropython import const

from firmware import events
from firmware.protection import outlet as o
from firmware.protection import stages as st

# rows of protection/stages.py, words of reduce.M_… (a test compares them)
_LOW_HZ = const(8)
_HIGH_HZ = const(9)
_HOT = const(10)
_GROUND = const(11)
_FOLLOW = const(12)
_NO_SENSOR = const(13)
_DERATE = const(14)
_CONTINUOUS = const(19)
_STEPS = const(5)
_S_WORDS = const(4)
_S_PICK = const(0)
_S_COUNT = const(3)
_M_RMS = const(4)
_M_LOW = const(6)
_M_HIGH = const(7)

_TOLD = const(0x1FFF)  # rows that open outlets, and are recorded
_LATCH_SHED = const(0xC00)  # ground fault, over-temperature
_STEP_C = const(5)
_OPEN = const(4064)  # codes of a thermistor that is not there, as in sensing/ntc.py
_SHORT = const(31)

WHY = {
    events.SUPPLY: "supply lost",
    events.UNDERVOLTAGE: "supply voltage too low",
    events.OVERVOLTAGE: "supply voltage too high",
    events.FREQUENCY: "supply frequency outside its limits",
    events.OVERTEMPERATURE: "too hot inside",
    events.GROUND_FAULT: "ground fault",
    events.CONTACTOR: "main contactor open",
}


class Conditions:
    """Of one controller. `tenths`: what is left of all limits, 10 = everything."""

    def __init__(self, controller, inputs=None):  # on demand
        self.controller = controller
        n = len(controller.outlets)
        self.stages = st.Stages(n)
        self.inputs = inputs  # hal.inputs.Inputs
        self.low = False  # some voltage is, or has just been, as low as if it were lost
        self.tenths = 10
        self.masks = [0] * n
        self.base_ma = [0] * n  # current of a continuous load, before derating
        self.sheds = 0  # bits of the outlets that are shed for it
        board = controller.board
        aux = board.aux("temperature")
        self.thermistor = controller.meter.channels[aux] if aux >= 0 else None
        self.sensor = 0  # temperature.sensor: 0, "yes" or "no"
        self._seen = False
        self.acts = False  # on temperature
        self.worst = 0  # steps of derating when the sensor is broken
        self.derate_c = 0
        self.trip_c = 0
        self.mv_q8 = [0] * len(controller.meter.volts)  # counts x 8 -> mV x 256
        self.band = (0, 0, 0, 0, 0, 0)  # within it no stage of the voltage picks up
        self._told = 0
        self._scans = 0
        self._second_scans = controller.scans_per_s
        self._skip = False
        self.wired = False  # an input is: turn() is wanted

    def configured(self):
        """conditions_setup.py has taken over the settings (boot, outer lane)."""
        if not self.acts and self.tenths < 10:
            self._derate(10)
        self.lower()

    # -- control lane --------------------------------------------------------------------------

    def turn(self):
        """One turn of the control task, where an input is wired."""
        inputs = self.inputs
        stages = self.stages
        if inputs.has("gfci"):
            fault = inputs.read("gfci")
            if fault or stages.block[_GROUND * _S_WORDS + _S_COUNT]:
                stages.feed(_GROUND, fault, 1)
        if inputs.has("contactor_feedback"):
            closed = 1 if self.controller.fast.contactor_closed else 0
            stages.feed(_FOLLOW, inputs.read("contactor_feedback") ^ closed, 1)
        if stages.active & _TOLD != self._told:
            self._changed()

    def window(self, n: int, idle: bool):
        """A window of `n` scans; `idle`: no outlet is on."""
        self._scans += n
        stages = self.stages
        if stages.quiet:  # no counter runs: every other window will do
            self._skip = skip = not self._skip
            if skip:
                return
        # Nearly always all is well: then the stages, which cost 0.2 ms, are not asked.
        if not stages.quiet or self._is_odd():
            self._supply(n, idle)
        if self._scans >= self._second_scans:
            self._scans -= self._second_scans
            self._second()
            if stages.active & _TOLD != self._told:
                self._changed()

    def _is_odd(self) -> bool:
        """The supply is where one of its stages might pick up."""
        meter = self.controller.meter
        block = meter.block
        low1, high1, at1, low2, high2, at2 = self.band
        if not low1 <= block[at1] <= high1 or not low2 <= block[at2] <= high2:
            return True
        mhz = meter.frequency_mhz
        rows = self.stages.block
        return mhz > rows[_HIGH_HZ * _S_WORDS] or -mhz > rows[_LOW_HZ * _S_WORDS]

    def _supply(self, n: int, idle: bool):
        c = self.controller
        stages = self.stages
        leg = 0
        for m in c.meter.volts:
            if not c.checks.volts[leg]:  # else what it says is not believed
                stages.volts(leg, c.meter.block[m.at + _M_RMS], n)
            leg += 1
        stages.hertz(c.meter.frequency_mhz, n, idle)
        self.low = stages.is_low()
        if stages.active & _TOLD != self._told:
            self._changed()

    def _changed(self):
        """A stage has begun or ceased to act: open first, record second."""
        c = self.controller
        if c.starting:  # nothing is on, and nothing may be switched on
            return
        stages = self.stages
        for outlet in c.outlets:
            if stages.active & self.masks[outlet.index] and o.energised(outlet.state):
                c.fast.open(outlet.index)
        for outlet in c.outlets:
            mask = self.masks[outlet.index] & stages.active
            on = o.energised(outlet.state)
            if mask and c.pending >> outlet.index & 1:  # nothing starts because the supply returns
                c.pending &= ~(1 << outlet.index)
                c.journal.add(events.REFUSED, outlet.index, stages.why(mask), 0, c.pending_by)
            # A shed outlet would come back by itself: after a fault of the supply it may.
            if mask & _LATCH_SHED and outlet.state == o.SHED:
                on = True
            if mask >> _GROUND & 1:
                if on:
                    c._trip(outlet, events.GROUND_FAULT, 0, events.BY_CONTROL)
            elif mask and on:
                reason = stages.why(mask)
                value = self._value(reason, 1 if outlet.outlet.volts == 1 else 0)
                c._move(outlet, o.E_FAULT, events.FAULT, reason, value, events.BY_CONTROL)
        now = stages.active & _TOLD
        for bits, reason in st.KINDS:
            if (now & bits == 0) != (self._told & bits == 0):
                if reason == events.GROUND_FAULT and c.station is not None and c.station.testing:
                    continue
                kind = events.FAULT if now & bits else events.CLEARED
                leg = 1 if (now | self._told) & bits & 0xF == 0 else 0
                c.journal.add(kind, -1, reason, self._value(reason, leg), events.BY_CONTROL)
        self._told = now

    def _value(self, reason: int, leg: int) -> int:
        """The figure that belongs to a reason: mV, mHz, thousandths of a degree."""
        meter = self.controller.meter
        if reason == events.FREQUENCY:
            return meter.frequency_mhz
        if reason == events.OVERTEMPERATURE:
            return self.trip_c * 1000
        if reason == events.GROUND_FAULT or reason == events.CONTACTOR:
            return 0
        if leg >= len(meter.volts):
            leg = 0
        return meter.block[meter.volts[leg].at + _M_RMS] * self.mv_q8[leg] >> 8

    def _second(self):
        c = self.controller
        stages = self.stages
        if self.acts:
            m = self.thermistor
            code = (m.word(_M_LOW) + m.word(_M_HIGH)) >> 1
            missing = stages.active >> _NO_SENSOR & 1
            stages.second(code, _SHORT < code < _OPEN)
            now = stages.active >> _NO_SENSOR & 1
            if now != missing and (self._seen or self.sensor):
                kind = events.WARNING if now else events.CLEARED
                c.journal.add(kind, -1, events.THERMISTOR, 0, events.BY_CONTROL)
            if _SHORT < code < _OPEN:
                self._seen = True
            steps = self.worst if now and self.sensor else stages.derating()
            if 10 - steps != self.tenths:
                self._derate(10 - steps)
        by = events.BY_CONTROL
        rows = stages.block
        at = _CONTINUOUS * _S_WORDS
        for outlet in c.outlets:
            i = outlet.index
            amps = c.amps_ma[i]
            idle = amps <= rows[at] and not rows[at + _S_COUNT]
            at += _S_WORDS
            if idle:
                continue
            on = o.energised(outlet.state)
            if not on:
                amps = 0
            was = stages.is_continuous(i)
            if stages.load(i, amps):
                if on and self.sheds >> i & 1:
                    c._move(outlet, o.E_SHED, events.SHED, events.CONTINUOUS, amps, by)
                else:
                    c.journal.add(events.WARNING, i, events.CONTINUOUS, amps, by)
            elif was and not stages.is_continuous(i) and not self.sheds >> i & 1:
                c.journal.add(events.CLEARED, i, events.CONTINUOUS, amps, by)

    def _derate(self, tenths: int):
        """All limits fall or rise to so many tenths; the heat in per cent is kept."""
        c = self.controller
        before = self.tenths * self.tenths
        self.tenths = tenths
        square = tenths * tenths
        for outlet in c.outlets:
            outlet.thermal.derate(outlet.pickup_sq * square // 100, square, before)
        self.lower()
        kind = events.WARNING if tenths < 10 else events.CLEARED
        millidegrees = (self.derate_c + _STEP_C * max(9 - tenths, 0)) * 1000
        c.journal.add(kind, -1, events.OVERTEMPERATURE, millidegrees, events.BY_CONTROL)

    def lower(self):
        """Let the derating act on what is not an outlet's thermal limit."""
        c = self.controller
        tenths = self.tenths
        block = self.stages.block
        for outlet in c.outlets:
            at = (_CONTINUOUS + outlet.index) * _S_WORDS + _S_PICK
            if self.base_ma[outlet.index]:
                block[at] = self.base_ma[outlet.index] * tenths // 10
        c.set_limits(tenths)

    # -- questions -----------------------------------------------------------------------------

    def blocks(self, index: int) -> int:
        """Reason code for which an outlet may not be on now, or 0."""
        return self.stages.why(self.masks[index])

    def rests(self, index: int) -> bool:
        """It was shed as a continuous load, and has not been off for long enough."""
        return self.sheds >> index & 1 == 1 and self.stages.is_continuous(index)
