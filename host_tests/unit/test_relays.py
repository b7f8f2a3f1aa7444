"""Relays: switched at the mains' zero after learning how long they take, counted, found welded;
what a trip above their breaking capacity does, and the ground-fault input in the scan."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st_

from host_tests.fakes import machine
from host_tests.fakes.rig import HostLane, Rig, WindowRig, events, kernel

from firmware import board as boards  # isort: skip
from firmware.protection import relays as r
from firmware.storage.counters import CounterStore

PERIOD = 416
BLOCK = "relay bed1 operate_ms={} release_ms={}"


def off_zero_ms(rig: Rig, t_us: int) -> float:
    """How far from a zero of the voltage an instant lies, ms."""
    assert rig.truck is not None
    part = rig.truck.supply.cycles(t_us) * 2 % 1
    return (part if part < 0.5 else part - 1) * 500 / rig.truck.supply.hz


def word(rig: Rig, name: str, which: int) -> int:
    value: int = rig.controller.switching.relays.block[rig.index(name) * r._R_WORDS + which]
    return value


def contacts(rig: Rig, name: str, closed: bool) -> list[float]:
    """Instants at which the contact has made (or parted), us."""
    assert rig.truck is not None
    return [t for t, who, to in rig.truck.contacts if who == name and to == closed]


def switch(rig: Rig, name: str, times: int) -> None:
    """On and off again, at phases of the mains that have nothing in common."""
    for k in range(times):
        assert rig.do("on", name) == ""
        rig.run(0.1 + k * 0.0017)
        assert rig.do("off", name) == ""
        rig.run(0.11 + k * 0.0023)


# -- the instant ------------------------------------------------------------------------------


@given(
    closes=st_.booleans(),
    where=st_.sampled_from((r._AT_ZERO, r._AT_PEAK)),
    takes=st_.integers(1000, 20_000),
    since=st_.integers(0, 100_000),
    half=st_.sampled_from((8333, 10_000, 7800, 11_000)),
    period=st_.sampled_from((416, 833)),
)
def test_the_contact_follows_at_the_chosen_instant(
    closes: bool, where: int, takes: int, since: int, half: int, period: int
) -> None:
    relays = r.Relays(1, period)
    relays.block[r._R_OPERATE] = takes
    relays.block[r._R_LOW], relays.block[r._R_HIGH] = takes - 1, takes
    relays.block[r._R_WHERE] = where
    scans = relays.wait(0, closes, since, half)
    aim = half // 2 if closes and where == r._AT_PEAK else 0
    miss = (since + scans * period + takes - aim) % half
    assert min(miss, half - miss) <= period // 2 + 1
    assert 3 <= scans <= 5 + half // period, "time enough to plan it, and no half cycle in vain"


@pytest.mark.parametrize(
    ("name", "hz", "operate", "release", "amps"),
    [
        ("bed1", 60, 8, 4, 8),  # as the default
        ("bed1", 50, 14, 9, 12),
        ("bed2", 60, 5, 2.5, 10),  # on L2
        ("cabin1", 50, 11.3, 6.1, 6),
        ("bed240", 60, 17, 11, 18),
    ],
)
def test_contacts_make_and_break_near_the_zero_once_learned(
    name: str, hz: float, operate: float, release: float, amps: float
) -> None:
    rig = Rig(mains_hz=hz)
    rig.sim(f"relay {name} operate_ms={operate} release_ms={release}")
    rig.sim(f"plug {name} resistive amps={amps}")
    switch(rig, name, 8)
    known = len(contacts(rig, name, True))
    switch(rig, name, 7)
    for t_us in contacts(rig, name, True)[known:]:
        assert abs(off_zero_ms(rig, int(t_us))) < 1.0
    for t_us in contacts(rig, name, False)[known:]:
        # A resistive load's current is zero where the voltage is; before it, or it arcs on.
        assert -1.3 < off_zero_ms(rig, int(t_us)) < 0.3
    assert word(rig, name, r._R_OPERATE) == pytest.approx(operate * 1000, abs=700)


def test_a_relay_that_ages_is_followed() -> None:
    rig = Rig()
    rig.sim(BLOCK.format(8, 4))
    rig.sim("plug bed1 resistive amps=10")
    switch(rig, "bed1", 6)
    rig.sim(BLOCK.format(11, 7))
    switch(rig, "bed1", 18)
    known = len(contacts(rig, "bed1", True))
    switch(rig, "bed1", 4)
    assert all(abs(off_zero_ms(rig, int(t))) < 1.0 for t in contacts(rig, "bed1", True)[known:])
    assert all(-1.5 < off_zero_ms(rig, int(t)) < 0.3 for t in contacts(rig, "bed1", False)[known:])


def test_who_is_opened_without_a_command_teaches_nothing() -> None:
    rig = Rig()
    rig.sim("plug bed1 resistive amps=10")
    for wait in (0.018, 0.02, 0.022, 0.2):
        assert rig.do("on", "bed1") == ""
        rig.run(wait)
        rig.controller._shed(4)
        rig.run(0.4)
        assert word(rig, "bed1", r._R_HIGH) == 0
        assert rig.do("off", "bed1") == ""


def test_transformers_are_closed_at_the_peak() -> None:
    rig = Rig(settings={"bed1.switch_at": "peak"})
    rig.sim("plug bed1 resistive amps=10")
    switch(rig, "bed1", 4)
    quarter = 250 / 60
    for t_us in contacts(rig, "bed1", True)[1:]:
        assert abs(abs(off_zero_ms(rig, int(t_us))) - quarter) < 1.0


def test_zero_of_an_inductive_current_is_not_that_of_the_voltage() -> None:
    rig = Rig(seed=2)
    rig.sim("plug bed1 motor amps=14 pf=0.6 inrush=3")
    for _ in range(6):
        assert rig.do("on", "bed1") == ""
        rig.run(1.2)
        assert rig.do("off", "bed1") == ""
        rig.run(0.3)
    assert rig.truck is not None
    circuit = rig.truck.circuit("bed1")
    assert rig.do("on", "bed1") == ""
    rig.run(1.203)
    rig.do("off", "bed1")
    before = len(contacts(rig, "bed1", False))
    parted = 0.0
    while len(contacts(rig, "bed1", False)) == before:
        parted = abs(circuit.amps)
        rig.scan()
    assert parted < 0.5 * 14 * 1.41, "the arc has little to carry"
    assert abs(off_zero_ms(rig, int(contacts(rig, "bed1", False)[-1]))) > 0.8


@pytest.mark.parametrize(
    "settings", [{"relay.zero_cross": "off"}, {"bed1.switch_at": "any"}], ids=["off", "any"]
)
def test_who_wants_no_waiting_has_none(settings: dict[str, Any]) -> None:
    rig = Rig(settings=settings)
    for _ in range(3):
        rig.do("on", "bed1")
        assert rig.coil("bed1") == 1
        rig.run(0.1237)
        rig.do("off", "bed1")
        rig.run(0.12)


def test_without_a_known_rhythm_it_does_not_wait() -> None:
    rig = Rig(settings={"supply.loss_s": 3})
    rig.sim("supply off")
    rig.run(0.3)
    rig.do("on", "bed1")
    assert rig.coil("bed1") == 1
    rig.do("off", "bed1")
    assert rig.coil("bed1") == 0


def test_a_command_waits_no_longer_than_half_a_cycle() -> None:
    rig = Rig(mains_hz=50)
    for k in range(20):
        rig.do("on", "bed1")
        assert rig.until(lambda: rig.coil("bed1") == 1, 0.05) <= 0.0125
        rig.run(0.1 + k * 0.0013)
        rig.do("off", "bed1")
        assert rig.until(lambda: rig.coil("bed1") == 0, 0.05) <= 0.0125
        rig.run(0.1)


def test_five_at_once_each_at_its_own_instant() -> None:
    rig = Rig()
    for k, x in enumerate(rig.board.outlets):
        rig.sim(f"relay {x.name} operate_ms={6 + 2 * k}")
        rig.sim(f"plug {x.name} resistive amps=5")
    rig.sim("plug bed240 resistive amps=6")
    for _ in range(4):
        for x in rig.board.outlets:
            assert rig.do("on", x.name) == ""
        rig.run(0.113)
        assert [rig.state(x.name) for x in rig.board.outlets] == ["on"] * 5
        for x in rig.board.outlets:
            rig.do("off", x.name)
        rig.run(0.121)
        assert not any(rig.coil(x.name) for x in rig.board.outlets)
    for x in rig.board.outlets:
        assert abs(off_zero_ms(rig, int(contacts(rig, x.name, True)[-1]))) < 1.0, x.name


# -- what was planned does not happen ----------------------------------------------------------


def waiting() -> Rig:
    """bed1 told to close, and its coil not driven yet."""
    rig = Rig()
    for _ in range(30):
        assert rig.do("on", "bed1") == ""
        if rig.coil("bed1") == 0:
            c = rig.lane.base(4)
            if rig.lane.st[c + kernel.C_COUNT] > 8:
                return rig
        rig.do("off", "bed1")
        rig.scan()
        rig.scan()
    raise AssertionError("it never waits")


@pytest.mark.parametrize("what", ["off", "trip", "shed", "lease", "fault", "open_all", "ground"])
def test_a_planned_closing_is_cancelled(what: str) -> None:
    rig = waiting()
    c = rig.controller
    outlet = c.outlets[2]
    if what == "off":
        rig.do("off", "bed1")
    elif what == "trip":
        rig.lane.st[kernel.PEAK_TRIPS] |= 4
    elif what == "shed":
        c._shed(4)
    elif what == "lease":
        rig.lane.st[kernel.LEASE] = 0
    elif what == "fault":
        c._move(outlet, 8, events.FAULT, events.SUPPLY, 0, events.BY_CONTROL)
    elif what == "open_all":
        rig.lane.open_all()
    else:
        rig.lane.st[kernel.GROUND_TRIPS] |= 4
    for _ in range(100):
        rig.scan()
        assert rig.coil("bed1") == 0
    assert not rig.lane.st[kernel.BUSY]


def test_a_lease_that_is_taken_up_again_does_not_revive_it() -> None:
    rig = waiting()
    rig.lane.st[kernel.LEASE] = 0
    rig.scan()
    rig.controller._lease_was_lost()
    for _ in range(60):
        rig.scan()
        assert rig.coil("bed1") == 0
    assert rig.state("bed1") == "fault"


def test_a_trip_does_not_wait_for_a_planned_opening() -> None:
    rig = Rig(seed=5)
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.1)
    rig.sim("short bed1")
    while not rig.lane.st[rig.lane.base(4) + kernel.C_OVER]:
        rig.scan()
    rig.lane.open(2, rig.lane.now() + 15)
    rig.scan()
    assert rig.coil("bed1") == 0
    rig.run(0.05)
    assert rig.log()[-1] == "bed1 tripped peak"


def test_off_and_on_again_at_once_ends_closed() -> None:
    rig = Rig()
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.2)
    rig.do("off", "bed1")
    assert rig.coil("bed1") == 1
    assert rig.do("on", "bed1") == ""
    assert rig.coil("bed1") == 0, "off was said first"
    rig.run(0.2)
    assert rig.coil("bed1") == 1 and rig.amps("bed1") == pytest.approx(10, rel=0.02)
    assert rig.do("off", "bed1") == "" and rig.do("off", "bed1") == ""
    assert rig.coil("bed1") == 0, "asked twice: no waiting"


# -- above the breaking capacity ---------------------------------------------------------------

WAIT = {"relay.break_mode": "wait", "relay.wait_ms": 30, "bed1.breaking_a": 100}


def shorted(rig: Rig) -> float:
    """Short-circuit bed1; s until its coil is off, from the second scan above the peak limit."""
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.1)
    rig.sim("short bed1")
    word = rig.lane.base(4) + kernel.C_OVER
    rig.until(lambda: rig.lane.st[word] >= 2 or rig.coil("bed1") == 0, 0.02)
    return rig.until(lambda: rig.coil("bed1") == 0, 0.2)


def test_it_opens_at_once_unless_told_to_wait() -> None:
    assert shorted(Rig(settings={"bed1.breaking_a": 40})) == 0


@pytest.mark.parametrize("alive", [True, False])
def test_it_waits_and_then_opens_whatever_happens(alive: bool) -> None:
    rig = Rig(settings=WAIT)
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.1)
    rig.controlling = alive  # the kernel needs no control lane for it
    rig.sim("short bed1")
    word = rig.lane.base(4) + kernel.C_OVER
    rig.until(lambda: rig.lane.st[word] >= 2, 0.02)
    assert rig.until(lambda: rig.coil("bed1") == 0, 0.2) == pytest.approx(0.03, abs=0.0005)
    rig.controlling = True
    rig.run(0.05)
    assert rig.state("bed1") == "tripped" and rig.reason("bed1") == "peak"
    assert rig.log().count("bed1 tripped peak") == 1


def test_the_breaker_clears_meanwhile_and_the_trip_is_known_with_its_current() -> None:
    rig = Rig(settings=WAIT)
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.1)
    rig.sim("short bed1")
    word = rig.lane.base(4) + kernel.C_OVER
    rig.until(lambda: rig.lane.st[word] >= 3, 0.02)
    rig.sim("supply off")
    rig.run(0.02)
    assert rig.coil("bed1") == 1 and rig.truck is not None
    assert rig.truck.circuit("bed1").amps == 0
    rig.run(0.03)
    assert rig.coil("bed1") == 0 and rig.state("bed1") == "tripped"
    record = [x for x in rig.journal.since(0) if x[1] == events.TRIPPED][-1]
    assert record[3] == events.PEAK and record[4] > 226_000
    assert rig.lane.st[rig.lane.base(4) + kernel.C_MOST] == 0


def test_the_record_has_the_largest_current_of_the_whole_wait() -> None:
    """Its windows are done with when the relay opens after 60 ms: only the kernel still has it."""
    rig = Rig(settings=WAIT | {"relay.wait_ms": 60})
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.1)
    rig.sim("short bed1")
    word = rig.lane.base(4) + kernel.C_OVER
    rig.until(lambda: rig.lane.st[word] >= 2, 0.02)
    rig.run(0.004)
    counts = rig.lane.st[rig.lane.base(4) + kernel.C_MOST]
    assert counts > 1500
    rig.sim("unplug bed1")
    rig.sim("plug bed1 resistive amps=60")
    rig.run(0.1)
    record = [x for x in rig.journal.since(0) if x[1] == events.TRIPPED][-1]
    per_count = rig.controller.outlets[2].meter.unit_per_count
    assert record[3] == events.PEAK and record[4] == pytest.approx(counts * per_count, rel=0.002)
    assert rig.lane.st[rig.lane.base(4) + kernel.C_MOST] == 0


def test_below_the_breaking_capacity_it_does_not_wait() -> None:
    rig = Rig(settings=WAIT | {"bed1.peak_x": 3, "bed1.breaking_a": 140})
    rig.do("on", "bed1")
    rig.run(0.1)
    rig.sim("plug bed1 resistive amps=90")  # 127 A peak: above 85, below 198
    word = rig.lane.base(4) + kernel.C_OVER
    rig.until(lambda: rig.lane.st[word] >= 2, 0.05)
    assert rig.coil("bed1") == 0


def test_during_the_wait_off_opens_and_the_trip_is_still_latched() -> None:
    rig = Rig(settings=WAIT)
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=10")
    rig.run(0.1)
    rig.sim("short bed1")
    rig.until(lambda: rig.lane.st[kernel.WAITING] != 0, 0.02)
    assert rig.coil("bed1") == 1
    rig.do("off", "bed1")
    assert rig.coil("bed1") == 0
    assert "holds its relay open" in rig.do("on", "bed1"), "a trip is on its way"
    rig.run(0.06)
    assert rig.coil("bed1") == 0 and rig.state("bed1") == "tripped"


def test_breaking_capacity_is_bounded_by_what_the_sensor_shows() -> None:
    rig = Rig(boot_s=0.1)
    with pytest.raises(Exception, match=r"bed1.breaking_a: '200' is not allowed .*20 to 157 A"):
        rig.settings.set("bed1.breaking_a", 200)
    with pytest.raises(Exception, match="from 1 to 100 ms"):
        rig.settings.set("relay.wait_ms", 0)
    rig.settings.set("relay.break_mode", "wait")
    rig.settings.set("bed1.breaking_a", 157)
    c = rig.lane.base(4)
    assert rig.lane.st[c + kernel.C_BREAK] == pytest.approx(157 * 1.414 / 250 * 2048, abs=2)
    assert rig.lane.st[c + kernel.C_BREAK] < 4095 - 2248, "seen although the zero is far off"
    rig.settings.set("relay.break_mode", "open")
    assert rig.lane.st[c + kernel.C_BREAK] > 4095


# -- the ground-fault input in the scan --------------------------------------------------------


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostLane, "reads_pins", True)


@pytest.mark.parametrize("level", ["high", "low"])
def test_the_scan_opens_on_a_ground_fault_while_python_stands_still(
    pins: None, level: str
) -> None:
    rig = Rig(boot_s=0)
    fault, good = ("1", "0") if level == "high" else ("0", "1")
    rig.sim(f"gfci {good}")
    rig.settings.set("gfci.input", level)
    rig.settings.set("cabin2.gfci", False)
    rig.run(0.8)
    for name in ("bed1", "bed240", "cabin2"):
        assert rig.do("on", name) == ""
    rig.run(0.2)
    rig.controlling = False
    rig.sim(f"gfci {fault}")
    took = rig.until(lambda: rig.coil("bed1") == 0, 0.1)
    assert took <= 2 * PERIOD * 1e-6 and rig.coil("bed240") == 0 and rig.coil("cabin2") == 1
    rig.sim(f"gfci {good}")  # a pulse that the control lane never sees
    rig.run(0.1)
    rig.controlling = True
    rig.run(0.05)
    for name in ("bed1", "bed240"):
        assert rig.state(name) == "tripped" and rig.reason(name) == "ground_fault"
    assert rig.state("cabin2") == "on" and rig.state("bed2") == "off"
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""
    rig.run(0.1)
    assert rig.state("bed1") == "on" and rig.coil("bed1") == 1


def test_one_scan_is_a_disturbance_and_a_lasting_fault_one_record(pins: None) -> None:
    rig = Rig(settings={"gfci.input": "high"})
    rig.do("on", "bed1")
    rig.run(0.2)
    rig.sim("gfci 1")
    rig.scan()
    rig.sim("gfci 0")
    rig.run(0.05)
    assert rig.state("bed1") == "on" and rig.coil("bed1") == 1
    rig.sim("gfci 1")
    rig.run(0.5)
    assert rig.log().count("bed1 tripped ground_fault") == 1
    assert "cause is still there" in rig.do("reset", "bed1")
    assert rig.do("on", "bed2") != "" and rig.coil("bed2") == 0
    rig.settings.set("gfci.input", "none")
    rig.run(0.05)
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""


# -- welded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("amps", [1.2, 12])
@pytest.mark.parametrize("how", ["off", "shed", "thermal"])
def test_a_weld_is_found_within_ten_cycles_of_the_command(how: str, amps: float) -> None:
    rig = Rig()
    rig.do("on", "bed1")
    rig.sim(f"plug bed1 resistive amps={amps}")
    rig.run(0.3)
    rig.sim("weld bed1")
    c = rig.controller
    outlet = c.outlets[2]
    if how == "off":
        rig.do("off", "bed1")
    elif how == "shed":
        c._shed(4)
    else:
        c._trip(outlet, events.THERMAL, 12_000, events.BY_CONTROL)
    took = rig.until(lambda: rig.coil("contactor") == 0, 0.5)
    assert took <= 11.5 / 60 + 0.01
    rig.run(0.1)
    assert rig.amps("bed1") == 0
    assert rig.state("bed1") == "fault" and rig.reason("bed1") == "welded"
    assert "relay is welded" in rig.do("on", "cabin1")


def test_a_slow_relay_that_arcs_is_not_welded() -> None:
    """20 ms, the slowest there is, and its arc to the next zero."""
    rig = Rig(mains_hz=50)
    rig.sim("relay bed1 release_ms=20")
    rig.sim("plug bed1 resistive amps=18")
    for k in range(12):
        assert rig.do("on", "bed1") == ""
        rig.run(0.15 + 0.0037 * k)
        rig.do("off", "bed1")
        rig.run(0.4)
    assert rig.coil("contactor") and not any("welded" in x for x in rig.log())


def test_a_relay_welded_before_the_start_is_found_when_the_contactor_closes() -> None:
    rig = Rig(boot_s=0)
    rig.sim("plug bed1 resistive amps=2")
    rig.sim("weld bed1")
    rig.until(lambda: rig.coil("contactor") == 1, 2)
    took = rig.until(lambda: rig.coil("contactor") == 0, 1)
    assert took <= 0.02 + 8 / 60
    assert rig.state("bed1") == "fault" and rig.reason("bed1") == "welded"
    for x in rig.board.outlets:
        assert rig.do("on", x.name) != "" and rig.coil(x.name) == 0


def test_without_a_contactor_it_is_reported_at_the_start_and_nothing_closes_behind_it() -> None:
    board = copy.copy(boards.load("simulated"))
    board.contactor = None
    rig = Rig(board, boot_s=0)
    rig.sim("plug bed1 resistive amps=2")
    rig.sim("weld bed1")
    rig.run(1.5)
    assert rig.state("bed1") == "fault" and rig.reason("bed1") == "welded"
    assert rig.log().count("bed1 fault welded") == 1
    assert rig.do("on", "bed1") != "" and rig.coil("bed1") == 0


# -- wear --------------------------------------------------------------------------------------


def test_operations_and_load_breaks_are_counted() -> None:
    rig = Rig()
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=1.5")
    rig.run(0.3)
    rig.do("off", "bed1")
    rig.run(0.3)
    assert word(rig, "bed1", r._R_OPS) == 1
    assert word(rig, "bed1", r._R_BREAKS) == 0, "1.5 A of 20 is no load"
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=12")
    rig.run(0.3)
    rig.do("off", "bed1")
    rig.run(0.3)
    assert word(rig, "bed1", r._R_OPS) == 2 and word(rig, "bed1", r._R_BREAKS) == 1
    assert word(rig, "bed1", r._R_MOST) == pytest.approx(13_500, rel=0.02)
    rig.do("on", "bed1")
    rig.run(0.2)
    rig.sim("short bed1")
    rig.run(0.1)
    assert word(rig, "bed1", r._R_OPS) == 3 and word(rig, "bed1", r._R_BREAKS) == 2
    assert word(rig, "bed1", r._R_MOST) > 150_000
    assert rig.controller.switching.relays.dirty
    assert word(rig, "bed2", r._R_OPS) == 0


def test_a_worn_relay_is_a_warning_once() -> None:
    rig = WindowRig(settings={"relay.operations": 1000})
    rig.controller.switching.relays.block[rig.index("bed1") * r._R_WORDS + r._R_OPS] = 998
    for _ in range(4):
        assert rig.do("on", "bed1") == ""
        rig.run(0.2)
        rig.do("off", "bed1")
        rig.run(0.2)
    assert rig.log().count("bed1 warning worn") == 1
    record = next(x for x in rig.journal.since(0) if x[1] == events.WARNING)
    assert record[4] == 1000


def test_wear_and_times_survive_a_power_cut(tmp_path: Path) -> None:
    rig = WindowRig()
    switching = rig.controller.switching
    figures = (1_999_999, 999_999, 314_000, 20_000, 12_300, 13_900)
    words = (r._R_OPS, r._R_BREAKS, r._R_MOST, r._R_OPERATE, r._R_LOW, r._R_HIGH)
    for x in rig.board.outlets:
        for which, value in zip(words, figures, strict=True):
            switching.relays.block[x.index * r._R_WORDS + which] = value
    stored = switching.setup("stored")
    assert len(json.dumps([5_000_000, stored])) <= 256, "one block of littlefs' log"
    store = CounterStore(str(tmp_path), (), "relays")
    store.save(stored)
    new = WindowRig()
    new.controller.switching.setup("restore", CounterStore(str(tmp_path), (), "relays").load())
    for x in rig.board.outlets:
        at = x.index * r._R_WORDS
        got = [new.controller.switching.relays.block[at + which] for which in words]
        assert got == list(figures)


@pytest.mark.parametrize(
    "row", [None, "12", [], [-1], ["x", 2], [True], [1, 2, 3, 999, 999, 1], [1 << 60]]
)
def test_nonsense_in_storage_is_left_out(row: Any) -> None:
    rig = WindowRig()
    rig.controller.switching.setup("restore", {"bed1": row, "bed9": [5]})
    relays = rig.controller.switching.relays
    at = 2 * r._R_WORDS
    assert relays.block[at + r._R_OPERATE] == 0 and relays.block[at + r._R_HIGH] == 0
    assert 0 <= relays.block[at + r._R_OPS] <= 1
    assert rig.do("on", "bed1") == ""


def test_a_replaced_relay_begins_at_zero() -> None:
    rig = Rig()
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=5")
    rig.run(0.2)
    rig.sim("weld bed1")
    rig.do("off", "bed1")
    rig.run(0.4)
    assert rig.state("bed1") == "fault" and word(rig, "bed1", r._R_OPS) == 1
    rig.sim("relay bed1 ok")
    assert rig.do("reset", "bed1", force=True) == ""
    assert word(rig, "bed1", r._R_OPS) == 0 and word(rig, "bed1", r._R_OPERATE) == 0


# -- learning, without a truck -----------------------------------------------------------------


def test_samples_that_are_no_relays_time_teach_nothing() -> None:
    relays = r.Relays(1, PERIOD)
    for scans in (1, 2, 60, 500):
        relays.made(0, scans)
    assert relays.takes(0, True) == 8000 and not relays.dirty
    relays.made(0, 25)
    assert relays.takes(0, True) == 25 * PERIOD - 208


def test_a_load_that_starts_late_hardly_counts() -> None:
    relays = r.Relays(1, PERIOD)
    relays.made(0, 20)
    known = relays.takes(0, True)
    for _ in range(3):
        relays.made(0, 35)
    assert relays.takes(0, True) == known
    relays.made(0, 16)
    assert relays.takes(0, True) < known
    for _ in range(12):
        relays.made(0, 35)
    assert relays.takes(0, True) == pytest.approx(34.5 * PERIOD, abs=700)


def test_a_search_without_a_record_finds_nothing() -> None:
    machine.reset()
    lane = HostLane(boards.load("simulated"))
    assert set(lane.wave) == {65535}
    for search in (r.first_flow, r.last_flow, r.last_zero):
        assert search(lane.wave, lane.n_ch, 3, 4, 2048, 36, 20) == -1
    assert lane.wave_row(lane.now() + 1) == -1, "not there yet"
    lane.st[kernel.WAVE_HOLD] = 0
    assert lane.wave_row(lane.now()) == -1, "a record is kept"
