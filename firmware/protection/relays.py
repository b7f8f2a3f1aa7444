# What a relay needs to be switched at a chosen instant of the mains, and what it has gone through:
# its learned operate and release times, and its wear. Pure integer logic; allocates nothing after
# it was made. Called by firmware/switching.py in the control and in the outer lane.
#
# Times are in us. The mains repeats itself each half cycle as far as relays are concerned.

from array import array

from micropython import const

# words per relay; the names are repeated where they are needed, see docs/development.md
_R_OPERATE = const(0)  # learned time from coil to contact when closing, us; 0: not learned
_R_LOW = const(1)  # the release time lies between these; _R_HIGH 0: not learned
_R_HIGH = const(2)
_R_OPS = const(3)  # times closed
_R_BREAKS = const(4)  # openings with current
_R_MOST = const(5)  # largest current that it broke, mA RMS
_R_AT = const(6)  # scan of its last switching, -1: nothing to be learned from it
_R_WHERE = const(7)  # _AT_ZERO, _AT_PEAK, _AT_ONCE: where it is closed
_R_ODD = const(8)  # samples in a row that are much later than what is known
_R_LATE = const(9)  # openings in a row that arced although the release time is known
_R_WORDS = const(10)

# where in the voltage's wave a relay is closed
_AT_ZERO = const(0)
_AT_PEAK = const(1)
_AT_ONCE = const(2)

_LEAST_US = const(1000)  # nothing else is a relay's time
_MOST_US = const(20_000)
_OPERATE_US = const(8000)  # of a 30 A power relay's data sheet
_RELEASE_US = const(4500)  # 4 ms, and as much sooner as a relay may be slower
_LATE_US = const(2000)
_ODD = const(4)
_LEAD = const(4)  # scans from asking to switching: the control lane takes a part of them
_BREAK_PERCENT = const(10)
_NO_CODE = const(4096)
_GAP = const(4)  # scans: so long the smallest current that is looked at may hide in the noise


class Relays:
    """The relays of `n` outlets, on a sampler of `period_us`."""

    def __init__(self, n: int, period_us: int):
        self.period_us = period_us
        self.block = array("i", bytes(4 * _R_WORDS * n))
        self.dirty = False  # something to be saved

    # -- when to switch ------------------------------------------------------------------------

    def takes(self, index: int, closes: bool) -> int:
        """How long this relay's contact takes to follow its coil, us.

        Of the release time only an interval is known, see broke(). While that is wide, its middle
        halves it at each opening; then its end, so that the contact parts before the zero."""
        b = self.block
        at = index * _R_WORDS
        if closes:
            return b[at] or _OPERATE_US
        high = b[at + _R_HIGH]
        if not high:
            return _RELEASE_US
        low = b[at + _R_LOW]
        return high if self._is_narrow(low, high) else low + high >> 1

    def _is_narrow(self, low: int, high: int) -> bool:
        return high - low <= self.period_us << 2

    def wait(self, index: int, closes: bool, since_us: int, half_us: int) -> int:
        """Scans from now until the coil has to be switched, so that its contact follows at the
        zero (when closing: or at the peak) of a wave that was zero `since_us` ago."""
        takes = self.takes(index, closes)
        period = self.period_us
        aim = half_us >> 1 if closes and self.block[index * _R_WORDS + _R_WHERE] == _AT_PEAK else 0
        soonest = since_us + takes + _LEAD * period - aim
        left = aim + (soonest + half_us - 1) // half_us * half_us - takes - since_us
        return (left + (period >> 1)) // period

    # -- learning ------------------------------------------------------------------------------

    def made(self, index: int, scans: int):
        """Current was seen for the first time `scans` after the coil was switched on.

        A load may draw its current later than the contact makes, never sooner: what comes sooner
        counts for more, and what is much later for nothing, unless it goes on so."""
        us = scans * self.period_us - (self.period_us >> 1)
        if not _LEAST_US <= us <= _MOST_US:
            return
        b = self.block
        at = index * _R_WORDS
        old = b[at]
        d = us - old
        if not old:
            step = d
        elif d < 0:
            step = d >> 1
        else:
            step = d >> 2
            if d > _LATE_US:
                b[at + _R_ODD] += 1
                if b[at + _R_ODD] < _ODD:
                    return
                step = d >> 1
        b[at + _R_ODD] = 0
        b[at] = old + step
        self.dirty = True

    def broke(self, index: int, scans: int, half_us: int):
        """Current was seen for the last time `scans` after the coil was switched off.

        The arc goes on to the next zero, so the contact parted in the half cycle before: each
        opening leaves an interval, and what several of them have in common is narrow. Without
        anything in common, or when it arcs time and again, the relay has changed."""
        us = scans * self.period_us + (self.period_us >> 1)
        # near its zero the current is not seen any more
        high = us + self.period_us + (self.period_us >> 1)
        low = us - half_us - (self.period_us >> 1)
        if low < _LEAST_US:
            low = _LEAST_US
        if high > _MOST_US:
            high = _MOST_US
        if low >= high:
            return
        b = self.block
        at = index * _R_WORDS
        most = b[at + _R_HIGH]
        if most:
            least = b[at + _R_LOW]
            if us > most + (half_us >> 2) and self._is_narrow(least, most):
                b[at + _R_LATE] += 1
            else:
                b[at + _R_LATE] = 0
            least = max(low, least)
            most = min(high, most)
            if least < most and b[at + _R_LATE] < 2:
                low = least
                high = most
            else:
                b[at + _R_LATE] = 0
        b[at + _R_LOW] = low
        b[at + _R_HIGH] = high
        self.dirty = True

    # -- wear ----------------------------------------------------------------------------------

    def closed(self, index: int) -> int:
        """It is being closed once more; how often that has been."""
        at = index * _R_WORDS + _R_OPS
        self.block[at] += 1
        self.dirty = True
        return self.block[at]

    def opened(self, index: int, ma: int, rating_ma: int):
        """It is being opened while `ma` flow."""
        if ma * 100 <= rating_ma * _BREAK_PERCENT:
            return
        b = self.block
        at = index * _R_WORDS
        b[at + _R_BREAKS] += 1
        if ma > b[at + _R_MOST]:
            b[at + _R_MOST] = ma
        self.dirty = True

    def replaced(self, index: int):
        """It is a new one."""
        for word in (_R_OPERATE, _R_LOW, _R_HIGH, _R_OPS, _R_BREAKS, _R_MOST, _R_ODD):
            self.block[index * _R_WORDS + word] = 0
        self.dirty = True


# -- the waveform ring: `wave` holds scans of `step` channels; `row` is the scan to begin with,
# `at` the channel, `zero` the code of no current, `square` what noise stays below --------------


def first_flow(wave, step: int, row: int, at: int, zero: int, square: int, n: int) -> int:
    """Which of `n` rows is the first of two with current, 0 on; -1: none of them, or no record.
    Some without may lie between: made just before a zero, the current is small again at once."""
    last = -_NO_CODE
    size = len(wave)
    for k in range(n):
        code = wave[row * step + at]
        if code >= _NO_CODE:
            return -1
        code -= zero
        if code * code > square:
            if k - last <= _GAP:
                return last
            last = k
        row += 1
        if row * step >= size:
            row = 0
    return -1


def last_flow(wave, step: int, row: int, at: int, zero: int, square: int, n: int) -> int:
    """Which of `n` rows is the last of two with current, 0 on; -1: none of them, no record, or the
    current goes on."""
    found = -1
    last = False
    size = len(wave)
    for k in range(n):
        code = wave[row * step + at]
        if code >= _NO_CODE:
            return -1
        code -= zero
        now = code * code > square
        if now and last:
            found = k
        last = now
        row += 1
        if row * step >= size:
            row = 0
    return -1 if last else found


def last_zero(wave, step: int, row: int, at: int, zero: int, square: int, n: int) -> int:
    """How long before `row` the current changed its sign, in 1/1024 scans; looks back over `n`
    rows, half a cycle. -1: no record, or no current in more than a quarter of them: a supply that
    draws pulses has no zero, but a gap around that of the voltage."""
    idle = 0
    found = -1
    after = 0
    for k in range(n):
        code = wave[row * step + at]
        if code >= _NO_CODE:
            return -1
        code -= zero
        if code * code <= square:
            idle += 1
        if found < 0 and k and (code < 0) != (after < 0):
            size = abs(code) + abs(after)
            found = ((k - 1) << 10) + (abs(after) << 10) // size if size else k << 10
        after = code
        row -= 1
        if row < 0:
            row = len(wave) // step - 1
    return -1 if idle * 4 > n else found
