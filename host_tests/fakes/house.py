"""The dispatcher with outlets that draw what a test says, in virtual time, and a bookkeeper that
looks after each window whether the dispatcher keeps its promises:

- a leg or the total is not above its curve for longer than 10 % of the heat, but for the 2 s that
  a hard limit or the look at an inrush take;
- nothing opens before a curve or a hard limit says so, but to make room for what matters more;
- what opens is the set that hurts least (`least_painful`), and what trips overloads alone;
- what comes back has had room for `restore_s` and its pause, and no outlet comes back more often
  than `restarts` times in any hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from tools import cpython

cpython.install()

from firmware import board as boards  # noqa: E402
from firmware.protection import dispatch as words  # noqa: E402
from firmware.protection import thermal  # noqa: E402
from firmware.protection.dispatch import Dispatch  # noqa: E402

BOARD = boards.load("simulated")
NAMES = [x.name for x in BOARD.outlets]
RATING_A = [x.rating_ma / 1000 for x in BOARD.outlets]
SCANS_PER_S = 2403
N = 40
SMALL = 1 << 30
TAU_S = 130.0
PICKUP = 1.05
HARD = 1.5
HARD_S = 2.0


def volts(name: str) -> int:
    return 240 if name == "bed240" else 120


def subsets(names: list[str]) -> Iterable[frozenset[str]]:
    for bits in range(1 << len(names)):
        yield frozenset(x for i, x in enumerate(names) if bits >> i & 1)


class House:
    """`amps[name]`: A RMS that an outlet draws while it is on (negative: a reversed transformer),
    or a function of the time in s. `cycles`: mains cycles that each call of the dispatcher takes
    together, for long tests."""

    def __init__(
        self,
        priorities: Iterable[int] = (1, 2, 4, 5, 3),
        leg_a: float = 40,
        total_w: int = 9600,
        restore_s: int = 10,
        min_off_s: int = 0,
        margin_w: int = 200,
        restarts: int = 6,
        cycles: int = 1,
    ) -> None:
        self.cycles = cycles
        self.window_s = N * cycles / SCANS_PER_S
        n = len(NAMES)
        self.bank = thermal.Bank(n + 3, SCANS_PER_S)
        for element in self.bank.elements:
            element.configure(1 << 23, 120, 240)  # the outlets' own: not of interest here
        self.dispatch = Dispatch(BOARD, self.bank.elements[n:], SCANS_PER_S)
        self.priorities = list(priorities)
        self.leg_a, self.total_w = leg_a, total_w
        self.restore_s, self.min_off_s, self.margin_w = restore_s, min_off_s, margin_w
        self.cap = restarts
        self.configure()
        self.amps: dict[str, float | Callable[[float], float]] = dict.fromkeys(NAMES, 0.0)
        self.on = set(NAMES)
        self.shed: dict[str, float] = {}  # name: since when, s
        self.tripped: set[str] = set()
        self.residual = 0  # windows for which a current goes on after its outlet has opened
        self._late: dict[str, int] = {}
        self.s = 0.0
        self.log: list[tuple[float, str, str]] = []
        self.drew: dict[str, float] = {}  # in the last window, A
        self.heat = [0.0, 0.0, 0.0]  # the bookkeeper's: l1, l2, total, in multiples squared
        self._above_s = [0.0, 0.0, 0.0]
        self._hard_s = [0.0, 0.0, 0.0]
        self._fit_s = dict.fromkeys(NAMES, 0.0)
        self._came: dict[str, deque[float]] = {name: deque() for name in NAMES}
        self.checking = True

    def configure(self) -> None:
        self.dispatch.configure(
            self.priorities,
            round(self.leg_a * 1000),
            self.total_w,
            self.restore_s,
            self.min_off_s,
            self.margin_w,
            self.cap,
        )

    def know(self, name: str, amps: float) -> None:
        """The dispatcher has known this demand from before (0: none)."""
        at = NAMES.index(name) * words._D_WORDS
        state = self.dispatch._state
        state[at + words._D_MA] = state[at + words._D_W] = 0
        state[at + words._D_OLD_MA] = round(amps * 1000)
        state[at + words._D_OLD_W] = round(amps * volts(name))

    def preheat(self, part: float) -> None:
        """Legs and total as after a long time at a load that heats to `part` of the trip heat."""
        for element in self.bank.elements[len(NAMES) :]:
            element.set_permille(round(part * 1000))
        self.heat = [part * PICKUP**2] * 3

    # -- what the bookkeeper knows --------------------------------------------------------------

    def limits(self) -> list[tuple[float, dict[str, float]]]:
        """Each limit with what each of its outlets took of it in the last window (A or W)."""
        drew = {name: abs(self.drew.get(name, 0.0)) for name in NAMES}
        legs = [
            (self.leg_a, {x.name: drew[x.name] for x in BOARD.outlets if leg in x.legs})
            for leg in range(2)
        ]
        return [*legs, (float(self.total_w), {x: drew[x] * volts(x) for x in NAMES})]

    def importance(self, name: str) -> tuple[int, int]:
        """The smaller, the longer it is kept."""
        i = NAMES.index(name)
        return self.priorities[i], i

    def _suffices(self, kept: set[str], asking: list[int]) -> bool:
        for index in asking:
            limit, loads = self.limits()[index]
            taken = [min(round(loads[x], 3), limit) for x in kept if x in loads]
            if sum(x for x in taken if x > limit / 128) > limit + 0.01:
                return False
        return True

    def least_painful(self, on: set[str], asking: list[int]) -> set[str]:
        """By trying every set: of those that suffice the one whose most important outlet matters
        least, of these the one whose second most important outlet matters least, and so on."""
        ranked = sorted(on, key=self.importance)
        fits = [x for x in subsets(ranked) if self._suffices(on - x, asking)]
        return set(min(fits, key=lambda x: [name in x for name in ranked]))

    def _hear(self) -> list[int]:
        """Integrate the window; which limits ask by now."""
        asking = []
        dt = self.window_s
        for index, (limit, loads) in enumerate(self.limits()):
            part = sum(loads.values()) / limit
            taken = min(part, 4.0)
            self.heat[index] += (taken * taken - self.heat[index]) * dt / TAU_S
            self._hard_s[index] = self._hard_s[index] + dt if part > HARD * 0.999 else 0.0
            above = self.heat[index] > PICKUP**2 * 1.1 and part > 1.01
            self._above_s[index] = self._above_s[index] + dt if above else 0.0
            hot = self.heat[index] > PICKUP**2 * 0.985 and part > 0.999
            if hot or self._hard_s[index] > HARD_S - 3 * dt:
                asking.append(index)
        return asking

    # -- time ---------------------------------------------------------------------------------

    def mask(self) -> int:
        return sum(1 << i for i, name in enumerate(NAMES) if name in self.on)

    def window(self) -> list[str]:
        """Some cycles; returns what opened."""
        self.s += self.window_s
        amps_ma, power_w = [0] * 5, [0] * 5
        self.drew = {}
        for i, name in enumerate(NAMES):
            late = self._late.get(name, 0)
            if name in self.on or late:
                load = self.amps[name]
                amps = load(self.s) if callable(load) else load
                self.drew[name] = amps
                amps_ma[i] = round(abs(amps) * 1000)
                power_w[i] = round(amps * volts(name))
        asking = self._hear() if self.checking else []
        for name in NAMES:
            self._late[name] = max(0, self._late.get(name, 0) - 1)
        d = self.dispatch
        d.set_loads(N, amps_ma, power_w, self.bank.block, self.cycles)
        hot = self.bank.step(N, self.cycles)
        assert max(abs(x) for x in self.bank.block) < SMALL
        opens = d.decide(N * self.cycles, hot, self.mask())
        names = [name for i, name in enumerate(NAMES) if opens >> i & 1]
        if self.checking:
            self._judge(names, asking)
        for name in names:
            assert name in self.on, "only what is on can open"
            self.on.discard(name)
            self._late[name] = self.residual
            i = NAMES.index(name)
            if d.own_mask >> i & 1:
                self.tripped.add(name)
            else:
                d.note_shed(i)
                self.shed[name] = self.s
                self._fit_s[name] = 0.0
            self.log.append((self.s, "trip" if name in self.tripped else "shed", name))
        if not names and d.shed_mask:
            back = d.restorable(N * self.cycles)
            if back >= 0:
                self._restore(NAMES[back])
        d.note_demand(self.mask())
        return names

    def close(self, name: str) -> None:
        """As `on` does, admission apart."""
        i = NAMES.index(name)
        self.dispatch.note_closed(i)
        self.dispatch.note_gone(i)
        self.shed.pop(name, None)
        self.on.add(name)

    def open(self, name: str) -> None:
        """As `off` does."""
        self.on.discard(name)
        self.shed.pop(name, None)
        self.dispatch.note_gone(NAMES.index(name))

    def _restore(self, name: str) -> None:
        if self.checking:
            self._judge_restore(name)
        self.close(name)
        self.dispatch.note_restored(NAMES.index(name))
        self.log.append((self.s, "restore", name))

    def run(self, seconds: float) -> None:
        end = self.s + seconds
        while self.s < end - 1e-9:
            self.window()

    def until_open(self, within_s: float) -> list[str]:
        """What opens next."""
        end = self.s + within_s
        while self.s < end:
            names = self.window()
            if names:
                return names
        raise AssertionError("nothing opened")

    def names(self, what: str) -> list[str]:
        """Who was shed, tripped or restored, in order of time."""
        return [name for _, event, name in self.log if event == what]

    # -- verdicts -----------------------------------------------------------------------------

    def _judge(self, opened: list[str], asking: list[int]) -> None:
        dt = self.window_s
        for index, over_s in enumerate(self._above_s):
            assert over_s <= HARD_S + 3 * dt, f"limit {index} above its curve for {over_s:.1f} s"
        for index, over_s in enumerate(self._hard_s):
            assert over_s <= HARD_S + 3 * dt, f"limit {index} beyond its hard limit"
        own = {x for x in opened if self.dispatch.own_mask >> NAMES.index(x) & 1}
        rest = set(opened) - own
        for name in own:
            alone = [
                loads[name] > PICKUP * limit * 0.999
                for limit, loads in (self.limits()[k] for k in asking)
                if name in loads
            ]
            twice = abs(self.drew[name]) > 2 * RATING_A[NAMES.index(name)] * 0.999
            assert any(alone) or (alone and twice), f"{name} tripped, and is not to blame"
        if rest:
            made = rest <= self._makers()
            assert asking or made, f"{rest} opened, and no limit asked"
            if asking and not made:
                # which limits asked to the very cycle only the firmware knows
                sets = [self.least_painful(self.on - own, list(x)) for x in self._askers(asking)]
                assert rest in sets, f"{rest} opened, it should have been one of {sets}"
        # the time of looking for room, from the truth
        for name in self.shed:
            i = NAMES.index(name)
            fits = True
            for k, (limit, loads) in enumerate(self.limits()):
                if name in loads:
                    demand = self.dispatch.demand(i, self.dispatch.limits[k])
                    more = demand / 1000 + self.margin_w / 120 if k < 2 else demand + self.margin_w
                    more = min(more, limit * 31 / 32)
                    fits &= sum(loads.values()) + more <= limit * 1.0005 + 0.01
            self._fit_s[name] = self._fit_s[name] + dt if fits else 0.0

    def _askers(self, asking: list[int]) -> Iterable[list[int]]:
        for bits in range(1, 1 << len(asking)):
            yield [x for k, x in enumerate(asking) if bits >> k & 1]

    def _makers(self) -> set[str]:
        """Outlets that may be opened to make room: less important than one that waits."""
        return {
            name
            for name in self.on
            if self._came[name]
            and any(self.importance(x) < self.importance(name) for x in self.shed)
        }

    def _judge_restore(self, name: str) -> None:
        slack = 3 * self.window_s
        assert self._fit_s[name] >= self.restore_s - slack, f"{name} came back without room"
        assert self.s - self.shed[name] >= self.min_off_s - slack, f"{name} had no pause"
        for other in self.shed:
            if self.importance(other) < self.importance(name):
                ready = self._fit_s[other] > self.restore_s + slack + 0.3
                ready &= self.s - self.shed[other] > self.min_off_s + slack
                hour = [x for x in self._came[other] if self.s - x < 4300]
                assert not ready or len(hour) >= self.cap, f"{name} came before {other}"
        for other in self._fit_s:
            self._fit_s[other] = 0.0
        came = self._came[name]
        came.append(self.s)
        while came[0] < self.s - 3600:
            came.popleft()
        assert len(came) <= self.cap, f"{name} came back {len(came)} times within an hour"
