# Export to the grid: when the inverter may, and how much. IEEE 1547-2018: trips of voltage and
# frequency (category II defaults, tables 12 and 18), return to service (4.10), ramp. Called by the
# control task, once a window. Pure integers, allocates nothing. The inverter makes the current and
# looks for islands itself (it has to be listed, UL 1741): this permits, limits and watches it.

from array import array

from micropython import const

# states
OFF = const(0)  # not enabled, or no profile
WAITING = const(1)  # the grid has to be good for so long first
RAMP = const(2)  # the power rises
EXPORTING = const(3)
CEASED = const(4)  # tripped: the inverter has to stop within the clearing time
FAULT = const(5)  # the inverter does not do as told: until somebody has looked
STATES = ("off", "waiting", "ramp", "exporting", "ceased", "fault")

# stages
OV2 = const(0)
OV1 = const(1)
UV1 = const(2)
UV2 = const(3)
OF2 = const(4)
OF1 = const(5)
UF1 = const(6)
UF2 = const(7)
ISLAND = const(8)  # the input for it, or the inverter says so
ASKED = const(9)
HOME = const(10)  # the home is not on the grid, or is about to leave it
SENSOR = const(11)  # nothing is measured
SELFTEST = const(12)
HEAT = const(13)  # or ground fault: what keeps the outlets open
POLE = const(14)  # a pole of the charge port has tripped
NOT_CEASED = const(15)  # it gave current although it was not permitted
ABOVE = const(16)  # it gave more than its set point
STAGES = (
    "OV2",
    "OV1",
    "UV1",
    "UV2",
    "OF2",
    "OF1",
    "UF1",
    "UF2",
    "island",
    "stopped",
    "home",
    "sensor",
    "selftest",
    "heat",
    "charge_port",
    "not_ceased",
    "above_set_point",
)

# (above: 1, below: -1; per mille of nominal, or of the nominal frequency's mHz; clearing time, ms)
# 62.0, 61.2, 58.5 and 56.5 Hz of 60 Hz.
IEEE_1547 = (
    (1, 1200, 160),
    (1, 1100, 2_000),
    (-1, 700, 10_000),
    (-1, 450, 160),
    (1, 62_000, 160),
    (1, 61_200, 300_000),
    (-1, 58_500, 300_000),
    (-1, 56_500, 160),
)
# What measuring takes until a stage sees it: half a window, a turn of the control task, rounding
# to windows; of a frequency three cycles besides, or ten.
MEASURE_MS = (35, 35, 35, 35, 70, 190, 190, 70)
_RETURN = (917, 1050, 59_500, 60_100)  # per mille, mHz
PROFILES = (("ieee1547", IEEE_1547, _RETURN, 60),)  # name, stages, in band, Hz that it is for

_RETURN_MS = const(300_000)
_RAMP_MS = const(300_000)
_RISE_MS = const(10_000)  # in which the set point rises from nothing to the limit afterwards
_LONG = const(1 << 28)
_FOUR = const(4)


class Export:
    """`state`, `why`: the stage that has stopped it last; `permitted`: the inverter may export;
    `set_point_w`: how much at most. `lead_ms`: what the inverter takes to stop, which is left of
    each clearing time, as is what measuring takes."""

    def __init__(self, lead_ms: int = 60):
        self.state = OFF
        self.why = ASKED
        self.permitted = False
        self.set_point_w = 0
        self.enabled = False
        self.lead_ms = lead_ms
        self.asked_w = 0
        self.most_w = 0
        self._sign = array("b", bytes(ISLAND))
        self._at = array("i", bytes(4 * ISLAND))
        self._delay_ms = array("i", bytes(4 * ISLAND))
        self._run_ms = array("i", bytes(4 * ISLAND))
        self._timing = False  # some of them run
        self._inner = array("i", bytes(16))  # between these no stage does: per mille, mHz
        self._band = array("i", _RETURN)
        self._good_ms = 0
        self._ramp_ms = 0
        self._rise = 0  # W x ms

    def configure(self, profile: int, enabled: bool, most_w: int, asked_w: int):
        """`profile`: index of PROFILES. `most_w`: rating of the inverter or limit of the
        connection, `asked_w`: what the owner wants to export; W, 0 to 20 000."""
        _, rows, band, _ = PROFILES[profile]
        for i in range(ISLAND):
            self._sign[i], self._at[i], clearing_ms = rows[i]
            self._delay_ms[i] = max(clearing_ms - self.lead_ms - MEASURE_MS[i], 1)
        for i in range(_FOUR):
            self._band[i] = band[i]
        inner = self._inner
        inner[0] = max(self._at[UV1], self._at[UV2])
        inner[1] = min(self._at[OV1], self._at[OV2])
        inner[2] = max(self._at[UF1], self._at[UF2])
        inner[3] = min(self._at[OF1], self._at[OF2])
        self.enabled = enabled
        self.most_w = most_w
        self.asked_w = min(asked_w, most_w)

    def _stop(self, why: int):
        self.permitted = False
        self.set_point_w = 0
        self._good_ms = 0
        self._ramp_ms = 0
        self.why = why
        self.state = OFF if why == ASKED else CEASED

    def cease(self, why: int) -> bool:
        """Stop now for a reason that is no stage; True when the state has changed."""
        was = self.state
        if was == OFF or was == FAULT or (was == CEASED and self.why == why):
            return False
        self._stop(why)
        return self.state != was

    def fail(self, why: int):
        """The inverter does not do as told: stop, and stay so until reset()."""
        self._stop(why)
        self.state = FAULT

    def reset(self):
        """Somebody has looked: leave the fault."""
        if self.state == FAULT:
            self._stop(ASKED)

    def step(
        self, low: int, high: int, mhz: int, held: int, room_w: int, ms: int, quick: int = -1
    ) -> bool:
        """One window; True when the state has changed. `low`, `high`: the lower and the higher
        leg's RMS in per mille of nominal; `mhz`: frequency, 0: unknown; `held`: of STAGES, what
        else forbids it (ISLAND, HOME, ...), or -1; `room_w`: what battery and source leave; `ms`:
        length of the window; `quick`: the frequency by a few cycles, for the stages that have no
        time for more (-1: `mhz`)."""
        was = self.state
        tripped = self._stages(low, high, mhz, mhz if quick < 0 else quick, ms)
        if was == FAULT:
            return False
        if not self.enabled:
            if was != OFF:
                self._stop(ASKED)
            return self.state != was
        if tripped < 0:
            tripped = held
        if tripped >= 0:
            if was != CEASED or self.why != tripped:
                self._stop(tripped)
            return self.state != was
        if self._is_good(low, high, mhz):
            if self._good_ms < _LONG:
                self._good_ms += ms
        else:
            self._good_ms = 0
        if was == OFF or was == CEASED:
            self.state = WAITING
        elif was == WAITING:
            if self._good_ms >= _RETURN_MS:
                self.state = RAMP
                self.permitted = True
        else:
            self._give(room_w, ms)
        return self.state != was

    def _stages(self, low: int, high: int, mhz: int, quick: int, ms: int) -> int:
        """The first stage whose time is over, or -1."""
        inner = self._inner
        if (
            not self._timing
            and inner[0] <= low
            and high <= inner[1]
            and inner[2] <= mhz <= inner[3]
            and inner[2] <= quick <= inner[3]
        ):
            return -1  # nearly always; what follows takes 0.4 ms
        timing = False
        found = -1
        i = ISLAND
        while i:
            i -= 1
            sign = self._sign[i]
            if i < OF2:
                x = high if sign > 0 else low
            else:
                x = quick if i == OF2 or i == UF2 else mhz
                if not x:  # unknown: the voltage's stages know why
                    timing = timing or self._run_ms[i] > 0
                    continue
            if (x - self._at[i]) * sign > 0:
                run = self._run_ms[i] + ms
                if run >= self._delay_ms[i]:
                    run = self._delay_ms[i]
                    found = i
                self._run_ms[i] = run
                timing = True
            else:
                self._run_ms[i] = 0
        self._timing = timing
        return found

    def _is_good(self, low: int, high: int, mhz: int) -> bool:
        band = self._band
        return band[0] <= low and high <= band[1] and band[2] <= mhz <= band[3]

    def _give(self, room_w: int, ms: int):
        """The set point: what is asked for, as far as there is room, rising for five minutes."""
        most = min(self.asked_w, self.most_w, room_w)
        if self.state == RAMP:
            self._ramp_ms += ms
            if self._ramp_ms >= _RAMP_MS:
                self.state = EXPORTING
            else:
                most = min(most, self.most_w * (self._ramp_ms // 100) // (_RAMP_MS // 100))
        if most < 0:
            most = 0
        now = self.set_point_w
        if self.state == EXPORTING and most > now:  # falls at once
            self._rise += self.most_w * ms
            most = min(most, now + self._rise // _RISE_MS)
            self._rise %= _RISE_MS
        self.set_point_w = most

    def waits_s(self) -> int:
        """How long it still waits for the grid, s (outer lane)."""
        return (_RETURN_MS - self._good_ms) // 1000 if self.state == WAITING else 0
