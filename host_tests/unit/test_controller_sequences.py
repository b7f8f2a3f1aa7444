"""No sequence of commands, loads and faults closes a tripped outlet, or leaves one on beyond its
curve: hypothesis invents the sequences, an independent model in floats and amps is the judge.

`SEQUENCES` runs of up to `STEPS` steps each; the judge looks after every mains cycle.
"""

from __future__ import annotations

import math
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from host_tests.fakes.rig import WindowRig, events

SEQUENCES = 40
STEPS = 35

NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
RATING = dict.fromkeys(NAMES, 20.0) | {"bed240": 40.0}
LEGS = ({"cabin1", "bed1", "bed240"}, {"cabin2", "bed2", "bed240"})
LATCHED = ("tripped", "lockout", "fault")
TAU_S, COOL_S = 40.0, 80.0  # trip class fast
CYCLE_S = 40 * 416e-6
SETTINGS = {f"{name}.trip_class": "fast" for name in NAMES}
SETTINGS |= {"shed.restore_s": "10", "shed.min_off_s": "0"}

outlets = st.sampled_from(NAMES)
AMPS = (0, 0.3, 5, 12, 16, 19, 20, 22, 26, 40, 70, 110, 150, 165, 400)


class Judge:
    """What really happened to each outlet, in amps and seconds."""

    def __init__(self) -> None:
        self.heat = dict.fromkeys(NAMES, 0.0)  # A^2
        self.leg_heat = [0.0, 0.0]
        self.leg_s = [0.0, 0.0]  # above its curve
        self.hard_s = [0.0, 0.0]
        self.latched = dict.fromkeys(NAMES, False)
        self.broken_s = dict.fromkeys(NAMES, 0.0)
        self.leak_s = dict.fromkeys(NAMES, 0.0)
        self.peak_s = dict.fromkeys(NAMES, 0.0)
        self.open_s = dict.fromkeys(NAMES, 0.0)
        self.silent_s = 0.0
        self.late_s = 1.0  # since the control lane stood still

    def cycle(self, rig: WindowRig, flowed: dict[str, float]) -> None:
        """One mains cycle has passed in which `flowed` A RMS flowed."""
        self.late_s = self.late_s + CYCLE_S if rig.controlling else 0.0
        self.silent_s = 0.0 if rig.sampling else self.silent_s + CYCLE_S
        live = rig.controlling and rig.sampling
        for name in NAMES:
            amps = flowed[name]
            state = rig.state(name)
            pin = rig.coil(name)
            if state in LATCHED:
                self.latched[name] = True
            if rig.controlling:
                assert not pin or state in ("on", "closing"), f"{name}: closed while {state}"
                assert not (pin and self.latched[name]), f"{name}: closed after a trip, no reset"
            limit = rig.controller.outlets[rig.index(name)].limit_ma / 1000
            seen = name not in rig.broken and rig.sampling
            # What passes the peak limit flows for a millisecond, not for the rig's whole cycle.
            if seen and amps < 8 * RATING[name]:
                tau = TAU_S if amps * amps > self.heat[name] or pin else COOL_S
                self.heat[name] += (amps * amps - self.heat[name]) * CYCLE_S / tau
            hot = (1.05 * limit) ** 2 * 1.1
            if live and self.late_s > 0.1 and self.heat[name] > hot:
                assert not pin, f"{name}: {amps} A on beyond its curve"
            dark = live and state == "on" and not pin
            self.open_s[name] = self.open_s[name] + CYCLE_S if dark else 0.0
            assert self.open_s[name] < 0.1, f"{name}: said to be on, and is open"
            # the peak limit, 8 x rating, in one cycle
            over = amps * math.sqrt(2) > 8.2 * RATING[name] * math.sqrt(2)
            self.peak_s[name] = self.peak_s[name] + CYCLE_S if over and seen and pin else 0.0
            assert self.peak_s[name] <= CYCLE_S, f"{name}: short circuit not opened"
            bad = name in rig.broken and live
            self.broken_s[name] = self.broken_s[name] + CYCLE_S if bad else 0.0
            assert not (pin and self.broken_s[name] > 0.1), f"{name}: on without a sensor"
            leak = amps > 1.5 * RATING[name] / 20 and not pin and seen and live
            self.leak_s[name] = self.leak_s[name] + CYCLE_S if leak else 0.0
            assert self.leak_s[name] < 0.5, f"{name}: welded, and the contactor is closed"
        if rig.controller.contactor_blocked:
            reasons = [x.reason for x in rig.controller.outlets if rig.state(x.name) == "fault"]
            assert events.WELDED in reasons, "blocked, and nobody can say why or clear it"
        for leg, members in enumerate(LEGS):
            on = [flowed[name] for name in members if rig.coil(name)]
            # beyond four times its limit a leg is cut by the hard limit, within 2 s
            amps = min(160, sum(x for x in on if x < 160))
            blind = members & rig.broken or not live
            if blind:
                self.leg_heat[leg] = self.leg_s[leg] = self.hard_s[leg] = 0.0
                continue
            self.leg_heat[leg] += (amps * amps - self.leg_heat[leg]) * CYCLE_S / 130
            above = self.leg_heat[leg] > (1.05 * 40) ** 2 * 1.1 and amps > 1.05 * 40
            self.leg_s[leg] = self.leg_s[leg] + CYCLE_S if above else 0.0
            self.hard_s[leg] = self.hard_s[leg] + CYCLE_S if amps > 1.51 * 40 else 0.0
            assert self.leg_s[leg] < 2.2, f"leg {leg}: {amps} A too long"
            assert self.hard_s[leg] < 2.2, f"leg {leg}: {amps} A beyond its hard limit"
        if self.silent_s > 0.35 and rig.controlling:
            assert not any(rig.coil(name) for name in NAMES), "closed without a sampler"
            assert not rig.coil("contactor")


class Sequences(RuleBasedStateMachine):
    @initialize()
    def power_on(self) -> None:
        self.rig = WindowRig(settings=SETTINGS)
        self.judge = Judge()

    def run(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / CYCLE_S))):
            flowed = {name: self.rig.amps(name) for name in NAMES}
            self.rig.window()
            self.judge.cycle(self.rig, flowed)

    @rule(seconds=st.sampled_from((0.017, 0.1, 1.5, 8.0, 20.0)))
    def wait(self, seconds: float) -> None:
        self.run(seconds)

    @rule(amps=st.lists(st.sampled_from((5, 12, 18, 20)), min_size=5, max_size=5))
    def a_new_day(self, amps: list[int]) -> None:
        """Everything repaired, cleared and switched on; what is hot or does not fit stays off."""
        rig = self.rig
        rig.welded.clear()
        rig.broken.clear()
        rig.volts = 120.0
        rig.load.update(zip(NAMES, amps, strict=True))
        self.run(0.2)
        for name in NAMES:
            self.reset(name, True)
        for name in NAMES:
            self.on(name, False)

    @rule(name=outlets, force=st.booleans())
    def on(self, name: str, force: bool) -> None:
        latched = self.judge.latched[name]
        said = self.rig.do("on", name, force)
        if latched:
            assert said, f"{name} was let on although it is {self.rig.state(name)}"
        if said:
            assert not self.rig.coil(name) or self.rig.state(name) in ("on", "closing")
        self.run(0.05)

    @rule(name=outlets)
    def off(self, name: str) -> None:
        assert self.rig.do("off", name) == ""
        assert not self.rig.coil(name), "off means open at once"

    @rule(name=outlets, force=st.booleans())
    def reset(self, name: str, force: bool) -> None:
        if self.rig.do("reset", name, force) == "":
            self.judge.latched[name] = False
            assert self.rig.state(name) not in LATCHED
        self.run(0.017)

    @rule(
        names=st.sets(outlets, min_size=1),
        amps=st.sampled_from(AMPS),
        seconds=st.sampled_from((0.05, 0.3, 4.0)),
    )
    def load(self, names: set[str], amps: float, seconds: float) -> None:
        for name in names:
            self.rig.load[name] = amps
        self.run(seconds)

    @rule(
        what=st.sampled_from(("sensor", "weld", "supply", "stall", "silence")),
        name=outlets,
        broken=st.booleans(),
        volts=st.sampled_from((0.0, 50.0, 108.0, 127.0)),
        seconds=st.sampled_from((0.05, 0.9, 3.5, 5.0)),
    )
    def trouble(self, what: str, name: str, broken: bool, volts: float, seconds: float) -> None:
        rig = self.rig
        if what == "sensor":
            (rig.broken.add if broken else rig.broken.discard)(name)
            self.run(0.1)
        elif what == "weld":
            (rig.welded.add if broken else rig.welded.discard)(name)
            self.run(0.1)
        elif what == "supply":
            rig.volts = volts
            self.run(0.6)
        elif what == "stall":
            self.stall(seconds, name)
        else:
            self.silence(min(seconds, 1.0), name)

    def stall(self, seconds: float, name: str) -> None:
        """The control lane stands still; the outer lane asks for something before it goes on."""
        self.rig.controlling = False
        self.run(seconds)
        if seconds > 3.2:
            assert not any(self.rig.coil(name) for name in NAMES), "the lease is over"
        said = self.rig.do("on", name)
        assert said or not self.judge.latched[name]
        self.rig.controlling = True
        self.run(0.1)

    def silence(self, seconds: float, name: str) -> None:
        self.rig.sampling = False
        self.run(seconds)
        said = self.rig.do("on", name)
        assert seconds < 0.5 or said, "nothing would protect it"
        self.run(0.1)
        self.rig.sampling = True
        self.run(0.1)

    @rule(name=outlets, amps=st.sampled_from((6, 12, 20)))
    def limit(self, name: str, amps: int) -> None:
        before = self.rig.controller.outlets[self.rig.index(name)].limit_ma / 1000
        self.rig.settings.set(f"{name}.limit_a", amps)
        # the firmware keeps the heat in per cent of the limit
        self.judge.heat[name] *= (amps / before) ** 2
        self.run(0.05)

    @rule()
    def chip_reset(self) -> None:
        """What latched is known afterwards; all else is off, and heat is known of latched ones."""
        old = self.rig
        names = [name for name in NAMES if old.state(name) in LATCHED]
        limits = {name: old.settings.get(f"{name}.limit_a") for name in NAMES}
        self.rig = new = WindowRig(settings=SETTINGS, before=old)
        for name in NAMES:
            new.settings.set(f"{name}.limit_a", limits[name])
        self.judge = Judge()
        for name in names:
            self.judge.latched[name] = True
        self.run(0.1)
        for name in names:
            assert new.state(name) in LATCHED, f"{name}: the chip's reset has cleared it"

    @invariant()
    def what_is_on_record_is_what_is(self) -> None:
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        last: dict[str, int] = {}
        for record in rig.journal.since(0):
            if record[2] >= 0 and record[1] != events.REFUSED:
                last[NAMES[record[2]]] = record[1]
        kinds: dict[str, tuple[int, ...]] = {
            "on": (events.ON, events.RESTORED),
            "closing": (events.ON, events.RESTORED),
            "tripped": (events.TRIPPED,),
            "lockout": (events.LOCKOUT,),
            "fault": (events.FAULT,),
            "shed": (events.SHED,),
            "off": (events.OFF, events.RESET),
        }
        for name, kind in last.items():
            assert kind in kinds[rig.state(name)], f"{name}: {rig.state(name)}, {rig.log()[-6:]}"


Sequences.TestCase.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=(Phase.generate,),  # a failing sequence is short enough as it is to be played back
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestSequences: Any = Sequences.TestCase
