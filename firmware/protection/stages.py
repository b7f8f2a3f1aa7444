# Definite-time stages: supply voltage, frequency, temperature, continuous load, external inputs.
# Called by the control task, once a window, once a second and once a turn; allocates nothing
# after configure(). Pure integer logic: which outlets open is the controller's business.
#
# One array holds all stages, a row each. A stage picks up when its value passes PICK, stays
# picked up until the value falls below DROP, and is active once it has been so for DELAY. Stages
# that act on too little are fed the negated value.

from array import array

from micropython import const

from firmware import events

# words of a row
S_PICK = const(0)
S_DROP = const(1)
S_DELAY = const(2)  # in the units of what feeds the row: scans, seconds or turns
S_COUNT = const(3)
S_WORDS = const(4)

# rows
LOSS = const(0)  # of L1, scans; L2 has the next four
UNDER = const(1)
OVER = const(2)
HIGH = const(3)
LOW_HZ = const(8)  # scans
HIGH_HZ = const(9)
HOT = const(10)  # over-temperature trip, seconds
GROUND = const(11)  # ground-fault input, turns of the control task
FOLLOW = const(12)  # the contactor does not do as told, turns
NO_SENSOR = const(13)  # temperature sensor broken, seconds
DERATE = const(14)  # the first of five steps, seconds
CONTINUOUS = const(19)  # of the first outlet, seconds
STEPS = const(5)

_NEVER = const(1 << 29)
_STEP_BITS = const(31 << 14)
_FALL = const(2)  # see load()
_REST_PERCENT = const(90)

# bits of the rows by what they mean, for records: (bits, reason)
KINDS = (
    (0x11, events.SUPPLY),
    (0x22, events.UNDERVOLTAGE),
    (0xCC, events.OVERVOLTAGE),
    (0x300, events.FREQUENCY),
    (1 << HOT, events.OVERTEMPERATURE),
    (1 << GROUND, events.GROUND_FAULT),
    (1 << FOLLOW, events.CONTACTOR),
)


class Stages:
    """The stages of one board with `outlets` outlets. `active`: bits of the rows that act."""

    def __init__(self, outlets: int):  # on demand
        self.block = array("i", bytes(4 * S_WORDS * (CONTINUOUS + outlets)))
        for row in range(CONTINUOUS + outlets):
            self.set(row, _NEVER, _NEVER, 1)
        self.active = 0
        self.quiet = True  # no counter of the voltage or the frequency runs
        self._warm = True  # a counter of the temperature may run
        self._legs = 0  # bits of the legs whose counters run
        self._hz = False  # a counter of the frequency runs
        self._permille = 0
        self._nominal = 0  # mHz that the rows stand for
        self.auto_hz = True

    # -- set-up (allocates nothing either, but the figures come from the outer lane) -----------

    def set(self, row: int, pick: int, drop: int, delay: int):
        """Pick-up, drop-out and delay of a row. What runs goes on: no delay starts anew."""
        at = row * S_WORDS
        b = self.block
        b[at] = pick
        b[at + S_DROP] = drop
        b[at + S_DELAY] = delay if delay > 1 else 1

    def off(self, row: int):
        """Switch a stage off; it is not active any more."""
        self.set(row, _NEVER, _NEVER, 1)
        self.block[row * S_WORDS + S_COUNT] = 0
        self.active &= ~(1 << row)

    def set_hz(self, nominal_mhz: int, permille: int, delay: int):
        """Band of the frequency around `nominal_mhz`; 0: 50 or 60 Hz, whichever is nearer while
        nothing is on."""
        self.auto_hz = nominal_mhz == 0
        self._permille = permille
        b = self.block
        b[LOW_HZ * S_WORDS + S_DELAY] = b[HIGH_HZ * S_WORDS + S_DELAY] = delay
        self._band(nominal_mhz or self._nominal or 60_000)

    def _band(self, mhz: int):
        b = self.block
        self._nominal = mhz
        width = mhz // 1000 * self._permille
        back = width - mhz // 400  # comes back a quarter of a per cent further in
        b[LOW_HZ * S_WORDS] = width - mhz
        b[LOW_HZ * S_WORDS + S_DROP] = back - mhz
        b[HIGH_HZ * S_WORDS] = mhz + width
        b[HIGH_HZ * S_WORDS + S_DROP] = mhz + back

    # -- control task --------------------------------------------------------------------------

    def feed(self, row: int, x: int, n: int) -> int:
        """Let row `row` see the value `x` for `n` of its units; its counter."""
        b = self.block
        at = row * S_WORDS
        count = b[at + S_COUNT]
        if x > b[at] or (count and x >= b[at + S_DROP]):
            count += n
            if count >= b[at + S_DELAY]:
                count = b[at + S_DELAY]
                self.active |= 1 << row
            b[at + S_COUNT] = count
            return count
        if count:
            b[at + S_COUNT] = 0
            self.active &= ~(1 << row)
        return 0

    def volts(self, leg: int, rms: int, n: int):
        """RMS of a leg over `n` scans, in the unit of its rows."""
        row = leg << 2
        run = self.feed(row, -rms, n)
        # what is lost is not low as well: one cause, one record
        run |= self.feed(row + UNDER, -_NEVER if run else -rms, n)
        run |= self.feed(row + OVER, rms, n)
        run |= self.feed(row + HIGH, rms, n)
        if run:
            self._legs |= 1 << leg
        else:
            self._legs &= ~(1 << leg)
        self.quiet = not self._legs and not self._hz

    def is_low(self) -> bool:
        """Whether a leg is below the limit of a loss at present."""
        b = self.block
        return b[S_COUNT] != 0 or b[4 * S_WORDS + S_COUNT] != 0

    def hertz(self, mhz: int, n: int, idle: bool):
        """Frequency over `n` scans, 0: not to be measured. Without voltage it says nothing.
        `idle`: no outlet is on."""
        if idle and self.auto_hz and mhz:
            nominal = 60_000 if mhz > 55_000 else 50_000
            if nominal != self._nominal:
                self._band(nominal)
        if not mhz and self.block[S_COUNT]:  # L1, which sets the rhythm, is dead
            mhz = self._nominal
        run = self.feed(LOW_HZ, -mhz, n)
        self._hz = (run | self.feed(HIGH_HZ, mhz, n)) != 0
        self.quiet = not self._legs and not self._hz

    def second(self, code: int, known: bool):
        """Once a second: the thermistor's code; hotter is lower. `known`: it can be believed."""
        if known and not self._warm and -code <= self.block[DERATE * S_WORDS]:
            return
        run = self.feed(NO_SENSOR, 0 if known else 1, 1)
        if known:
            run |= self.feed(HOT, -code, 1)
            for row in range(DERATE, DERATE + STEPS):
                run |= self.feed(row, -code, 1)
            self._warm = run != 0
        else:
            self._warm = True

    def derating(self) -> int:
        """Steps of 10 % by which all limits are lowered; 5 at most."""
        bits = (self.active & _STEP_BITS) >> DERATE
        steps = 0
        while bits:
            steps += bits & 1
            bits >>= 1
        return steps

    def load(self, outlet: int, ma: int) -> bool:
        """Once a second: the current of an outlet. True when it has just become a continuous
        load.

        The counter falls twice as fast as it rises, so a full load counts as continuous when it
        is on for two thirds of the time or more: its RMS is then above 80 %."""
        row = CONTINUOUS + outlet
        b = self.block
        at = row * S_WORDS
        count = b[at + S_COUNT]
        if ma > b[at]:
            count += 1
            if count >= b[at + S_DELAY]:
                b[at + S_COUNT] = b[at + S_DELAY]
                if not self.active >> row & 1:
                    self.active |= 1 << row
                    return True
                return False
        elif count:
            count = count - _FALL if count > _FALL else 0
            if count * 100 < b[at + S_DELAY] * _REST_PERCENT:
                self.active &= ~(1 << row)
        b[at + S_COUNT] = count
        return False

    def is_continuous(self, outlet: int) -> bool:
        """It has been a continuous load, and has not rested for long enough."""
        return self.active >> (CONTINUOUS + outlet) & 1 == 1

    def why(self, mask: int) -> int:
        """Reason code of the first stage that acts among the rows of `mask`, or 0."""
        mask &= self.active
        if mask:
            for bits, reason in KINDS:
                if mask & bits:
                    return reason
        return 0
