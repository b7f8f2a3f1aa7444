"""Whatever is asked, set, plugged in or broken: hypothesis invents sequences, a model in amps,
seconds and shares of heat that knows nothing of the firmware's numbers is the judge.

It looks after every mains cycle, in both directions: what must be open is open (in time), and
what opened had a reason. `make test` runs `SEQUENCES` sequences of up to `STEPS` steps, always the
same; more, and new ones, with

    PROPERTY_SEQUENCES=10000 make test PYTEST_ARGS="-k properties_protection"
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from host_tests.fakes.playback import merge
from host_tests.fakes.rig import WindowRig, events, kernel
from tools.simulator import recordings

SEQUENCES = 300
STEPS = 24
ASKED = int(os.environ.get("PROPERTY_SEQUENCES", "0"))

pytestmark = pytest.mark.timeout(0 if ASKED else 300)

NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
RATING = dict.fromkeys(NAMES, 20.0) | {"bed240": 40.0}
LEGS = ({"cabin1", "bed1", "bed240"}, {"cabin2", "bed2", "bed240"})
LATCHED = ("tripped", "lockout", "fault")
TAU_S = {"fast": 40.0, "standard": 120.0, "slow": 300.0, "motor": 240.0}
COOL_S = {"fast": 80.0, "standard": 240.0, "slow": 600.0, "motor": 600.0}
CYCLE_S = 40 * 416e-6
PICKUP = 1.05
LEG_TAU_S, HARD_X, HARD_S = 130.0, 1.5, 2.0
SLACK_S = 2.5 * CYCLE_S
RECENT = 4  # cycles that a record may be late
JUMP = 30  # cycles at once where nothing is near a limit

names_of = st.sampled_from(NAMES)
SETTINGS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("limit_a", (6, 10, 16, 20)),
    ("trip_class", tuple(TAU_S)),
    ("peak_x", (3, 5, 8)),
    ("priority", (1, 5, 9)),
)
GLOBAL: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("leg.limit_a", (15, 30, 40)),
    ("total.limit_w", (2000, 5000, 9600)),
    ("shed.restore_s", (10, 60)),
    ("shed.min_off_s", (0, 180)),
    ("shed.margin_w", (0, 200, 2000)),
)


@cache
def start(name: str) -> tuple[float, ...]:
    """RMS of each cycle of a recorded start over its steady RMS, from switching on."""
    r = recordings.load(name)
    squares = np.array(r.current[: r.loop_start]) ** 2
    first = int(r.onset) // r.per_cycle
    cycles = squares[: len(squares) // r.per_cycle * r.per_cycle].reshape(-1, r.per_cycle)
    return tuple(np.sqrt(cycles[first : first + 40].mean(axis=1)) / r.steady_rms)


class Outlet:
    """What the model knows of one outlet."""

    def __init__(self) -> None:
        self.least = 0.0  # heat it must have, and may have, in shares of the trip's
        self.most = 0.0
        self.latched = False
        self.was = "off"
        self.pin = False
        self.recent = 0.0  # largest current of the last cycles, A, of which there are:
        self.cycles: deque[float] = deque(maxlen=RECENT)
        self.over_peak_s = 0.0
        self.over_short_s = 0.0
        self.broken_s = 0.0
        self.leak_s = 0.0
        self.dark_s = 0.0
        self.ever_broken = False
        self.ever_welded = False


class Model:
    """What must be so, and what may be."""

    def __init__(self) -> None:
        self.outlets = {name: Outlet() for name in NAMES}
        self.leg_heat = [0.0, 0.0]
        self.leg_hard_s = [0.0, 0.0]
        self.silent_s = 0.0
        self.late_s = 0.0
        self.calm_s = 1.0  # since the control lane stood still
        self.volts_low_s = 0.0
        self.lease_lost = False

    def cycle(self, rig: WindowRig, flowed: dict[str, float], dt: float) -> None:
        """`dt` s in which `flowed` A RMS flowed have passed."""
        self.silent_s = 0.0 if rig.sampling else self.silent_s + dt
        self.late_s = 0.0 if rig.controlling else self.late_s + dt
        self.calm_s = self.calm_s + dt if rig.controlling and rig.sampling else 0.0
        live = self.calm_s > 0.1
        for name in NAMES:
            self._outlet(rig, name, flowed[name], dt, live)
        for leg in range(2):
            self._leg(rig, leg, flowed, dt, live)
        pins = [name for name in NAMES if rig.coil(name)]
        if self.silent_s > 0.35 and rig.controlling:
            assert not pins, "closed without a sampler"
        if self.late_s > 3.1 and rig.sampling:
            assert not pins, "closed without a control loop"

    def _outlet(self, rig: WindowRig, name: str, amps: float, dt: float, live: bool) -> None:
        o = self.outlets[name]
        rating = RATING[name]
        pin, state = rig.coil(name), rig.state(name)
        control = rig.controller.outlets[rig.index(name)]
        get = rig.settings.get
        broken = name in rig.broken
        # what the fast lane opened gets its reason when the control lane comes round
        # A record comes a cycle or two after what it tells of, later while the loop stands still.
        o.cycles.append(amps if rig.controlling else max(amps, o.recent))
        o.recent = max(o.cycles)
        o.ever_broken |= broken
        o.ever_welded |= name in rig.welded
        if rig.controlling:
            assert not pin or state in ("on", "closing"), f"{name}: closed while {state}"
            assert not (pin and o.latched), f"{name}: closed after a trip, without a reset"
        # the curve, from both sides
        kind = get(f"{name}.trip_class")
        q = (amps / (PICKUP * get(f"{name}.limit_a"))) ** 2 if rig.sampling else 0.0
        tau = TAU_S[kind] if pin or q > o.least else COOL_S[kind]
        o.least += ((0.0 if broken else q) - o.least) * dt / tau
        tau = TAU_S[kind] if pin or q > o.most else COOL_S[kind]
        # a broken sensor heats until it is found out: it reads the end of its range, 12.5 x
        o.most += (((160.0 if broken else q) - o.most) * dt / tau) if not broken or pin else 0.0
        peak_x = get(f"{name}.peak_x")
        passes_peak = amps > 1.03 * peak_x * rating
        if passes_peak:  # flows for a millisecond, not for the rig's whole cycle
            o.least = 0.0
        if live and o.least > 1.1 and not broken:
            assert not pin, f"{name}: {amps} A on beyond its curve"
        # the fast stages, also while the control lane stands still
        sees = rig.sampling and not broken
        o.over_peak_s = o.over_peak_s + dt if passes_peak and sees and pin else 0.0
        assert o.over_peak_s <= CYCLE_S, f"{name}: {amps} A is past the peak limit, and on"
        heavy = amps > 6.2 * rating and sees and pin
        o.over_short_s = o.over_short_s + dt if heavy else 0.0
        assert o.over_short_s <= 0.5 + SLACK_S, f"{name}: {amps} A for {o.over_short_s} s"
        o.broken_s = o.broken_s + dt if broken and live else 0.0
        assert not (pin and o.broken_s > 0.1), f"{name}: on without a sensor"
        leak = amps > 0.05 * rating and not (pin or o.pin) and sees and live
        o.pin = bool(pin)
        o.leak_s = o.leak_s + dt if leak else 0.0
        assert o.leak_s < 0.6, f"{name}: welded, and the contactor is closed"
        dark = live and state == "on" and not pin
        o.dark_s = o.dark_s + dt if dark else 0.0
        assert o.dark_s < 0.1, f"{name}: said to be on, and is open"
        if state != o.was and state in LATCHED:
            o.latched = True
            self._had_reason(rig, name, events.name(events.REASONS, control.reason))
        o.was = state

    def _had_reason(self, rig: WindowRig, name: str, reason: str) -> None:
        o = self.outlets[name]
        rating = RATING[name]
        said = f"{name}: {reason}, {rig.log()[-4:]}"
        if reason == "thermal":
            assert o.most > 0.9, said + f" at {o.most:.3f}"
        elif reason == "peak":
            lowest = min(SETTINGS[2][1])
            assert o.ever_broken or o.recent > 0.95 * lowest * rating, said + f" at {o.recent} A"
        elif reason == "short_time":
            assert o.ever_broken or o.recent > 5.9 * rating, said
        elif reason == "welded":
            assert o.ever_welded or o.ever_broken, said
        elif reason == "lease":
            assert self.lease_lost, said

    def _leg(
        self, rig: WindowRig, leg: int, flowed: dict[str, float], dt: float, live: bool
    ) -> None:
        members = LEGS[leg]
        limit = rig.settings.get("leg.limit_a")
        if members & rig.broken or members & rig.welded or not live:
            self.leg_heat[leg] = self.leg_hard_s[leg] = 0.0
            return
        most = 3.0 * min(RATING.values())  # a setting of the peak stage cuts what is above
        on = [flowed[name] for name in members if rig.coil(name)]
        amps = sum(x for x in on if x <= most * 2)
        q = (amps / limit / PICKUP) ** 2
        self.leg_heat[leg] += (min(q, 14.0) - self.leg_heat[leg]) * dt / LEG_TAU_S
        assert self.leg_heat[leg] < 1.1, f"leg {leg}: {amps} A of {limit} A beyond its curve"
        hard = amps > (HARD_X + 0.05) * limit
        self.leg_hard_s[leg] = self.leg_hard_s[leg] + dt if hard else 0.0
        assert self.leg_hard_s[leg] < HARD_S + SLACK_S, f"leg {leg}: {amps} A for too long"


class Protection(RuleBasedStateMachine):
    """Rules are what owners, loads and bad luck can do."""

    @initialize(loads=st.lists(st.sampled_from((4, 12, 16, 20)), min_size=5, max_size=5))
    def power_on(self, loads: list[int]) -> None:
        self.rig = WindowRig(settings={f"{name}.trip_class": "fast" for name in NAMES})
        self.model = Model()
        assert not any(self.rig.coil(name) for name in NAMES), "closed at the start"
        for name, amps in zip(NAMES, loads, strict=True):
            self.rig.load[name] = amps
            self.on(name, False)

    # -- time --------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / CYCLE_S))):
            self.cycle()

    def cycle(self) -> None:
        rig = self.rig
        flowed = {name: rig.amps(name) for name in NAMES}
        rig.window()
        self.model.cycle(rig, flowed, CYCLE_S)

    def jump(self) -> None:
        """`JUMP` cycles: the last window once more, merged as the kernel merges them."""
        rig, lane = self.rig, self.rig.lane
        flowed = {name: rig.amps(name) for name in NAMES}
        head = lane.st[kernel.HEAD]
        last = (head - 1) % lane.st[kernel.SLOTS] * lane.words
        window = lane.ring[last : last + lane.words]
        if window[kernel.W_PERIODS] == 1:
            window = merge([window] * JUMP)
        lane.ring[head * lane.words : (head + 1) * lane.words] = window
        lane.st[kernel.HEAD] = (head + 1) % lane.st[kernel.SLOTS]
        rig.t_us += JUMP * rig.n * lane.period_us
        rig.controller.step()
        rig._next_control = rig.t_us
        self.model.cycle(rig, flowed, JUMP * CYCLE_S)

    def calm(self) -> bool:
        """No outlet near its fast stages, no leg near its hard limit, nothing that takes some
        windows to be believed."""
        rig = self.rig
        amps = {name: rig.amps(name) for name in NAMES}
        limit = rig.settings.get("leg.limit_a")
        return (
            all(amps[n] <= 1.45 * rig.settings.get(f"{n}.limit_a") for n in NAMES)
            and all(sum(amps[n] for n in leg) <= 1.4 * limit for leg in LEGS)
            and not rig.broken
            and not any(amps[n] and not rig.coil(n) for n in NAMES)
        )

    @rule(seconds=st.sampled_from((0.017, 0.1, 0.4, 1.2, 4.0)))
    def wait(self, seconds: float) -> None:
        self.run(seconds)

    @rule(seconds=st.sampled_from((10.0, 70.0, 200.0)))
    def wait_long(self, seconds: float) -> None:
        end = self.rig.t_us + round(seconds * 1e6)
        self.run(0.4)
        while self.rig.t_us < end and self.calm():
            self.jump()
            self.cycle()

    # -- the owner ---------------------------------------------------------------------------

    @rule(name=names_of, force=st.booleans())
    def on(self, name: str, force: bool) -> None:
        before = self.rig.state(name)
        latched = self.model.outlets[name].latched
        said = self.rig.do("on", name, force)
        assert said or not latched, f"{name} was let on although it is {before}"
        if said and before != "shed":
            assert self.rig.state(name) == before, "refused, and something changed"
        self.cycle()

    @rule(name=names_of)
    def off(self, name: str) -> None:
        assert self.rig.do("off", name) == ""
        assert not self.rig.coil(name), "off means open at once"
        self.cycle()

    @rule(name=names_of, force=st.booleans())
    def reset(self, name: str, force: bool) -> None:
        locked = self.rig.state(name) == "lockout"
        pin = self.rig.coil(name)
        if self.rig.do("reset", name, force) == "":
            assert force or not locked
            self.model.outlets[name].latched = False
            assert self.rig.state(name) not in LATCHED
        assert self.rig.coil(name) <= pin, "a reset closes nothing"
        self.cycle()

    @rule(verb=st.sampled_from(("on", "off", "reset")), force=st.booleans())
    def all(self, verb: str, force: bool) -> None:
        for name in NAMES:
            if verb == "on":
                self.on(name, force)
            elif verb == "off":
                self.off(name)
            else:
                self.reset(name, force)

    @rule(name=names_of, which=st.sampled_from(SETTINGS), pick=st.integers(0, 3))
    def set_outlet(self, name: str, which: tuple[str, tuple[Any, ...]], pick: int) -> None:
        key, values = which
        self.rig.settings.set(f"{name}.{key}", values[pick % len(values)])
        self.cycle()

    @rule(which=st.sampled_from(GLOBAL), pick=st.integers(0, 2))
    def set_limit(self, which: tuple[str, tuple[Any, ...]], pick: int) -> None:
        key, values = which
        if key == "leg.limit_a":  # what the legs' element holds is a share of the limit
            old = self.rig.settings.get(key)
            new = values[pick % len(values)]
            ratio = (old / new) ** 2
            self.model.leg_heat = [h * min(ratio, 1.0) for h in self.model.leg_heat]
        self.rig.settings.set(key, values[pick % len(values)])
        self.cycle()

    # -- loads -------------------------------------------------------------------------------

    @rule(
        names=st.sets(names_of, min_size=1),
        multiple=st.sampled_from((0, 0.02, 0.3, 0.7, 0.95, 1.0, 1.2, 1.4, 2, 3.5, 5, 7, 9, 12)),
        seconds=st.sampled_from((0.05, 0.3, 1.0, 4.0)),
    )
    def load(self, names: set[str], multiple: float, seconds: float) -> None:
        for name in names:
            self.rig.load[name] = multiple * RATING[name]
        self.run(seconds)

    @rule(
        name=names_of,
        recording=st.sampled_from(recordings.available()),
        share=st.sampled_from((0.3, 0.7, 1.0)),
    )
    def inrush(self, name: str, recording: str, share: float) -> None:
        """A recorded start that must hold: steady up to 100 %, no cycle above 5 x the rating."""
        cycles = start(recording)
        steady = share * RATING[name] * min(1.0, 4.9 / max(cycles))
        self.off(name)
        self.rig.load[name] = 0.0
        self.on(name, False)
        was_on = bool(self.rig.coil(name)) and not self.rig.broken and not self.rig.welded
        for multiple in cycles:
            self.rig.load[name] = steady * multiple
            self.cycle()
        self.rig.load[name] = steady
        fine = self.rig.settings.get(f"{name}.peak_x") >= 5 and was_on and self.rig.sampling
        if fine and self.rig.state(name) == "tripped":
            reason = self.rig.reason(name)
            assert reason == "thermal", f"{recording} on {name}: {reason}"

    # -- bad luck ----------------------------------------------------------------------------

    @rule(
        what=st.sampled_from(("cut", "stall", "silence", "supply", "weld", "sensor")),
        name=names_of,
        good=st.booleans(),
        seconds=st.sampled_from((0.05, 0.3, 0.9, 3.5)),
        volts=st.sampled_from((0.0, 50.0, 84.0, 108.0, 136.0)),
        multiple=st.sampled_from((1, 12)),
    )
    def trouble(
        self, what: str, name: str, good: bool, seconds: float, volts: float, multiple: float
    ) -> None:
        rig = self.rig
        if what == "sensor":
            (rig.broken.discard if good else rig.broken.add)(name)
            self.run(0.15)
        elif what == "weld":
            (rig.welded.discard if good else rig.welded.add)(name)
            self.run(0.15)
        elif what == "supply":  # a dip, a swell; or it stays so
            rig.volts = volts
            self.run(min(seconds, 0.9))
            if good:
                rig.volts = 120.0
        elif what == "stall":
            self.stall(seconds, name, multiple)
        elif what == "silence":
            self.silence(min(seconds, 0.3), name)
        else:
            self.power_cut()

    @rule(amps=st.lists(st.sampled_from((4, 12, 16, 20)), min_size=5, max_size=5))
    def new_day(self, amps: list[int]) -> None:
        """Everything repaired, cleared and switched on; what is hot or does not fit stays off."""
        rig = self.rig
        rig.welded.clear()
        rig.broken.clear()
        rig.volts = 120.0
        rig.load.update(zip(NAMES, amps, strict=True))
        self.run(0.3)
        self.all("reset", True)
        self.all("on", False)

    @rule(name=names_of)
    def stubborn(self, name: str) -> None:
        """Somebody resets a short circuit and switches on again, and again."""
        trips = 0
        for _ in range(3):
            self.reset(name, False)
            self.rig.load[name] = 0.0
            self.on(name, False)
            closed = self.rig.state(name) in ("on", "closing") and self.rig.volts > 60
            self.rig.load[name] = 12.0 * RATING[name]
            self.run(0.05)
            if closed and name not in self.rig.broken:
                assert self.rig.state(name) in LATCHED, "a short circuit has not tripped it"
                trips += self.rig.reason(name) in ("peak", "locked")
        self.rig.load[name] = 4.0
        if trips == 3:
            assert self.rig.state(name) == "lockout", "three trips in an hour"

    def stall(self, seconds: float, name: str, multiple: float) -> None:
        """The control loop stands still; meanwhile a load changes and something is asked."""
        rig = self.rig
        rig.controlling = False
        self.run(seconds / 2)
        rig.load[name] = multiple * RATING[name]
        self.run(seconds / 2)
        if seconds > 3.1:
            self.model.lease_lost = True
        said = rig.do("on", name)
        assert said or not self.model.outlets[name].latched
        rig.controlling = True
        self.run(0.15)

    def silence(self, seconds: float, name: str) -> None:
        rig = self.rig
        rig.sampling = False
        self.run(seconds)
        if seconds > 0.25:
            assert rig.do("on", name), "nothing would protect it"
        rig.sampling = True
        self.run(0.15)

    def power_cut(self) -> None:
        """What latched stays so; everything is open, and stays open."""
        old = self.rig
        chosen = {n: old.settings.get(n) for n in old.settings.names()}
        names = [name for name in NAMES if old.state(name) in LATCHED]
        welded = [name for name in NAMES if old.reason(name) == "welded"]
        self.rig = new = WindowRig(before=old)
        assert not any(new.coil(name) for name in NAMES), "closed at the start"
        if welded and any(old.state(name) == "fault" for name in welded):
            assert not new.coil("contactor"), "the welded outlet is fed again"
        for name, value in chosen.items():
            if new.settings.get(name) != value:
                new.settings.set(name, value)
        model = Model()
        for name in NAMES:
            model.outlets[name].latched = name in names
            model.outlets[name].was = new.state(name)
            model.outlets[name].most = self.model.outlets[name].most
            model.outlets[name].ever_broken = self.model.outlets[name].ever_broken
            model.outlets[name].ever_welded = self.model.outlets[name].ever_welded
        self.model = model
        for name in names:
            assert new.state(name) in LATCHED, f"{name}: the cut has cleared it"
        self.run(0.1)
        assert not any(new.coil(name) for name in NAMES), "nobody asked for it"


Protection.TestCase.settings = settings(
    max_examples=ASKED or SEQUENCES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=(Phase.generate, Phase.shrink) if ASKED else (Phase.generate,),
    derandomize=not ASKED,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
TestProtection: Any = Protection.TestCase
