# Home backup: when the grid fails the home is taken off it and fed by the vehicle, and goes back
# when the grid has been good for long enough. One state, one step a turn of the control task, one
# event per transition. Pure integer logic, allocates nothing; which contact may move is the
# interlock's business (power/interlock.py), which this only asks.

from micropython import const

from firmware.power import interlock as il

# states
OFF = const(0)  # all contacts open: at the start, or told so
STANDBY = const(1)  # the grid feeds the home
GRID_LOST = const(2)  # the grid is bad, and still connected: it may come back within the delay
ISOLATING = const(3)  # the grid's contact opens, and the dead time passes
ISOLATED = const(4)  # the home is dark: no source yet, or none wanted
BONDING = const(5)
STARTING = const(6)  # the source's contact closes
BACKUP = const(7)  # the vehicle feeds the home
GRID_BACK = const(8)  # the same, and the grid is good again: is it stable?
LEAVING = const(9)  # the source's contact opens, then the bond
RETURNING = const(10)  # the grid's contact closes
FAULT = const(11)  # a contact does not do as told: the home goes to the grid where that is safe
STATES = (
    "off",
    "standby",
    "grid_lost",
    "isolating",
    "isolated",
    "bonding",
    "starting",
    "backup",
    "grid_back",
    "leaving",
    "returning",
    "fault",
)

# why it is where it is
BY_NONE = const(0)
BY_GRID = const(1)  # the grid failed, or came back
BY_COMMAND = const(2)
BY_SOURCE = const(3)  # the vehicle cannot feed it: reserve, trip, no voltage
BY_CONTACT = const(4)  # a contact does not do as told
BY_TIME = const(5)  # a step took too long
REASONS = ("", "grid", "command", "source", "contact", "time")

# modes
M_OFF = const(0)  # never backs up; the grid feeds the home
M_AUTO = const(1)  # backs up when the grid fails, returns when it is back
M_MANUAL = const(2)  # does both when told to
MODES = ("off", "auto", "manual")

_HOLD = const(1)  # back up
_RETURN = const(2)
_DARK = const(3)  # feed it no more, grid or not
_AGAIN_MS = const(30_000)  # pause before a vehicle that gave no voltage is tried again
_LONG = const(1 << 28)


class Transfer:
    """`state`, `reason`; `wants_source`: the inverter shall run for the home; `fed`: the vehicle
    feeds it; `may_feed`: it may (reserve, limits, faults: set by whoever knows)."""

    def __init__(self):
        self.lock = il.Interlock()
        self.mode = M_OFF
        self.state = OFF
        self.reason = BY_NONE
        self.wants_source = False
        self.fed = False
        self.may_feed = True
        self.passed = 0  # bits of the states that the last step has gone through, in their order
        self._ms = 0  # in this state
        self._good_ms = 0  # the grid has been good for so long
        self._call = 0  # what a person asked for last: _HOLD, _RETURN, _DARK
        self.ride_ms = 500
        self.stable_ms = 300_000
        self.start_ms = 10_000
        self.limit_ms = 2_000
        self.rest_ms = 0
        self.blind = False  # nobody knows what the grid does: no start from the dark by itself
        self.clear = True  # nothing is exported: the grid's contact may open
        self.asks_clear = False  # it is to end

    def configure(
        self,
        mode: int,
        ride_ms: int,
        stable_ms: int,
        start_ms: int,
        limit_ms: int,
        rest_ms: int = 0,
    ):
        """`ride_ms`: for so long a bad grid is waited for, 0 to 60 000. `stable_ms`: for so long a
        good one has to last, 1000 to 3 600 000 (300 s: IEEE 1547-2018, 4.10). `start_ms`: in which
        the vehicle's voltage has to stand. `limit_ms`: in which a step with contacts must end.
        `rest_ms`: for so long the home is dark on its way back, until its motors have lost their
        own voltage, below `limit_ms`."""
        self.mode = mode
        self.ride_ms = ride_ms
        self.stable_ms = stable_ms
        self.start_ms = start_ms
        self.limit_ms = limit_ms
        self.rest_ms = rest_ms

    # -- commands (outer lane) -------------------------------------------------------------------

    def back_up(self) -> str:
        """Take the home off the grid and feed it, until go_back(); "" or why not."""
        if self.state == FAULT:
            return "a contact is broken: home reset first"
        if self.mode == M_OFF:
            return "home backup is off (home.mode: auto or manual)"
        if not self.may_feed:
            return "the vehicle may not feed it now"
        self._call = _HOLD
        if self.state == ISOLATED:
            self.reason = BY_COMMAND  # at once, even if the vehicle has just failed
        return ""

    def go_back(self, dark: bool = False) -> str:
        """Return the home to the grid; `dark`: feed it no more, although there is no grid. "" or
        why not."""
        if self.state == FAULT:
            return "a contact is broken: home reset first"
        if self.state == RETURNING or (self.state == STANDBY and (self._good_ms or not dark)):
            return "the grid feeds it already"
        if not self._good_ms and not dark:
            return "the grid is not back (--force leaves the home dark)"
        self._call = _DARK if dark else _RETURN
        return ""

    def reset(self) -> str:
        """Leave the fault; "" or why not."""
        if self.state != FAULT:
            return "there is no fault"
        still = self.lock.clear()
        for i in range(3):
            if still >> i & 1:
                return "the %s contact still does not do as told" % il.NAMES[i]
        self._go(STANDBY if self.lock.is_closed(il.GRID) else OFF, BY_COMMAND)
        return ""

    # -- control lane ----------------------------------------------------------------------------

    def lost(self, by: int):
        """Protection has opened the source's contact (BY_SOURCE), or somebody by hand
        (BY_COMMAND): what was asked for is over."""
        self.lock.open(il.SOURCE)
        if self._call == _HOLD:
            self._call = 0
        if STARTING <= self.state <= GRID_BACK:
            self._go(LEAVING, by)

    def back_fed(self):
        """The grid's side became live as the source closed, and dead as it opened: the grid's
        contact is closed, whatever it says, and the vehicle has fed the street."""
        if self.state in (LEAVING, ISOLATED) and self.lock.is_open(il.SOURCE):
            self.lock.welded |= il.GRID
            self._go(FAULT, BY_CONTACT)

    def _go(self, state: int, reason: int):
        lock = self.lock
        self.state = state
        self.passed |= 1 << state
        self.reason = reason
        self._ms = 0
        self.wants_source = BONDING <= state <= GRID_BACK
        self.fed = state == BACKUP or state == GRID_BACK
        if not STARTING <= state <= GRID_BACK:
            lock.open(il.SOURCE)
        if state == OFF or ISOLATING <= state <= GRID_BACK:
            lock.open(il.GRID)
        # On the way back it is done, whatever was asked for; what is asked for from then on holds.
        if state == RETURNING or (state == STANDBY and self._call == _RETURN):
            self._call = 0

    def _wants_backup(self) -> bool:
        if self.mode == M_OFF or not self.may_feed:
            return False
        return self._call == _HOLD or (self.mode == M_AUTO and self._call != _DARK)

    def step(self, grid: bool, source: bool, seen: int, ms: int) -> bool:
        """One turn; True when the state has changed. `grid`, `source`: the voltage there is within
        its limits; `seen`: bits of the auxiliary contacts; `ms`: since the last turn."""
        was = self.state
        if self._ms < _LONG:
            self._ms += ms
        if not grid:
            self._good_ms = 0
        elif self._good_ms < _LONG:
            self._good_ms += ms
        self.passed = 0
        if self.lock.look(seen, ms) and was != FAULT:
            self._go(FAULT, BY_CONTACT)
        elif was < BACKUP:
            # On the way to the vehicle no turn is wasted: what may follow at once does.
            state = -1
            while self.state != state and self.state < BACKUP:
                state = self.state
                if state < ISOLATING:
                    self._on_grid(grid)
                else:
                    self._change_over(grid, source)
        elif was < LEAVING:
            self._backed_up(grid, source)
        elif was < FAULT:
            self._return(grid)
        else:
            self._broken(grid)
        return self.state != was

    def _may_return(self) -> bool:
        """Who asked for the vehicle gets it; but not a dark home where there is a grid."""
        return self._call != _HOLD or self.reason == BY_SOURCE or self.mode == M_OFF

    def _on_grid(self, grid):
        state = self.state
        if self.mode == M_OFF:
            self._call = 0
        if self._call == _HOLD:
            self._leave(BY_COMMAND)
        elif state == OFF:
            if grid:
                self._go(RETURNING, BY_GRID)
            elif self.mode == M_AUTO and self._ms >= self.ride_ms and not self.blind:
                self._go(ISOLATED, BY_GRID)
        elif not self.lock.outputs & il.GRID:  # the interlock has opened it
            self._go(FAULT, BY_CONTACT)
        elif state == STANDBY:
            if grid:
                self._call = 0  # what was to stay dark is not any more
            elif self._call != _DARK and self.mode == M_AUTO and self.may_feed:
                self._go(GRID_LOST, BY_GRID)
        elif grid or not self._wants_backup():
            self._go(STANDBY, BY_GRID)
        elif self._ms >= self.ride_ms:
            self._leave(BY_GRID)

    def _leave(self, reason: int):
        """Off the grid; what is exported to it ends first."""
        if self.clear:
            self._go(ISOLATING, reason)
        else:
            self.asks_clear = True

    def _change_over(self, grid, source):
        lock = self.lock
        state = self.state
        if state == ISOLATING:
            if lock.is_open(il.GRID):
                self._go(ISOLATED, self.reason)
            elif self._ms >= self.limit_ms:
                self._go(FAULT, BY_TIME)
        elif state == ISOLATED:
            if self._may_return() and self._good_ms > self.ride_ms:
                self._go(LEAVING, BY_GRID)
            elif self._wants_backup() and (self.reason != BY_SOURCE or self._ms >= _AGAIN_MS):
                self._go(BONDING, self.reason)
        elif not self.may_feed:
            self._go(LEAVING, BY_SOURCE)
        elif self._call >= _RETURN or self.mode == M_OFF:  # it does not feed the home yet
            self._go(LEAVING, BY_COMMAND)
        elif state == BONDING:
            if lock.bonds:
                lock.close(il.BOND)
            if source and (not lock.bonds or lock.is_closed(il.BOND)):
                self._go(STARTING, self.reason)
            elif self._ms >= self.start_ms:
                self._go(LEAVING, BY_SOURCE)
        elif lock.is_closed(il.SOURCE):
            self._go(BACKUP, self.reason)
        elif self._ms >= self.limit_ms:
            self._go(FAULT, BY_TIME)
        else:
            lock.close(il.SOURCE)

    def _backed_up(self, grid, source):
        if not self.lock.outputs & il.SOURCE:  # the interlock has opened it
            self._go(FAULT, BY_CONTACT)
        elif not source or not self.may_feed:
            self._go(LEAVING, BY_SOURCE)
        elif self._call == _DARK:
            self._go(LEAVING, BY_COMMAND)
        elif not grid:
            if self._call == _RETURN:  # which is gone again
                self._call = 0
            if self.state == GRID_BACK:
                self._go(BACKUP, BY_GRID)
        elif self.state == BACKUP:
            self._go(GRID_BACK, BY_GRID)
        elif self._call == _RETURN or self.mode == M_OFF:
            self._go(LEAVING, BY_COMMAND)
        elif self.mode == M_AUTO and self._call != _HOLD and self._ms >= self.stable_ms:
            self._go(LEAVING, BY_GRID)

    def _return(self, grid):
        lock = self.lock
        if self._ms >= self.limit_ms:
            self._go(FAULT, BY_TIME)
        elif self.state == LEAVING:
            lock.open(il.BOND)
            if lock.is_open(il.SOURCE) and lock.is_open(il.BOND):
                if grid and self._may_return():
                    if self._ms >= self.rest_ms:
                        self._go(RETURNING, self.reason)
                else:
                    self._go(ISOLATED, self.reason)
        elif lock.is_closed(il.GRID):
            self._go(STANDBY, self.reason)
        elif not grid:
            self._go(ISOLATING, BY_GRID)
        else:
            lock.open(il.BOND)
            lock.close(il.GRID)

    def _broken(self, grid):
        """The vehicle is cut off; the home goes back to the grid where the interlock lets it."""
        lock = self.lock
        lock.open(il.SOURCE)
        lock.open(il.BOND)
        if grid:
            lock.close(il.GRID)
