"""Outlets that are poles of one feed: they share a relay, so they close together or not at all
and open together, by whatever road; no sequence of faults leaves one where the other is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from firmware.storage import retained
from host_tests.fakes.rig import Rig, WindowRig, events, kernel, o

POLES = ("home_l1", "home_l2")
LATCHED = ("tripped", "lockout", "fault")
FAST = {f"{name}.trip_class": "fast" for name in POLES}


def closed(rig: WindowRig | Rig) -> bool:
    return rig.coil("home_l1") == 1


def start(rig: WindowRig | Rig) -> bool:
    """What the transfer switch does: close the source's contact."""
    c: Any = rig.controller
    pole = c.outlets[c.gang("home")[0]]
    done: bool = c._move(pole, o.E_ON, events.ON, events.GRID, 0, events.BY_CONTROL)
    return done


def states(rig: WindowRig | Rig) -> tuple[str, str, str, str]:
    a, b = POLES
    return rig.state(a), rig.reason(a), rig.state(b), rig.reason(b)


@pytest.fixture
def rig() -> WindowRig:
    """Home fed: 20 A and 12 A."""
    rig = WindowRig("simulated_home", FAST)
    rig.load |= {"home_l1": 20.0, "home_l2": 12.0}
    assert start(rig)
    rig.run(0.5)
    assert states(rig) == ("on", "grid", "on", "grid") and closed(rig)
    return rig


# -- closing ------------------------------------------------------------------------------------


def test_the_console_cannot_close_a_pole(rig: WindowRig) -> None:
    rig = WindowRig("simulated_home")
    for name in POLES:
        assert rig.do("on", name) == "home is fed by the transfer switch: home start"
        assert rig.do("on", name, force=True).startswith("home is fed by the transfer switch")
    assert not closed(rig) and states(rig) == ("off", "none", "off", "none")
    c = rig.controller
    for i in c.gang("home"):  # type: ignore[attr-defined]
        assert "transfer switch" in c.later(i, events.BY_CONSOLE)
    assert c.pending == 0


def test_closing_is_both_or_none() -> None:
    rig = WindowRig("simulated_home")
    c = rig.controller
    first, second = (c.outlets[i] for i in c.gang("home"))  # type: ignore[attr-defined]
    second.state = o.FAULT  # cannot be: but if it were
    assert not start(rig) and not closed(rig) and first.state == o.OFF
    second.state = o.OFF
    for which in POLES:  # a trip that nobody has acknowledged, of either pole
        bit = 1 << rig.index(which)
        rig.lane.st[kernel.PEAK_TRIPS] |= bit
        assert not start(rig) and not closed(rig) and states(rig)[::2] == ("off", "off")
        rig.lane.st[kernel.PEAK_TRIPS] = 0
    assert start(rig) and closed(rig)
    assert [line for line in rig.log() if " on " in line] == ["home_l1 on grid", "home_l2 on grid"]


def test_one_operation_of_one_relay(rig: WindowRig) -> None:
    relays = rig.controller.switching.relays.block
    width = len(relays) // len(rig.board.outlets)
    at = rig.index("home_l1") * width
    assert relays[at + 3] == 1 and relays[at + width + 3] == 0
    rig.do("off", "home_l2")
    assert relays[at + 4] == 1 and relays[at + 5] == pytest.approx(20_000, rel=0.02)
    rows: dict[str, Any] = {name: {} for name in rig.lane.board.outlets and rig.load}
    rig.controller.switching.setup("report", rows)
    assert rows["home_l1"]["relay"] == rows["home_l2"]["relay"]  # it is the same one


# -- the lowest layer ---------------------------------------------------------------------------


def test_what_is_not_allowed_does_not_close() -> None:
    rig = WindowRig("simulated_home")
    lane = rig.lane
    first, second = rig.controller.gang("home")  # type: ignore[attr-defined]
    for missing in (first, second):
        lane.allowed = (1 << len(rig.board.outlets)) - 1 & ~(1 << missing)
        assert not lane.close(first) and not lane.close(second) and not start(rig)
        assert not closed(rig) and states(rig)[::2] == ("off", "off")
    lane.allowed = (1 << len(rig.board.outlets)) - 1
    assert start(rig) and closed(rig)


def test_what_is_allowed_no_more_opens_in_the_same_turn(rig: WindowRig) -> None:
    rig.lane.allowed &= ~(1 << rig.index("home_l2"))
    rig.controller.step()
    assert not closed(rig) and states(rig) == ("off", "contact", "off", "contact")
    assert sorted(rig.log()[-2:]) == ["home_l1 off contact", "home_l2 off contact"]


@pytest.mark.parametrize("how", ["allowed", "off", "trip of the other"])
def test_a_planned_closing_is_taken_back(how: str) -> None:
    """At the mains' zero: what happens in between keeps the relay open."""
    zero = {"home_l1.switch_at": "zero"}  # a contactor is switched at once else
    rig = Rig("simulated_home", zero, boot_s=0.8)
    lane = rig.lane
    assert start(rig)
    assert lane.st[kernel.BUSY] and not closed(rig)  # it waits for its scan
    assert lane.astray(sum(1 << rig.index(x) for x in POLES)) == 0
    if how == "allowed":
        lane.allowed &= ~(1 << rig.index("home_l1"))
        rig.controller.step()
    elif how == "off":
        rig.do("off", "home_l2")
    else:
        bits = lane.st[lane.base(rig.board.outlets[6].channel) + kernel.C_BIT]
        assert bits == 3 << rig.index("home_l1")
        kernel._trip(lane.st, bits)
    rig.run(0.1)
    assert not closed(rig) and states(rig)[0] != "on" and states(rig)[2] != "on"
    assert lane.astray(0) == 0


# -- opening ------------------------------------------------------------------------------------


def heat(rig: WindowRig) -> None:
    rig.settings.set("home_l2.limit_a", 20)
    rig.load["home_l2"] = 30.0  # its curve, and nothing of the leg
    rig.until(lambda: rig.state("home_l2") != "on", 60)


def peak(rig: WindowRig) -> None:
    rig.load["home_l2"] = 500.0
    rig.run(0.05)


def short_time(rig: WindowRig) -> None:
    rig.load["home_l2"] = 330.0
    rig.run(1.0)


def broken(rig: WindowRig) -> None:
    rig.broken.add("home_l2")
    rig.run(0.2)


def no_lease(rig: WindowRig) -> None:
    rig.controlling = False
    rig.run(3.5)
    rig.controlling = True
    rig.run(0.1)


def unfit(rig: WindowRig) -> None:
    rig.controller.fail(1)


def dark(rig: WindowRig) -> None:
    rig.volts = 0.0
    rig.run(2.0)


@pytest.mark.parametrize(
    ("how", "state", "reason"),
    [
        (heat, "tripped", "thermal"),
        (peak, "tripped", "peak"),
        (short_time, "tripped", "short_time"),
        (broken, "fault", "sensor"),
        (no_lease, "fault", "lease"),
        (unfit, "fault", "selftest"),
        (dark, "fault", "supply"),
    ],
)
def test_one_pole_takes_the_other_with_it(
    rig: WindowRig, how: Callable[[WindowRig], None], state: str, reason: str
) -> None:
    how(rig)
    assert states(rig) == (state, reason, state, reason), rig.log()
    assert not closed(rig)
    assert rig.lane.astray(0) == 0
    if state == "tripped":  # the record of the pole that did it comes first
        assert [x for x in rig.log() if x.endswith(f"tripped {reason}")] == [
            f"home_l2 tripped {reason}",
            f"home_l1 tripped {reason}",
        ]
        assert rig.lane.wave_outlet == rig.index("home_l2")
    assert not start(rig)  # no command, no transfer switch closes it again
    rig.broken.clear()
    rig.load |= {"home_l1": 0.0, "home_l2": 0.0}
    rig.volts = 120.0
    rig.run(200.0)
    if reason == "selftest":
        rig.controller.mend()
    assert rig.do("reset", "home_l1") == "", rig.log()
    assert states(rig) == ("off", "none", "off", "none")
    assert not closed(rig) and start(rig)


def values(rig: WindowRig, kind: int) -> dict[str, tuple[str, int]]:
    """What the journal's last records of a kind say: reason and value, by outlet."""
    return {
        rig.board.outlets[x[2]].name: (events.name(events.REASONS, x[3]), x[4])
        for x in rig.journal.since(0)
        if x[1] == kind
    }


def test_a_trip_of_the_total_says_the_total_for_both_poles(rig: WindowRig) -> None:
    """The value is in W: a pole's own mA would be read as such."""
    rig.settings.set("leg.limit_a", 48)
    rig.settings.set("total.limit_w", 3000)
    rig.load |= {"home_l1": 30.0, "home_l2": 30.0}
    rig.until(lambda: rig.state("home_l2") == "tripped", 30)
    found = values(rig, events.TRIPPED)
    assert found["home_l1"][0] == found["home_l2"][0] == "total"
    assert found["home_l1"][1] == found["home_l2"][1] == pytest.approx(7200, rel=0.02)


def test_a_trip_of_a_leg_says_for_each_pole_what_its_leg_carried(rig: WindowRig) -> None:
    rig.settings.set("leg.limit_a", 20)
    rig.load |= {"home_l1": 5.0, "home_l2": 40.0}
    rig.until(lambda: rig.state("home_l2") == "tripped", 30)
    found = values(rig, events.TRIPPED)
    assert found["home_l1"] == ("leg", pytest.approx(5000, rel=0.02))
    assert found["home_l2"] == ("leg", pytest.approx(40_000, rel=0.02))


def test_a_trip_by_its_own_current_says_for_each_pole_its_own(rig: WindowRig) -> None:
    rig.load["home_l2"] = 500.0
    rig.run(0.05)
    found = values(rig, events.TRIPPED)
    assert found["home_l2"][1] > 400_000
    assert found["home_l1"] == ("peak", pytest.approx(20_000, rel=0.02))


def test_the_cause_of_either_pole_holds_both(rig: WindowRig) -> None:
    broken(rig)
    for name in POLES:
        assert rig.do("reset", name).startswith("the cause is still there (sensor")
    assert states(rig)[::2] == ("fault", "fault")


def test_the_third_trip_locks_both_out(rig: WindowRig) -> None:
    for _ in range(3):
        rig.load["home_l2"] = 500.0
        rig.run(0.1)
        rig.load["home_l2"] = 12.0
        rig.run(20.0)
        if states(rig)[0] == "tripped":
            assert rig.do("reset", "home_l1") == "" and start(rig)
            rig.run(0.5)
    assert states(rig) == ("lockout", "locked", "lockout", "locked")
    assert [rig.controller.outlets[rig.index(x)].trips for x in POLES] == [3, 3]
    assert "locked out" in rig.do("reset", "home_l1")
    assert rig.do("reset", "home_l2", force=True) == ""
    assert states(rig) == ("off", "none", "off", "none") and start(rig)


def test_a_welded_pole_blocks_both_until_it_is_replaced(rig: WindowRig) -> None:
    rig.welded.add("home_l2")
    rig.do("off", "home_l1")
    rig.run(1.0)
    assert states(rig) == ("fault", "welded", "fault", "welded"), rig.log()
    assert not rig.coil("contactor") and rig.controller.contactor_blocked
    rig.welded.clear()
    rig.run(0.5)
    assert rig.do("reset", "home_l1") == "have the relay replaced, then reset home_l1 --force"
    assert rig.do("reset", "home_l1", force=True) == ""
    assert rig.controller.dispatch.stuck_mask == 0 and not rig.controller.contactor_blocked
    assert states(rig) == ("off", "none", "off", "none")


def test_the_zero_of_each_pole_is_learnt_only_while_it_is_open(rig: WindowRig) -> None:
    learn = [rig.controller.outlets[rig.index(x)].meter for x in POLES]
    assert [m.word(24) for m in learn] == [0, 0]
    rig.do("off", "home_l1")
    rig.run(0.5)
    assert all(m.word(24) for m in learn)


def test_current_of_another_contact_is_no_welded_relay() -> None:
    """Export: the poles' sensors carry, and their relay is open. The curve acts all the same."""
    rig = WindowRig("simulated_home", FAST)
    c: Any = rig.controller
    c.gangs.carry("home", True)
    rig.welded |= set(POLES)  # what flows does not ask for the relay
    rig.load |= {"home_l1": 30.0, "home_l2": 30.0}
    rig.run(3.0)
    assert states(rig) == ("off", "none", "off", "none") and rig.coil("contactor")
    assert c.amps_ma[rig.index("home_l1")] == pytest.approx(30_000, rel=0.01)
    rig.load["home_l2"] = 80.0
    rig.until(lambda: rig.state("home_l2") == "tripped", 60)
    assert states(rig) == ("tripped", "thermal", "tripped", "thermal")
    rig.load |= {"home_l1": 0.0, "home_l2": 0.0}
    rig.welded.clear()
    c.gangs.carry("home", False)
    rig.run(100.0)
    assert rig.do("reset", "home_l2") == ""
    rig.welded.add("home_l1")  # and a welded relay is found again
    rig.load["home_l1"] = 10.0
    rig.run(1.0)
    assert rig.reason("home_l1") == "welded"


# -- shedding -----------------------------------------------------------------------------------


def test_the_dispatcher_sheds_both_or_none() -> None:
    """L1 is overloaded by home and outlets: home goes as a whole, and comes back as a whole."""
    rig = WindowRig("simulated_home", {"shed.restore_s": "10", "shed.min_off_s": "0"})
    for name in POLES:
        rig.settings.set(f"{name}.priority", 9)
    rig.load |= {"home_l1": 28.0, "home_l2": 5.0, "cabin1": 18.0, "bed1": 18.0}
    assert start(rig)
    for name in ("cabin1", "bed1"):
        assert rig.do("on", name) == ""
    rig.until(lambda: rig.state("home_l1") == "shed", 200)
    assert states(rig) == ("shed", "leg", "shed", "leg") and not closed(rig)
    assert rig.state("cabin1") == rig.state("bed1") == "on"
    dispatch = rig.controller.dispatch
    assert dispatch.shed_mask == 3 << rig.index("home_l1")
    rig.do("off", "bed1")
    rig.until(lambda: rig.state("home_l1") in ("closing", "on"), 60)
    assert states(rig)[::2] in (("closing", "closing"), ("on", "on")) and closed(rig)
    assert dispatch.shed_mask == 0 and dispatch.restarts(5) == dispatch.restarts(6) == 1


def test_a_pole_that_stays_keeps_what_is_less_important_out() -> None:
    """L2 of home has room, L1 has not; then both poles go, and nothing goes in vain on L2."""
    rig = WindowRig("simulated_home")
    rig.settings.set("home_l1.priority", 3)
    rig.settings.set("home_l2.priority", 1)  # its gang's first pole counts
    rig.load |= {"home_l1": 44.0, "home_l2": 28.0, "cabin1": 18.0, "cabin2": 16.0, "bed2": 18.0}
    assert start(rig)
    for name in ("cabin1", "cabin2", "bed2"):
        rig.controller.command("on", rig.index(name), events.BY_CONSOLE, True)
    rig.until(lambda: rig.state("home_l1") == "shed", 200)
    assert [rig.state(x) for x in ("cabin1", "cabin2", "bed2")] == ["on", "on", "on"]


def test_a_gang_beyond_the_total_alone_trips() -> None:
    rig = WindowRig("simulated_home", {"total.limit_w": 6000})
    rig.load |= {"home_l1": 40.0, "home_l2": 40.0}
    assert start(rig)
    rig.until(lambda: rig.state("home_l1") != "on" and not closed(rig), 300)
    assert states(rig) == ("tripped", "total", "tripped", "total")


def test_the_room_of_one_pole_is_asked_for_the_other_too(rig: WindowRig) -> None:
    c: Any = rig.controller
    rig.load |= {"home_l1": 44.0}
    rig.run(10.0)  # its demand is known
    rig.do("off", "home_l1")
    rig.load["cabin1"] = 18.0
    rig.do("on", "cabin1")
    rig.run(3.0)
    assert c.dispatch.refuses(rig.index("home_l2"), False) is c.dispatch.legs[0]


# -- over a restart -----------------------------------------------------------------------------


def test_what_tripped_is_latched_over_a_reboot(rig: WindowRig) -> None:
    peak(rig)
    again = WindowRig("simulated_home", before=rig)
    assert states(again) == ("tripped", "peak", "tripped", "peak")
    assert not start(again)


def test_a_pole_that_flash_has_forgotten_follows_the_other(rig: WindowRig) -> None:
    peak(rig)
    latched = rig.controller.latched()
    for lost in POLES:
        again = WindowRig("simulated_home")
        again.controller.restore({k: v for k, v in latched.items() if k != lost})
        assert states(again)[::2] == ("tripped", "tripped") and not start(again)


def test_what_a_reset_of_the_chip_leaves_says_that_they_tripped(rig: WindowRig) -> None:
    """There is room for five reasons: of the others it is kept that they tripped."""
    peak(rig)
    words = [0, 0, 0, 0]
    retained.pack(words, rig.controller.outlets)
    again = WindowRig("simulated_home")
    again.controller.restore({}, kept=words)
    assert states(again) == ("tripped", "latched", "tripped", "latched") and not start(again)


# -- whatever happens ---------------------------------------------------------------------------


class Faults(RuleBasedStateMachine):
    """Random loads, faults, commands, stalls: both poles are always in the same state, their relay
    is closed in no other than that of being on, and a latch is left by a reset only."""

    @initialize()
    def power_on(self) -> None:
        self.rig = WindowRig("simulated_home", FAST | {"shed.restore_s": "10"})
        self.reset = False

    @rule(seconds=st.sampled_from((0.02, 0.3, 4.0)))
    def wait(self, seconds: float) -> None:
        self.rig.run(seconds)

    @rule(
        name=st.sampled_from((*POLES, "cabin1", "bed240")),
        amps=st.sampled_from((0, 3, 20, 47, 70, 160, 300, 600)),
    )
    def plug(self, name: str, amps: float) -> None:
        self.rig.load[name] = float(amps)

    @rule()
    def feed(self) -> None:
        before = states(self.rig)
        if start(self.rig):
            assert before[0] == before[2] == "off"

    @rule(name=st.sampled_from(("cabin1", "bed240")))
    def use(self, name: str) -> None:
        self.rig.do("on", name)

    @rule(name=st.sampled_from(POLES))
    def off(self, name: str) -> None:
        self.rig.do("off", name)
        assert not closed(self.rig)

    @rule(name=st.sampled_from(POLES), force=st.booleans())
    def clear(self, name: str, force: bool) -> None:
        self.reset = self.rig.do("reset", name, force) == ""

    @rule(name=st.sampled_from(POLES), on=st.booleans())
    def sensor(self, name: str, on: bool) -> None:
        (self.rig.broken.add if on else self.rig.broken.discard)(name)

    @rule(name=st.sampled_from(POLES), on=st.booleans())
    def weld(self, name: str, on: bool) -> None:
        if on and closed(self.rig):
            self.rig.welded.add(name)
        elif not on:
            self.rig.welded.discard(name)

    @rule(stands=st.booleans(), seconds=st.sampled_from((0.3, 3.4)))
    def stall(self, stands: bool, seconds: float) -> None:
        if stands:
            self.rig.controlling = False
        else:
            self.rig.sampling = False
        self.rig.run(seconds)
        self.rig.controlling = self.rig.sampling = True
        self.rig.window()

    @rule(pole=st.sampled_from(POLES), gives=st.booleans())
    def permission(self, pole: str, gives: bool) -> None:
        bit = 1 << self.rig.index(pole)
        lane = self.rig.lane
        lane.allowed = lane.allowed | bit if gives else lane.allowed & ~bit
        self.rig.controller.step()
        if not gives:
            assert not closed(self.rig)

    @rule(dead=st.booleans())
    def supply(self, dead: bool) -> None:
        self.rig.volts = 0.0 if dead else 120.0

    @rule()
    def restart(self) -> None:
        before = states(self.rig)
        old = self.rig
        self.rig = WindowRig("simulated_home", FAST | {"shed.restore_s": "10"}, before=old)
        assert not closed(self.rig)
        if before[0] in LATCHED:
            assert states(self.rig)[0] in LATCHED
        self.last = states(self.rig)

    @invariant()
    def both_are_one(self) -> None:
        if not hasattr(self, "rig"):
            return
        a, _, b, _ = now = states(self.rig)
        assert a == b, (now, self.rig.log()[-8:])
        if closed(self.rig):
            assert a in ("on", "closing"), now
        elif self.rig.controlling:
            assert a not in ("on", "closing"), (now, self.rig.log()[-8:])
        was = getattr(self, "last", now)
        if was[0] in LATCHED and a not in LATCHED:
            assert self.reset, (was, now)
        self.last = now
        self.reset = False


TestFaults = Faults.TestCase
TestFaults.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
