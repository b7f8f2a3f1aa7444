# Switches the outlets' relays for the controller: by command at a chosen instant of the mains,
# else at once; learns how long each relay takes, counts what it goes through. Part of the control
# lane (made(), broke(), opened()) and of commands (close(), open()); allocates nothing.
#
# A fault never comes here: the fast lane opens at once, and forgets what was planned.


from micropython import const

from firmware import events, pieces
from firmware.protection import outlet as o
from firmware.protection import relays as r

_R_OPS = const(3)
_R_AT = const(6)  # relays.R_AT and so on
_R_WHERE = const(7)
_R_WORDS = const(10)
_AT_ONCE = const(2)
_M_NOISE = const(1)  # reduce.M_NOISE and so on
_M_LOW = const(6)
_M_HIGH = const(7)
_SCAN_MASK = const(0x1FFFFFFF)
_LOOK_US = const(20_000)
_SWING = const(96)  # counts, 4.1 A RMS of 20: with less it cannot be seen when current begins
_LEAST = const(36)  # counts^2; and 16 times the noise: four sigma


class Switching:
    """Of one controller. `timed`: whether commands wait for their instant; `rated`: operations
    after which a relay is worn."""

    def __init__(self, controller):
        self._c = controller
        self.relays = r.Relays(len(controller.outlets), controller.fast.period_us)
        self.timed = False
        self.rated = 0
        self._told = 0  # bits of the worn relays that are on record

    def configure(self):
        """Take over the settings (boot, outer lane)."""
        self.setup("configure")

    def setup(self, what: str, *about):
        """Something of switching_setup.py, which is in memory no longer than that."""
        return getattr(pieces.once("firmware.switching_setup"), what)(self, self._c, *about)

    # -- switching -----------------------------------------------------------------------------

    def close(self, outlet) -> bool:
        """Close at the voltage's zero or peak. False: the fast lane holds the relay open."""
        i = outlet.index
        block = self.relays.block
        at = -1
        if block[i * _R_WORDS + _R_WHERE] != _AT_ONCE:
            now = self._c.fast.now()
            at = self._plan(i, True, self._c.meter.since_zero_us(now), now)
        if not self._c.fast.close(i, at):
            return False
        block[i * _R_WORDS + _R_AT] = at
        times = self.relays.closed(i)
        if times >= self.rated and not self._told >> i & 1:
            self._told |= 1 << i
            by = events.BY_CONTROL
            self._c.journal.add(events.WARNING, i, events.WORN, times, by)
        return True

    def open(self, outlet):
        """Open at the zero of its current, or, where that has none, of the voltage."""
        c = self._c
        i = outlet.index
        at = -1
        learn = False
        if self.timed and outlet.state == o.ON:
            now = c.fast.now()
            since = self._since_zero(outlet, now)
            learn = since >= 0
            at = self._plan(i, False, since if learn else c.meter.since_zero_us(now), now)
        c.fast.open(i, at)
        self.relays.block[i * _R_WORDS + _R_AT] = at if learn else -1

    def _plan(self, index: int, closes: bool, since_us: int, now: int) -> int:
        """The scan at which the coil is to be switched; -1: at once, because the mains' rhythm is
        not known."""
        half_us = self._c.meter.cycle_us() >> 1
        if not self.timed or since_us < 0 or not half_us:
            return -1
        return (now + self.relays.wait(index, closes, since_us, half_us)) & _SCAN_MASK

    def _since_zero(self, outlet, now: int) -> int:
        """Time since the outlet's current changed its sign, us; -1: it has no clear zero."""
        fast = self._c.fast
        row = fast.wave_row(now)
        n = (self._c.meter.cycle_us() >> 1) // fast.period_us + 2
        if row < 0 or not self._swings(outlet):
            return -1
        at = outlet.meter.index
        square = self._noise(outlet)
        scans = r.last_zero(fast.wave, fast.n_ch, row, at, fast.zero(at), square, n)
        return scans * fast.period_us >> 10 if scans >= 0 else -1

    def _swings(self, outlet) -> bool:
        m = outlet.meter
        return m.word(_M_HIGH) - m.word(_M_LOW) >= _SWING

    def _noise(self, outlet) -> int:
        return (outlet.meter.word(_M_NOISE) >> 4) + _LEAST

    # -- learning ------------------------------------------------------------------------------

    def _look(self, outlet, search, more_us: int) -> int:
        """How many scans after its switching `search` finds current in the waveform, 0: not."""
        fast = self._c.fast
        word = outlet.index * _R_WORDS + _R_AT
        at = self.relays.block[word]
        if at < 0:
            return 0
        self.relays.block[word] = -1
        row = fast.wave_row((at + 1) & _SCAN_MASK)
        n = (fast.now() - at) & _SCAN_MASK
        n = min(n, (_LOOK_US + more_us) // fast.period_us)
        if row < 0:
            return 0
        at = outlet.meter.index
        square = self._noise(outlet)
        return 1 + search(fast.wave, fast.n_ch, row, at, fast.zero(at), square, n)

    def made(self, outlet):
        """Its contact has been closed for some cycles."""
        if self._swings(outlet):
            scans = self._look(outlet, r.first_flow, 0)
            if scans:
                self.relays.made(outlet.index, scans)

    def broke(self, outlet):
        """It has been open for some cycles."""
        half_us = self._c.meter.cycle_us() >> 1
        if half_us:
            scans = self._look(outlet, r.last_flow, half_us)
            if scans:
                self.relays.broke(outlet.index, scans, half_us)

    # -- wear ----------------------------------------------------------------------------------

    def operations(self, index: int) -> int:
        """How often a relay has closed."""
        return self.relays.block[index * _R_WORDS + _R_OPS]

    def opened(self, outlet, reason: int, value: int) -> bool:
        """An outlet that was on opens; `value`: of its record. True when much current flowed."""
        i = outlet.index
        if reason != events.COMMAND:  # a fault's arc tells nothing
            self.relays.block[i * _R_WORDS + _R_AT] = -1
        ma = self._c.amps_ma[i]
        if reason == events.PEAK:
            ma = value * 724 >> 10  # over the square root of 2
        elif reason == events.SHORT_TIME:
            ma = value
        rating = outlet.outlet.rating_ma
        self.relays.opened(i, ma, rating)
        return ma > rating * 2
