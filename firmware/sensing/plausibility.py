# Are the readings believable? The table of sensor faults, its debounced judgement, and what
# follows. window() is called by the control task, only when something is not as it should be (a
# flag of reduce.py, a voltage far too low, a fault that was there before); allocates nothing.
#
# A reading that cannot be true never counts as zero: its outlet opens.

from array import array

from micropython import const

from firmware import events
from firmware.protection import outlet as o

# what a window shows: reduce.F_..., and what only several channels together show
_F_RAIL = const(1)
_F_FROZEN = const(2)
_F_ZERO = const(4)
_F_FLOW = const(8)
_F_CLIP = const(16)
_F_NOISE = const(32)
_DEAD = const(64)  # current, and its voltage channel shows nothing
_SILENT = const(128)  # conversions that did not end

_M_SQ = const(3)
_M_RMS = const(4)
_M_LOW = const(6)
_M_HIGH = const(7)
_M_POWER = const(17)
_M_FLAGS = const(22)

# when a row is judged: a current channel is at rest from 12 cycles after its relay opened
_ALWAYS = const(0)
_REST = const(1)
_ON = const(2)

# what follows
_CONTACTOR = const(0)  # the main contactor opens
_OPEN = const(1)  # what depends on the channel opens
_REFUSE = const(2)  # nothing is on that could open; `on` is refused

# severities
_WARNING = const(0)
_FAULT = const(1)
_CRITICAL = const(2)

# rows
_R_UNKNOWN = const(0)  # recorded by a version without this table, or before a restart
_R_WELDED = const(1)
_R_NO_VOLTAGE = const(2)
_R_CLIPPED = const(3)
_R_CONVERTER = const(4)
_R_SAMPLER = const(5)
_R_RAIL = const(6)  # from here on the reading is nonsense
_R_FROZEN = const(7)
_R_ZERO = const(8)
_R_NOISE = const(9)

# columns
_WORD = const(0)
_SEEN = const(1)
_WHEN = const(2)
_WINDOWS = const(3)
_REASON = const(4)
_SEVERITY = const(5)
_LATCHES = const(6)
_ACTION = const(7)

# The fault table. Of several rows that apply the first counts. A row's number is the code of a
# `sensor` record on flash: rows may be added at the end, but none may be moved.
# Windows are cycles of 60 Hz; longer ones count for more. 3 of them, because 100 ms are allowed: a
# fault that begins just after a window did is judged after 20 + 3 x 20 ms at 50 Hz, after 27 + 2 x
# 27 ms where the voltage is stuck and no zero crossing ends a window; and the control task looks
# within 2 ms, or when others let it. 3 windows are 120 equal codes, and a live converter has 0.5
# counts of noise at least.
TABLE: tuple = (
    ("?", 0, _ALWAYS, 1, events.SENSOR, _FAULT, True, _OPEN),
    ("welded", _F_FLOW, _REST, 6, events.WELDED, _CRITICAL, True, _CONTACTOR),
    ("no voltage", _DEAD, _ON, 3, events.SENSOR, _FAULT, True, _OPEN),
    # One half-cycle at the end of the range is an inrush, and the peak stage's business: its
    # limit lies below, and its current is gone within two windows. Three windows with a code at
    # the end and no trip are single conversions: a loose contact, and a reading that is wrong.
    ("clipped", _F_CLIP, _ON, 3, events.SENSOR, _FAULT, True, _OPEN),
    ("converter", _SILENT, _ALWAYS, 2, events.SENSOR, _FAULT, True, _OPEN),
    ("sampler", 0, _ALWAYS, 1, events.SENSOR, _CRITICAL, True, _CONTACTOR),
    ("rail", _F_RAIL, _ALWAYS, 2, events.SENSOR, _FAULT, True, _OPEN),
    ("frozen", _F_FROZEN, _ALWAYS, 3, events.SENSOR, _FAULT, True, _OPEN),
    ("zero", _F_ZERO, _ALWAYS, 3, events.SENSOR, _FAULT, True, _OPEN),
    # At rest only: under load a commutator or an arc is as noisy, and noise makes a reading too
    # high, which is the safe side. It does not latch: a radio transmitter beside it must not
    # cost every outlet a reset.
    ("noise", _F_NOISE, _REST, 3, events.SENSOR, _WARNING, False, _REFUSE),
)

_MID = const(2048)
_ZERO_BAND = const(200)
_LONG_AGO_S = const(3600)  # of a trip: it does not count any more
_HOLD = const(30)  # windows
_ROW = const(15)  # of a code; above it the voltage channel
_OWN = const(12)  # x 1/8 of the rating: more current pulls the supply down itself
_BACK = const(3)  # << : this many times "nothing" is a voltage again


class Debounce:
    """Debounced judgement of some channels. A fault of the channels in `holds` (bits) lasts until
    there were 30 good windows, because no latch keeps a loose contact from filling the journal;
    of the others only one of a row that does not latch."""

    def __init__(self, channels: int, cycle: int, holds: int = 0):
        """`cycle`: scans in a cycle of 60 Hz, 12 to 40."""
        self.active = 0  # bits of the channels whose good windows judge() must see, too
        self._cycle = cycle
        self._holds = holds
        self._counts = bytearray(len(TABLE) * channels)  # scans
        self._last = bytearray(channels)
        self._good = bytearray(channels)

    def judge(self, channel: int, flags: int, when: int, n: int) -> int:
        """Row of the fault that the `flags` of a window of `n` scans show, or 0. `when`: _ON,
        _REST, or _ALWAYS for neither."""
        # the plainest of what is seen: a rail is frozen and far from the middle, too
        if flags & _F_RAIL:
            flags = _F_RAIL
        elif flags & _F_FROZEN:
            flags = _F_FROZEN
        elif flags & _F_CLIP:
            flags &= ~_F_ZERO  # of extreme codes the middle says nothing
        elif flags & _F_ZERO:
            flags = _F_ZERO
        counts = self._counts
        found = 0
        active = False
        k = 0
        at = channel * len(TABLE)
        for row in TABLE:
            if flags & row[_SEEN] and (row[_WHEN] == _ALWAYS or row[_WHEN] == when):
                active = True
                # windows of one cycle of 60 Hz, less what jitter takes from them
                least = row[_WINDOWS] * self._cycle - (self._cycle >> 3)
                count = counts[at] + n
                counts[at] = count if count < least else least
                if not found and count >= least:
                    found = k
            else:
                counts[at] = 0
            k += 1
            at += 1
        last = self._last[channel]
        if found:
            self._good[channel] = 0
            self._last[channel] = found
        elif last:
            good = self._good[channel] + 1
            self._good[channel] = good
            if good < _HOLD and (self._holds >> channel & 1 or last == _R_NOISE):
                active = True
                found = last
            else:
                self._last[channel] = 0
        if active:
            self.active |= 1 << channel
        else:
            self.active &= ~(1 << channel)
        return found

    def is_timing(self) -> bool:
        """Whether some check has begun to count and has not decided yet (outer lane)."""
        at = 0
        for count in self._counts:
            windows = TABLE[at % len(TABLE)][_WINDOWS]
            if 0 < count < windows * self._cycle - (self._cycle >> 3):
                return True
            at += 1
        return False


class Plausibility:
    """All channels of a board.

    `codes`: what is wrong with what an outlet depends on, 0 = nothing: row | (1 + index of the
    voltage channel) << 4, without the channel when it is the outlet's own sensor or the
    converter. `volts`: row per voltage channel, of the converter's fault too. `converter`: row.
    `active`: whether window() must see the next one whatever it shows.
    """

    def __init__(self, controller):  # on demand
        self._c = controller
        outlets = controller.outlets
        volts = controller.meter.volts
        self.codes = bytearray(len(outlets))
        self.volts = bytearray(len(volts))
        self.converter = 0
        self.active = False
        # voltages, converter, outlets
        cycle = 1_000_000 // 60 // controller.fast.period_us
        shared = len(volts) + 1
        self._checks = Debounce(shared + len(outlets), cycle, (1 << shared) - 1)
        self._silent = 0
        self._dead_q3 = 0
        self._flow = array("i", bytes(4 * len(outlets)))
        # voltage channels that an outlet depends on, bits
        both = (1 << len(volts)) - 1
        self._feeds = bytearray([(1, 2, 3)[x.outlet.volts] & both or 1 for x in outlets])
        # what is on record: bits of the outlets with a fault that does not latch, rows
        self._noted = 0
        self._volts_noted = bytearray(len(volts))
        self._converter_noted = 0

    def configure(self, nominal: int):
        """`nominal`: supply voltage in counts RMS. Nothing is 1/16 of it, flow 1/8 of a rating: a
        load that draws its rating would draw half of that from what is left of the voltage."""
        self._dead_q3 = nominal >> 1
        for x in self._c.outlets:
            self._flow[x.index] = int(x.outlet.rating_ma / x.meter.unit_per_count)  # x 8 / 8

    def is_timing(self) -> bool:
        """Whether a reading is under suspicion (outer lane: whether flash may be written)."""
        return self.active and self._checks.is_timing()

    # -- control lane --------------------------------------------------------------------------

    def window(self):
        """Judge the window in the meter's block: open what depends on a reading that cannot be
        true, then record what is wrong with it."""
        c = self._c
        was = self.active
        on_mask = 0
        bit = 1
        for outlet in c.outlets:
            state = outlet.state
            if state == o.ON or state == o.CLOSING:
                on_mask |= bit
            bit += bit
        self._judge(on_mask)
        if not (self.active or was):
            return  # no voltage, and nothing odd about it
        bit = 1
        for outlet in c.outlets:
            self._act(outlet, bit, on_mask)
            bit += bit
        if self.converter != self._converter_noted:
            self._note(-1, self.converter or self._converter_noted, self.converter > 0)
            self._converter_noted = self.converter
        i = 0
        for row in self.volts:
            noted = self._volts_noted[i]
            if row != _R_CONVERTER and (row == 0) != (noted == 0):
                self._volts_noted[i] = row
                self._note(-1, (row or noted) | (i + 1) << 4, row > 0)
            i += 1

    def _act(self, outlet, bit: int, on_mask: int):
        code = self.codes[outlet.index]
        if not code and not outlet.fault_now and not self._noted & bit:
            return
        row = TABLE[code & _ROW]
        outlet.fault_now = row[_REASON] if code else events.NONE
        if code and row[_LATCHES]:
            if outlet.fault_now == events.WELDED:
                self._c._welded(outlet)
            elif code == self.converter and not self._converter_noted:
                # Conversions without end look like a short circuit on every outlet first.
                if on_mask & bit or self._has_just_tripped(outlet):
                    self.latch(outlet, code)
            elif on_mask & bit or not (code > _ROW or code == self.converter):
                # What is off does not latch the fault of what it shares with others.
                self.latch(outlet, code)
        elif code and not self._noted & bit and outlet.state != o.FAULT:
            self._noted |= bit
            self._note(outlet.index, code, True)
        elif not code and self._noted & bit:
            self._noted &= ~bit
            self._note(outlet.index, _R_NOISE, False)

    def latch(self, outlet, code: int):
        """Open an outlet whose reading cannot be true, once."""
        c = self._c
        if outlet.state == o.FAULT:
            return
        tripped = self._has_just_tripped(outlet)
        if c._move(outlet, o.E_FAULT, events.FAULT, events.SENSOR, code, events.BY_CONTROL):
            outlet.code = code
            if tripped:  # it was no short circuit: it must not count towards a lockout
                times = outlet.trip_s
                times[2] = times[1]
                times[1] = times[0]
                times[0] = -_LONG_AGO_S

    def _has_just_tripped(self, outlet) -> bool:
        return (
            outlet.state == o.TRIPPED
            and outlet.reason == events.PEAK
            and self._c.clock.now_s - outlet.trip_s[2] < 2
        )

    def _note(self, index: int, code: int, begins: bool):
        kind = events.FAULT if begins else events.CLEARED
        self._c.journal.add(kind, index, events.SENSOR, code, events.BY_CONTROL)

    def _judge(self, on_mask: int):
        meter = self._c.meter
        block = meter.block
        n = meter.n
        volts = self.volts
        silent = self._c.fast.silent_scans()
        lost = silent != self._silent  # conversions: what the channels say means nothing
        self._silent = silent
        checks = self._checks
        running = checks.active
        converter = len(volts)
        if lost or running >> converter & 1:
            self.converter = checks.judge(converter, _SILENT if lost else 0, _ALWAYS, n)
        dead = 0
        i = 0
        for m in meter.volts:
            flags = block[m.at + _M_FLAGS]
            if flags & _F_ZERO and not meter.locked:
                # A dip leaves half-cycles over: their middle says nothing.
                low = block[m.at + _M_LOW]
                if low < _MID + _ZERO_BAND and block[m.at + _M_HIGH] > _MID - _ZERO_BAND:
                    flags &= ~_F_ZERO
            row = 0
            if flags or running >> i & 1:
                row = checks.judge(i, 0 if lost else flags, _ON, n)
            rms = block[m.at + _M_RMS]
            if rms < self._dead_q3:
                dead |= 1 << i
            if not row and volts[i] == _R_NO_VOLTAGE and rms < self._dead_q3 << _BACK:
                row = _R_NO_VOLTAGE  # its outlets are open: no current can tell any more
            volts[i] = row or self.converter
            i += 1
        i = 0
        channel = converter + 1
        for outlet in self._c.outlets:
            at = outlet.base
            flags = block[at + _M_FLAGS]
            if flags & (_F_RAIL | _F_FROZEN):
                # It must not heat the curve nor load the limits, which would shed outlets that
                # are sound.
                self._drop(block, at)
            if lost:
                flags = 0
            elif dead & self._feeds[i] and block[at + _M_RMS] > self._flow[i]:
                flags |= _DEAD
            row = 0
            if flags or running >> channel & 1:
                when = _REST if outlet.at_rest else _ALWAYS
                row = checks.judge(channel, flags, _ON if on_mask >> i & 1 else when, n)
                if row >= _R_RAIL:
                    self._drop(block, at)
                elif row == _R_NO_VOLTAGE and block[at + _M_RMS] < self._flow[i] * _OWN:
                    # More than that is a short circuit that pulls the supply down: it alone opens.
                    self._blame(dead & self._feeds[i])
            self.codes[i] = row
            i += 1
            channel += 1
        shared = self.converter
        for row in volts:  # after the outlets: one's current blames the channel for all of them
            shared |= row
        if shared:
            self._share()
        self.active = (checks.active | shared) != 0

    def _share(self):
        """What is wrong with a voltage or the converter is wrong with the outlets, too."""
        volts = self.volts
        i = 0
        for feed in self._feeds:
            row = self.codes[i]
            if not row or row == _R_NO_VOLTAGE:
                if self.converter:
                    self.codes[i] = self.converter
                elif feed & 1 and volts[0]:
                    self.codes[i] = volts[0] | 1 << 4
                elif feed & 2 and volts[1]:
                    self.codes[i] = volts[1] | 2 << 4
            i += 1

    def _drop(self, block, at: int):
        block[at + _M_SQ] = 0
        block[at + _M_RMS] = 0
        block[at + _M_POWER] = 0

    def _blame(self, channels: int):
        i = 0
        for row in self.volts:
            if channels >> i & 1 and not row:
                self.volts[i] = _R_NO_VOLTAGE
            i += 1

    # -- outer lane ----------------------------------------------------------------------------

    def text(self, outlet) -> str:
        """Which check an outlet's sensors do not pass, now or when it opened: "frozen",
        "v_l1 rail"; "" when there is none."""
        code = self.codes[outlet.index]
        if not code and outlet.state == o.FAULT and outlet.reason == events.SENSOR:
            code = outlet.code
        return words(self._c.board, code)

    def of_channel(self, index: int) -> str:  # on demand
        """Which check the channel of this index does not pass now, in a word, or ""."""
        row = self.converter
        if index < len(self.volts):
            row = self.volts[index] or row
        for outlet in self._c.outlets:
            if outlet.meter.index == index and self.codes[outlet.index] <= _ROW:
                row = self.codes[outlet.index]
        return TABLE[row][_WORD] if row else ""


def words(board, code: int) -> str:
    """The code of a `sensor` record for people: "frozen", "v_l1 frozen"; "" for none."""
    row = code & 15
    if not 0 < row < len(TABLE):
        return ""
    channel = code >> 4
    if channel and channel <= len(board.channels):
        return board.channels[channel - 1].name + " " + TABLE[row][_WORD]
    return TABLE[row][_WORD]
