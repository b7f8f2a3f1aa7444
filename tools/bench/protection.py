"""Recorded start-ups on every class of outlet against an oracle: what must hold, what must trip.

The firmware's core on CPython (host_tests/fakes/rig.py) in the simulated truck, with the product's
board table and default settings but for the trip class, which takes turns. The oracle knows only
the true current that the truck plays, the outlet's rating and its class's time constant, never
the firmware's readings:

- must hold: steady RMS <= 100 % of the rating and largest half-cycle RMS <= 5 x rating;
- must trip within a cycle: a half-cycle RMS >= 10 x rating, counted from that half cycle's start;
- must trip by the curve of its class +-10 % (or two cycles): steady RMS >= 105 %; the curve is
  integrated over the true squares, so the inrush's heat counts. From 135 % on always within
  UL 489's times. A half-cycle RMS above 5 x rating may trip it sooner;
- anything else is free, and counted.

Half cycles slide, so the largest of all is judged. A trip is the relay's coil being switched off,
for whatever reason (a shed or faulty outlet is off, too); a contact needs some ms more.

No recording is asked to pass more than a bolted short circuit lets flow: a case that ought to
trip within a cycle by a higher peak is `beyond` the supply, counted apart, and so is whether it
tripped. That concerns one recording, the fluorescent lamp: one pulse of 116 us. To have 10 x the
rating over half a cycle it would need 2 000 A, and a converter that looks each 416 us and ends at
12.5 x the rating cannot tell that pulse from the same one at 5 x, which must hold (`--pulse`
prints what it sees).

How a case runs: boot, `on`, then scan by scan through the start-up and a second or more of the
loop. From there on the windows that the firmware's kernel summed over whole passes of the loop
are handed to the control lane again and again, so minutes cost seconds: metering, thermal
elements, dispatcher, state machine are the firmware's, only the kernel's scans are not repeated.
A case that holds is also asked where its heat would settle: for each thermal element, where what
the looped windows heat and what they cool are in balance.

Curve cases run on a board whose legs and total carry ten times as much. On the product's own
board these would relieve themselves before the outlet's curve acts.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.progress import step
from tools.simulator import recordings
from tools.simulator.loads import SHORT_OHMS, Recorded
from tools.simulator.supply import NOMINAL_V

if TYPE_CHECKING:
    from host_tests.fakes.rig import Rig

CASES = 540  # less those beyond the supply: more than 500 are judged
HZ = 60.0
HOLD_X = 5.0  # lower and upper edge of IEC 60898's C band, x rating
TRIP_X = 10.0
PEAK_X = 8.0  # the peak stage's default limit, x rating x sqrt 2
PICKUP = 1.05
TAU_S = {"standard": 120.0, "fast": 40.0, "slow": 300.0, "motor": 240.0}  # as documented
TOLERANCE = 0.1
_CYCLE_S = 1.0 / HZ
_LEAST_CYCLES = 2  # tolerance of very short times
_BOARD = "simulated"
# outlets by class: on L1 and on L2 in turn, as these see opposite halves of the supply
CLASSES = (("bed1", "bed2", "cabin1", "cabin2"), ("bed240",))
_WIDE = 10
_WATCH = 1.2  # a curve case is watched for so many times its expected time
_LOOP_WINDOWS = 60  # at least so many windows are put back again and again
_CURVE_WINDOWS = 240  # near the pick-up 0.1 % of current is 3 % of time: more scans of each pulse
_PULSE = "plaid_707_compact_fluorescent_lamp_off_on"
_HOLD_S = 5.0  # and so long in a case that holds, s


class Wave:
    """A current as it is played, A: `amps` from its start, evenly spaced, to the end of its loop
    from index `loop_start` on; `per_cycle` samples a mains cycle. Linear between samples."""

    def __init__(self, amps: Any, loop_start: int, per_cycle: int) -> None:
        looped = np.asarray(amps, dtype=float)[loop_start:]
        turns = -(-(per_cycle + 1) // len(looped))
        once_more = np.tile(looped, turns)[: per_cycle + 1]  # half cycles across the seam
        samples = np.concatenate((np.asarray(amps, dtype=float), once_more))
        # twice the samples, so that half a cycle is a whole number of them
        fine = np.interp(np.arange(2 * len(samples) - 1) / 2, np.arange(len(samples)), samples)
        a, b = fine[:-1], fine[1:]
        self._squares = (a * a + a * b + b * b) / 3  # exact mean of each piece
        self._per_cycle = 2 * per_cycle
        self.peak = float(np.abs(samples).max())
        self._loop = slice(2 * loop_start, 2 * (loop_start + len(looped)))
        self.steady = math.sqrt(float(self._squares[self._loop].mean()))
        total = np.concatenate(([0.0], np.cumsum(self._squares)))
        self.halves = np.sqrt((total[per_cycle:] - total[:-per_cycle]).clip(0) / per_cycle)
        """Sliding half-cycle RMS by the start of the half cycle, A."""

    @property
    def largest_half(self) -> float:
        """Largest half-cycle RMS, A."""
        return float(self.halves.max())

    @property
    def pulse_us(self) -> float:
        """For how long the current of the largest half cycle is above half of its peak, us: a
        third of a cycle for a sine, and no converter sees what is shorter than a scan."""
        first = int(np.argmax(self.halves))
        squares = self._squares[first : first + self._per_cycle // 2]
        return self.time_of(int(np.count_nonzero(squares > squares.max() / 4))) * 1e6

    def time_of(self, index: int) -> float:
        """Seconds from the start of the wave."""
        return index / self._per_cycle * _CYCLE_S

    def scaled(self, steady: float) -> Wave:
        """The same shape with another steady RMS, A."""
        other = copy.copy(self)
        factor = steady / self.steady
        other.steady = steady
        other.peak = self.peak * factor
        other.halves = self.halves * factor
        other._squares = self._squares * factor**2
        return other

    def curve_s(self, rating: float, tau: float = TAU_S["standard"]) -> float:
        """When the curve of a `rating` (A) and time constant `tau` (s) trips from cold, s from
        the start; inf when it never does. For a constant current this is
        tau ln(r^2 / (r^2 - 1))."""
        limit = (PICKUP * rating) ** 2
        dt = self.time_of(1)
        runs_in = self._squares[: self._loop.start]
        times = np.arange(1, len(runs_in) + 1) * dt
        heat = np.cumsum(runs_in * np.exp(times / tau)) * np.exp(-times / tau) * dt / tau
        if len(heat) and heat.max() >= limit:
            return float(times[int(np.argmax(heat >= limit))])
        begin = self.time_of(self._loop.start)
        warm = float(heat[-1]) if len(heat) else 0.0
        square = self.steady**2
        if square <= limit:
            return math.inf
        return begin + tau * math.log((square - warm) / (square - limit))


@dataclass(frozen=True)
class Demand:
    """What the oracle wants: `kind` is hold, cycle, curve, free or beyond; a trip is in time
    from `earliest_s` to `latest_s`, seconds from the start of the wave."""

    kind: str
    earliest_s: float = 0.0
    latest_s: float = math.inf


def ul489_s(multiple: float, rating: float) -> float:
    """UL 489's longest time to trip at `multiple` x `rating` (A, up to 50), s."""
    if multiple >= 2.0:
        return 120.0 if rating <= 30 else 240.0
    return 3600.0 if multiple >= 1.35 else math.inf


def demand(
    wave: Wave, rating: float, trip_class: str = "standard", most: float = math.inf
) -> Demand:
    """The oracle. `rating` in A; `most`: what the supply can drive at all, A peak."""
    steady = wave.steady / rating
    largest = wave.largest_half / rating
    if largest >= TRIP_X and wave.peak > most:
        return Demand("beyond")
    if largest >= TRIP_X:
        first = int(np.argmax(wave.halves >= TRIP_X * rating))
        return Demand("cycle", 0.0, wave.time_of(first) + _CYCLE_S)
    if steady <= 1.0:
        return Demand("hold" if largest <= HOLD_X else "free")
    if steady < PICKUP:
        return Demand("free")
    expected = wave.curve_s(rating, TAU_S[trip_class])
    slack = max(TOLERANCE * expected, _LEAST_CYCLES * _CYCLE_S)
    latest = min(expected + slack, ul489_s(steady, rating))
    return Demand("curve", expected - slack if largest <= HOLD_X else 0.0, latest)


def verdict(wanted: Demand, tripped_s: float | None) -> str:
    """`ok`, `free`, `beyond`, `nuisance`, `late` (tripped, but after its time), `missed` (still
    on when the run ended: a cycle after a cycle's time, or at 1.2 x the curve's)."""
    if wanted.kind in ("free", "beyond"):
        return wanted.kind
    if wanted.kind == "hold":
        return "ok" if tripped_s is None else "nuisance"
    if tripped_s is None:
        return "missed"
    if tripped_s < wanted.earliest_s:
        return "nuisance"
    return "ok" if tripped_s <= wanted.latest_s else "late"


def settled_heat(squares: Any, scans: Any, tau: float, cool: float) -> float:
    """Heat at which `squares`, each for so many `scans`, heat as much as they cool (time
    constants in scans). Above their mean when cooling is slower than heating."""
    low, high = 0.0, float(np.max(squares))
    for _ in range(60):
        middle = (low + high) / 2
        rise = (np.asarray(squares) - middle) * scans
        if np.where(rise > 0, rise / tau, rise / cool).sum() > 0:
            low = middle
        else:
            high = middle
    return high


@cache
def played(name: str) -> Wave:
    """A recording as the truck plays it, at 60 Hz and unscaled."""
    r = recordings.load(name)
    end = r.loop_start + r.loop_length
    return Wave(r.current[:end], r.loop_start, r.per_cycle)


@cache
def prospective(outlet: str) -> float:
    """The largest current that can flow there: peak of a bolted short circuit, A."""
    from host_tests.fakes.rig import boards

    board = boards.load(_BOARD)
    legs = len(board.outlets[board.outlet_index(outlet)].legs)
    return legs * NOMINAL_V * math.sqrt(2) / SHORT_OHMS


@dataclass(frozen=True)
class Case:
    """A recording scaled to `amps` steady RMS on an outlet of `rating` A."""

    recording: str
    outlet: str
    rating: float
    amps: float
    seed: int = 0
    trip_class: str = "standard"

    @property
    def wave(self) -> Wave:
        return played(self.recording).scaled(self.amps)

    @property
    def demand(self) -> Demand:
        return demand(self.wave, self.rating, self.trip_class, prospective(self.outlet))


@dataclass(frozen=True)
class Result:
    """What came of a case; `tripped_s` from the start of the wave, inf: after the run's end."""

    case: Case
    demand: Demand
    verdict: str
    tripped_s: float | None
    said: str

    def __str__(self) -> str:
        case = self.case
        wave = case.wave
        when = "held" if self.tripped_s is None else f"tripped after {self.tripped_s:.4g} s"
        return (
            f"{self.verdict}: {case.recording} at {case.amps:.4g} A on {case.outlet}, "
            f"class {case.trip_class} (steady "
            f"{wave.steady / case.rating:.3f}, largest half cycle "
            f"{wave.largest_half / case.rating:.2f} x {case.rating:g} A, above half of its peak "
            f"for {wave.pulse_us:.0f} us): {when} ({self.said}), "
            f"oracle: {self.demand.kind}, {self.demand.earliest_s:.4g} to "
            f"{self.demand.latest_s:.4g} s"
        )


def multiples(name: str, count: int) -> list[float]:
    """`count` steady currents in multiples of the rating for a recording: up to the edge of what
    must hold, overloads, between the edges, and from where a half cycle must trip on."""
    wave = played(name)
    inrush = wave.largest_half / wave.steady
    # a peak of all that the supply can drive; the same for every class of outlet
    most = min(prospective(x) / rating for x, rating in (("bed1", 20.0), ("bed240", 40.0)))
    most *= wave.steady / wave.peak * (1 - 1e-9)
    edge = min(1.0, HOLD_X / inrush) * (1 - 1e-9)
    trip = TRIP_X / inrush * (1 + 1e-9)
    holds = max(1, round(0.45 * count))
    curves = round(0.26 * count)
    trips = round(0.2 * count)
    free = max(0, count - holds - curves - trips)
    grid = [
        *np.linspace(edge / holds, edge, holds),
        *np.geomspace(1.06, min(4.4, most), curves),
        *np.geomspace(trip, max(trip * 1.5, min(4 * trip, most)), trips),
        *np.linspace(edge, trip, free + 2)[1:-1],
    ]
    return [float(x) for x in grid][:count]


def grid(count: int) -> list[Case]:
    """`count` cases over all recordings and outlet classes."""
    from host_tests.fakes.rig import boards

    ratings = {x.name: x.rating_ma / 1000 for x in boards.load(_BOARD).outlets}
    pairs = [(name, outlets) for name in recordings.available() for outlets in CLASSES]
    cases: list[Case] = []
    turn: Counter[tuple[str, float]] = Counter()
    for p, (name, outlets) in enumerate(pairs):
        share = count // len(pairs) + (p < count % len(pairs))
        for k, x in enumerate(multiples(name, share) if share else []):
            outlet = outlets[k % len(outlets)]
            seed = len(cases) % 8
            case = Case(name, outlet, ratings[outlet], x * ratings[outlet], seed)
            # the trip classes take turns within each kind of case and class of outlet
            key = (case.demand.kind, case.rating)
            trip_class = list(TAU_S)[turn[key] % len(TAU_S)]
            turn[key] += 1
            cases.append(replace(case, trip_class=trip_class))
    return cases


class _Run:
    """One case in the truck."""

    def __init__(
        self, case: Case, wide: bool, settings: dict[str, Any], spoil: Callable[[Rig], None] | None
    ) -> None:
        from host_tests.fakes.playback import Playback
        from host_tests.fakes.rig import Rig, boards, kernel

        settings = {f"{case.outlet}.trip_class": case.trip_class, **settings}
        board = boards.load(_BOARD)
        if wide:
            board = copy.copy(board)
            board.leg_limit_ma *= _WIDE
            board.total_w *= _WIDE
        self.kernel = kernel
        self.rig = rig = Rig(board, settings, seed=case.seed, boot_s=0.4)
        self.playback = Playback(rig)
        if spoil:
            spoil(rig)
        rig.until(lambda: not rig.controller.starting, 1.5)
        # the contactor's operate time; and scans fall 0.06 of their period later in each cycle, so
        # that each seed looks at other points of the wave
        rig.run(0.05 + 2 * case.seed * _CYCLE_S)
        self.name = case.outlet
        assert rig.truck is not None
        self.truck = rig.truck
        self.gpio = board.outlets[rig.index(case.outlet)].relay
        rig.sim(f"play {case.outlet} {case.recording} amps={case.amps!r}")
        (load,) = self.truck.circuit(case.outlet).loads.values()
        assert isinstance(load, Recorded)
        refused = rig.do("on", case.outlet)
        assert refused == "", refused
        self._edges = len(self.truck.edges)
        rig.until(lambda: self.truck.circuit(case.outlet).powered, 0.1)
        # the truck plays the recording by phase: when its first sample is (or would have been)
        circuit, supply = self.truck.circuit(case.outlet), self.truck.supply
        cycles = load._base - circuit.shift - supply.cyc0
        self.start_us = supply.t0 + cycles / supply.per_us

    @property
    def now_s(self) -> float:
        """Seconds from the start of the wave."""
        return (self.rig.t_us - self.start_us) / 1e6

    def tripped_s(self) -> float | None:
        """When the outlet's coil was switched off, if it was."""
        for t_us, gpio, level in self.truck.edges[self._edges :]:
            if gpio == self.gpio and not level:
                return float(t_us - self.start_us) / 1e6
        self._edges = len(self.truck.edges)
        return None

    def scans(self, until_s: float, windows: list[Any] | None = None) -> float | None:
        """Scan by scan; collects finished windows. Returns when it tripped."""
        lane = self.rig.lane
        st = lane.st
        while self.now_s < until_s:
            head = st[self.kernel.HEAD]
            self.rig.scan()
            if windows is not None and st[self.kernel.HEAD] != head:
                windows.append(lane.ring[head * lane.words : (head + 1) * lane.words])
            if len(self.truck.edges) > self._edges:
                tripped = self.tripped_s()
                if tripped is not None:
                    return tripped
        return None

    def replay(self, windows: Sequence[Any], until_s: float) -> float | None:
        """Hand windows to the control lane in turn. Returns when it tripped."""
        tripped: list[float] = []

        def off() -> bool:
            if len(self.truck.edges) > self._edges:
                when = self.tripped_s()
                if when is not None:
                    tripped.append(when)
            return bool(tripped)

        if self.now_s < until_s:
            self.playback.give(windows, off, until_s - self.now_s)
        return tripped[0] if tripped else None

    def ends_hot(self, windows: Sequence[Any]) -> bool:
        """Whether any thermal element would ever reach its limit on these windows: hands them
        over once more and notes what each element is fed."""
        from firmware.protection import thermal as t

        block = self.rig.controller.bank.block
        elements = [x.at for x in self.rig.controller.bank.elements]
        fed = []
        for window in windows:
            if self.replay([window], self.now_s + 1e-6) is not None:
                return True
            fed.append([block[at + t.T_LOAD] for at in elements])
        scans = np.array([w[self.kernel.W_N] for w in windows])
        squares = np.array(fed) / scans[:, None]
        for i, at in enumerate(elements):
            tau, cool = block[at + t.T_TAU], block[at + t.T_COOL]
            settled = settled_heat(squares[:, i], scans, tau, cool)
            # within a pass it swings by no more than all of the heating in one go
            swing = float(np.clip(squares[:, i] - settled, 0, None) @ scans) / tau
            if settled + swing >= block[at + t.T_LIMIT]:
                return True
        return False


def run(
    case: Case,
    settings: dict[str, Any] | None = None,
    spoil: Callable[[Rig], None] | None = None,
) -> Result:
    """One case. `settings` differ from the defaults, and `spoil` does something to the rig, to
    show that the bench can fail."""
    from host_tests.fakes.playback import merged

    wanted = case.demand
    one = _Run(case, wanted.kind == "curve", settings or {}, spoil)
    said = ""
    windows: list[Any] = []
    if wanted.kind == "cycle":
        tripped = one.scans(wanted.latest_s + _CYCLE_S)
    elif wanted.kind == "beyond":  # as if it were one
        first = int(np.argmax(case.wave.halves >= TRIP_X * case.rating))
        tripped = one.scans(case.wave.time_of(first) + _CYCLE_S)
    else:
        recording = recordings.load(case.recording)
        begin = recording.loop_start / recording.per_cycle * _CYCLE_S
        loop = recording.loop_length // recording.per_cycle  # cycles, so windows
        wants = loop * -(-(_LOOP_WINDOWS if wanted.kind != "curve" else _CURVE_WINDOWS) // loop)
        tripped = one.scans(begin)
        if tripped is None:
            tripped = one.scans(begin + (wants + 2) * _CYCLE_S, windows)
        if tripped is None:
            windows = windows[-wants:]
            if wanted.kind == "curve":
                once = merged(windows, wanted.latest_s)
                tripped = one.replay(once, _WATCH * wanted.latest_s)
            else:
                tripped = one.replay(windows, one.now_s + _HOLD_S)
            if tripped is None and wanted.kind == "hold" and one.ends_hot(windows):
                tripped, said = math.inf, "its heat would reach the limit in the end"
    if tripped is not None and not said:
        rig = one.rig
        rig.scan()  # what the fast lane did gets its reason from the control lane
        rig.until(lambda: rig.state(case.outlet) not in ("closing", "on"), 0.1)
        said = f"{rig.state(case.outlet)} {rig.reason(case.outlet)}"
    return Result(case, wanted, verdict(wanted, tripped), tripped, said or "on")


def run_all(
    cases: Sequence[Case],
    settings: dict[str, Any] | None = None,
    spoil: Callable[[Rig], None] | None = None,
) -> list[Result]:
    """All cases, one after the other."""
    return [run(case, settings, spoil) for case in cases]


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of bench.json."""
    verdicts = Counter(r.verdict for r in results)
    kinds = Counter(r.demand.kind for r in results)
    classes = Counter(r.case.trip_class for r in results if r.demand.kind == "curve")
    free = sum(1 for r in results if r.verdict == "free" and r.tripped_s is not None)
    beyond = [r for r in results if r.verdict == "beyond"]
    unseen = sum(1 for r in beyond if r.tripped_s is None)
    return {
        "nuisance_trips": verdicts["nuisance"],
        "missed_trips": verdicts["missed"],
        "late_trips": verdicts["late"],
        "cases": len(results) - len(beyond),
        "free": verdicts["free"],
        "beyond": len(beyond),
        "beyond_not_tripped": unseen,
        "conditions": (
            f"{len({r.case.recording for r in results})} recordings scaled on 20 A/120 V and "
            f"40 A/240 V outlets, simulated truck at {HZ:g} Hz, plain kernels on CPython, cold, "
            f"default settings but for the trip class; must hold {kinds['hold']}, must trip "
            f"within a cycle {kinds['cycle']}, by the curve {kinds['curve']} ("
            + ", ".join(f"{name} {classes[name]}" for name in TAU_S)
            + f"; legs and total {_WIDE} x wider), free {kinds['free']} (of which {free} tripped)"
            f"; {len(beyond)} more have a peak beyond the supply's short circuit, {unseen} "
            f"of these did not trip ({', '.join(sorted({r.case.recording for r in beyond}))})"
        ),
    }


def measure(cases: int = CASES) -> dict[str, Any]:
    """The `protection` part of bench.json."""
    step(f"{cases} recorded starts against the oracle of holding and tripping")
    results = run_all(grid(cases))
    for result in results:
        if result.verdict not in ("ok", "free", "beyond"):
            step(str(result))
    return summary(results)


@dataclass(frozen=True)
class Sight:
    """What the converter sees of a recording whose largest half-cycle RMS is known: half-cycle
    RMS of its codes (x rating) from the least to the largest over all moments at which its scans
    may fall, and how likely no, one or two scans in a row are above the peak limit."""

    low: float
    high: float
    none: float
    one: float
    two: float


def sight(name: str, multiple: float, moments: int = 104) -> Sight:
    """A recording with a largest half-cycle RMS of `multiple` x rating, seen through the 20 A
    outlets' sensor and scan period."""
    from host_tests.fakes.rig import boards

    board = boards.load(_BOARD)
    outlet = board.outlets[0]
    counts = 2048 * outlet.rating_ma / board.channels[outlet.channel].full_scale  # of the rating
    recording = recordings.load(name)
    amps = np.array(recording.current) / played(name).largest_half * multiple
    step_s = _CYCLE_S / recording.per_cycle
    scan_s = board.scan_period_us / 1e6
    half = round(_CYCLE_S / 2 / scan_s)
    rms, runs = [], []
    for moment in np.arange(moments) * scan_s / moments:
        at = np.arange(moment, (len(amps) - 1) * step_s, scan_s)
        codes = np.interp(at, np.arange(len(amps)) * step_s, amps) * counts
        seen = np.clip(np.round(codes), -2048, 2047) / counts
        total = np.concatenate(([0.0], np.cumsum(seen * seen)))
        rms.append(math.sqrt(float((total[half:] - total[:-half]).max()) / half))
        above = np.abs(seen) > PEAK_X * math.sqrt(2)
        runs.append(2 if bool((above[1:] & above[:-1]).any()) else int(above.any()))
    parts = [runs.count(n) / moments for n in range(3)]
    return Sight(min(rms), max(rms), *parts)


def pulse_table() -> str:
    """The lamp's pulse as the converter sees it, against the other recordings at the edges."""
    others = [name for name in recordings.available() if name != _PULSE]
    rows = [(_PULSE, m) for m in (2.0, HOLD_X, 8.0, TRIP_X, 14.0, 20.0, 25.0)]
    rows += [(name, m) for name in others for m in (HOLD_X, TRIP_X)]
    lines = ["recording, true half-cycle RMS: that of its codes; scans in a row above the limit"]
    for name, multiple in rows:
        s = sight(name, multiple)
        lines.append(
            f"{name:46} {multiple:4g} x: {s.low:5.2f} to {s.high:5.2f} x; none {s.none:4.0%}, "
            f"one {s.one:4.0%}, two {s.two:4.0%}"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line: these figures alone."""
    parser = argparse.ArgumentParser(description="recorded starts against the oracle")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--pulse", action="store_true", help="what the converter sees of pulses")
    if parser.parse_args().pulse:
        print(pulse_table())
        return 0
    figures = measure(parser.parse_args().cases)
    print(json.dumps(figures, indent=1))
    return 1 if figures["nuisance_trips"] or figures["missed_trips"] else 0


if __name__ == "__main__":
    sys.exit(main())
