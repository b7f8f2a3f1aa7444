# Legs and total: which outlets must go when a limit is passed, and which may come back.
# Called by the control task once per finished window; allocates nothing after configure().
#
# A limit is guarded by a thermal element (pick-up 1.02) and by a hard limit (1.5 x, 0.8 s). When
# either asks, the outlets with the lowest priority that suffice are shed together. They come
# back one at a time, highest priority first, when the headroom has held their last demand plus
# a margin for some time, and not before their minimum off time (a compressor needs it).

from micropython import const

_PICKUP_SQ = const(1040400)  # 1020 permille squared
_TAU_S = const(30)
_COOL_S = const(30)
_HARD_PERMILLE = const(1500)
_CLAMP_PERMILLE = const(4000)  # 64 scans x 4000^2 stays below 2**30
_HARD_MS = const(800)  # after an outlet's short-time stage, and longer than a compressor's start
_HOUR_S = const(3600)
_T_LOAD = const(0)
_DEMAND_SHIFT = const(6)  # a load is known after 64 of its turns, 5 s: not by its inrush


class Limit:
    """A leg or the total: load against limit, in mA or W."""

    def __init__(self, members, thermal, scans_per_s: int):
        self.members = members  # indexes of the outlets that load it
        self.mask = 0
        for i in members:
            self.mask |= 1 << i
        self.limit = 1
        self.load = 0
        self.thermal = thermal
        self._hard_scans = scans_per_s * _HARD_MS // 1000
        self._over = 0
        self._permille = 0

    def configure(self, limit: int):
        self.limit = limit
        self.thermal.configure(_PICKUP_SQ, _TAU_S, _COOL_S)

    def set_load(self, load: int, n: int, block) -> bool:
        """The load of a window of `n` scans; heats the element at the bank's next step. True
        while the hard limit is passed."""
        self.load = load
        if load > self.limit << 2:  # first: 1000 x what clipped sensors show passes 2**30
            permille = _CLAMP_PERMILLE
        else:
            permille = load * 1000 // self.limit
        self._permille = permille
        block[self.thermal.at + _T_LOAD] = permille * permille * n
        if permille >= _HARD_PERMILLE:
            self._over += n
            return True
        self._over = 0
        return False

    def is_over(self, hot: int) -> bool:
        """The load has to come down: hot and above the limit, or the hard limit was passed."""
        if hot & self.thermal.bit and self._permille > 1000:
            return True
        return self._over >= self._hard_scans

    def has_room(self, more: int) -> bool:
        """Whether `more` fits beside the present load. All of an idle limit is room enough for
        any one outlet (less 3 % for noise), or a load as big as the limit could never return."""
        most = self.limit - (self.limit >> 5)
        return self.load + (more if more < most else most) <= self.limit


class Dispatch:
    """All limits of a board. Loads are handed in by index: `amps_ma[i]`, `power_w[i]`.

    `elements`: one thermal element for each leg, then one for the total.
    """

    def __init__(self, board, elements, scans_per_s: int):
        n = len(board.outlets)
        self.scans_per_s = scans_per_s
        self.n = n
        self.legs = []
        for leg in range(len(board.legs)):
            members = tuple([x.index for x in board.outlets if leg in x.legs])
            self.legs.append(Limit(members, elements[leg], scans_per_s))
        self.total = Limit(tuple(range(n)), elements[len(board.legs)], scans_per_s)
        self.order = list(range(n))  # lowest priority first
        self.stuck_mask = 0  # bits of welded outlets: they load a leg although they are open
        # what an outlet can demand for long
        self._most_ma = [x.rating_ma for x in board.outlets]
        self._most_w = [x.rating_ma * (x.volts // 2 + 1) * 120 // 1000 for x in board.outlets]
        self.shed_mask = 0
        self.shed_by_total = 0  # of those selected last: bits shed for the total, else a leg
        self.off_scans = [0] * n  # since shed
        self.demand_ma = [0] * n  # last known demand
        self.demand_w = [0] * n
        self.restarts = [0] * n
        self._turn = 0
        self._over = False  # a hard limit is passed
        self._hot_mask = self.total.thermal.bit
        for limit in self.legs:
            self._hot_mask |= limit.thermal.bit
        self._hour = 0
        self._fits = 0  # scans for which the next candidate has fitted
        self._candidate = -1
        self.restore_scans = 0
        self.min_off_scans = 0
        self.margin_w = 0
        self.margin_ma = 0
        self.max_restarts = 6

    def configure(
        self, priorities, leg_ma: int, total_w: int, restore_s: int, min_off_s: int, margin_w: int
    ):
        """Limits in mA and W, times in s; `priorities[i]`: 9 is shed first."""
        for leg in self.legs:
            leg.configure(leg_ma)
        self.total.configure(total_w)
        self.order.sort(key=lambda i: (-priorities[i], -i))
        self.restore_scans = restore_s * self.scans_per_s
        self.min_off_scans = min_off_s * self.scans_per_s
        self.margin_w = margin_w
        self.margin_ma = margin_w * 1000 // 120

    def set_loads(self, n: int, amps_ma, power_w, block):
        """The loads of a window: legs by the sum of RMS currents, the total by real power."""
        total = 0
        for power in power_w:
            total += power if power > 0 else -power
        over = self.total.set_load(total, n, block)
        for leg in self.legs:
            load = 0
            for i in leg.members:
                load += amps_ma[i]
            if leg.set_load(load, n, block):
                over = True
        self._over = over

    def decide(self, n: int, hot: int, amps_ma, power_w, on_mask: int) -> int:
        """Bits of the outlets to shed now; `hot` comes from the thermal bank."""
        shed = 0
        if self._over or hot & self._hot_mask:  # seldom: the questions below cost time
            shed = self._choose(hot, amps_ma, power_w, on_mask)
        if self.shed_mask:
            for i in self.order:
                if self.shed_mask >> i & 1 and self.off_scans[i] < 1 << 29:
                    self.off_scans[i] += n
        self._hour += n
        if self._hour >= _HOUR_S * self.scans_per_s:
            self._hour = 0
            for i in self.order:
                self.restarts[i] = 0
        return shed

    def _choose(self, hot: int, amps_ma, power_w, on_mask: int) -> int:
        shed = 0
        for leg in self.legs:
            if leg.is_over(hot):
                shed |= self._select(leg, amps_ma, on_mask, shed)
        self.shed_by_total = 0
        if self.total.is_over(hot):
            self.shed_by_total = self._select(self.total, power_w, on_mask, shed)
            shed |= self.shed_by_total
        if shed:
            for i in self.order:
                if shed >> i & 1:
                    self._note_at_least(i, amps_ma[i], power_w[i])
        return shed

    def _select(self, limit, loads, on_mask: int, chosen: int) -> int:
        """The smallest set of outlets, lowest priority first, that takes away what is too much
        of a limit beyond those `chosen` already.

        Only outlets that are on count: the current of one that has just opened is still in the
        window's sums, and would take others with it."""
        excess = -limit.limit
        counted = (on_mask | self.stuck_mask) & ~chosen
        for i in limit.members:
            if counted >> i & 1:
                excess += abs(loads[i])
        if excess <= 0:
            return 0
        candidates = limit.mask & on_mask & ~chosen
        mine = 0
        got = 0
        for i in self.order:
            if candidates >> i & 1 and loads[i]:
                mine |= 1 << i
                got += abs(loads[i])
                if got >= excess:
                    break
        for i in self.order:  # what the last one made unnecessary stays on
            if mine >> i & 1 and got - abs(loads[i]) >= excess:
                mine &= ~(1 << i)
                got -= abs(loads[i])
        return mine

    def note_demand(self, amps_ma, power_w, on_mask: int):
        """What the outlets that are on draw: rises slowly, so that an inrush is not taken for
        it, and never falls, so that a duty cycle keeps its peak. One outlet a call, in turn."""
        i = self._turn + 1
        if i >= self.n:
            i = 0
        self._turn = i
        if on_mask >> i & 1:
            more = power_w[i] - self.demand_w[i]
            if more > 0:
                self.demand_w[i] += (more >> _DEMAND_SHIFT) + 1
            more = amps_ma[i] - self.demand_ma[i]
            if more > 0:
                self.demand_ma[i] += (more >> _DEMAND_SHIFT) + 1

    def _note_at_least(self, i: int, amps_ma: int, power_w: int):
        """Outlet `i` is being shed: what it draws now counts in full, or a load that passed the
        hard limit at once would be let in again. Its inrush does not: no more than its rating."""
        self.demand_ma[i] = max(self.demand_ma[i], min(amps_ma, self._most_ma[i]))
        self.demand_w[i] = max(self.demand_w[i], min(power_w, self._most_w[i]))

    def note_shed(self, i: int):
        """Outlet `i` was shed: its clock starts."""
        self.shed_mask |= 1 << i
        self.off_scans[i] = 0
        self._candidate = -1

    def note_gone(self, i: int):
        """Outlet `i` is no longer waiting (switched off, tripped, or restored)."""
        self.shed_mask &= ~(1 << i)
        self._candidate = -1

    def note_closed(self, i: int):
        """Outlet `i` closes: its demand is measured afresh."""
        self.demand_ma[i] = 0
        self.demand_w[i] = 0

    def fits(self, i: int, margin_ma: int, margin_w: int) -> int:
        """0 when the last known demand of `i` fits every limit, 1 when a leg is full, 2 when
        the total is."""
        for leg in self.legs:
            if leg.mask >> i & 1 and not leg.has_room(self.demand_ma[i] + margin_ma):
                return 1
        if not self.total.has_room(self.demand_w[i] + margin_w):
            return 2
        return 0

    def restorable(self, n: int) -> int:
        """The outlet that may come back now, or -1. Call once per window; tell note_restored()
        when it did."""
        if not self.shed_mask:
            return -1
        best = -1
        for i in self.order:  # the last one is the highest priority
            if self.shed_mask >> i & 1 and self.restarts[i] < self.max_restarts:
                best = i
        if best < 0:
            return -1
        if best != self._candidate:
            self._candidate = best
            self._fits = 0
        if self.fits(best, self.margin_ma, self.margin_w):
            self._fits = 0
            return -1
        if self._fits < self.restore_scans:
            self._fits += n
            return -1
        if self.off_scans[best] < self.min_off_scans:
            return -1
        return best

    def note_restored(self, i: int):
        """Outlet `i` came back: one of its restarts of this hour is used."""
        self.restarts[i] += 1
