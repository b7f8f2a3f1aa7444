# The grid's side of the transfer switch: how high its voltage is and how fast, per window. Made by
# power/station.py on boards with channels of kind "sense"; window() is called by the control task
# (integers, no allocation), configure() by the outer lane and at boot.
#
# The windows belong to the vehicle's voltage, or run freely without it, so the frequency comes
# from crossings that the fast lane counts in the first of the channels. They also say what part of
# a cycle a window is, and by how much its mean square is therefore off (split phase: the same part
# in both channels).

from array import array

from micropython import const

from firmware.sensing import plausibility

_CYCLES = const(10)
_QUICK = const(3)
_SCAN_MASK = const(0x1FFFFFFF)
_GONE = const(96)  # scans without a crossing: two cycles of 50 Hz, 40 ms
_FAR = const(1 << 15)  # scans between two looks: more says nothing about a cycle
_SHORTEST_US = const(12_500)  # 80 to 35 Hz; else it is no cycle
_LONGEST_US = const(28_600)
_TWO_PI = const(6434)  # x 1024
_LEARN = const(6)  # zero tracking: 1/64 of the difference a window, as the voltages'
# 59.3 to 60.5 Hz, and five sixths of that; 88 to 110 % of the nominal voltage
_LOW_MHZ = const(59_300)
_HIGH_MHZ = const(60_500)
_BETWEEN_MHZ = const(55_000)
_LOW = const(880)
_HIGH = const(1100)
# A reading that cannot be a grid's, present or not: as plausibility.py judges it.
_MID = const(2048)
_ZERO_BAND = const(200)
_ALWAYS = const(0)  # plausibility._ALWAYS
_R_NO_VOLTAGE = const(2)  # a row of its table
_LIVE = const(300)  # permille: something is there
_HOLD_MS = const(10_000)  # without a flaw, until a broken sensor is believed again
# layouts: kernel.SENSE_N and so on, reduce.M_RAW and so on (a test compares them)
_SENSE_N = const(53)
_SENSE_SCAN = const(54)
_SENSE_BEFORE = const(55)
_SENSE_AFTER = const(56)
_B_N = const(2)
_M_RAW = const(2)
_M_LOW = const(6)
_M_HIGH = const(7)
_M_FLAGS = const(22)
_M_LEARN = const(24)
_F_RAIL = const(1)
_F_FROZEN = const(2)
_F_ZERO = const(4)
_F_CLIP = const(16)


def sine(turn):
    """Sine x 1024 of an angle in 1/1024 turn, good to 2 (Bhaskara's formula)."""
    x = turn & 511
    p = x * (512 - x)
    value = (p << 12) // (327_680 - p)
    return -value if turn & 512 else value


def share(n, length, since, part):
    """Mean square of a window's part of a sine over that of whole cycles, x 1024:
    1 - sin(a) / a x cos(2 b), where `a` is the window's angle and `b` that of its middle.
    `n`: its scans; `length`: of a cycle, 1/1024 scan; `since`: scans from the last crossing to its
    end, and `part` of one before that, 1/1024."""
    width = n << 10
    s = sine((width % length << 10) // length) * length // (width * _TWO_PI >> 10)
    if not s:
        return 1024
    middle = (since << 10) - (width >> 1) - 512 + part
    turn = (middle % length << 10) // length
    return 1024 - (s * sine(2 * turn + 256) >> 10)


def root(square, last):
    """Root of a mean square in counts^2, x 8, by Newton's method from the last one."""
    s = square << 6
    found = last or 8192
    if s <= 0:
        return 0
    d = 2
    while d > 1 or d < -1:
        q = (found + s // found) >> 1
        d = q - found
        found = q or 1
    return found


def hertz(total, cycles, parts):
    """mHz of `cycles` that take `total`, 1/1024 scan; 0: none. `parts`: scans a second x 256
    x 1000."""
    if not total:
        return 0
    # 1024 x scans a second x 1000 x cycles / total, in two steps because that does not fit
    return 4 * cycles * (parts // total) + 4 * cycles * (parts % total) // total


class GridSense:
    """`permille`: RMS of each sense channel in permille of supply.nominal_v; `low`, `high`: the
    smallest and the largest of them. `mhz`: frequency over the last ten cycles, 0: unknown;
    `quick_mhz`: over the last three. `good`: within 88 to 110 % and 59.3 to 60.5 Hz (49.42 to
    50.42 Hz), as the last window says: nothing is debounced here. `broken`: a sensor shows what
    no grid does, present or not, and `code` says which and how, as that of a `sensor` record; then
    nobody knows what the grid does, and `good` is not said."""

    def __init__(self, app, twins=(share, root, hertz)):
        self._share, self._rms, self._hertz = twins
        self._meter = app.meter
        self._fast = app.fast
        self._settings = app.settings
        self.channels = [m for m in app.meter.channels if m.channel.kind == "sense"][:2]
        n = len(self.channels)
        self.permille = array("i", [0] * n)
        self.low = self.high = 0
        self.mhz = self.quick_mhz = 0
        self.good = False
        self.broken = False
        self.code = 0
        self._checks = plausibility.Debounce(n, 1_000_000 // 60 // app.fast.period_us)
        self._denied = False
        self._hold_ms = 0
        self._scale = array("i", [0] * n)  # RMS in counts x 8 -> permille x 65536
        self._root = array("i", [0] * n)
        period_us = app.fast.period_us
        self._mhz_q8 = (1_000_000_000 // period_us) << 8
        self._least_q10 = (_SHORTEST_US << 10) // period_us
        self._most_q10 = (_LONGEST_US << 10) // period_us
        self._lengths = array("i", [0] * _CYCLES)  # of the last cycles, 1/1024 scan
        self._at = 0
        self._known = 0  # of these, how many there are
        self._total = 0  # of all ten, where there are so many; else of none
        self._count = 0
        self._scan = 0
        self._part = 0  # of a scan, between the crossing and the scan behind it, 1/1024
        self._begun = False  # these three are of a crossing
        for m in self.channels:
            m.set_word(_M_LEARN, _LEARN)
        self.configure()

    def configure(self):
        """Take over the nominal voltage and the gains."""
        nominal_mv = self._settings.get("supply.nominal_v") * 1000
        i = 0
        for m in self.channels:
            self._scale[i] = int(m.unit_per_count / 8 / nominal_mv * 1000 * 65536 + 0.5)
            i += 1

    # -- control lane --------------------------------------------------------------------------

    def window(self, ms: int):
        """A window of `ms` has been accounted for by the meter."""
        self._cycles()
        block = self._meter.block
        n = block[_B_N]
        length = self._total // _CYCLES or self._length(1)
        share = 1024
        if length and self._meter.periods == 1:
            since = (self._meter.scan - self._scan) & _SCAN_MASK
            if since > _SCAN_MASK >> 1:  # the crossing came after the window
                since -= _SCAN_MASK + 1
            if -_FAR < since < _FAR:
                share = self._share(n, length, since, self._part)
        low = 1 << 20
        high = 0
        code = 0
        doubt = False
        checks = self._checks
        i = 0
        for m in self.channels:
            at = m.at
            square = block[at + _M_RAW] // n
            flags = block[at + _M_FLAGS]
            if flags or checks.active >> i & 1:
                if flags & (_F_RAIL | _F_FROZEN):
                    square = 0
                    doubt = True
                elif flags & _F_ZERO:
                    if flags & _F_CLIP:  # off the middle, and at one end: no grid meets one alone
                        flags &= ~_F_CLIP
                        doubt = True
                    elif block[at + _M_LOW] > _MID + _ZERO_BAND:
                        doubt = True
                    elif block[at + _M_HIGH] < _MID - _ZERO_BAND:
                        doubt = True
                row = checks.judge(i, flags, _ALWAYS, n)
                if row:
                    code = row | m.index + 1 << 4
            square = (square // share << 10) + (square % share << 10) // share
            rms = self._rms(square, self._root[i])
            self._root[i] = rms
            permille = rms * self._scale[i] >> 16
            self.permille[i] = permille
            if permille < low:
                low = permille
            if permille > high:
                high = permille
            i += 1
        self.low = low
        self.high = high
        if self._denied:
            if high >= _LIVE:
                self._denied = False
            else:
                code = _R_NO_VOLTAGE | self.channels[0].index + 1 << 4
        if code:
            self.code = code
            self.broken = True
            self._hold_ms = _HOLD_MS
        elif self._hold_ms > 0:
            if doubt:
                self._hold_ms = _HOLD_MS
            self._hold_ms -= ms
            self.broken = self._hold_ms > 0
        if self.broken:
            self.good = False
        elif not doubt:  # else as before: two more like this one, and it is broken
            mhz = self.mhz
            if mhz and mhz < _BETWEEN_MHZ:
                mhz = mhz * 6 // 5
            self.good = _LOW <= low and high <= _HIGH and _LOW_MHZ <= mhz <= _HIGH_MHZ

    def deny(self):
        """Energy comes in from a grid that the sensors do not show: they are not believed before
        they show one."""
        self._denied = True

    def _cycles(self):
        """What the fast lane has counted since the last look -> frequencies."""
        st = self._fast.st
        while True:  # a scan may come in between
            count = st[_SENSE_N]
            scan = st[_SENSE_SCAN]
            before = st[_SENSE_BEFORE]
            after = st[_SENSE_AFTER]
            if count == st[_SENSE_N]:
                break
        new = (count - self._count) & _SCAN_MASK
        if not new:
            if (self._fast.now() - scan) & _SCAN_MASK > _GONE:
                self._forget()
            return
        part = (after << 10) // (after - before)
        passed = (scan - self._scan) & _SCAN_MASK
        if not self._begun or passed > _FAR:
            self._forget()
            self._begun = True
        else:
            cycle = ((passed << 10) - part + self._part) // new
            if not self._least_q10 <= cycle <= self._most_q10:
                self._known = self._total = 0  # some crossing was none, or is missing
            else:
                lengths = self._lengths
                for _ in range(new if new < _CYCLES else _CYCLES):
                    at = self._at
                    if self._total:
                        self._total += cycle - lengths[at]
                    lengths[at] = cycle
                    self._at = at + 1 if at < _CYCLES - 1 else 0
                    if self._known < _CYCLES:
                        self._known += 1
                        if self._known == _CYCLES:
                            self._total = sum(lengths)
        self._count = count
        self._scan = scan
        self._part = part
        self.mhz = self._hertz(self._total, _CYCLES, self._mhz_q8)
        self.quick_mhz = self._hertz(self._length(_QUICK), _QUICK, self._mhz_q8)

    def _forget(self):
        self._begun = False
        self._known = self._total = 0
        self.mhz = self.quick_mhz = 0

    def _length(self, cycles: int) -> int:
        """Of the last so many cycles, 1/1024 scan; 0: not so many are known."""
        if self._known < cycles:
            return 0
        total = 0
        at = self._at
        for _ in range(cycles):
            at = at - 1 if at else _CYCLES - 1
            total += self._lengths[at]
        return total
