# Legs and total: which outlets must go when a limit is passed, and which may come back.
# Called by the control task once per finished window; allocates nothing after configure(). The
# outer lane asks it whether an outlet may be switched on (refuses).
#
# A limit is guarded by a thermal element and by a hard limit of 1.5 x for 2 s. When either asks:
# - An outlet that passes the limit alone has a fault of its own: nobody else can make room for
#   it, and it would pass it again each time it came back. It trips.
# - Of the others, from the most important down, each stays that still fits beside those that
#   stay already; the rest is shed at once. So an outlet goes only when all the less important
#   ones together do not suffice, and none goes in vain.
# Outlets come back one at a time, the most important of those that have had room for some time.
# One that came back past a more important one has to go again when that makes the room.

from array import array

from micropython import const

_PICKUP_SQ = const(1102500)  # 1050 permille squared
# The curve of an outlet of the standard class (120 s), some slower: an outlet as large as its leg
# trips by its own curve, although the leg also counts the noise of its neighbours.
_TAU_S = const(130)
_HARD_PERMILLE = const(1500)
_CLAMP_PERMILLE = const(4000)  # 64 scans x 4000^2 stays below 2**30
_HARD_MS = const(2000)  # longer than a motor's start and an outlet's short-time stage
_T_LOAD = const(0)

_SAMPLE_S = const(2)  # what lasts as long as that is no inrush
_BLOCK = const(900)  # samples: a demand is forgotten after half an hour to an hour of being on
_SLOT_S = const(600)
_SLOTS = const(0xFFFFFF)  # restarts: four bits for this slot, and for each of the six before
_LONG = const(1 << 29)

# what a shed outlet waits for, and in words
_SOON = const(0)
_ROOM = const(1)
_NEVER = const(2)  # it would pass a limit alone
_RESTARTS = const(3)
_PAUSE = const(4)
WAITS = ("soon back", "no room", "never fits", "no restarts", "pause")

# words per outlet
_D_MA = const(0)  # largest demand of this half hour, and of the one before
_D_W = const(1)
_D_OLD_MA = const(2)
_D_OLD_W = const(3)
_D_LAST_MA = const(4)  # the last sample
_D_LAST_W = const(5)
_D_ON = const(6)  # samples since it closed, or since the half hour began
_D_OFF = const(7)  # scans since it was shed
_D_FIT = const(8)  # scans for which there has been room for it
_D_MAKE = const(9)  # the same, if those that passed it left
_D_STARTS = const(10)  # restarts, a slot in four bits
_D_WORDS = const(11)


class Limit:
    """A leg or the total: load against limit, in mA or W."""

    def __init__(self, members, thermal, scans_per_s: int):
        self.members = members  # indexes of the outlets that load it
        self.mask = 0
        for i in members:
            self.mask |= 1 << i
        self.limit = 1
        self.load = 0
        self.top = 0  # the largest load since outlets that wait were looked at
        self.thermal = thermal
        self.room = -1  # while outlets are chosen: what is left of it; -1: it does not ask
        self.part = 0  # and what one of them takes of it
        self._hard_scans = scans_per_s * _HARD_MS // 1000
        self._over = 0
        self._permille = 0

    def configure(self, limit: int):  # on demand
        self.limit = limit
        self.thermal.configure(_PICKUP_SQ, _TAU_S, _TAU_S)

    def set_load(self, load: int, n: int, periods: int, block) -> bool:
        """The load of `periods` windows of `n` scans; heats the element at the bank's next step.
        True while the hard limit is passed."""
        self.load = load
        limit = self.limit
        if load > limit << 2:  # first: 1000 x what clipped sensors show passes 2**30
            permille = _CLAMP_PERMILLE
        else:
            permille = load * 1000 // limit
        self._permille = permille
        block[self.thermal.at + _T_LOAD] = permille * permille * n
        if permille >= _HARD_PERMILLE:
            if self._over < _LONG:
                self._over += n * periods
            return True
        self._over = 0
        return False

    def hard(self) -> int:
        """What passes it for the hard limit's time, mA or W."""
        return self.limit + (self.limit >> 1)

    def most(self) -> int:
        """What one outlet may draw: above it the curve would trip in the end."""
        return self.limit + self.limit // 20

    def is_hard(self) -> bool:
        """The hard limit was passed for its time."""
        return self._over >= self._hard_scans

    def is_timing(self) -> bool:
        """The hard limit is passed (outer lane: whether flash may be written)."""
        return self._over > 0

    def is_over(self, hot: int) -> bool:
        """The load has to come down: hot and above the limit, or the hard limit was passed."""
        return (hot & self.thermal.bit and self._permille > 1000) or self.is_hard()

    def has_room(self, demand: int, load: int) -> bool:
        """Whether `demand` fits beside `load`. All of an idle limit is room enough for any one
        outlet (less 3 % for noise), or a load as big as the limit could never return."""
        return load + min(demand, self.limit - (self.limit >> 5)) <= self.limit


class Dispatch:
    """All limits of a board. Loads are handed in by index: `amps_ma[i]`, `power_w[i]`.

    `elements`: one thermal element for each leg, then one for the total.
    """

    def __init__(self, board, elements, scans_per_s: int):  # on demand
        n = len(board.outlets)
        self.scans_per_s = scans_per_s
        self.n = n
        self.legs = []
        for leg in range(len(board.legs)):
            members = tuple([x.index for x in board.outlets if leg in x.legs])
            self.legs.append(Limit(members, elements[leg], scans_per_s))
        self.total = Limit(tuple(range(n)), elements[len(board.legs)], scans_per_s)
        self.limits = self.legs + [self.total]
        self.order = list(range(n))  # the most important first
        self.stuck_mask = 0  # bits of welded outlets: they load a leg although they are open
        # what an outlet can demand for long
        self._most_ma = [x.rating_ma for x in board.outlets]
        self._most_w = [x.rating_ma * (x.volts // 2 + 1) * 120 // 1000 for x in board.outlets]
        self.shed_mask = 0
        # Of those selected last: bits shed for the total, else a leg; bits that shall trip.
        self.shed_by_total = 0
        self.own_mask = 0
        self._state = array("i", bytes(4 * _D_WORDS * n))
        self._amps = self._power = [0] * n
        self._sums = array("i", bytes(4 * len(self.limits)))
        self.yields = 0  # bits: take what the others leave, see power/charger.py
        self.opening = 0  # bits: opened so shortly that what it carried still shows
        self._fresh = 0  # bits: closed so shortly that its demand does not show yet
        self._passed = 0  # bits: came back past a more important one
        self._make = 0  # bits that shall go for a more important one
        self._looked = 0  # scans since
        self._turn = 0
        self._since = 0  # scans since the last sample
        self._every = scans_per_s * _SAMPLE_S // n
        self._slot = 0
        self._slot_scans = _SLOT_S * scans_per_s
        self._over = False  # a hard limit is passed
        self._hot_mask = 0
        for limit in self.limits:
            self._hot_mask |= limit.thermal.bit
        self.restore_scans = 0
        self.min_off_scans = 0
        self.margin_w = 0
        self.margin_ma = 0
        self.max_restarts = 0

    def configure(  # on demand
        self,
        priorities,
        leg_ma: int,
        total_w: int,
        restore_s: int,
        min_off_s: int,
        margin_w: int,
        max_restarts: int = 6,
    ):
        """Limits in mA and W, times in s, restarts per hour (15 at most); `priorities[i]`: 9 is
        shed first, of equal ones the later in the board's table."""
        for leg in self.legs:
            leg.configure(leg_ma)
        self.total.configure(total_w)
        self.order.sort(key=lambda i: (priorities[i], i))
        self.restore_scans = restore_s * self.scans_per_s
        self.min_off_scans = min_off_s * self.scans_per_s
        self.margin_w = margin_w
        self.margin_ma = margin_w * 1000 // 120
        self.max_restarts = max_restarts

    def set_loads(self, n: int, amps_ma, power_w, block, periods: int = 1):
        """The loads of one window, or of `periods` that came merged: legs by the sum of RMS
        currents, the total by real power."""
        sums = self._sums
        total = 0
        for power in power_w:
            total += power if power > 0 else -power
        k = 0
        for leg in self.legs:
            load = 0
            for i in leg.members:
                load += amps_ma[i]
            sums[k] = load
            k += 1
        sums[k] = total
        self.set_sums(n, sums, amps_ma, power_w, block, periods)

    def set_sums(self, n: int, sums, amps_ma, power_w, block, periods: int):
        """As set_loads(), where somebody has added them up: each leg's mA, then the total's W."""
        self._amps = amps_ma
        self._power = power_w
        over = False
        k = 0
        for limit in self.limits:
            if limit.set_load(sums[k], n, periods, block):
                over = True
            k += 1
        self._over = over

    # -- shedding ------------------------------------------------------------------------------

    def decide(self, n: int, hot: int, on_mask: int) -> int:
        """Bits of the outlets that must open now, by the loads handed in last and by what the
        thermal bank says is `hot`. Those in `own_mask` overload a limit by themselves: they trip,
        the others are shed."""
        self._since += n
        if self._fresh:
            self._fresh &= on_mask
        self._slot += n
        if self._slot >= self._slot_scans:
            self._new_slot()
        shed = 0
        if self._over or hot & self._hot_mask:  # seldom: the questions below cost time
            shed = self._choose(hot, on_mask)
        if self._make and not shed:
            shed = self._make & on_mask
            self._make = self.own_mask = 0
        if shed:
            self._look_anew()
        return shed

    def _new_slot(self):
        self._slot = 0
        state = self._state
        for i in self.order:
            at = i * _D_WORDS + _D_STARTS
            state[at] = (state[at] & _SLOTS) << 4

    def _look_anew(self):
        """Something opens or has come back: the room that there was says nothing any more."""
        for i in self.order:
            self._state[i * _D_WORDS + _D_FIT] = 0

    def _choose(self, hot: int, on_mask: int) -> int:
        self.shed_by_total = 0
        amps_ma = self._amps
        power_w = self._power
        if not self._own_faults(hot, amps_ma, power_w, on_mask):
            return 0
        # Only outlets that are on count: the current of one that has just opened is still in the
        # window's sums, and would take others with it. Welded ones nobody can shed.
        stuck = self.stuck_mask & ~on_mask
        for i in self.order:
            if stuck >> i & 1:
                self._keep(i, amps_ma[i], power_w[i], True)
        state = self._state
        shed = self.own_mask
        for i in self.order:
            if (on_mask & ~shed) >> i & 1 and not self._keep(i, amps_ma[i], power_w[i], False):
                shed |= 1 << i
                at = i * _D_WORDS
                # What it draws now counts in full, or a load that passed the hard limit at once
                # would be let in again; but no inrush, so no more than its rating.
                state[at] = max(state[at], min(amps_ma[i], self._most_ma[i]))
                state[at + _D_W] = max(state[at + _D_W], min(abs(power_w[i]), self._most_w[i]))
        self.shed_by_total &= shed
        return shed

    def _own_faults(self, hot: int, amps_ma, power_w, on_mask: int) -> bool:
        """Marks the limits that ask, and the outlets on them that overload by themselves: alone
        above the limit, or above twice their rating. What they drew some time ago has to say so,
        too, and no inrush is taken for that; beyond the hard limit it has lasted long enough."""
        asking = False
        own = 0
        state = self._state
        for limit in self.limits:
            if not limit.is_over(hot):
                limit.room = -1
                continue
            limit.room = limit.limit
            asking = True
            total = limit is self.total
            loads = power_w if total else amps_ma
            hard = limit.is_hard()
            for i in limit.members:
                if on_mask >> i & 1:
                    load = abs(loads[i])
                    amps = amps_ma[i]
                    if not hard or load < limit.hard():
                        at = i * _D_WORDS
                        load = min(load, state[at + (_D_LAST_W if total else _D_LAST_MA)])
                        if not hard:
                            amps = min(amps, state[at + _D_LAST_MA])
                    if load > limit.most() or amps > self._most_ma[i] << 1:
                        own |= 1 << i
                        if total:
                            self.shed_by_total |= 1 << i
        self.own_mask = own
        return asking

    def _keep(self, i: int, amps: int, power: int, must: bool) -> bool:
        """Let outlet `i` have its part of the limits that ask, if there is room (or it must). It
        takes no more than all of a limit: for what it draws beyond, no other can make room. Next
        to nothing (1/128) always stays: the curve's pick-up has room for that."""
        for limit in self.limits:
            if limit.room >= 0 and limit.mask >> i & 1:
                load = abs(power) if limit is self.total else amps
                load = min(load, limit.limit) if load > limit.limit >> 7 else 0
                if load > limit.room and not must:
                    if limit is self.total:
                        self.shed_by_total |= 1 << i
                    return False
                limit.part = load
            else:
                limit.part = 0
        for limit in self.limits:
            if limit.room > 0:
                limit.room = max(0, limit.room - limit.part)
        return True

    # -- demand --------------------------------------------------------------------------------

    def note_demand(self, on_mask: int):
        """What the outlets that are on draw, one of them each 2 s / n. Counts what was there at
        the sample before, too, so that an inrush is no demand; the largest of half an hour to an
        hour is kept, so that a duty cycle keeps its peak."""
        if self._since >= self._every:
            self._sample(on_mask)

    def _sample(self, on_mask: int):
        self._since = 0
        i = self._turn + 1
        if i >= self.n:
            i = 0
        self._turn = i
        if not on_mask >> i & 1:
            return
        state = self._state
        at = i * _D_WORDS
        amps = self._amps[i]
        power = abs(self._power[i])
        state[at + _D_MA] = max(
            state[at + _D_MA], min(amps, state[at + _D_LAST_MA], self._most_ma[i])
        )
        state[at + _D_W] = max(
            state[at + _D_W], min(power, state[at + _D_LAST_W], self._most_w[i])
        )
        state[at + _D_LAST_MA] = amps
        state[at + _D_LAST_W] = power
        state[at + _D_ON] += 1
        if state[at + _D_ON] > 1:
            self._fresh &= ~(1 << i)
            if state[at + _D_ON] > _BLOCK:
                self._new_block(at)

    def _new_block(self, at: int):
        state = self._state
        state[at + _D_OLD_MA] = state[at]
        state[at + _D_OLD_W] = state[at + _D_W]
        state[at] = state[at + _D_W] = state[at + _D_ON] = 0

    def demand(self, i: int, limit) -> int:
        """Last known demand of outlet `i`, in the unit of `limit`; 0 when none is known."""
        at = i * _D_WORDS
        if limit is self.total:
            at += _D_W
        state = self._state
        return max(state[at], state[at + _D_OLD_MA])

    def note_closed(self, i: int):
        """Outlet `i` closes: its demand is measured afresh, and known from before until then."""
        at = i * _D_WORDS
        state = self._state
        if state[at]:
            self._new_block(at)
        state[at + _D_ON] = state[at + _D_LAST_MA] = state[at + _D_LAST_W] = 0
        self._fresh |= 1 << i
        self._passed &= ~(1 << i)

    def refuses(self, i: int, force: bool):
        """The limit that has no room for the last known demand of outlet `i`, or None (outer
        lane). With `force` it is the hard limit that counts."""
        for limit in self.limits:
            if limit.mask >> i & 1:
                demand = self.demand(i, limit)
                load = self.expected(limit)
                if force:
                    if load + demand > limit.hard():
                        return limit
                elif demand > limit.most() or not limit.has_room(demand, load):
                    return limit
        return None

    def expected(self, limit) -> int:
        """The load of a limit, with the demand of outlets that have closed just now in place of
        their inrush, and without what has been cut just now or gives way: a car that charges
        takes what the others leave."""
        total = limit is self.total
        loads = self._power if total else self._amps
        without = self.opening | self.yields
        result = limit.load
        bits = (without | self._fresh) & limit.mask
        i = 0
        while bits:
            if bits & 1:
                load = abs(loads[i])
                result -= load
                if not without >> i & 1:
                    most = (self._most_w if total else self._most_ma)[i]
                    result += self.demand(i, limit) or min(load, most)
            bits >>= 1
            i += 1
        return result

    # -- restoring -----------------------------------------------------------------------------

    def note_shed(self, i: int):
        """Outlet `i` was shed: its clock starts."""
        self.shed_mask |= 1 << i
        at = i * _D_WORDS
        state = self._state
        state[at + _D_OFF] = state[at + _D_FIT] = state[at + _D_MAKE] = 0

    def note_gone(self, i: int):
        """Outlet `i` is no longer waiting (switched off, tripped, or restored)."""
        self.shed_mask &= ~(1 << i)

    def lacks(self, i: int, gone: int = 0):
        """The limit that has no room for the last demand of shed outlet `i` and the margin,
        beside its load less that of the outlets `gone` and of who gives way; or None. Who would
        pass a limit alone never fits."""
        gone |= self.yields
        for limit in self.limits:
            if limit.mask >> i & 1:
                total = limit is self.total
                load = max(limit.load, limit.top)
                if gone:
                    loads = self._power if total else self._amps
                    for k in limit.members:
                        if gone >> k & 1:
                            load -= abs(loads[k])
                demand = self.demand(i, limit)
                if demand > limit.most() or not limit.has_room(
                    demand + (self.margin_w if total else self.margin_ma), load
                ):
                    return limit
        return None

    def restarts(self, i: int) -> int:
        """How often outlet `i` came back within the last hour (to an hour and ten minutes)."""
        slots = self._state[i * _D_WORDS + _D_STARTS]
        count = 0
        while slots:
            count += slots & 15
            slots >>= 4
        return count

    def off_s(self, i: int) -> int:
        """For how long outlet `i` has been shed, s (up to 3 days)."""
        return self._state[i * _D_WORDS + _D_OFF] // self.scans_per_s

    def waits(self, i: int) -> int:
        """What shed outlet `i` waits for (outer lane)."""
        limit = self.lacks(i)
        if limit is not None:
            return _NEVER if self.demand(i, limit) > limit.most() else _ROOM
        if self.restarts(i) >= self.max_restarts:
            return _RESTARTS
        return _SOON if self._may_restart(i) else _PAUSE

    def _may_restart(self, i: int) -> bool:
        off = self._state[i * _D_WORDS + _D_OFF]
        return off >= self.min_off_scans and self.restarts(i) < self.max_restarts

    def restorable(self, n: int) -> int:
        """The outlet that may come back now, or -1: the most important of those that have had
        room. Call once per window; then tell note_restored() or note_refused(). It looks each
        eighth of a second, at the largest loads since."""
        for limit in self.limits:
            if limit.load > limit.top:
                limit.top = limit.load
        n += self._looked
        self._looked = n
        if n << 3 < self.scans_per_s:
            return -1
        self._looked = 0
        state = self._state
        best = -1
        for i in self.order:
            if self.shed_mask >> i & 1:
                at = i * _D_WORDS
                if state[at + _D_OFF] < _LONG:
                    state[at + _D_OFF] += n
                if self.lacks(i) is not None:
                    state[at + _D_FIT] = 0
                    if self._passed:
                        self._make_room(i, n)
                    continue
                if state[at + _D_FIT] < self.restore_scans:
                    state[at + _D_FIT] += n
                    if state[at + _D_FIT] < self.restore_scans:
                        continue
                if best < 0 and self._may_restart(i):
                    best = i
        for limit in self.limits:
            limit.top = 0
        return best

    def _make_room(self, i: int, n: int):
        """Outlet `i` waits for room, and less important ones have come back past it. When it
        would have had room without them, those that suffice have to go again."""
        gone = 0
        for k in self.order:
            if k == i:
                gone = 0
            elif self._passed >> k & 1:
                gone |= 1 << k
        at = i * _D_WORDS + _D_MAKE
        state = self._state
        if not gone or self.lacks(i, gone) is not None:
            state[at] = 0
        elif state[at] < self.restore_scans:
            state[at] += n
        elif self._may_restart(i):
            state[at] = 0
            for k in self.order:
                if gone >> k & 1 and self.lacks(i, gone & ~(1 << k)) is None:
                    gone &= ~(1 << k)
            self._make = gone
            self.shed_by_total = gone if self.lacks(i) is self.total else 0

    def note_refused(self, i: int):
        """Outlet `i` could not come back (hot, no supply): the others have their turn."""
        self._state[i * _D_WORDS + _D_FIT] = 0

    def note_restored(self, i: int):
        """Outlet `i` came back: one of its restarts is used, and the others look how much room
        it leaves."""
        state = self._state
        state[i * _D_WORDS + _D_STARTS] += 1
        self._look_anew()
        for k in self.order:
            if k == i:
                break
            if self.shed_mask >> k & 1:
                self._passed |= 1 << i
