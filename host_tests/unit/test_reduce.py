"""Window sums -> RMS, power, energy, flags, learnt zero (the plain twin, which defines it)."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import board as boards
from firmware.sensing import kernel, reduce
from firmware.sensing.metering import Meter

BOARD = boards.load("simulated")
SMALL = 1 << 30
CABIN1, BED240 = 2, 6  # channels
Samples = dict[int, Any]


class Lane:
    """What Meter wants of a fast lane; `zeros` is the kernel's zero of each channel."""

    def __init__(self, board: Any = BOARD) -> None:
        self.board = board
        self.period_us = board.scan_period_us
        self.words = kernel.SLOT_HEAD + 5 * len(board.channels)
        self.ring = array("i", bytes(4 * self.words))
        self.zeros = [2048] * len(board.channels)

    def move_zero(self, channel: int, counts: int) -> None:
        self.zeros[channel] += counts


class Bench:
    """A meter that is handed windows of codes, summed up as the kernel does it."""

    def __init__(self, board: Any = BOARD) -> None:
        self.lane = Lane(board)
        self.meter = Meter(self.lane, reduce.reduce)

    def window(self, codes: Samples, n: int = 40, periods: int = 1, locked: int = 0) -> None:
        """One window: `codes` per channel (2048 where none), merged `periods` times."""
        ring = self.lane.ring
        ring[kernel.W_N] = n * periods
        ring[kernel.W_PERIODS] = periods
        ring[kernel.W_LOCKED] = locked
        ring[kernel.W_BEFORE], ring[kernel.W_AFTER] = -30, 30
        shift = kernel.MERGE_SHIFT if periods > 1 else 0
        volts = self.meter.board.voltages
        xs = []
        for channel in self.meter.board.channels:
            raw = np.asarray(codes.get(channel.index, np.full(n, 2048)), dtype=np.int64)
            xs.append((raw, raw - self.lane.zeros[channel.index]))
        v1 = xs[0][1]
        v2 = xs[1][1] if volts > 1 else -v1
        legs = [v1, v2, np.clip(v1 - v2, -4095, 4095)]
        for i, (raw, x) in enumerate(xs):
            outlet = [o for o in self.meter.board.outlets if o.channel == i]
            v = legs[outlet[0].volts if outlet else 0]
            at = kernel.SLOT_HEAD + 5 * i
            ring[at] = int(x.sum()) * periods
            ring[at + 1] = (int((x * x).sum()) >> shift) * periods
            ring[at + 2] = (int((v * x).sum()) >> shift) * periods
            ring[at + 3], ring[at + 4] = int(raw.min()), int(raw.max())
        self.meter.take(ring, 0)

    def word(self, channel: int, which: int) -> int:
        value: int = self.meter.channels[channel].word(which)
        return value


def sine(peak: float, n: int = 40, shift: float = 0.0, offset: float = 2048.0) -> Any:
    x = np.sin(2 * np.pi * (np.arange(n) + 0.5) / n - shift)
    return np.clip(np.floor(offset + peak * x + 0.5), 0, 4095)


def mains(bench: Bench, n: int = 40) -> Samples:
    """Codes of 120 V on both legs."""
    peak = 120 * math.sqrt(2) / (250 / 2048)
    return {0: sine(peak, n), 1: sine(-peak, n)}


@pytest.mark.parametrize("amps", [0.5, 2, 11, 20, 60, 110])
@pytest.mark.parametrize("n", [40, 48, 39])
def test_rms_of_a_sine(amps: float, n: int) -> None:
    bench = Bench()
    peak = amps * math.sqrt(2) / (250 / 2048)
    for _ in range(10):
        bench.window({**mains(bench, n), CABIN1: sine(peak, n)}, n)
    assert bench.meter.channels[CABIN1].rms() / 1000 == pytest.approx(amps, rel=0.005, abs=0.03)
    one = bench.word(CABIN1, reduce.M_RMS) / 8 * 250 / 2048
    assert one == pytest.approx(amps, rel=0.005, abs=0.03)
    assert bench.meter.supply_mv(0) / 1000 == pytest.approx(120, rel=0.002)
    assert bench.meter.supply_mv(2) / 1000 == pytest.approx(240, rel=0.002)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 2000),
    st.integers(-200, 200),
    st.integers(-2000, 2000),
)
def test_sums_with_residue_and_noise_are_numpys(
    seed: int, size: int, offset: int, residue: int
) -> None:
    """The learnt rest of a zero and the noise are taken out as real arithmetic would."""
    rng = np.random.default_rng(seed)
    codes = np.clip(2048 + offset + rng.normal(0, size, 40), 0, 4095).astype(int)
    bench = Bench()
    bench.meter.channels[CABIN1].set_word(reduce.M_RESIDUE, residue)
    bench.meter.channels[CABIN1].set_word(reduce.M_NOISE, 2 * 256)
    bench.window({**mains(bench), CABIN1: codes})
    x = codes - 2048 - residue / 256
    raw = bench.word(CABIN1, reduce.M_RAW)
    assert raw == pytest.approx((x * x).sum(), rel=1e-4, abs=60)
    assert bench.word(CABIN1, reduce.M_SQ) == raw - 80
    v = mains(bench)[0] - 2048
    assert bench.word(CABIN1, reduce.M_VX) == pytest.approx((v * x).sum(), abs=300)
    root = bench.word(CABIN1, reduce.M_RMS) / 8
    # the mean square is a whole number of counts^2, so a root below one count reads as 0
    assert root == pytest.approx(math.sqrt(max(0, raw - 80) // 40), rel=0.01, abs=0.15)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120, 180])
def test_power_has_its_sign_and_factor(degrees: float) -> None:
    bench = Bench()
    shift = math.radians(degrees)
    for _ in range(10):
        bench.window(
            {
                **mains(bench),
                CABIN1: sine(10 * math.sqrt(2) / (250 / 2048), shift=shift),
                BED240: sine(30 * math.sqrt(2) / (500 / 2048), shift=shift),
            }
        )
    assert bench.meter.watts(0) == pytest.approx(1200 * math.cos(shift), abs=8)
    assert bench.meter.watts(4) == pytest.approx(7200 * math.cos(shift), abs=40)
    assert bench.word(CABIN1, reduce.M_POWER) == pytest.approx(bench.meter.watts(0), abs=3)


def test_each_legs_power_uses_its_own_voltage_gain() -> None:
    """A volt sensor 10 % off is calibrated; the other leg and 240 V must come out right too."""
    bench = Bench()
    bench.meter.set_gain(0, 1.1)
    bench.meter.set_gain(1, 0.9)
    peak = 120 * math.sqrt(2) / (250 / 2048)
    amps = 10 * math.sqrt(2)
    for _ in range(10):
        bench.window(
            {
                0: sine(peak / 1.1),
                1: sine(-peak / 0.9),
                2: sine(amps / (250 / 2048)),
                3: sine(-amps / (250 / 2048)),
                6: sine(amps / (500 / 2048)),
            }
        )
    assert [bench.meter.supply_mv(i) / 1000 for i in range(3)] == pytest.approx(
        [120, 120, 240], rel=0.003
    )
    assert bench.meter.watts(0) == pytest.approx(1200, rel=0.005)
    assert bench.meter.watts(1) == pytest.approx(1200, rel=0.005)
    assert bench.meter.watts(4) == pytest.approx(2400, rel=0.015)


def test_one_voltage_channel_serves_both_legs() -> None:
    bench = Bench(boards.load("esp32"))
    peak = 120 * math.sqrt(2) / (250 / 2048)
    for _ in range(10):
        bench.window(
            {
                0: sine(peak, 20),
                2: sine(-10 * math.sqrt(2) / (250 / 2048), 20),
                5: sine(10 * math.sqrt(2) / (500 / 2048), 20),
            },
            20,
        )
    assert bench.meter.watts(1) == pytest.approx(1200, rel=0.005)
    assert bench.meter.watts(4) == pytest.approx(2400, rel=0.005)
    assert bench.meter.supply_mv(2) / 1000 == pytest.approx(240, rel=0.003)


def test_noise_alone_reads_zero_after_learning() -> None:
    bench = Bench()
    rng = np.random.default_rng(5)
    channel = bench.meter.channels[CABIN1]
    channel.learn_zero(True)
    readings = []
    for k in range(400):
        noise = np.floor(2048.3 + rng.normal(0, 1.5, 40) + 0.5)
        bench.window({**mains(bench), CABIN1: noise})
        if k >= 100:
            readings.append(bench.word(CABIN1, reduce.M_SQ) / 40)
    assert bench.word(CABIN1, reduce.M_NOISE) / 256 == pytest.approx(1.5**2, rel=0.4)
    assert abs(sum(readings) / len(readings)) < 0.1  # counts^2: 40 mA without, 0 with


@pytest.mark.parametrize("offset", [-190, -120, -30, 0, 4, 55, 190])
def test_a_big_offset_is_learnt_and_is_no_current(offset: int) -> None:
    """A divider of 1 % resistors and a Hall sensor are 60 counts off together: that must not
    look like current through an open relay, or every relay of such a board seems welded."""
    bench = Bench()
    rng = np.random.default_rng(offset & 0xFF)
    channel = bench.meter.channels[CABIN1]
    channel.set_word(reduce.M_WELD, 24)
    channel.learn_zero(True)
    for _ in range(60):
        noise = np.floor(2048 + offset + rng.normal(0, 1.5, 40) + 0.5)
        bench.window({**mains(bench), CABIN1: noise})
        assert not bench.word(CABIN1, reduce.M_FLAGS) & reduce.F_FLOW
        assert not bench.meter.block[reduce.B_FLAGS] & reduce.F_FLOW
    zero = bench.lane.zeros[CABIN1] + bench.word(CABIN1, reduce.M_RESIDUE) / 256
    assert zero == pytest.approx(2048 + offset, abs=0.5)
    assert abs(bench.word(CABIN1, reduce.M_RESIDUE)) <= 160


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("shape", ["sine", "half", "burst"])
def test_current_is_seen_whatever_the_offset(offset: int, shape: str) -> None:
    """1 A through an open relay, and the zero is not learnt from it."""
    x = sine(1.0 * math.sqrt(2) / (250 / 2048)) - 2048
    if shape == "half":
        x = np.maximum(x, 0) * math.sqrt(2)
    if shape == "burst":
        x = np.where(np.arange(40) < 4, 26, 0)
    bench = Bench()
    channel = bench.meter.channels[CABIN1]
    channel.set_word(reduce.M_WELD, 24)
    channel.learn_zero(True)
    bench.window({**mains(bench), CABIN1: x + 2048 + offset})
    assert bench.word(CABIN1, reduce.M_FLAGS) & reduce.F_FLOW
    assert bench.word(CABIN1, reduce.M_RESIDUE) == 0


def test_zero_is_held_while_the_relay_is_closed() -> None:
    """A half-wave load has a direct part that is no offset."""
    bench = Bench()
    bench.meter.channels[CABIN1].learn_zero(False)
    for _ in range(200):
        bench.window({**mains(bench), CABIN1: np.maximum(sine(300), 2048)})
    assert bench.lane.zeros[CABIN1] == 2048 and bench.word(CABIN1, reduce.M_RESIDUE) == 0


@pytest.mark.parametrize(
    ("codes", "flags"),
    [
        (np.full(40, 4095), reduce.F_RAIL | reduce.F_FROZEN | reduce.F_ZERO),
        (np.full(40, 0), reduce.F_RAIL | reduce.F_FROZEN | reduce.F_ZERO),
        (np.full(40, 2048), reduce.F_FROZEN),
        (np.arange(2046, 2086) % 5 + 2300, reduce.F_ZERO),
        (np.arange(40) % 3 + 2047, 0),
        (np.clip(sine(6000), 0, 4095), 0),  # clipped, but it swings: a short circuit
    ],
)
def test_flags(codes: Any, flags: int) -> None:
    bench = Bench()
    bench.meter.channels[CABIN1].learn_zero(True)
    bench.window({**mains(bench), CABIN1: codes})
    assert bench.word(CABIN1, reduce.M_FLAGS) == flags
    # while the relay is closed a load's current may have any shape, but no sensor's rail
    bench = Bench()
    bench.meter.channels[CABIN1].learn_zero(False)
    bench.window({**mains(bench), CABIN1: codes})
    always = reduce.F_RAIL | reduce.F_FROZEN
    assert bench.word(CABIN1, reduce.M_FLAGS) == flags & always


def test_a_voltage_sensor_at_a_rail_reads_no_voltage() -> None:
    bench = Bench()
    bench.window({**mains(bench), 1: np.full(40, 4095)})
    assert bench.word(0, reduce.M_RMS) > 7000 and bench.word(1, reduce.M_RMS) == 0
    bench.window(mains(bench))
    assert bench.word(1, reduce.M_RMS) > 7000


def test_only_outlets_raise_the_boards_flags() -> None:
    """A thermistor far from mid-scale would send the control step the long way every cycle."""
    bench = Bench()
    swing = {i: 2048 + np.arange(40) % 3 for i in range(2, 7)}
    bench.window({**mains(bench), **swing, 7: np.full(40, 900)})
    assert bench.word(7, reduce.M_FLAGS)
    assert bench.meter.block[reduce.B_FLAGS] == 0
    bench.window({**mains(bench), **swing, 4: np.full(40, 4095)})
    assert bench.meter.block[reduce.B_FLAGS]


def test_merged_windows_give_the_same_readings_and_all_the_energy() -> None:
    one, many = Bench(), Bench()
    codes = {**mains(one), CABIN1: sine(164)}
    for _ in range(100):
        one.window(codes)
    many.window(codes, periods=100)
    for word in (reduce.M_RMS, reduce.M_POWER):
        assert many.word(CABIN1, word) == pytest.approx(one.word(CABIN1, word), rel=0.003)
    assert many.meter.energy_mwh(0) == pytest.approx(one.meter.energy_mwh(0), rel=0.003)
    assert many.meter.periods == 100 and many.meter.n == 40


def test_one_watt_for_thirty_days_is_720_wh() -> None:
    """0.0083 A at 120 V: each window carries 1/240 mWh, and no remainder may be lost."""
    bench = Bench()
    meter = bench.meter
    scans = 30 * 86_400 * 1_000_000 / BOARD.scan_period_us
    vx_per_scan = 1 / meter.watts_per_count2(0)
    n = 40 * 5000  # scans in a step of this test: 5000 windows by the sum's linearity
    steps = round(scans / n)
    block = meter.block
    ring = array("i", bytes(4 * bench.lane.words))
    ring[kernel.W_N], ring[kernel.W_PERIODS] = 40, 1
    at = kernel.SLOT_HEAD + 5 * CABIN1
    carried = 0.0
    for _ in range(steps):
        carried += vx_per_scan * n
        ring[at + 2] = math.floor(carried)
        carried -= ring[at + 2]
        assert ring[at + 2] < SMALL
        reduce.reduce(block, ring, 0)
    assert meter.energy_mwh(0) / 1000 == pytest.approx(720, abs=1)
    assert steps * n / scans == pytest.approx(1, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(1 << 20), 64 * 2248 * 4095), min_size=1, max_size=60))
def test_energy_keeps_every_remainder(sums: list[int]) -> None:
    bench = Bench()
    meter = bench.meter.channels[CABIN1]
    meter.set_word(reduce.M_E_MWH, 999_998)
    ring = array("i", bytes(4 * bench.lane.words))
    ring[kernel.W_N], ring[kernel.W_PERIODS] = 40, 1
    at = kernel.SLOT_HEAD + 5 * CABIN1
    for value in sums:
        ring[at + 2] = value
        reduce.reduce(bench.meter.block, ring, 0)
        assert abs(meter.word(reduce.M_E_REST)) < SMALL
        assert 0 <= meter.word(reduce.M_E_MWH) < 1_000_000
    unit = meter.word(reduce.M_E_UNIT)
    total = (bench.meter.energy_mwh(0) - 999_998) * unit + meter.word(reduce.M_E_REST)
    assert total == sum(sums)


def test_a_counter_never_runs_backwards() -> None:
    bench = Bench()
    bench.meter.restore_energy(0, 5_000_123)
    for _ in range(200):
        bench.window({**mains(bench), CABIN1: sine(-400)})
        assert bench.meter.energy_mwh(0) == 5_000_123
    assert abs(bench.word(CABIN1, reduce.M_E_REST)) < SMALL


def test_readings_of_extreme_codes_fit_small_ints() -> None:
    rng = np.random.default_rng(1)
    for k in range(60):
        bench = Bench()
        bench.lane.zeros = [2048 + int(rng.integers(-200, 200)) for _ in BOARD.channels]
        for c in BOARD.channels:
            bench.meter.channels[c.index].set_word(
                reduce.M_RESIDUE, int(rng.integers(-2000, 2000))
            )
        for j in range(11):
            rail = rng.integers(0, 2, 64) * 4095
            codes = {c.index: rail if k % 2 else 4095 - rail for c in BOARD.channels}
            codes[1] = 4095 - rail
            bench.window(codes, 64, periods=1 if j % 2 else 200)
            assert max(abs(x) for x in bench.meter.block) < SMALL


@pytest.mark.parametrize("hz", [60.0, 50.0, 59.7])
def test_frequency_from_the_crossings(hz: float) -> None:
    """Scans and the place of the crossing between two of them: 0.02 Hz, and 0 when unknown."""
    bench = Bench()
    ring = bench.lane.ring
    cycle = 1e6 / hz / BOARD.scan_period_us
    at = 0.37
    for _ in range(25):
        end = at + cycle
        n = math.ceil(end) - math.ceil(at)
        before = -(end - (math.ceil(end) - 1)) * 200
        ring[kernel.W_N], ring[kernel.W_PERIODS], ring[kernel.W_LOCKED] = n, 1, 1
        ring[kernel.W_BEFORE], ring[kernel.W_AFTER] = round(before), round(before + 200)
        bench.meter.take(ring, 0)
        at = end
    assert bench.meter.hertz() == pytest.approx(hz, abs=0.02)
    assert bench.meter.frequency_mhz == pytest.approx(hz * 1000, abs=30)
    ring[kernel.W_LOCKED] = 0
    bench.meter.take(ring, 0)
    assert bench.meter.hertz() == 0.0 and not bench.meter.locked


def test_meter_scales_fit_small_ints_for_every_board() -> None:
    for name in boards.names():
        board = boards.load(name)
        meter = Meter(Lane(board), reduce.reduce)
        assert meter._mhz_q8 < SMALL
        for gain in (0.8, 1.2):
            for channel in board.channels:
                meter.set_gain(channel.index, gain)
            for outlet in board.outlets:
                c = meter.currents[outlet.index]
                assert 0 < c.word(reduce.M_E_UNIT) < SMALL
                assert c.word(reduce.M_W_DIV) > 500  # 0.1 % at least
