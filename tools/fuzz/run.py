"""The console's fuzz: the real firmware on the simulated chip, under load, with trips provoked.

`python -m tools.fuzz` plays it and prints its figures as JSON; a test does so with 100 000 lines.
It is played twice, once with nobody at the console: both have to keep the same bounds.

What is looked at: no restart, crash or `internal error`; marker lines between the others are all
answered, in their order; no outlet closes more often than lines that were valid asked for, and
one that no line asked for never does; each provoked trip comes in time; free heap, after
everything is switched off, as before; how long the chip computes without a pause.
"""

from __future__ import annotations

import fcntl
import json
import random
import re
import termios
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.fuzz.lines import OUTLETS, Lines, may_close
from tools.progress import ToolError
from tools.simulator.device import SimulatedDevice

# How long each kind of trip may take, in ms from its cause to the relay's pin, with or without
# anybody at the console.
BOUNDS_MS = {"peak": 12, "short_time": 560, "thermal": 7_800, "supply": 560}
CANARY = "cabin2"
TESTED = ("bed1", "cabin1")  # outlets that are made to trip; no line switches them meanwhile
# Free heap may differ by this, in bytes: journal records are there one time and not the other.
HEAP_BOUND = 2500

_SLICE_US = 4000
_QUEUE = 3000  # bytes waiting in the console's pipe
MARKER = 500  # lines between two markers
_PAUSE_S = 1.0
_CLOSED_S = 20.0


class Failure(Exception):
    """The firmware did not do what it must; the text says what happened."""


@dataclass
class Figures:
    """What a run has shown."""

    lines: int = 0
    virtual_s: float = 0.0
    real_s: float = 0.0
    trips_ms: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    markers: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    allowed: dict[str, int] = field(default_factory=dict)
    heap_before: int = 0
    heap_after: int = 0
    computing_ms: float = 0.0  # longest, of CPU time, within 4 ms of the chip's time


class Run:
    """One session: `play()` to its end, Failure at the first thing that must not be."""

    def __init__(self, lines: int, seed: int = 1) -> None:
        self.wanted = lines
        self.lines = Lines(seed, canary=CANARY)
        self.rng = random.Random(seed + 1)
        self.figures = Figures(trips_ms={kind: [] for kind in BOUNDS_MS})
        self.feeding = False
        self._rest = b""
        self._partial = b""
        self._marked = 0
        self._asked: Counter[str] = Counter()
        self._ever: set[str] = set()
        self._answers: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._seen = 0
        self._cpu_ns = 0
        self.device = SimulatedDevice(
            seed=seed,
            # with a battery the modes are there from the start; without, the first `mode camp`
            # would bring them, and that memory would look like a leak
            settings={
                "bed1.trip_class": "fast",
                "cabin1.trip_class": "fast",
                "battery.usable_kwh": 123,
            },
            stall_s=30.0,
        )

    # -- the whole ---------------------------------------------------------------------------

    def play(self) -> Figures:
        """The session; its figures."""
        began = time.monotonic()
        with self.device as device:
            device.run(2.0)
            for line in ("bed240 resistive amps=12", "cabin1 heater", "bed2 circular_saw"):
                device.sim(f"plug {line}")
            self._settled_heap(warm=2000)
            self._trips()
            # only now: what was loaded for the first time has left its names, which MicroPython
            # keeps for ever
            self.figures.heap_before = self._settled_heap(warm=0)
            while self.lines.lines < self.wanted:
                self._feed_for(_PAUSE_S)
                self._trip("peak")
            self.figures.heap_after = self._settled_heap(warm=0)
            self._judge()
            self.figures.virtual_s = device.now_us / 1e6
        self.figures.lines = self.lines.lines
        self.figures.real_s = round(time.monotonic() - began, 1)
        return self.figures

    def _trips(self) -> None:
        """Trips of each kind, while lines come without a pause."""
        self._trip("thermal")  # from cold, so first
        for _ in range(3):
            for kind in ("peak", "short_time", "supply", "peak"):
                self._feed_for(_PAUSE_S)
                self._trip(kind)

    # -- the console -------------------------------------------------------------------------

    def _waiting(self) -> int:
        """Bytes that the console has not read yet."""
        count = array("i", [0])
        assert self.device._child is not None
        fcntl.ioctl(self.device._child._console_in, termios.FIONREAD, count)
        return count[0]

    def _send(self, data: bytes) -> None:
        self.device.write(data)
        *whole, self._partial = re.split(rb"[\r\n]", self._partial + data)
        for line in whole:
            outlets = may_close(line)
            if re.search(rb"\x1b.?[AB]", line):  # from the history
                outlets |= self._ever
            self._ever |= outlets
            self._asked.update(outlets)

    def _feed(self) -> None:
        while self.feeding and self._waiting() < _QUEUE:
            if self.lines.lines // MARKER > self._marked:
                self._marked += 1
                self._send(b"\x03\nget marker.%d\n" % self._marked)
            self._send(self.lines.next())

    def _step(self) -> None:
        """4 ms of the chip's time."""
        self._feed()
        self.device.run_until(self.device.now_us + _SLICE_US)
        cpu = self._cpu()
        if self._cpu_ns:
            used = (cpu - self._cpu_ns) / 1e6
            self.figures.computing_ms = max(self.figures.computing_ms, round(used, 1))
        self._cpu_ns = cpu
        self._read()

    def _cpu(self) -> int:
        """Nanoseconds that the chip's process has computed."""
        return int(Path(f"/proc/{self.device.pid}/schedstat").read_text().split()[0])

    def _feed_for(self, seconds: float) -> None:
        until = self.device.now_us + round(seconds * 1e6)
        while self.device.now_us < until:
            self._step()

    def _read(self) -> None:
        """Look at what the console has shown, and forget it."""
        if self.device.resets:
            raise Failure(f"the chip restarted: {self.device.resets}; {self._last()}")
        for line in self.device.lines[self._seen :]:
            text = line.text
            if "internal error" in text or "Traceback" in text or "MemoryError" in text:
                raise Failure(f"{text}; {self._last()}")
            marker = re.search(r"no setting 'marker\.(\d+)'", text)
            if marker:
                number = int(marker[1])
                if number > self.figures.markers + 1:
                    raise Failure(f"answer {number} after {self.figures.markers}")
                self.figures.markers = max(number, self.figures.markers)  # or from the history
            elif text.startswith("event: "):
                words = text.split()
                self._events.update([f"{words[3]} {words[4]}"])
            else:
                head = re.match(r"ok|error|\{", text)
                self._answers.update([head[0]] if head else [])
        if len(self.device.lines) > 4000:
            del self.device.lines[:-200]
        self._seen = len(self.device.lines)

    def _last(self) -> str:
        return "before it: " + " | ".join(line.text for line in self.device.lines[-8:])

    def _drain(self) -> None:
        """Nothing more is sent, until all that was sent is answered."""
        feeding, self.feeding = self.feeding, False
        self._send(b"\x03\n")
        until = self.device.now_us + 60_000_000
        while self._waiting():
            self._step()
            if self.device.now_us > until:
                raise Failure(f"the console does not read: {self._waiting()} bytes wait")
        self._feed_for(0.5)
        self.feeding = feeding

    def _settled_heap(self, warm: int) -> int:
        """Free bytes with every outlet off and the defaults in force."""
        self.feeding = self.wanted > 0
        while self.lines.lines < min(warm, self.wanted):
            self._step()
        self._drain()
        self.feeding = False
        for line in ("off all", "defaults yes", "save", "capture clear", "status", "get bed1"):
            self._send(line.encode() + b"\n")
            self._feed_for(0.5)
        self._feed_for(3.0)
        first = len(self.device.lines)
        self._send(b"selftest --json\n")
        self._feed_for(1.0)
        for shown in self.device.lines[first:]:
            if shown.text.startswith("{"):
                rows = {row["name"]: row for row in json.loads(shown.text)["tests"]}
                bad = [name for name, row in rows.items() if not row["ok"]]
                if "tasks" in bad:
                    raise Failure(f"a task crashed: {rows['tasks']['text']}")
                self.feeding = self.wanted > 0
                return int(rows["heap"]["text"].split()[0])
        raise Failure(f"no answer to selftest; {self._last()}")

    # -- trips -------------------------------------------------------------------------------

    def _close(self, outlet: str) -> None:
        """Close an outlet by its valid command, in the middle of the others."""
        self.lines.keep = frozenset(TESTED)
        self._drain()
        for line in (f"set {outlet}.trip_class fast", f"reset {outlet} --force", f"on {outlet}"):
            self._send(b"\x03\n" + line.encode() + b"\n")
        until = self.device.now_us + round(_CLOSED_S * 1e6)
        while not self.device.truth()["outlets"][outlet]["powered"]:
            self._step()
            if self.device.now_us > until:
                raise Failure(f"{outlet} does not close; {self._last()}")
            if self.device.now_us % 2_000_000 < _SLICE_US:
                self._send(b"\x03\nreset " + outlet.encode() + b" --force\n")
                self._send(b"\x03\non " + outlet.encode() + b"\n")
        self._feed_for(0.3)

    def _trip(self, kind: str) -> None:
        """Provoke a trip, and time it."""
        outlet = "cabin1" if kind == "thermal" else "bed1"
        causes = {
            "peak": (f"short {outlet}", f"unshort {outlet}"),
            "short_time": (f"plug {outlet} resistive amps=130", f"unplug {outlet}"),
            "thermal": (f"plug {outlet} resistive amps=38", f"unplug {outlet}"),
            "supply": ("supply off", "supply on"),
        }
        self._close(outlet)
        # at any instant of a cycle, and of the console's work
        for _ in range(self.rng.randrange(5)):
            self._step()
        device = self.device
        device.run_until(device.now_us + self.rng.randrange(16_667))
        relay = device.board.outlets[device.board.outlet_index(outlet)].relay
        device.truck.edges.clear()
        caused_us = device.now_us
        device.sim(causes[kind][0])
        limit_us = caused_us + round(BOUNDS_MS[kind] * 1500)
        opened: list[int] = []
        while not opened and device.now_us < limit_us:
            self._step()
            opened = [t for t, gpio, level in device.truck.edges if gpio == relay and not level]
        took = (opened[0] - caused_us) / 1000 if opened else float("inf")
        self.figures.trips_ms[kind].append(round(took, 3))
        if took > BOUNDS_MS[kind]:
            raise Failure(f"{kind} of {outlet} took {took} ms, {BOUNDS_MS[kind]} are allowed")
        self._feed_for(0.2)
        device.sim(causes[kind][1])
        self._feed_for(0.5)
        self.lines.keep = frozenset()

    # -- the verdict -------------------------------------------------------------------------

    def _judge(self) -> None:
        figures = self.figures
        figures.answers = dict(self._answers)
        figures.allowed = dict(self._asked)
        closings: Counter[str] = Counter()
        for _, outlet, closed in self.device.truck.contacts:
            closings.update([outlet] if closed else [])
        figures.closed = dict(closings)
        for outlet in OUTLETS:
            allowed = self._asked[outlet] + self._events[f"{outlet} restored"]
            if closings[outlet] > allowed:
                raise Failure(
                    f"{outlet} closed {closings[outlet]} times, asked for {allowed} times"
                )
        if closings[CANARY]:
            raise Failure(f"{CANARY} closed, and nobody has asked for it")
        if figures.markers != self._marked:
            raise Failure(f"{figures.markers} of {self._marked} markers were answered")
        if abs(figures.heap_after - figures.heap_before) > HEAP_BOUND:
            raise Failure(f"heap: {figures.heap_before} free before, {figures.heap_after} after")


def play(lines: int, seed: int = 1) -> tuple[Figures, Figures]:
    """The figures of a run without a line, and of one with so many; Failure says what is wrong."""
    if lines < 1:
        raise ToolError("a fuzz of no lines shows nothing")
    return Run(0, seed).play(), Run(lines, seed).play()


def report(quiet: Figures, fuzzed: Figures) -> dict[str, object]:
    """Both as plain data."""
    return {"quiet": asdict(quiet), "fuzzed": asdict(fuzzed), "bounds_ms": BOUNDS_MS}
