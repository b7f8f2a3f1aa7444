"""Minutes and days in seconds: windows that came through the whole measuring chain once are handed
to the control lane again and again.

Used by tests and by the tools that measure trip times (tools/docs/trip_points.py). Sensors, noise,
converter, kernel and window sums are those of a `Rig`; meter, thermal elements, dispatcher and
state machine go on as ever. Only the scans are not repeated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from host_tests.fakes.rig import Rig, boards, kernel, reduce

Window = Any  # array('i') as it stands in the kernel's ring
_CYCLES = 60  # taken each time: one second
_LONG_CYCLES = 180  # and for hours
_SETTLE_CYCLES = 2  # the window in which the load changed, and the one after


def wide_board(times: int = 10, name: str = "simulated") -> Any:
    """The board with legs and total that carry `times` as much: an outlet's own curve shows."""
    board = copy.copy(boards.load(name))
    board.leg_limit_ma *= times
    board.total_w *= times
    return board


def merge(windows: Sequence[Window]) -> Window:
    """Windows in one, as the kernel merges them when the control lane is late (230 at most)."""
    merged = windows[0][:]
    if len(windows) == 1:
        return merged
    words = list(zip(*windows, strict=True))
    merged[kernel.W_PERIODS] = len(windows)
    merged[kernel.W_N] = sum(words[kernel.W_N])
    for at in range(kernel.SLOT_HEAD, len(merged), kernel.SLOT_CH):
        merged[at] = sum(words[at])
        for product in (at + 1, at + 2, at + 5):
            merged[product] = sum([x >> kernel.MERGE_SHIFT for x in words[product]])
        merged[at + 3] = min(words[at + 3])
        merged[at + 4] = max(words[at + 4])
    return merged


def merged(windows: Sequence[Window], seconds: float) -> list[Window]:
    """As many windows in one as leave a resolution of 0.2 % of `seconds`."""
    most = max(1, min(_LONG_CYCLES, round(seconds * 60 * 0.002)))
    many = max(k for k in range(1, most + 1) if len(windows) % k == 0)
    return [merge(windows[i : i + many]) for i in range(0, len(windows), many)]


class Playback:
    """A rig whose loads stay as they are for longer than anybody wants to wait."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def take(self, cycles: int = _CYCLES) -> list[Window]:
        """The windows of the next cycles, scan by scan."""
        rig, lane = self.rig, self.rig.lane
        st = lane.st
        windows: list[Window] = []
        while len(windows) < cycles:
            head = st[kernel.HEAD]
            rig.scan()
            if st[kernel.HEAD] != head:
                windows.append(lane.ring[head * lane.words : (head + 1) * lane.words])
        return windows

    def give(self, windows: Sequence[Window], until: Callable[[], bool], within_s: float) -> bool:
        """Hand windows to the control lane in turn until `until()`; False when that takes
        longer than `within_s`.

        The windows' sums are against the zeros of the time when they were taken, so the learnt
        zeros stay: learning from the same windows without end would carry them away."""
        rig, lane, truck = self.rig, self.rig.lane, self.rig.truck
        assert truck is not None
        st, block = lane.st, rig.meter.block
        slots = st[kernel.SLOTS]
        words = [(st, lane.base(m.index) + kernel.C_ZERO) for m in rig.meter.channels]
        words += [(block, m.at + reduce.M_RESIDUE) for m in rig.meter.channels]
        zeros = [(array, at, array[at]) for array, at in words]
        end = rig.t_us + round(within_s * 1e6)
        while rig.t_us < end:
            for window in windows:
                head = st[kernel.HEAD]
                lane.ring[head * lane.words : (head + 1) * lane.words] = window
                st[kernel.HEAD] = (head + 1) % slots
                rig.t_us += window[kernel.W_N] * lane.period_us
                # nobody asks the truck what flowed meanwhile, and integrating it takes its time
                truck._measured_us = truck._cycle_start_us = rig.t_us
                truck._set_cycle_end(rig.t_us)
                rig.controller.step()
                for array, at, zero in zeros:
                    array[at] = zero
                if until():
                    return True
        return False

    def hold(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """The loads stay as they are for `seconds`, or until `until()`: which of the two it was.

        Scan by scan for a second or two, then by windows, merged where it lasts long: `until` is
        looked at each 0.2 % of the time at least.
        """
        rig = self.rig
        end = rig.t_us + round(seconds * 1e6)
        for cycles in (_SETTLE_CYCLES, _LONG_CYCLES if seconds > 1500 else _CYCLES):
            windows: list[Window] = []
            for _ in range(cycles):
                if rig.t_us >= end or until():
                    return until()
                windows += self.take(1)
        once = merged(windows, seconds)
        while rig.t_us < end:
            if self.give(once, until, (end - rig.t_us) / 1e6):
                return True
        return False


def trip_time(
    outlet: str,
    amps: float,
    within_s: float,
    settings: dict[str, Any] | None = None,
    before: Sequence[tuple[float, float]] = (),
    seed: int = 0,
) -> tuple[float, str] | None:
    """Seconds from a resistive load of `amps` RMS being there until the outlet's coil is off, and
    why it is; None when it holds for `within_s`. On a board with wide legs and total.

    `before`: loads of (A, s) that come first. `seed`: of the sensors, and when in the mains cycle
    the load comes (0 to 23).
    """
    rig = Rig(wide_board(), settings, seed=seed, boot_s=0.4)
    rig.until(lambda: not rig.controller.starting, 1.5)
    rig.run(0.05)  # the contactor's operate time
    assert rig.do("on", outlet) == ""
    rig.run(0.1 + seed % 24 * 0.7e-3)
    assert rig.truck is not None
    play = Playback(rig)

    def off() -> bool:
        return rig.coil(outlet) == 0

    for load, seconds in (*before, (amps, within_s)):
        rig.sim(f"unplug {outlet}")
        if load:
            rig.sim(f"plug {outlet} resistive amps={load!r}")
        start_us = rig.t_us
        if play.hold(seconds, off):
            break
    else:
        return None
    gpio = rig.board.outlets[rig.index(outlet)].relay
    opened_us = max(t_us for t_us, pin, level in rig.truck.edges if pin == gpio and not level)
    seconds = (opened_us - start_us) / 1e6
    rig.run(0.05)  # what the fast lane did gets its reason from the control lane
    return seconds, f"{rig.state(outlet)} {rig.reason(outlet)}"
