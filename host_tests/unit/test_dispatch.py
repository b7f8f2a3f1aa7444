"""Legs and total: who is shed, who comes back and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import board as boards
from firmware.protection import thermal
from firmware.protection.dispatch import Dispatch

BOARD = boards.load("simulated")
NAMES = [x.name for x in BOARD.outlets]
SCANS_PER_S = 2403
N = 40
SMALL = 1 << 30


class House:
    """The dispatcher with outlets that draw what `amps` says while they are on."""

    def __init__(
        self,
        priorities: Iterable[int] = (1, 2, 4, 5, 3),
        leg_ma: int = 40_000,
        total_w: int = 9600,
        restore_s: int = 10,
        min_off_s: int = 0,
        margin_w: int = 200,
        cycles: int = 1,
    ) -> None:
        self.scans = N * cycles  # long tests take several cycles at a time
        n = len(NAMES)
        self.bank = thermal.Bank(n + 3, SCANS_PER_S)
        for element in self.bank.elements:
            element.configure(1 << 23, 120, 240)  # the outlets' own: not of interest here
        self.dispatch = Dispatch(BOARD, self.bank.elements[n:], SCANS_PER_S)
        self.dispatch.configure(list(priorities), leg_ma, total_w, restore_s, min_off_s, margin_w)
        self.amps = dict.fromkeys(NAMES, 0.0)
        self.on = set(NAMES)
        self.residual = 0  # windows for which a current goes on after its outlet has opened
        self._opened: dict[str, int] = {}
        self.s = 0.0
        self.log: list[tuple[float, str, str]] = []

    def mask(self) -> int:
        return sum(1 << i for i, name in enumerate(NAMES) if name in self.on)

    def window(self) -> list[str]:
        """One cycle; returns what was shed."""
        amps_ma, power_w = [0] * 5, [0] * 5
        for i, name in enumerate(NAMES):
            late = self._opened.get(name, 0)
            if name in self.on or late:
                amps_ma[i] = round(abs(self.amps[name]) * 1000)
                power_w[i] = round(self.amps[name] * (240 if name == "bed240" else 120))
                self._opened[name] = max(0, late - 1)
        d = self.dispatch
        d.set_loads(self.scans, amps_ma, power_w, self.bank.block)
        hot = self.bank.step(self.scans, 1)
        assert max(abs(x) for x in self.bank.block) < SMALL
        shed = d.decide(self.scans, hot, amps_ma, power_w, self.mask())
        self.s += self.scans / SCANS_PER_S
        names = [name for i, name in enumerate(NAMES) if shed >> i & 1]
        for name in names:
            assert name in self.on, "only what is on can be shed"
            self.on.discard(name)
            self._opened[name] = self.residual
            d.note_shed(NAMES.index(name))
            self.log.append((self.s, "shed", name))
        if not shed and d.shed_mask:
            back = d.restorable(self.scans)
            if back >= 0:
                d.note_restored(back)
                d.note_closed(back)
                d.note_gone(back)
                self.on.add(NAMES[back])
                self.log.append((self.s, "restore", NAMES[back]))
        d.note_demand(amps_ma, power_w, self.mask())
        return names

    def run(self, seconds: float) -> None:
        end = self.s + seconds
        while self.s < end:
            self.window()

    def until_shed(self, within_s: float) -> list[str]:
        end = self.s + within_s
        while self.s < end:
            names = self.window()
            if names:
                return names
        raise AssertionError("nothing was shed")

    def shed_names(self) -> list[str]:
        return [name for _, what, name in self.log if what == "shed"]


def test_below_the_limits_nothing_happens() -> None:
    house = House()
    house.amps.update(cabin1=20, cabin2=20, bed1=19.9, bed2=19.9)
    house.run(300)
    assert house.log == []


def test_the_leg_sheds_its_lowest_priority_by_its_curve() -> None:
    house = House()
    house.amps.update(cabin1=19, bed1=19, bed240=11, cabin2=12)  # 49 A on L1
    assert house.until_shed(60) == ["bed1"]
    # tau 30 s, pick-up 1.02: t = 30 ln(r2 / (r2 - 1)), r = 49 / 40.8
    assert house.s == pytest.approx(35.5, rel=0.05)
    house.run(100)
    assert house.shed_names() == ["bed1"]


@pytest.mark.parametrize("residual", [0, 1, 2, 3])
def test_the_current_of_an_opening_relay_takes_no_other_along(residual: int) -> None:
    """The contact opens up to a cycle after the decision, and the sums show that."""
    house = House(min_off_s=1800)
    house.residual = residual
    house.amps.update(cabin1=19, bed1=19, bed240=11)
    house.run(60)
    assert house.shed_names() == ["bed1"]
    house = House(min_off_s=1800, leg_ma=60_000)
    house.residual = residual
    house.amps.update(bed1=20, bed2=20, bed240=22)  # 10.1 kW
    house.run(300)
    assert house.shed_names() == ["bed2"]


def test_the_smallest_set_that_suffices() -> None:
    """2 A too much: the lowest priority alone cannot give that, the next one can, so the lowest
    stays on."""
    house = House(priorities=(1, 2, 4, 9, 3))
    house.amps.update(cabin2=20, bed2=1, bed240=24)  # L2: 45 A
    assert house.until_shed(100) == ["bed240"]
    house = House(priorities=(1, 2, 8, 9, 3))
    house.amps.update(cabin1=20, bed1=6, bed240=19, bed2=3)  # L1 45 A, L2 22 A
    assert house.until_shed(100) == ["bed1"]


def test_a_240_v_outlet_counts_on_both_legs() -> None:
    house = House(priorities=(1, 2, 3, 4, 9))
    house.amps.update(cabin1=20, cabin2=20, bed240=30)
    assert house.until_shed(60) == ["bed240"]


def test_both_legs_over_at_once_are_both_relieved_at_once() -> None:
    """What one leg sheds is of no use to the other."""
    house = House()
    house.amps.update(cabin1=20, bed1=19, cabin2=20, bed2=19, bed240=6)
    assert sorted(house.until_shed(60)) == ["bed1", "bed2"]
    house.run(30)
    assert sorted(house.shed_names()) == ["bed1", "bed2"]


def test_what_one_leg_has_chosen_another_does_not_keep_on() -> None:
    house = House(priorities=(1, 2, 3, 9, 8))
    house.amps.update(cabin1=20, bed1=20, bed2=14, cabin2=19, bed240=10)
    names = house.until_shed(60)
    left = house.on
    assert sum(house.amps[x] for x in left & {"cabin1", "bed1", "bed240"}) <= 40, names
    assert sum(house.amps[x] for x in left & {"cabin2", "bed2", "bed240"}) <= 40, names


def test_the_hard_limit_sheds_within_a_second() -> None:
    house = House()
    house.amps.update(cabin1=20, bed1=20, bed240=25)
    house.run(0.7)
    assert house.log == []
    house.until_shed(0.2)
    assert 0.75 < house.s < 0.85
    assert house.shed_names() == ["bed240"], "25 A too much: bed1's 20 A would not do"


def test_the_hard_limit_rides_through_a_short_inrush() -> None:
    house = House()
    for _ in range(20):
        house.amps.update(cabin1=20, bed1=90)
        house.run(0.6)  # a refrigerator's takes 0.57 s
        house.amps.update(bed1=5)
        house.run(20)
    assert house.log == []


def test_a_reversed_transformer_is_a_load_all_the_same() -> None:
    house = House()
    house.amps.update(bed1=20, bed2=20, bed240=-30)
    assert house.until_shed(60)
    house.run(30)
    on = sum(abs(house.amps[x]) * (240 if x == "bed240" else 120) for x in house.on)
    assert on <= 9600


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 42), min_size=5, max_size=5),
    st.permutations([1, 2, 3, 4, 5]),
    st.integers(0, 2),
)
def test_shedding_suffices_is_minimal_and_takes_the_lowest(
    amps: list[int], priorities: list[int], residual: int
) -> None:
    house = House(priorities=priorities, min_off_s=1800)
    house.residual = residual
    house.amps.update(zip(NAMES, amps, strict=True))
    house.run(1.0)
    for name in NAMES:  # as after a long time at this load
        house.dispatch.demand_ma[NAMES.index(name)] = 0
    for element in house.bank.elements[5:]:
        element.set_permille(1100)
    house.window()
    house.run(0.2)

    def over(on: set[str]) -> bool:
        leg1 = sum(house.amps[x] for x in on & {"cabin1", "bed1", "bed240"})
        leg2 = sum(house.amps[x] for x in on & {"cabin2", "bed2", "bed240"})
        watts = sum(house.amps[x] * (240 if x == "bed240" else 120) for x in on)
        return leg1 > 40 or leg2 > 40 or watts > 9600

    assert not over(house.on)
    shed = set(NAMES) - house.on
    if not shed:
        return
    assert over(set(NAMES))
    if residual == 0 and house.log[0][0] == house.log[-1][0]:
        # nothing more than needed: with the most important of them back, a limit is passed
        best = min(shed, key=lambda x: priorities[NAMES.index(x)])
        assert over(house.on | {best}) or house.amps[best] == 0


def shed_two(**how: Any) -> House:
    """bed1 and bed2 shed for the total, then a third load leaves."""
    house = House(leg_ma=60_000, total_w=4000, **how)
    house.amps.update(cabin1=16, bed1=16, bed2=15, cabin2=15)
    house.run(5)
    house.run(60)
    assert sorted(house.shed_names()) == ["bed1", "bed2"]
    house.log.clear()
    return house


def test_outlets_come_back_one_at_a_time_and_in_order() -> None:
    house = shed_two(restore_s=20)
    house.run(100)
    assert house.log == [], "there is no room"
    house.amps.update(cabin1=0, cabin2=0)
    start = house.s
    house.run(100)
    assert [(what, name) for _, what, name in house.log] == [
        ("restore", "bed1"),
        ("restore", "bed2"),
    ]
    assert house.log[0][0] - start == pytest.approx(20, abs=0.2)
    assert house.log[1][0] - house.log[0][0] >= 20


def test_room_must_last_and_must_hold_the_margin() -> None:
    house = shed_two(restore_s=20, margin_w=500)
    for _ in range(10):
        house.amps.update(cabin1=0)
        house.run(15)
        house.amps.update(cabin1=16)
        house.run(2)
    assert house.log == []
    house.amps.update(cabin1=0, cabin2=14)  # 1680 + 1920 + 500 > 4000
    house.run(60)
    assert house.log == []


def test_a_compressor_gets_its_pause() -> None:
    house = shed_two(restore_s=10, min_off_s=180)
    opened = house.s
    house.amps.update(cabin1=0, cabin2=0)
    house.run(300)
    assert house.log[0][0] - opened >= 180 - 70
    assert house.dispatch.off_scans[NAMES.index("bed1")] >= 180 * SCANS_PER_S


def test_a_restore_that_is_refused_costs_no_restart() -> None:
    """The controller may refuse (still hot, no supply): asked each cycle, six restarts would be
    gone in a tenth of a second, and the outlet would wait for the rest of the hour."""
    house = shed_two(restore_s=10)
    house.amps.update(cabin1=0, cabin2=0)
    d = house.dispatch
    for _ in range(60 * 60):
        d.set_loads(N, [0] * 5, [0] * 5, house.bank.block)
        d.decide(N, 0, [0] * 5, [0] * 5, 0)
        back = d.restorable(N)
    assert NAMES[back] == "bed1" and d.restarts == [0] * 5
    assert d._fits < SMALL


def test_restarts_are_capped_within_an_hour() -> None:
    """A load that is over the limit each time it runs comes back six times and no more."""
    house = House(restore_s=10, leg_ma=20_000, cycles=6)
    house.amps.update(cabin1=15)
    start = house.s
    while house.s - start < 3000:
        # draws little until it has been on for a while, as a heater with a thermostat
        house.amps["bed1"] = 9 if house.s % 60 < 30 else 1
        if "bed1" not in house.on:
            house.dispatch.demand_ma[2] = house.dispatch.demand_w[2] = 0  # the worst estimate
        house.window()
    restores = [name for _, what, name in house.log if what == "restore"]
    assert restores == ["bed1"] * 6
    house.amps["bed1"] = 0
    house.run(3600)
    assert len([1 for _, what, _ in house.log if what == "restore"]) >= 7


def test_a_load_that_oscillates_round_the_limit_does_not_make_it_flap() -> None:
    """38 to 44 A in steps of 5 s on one leg for half an hour."""
    house = House(restore_s=60, min_off_s=180, cycles=6)
    while house.s < 1800:
        house.amps.update(cabin1=20, bed1=12, bed240=12 if int(house.s / 5) % 2 else 6)
        house.window()
    changes = len(house.log)
    assert 1 <= changes <= 2, house.log
    # and with an owner who wants no pause at all
    house = House(restore_s=10, min_off_s=0, margin_w=0, cycles=6)
    while house.s < 1800:
        house.amps.update(cabin1=20, bed1=12, bed240=12 if int(house.s / 5) % 2 else 6)
        house.window()
    assert len(house.log) <= 14, house.log


def test_an_inrush_is_not_taken_for_the_demand() -> None:
    """A saw starts with 110 A for 0.3 s and runs at 12 A: it must fit beside 20 A."""
    house = House()
    house.amps.update(cabin1=20, bed1=110)
    house.run(0.3)
    house.amps.update(bed1=12)
    house.run(30)
    assert house.dispatch.demand_ma[2] == pytest.approx(12_000, rel=0.03)
    house.on.discard("bed1")
    house.run(1)
    assert house.dispatch.fits(2, 0, 0) == 0


def test_a_load_shed_at_once_is_not_forgotten() -> None:
    """Shed by the hard limit after 0.8 s, it must not be let in again beside the same load."""
    house = House(restore_s=10)
    house.amps.update(cabin1=20, bed240=15, bed1=30)
    house.run(2)
    assert house.shed_names() == ["bed1"]
    house.run(600)
    assert len(house.log) == 1


def test_a_load_as_big_as_the_limit_returns_to_an_idle_leg() -> None:
    house = House(restore_s=10)
    house.amps.update(bed240=40, cabin1=10)
    house.dispatch.order.sort(key=lambda i: NAMES[i] != "bed240")
    assert house.until_shed(100) == ["bed240"]
    house.run(100)
    assert "bed240" not in house.on
    house.amps.update(cabin1=0.2)
    house.run(15)
    assert "bed240" in house.on


def test_a_welded_outlet_loads_its_leg_although_it_is_off() -> None:
    """On a board without contactor its current goes on, and the others have to make room."""
    house = House()
    house.on.discard("bed1")
    house._opened["bed1"] = 10**9
    house.dispatch.stuck_mask = 1 << NAMES.index("bed1")
    house.amps.update(bed1=20, cabin1=18, bed240=10)
    assert house.until_shed(60) == ["bed240"]


def test_clipped_sensors_on_a_whole_leg_stay_small_ints() -> None:
    house = House()
    house.amps.update(cabin1=330, bed1=330, bed240=660)
    house.run(0.1)
    for leg in house.dispatch.legs:
        assert min(leg.load, leg.limit << 2) * 1000 < SMALL
        assert leg._permille == 4000
