"""The fast lane's kernel (its plain twin, which defines it) on synthetic codes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st_

from host_tests.fakes import machine
from host_tests.fakes.rig import HostLane, kernel

from firmware import board as boards  # isort: skip
import itertools

from tools.simulator import sensors

PERIOD = 416
SMALL = 1 << 30  # small ints of the RP2040 end here


class Bench:
    """A lane with the lease held, and the codes it was shown, scan by scan."""

    def __init__(self, board: str = "simulated") -> None:
        machine.reset()
        self.lane = HostLane(boards.load(board))
        self.lane.renew_lease()
        self.lane.acknowledge_lease()
        self.st = self.lane.st
        self.shown: list[list[int]] = []
        for outlet in self.lane.board.outlets:
            assert self.lane.close(outlet.index)

    def scan(self, *codes: int) -> None:
        row = list(codes) + [2048] * (self.lane.n_ch - len(codes))
        self.lane.codes[:] = type(self.lane.codes)("i", row)
        self.shown.append(row)
        self.lane.scan()
        self.lane.renew_lease()

    def wave(self, hz: float, scans: int, volts: int = 1390, amps: int = 300) -> None:
        """`scans` scans of a supply with a resistive load on cabin1 and bed240."""
        for _ in range(scans):
            x = math.sin(2 * math.pi * hz * len(self.shown) * PERIOD * 1e-6)
            v, i = round(volts * x), round(amps * x)
            self.scan(2048 + v, 2048 - v, 2048 + i, 2048, 2048, 2048, 2048 + i)

    def windows(self) -> list[list[int]]:
        """All finished windows, taken out of the ring."""
        result = []
        while (at := self.lane.window()) >= 0:
            result.append(list(self.lane.ring[at : at + self.lane.words]))
            self.lane.release_window()
        return result

    def closed(self, name: str) -> int:
        outlet = self.lane.board.outlets[self.lane.board.outlet_index(name)]
        return machine.levels[outlet.relay]

    def word(self, name: str, which: int) -> int:
        value: int = self.st[self.lane.base(self.lane.board.channel_index(name)) + which]
        return value


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("hz", [60, 50, 59.5, 45, 65])
def test_windows_lock_to_the_zero_crossings(bench: Bench, hz: float) -> None:
    cycle = 1e6 / hz / PERIOD
    windows = []
    for _ in range(60):
        bench.wave(hz, 20)
        windows += bench.windows()
    settled = windows[12:]
    assert all(w[kernel.W_LOCKED] for w in settled)
    assert {w[kernel.W_N] for w in settled} <= {math.floor(cycle), math.ceil(cycle)}
    mean = sum(w[kernel.W_N] for w in settled) / len(settled)
    assert mean == pytest.approx(cycle, abs=1 / len(settled) + 0.02)
    # before is below and after is at or above zero, and the crossing lies between them
    assert all(w[kernel.W_BEFORE] < 0 <= w[kernel.W_AFTER] for w in settled)


@pytest.mark.parametrize("hz", [60, 59.97, 50, 47, 62])
@pytest.mark.parametrize("phase", range(0, 40, 4))
def test_it_locks_within_a_few_cycles_from_any_phase(bench: Bench, hz: float, phase: int) -> None:
    bench.shown += [[2048]] * phase
    bench.wave(hz, 320)
    assert all(w[kernel.W_LOCKED] for w in bench.windows()[3:])


def test_every_scan_is_in_exactly_one_window(bench: Bench) -> None:
    windows = []
    for _ in range(30):
        bench.wave(59.3, 33)
        windows += bench.windows()
    assert sum(w[kernel.W_N] for w in windows) + bench.st[kernel.N] == len(bench.shown)
    ends = [w[kernel.W_SCAN] for w in windows]
    assert [b - a for a, b in itertools.pairwise(ends)] == [w[kernel.W_N] for w in windows[1:]]


def test_without_voltage_windows_are_one_nominal_cycle(bench: Bench) -> None:
    bench.lane.set_nominal_hz(50)
    for _ in range(500):
        bench.scan(2049, 2047)
    windows = bench.windows()
    assert [w[kernel.W_N] for w in windows[1:]] == [48] * (len(windows) - 1)
    assert not any(w[kernel.W_LOCKED] for w in windows)


def test_it_locks_again_after_a_loss(bench: Bench) -> None:
    bench.wave(60, 200)
    for _ in range(300):
        bench.scan()
    bench.windows()
    bench.wave(50, 480)
    assert [w[kernel.W_LOCKED] for w in bench.windows()][-4:] == [1] * 4


@settings(max_examples=25, deadline=None)
@given(st_.integers(0, 2**32 - 1), st_.sampled_from(["simulated", "esp32"]))
def test_sums_are_numpys(seed: int, board: str) -> None:
    bench = Bench(board)
    lane = bench.lane
    rng = np.random.default_rng(seed)
    n_ch = lane.n_ch
    volts = lane.board.voltages
    for c in lane.board.channels:
        bench.st[lane.base(c.index) + kernel.C_ZERO] = 2048 + int(rng.integers(-150, 150))
    codes = rng.integers(0, 4096, (230, n_ch))
    changes = np.zeros((3, 230), dtype=np.int64)
    zeros = np.array([bench.st[lane.base(i) + kernel.C_ZERO] for i in range(n_ch)])
    one = np.diff(codes[:, 0] - zeros[0], prepend=0)
    two = np.diff(codes[:, 1] - zeros[1], prepend=0) if volts > 1 else -one
    changes[0], changes[1] = np.clip(one, -2047, 2047), np.clip(two, -2047, 2047)
    changes[2] = np.clip(changes[0] - changes[1], -2047, 2047)
    seen = 0
    for row in codes:
        bench.scan(*(int(x) for x in row))
    for w in bench.windows():
        n = w[kernel.W_N]
        block = codes[seen : seen + n].astype(np.int64)
        change = changes[:, seen : seen + n]
        seen += n
        x = block - zeros
        v1 = x[:, 0]
        v2 = x[:, 1] if volts > 1 else -v1
        select = [v1, v2, np.clip(v1 - v2, -4095, 4095)]
        for i in range(n_ch):
            at = kernel.SLOT_HEAD + kernel.SLOT_CH * i
            v = select[bench.st[lane.base(i) + kernel.C_VSEL]]
            assert w[at] == x[:, i].sum()
            assert w[at + 1] == (x[:, i] ** 2).sum() < SMALL
            assert w[at + 2] == (v * x[:, i]).sum()
            assert w[at + 5] == (change[bench.st[lane.base(i) + kernel.C_VSEL]] * x[:, i]).sum()
            assert abs(w[at + 2]) < SMALL and abs(w[at + 5]) < SMALL
            assert w[at + 3] == block[:, i].min() and w[at + 4] == block[:, i].max()
    assert seen


def test_sums_of_the_longest_window_fit_a_small_int(bench: Bench) -> None:
    for c in bench.lane.board.channels:
        bench.st[bench.lane.base(c.index) + kernel.C_ZERO] = 0
    bench.st[kernel.N_LIMIT] = 64
    for _ in range(65):
        bench.scan(*[4095] * bench.lane.n_ch)
    (window,) = bench.windows()
    assert window[kernel.W_N] == 64
    assert max(window) == 64 * 4095**2 < SMALL


def test_a_late_reader_loses_no_energy(bench: Bench) -> None:
    """Windows beyond the ring are merged: scans and sums add up, to the shift's rounding."""
    bench.wave(60, 40 * 61)
    windows = bench.windows()
    assert len(windows) == 15
    assert bench.lane.windows_merged() > 40 and bench.lane.windows_lost() == 0
    last = windows[-1]
    assert last[kernel.W_PERIODS] == bench.lane.windows_merged() + 1
    assert sum(w[kernel.W_N] for w in windows) + bench.st[kernel.N] == len(bench.shown)
    at = kernel.SLOT_HEAD + kernel.SLOT_CH * 2  # cabin1
    periods = last[kernel.W_PERIODS]
    one = windows[5]
    assert last[at + 1] << 6 == pytest.approx(one[at + 1] * periods, rel=0.002)
    assert last[at + 2] << 6 == pytest.approx(one[at + 2] * periods, rel=0.002)
    # the reader catches up: the next windows are single again
    bench.wave(60, 90)
    assert all(w[kernel.W_PERIODS] == 1 for w in bench.windows())


def test_merging_ends_before_a_sum_overflows(bench: Bench) -> None:
    """The worst that codes can be (a zero 200 from the middle, clipped) for 5 s without reader:
    the sums fit the words, and the lease has opened everything long before they stop growing."""
    assert 230 * 64 * bench.lane.period_us > 3_000_000 * 64 / 40
    for _ in range(300):
        for c in range(bench.lane.n_ch):
            at = bench.lane.base(c)
            bench.st[at + kernel.C_SQ] = 64 * 2248**2
            bench.st[at + kernel.C_VX] = -64 * 2248 * 4095
        bench.st[kernel.N] = 64
        kernel._close(bench.st, 1, 0)
    windows = bench.windows()
    assert windows[-1][kernel.W_PERIODS] == 230
    assert bench.lane.windows_lost() == 300 - 14 - 230
    assert max(abs(x) for w in windows for x in w) < 1 << 31


def test_a_peak_trips_after_two_scans_and_not_after_one(bench: Bench) -> None:
    lane = bench.lane
    channel = lane.board.channel_index("bed1")
    lane.set_peak(channel, 1000)
    over, under = [2048, 2048, 2048, 2048, 3100], [2048] * 5
    for sign in (1, -1):
        spike = [2048 + sign * (x - 2048) for x in over]
        for _ in range(3):
            bench.scan(*spike)
            bench.scan(*under)
        assert lane.fast_trips() == 0 and bench.closed("bed1")
    bench.scan(*over)
    assert bench.closed("bed1")
    bench.scan(*over)
    assert not bench.closed("bed1")
    assert lane.fast_trips() == 1 << lane.board.outlet_index("bed1")
    assert lane.is_peak_trip(2) and not lane.close(2)
    assert all(bench.closed(x) for x in ("cabin1", "cabin2", "bed2", "bed240"))
    # acknowledged while the current still flows (a welded relay): it trips again at once
    lane.acknowledge_trip(2)
    bench.scan(*over)
    assert lane.fast_trips() and not lane.close(2)
    bench.scan(*under)
    lane.acknowledge_trip(2)
    assert lane.close(2)


def test_exactly_at_the_limit_holds(bench: Bench) -> None:
    bench.lane.set_peak(4, 1000)
    for _ in range(10):
        bench.scan(2048, 2048, 2048, 2048, 3048)
    assert bench.lane.fast_trips() == 0


@pytest.mark.parametrize("zero", [2048, 1850, 2246])
@pytest.mark.parametrize("rail", [0, 4095])
def test_a_limit_beyond_the_converters_range_still_acts(
    bench: Bench, zero: int, rail: int
) -> None:
    """A gain of 0.8, or a zero far from the middle, puts the limit where no code can reach."""
    channel = bench.lane.board.channel_index("bed1")
    bench.lane.set_peak(channel, 2317)
    bench.lane.move_zero(channel, zero - 2048)
    for _ in range(2):
        bench.scan(2048, 2048, 2048, 2048, rail)
    assert not bench.closed("bed1")


def test_a_limit_within_range_is_kept_when_the_zero_moves(bench: Bench) -> None:
    bench.lane.set_peak(4, 1500)
    bench.lane.move_zero(4, 60)
    assert bench.word("bed1", kernel.C_PEAK) == 1500
    bench.lane.set_peak(4, 2020)
    bench.lane.move_zero(4, 100)
    assert bench.word("bed1", kernel.C_PEAK) < 2020
    bench.lane.move_zero(4, -160)
    assert bench.word("bed1", kernel.C_PEAK) == 2020


def test_short_time_is_a_definite_time(bench: Bench) -> None:
    lane = bench.lane
    lane.set_short_time(2, 200 * 200, 500)  # 283 counts peak
    bench.wave(60, 2400, amps=275)
    assert bench.closed("cabin1")
    start = len(bench.shown)
    while bench.closed("cabin1"):
        bench.wave(60, 1, amps=300)
        assert len(bench.shown) - start < 2000
    took_ms = (len(bench.shown) - start) * PERIOD / 1000
    assert 500 <= took_ms <= 500 + 2 * 17
    assert not lane.is_peak_trip(0) and lane.fast_trips() == 1


def test_one_cycle_below_starts_the_short_time_anew(bench: Bench) -> None:
    bench.lane.set_short_time(2, 200 * 200, 500)
    for _ in range(5):
        bench.wave(60, 40 * 25, amps=300)  # 0.42 s
        bench.wave(60, 80, amps=100)
    assert bench.closed("cabin1")


def test_a_lease_that_ends_opens_everything(bench: Bench) -> None:
    lane = bench.lane
    lane.renew_lease()
    for n in range(lane.lease_scans):
        kernel.scan()
        lane.follow()
        assert not lane.lease_lost(), n
    assert 3.0 <= lane.lease_scans * PERIOD / 1e6 < 3.001
    assert bench.closed("bed1")
    kernel.scan()
    lane.follow()
    assert lane.lease_lost()
    assert not any(bench.closed(x.name) for x in lane.board.outlets)
    assert not lane.close(0)
    lane.renew_lease()
    assert not lane.close(0), "renewing is not enough: the loss must be acknowledged"
    lane.acknowledge_lease()
    assert lane.close(0)


def test_before_the_first_renewal_nothing_closes() -> None:
    machine.reset()
    lane = HostLane(boards.load("simulated"))
    lane.scan()
    assert lane.lease_lost() and not lane.close(0)


def test_the_waveform_freezes_after_a_trip(bench: Bench) -> None:
    lane = bench.lane
    lane.set_peak(4, 1000)
    bench.wave(60, 1000)
    for _ in range(2):
        bench.scan(2048, 2048, 2048, 2048, 3500)
    trip = len(bench.shown)
    after = 0
    while not lane.wave_frozen():
        bench.wave(60, 1)
        after += 1
        assert after < 500
    assert after * PERIOD >= 50_000
    bench.wave(60, 300)
    codes = recorded(lane, 4)
    assert len(codes) * PERIOD >= 250_000
    assert codes == [row[4] for row in bench.shown[: trip + after]][-len(codes) :]
    # a second trip does not touch it; released, it runs again, and begins anew
    lane.freeze_wave(2, 1, True)
    lane.freeze_wave(3, 2, True)
    assert lane.wave_frozen() and lane.wave_outlet == 2 and lane.wave_event == 1
    assert not lane.hold_wave()
    lane.run_wave()
    assert lane.wave_outlet < 0
    bench.wave(60, 7)
    assert lane.hold_wave()
    blank = len(codes) - 7
    assert recorded(lane, 2) == [0xFFFF] * blank + [row[2] for row in bench.shown[-7:]]


def recorded(lane: HostLane, channel: int) -> list[int]:
    """The waveform ring's codes of a channel, oldest first."""
    codes = list(lane.wave[channel :: lane.n_ch])
    at = lane.st[kernel.WAVE_POS]
    return codes[at:] + codes[:at]


def test_a_closing_that_a_soft_timer_trips_is_taken_back() -> None:
    """disable_irq() does not hold a soft timer back: it may trip between question and deed."""
    machine.reset()
    lane = HostLane(boards.load("simulated"))
    lane.renew_lease()

    def trip(gpio: int, level: int) -> None:
        if level:
            lane.st[kernel.LEASE_TRIPPED] = 1

    machine.on_level = trip
    assert not lane.close(1)
    assert machine.levels[lane.board.outlets[1].relay] == 0
    assert machine.irq_off == 0


def test_scan_counter_wraps_within_the_small_ints(bench: Bench) -> None:
    bench.st[kernel.SCANS] = (SMALL >> 1) - 2
    bench.scan()
    assert bench.st[kernel.SCANS] == (SMALL >> 1) - 1
    bench.scan()
    assert bench.st[kernel.SCANS] == 0


def test_the_correction_of_e11_is_the_flaw_backwards() -> None:
    """Of nine steps in one code the middle one is right, and everything else is exact."""
    for ideal, code in enumerate(sensors.E11_CODES):
        off = kernel.straight(code) - ideal
        assert abs(off) <= 4 if code in (511, 1535, 2559, 3583) else off == 0, code
    assert kernel.straight(2048) == 2048


def test_only_a_board_with_the_errata_is_corrected() -> None:
    for name, corrected in (("pico_w", True), ("pico", True), ("simulated", False)):
        bench = Bench(name)
        codes = [100, 4000, 511, 1535, 2048, 2559, 3583]
        bench.scan(*codes)
        for i, code in enumerate(codes):
            wanted = (kernel.straight(code) if corrected else code) - 2048
            assert bench.st[bench.lane.base(i) + kernel.C_SUM] == wanted
            # what is kept as a code stays one
            assert bench.st[bench.lane.base(i) + kernel.C_MIN] == code
            assert bench.lane.wave[i] == code
        v1, v2 = (bench.st[bench.lane.base(i) + kernel.C_SUM] for i in (0, 1))
        assert list(bench.st[kernel.V1 : kernel.V12 + 1]) == [v1, v2, v1 - v2]


def test_the_multiplexer_is_switched_one_channel_ahead() -> None:
    lane = HostLane(boards.load("pico_w"))
    masks = [lane.st[lane.base(i) + kernel.C_MUX] >> 18 for i in range(8)]
    assert masks == [1, 2, 3, 4, 5, 6, 7, 0]


def test_scans_without_an_answer_and_late_ones_are_counted(bench: Bench) -> None:
    assert (bench.lane.silent_scans(), bench.lane.overruns()) == (0, 0)
    bench.st[kernel.SILENT] = 3
    bench.st[kernel.OVERRUNS] = 5
    assert (bench.lane.silent_scans(), bench.lane.overruns()) == (3, 5)


@pytest.mark.parametrize(("flaw", "corrected"), [(0, 0), (1, -1), (2, 0)])
def test_a_converter_without_the_flaw_is_found_out(flaw: int, corrected: int) -> None:
    """By how often the wide codes are hit, and those beside them, in 17 seconds of mains."""
    table = (range(4096), sensors.E11_CODES, sensors.spiked_codes())[flaw]
    bench = Bench("pico_w")
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 1.5, (40_000, 2))
    lane = bench.lane
    for k, (one, two) in enumerate(noise):
        volts = 1390 * math.sin(2 * math.pi * 60 * k * PERIOD * 1e-6)
        lane.codes[0] = table[math.floor(2048.5 + volts + one)]
        lane.codes[1] = table[math.floor(2048.5 - volts + two)]
        lane.scan()
        lane.renew_lease()
        if k % 400 == 0:
            bench.windows()
            lane.check_e11()
    assert bench.st[kernel.E11] == corrected


def test_the_control_lane_is_told_when_the_window_will_end() -> None:
    """Its pause ends 1 to 2 ms behind the window, in a cycle as long as it should be; it is short
    in a longer one, and none while a window waits."""
    bench = Bench()
    bench.wave(60.0, 400)
    bench.windows()
    waits = []
    for _ in range(10):
        while not bench.windows():
            bench.wave(60.0, 1)
        for _ in range(5):  # 2 ms: a control step
            bench.wave(60.0, 1)
        pause_ms = bench.lane.pause_ms()
        scans = 0
        while bench.lane.window() < 0:
            bench.wave(60.0, 1)
            scans += 1
        assert bench.lane.pause_ms() == 0
        waits.append(pause_ms - scans * PERIOD / 1000)
    assert min(waits) > 0 and max(waits) <= 2 + PERIOD / 1000
    bench.windows()
    bench.wave(50.0, 2000)
    bench.windows()
    while not bench.windows():
        bench.wave(50.0, 1)
    pauses = []
    while bench.lane.window() < 0:
        pauses.append(bench.lane.pause_ms())
        bench.wave(50.0, 1)
    assert pauses[0] == 18 and pauses == sorted(pauses, reverse=True)
    assert pauses[-8:] == [2] * 8  # the last 3.3 ms
