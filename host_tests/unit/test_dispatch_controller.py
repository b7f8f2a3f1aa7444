"""The dispatcher inside the controller: real metering, state machine, settings and journal, in
virtual time (host_tests/fakes/rig.py)."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest

from firmware import report
from firmware.interfaces import screens
from host_tests.fakes.fake_console_app import FakeApp
from host_tests.fakes.house import TAU_S
from host_tests.fakes.rig import Rig, WindowRig, events

NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
QUICK = {"shed.restore_s": 10, "shed.min_off_s": 0}


def on(rig: WindowRig, **amps: float) -> WindowRig:
    for name in amps:
        assert rig.do("on", name) == ""
    rig.load.update(amps)
    return rig


def preheat(rig: WindowRig, permille: int) -> None:
    """Legs and total as after a long time at such a load."""
    for limit in rig.controller.dispatch.limits:
        limit.thermal.set_permille(permille)


def outlet_curve_s(amps: float, tau: float = 120.0, rating: float = 40.0) -> float:
    r2 = (amps / rating / 1.05) ** 2
    return tau * math.log(r2 / (r2 - 1))


# -- what has been cut just now -----------------------------------------------------------------


def test_the_current_of_a_short_circuit_is_no_load_for_the_next_outlet() -> None:
    rig = on(WindowRig(), bed1=150)
    rig.until(lambda: not rig.coil("bed1"), 3)
    assert rig.state("bed1") == "tripped" and rig.controller.amps_ma[2] > 40_000
    assert rig.do("on", "cabin1") == ""


def test_a_load_switched_off_makes_room_at_once() -> None:
    rig = on(WindowRig(), bed240=30)
    rig.run(4)
    rig.load["cabin1"] = 20
    assert rig.do("off", "bed240") == ""
    assert rig.do("on", "cabin1") == ""


# -- who acts first ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tau"), [("standard", 120), ("fast", 40)])
@pytest.mark.parametrize("amps", [44, 50, 58])
def test_an_outlet_as_large_as_its_leg_trips_by_its_own_curve(
    amps: float, kind: str, tau: float
) -> None:
    rig = on(WindowRig(settings={"bed240.trip_class": kind}), bed240=amps)
    took = rig.until(lambda: not rig.coil("bed240"), 400)
    assert (rig.state("bed240"), rig.reason("bed240")) == ("tripped", "thermal")
    assert took == pytest.approx(outlet_curve_s(amps, tau), rel=0.03)


def test_a_slower_class_does_not_make_its_leg_slower() -> None:
    rig = on(WindowRig(settings={"bed240.trip_class": "slow"}), bed240=50)
    took = rig.until(lambda: not rig.coil("bed240"), 400)
    assert rig.state("bed240") == "tripped" and rig.reason("bed240") in ("leg", "total")
    assert took == pytest.approx(outlet_curve_s(50, TAU_S), rel=0.03)


def test_a_faulty_outlet_trips_before_a_sound_one_is_shed() -> None:
    """130 A on a 20 A outlet: its short-time stage (0.5 s) comes before the leg's hard limit."""
    rig = on(WindowRig(), cabin1=20, bed2=10)
    rig.do("on", "bed1")
    rig.load["bed1"] = 130
    took = rig.until(lambda: not rig.coil("bed1"), 1)
    assert took == pytest.approx(0.5, abs=0.06) and rig.reason("bed1") == "short_time"
    assert rig.state("cabin1") == "on" and rig.state("bed2") == "on"


def test_above_the_hard_limit_it_takes_two_seconds() -> None:
    rig = on(WindowRig(), cabin1=20, bed1=20, bed240=25)
    took = rig.until(lambda: rig.state("bed240") == "shed", 3)
    assert took == pytest.approx(2, abs=0.1)
    rig.run(1)
    assert [rig.state(x) for x in ("cabin1", "bed1")] == ["on", "on"]


# -- hours ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("period", "seconds"), [(3, 900), (47, 3900)])
def test_a_load_that_swings_around_the_limit_for_an_hour(period: int, seconds: int) -> None:
    """37 to 49 A on one leg. The journal tells how often a relay moved."""
    rig = on(WindowRig(settings=QUICK | {"shed.restarts": 3}), cabin1=20, bed1=13, bed240=4)
    start = rig.t_us
    while rig.t_us - start < seconds * 1e6:
        rig.load["bed240"] = 16 if rig.t_us // (period * 500_000) % 2 else 4
        rig.window()
    log = rig.log()
    moved = [line for line in log if "shed" in line or "restored" in line]
    assert 1 <= len(moved) <= 7, log
    assert {line.split()[0] for line in moved} == {"bed1"}
    assert not any("tripped" in line for line in log)


def test_restarts_run_out_and_it_says_so() -> None:
    """bed1 is idle when it is let in and takes 30 A a minute later, three times."""
    rig = on(WindowRig(settings=QUICK | {"shed.restarts": 2}), cabin1=24, bed1=19)
    for _ in range(3):
        preheat(rig, 990)
        rig.until(lambda: rig.state("bed1") == "shed", 60)
        rig.load["cabin1"] = 1
        if rig.log().count("bed1 restored leg") < 2:
            rig.until(lambda: rig.state("bed1") == "on", 30)
        rig.load["cabin1"] = 24
    rig.load["cabin1"] = 0
    rig.run(120)
    assert rig.state("bed1") == "shed"
    said = rig.do("on", "bed1")
    assert "2 times within the hour" in said and "--force" in said
    assert rig.do("on", "bed1", force=True) == ""
    assert rig.log()[-2:] == ["bed1 off command", "bed1 on command"]


# -- admission --------------------------------------------------------------------------------


def test_a_refusal_has_the_numbers() -> None:
    rig = on(WindowRig(), cabin1=19, bed1=18)
    rig.run(10)
    rig.do("off", "bed1")
    on(rig, bed240=10)
    rig.run(1)
    said = rig.do("on", "bed1")
    assert said == (
        "needs 18.0 A as when last on, and leg l1 carries 29.0 A of 40.0 A (--force tries)"
    )
    rig.load["bed240"] = 30
    rig.run(1)
    said = rig.do("on", "bed1", force=True)
    assert said.startswith("needs 18.0 A")
    assert said.endswith("its hard limit is 60.0 A, and nothing overrides that")
    assert rig.coil("bed1") == 0
    rig.load["bed240"] = 20
    rig.run(1)
    assert rig.do("on", "bed1", force=True) == ""
    assert rig.log()[-3:] == ["bed1 refused admission"] * 2 + ["bed1 on command"]


def test_the_total_has_its_numbers_in_watts() -> None:
    rig = on(WindowRig(settings={"total.limit_w": 3000}), cabin1=10, bed1=10)
    rig.run(10)
    rig.do("off", "bed1")
    on(rig, cabin2=8)
    rig.run(1)
    said = rig.do("on", "bed1")
    match = re.match(
        r"needs (\d+) W as when last on, and the total carries (\d+) W of 3000 W", said
    )
    assert match, said
    assert [int(x) for x in match.groups()] == pytest.approx([1200, 2160], rel=0.01)


def test_what_a_shed_outlet_waits_for() -> None:
    rig = on(
        WindowRig(settings={"shed.restore_s": 10, "shed.min_off_s": 100}), cabin1=20, bed240=10
    )
    on(rig, bed1=18)
    rig.run(10)
    preheat(rig, 995)
    rig.until(lambda: rig.state("bed1") == "shed", 60)
    assert "needs 18.0 A" in rig.do("on", "bed1")
    rig.load["bed240"] = 0
    rig.load["cabin1"] = 5
    rig.run(15)
    assert "pause lasts" in rig.do("on", "bed1")
    rig.settings.set("leg.limit_a", 15)
    rig.run(0.1)
    said = rig.do("on", "bed1")
    assert said.startswith("shed: needs 18.0 A as when last on, more than all of leg l1 (15.0 A)")
    assert "cannot come back by itself" in said
    rig.run(300)
    assert rig.state("bed1") == "shed"
    rig.settings.set("leg.limit_a", 40)
    rig.until(lambda: rig.state("bed1") == "on", 12)


def test_a_restored_outlet_that_overloads_alone_trips_and_stays_off() -> None:
    rig = on(WindowRig(settings=QUICK), cabin1=20, bed240=20, bed1=12)
    preheat(rig, 995)
    rig.until(lambda: rig.state("bed1") == "shed", 30)
    rig.load.update(bed240=0, bed1=55)
    rig.until(lambda: rig.state("bed1") == "on", 15)
    rig.until(lambda: rig.state("bed1") == "tripped", 30)
    rig.run(300)
    assert rig.coil("bed1") == 0 and rig.state("cabin1") == "on"


# -- one after another ------------------------------------------------------------------------


def half_seconds(rig: WindowRig, count: int) -> list[str]:
    """As app's storage task does; who was on after each."""
    seen = []
    for _ in range(count):
        rig.controller.close_next()
        rig.run(0.5)
        seen.append(" ".join(x for x in NAMES if rig.coil(x)))
    return seen


def test_on_all_closes_one_after_another_the_most_important_first() -> None:
    rig = WindowRig()
    rig.load.update(cabin1=5, cabin2=5, bed1=5, bed2=5, bed240=5)
    for name in NAMES:
        assert rig.controller.later(rig.index(name), events.BY_CONSOLE) == ""
    assert not any(rig.coil(x) for x in NAMES)
    assert half_seconds(rig, 6) == [
        "cabin1",
        "cabin1 cabin2",
        "cabin1 cabin2 bed240",
        "cabin1 cabin2 bed1 bed240",
        "cabin1 cabin2 bed1 bed2 bed240",
        "cabin1 cabin2 bed1 bed2 bed240",
    ]
    assert [x for x in rig.log() if "refused" in x] == []


def test_what_has_no_room_when_its_turn_comes_is_refused_on_record() -> None:
    rig = on(WindowRig(), bed1=15, bed240=16, cabin1=14)
    rig.run(10)
    for name in ("cabin1", "bed1", "bed240"):
        rig.do("off", name)
    rig.run(1)
    for name in ("cabin1", "bed1", "bed240"):
        assert rig.controller.later(rig.index(name), events.BY_CONSOLE) == ""
    half_seconds(rig, 4)
    assert [rig.state(x) for x in ("cabin1", "bed240", "bed1")] == ["on", "on", "off"]
    assert rig.log()[-1] == "bed1 refused admission"


def test_off_takes_it_out_of_the_queue_and_so_does_a_fault() -> None:
    rig = WindowRig()
    rig.do("on", "cabin2")
    for name in NAMES:
        rig.controller.later(rig.index(name), events.BY_MQTT)
    half_seconds(rig, 1)
    rig.do("off", "bed240")
    rig.do("off", "cabin1")
    rig.load["bed1"] = 0
    rig.broken.add("bed1")
    rig.run(0.2)
    half_seconds(rig, 5)
    assert [rig.state(x) for x in NAMES] == ["off", "on", "fault", "on", "off"]
    assert rig.controller.pending == 0


def test_what_cannot_be_on_is_refused_at_once() -> None:
    rig = WindowRig()
    rig.broken.add("bed1")
    rig.run(1)
    assert "fault" in rig.controller.later(rig.index("bed1"), events.BY_CONSOLE)
    assert rig.controller.pending == 0 and rig.log()[-1].startswith("bed1 refused")


# -- limits that are lowered ------------------------------------------------------------------


def test_a_limit_lowered_below_the_load_warns_and_acts_by_its_curve() -> None:
    rig = on(WindowRig(), cabin1=14, bed1=12, cabin2=5)
    rig.run(60)
    rig.settings.set("leg.limit_a", 20)
    said = rig.controller.warning("leg.limit_a")
    assert said == "leg l1 carries 26.0 A now: what is too much will be shed by the curve"
    assert rig.controller.warning("total.limit_w") == ""
    assert rig.controller.warning("mqtt.host") == ""
    rig.run(5)
    assert rig.state("bed1") == "on", "not at once"
    rig.until(lambda: rig.state("bed1") == "shed", 200)
    rig.run(300)
    assert rig.log().count("bed1 shed leg") == 1 and rig.state("cabin1") == "on"
    rig.settings.set("cabin2.limit_a", 4)
    assert rig.controller.warning("cabin2.limit_a").startswith("5.0 A flow now")
    rig.settings.set("total.limit_w", 2000)
    assert "the total carries" in rig.controller.warning("total.limit_w")


def test_the_words_leave_the_memory_again() -> None:
    import sys

    rig = on(WindowRig(), cabin1=14)
    rig.run(1)
    rig.settings.set("leg.limit_a", 10)
    assert rig.controller.warning("leg.limit_a")
    assert "firmware.admission" not in sys.modules


# -- what people see --------------------------------------------------------------------------


def test_the_answer_to_set_carries_the_warning() -> None:
    app = FakeApp()
    result = app.commands.run("set", ["leg.limit_a", "20"], "console")
    assert result["note"].startswith("leg l1 carries 31.0 A now")
    assert screens.summary("set", result) == f"leg.limit_a = 20 A ({result['note']})"
    result = app.commands.run("set", ["total.limit_w", "5000"], "console")
    assert "note" not in result and screens.summary("set", result) == "total.limit_w = 5000 W"


def test_status_says_what_a_shed_outlet_waits_for() -> None:
    rig = on(WindowRig(), cabin1=20, bed1=18, bed240=23)
    rig.run(3)
    assert rig.state("bed240") == "shed"
    app = SimpleNamespace(controller=rig.controller, board=rig.board)
    row = report.outlet(app, rig.index("bed240"))
    assert (row["state"], row["reason"], row["waits"]) == ("shed", "leg", "no room")
    assert screens._state_word(row) == "shed: no room"
    assert "waits" not in report.outlet(app, rig.index("bed1"))
    rig.load["cabin1"] = 1
    rig.load["bed1"] = 1
    rig.run(1)
    assert report.outlet(app, rig.index("bed240"))["waits"] == "pause"
    rig.settings.set("leg.limit_a", 20)
    assert report.outlet(app, rig.index("bed240"))["waits"] == "never fits"
    rig.settings.set("leg.limit_a", 40)
    rig.settings.set("shed.restarts", 0)
    assert report.outlet(app, rig.index("bed240"))["waits"] == "no restarts"


# -- scan by scan, in the truck ---------------------------------------------------------------


def test_a_machine_that_starts_slowly_beside_a_full_leg_stays_on() -> None:
    rig = Rig()
    for name in ("cabin1", "bed1"):
        rig.do("on", name)
    rig.sim("plug cabin1 resistive amps=20")
    rig.run(0.5)
    rig.sim("plug bed1 resistive amps=60")
    rig.run(1.5)
    rig.sim("unplug bed1")
    rig.sim("plug bed1 resistive amps=11")
    rig.run(1.5)
    assert rig.state("bed1") == "on" and rig.state("cabin1") == "on"
