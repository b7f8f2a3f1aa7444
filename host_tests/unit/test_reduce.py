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
BOARD.skew_us = (0,) * len(BOARD.channels)  # the tests of skew have boards of their own
SMALL = 1 << 30
CABIN1, BED240 = 2, 6  # channels
Samples = dict[int, Any]


class Lane:
    """What Meter wants of a fast lane; `zeros` is the kernel's zero of each channel."""

    def __init__(self, board: Any = BOARD) -> None:
        self.board = board
        self.period_us = board.scan_period_us
        self.words = kernel.SLOT_HEAD + kernel.SLOT_CH * len(board.channels)
        self.ring = array("i", bytes(4 * self.words))
        self.zeros = [2048] * len(board.channels)

    def zero(self, channel: int) -> int:
        return self.zeros[channel]

    def check_e11(self) -> None:
        pass

    def move_zero(self, channel: int, counts: int) -> None:
        self.zeros[channel] += counts


class Bench:
    """A meter that is handed windows of codes, summed up as the kernel does it."""

    def __init__(self, board: Any = BOARD) -> None:
        self.lane = Lane(board)
        self.meter = Meter(self.lane, reduce.reduce)
        self.before: list[int] | None = None  # voltages of the scan before this window

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
        if self.before is None:
            self.before = [int(v[-1]) for v in legs]  # as if it had gone on like this
        changes = [
            np.clip(np.diff(v, prepend=b), -2047, 2047)
            for v, b in zip(legs, self.before, strict=True)
        ]
        self.before = [int(v[-1]) for v in legs]
        for i, (raw, x) in enumerate(xs):
            outlet = [o for o in self.meter.board.outlets if o.channel == i]
            vsel = outlet[0].volts if outlet else 0
            v, d = legs[vsel], changes[vsel]
            at = kernel.SLOT_HEAD + kernel.SLOT_CH * i
            ring[at] = int(x.sum()) * periods
            ring[at + 1] = (int((x * x).sum()) >> shift) * periods
            ring[at + 2] = (int((v * x).sum()) >> shift) * periods
            ring[at + 3], ring[at + 4] = int(raw.min()), int(raw.max())
            ring[at + 5] = (int((d * x).sum()) >> shift) * periods
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
    ("codes", "flags", "at_rest"),
    [
        (np.full(40, 4095), reduce.F_RAIL | reduce.F_FROZEN | reduce.F_ZERO, 0),
        (np.full(40, 0), reduce.F_RAIL | reduce.F_FROZEN | reduce.F_ZERO, 0),
        (np.full(40, 2048), reduce.F_FROZEN, 0),
        (np.arange(2046, 2086) % 5 + 2300, reduce.F_ZERO, 0),
        (np.arange(40) % 3 + 2047, 0, 0),
        (np.clip(sine(6000), 0, 4095), reduce.F_CLIP, 0),  # but it swings: a short circuit
        (np.where(np.arange(40) == 7, 4095, 2048 + np.arange(40) % 3), reduce.F_CLIP, 4),
        (np.where(np.arange(40) < 2, 5, 2048 + np.arange(40) % 3), reduce.F_CLIP, 4),
        (np.maximum(sine(900), 2048), 0, reduce.F_ZERO),  # a half-wave load
    ],
)
def test_flags(codes: Any, flags: int, at_rest: int) -> None:
    """`flags` are looked at always, `at_rest` besides while no current is expected."""
    bench = Bench()
    bench.meter.channels[CABIN1].learn_zero(True)
    bench.window({**mains(bench), CABIN1: codes})
    assert bench.word(CABIN1, reduce.M_FLAGS) == flags | at_rest
    # while the relay is closed a load's current may have any shape, but no sensor's rail
    bench = Bench()
    bench.meter.channels[CABIN1].learn_zero(False)
    bench.window({**mains(bench), CABIN1: codes})
    assert bench.word(CABIN1, reduce.M_FLAGS) == flags


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
    at = kernel.SLOT_HEAD + kernel.SLOT_CH * CABIN1
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
    at = kernel.SLOT_HEAD + kernel.SLOT_CH * CABIN1
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


# -- phase and skew ------------------------------------------------------------------------------


def skewed(board: str = "pico_w") -> Any:
    """A board with its real skew, and a converter that needs no correction."""
    found = boards.load(board)
    found.adc_errata = None
    return found


def late(board: Any, hz: float, degrees: float, angle: float) -> Bench:
    """40 windows of 10 A on every outlet, the current lagging by `angle` degrees, each channel
    converted at its own time by sensors that lead by `degrees`."""
    bench = Bench(board)
    for outlet in board.outlets:
        bench.meter.set_phase(outlet.channel, degrees)
    period = board.scan_period_us * 1e-6
    start = 0.0
    volts = 120 * math.sqrt(2) / (250 / 2048)
    for k in range(40):
        # the window ends before the next zero crossing, as the kernel's does
        n = math.ceil((k + 1) / hz / period) - round(start / period)
        t = start + period * np.arange(n)
        start += period * n
        codes = {}
        for i, channel in enumerate(board.channels):
            w = 2 * math.pi * hz * (t + board.skew_us[i] * 1e-6)
            if channel.kind == "voltage":
                codes[i] = 2048 + (-1) ** i * volts * np.sin(w)
            elif channel.kind == "current":
                (outlet,) = [o for o in board.outlets if o.channel == i]
                sign = -1 if outlet.volts == 1 else 1
                peak = 10 * math.sqrt(2) / (channel.full_scale / 2048e3)
                shift = math.radians(degrees - angle)
                codes[i] = 2048 + sign * peak * np.sin(w + shift)
        bench.window({i: np.floor(x + 0.5) for i, x in codes.items()}, n)
    return bench


@pytest.mark.parametrize("hz", [50.0, 60.0])
@pytest.mark.parametrize("degrees", [-10.0, -2.0, 0.0, 2.0, 10.0])
@pytest.mark.parametrize("name", ["pico_w", "esp32"])
def test_power_at_a_lagging_load_is_right(name: str, hz: float, degrees: float) -> None:
    """60 degrees lagging, where 1 degree is 3 % of the power. The converter takes the channels
    one after the other, and the current sensors lead."""
    board = skewed(name)
    bench = late(board, hz, degrees, 60.0)
    for outlet in board.outlets:
        wanted = (240 if outlet.volts == 2 else 120) * 10 * 0.5
        # the rest: counts are whole numbers; up to 15 degrees along a chord of 18 on the ESP32
        bound = 0.004 if name == "pico_w" else 0.015
        assert bench.meter.watts(outlet.index) == pytest.approx(wanted, rel=bound), outlet.name
        one_cycle = bench.word(outlet.channel, reduce.M_POWER)
        assert one_cycle == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("hz", [50.0, 60.0])
def test_a_phase_does_not_change_the_power_of_a_heater(hz: float) -> None:
    board = skewed()
    for degrees in (-10.0, 10.0):
        bench = late(board, hz, degrees, 0.0)
        for outlet in board.outlets:
            wanted = (240 if outlet.volts == 2 else 120) * 10
            assert bench.meter.watts(outlet.index) == pytest.approx(wanted, rel=0.003)


def test_what_is_not_calibrated_shows() -> None:
    bench = Bench(skewed())
    bench.meter.set_phase(CABIN1, 2.0)
    bench.meter.set_phase(CABIN1, 0.0)
    assert bench.meter.phases == [0.0] * 8
    codes = {**mains(bench), CABIN1: sine(116, shift=math.radians(58))}
    for _ in range(40):
        bench.window(codes)
    # no skew in these codes: 12 us taken for 0.26 degrees too much, and 2 degrees too little
    amps = 116 / math.sqrt(2) * 250 / 2048
    wanted = 120 * amps * math.cos(math.radians(58.26))
    assert bench.meter.watts(0) == pytest.approx(wanted, rel=0.006)


# -- flow or noise -------------------------------------------------------------------------------


def resting(weld: int = 24) -> Bench:
    """A bench whose cabin1 is at rest, its noise learnt."""
    bench = Bench()
    rng = np.random.default_rng(2)
    bench.meter.channels[CABIN1].set_word(reduce.M_WELD, weld)
    bench.meter.channels[CABIN1].learn_zero(True)
    for _ in range(60):
        bench.window({**mains(bench), CABIN1: np.floor(2048.5 + rng.normal(0, 1.5, 40))})
    return bench


@pytest.mark.parametrize("rms", [18, 25, 80, 300])
def test_noise_is_noise_and_no_current(rms: float) -> None:
    bench = resting()
    rng = np.random.default_rng(3)
    flags = []
    for _ in range(400):
        codes = np.clip(np.floor(2048.5 + rng.normal(0, rms, 40)), 40, 4050)
        bench.window({**mains(bench), CABIN1: codes})
        flags.append(bench.word(CABIN1, reduce.M_FLAGS) & (reduce.F_NOISE | reduce.F_FLOW))
    assert flags.count(reduce.F_NOISE) > 350
    assert flags.count(reduce.F_FLOW) < 25, "3/16 at the mains frequency: 2 % of the windows"
    assert bench.word(CABIN1, reduce.M_NOISE) < 4 * 256, "and it is not learnt"


def test_a_little_noise_is_neither() -> None:
    bench = resting()
    rng = np.random.default_rng(3)
    for _ in range(100):
        bench.window({**mains(bench), CABIN1: np.floor(2048.5 + rng.normal(0, 4, 40))})
        assert not bench.word(CABIN1, reduce.M_FLAGS) & (reduce.F_NOISE | reduce.F_FLOW)


@pytest.mark.parametrize("amps", [0.8, 3.0, 20.0])
@pytest.mark.parametrize("degrees", [0, 60, 90, -90, 180])
def test_current_of_any_phase_is_flow(amps: float, degrees: float) -> None:
    bench = resting()
    rng = np.random.default_rng(4)
    x = sine(amps * math.sqrt(2) / (250 / 2048), shift=math.radians(degrees))
    for _ in range(50):
        bench.window({**mains(bench), CABIN1: np.floor(x + rng.normal(0, 1.5, 40) + 0.5)})
        flags = bench.word(CABIN1, reduce.M_FLAGS)
        assert flags & (reduce.F_FLOW | reduce.F_NOISE) == reduce.F_FLOW


@pytest.mark.parametrize("amps", [1.2, 4.0])
@pytest.mark.parametrize("shape", ["half-wave", "triac 90", "triac 135", "crest 3.5", "idle"])
def test_current_of_any_shape_is_flow(amps: float, shape: str) -> None:
    phase = 2 * np.pi * (np.arange(40) + 0.5) / 40
    wave = np.sin(phase)
    if shape == "half-wave":
        wave = np.maximum(wave, 0)
    elif shape.startswith("triac"):
        wave = np.where(phase % np.pi > math.radians(int(shape[6:])), wave, 0)
    elif shape == "crest 3.5":
        wave = np.where(np.abs(np.abs(wave) - 1) < 0.033, wave, 0)
    elif shape == "idle":  # a transformer's: peaks at the zero of the voltage
        wave = np.cos(phase) ** 7
    wave = wave / np.sqrt(np.mean(wave**2)) * amps / (250 / 2048)
    bench = resting()
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(50):
        codes = np.floor(2048.5 + wave + rng.normal(0, 1.5, 40))
        bench.window({**mains(bench), CABIN1: codes})
        missed += not bench.word(CABIN1, reduce.M_FLAGS) & reduce.F_FLOW
    assert missed == 0


def test_without_voltage_what_alternates_is_noise() -> None:
    bench = resting()
    for _ in range(5):
        bench.window({CABIN1: sine(100)})
        assert bench.word(CABIN1, reduce.M_FLAGS) & (reduce.F_NOISE | reduce.F_FLOW) == (
            reduce.F_NOISE
        )


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_noise_is_learnt_to_a_percent(sigma: float) -> None:
    """20 s at rest with a zero that has to be found first, 60 counts off."""
    bench = Bench()
    rng = np.random.default_rng(8)
    bench.meter.channels[CABIN1].learn_zero(True)
    seen = []
    for _ in range(1200):
        noise = np.floor(2108.3 + rng.normal(0, sigma, 40) + 0.5)
        seen.append(noise)
        bench.window({**mains(bench), CABIN1: noise})
    true = np.var(np.concatenate(seen))
    assert bench.word(CABIN1, reduce.M_NOISE) / 256 == pytest.approx(true, rel=0.01, abs=0.03)


# -- the zero while current may flow -------------------------------------------------------------


class Warm(Bench):
    """A channel on, after a rest. Windows of its current and of 97 rows of noise are summed up
    beforehand, because there are ten thousands of them."""

    def __init__(self, channel: int = CABIN1) -> None:
        Bench.__init__(self)
        self.channel = channel
        self.noise = np.random.default_rng(11).normal(0, 1.5, (97, 40))
        self.noise -= self.noise.mean()
        self.count = 0
        self.offset = 0.3
        self.window(mains(self))  # fills the ring
        self.meter.block[reduce.B_CHANNELS] = channel + 1  # the others cost time only
        self.meter.channels[channel].learn_zero(True)
        self.run(np.zeros(40), 20)
        self.meter.channels[channel].learn_zero(False)

    def rows(self, counts: Any) -> list[array[int]]:
        """What stands in the ring for this current, with each row of noise."""
        zero = self.lane.zeros[self.channel]
        codes = np.floor(2048.5 + self.offset + counts + self.noise)
        codes = np.clip(codes, 0, 4095).astype(int)
        volts = mains(self)[0] - 2048
        if self.channel == BED240:
            volts = volts * 2
        change = np.diff(volts, prepend=volts[-1])
        x = codes - zero
        columns = (
            x.sum(1),
            (x * x).sum(1),
            (x * volts).sum(1),
            codes.min(1),
            codes.max(1),
            (x * change).sum(1),
        )
        return [array("i", [int(v) for v in row]) for row in zip(*columns, strict=True)]

    def zero(self) -> float:
        residue = self.word(self.channel, reduce.M_RESIDUE)
        return self.lane.zeros[self.channel] + residue / 256 - 2048

    def run(self, counts: Any, seconds: float) -> None:
        """So many seconds of this current, in counts."""
        at = kernel.SLOT_HEAD + kernel.SLOT_CH * self.channel
        ring = self.lane.ring
        zero = None
        for _ in range(round(seconds * 60)):
            if self.lane.zeros[self.channel] != zero:
                zero = self.lane.zeros[self.channel]
                rows = self.rows(counts)
            self.count += 31
            ring[at : at + kernel.SLOT_CH] = rows[self.count % 97]
            self.meter.take(ring, 0)


WAVE = np.sin(2 * np.pi * (np.arange(40) + 0.5) / 40)


@pytest.mark.parametrize("amps", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("channel", [CABIN1, BED240])
def test_a_half_wave_load_does_not_move_the_zero(amps: float, channel: int) -> None:
    bench = Warm(channel)
    per_count = (500 if channel == BED240 else 250) / 2048
    before = bench.zero()
    bench.run(np.maximum(WAVE, 0) * 2 * amps / per_count, 600)
    assert bench.zero() == pytest.approx(before, abs=0.02)


def test_a_direct_current_does_not_move_the_zero() -> None:
    for amps in (5.0, 0.5):
        bench = Warm()
        before = bench.zero()
        bench.run(np.full(40, amps / (250 / 2048)), 600)
        assert bench.zero() == pytest.approx(before, abs=0.02)
        bench = Warm()
        bench.run(WAVE * 100 + amps / (250 / 2048), 600)
        assert bench.zero() == pytest.approx(before, abs=0.02)


def test_what_passes_for_drift_is_bounded() -> None:
    """0.5 A of direct current is two counts of the 40 A sensor, and drift may be that."""
    bench = Warm(BED240)
    before = bench.zero()
    for _ in range(14):
        bench.offset += 1.0
        bench.run(WAVE * 100, 240)
    assert 11.5 < bench.zero() - before < 12.1
    # at rest it is learnt anew, and may be followed as far again
    bench.meter.channels[BED240].learn_zero(True)
    bench.run(np.zeros(40), 5)
    assert bench.zero() == pytest.approx(14.3, abs=0.4)
    assert bench.word(BED240, reduce.M_MOVED) == 0


@pytest.mark.parametrize("load", ["none", "5 A", "15 A across"])
def test_a_drift_of_four_counts_an_hour_is_followed(load: str) -> None:
    bench = Warm()
    counts = {"none": 0 * WAVE, "5 A": 58 * WAVE, "15 A across": 174 * np.roll(WAVE, 10)}[load]
    for _ in range(60):
        bench.run(counts, 30)
        bench.offset += 4 / 120
    drifted = bench.offset
    assert drifted > 2.2
    assert bench.zero() == pytest.approx(drifted, abs=0.6)


# -- what is shown -------------------------------------------------------------------------------


def shown(bench: Warm) -> float:
    return bench.meter.channels[bench.channel].rms() / 1000


def test_a_step_of_load_shows_in_the_next_block() -> None:
    bench = Warm()
    per_count = 250 / 2048
    for amps in (2.0, 3.0, 0.5, 18.0, 13.0, 0.0, 0.3):
        bench.run(WAVE * amps * math.sqrt(2) / per_count, 19 / 60)  # one whole new block
        assert shown(bench) == pytest.approx(amps, rel=0.02, abs=0.1)


def test_a_steady_load_is_shown_steadily() -> None:
    """Ten cycles of 2 A have 0.45 % of noise; after three seconds a third of that is left."""
    bench = Warm()
    counts = WAVE * 2 * math.sqrt(2) / (250 / 2048)
    bench.run(counts, 5)
    readings = []
    for _ in range(120):
        bench.run(counts, 10 / 60)
        readings.append(shown(bench))
    assert np.std(readings) / np.mean(readings) < 0.0015
    assert np.mean(readings) == pytest.approx(2.0, rel=0.002)
    watts = bench.meter.watts(0)
    assert watts == pytest.approx(240, rel=0.005)


def test_a_slow_change_is_followed_without_a_rest() -> None:
    """What is lost in rounding at each block would add up: the mean must come to the value."""
    bench = Warm()
    channel = bench.meter.channels[CABIN1]
    channel.set_word(reduce.M_RESIDUE, 0)
    for square in (400.0, 401.2, 399.6):
        for _ in range(1600):
            ring = bench.lane.ring
            for i in range(len(BOARD.channels)):
                at = kernel.SLOT_HEAD + kernel.SLOT_CH * i
                ring[at : at + kernel.SLOT_CH] = array("i", [0, 0, 0, 2000, 2100, 0])
            ring[kernel.W_N], ring[kernel.W_PERIODS] = 40, 1
            noise = bench.word(CABIN1, reduce.M_NOISE)
            ring[kernel.SLOT_HEAD + kernel.SLOT_CH * CABIN1 + 1] = round(
                40 * square + 40 * noise / 256
            )
            bench.meter.take(ring, 0)
        assert channel.word(reduce.M_AVG_SQ) / 64 == pytest.approx(square, abs=0.05)
