# Legs and total: which outlets must go when a limit is passed, and which may come back.
# Called by the control task once per finished window; allocates nothing after configure().
#
# A limit is guarded by a thermal element (pick-up 1.02) and by a hard limit (1.5 x, 0.2 s). When
# either asks, the outlets with the lowest priority that suffice are shed together. They come
# back one at a time, highest priority first, when the headroom has held their last demand plus
# a margin for some time, and not before their minimum off time (a compressor needs it).

from micropython import const

from firmware.protection.thermal import Thermal

_PICKUP_SQ = const(1040400)  # 1020 permille squared
_TAU_S = const(30)
_COOL_S = const(30)
_HARD_PERMILLE = const(1500)
_CLAMP_PERMILLE = const(4000)  # 60 scans x 4000^2 stays below 2**30
_HARD_MS = const(200)
_HOUR_S = const(3600)


class Limit:
    """A leg or the total: load against limit, in mA or W."""

    def __init__(self, members: int, scans_per_s: int):
        self.members = members  # outlet bits that load it
        self.limit = 1
        self.load = 0
        self.thermal = Thermal(scans_per_s)
        self._hard_scans = scans_per_s * _HARD_MS // 1000
        self._over = 0

    def configure(self, limit: int):
        self.limit = limit
        self.thermal.configure(_PICKUP_SQ, _TAU_S, _COOL_S)

    def step(self, load: int, n: int) -> bool:
        """True when the load has to come down: hot and above the limit, or hard limit passed."""
        self.load = load
        permille = load * 1000 // self.limit
        if permille > _CLAMP_PERMILLE:
            permille = _CLAMP_PERMILLE
        hot = self.thermal.step(permille * permille * n, n)
        if permille >= _HARD_PERMILLE:
            self._over += n
        else:
            self._over = 0
        return (hot and permille > 1000) or self._over >= self._hard_scans


class Dispatch:
    """All limits of a board. Loads are handed in by index: `amps_ma[i]`, `power_w[i]`."""

    def __init__(self, board, scans_per_s: int):
        n = len(board.outlets)
        self.scans_per_s = scans_per_s
        self.n = n
        self.legs = []
        for leg in range(len(board.legs)):
            members = 0
            for outlet in board.outlets:
                if leg in outlet.legs:
                    members |= 1 << outlet.index
            self.legs.append(Limit(members, scans_per_s))
        self.total = Limit((1 << n) - 1, scans_per_s)
        self.order = list(range(n))  # lowest priority first
        self.shed_mask = 0
        self.shed_by_total = 0  # of those selected last: bits shed for the total, else a leg
        self.off_scans = [0] * n  # since shed
        self.demand_ma = [0] * n  # last known demand
        self.demand_w = [0] * n
        self.restarts = [0] * n
        self._hour = 0
        self._fits = 0  # scans for which the next candidate has fitted
        self._candidate = -1
        self.restore_scans = 0
        self.min_off_scans = 0
        self.margin_w = 0
        self.margin_ma = 0
        self.max_restarts = 6

    def configure(self, priorities, leg_ma: int, total_w: int, restore_s: int, min_off_s: int,
                  margin_w: int):
        """Limits in mA and W, times in s; `priorities[i]`: 9 is shed first."""
        for leg in self.legs:
            leg.configure(leg_ma)
        self.total.configure(total_w)
        self.order.sort(key=lambda i: (-priorities[i], -i))
        self.restore_scans = restore_s * self.scans_per_s
        self.min_off_scans = min_off_s * self.scans_per_s
        self.margin_w = margin_w
        self.margin_ma = margin_w * 1000 // 120

    def step(self, n: int, amps_ma, power_w, on_mask: int) -> int:
        """Account for one window; returns the bits of the outlets to shed now."""
        over_total = False
        total = 0
        i = 0
        for power in power_w:
            total += power if power > 0 else -power
            if on_mask >> i & 1:
                # demand: what it draws, falling slowly, so that a duty cycle keeps its peak
                if power > self.demand_w[i]:
                    self.demand_w[i] = power
                if amps_ma[i] > self.demand_ma[i]:
                    self.demand_ma[i] = amps_ma[i]
            i += 1
        over_total = self.total.step(total, n)
        shed = 0
        for leg in self.legs:
            load = 0
            members = leg.members
            i = 0
            for amps in amps_ma:
                if members >> i & 1:
                    load += amps
                i += 1
            if leg.step(load, n):
                shed |= self._select(load - leg.limit, amps_ma, members & on_mask, shed)
        self.shed_by_total = 0
        if over_total:
            more = self._select(total - self.total.limit, power_w, on_mask, shed)
            self.shed_by_total = more & ~shed
            shed |= more
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

    def _select(self, excess: int, loads, candidates: int, chosen: int) -> int:
        """The smallest set of candidates, lowest priority first, that takes away `excess`."""
        got = 0
        for i in self.order:
            if chosen >> i & 1:
                got += loads[i]
        if got >= excess:
            return chosen
        for i in self.order:
            bit = 1 << i
            if candidates & bit and not chosen & bit and loads[i] > 0:
                chosen |= bit
                got += loads[i]
                if got >= excess:
                    break
        for i in self.order:  # what the last one made unnecessary stays on
            if chosen >> i & 1 and candidates >> i & 1 and got - loads[i] >= excess:
                chosen &= ~(1 << i)
                got -= loads[i]
        return chosen

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
        bit = 1 << i
        for leg in self.legs:
            if leg.members & bit and leg.load + self.demand_ma[i] + margin_ma > leg.limit:
                return 1
        if self.total.load + self.demand_w[i] + margin_w > self.total.limit:
            return 2
        return 0

    def restorable(self, n: int) -> int:
        """The outlet that may come back now, or -1. Call once per window."""
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
        self._fits += n
        if self._fits < self.restore_scans or self.off_scans[best] < self.min_off_scans:
            return -1
        self.restarts[best] += 1
        return best
