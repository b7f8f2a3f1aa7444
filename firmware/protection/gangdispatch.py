# Legs and total where outlets are poles of one feed: the dispatcher of dispatch.py, which sheds
# all poles of such a gang or none, and lets them come back together. Called as that one is; loaded
# only for boards with gangs.
#
# A gang is what its first pole is: its priority, its restarts. On a leg each pole has its own
# load, at the total they count together.
#
# One outlet may have precedence (a car, in the mode `vehicle`): those behind it make way for what
# it is entitled to. It still takes only what is left: they go first, and come back, and are
# switched on, beside the whole of its claim.

from array import array

from micropython import const

from firmware.protection.dispatch import Dispatch

_D_W = const(1)  # dispatch._D_W and so on
_D_OLD_W = const(3)
_D_LAST_W = const(5)
_D_FIT = const(8)
_D_WORDS = const(11)
_LEAST_MA = const(6_000)  # pilot.LEAST_MA: with less a car is not charged


class GangDispatch(Dispatch):
    """As Dispatch; `board.outlets[i].gang` says which outlets belong together."""

    def __init__(self, board, elements, scans_per_s: int):
        Dispatch.__init__(self, board, elements, scans_per_s)
        self._gang = []  # per outlet: bits of its gang, 0: it stands alone
        self._lead = []  # and the first of them, or itself
        self._masks: list = []
        for outlet in board.outlets:
            mask = 0
            lead = outlet.index
            for other in board.outlets:
                if outlet.gang and other.gang == outlet.gang:
                    mask |= 1 << other.index
                    lead = min(lead, other.index)
            self._gang.append(mask)
            self._lead.append(lead)
            if mask and mask not in self._masks:
                self._masks.append(mask)
        self._kept = False  # what was decided for the gang whose poles are asked for
        self._rooms = [0] * len(self.limits)
        self.behind = 0  # bits of those that make way
        self._claims = array("i", bytes(4 * len(self.limits)))  # mA of the legs, W of the total
        self._excess = array("i", bytes(4 * len(self.limits)))

    def configure(
        self, priorities, leg_ma: int, total_w: int, restore_s: int, min_off_s: int,
        margin_w: int, max_restarts: int = 6,
    ):  # fmt: skip
        """As Dispatch's: the gang's priority is its first pole's."""
        same = [priorities[self._lead[i]] for i in range(self.n)]
        Dispatch.configure(
            self, same, leg_ma, total_w, restore_s, min_off_s, margin_w, max_restarts
        )

    def _whole(self, bits: int) -> int:
        """`bits` with all poles of the gangs of which it has some."""
        for mask in self._masks:
            if bits & mask:
                bits |= mask
        return bits

    # -- shedding ------------------------------------------------------------------------------

    def decide(self, n: int, hot: int, on_mask: int) -> int:
        shed = Dispatch.decide(self, n, hot, on_mask)
        if shed:
            shed = self._whole(shed) & on_mask
            self.shed_by_total = self._whole(self.shed_by_total) & shed
            self.own_mask = self._whole(self.own_mask) & shed
        return shed

    def _own_faults(self, hot: int, amps_ma, power_w, on_mask: int) -> bool:
        asking = Dispatch._own_faults(self, hot, amps_ma, power_w, on_mask)
        own = self.own_mask
        total = self.total
        if asking and total.room >= 0:
            hard = total.is_hard()
            for mask in self._masks:
                load = before = 0
                for i in range(self.n):
                    if mask & on_mask & ~own & 1 << i:
                        load += abs(power_w[i])
                        before += self._state[i * _D_WORDS + _D_LAST_W]
                if not hard or load < total.hard():
                    load = min(load, before)
                if load > total.most():
                    own |= mask
                    self.shed_by_total |= mask
        self.own_mask = self._whole(own) & on_mask
        return asking

    def _keep(self, i: int, amps: int, power: int, must: bool) -> bool:
        gang = self._gang[i]
        if not gang or must:
            return Dispatch._keep(self, i, amps, power, must)
        if i != self._lead[i]:
            return self._kept
        rooms = self._rooms
        k = 0
        for limit in self.limits:
            rooms[k] = limit.room
            k += 1
        kept = True
        for k in range(self.n):
            if kept and gang >> k & 1:
                kept = Dispatch._keep(self, k, self._amps[k], self._power[k], False)
        if not kept:
            k = 0
            for limit in self.limits:
                limit.room = rooms[k]
                k += 1
        self._kept = kept
        return kept

    # -- demand and restoring ------------------------------------------------------------------

    def _demand_w(self, gang: int) -> int:
        """What all poles of a gang demand together, W."""
        state = self._state
        result = 0
        for i in range(self.n):
            if gang >> i & 1:
                at = i * _D_WORDS
                result += max(state[at + _D_W], state[at + _D_OLD_W])
        return result

    # -- precedence ----------------------------------------------------------------------------

    def entitle(self, i: int, ma: int, volts: int) -> int:
        """Outlet `i` shall have so much before those behind it, mA; no more than the others leave.
        Poles of a gang make no way. Returns what it is; 0: it has no precedence. `volts`: what
        an ampere of it is worth."""
        behind = 0
        if ma:
            found = False
            for k in self.order:
                if found and not self._gang[k]:
                    behind |= 1 << k
                elif k == i:
                    found = True
            yields = self.yields
            self.yields = yields | behind
            for limit in self.limits:
                if limit.mask >> i & 1:
                    free = limit.limit - self.expected(limit)
                    if limit is self.total:
                        free = free * 1000 // volts
                    if free < ma:
                        ma = free
            self.yields = yields
        if ma < _LEAST_MA:
            ma = behind = 0
        self.behind = behind
        k = 0
        for limit in self.limits:
            claim = ma if limit.mask >> i & 1 else 0
            self._claims[k] = claim * volts // 1000 if limit is self.total else claim
            k += 1
        return ma

    def way(self, on_mask: int) -> int:
        """Bits of those that have to go now, so that the claim fits: the less important first, and
        none that the others suffice without."""
        over = self._excess
        k = 0
        for limit in self.limits:
            over[k] = self.expected(limit) + self._claims[k] - limit.limit
            k += 1
        gone = 0
        k = self.n
        while k and max(over) > 0:
            k -= 1
            i = self.order[k]
            if self.behind & on_mask & ~self.opening & 1 << i and self._weighs(i):
                gone |= 1 << i
                self._weigh(i, -1)
        for i in self.order:
            if gone >> i & 1:
                self._weigh(i, 1)
                if max(over) > 0:
                    self._weigh(i, -1)
                    at = i * _D_WORDS
                    state = self._state
                    # as what is shed by _choose(): or it would be let in again at once
                    ma = min(self._amps[i], self._most_ma[i])
                    state[at] = max(state[at], ma)
                    watts = min(abs(self._power[i]), self._most_w[i])
                    state[at + _D_W] = max(state[at + _D_W], watts)
                else:
                    gone &= ~(1 << i)
        return gone

    def _weighs(self, i: int) -> bool:
        """Whether a limit that is passed would be less so without outlet `i`."""
        k = 0
        for limit in self.limits:
            load = abs(self._power[i]) if limit is self.total else self._amps[i]
            if self._excess[k] > 0 and limit.mask >> i & 1 and load > limit.limit >> 7:
                return True
            k += 1
        return False

    def _weigh(self, i: int, sign: int):
        k = 0
        for limit in self.limits:
            if limit.mask >> i & 1:
                load = abs(self._power[i]) if limit is self.total else self._amps[i]
                self._excess[k] += sign * load
            k += 1

    def kept(self, i: int, limit) -> int:
        """What of a limit is kept from outlet `i`, mA or W (outer lane)."""
        return self._claims[self.limits.index(limit)] if self.behind >> i & 1 else 0

    def _press(self, i: int, sign: int):
        if self.behind >> i & 1:
            k = 0
            for limit in self.limits:
                limit.load += sign * self._claims[k]
                limit.top += sign * self._claims[k]
                k += 1

    def refuses(self, i: int, force: bool):
        self._press(i, 1)
        limit = self._refuses(i, force)
        self._press(i, -1)
        return limit

    def _refuses(self, i: int, force: bool):
        gang = self._gang[i]
        if not gang:
            return Dispatch.refuses(self, i, force)
        for k in range(self.n):
            if gang >> k & 1:
                limit = Dispatch.refuses(self, k, force)
                if limit is not None:
                    return limit
        total = self.total
        demand = self._demand_w(gang)
        load = self.expected(total)
        if force:
            full = load + demand > total.hard()
        else:
            full = demand > total.most() or not total.has_room(demand, load)
        return total if full else None

    def lacks(self, i: int, gone: int = 0):
        self._press(i, 1)
        limit = self._lacks(i, gone)
        self._press(i, -1)
        return limit

    def _lacks(self, i: int, gone: int = 0):
        gang = self._gang[i]
        if not gang:
            return Dispatch.lacks(self, i, gone)
        for k in range(self.n):
            if gang >> k & 1:
                limit = Dispatch.lacks(self, k, gone)
                if limit is not None:
                    return limit
        total = self.total
        load = max(total.load, total.top)
        gone |= self.yields
        for k in range(self.n):
            if gone >> k & 1:
                load -= abs(self._power[k])
        demand = self._demand_w(gang)
        if demand > total.most() or not total.has_room(demand + self.margin_w, load):
            return total
        return None

    def restarts(self, i: int) -> int:
        return Dispatch.restarts(self, self._lead[i])

    def note_refused(self, i: int):
        gang = self._gang[i] or 1 << i
        for k in range(self.n):
            if gang >> k & 1:
                self._state[k * _D_WORDS + _D_FIT] = 0

    def note_restored(self, i: int):
        Dispatch.note_restored(self, self._lead[i])
