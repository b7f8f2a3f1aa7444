"""Legs and total: who is shed or tripped, who comes back and when. The bookkeeper of
`host_tests/fakes/house.py` looks at every window of every test here."""

from __future__ import annotations

import math
from typing import Any

import pytest

from firmware.protection.dispatch import _NEVER as NEVER
from firmware.protection.dispatch import _RESTARTS as RESTARTS
from firmware.protection.dispatch import _ROOM as ROOM
from host_tests.fakes.house import NAMES, SCANS_PER_S, SMALL, TAU_S, House, N

BED1 = NAMES.index("bed1")
BED240 = NAMES.index("bed240")


def curve_s(load: float, limit: float) -> float:
    """When the curve of a limit acts on a constant load from cold, s."""
    r2 = (load / limit / 1.05) ** 2
    return TAU_S * math.log(r2 / (r2 - 1))


# -- shedding ---------------------------------------------------------------------------------


def test_up_to_the_limits_nothing_happens() -> None:
    house = House(cycles=20)
    house.amps.update(cabin1=20, cabin2=20, bed1=20, bed2=20)
    house.run(7200)
    assert house.log == []


def test_a_supply_at_the_top_of_its_range_is_no_overload() -> None:
    """40 A at 252 V, 5 % above nominal (ANSI C84.1): 10.08 kW is the pick-up, not above it."""
    house = House(cycles=20)
    house.amps.update(bed240=42)  # 42 A x 240 V is 40 A x 252 V
    house.run(7200)
    assert house.log == []


@pytest.mark.parametrize(("bed240", "bed1"), [(11, 19), (20, 17), (6, 19.5)])
def test_a_leg_sheds_its_least_important_by_its_curve(bed240: float, bed1: float) -> None:
    house = House()
    house.amps.update(cabin1=19, bed1=bed1, bed240=bed240)
    assert house.until_open(400) == ["bed1"]
    assert house.s == pytest.approx(curve_s(19 + bed1 + bed240, 40), rel=0.02)
    house.run(100)
    assert house.names("shed") == ["bed1"]


def test_the_total_sheds_by_the_same_curve() -> None:
    house = House(leg_a=60)
    house.amps.update(cabin1=16, cabin2=16, bed1=16, bed2=16, bed240=14)
    assert house.until_open(400) == ["bed2"]
    assert house.s == pytest.approx(curve_s(64 * 120 + 14 * 240, 9600), rel=0.02)
    assert house.dispatch.shed_by_total == 1 << NAMES.index("bed2")


@pytest.mark.parametrize("residual", [0, 1, 2, 3])
def test_the_current_of_an_opening_relay_takes_no_other_along(residual: int) -> None:
    """The contact opens up to a cycle after the decision, and the sums show that."""
    house = House(min_off_s=1800)
    house.residual = residual
    house.amps.update(cabin1=19, bed1=19, bed240=17)
    house.run(150)
    assert house.names("shed") == ["bed1"]
    house = House(min_off_s=1800, leg_a=60)
    house.residual = residual
    house.amps.update(bed1=20, bed2=20, bed240=25)  # 10.8 kW
    house.run(400)
    assert house.names("shed") == ["bed2"]


def test_the_least_important_that_suffice_and_none_in_vain() -> None:
    house = House(priorities=(1, 2, 4, 9, 3))
    house.amps.update(cabin2=20, bed2=1, bed240=27)  # L2: 8 A too much
    assert house.until_open(200) == ["bed240"], "bed2's 1 A would not do, so it stays"
    house = House(priorities=(1, 2, 8, 9, 3))
    house.amps.update(cabin1=20, bed1=6, bed240=20, bed2=3)  # L1 46 A, L2 23 A
    assert house.until_open(400) == ["bed1"], "bed2 is on the other leg"


def test_of_two_sets_the_one_with_the_less_important_second_goes() -> None:
    """12 A too much: 10 A of bed240 must go, and then bed1's 3 A do as well as cabin1's 5."""
    house = House(priorities=(8, 2, 9, 5, 7), leg_a=20)
    house.amps.update(cabin1=5, bed1=3, bed240=10)
    house.amps.update(cabin1=9, bed1=8, bed240=12)  # 29 A: 9 too much, bed1's 8 do not do
    assert sorted(house.until_open(100)) == ["cabin1"]


def test_of_equals_the_later_in_the_table_goes_first() -> None:
    house = House(priorities=(5, 5, 5, 5, 5))
    house.amps.update(cabin1=19, bed1=19, bed240=15)
    assert house.until_open(200) == ["bed240"]


def test_a_240_v_outlet_counts_on_both_legs() -> None:
    house = House(priorities=(1, 2, 3, 4, 9))
    house.amps.update(cabin1=20, cabin2=20, bed240=30)
    assert house.until_open(200) == ["bed240"]


def test_one_outlet_that_relieves_both_legs_is_enough() -> None:
    """Each leg by itself would have taken its own least important one."""
    house = House(priorities=(1, 2, 4, 5, 9))
    house.amps.update(cabin1=20, bed1=15, cabin2=20, bed2=15, bed240=12)
    assert house.until_open(400) == ["bed240"]
    house.run(10)
    assert house.names("shed") == ["bed240"]


def test_both_legs_over_at_once_are_both_relieved_at_once() -> None:
    """What one leg sheds is of no use to the other."""
    house = House()
    house.amps.update(cabin1=20, bed1=19, cabin2=20, bed2=19, bed240=12)
    assert sorted(house.until_open(200)) == ["bed1", "bed2"]
    house.run(30)
    assert sorted(house.names("shed")) == ["bed1", "bed2"]


def test_next_to_nothing_stays_on() -> None:
    """A charger of 0.2 A cannot make room worth having, though the leg is hot and 0.2 A above."""
    house = House(priorities=(1, 2, 9, 8, 3), min_off_s=1800)
    house.amps.update(cabin1=20, bed240=20, bed1=0.2)
    house.preheat(1.002)
    house.run(10)
    assert house.log == []
    house.amps.update(cabin1=26)
    house.run(60)
    assert house.names("shed") == ["bed240"]


def test_a_reversed_transformer_is_a_load_all_the_same() -> None:
    house = House(leg_a=60, min_off_s=1800)
    house.amps.update(bed1=20, bed2=20, bed240=-30)
    assert house.until_open(200)
    house.run(30)
    drawn = {
        name: abs(house.drew.get(name, 0)) * (240 if name == "bed240" else 120) for name in NAMES
    }
    assert sum(drawn.values()) <= 9600
    i = NAMES.index(house.names("shed")[0])
    assert house.dispatch.demand(i, house.dispatch.total) > 2000


def test_a_welded_outlet_loads_its_leg_although_it_is_off() -> None:
    """On a board without contactor its current goes on, and the others have to make room."""
    house = House()
    house.on.discard("bed1")
    house._late["bed1"] = 10**9
    house.dispatch.stuck_mask = 1 << BED1
    house.checking = False  # the bookkeeper knows no weld
    house.amps.update(bed1=20, cabin1=18, bed240=16)
    assert house.until_open(200) == ["bed240"]


# -- the hard limit ---------------------------------------------------------------------------


def test_the_hard_limit_sheds_all_at_once_after_two_seconds() -> None:
    house = House()
    house.amps.update(cabin1=20, bed1=20, bed240=25)
    house.run(1.9)
    assert house.log == []
    assert house.until_open(0.2) == ["bed240"], "25 A too much: bed1's 20 A would not do"
    house = House(leg_a=20)
    house.amps.update(cabin1=12, bed1=10, bed240=11, cabin2=15, bed2=10)
    assert sorted(house.until_open(2.1)) == ["bed1", "bed2", "bed240"]


def test_the_hard_limit_sees_time_in_merged_windows() -> None:
    """A control lane that was late gets its windows in one piece: they count in full."""
    house = House(cycles=30)
    house.amps.update(cabin1=20, bed1=20, bed240=25)
    house.run(2.6)
    assert house.names("shed") == ["bed240"] and house.s == pytest.approx(2.5, abs=0.6)


@pytest.mark.parametrize("start_s", [0.57, 1.8])
def test_starts_hold(start_s: float) -> None:
    """A refrigerator's takes 0.57 s, that of a saw under load well over a second."""
    house = House()
    for _ in range(20):
        house.amps.update(cabin1=20, bed1=90)
        house.run(start_s)
        house.amps.update(bed1=5)
        house.run(40)
    assert house.log == []


# -- overloads of one outlet ------------------------------------------------------------------


@pytest.mark.parametrize("amps", [45, 50, 58])
def test_who_passes_a_limit_alone_trips_by_the_curve(amps: float) -> None:
    """Shed, it would come back to an idle leg and pass it again, six times an hour."""
    house = House()
    house.amps.update(bed240=amps)
    assert house.until_open(500) == ["bed240"]
    assert house.tripped == {"bed240"}
    assert house.s == pytest.approx(curve_s(amps, 40), rel=0.02)


def test_its_neighbours_stay_on_however_little_they_matter() -> None:
    house = House(priorities=(9, 8, 7, 6, 1))
    house.amps.update(bed240=46, cabin1=6, bed2=5)
    assert house.until_open(300) == ["bed240"] and house.tripped == {"bed240"}
    house.run(60)
    assert len(house.log) == 1


def test_who_draws_more_than_twice_its_rating_trips_at_the_hard_limit() -> None:
    house = House(priorities=(1, 2, 9, 4, 3))
    house.amps.update(cabin1=41, bed1=20)
    assert house.until_open(2.2) == ["cabin1"] and house.tripped == {"cabin1"}


def test_a_start_at_the_wrong_moment_is_shed_and_not_tripped() -> None:
    """The leg is about to ask, and a saw starts: its 90 A are no fault of its own."""
    house = House()
    house.amps.update(cabin1=20, bed240=21, bed1=0)
    house.run(600)  # 41 A: 95 % of the trip heat
    house.amps.update(cabin1=20, bed240=30)
    house.run(20)
    house.amps.update(bed1=90)
    house.run(1)
    house.amps.update(bed1=5)
    house.run(100)
    assert house.tripped == set() and house.names("shed")


def test_a_limit_below_what_flows_protects_by_its_curve_and_does_not_chatter() -> None:
    house = House(cycles=20)
    house.amps.update(bed1=15)
    house.run(60)
    house.leg_a = 10
    house.configure()
    start = house.s
    assert house.until_open(200) == ["bed1"]
    assert house.s - start > 1.6
    house.run(7200)
    assert [what for _, what, _ in house.log] == ["trip"]
    house = House(cycles=20)  # and of two that fit one by one, one is shed, and stays so
    house.amps.update(bed1=8, cabin1=7)
    house.run(60)
    house.leg_a = 10
    house.configure()
    house.run(7200)
    assert [x[1:] for x in house.log] == [("shed", "bed1")]


# -- coming back ------------------------------------------------------------------------------


def shed_two(**how: Any) -> House:
    """bed1 and bed2 shed for the total; what is left needs 3720 of 4000 W."""
    house = House(leg_a=60, total_w=4000, **how)
    house.amps.update(cabin1=16, bed1=16, bed2=15, cabin2=15)
    house.run(5)
    house.run(60)
    assert sorted(house.names("shed")) == ["bed1", "bed2"]
    house.log.clear()
    return house


def test_outlets_come_back_one_at_a_time_and_in_order() -> None:
    house = shed_two(restore_s=20)
    house.run(100)
    assert house.log == [], "there is no room"
    house.amps.update(cabin1=0, cabin2=0)
    start = house.s
    house.run(100)
    assert [x[1:] for x in house.log] == [("restore", "bed1"), ("restore", "bed2")]
    assert house.log[0][0] - start == pytest.approx(20, abs=0.3)
    assert house.log[1][0] - house.log[0][0] >= 20


def test_room_must_last_and_must_hold_the_margin() -> None:
    house = shed_two(restore_s=20, margin_w=500)
    for _ in range(10):
        house.amps.update(cabin1=0)
        house.run(15)
        house.amps.update(cabin1=16)
        house.run(2)
    assert house.log == []
    house.amps.update(cabin1=0, cabin2=15)  # 1800 + 1800 (bed2) + 500 > 4000
    house.run(60)
    assert house.log == []


def test_a_single_cycle_without_room_is_a_break() -> None:
    house = shed_two(restore_s=20)
    house.amps["cabin1"] = 0
    for _ in range(10):
        house.run(7.77)
        house.amps["cabin1"] = 16
        house.window()
        house.amps["cabin1"] = 0
    assert house.log == []
    house.run(21)
    assert house.names("restore") == ["bed1"]


def test_a_compressor_gets_its_pause() -> None:
    house = shed_two(restore_s=10, min_off_s=180)
    house.amps.update(cabin1=0, cabin2=0)
    since = dict(house.shed)
    house.run(300)
    assert house.log[0][0] - since["bed1"] == pytest.approx(180, abs=1)
    assert house.names("restore") == ["bed1", "bed2"]


def waiting(**how: Any) -> House:
    """bed1 (12 A) and bed240 (9 A, less important) are shed, cabin1 takes 25 A of a leg of 30."""
    how = {"restore_s": 20, **how}
    house = House(leg_a=30, priorities=(1, 2, 3, 4, 5), **how)
    house.amps.update(cabin1=25, bed1=12, bed240=9)
    house.run(3)  # beyond the hard limit
    assert set(house.shed) == {"bed1", "bed240"}
    house.log.clear()
    return house


def test_a_small_one_passes_an_important_one_that_does_not_fit() -> None:
    house = waiting()
    house.amps["cabin1"] = 18  # room for 12 A: not for 12 and the margin
    start = house.s
    house.run(100)
    assert [x[1:] for x in house.log] == [("restore", "bed240")]
    assert house.log[0][0] - start == pytest.approx(20, abs=0.3)


def test_who_has_passed_makes_room_when_that_is_enough() -> None:
    house = waiting()
    house.amps["cabin1"] = 18
    house.run(60)
    house.amps["cabin1"] = 15  # bed1 would fit, but for bed240
    start = house.s
    house.run(200)
    assert [x[1:] for x in house.log] == [
        ("restore", "bed240"),
        ("shed", "bed240"),
        ("restore", "bed1"),
    ]
    assert house.log[1][0] - start == pytest.approx(20, abs=0.5)
    assert house.log[2][0] - start == pytest.approx(40, abs=0.9)
    assert house.dispatch.waits(BED240) == ROOM


def test_of_those_that_have_passed_no_more_go_than_needed() -> None:
    """480 W would not do, 600 W do: bed2 need not go, though it matters least."""
    house = House(leg_a=60, total_w=4000, priorities=(1, 4, 2, 5, 9), restore_s=10)
    house.amps.update(cabin1=30, bed1=14, cabin2=5, bed2=4)
    house.run(3)
    assert set(house.shed) == {"bed1", "cabin2", "bed2"}
    house.amps["cabin1"] = 2200 / 120
    house.run(40)
    assert house.names("restore") == ["cabin2", "bed2"]
    house.amps["cabin1"] = 1630 / 120
    house.log.clear()
    house.run(40)
    assert [x[1:] for x in house.log] == [("shed", "cabin2"), ("restore", "bed1")]
    assert house.dispatch.shed_by_total == 1 << NAMES.index("cabin2")


def test_who_was_switched_on_by_its_owner_does_not_make_room() -> None:
    house = waiting()
    house.amps["cabin1"] = 18
    house.close("bed240")
    house.amps["cabin1"] = 15
    house.run(300)
    assert house.log == []


def test_nobody_makes_room_for_one_that_may_not_come_back() -> None:
    house = waiting(min_off_s=600)
    house.amps["cabin1"] = 18
    house.dispatch.configure([1, 2, 3, 4, 5], 30_000, 9600, 20, 0, 200)
    house.min_off_s = 0
    house.run(60)
    house.min_off_s = 600
    house.configure()
    house.amps["cabin1"] = 15
    house.run(300)
    assert house.names("shed") == []
    house.run(300)
    assert house.names("shed") == ["bed240"]


def test_a_restore_that_is_refused_costs_no_restart_and_lets_others_try() -> None:
    """The controller may refuse (still hot, no supply)."""
    house = shed_two(restore_s=10)
    d = house.dispatch
    asked = []
    for _ in range(60 * 60):
        d.set_loads(N, [0] * 5, [0] * 5, house.bank.block)
        d.decide(N, 0, 0)
        back = d.restorable(N)
        if back >= 0:
            asked.append(NAMES[back])
            d.note_refused(back)
    assert set(asked) == {"bed1", "bed2"} and len(asked) < 15
    assert d.restarts(BED1) == 0


def test_restarts_are_capped_within_any_hour() -> None:
    """A load that is over the limit each time it has run for a while: six times and no more, and
    one more for each that is over an hour ago."""
    house = House(restore_s=10, leg_a=20, cycles=6)
    house.amps.update(cabin1=15)

    def late(s: float) -> float:
        came = [x[0] for x in house.log if x[1] == "restore"]
        return 1 if came and s - came[-1] < 30 else 9

    house.amps["bed1"] = late
    start = house.s
    while house.s - start < 3000:
        if "bed1" in house.shed:  # the worst estimate
            house.know("bed1", 0)
        house.window()
    assert house.names("restore") == ["bed1"] * 6
    assert house.dispatch.waits(BED1) == RESTARTS
    first = next(x[0] for x in house.log if x[1] == "restore")
    house.amps["bed1"] = 0
    house.run(5000)
    seventh = [x[0] for x in house.log if x[1] == "restore"][6]
    assert 3600 <= seventh - first < 4300


def test_without_restarts_it_stays_off() -> None:
    house = shed_two(restore_s=10, restarts=0, cycles=6)
    house.amps.update(cabin1=0, cabin2=0)
    house.run(4000)
    assert house.log == [] and house.dispatch.waits(BED1) == RESTARTS


def test_a_load_shed_at_once_is_not_forgotten() -> None:
    """Shed by the hard limit after 2 s, it must not be let in again beside the same load."""
    house = House(restore_s=10)
    house.amps.update(cabin1=20, bed240=15, bed1=30)
    house.run(3)
    assert house.names("shed") == ["bed1"]
    house.run(600)
    assert len(house.log) == 1


def test_a_load_as_big_as_the_limit_returns_to_an_idle_leg() -> None:
    house = House(restore_s=10, priorities=(1, 2, 3, 4, 9))
    house.amps.update(bed240=40, cabin1=10)
    assert house.until_open(200) == ["bed240"]
    house.run(100)
    assert "bed240" not in house.on
    house.amps.update(cabin1=0.2)
    house.run(15)
    assert "bed240" in house.on


def test_what_can_never_fit_says_so_and_stays() -> None:
    house = House(restore_s=10, cycles=6)
    house.amps.update(cabin1=20, bed1=18, bed240=10)
    assert house.until_open(200) == ["bed1"]
    assert house.dispatch.waits(BED1) == ROOM
    house.leg_a = 15
    house.configure()
    house.amps.update(cabin1=0, bed240=0)
    assert house.dispatch.waits(BED1) == NEVER
    house.run(600)
    assert house.names("restore") == []
    house.leg_a = 20
    house.configure()
    house.run(15)
    assert house.names("restore") == ["bed1"]


# -- demand -----------------------------------------------------------------------------------


def demand(house: House, i: int = BED1) -> float:
    return float(house.dispatch.demand(i, house.dispatch.legs[0])) / 1000


def test_an_inrush_is_not_a_demand() -> None:
    """A saw starts with 110 A for 0.3 s and runs at 12 A; a refrigerator with 16 x for 0.57 s."""
    house = House()
    house.amps.update(cabin1=20)
    for start_s, start, amps in ((0.3, 110, 12), (0.57, 24, 1.5), (1.8, 60, 9)):
        house.close("bed1")
        house.know("bed1", 0)
        for _ in range(10):
            house.amps["bed1"] = start
            house.run(start_s)
            house.amps["bed1"] = amps
            house.run(7.3)
        assert demand(house) == pytest.approx(amps, rel=0.01)
        house.open("bed1")
        house.run(5)
        assert demand(house) == pytest.approx(amps, rel=0.01), "known when it is off"


def test_a_demand_is_known_within_seconds() -> None:
    house = House()
    house.close("bed1")
    house.amps["bed1"] = 13
    house.run(4.1)
    assert demand(house) == 13


def test_a_duty_cycle_keeps_its_peak_and_an_old_load_is_forgotten() -> None:
    """A refrigerator runs for 10 of 25 minutes; what was plugged in before it was bigger."""
    house = House(cycles=6)
    house.close("bed1")
    house.amps["bed1"] = 15
    house.run(300)
    house.amps["bed1"] = lambda s: 6 if s % 1500 < 600 else 0.1
    house.run(1200)
    assert demand(house) == 15
    house.run(3000)
    for _ in range(20):
        house.run(293)
        assert demand(house) == 6


def test_a_second_use_forgets_the_first() -> None:
    house = House()
    for amps, known in ((18, 18), (5, 18), (5, 5), (0, 5), (0, 5)):
        house.close("bed1")
        house.amps["bed1"] = amps
        house.run(10)
        assert demand(house) == known
        house.open("bed1")
        house.run(5)


# -- admission --------------------------------------------------------------------------------


def test_admission_goes_by_the_last_demand_and_force_by_the_hard_limit() -> None:
    house = House()
    house.amps.update(cabin1=20, bed1=18, bed240=1)
    house.run(10)
    d = house.dispatch
    house.open("bed1")
    house.amps["bed240"] = 10
    house.run(1)
    assert d.refuses(BED1, False) is d.legs[0], "30 and 18 A"
    assert d.refuses(BED1, True) is None
    house.amps["bed240"] = 24
    house.run(1)
    assert d.refuses(BED1, True) is d.legs[0], "44 and 18 A are above 60 A"
    house.amps["bed240"] = 1
    house.run(1)
    assert d.refuses(BED1, False) is None


def test_what_would_pass_a_limit_alone_is_not_admitted_to_an_idle_leg() -> None:
    house = House(leg_a=15)
    house.on.clear()
    house.know("bed1", 18)
    house.run(0.1)
    d = house.dispatch
    assert d.refuses(BED1, False) is d.legs[0] and d.refuses(BED1, True) is None
    house.know("bed1", 15.5)
    assert d.refuses(BED1, False) is None


def test_what_nobody_knows_is_admitted_below_the_limit() -> None:
    house = House()
    house.on.discard("bed1")
    house.amps.update(cabin1=20, bed240=19)
    house.run(3)
    assert demand(house) == 0 and house.dispatch.refuses(BED1, False) is None
    house.amps["bed240"] = 21
    house.run(1)
    assert house.dispatch.refuses(BED1, False) is house.dispatch.legs[0]


def test_an_inrush_next_door_bars_nobody_and_a_demand_to_come_does() -> None:
    house = House()
    house.on -= {"bed1", "bed240"}
    house.amps.update(cabin1=10, bed1=12)
    d = house.dispatch
    house.know("bed1", 12)
    house.know("bed240", 15)
    house.run(1)
    house.close("bed1")
    assert d.refuses(BED240, False) is None, "10 + 12 + 15"
    house.amps["bed1"] = 90
    house.run(0.3)
    assert d.refuses(BED240, False) is None, "its 90 A are its start"
    house.know("bed240", 19)
    house.amps["bed1"] = 0
    house.run(0.3)
    assert d.refuses(BED240, False) is d.legs[0], "its 12 A will come: 10 + 12 + 19"
    house.run(4)
    assert d.refuses(BED240, False) is None, "or not: it rests, as a refrigerator does"


# -- extremes ---------------------------------------------------------------------------------


def test_clipped_sensors_on_a_whole_leg_stay_small_ints() -> None:
    house = House()
    house.checking = False
    house.amps.update(cabin1=330, bed1=330, bed240=660)
    house.run(3)
    for leg in house.dispatch.legs:
        assert min(leg.load, leg.limit << 2) * 1000 < SMALL
    assert house.tripped == {"cabin1", "bed1", "bed240"}


def test_clocks_do_not_run_over() -> None:
    """Shed for days, and a load beyond the hard limit that nobody can shed."""
    house = House()
    d = house.dispatch
    d.note_shed(BED1)
    d.stuck_mask = 1 << BED240
    amps, watts = [0, 0, 0, 0, 90_000], [0, 0, 0, 0, 21_600]
    for _ in range(400):
        d.set_loads(64, amps, watts, house.bank.block, 60_000)
        d.decide(64 * 60_000, 0, 0)
        d.restorable(64 * 60_000)
    assert max(abs(x) for x in d._state) < SMALL
    assert all(limit._over < SMALL for limit in d.limits)
    assert d.off_s(BED1) > 2 * 86_400 and d.waits(BED1) == ROOM
    assert SCANS_PER_S * 3600 * 3 < SMALL
