"""Definite-time stages as pure logic, and the words that survive a reset of the chip."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import board as boards
from firmware import events
from firmware.conditions_setup import rows_of
from firmware.protection import outlet as o
from firmware.protection import stages as s
from firmware.protection.stages import Stages
from firmware.protection.thermal import Bank
from firmware.storage import retained

NOMINAL = 8000
PER_S = 2400


@pytest.fixture
def stages() -> Stages:
    made = Stages(5)
    for leg in (0, 4):
        made.set(leg + s.LOSS, -NOMINAL * 50 // 100, -NOMINAL * 51 // 100, PER_S // 2)
        made.set(leg + s.UNDER, -NOMINAL * 88 // 100, -NOMINAL * 89 // 100, 10 * PER_S)
        made.set(leg + s.OVER, NOMINAL * 110 // 100, NOMINAL * 109 // 100, 10 * PER_S)
        made.set(leg + s.HIGH, NOMINAL * 120 // 100, NOMINAL * 119 // 100, PER_S * 16 // 100)
    made.set_hz(60_000, 50, 10 * PER_S)
    return made


def seconds_until(made: Stages, row: int, feed, most: float = 30.0) -> float:
    """How long `feed(scans)` takes to make a row act, s."""
    scans = 0
    while not made.active >> row & 1:
        feed(40)
        scans += 40
        assert scans < most * PER_S
    return scans / PER_S


@pytest.mark.parametrize(
    ("percent", "row", "seconds"),
    [(40, s.LOSS, 0.5), (80, s.UNDER, 10), (115, s.OVER, 10), (125, s.HIGH, 0.16)],
)
@pytest.mark.parametrize("leg", [0, 1])
def test_voltage_acts_after_its_delay_and_on_its_leg(
    stages: Stages, leg: int, percent: int, row: int, seconds: float
) -> None:
    took = seconds_until(
        stages, row + 4 * leg, lambda n: stages.volts(leg, NOMINAL * percent // 100, n)
    )
    assert took == pytest.approx(seconds, abs=2 / 60)
    assert stages.active == 1 << (row + 4 * leg)
    stages.volts(leg, NOMINAL, 40)
    assert stages.active == 0


@pytest.mark.parametrize("percent", [51, 88, 95, 100, 105, 110])
def test_what_is_within_the_longest_limits_never_acts_for_a_day(
    stages: Stages, percent: int
) -> None:
    for _ in range(24 * 60):
        stages.volts(0, NOMINAL * percent // 100, 60 * PER_S if percent >= 88 else 40)
        if percent < 88:
            stages.volts(0, NOMINAL, 40)  # dips of a cycle: none adds up
    assert stages.active == 0


def test_once_picked_up_it_counts_until_it_drops_out(stages: Stages) -> None:
    stages.volts(0, NOMINAL * 111 // 100, 40)
    took = seconds_until(stages, s.OVER, lambda n: stages.volts(0, NOMINAL * 1095 // 1000, n))
    assert took == pytest.approx(10, abs=0.1)
    stages.volts(0, NOMINAL * 108 // 100, 40)
    assert stages.active == 0


def test_a_loss_is_not_an_undervoltage_as_well(stages: Stages) -> None:
    for _ in range(60 * 60):
        stages.volts(0, 0, 40)
    assert stages.active == 1 << s.LOSS
    assert stages.why(rows_of(0, 2, True, True, True, True)) == events.SUPPLY


def test_a_value_out_of_band_for_less_than_the_delay_starts_anew(stages: Stages) -> None:
    for _ in range(100):
        for _ in range(29):
            stages.volts(1, 0, 40)
        stages.volts(1, NOMINAL, 40)
    assert stages.active == 0


@pytest.mark.parametrize(("mhz", "row"), [(56_900, s.LOW_HZ), (63_200, s.HIGH_HZ), (0, s.LOW_HZ)])
def test_frequency(stages: Stages, mhz: int, row: int) -> None:
    took = seconds_until(stages, row, lambda n: stages.hertz(mhz, n, False))
    assert took == pytest.approx(10, abs=2 / 60)
    stages.hertz(60_000, 40, False)
    assert stages.active == 0


def test_without_voltage_the_frequency_says_nothing(stages: Stages) -> None:
    for _ in range(60 * 60):
        stages.volts(0, 0, 40)
        stages.hertz(0, 40, False)
    assert stages.active == 1 << s.LOSS


@pytest.mark.parametrize(
    ("first", "later", "acts"), [(50, 50, False), (60, 60, False), (50, 60, True)]
)
def test_the_nominal_frequency_is_what_there_is_before_something_is_on(
    stages: Stages, first: int, later: int, acts: bool
) -> None:
    stages.set_hz(0, 50, 10 * PER_S)
    stages.hertz(first * 1000, 40, True)
    for _ in range(15 * 60):
        stages.hertz(later * 1000, 40, False)
    assert bool(stages.active) == acts
    stages.hertz(later * 1000, 40, True)  # nothing is on any more: the other is nominal now
    stages.hertz(later * 1000, 40, True)
    assert stages.active == 0


def test_a_change_of_settings_does_not_start_a_delay_anew(stages: Stages) -> None:
    for _ in range(9 * 60):
        stages.volts(0, NOMINAL * 80 // 100, 40)
    stages.set(s.UNDER, -NOMINAL * 85 // 100, -NOMINAL * 86 // 100, 10 * PER_S)
    took = seconds_until(stages, s.UNDER, lambda n: stages.volts(0, NOMINAL * 80 // 100, n))
    assert took == pytest.approx(1, abs=0.1)
    stages.off(s.UNDER)
    assert stages.active == 0


@pytest.mark.parametrize(
    ("on_s", "off_s", "continuous"), [(1, 0, True), (700, 300, True), (600, 400, False)]
)
def test_continuous_load_is_two_thirds_of_the_time(
    on_s: int, off_s: int, continuous: bool
) -> None:
    made = Stages(5)
    made.set(s.CONTINUOUS + 2, 16_000, 0, 3 * 3600)
    told = []
    for second in range(40 * 3600):
        on = second % (on_s + off_s) < on_s
        if made.load(2, 16_001 if on else 0):
            told.append(second)
    assert bool(told) == continuous
    if not off_s:
        assert told == [3 * 3600 - 1]
    assert made.is_continuous(2) == continuous
    assert not made.is_continuous(1)


def test_a_continuous_load_has_to_rest() -> None:
    made = Stages(1)
    made.set(s.CONTINUOUS, 16_000, 0, 10_000)
    assert sum(made.load(0, 17_000) for _ in range(12_000)) == 1
    for rest in range(1, 10_000):
        made.load(0, 0)
        if not made.is_continuous(0):
            assert rest == 501
            break
    assert sum(made.load(0, 17_000) for _ in range(1100)) == 1


def test_derating_has_steps_and_hysteresis() -> None:
    made = Stages(5)
    for step in range(s.STEPS):
        made.set(s.DERATE + step, -(600 - 80 * step), -(640 - 80 * step), 3)
    made.set(s.NO_SENSOR, 0, 1, 3)

    def settle(code: int) -> int:
        for _ in range(4):
            made.second(code, 15 < code < 4080)
        return made.derating()

    assert [settle(c) for c in (800, 601, 599, 519, 520, 559, 561, 639, 641)] == [
        0, 0, 1, 2, 2, 2, 1, 1, 0,
    ]  # fmt: skip
    assert settle(4095) == 0 and made.active == 1 << s.NO_SENSOR
    assert settle(100) == 5


def test_a_single_reading_is_no_temperature() -> None:
    made = Stages(1)
    made.set(s.HOT, -500, -550, 3)
    for code in (400, 400, 700) * 20:
        made.second(code, True)
    assert made.active == 0


def test_two_turns_are_a_ground_fault_and_one_is_not() -> None:
    made = Stages(1)
    made.set(s.GROUND, 0, 1, 2)
    for level in (1, 0, 1, 0, 0):
        made.feed(s.GROUND, level, 1)
        assert not made.active
    made.feed(s.GROUND, 1, 1)
    made.feed(s.GROUND, 1, 1)
    assert made.active == 1 << s.GROUND
    made.feed(s.GROUND, 0, 1)
    assert made.active == 0


def test_which_rows_open_an_outlet() -> None:
    both = rows_of(2, 2, True, True, True, True)
    assert both == 0xFF | 3 << 8 | 1 << s.HOT | 1 << s.GROUND | 1 << s.FOLLOW
    assert rows_of(1, 2, True, False, False, False) == 0xF0 | 1 << s.FOLLOW
    assert rows_of(1, 1, True, False, False, False) == 0x0F | 1 << s.FOLLOW
    # loss of the supply and the contactor cannot be switched off
    assert rows_of(2, 2, False, False, False, False) == 0x11 | 1 << s.FOLLOW


def test_every_row_that_opens_has_a_reason_of_its_own() -> None:
    made = Stages(5)
    seen = set()
    for row in range(s.FOLLOW + 1):
        made.active = 1 << row
        reason = made.why((1 << s.FOLLOW + 1) - 1)
        assert reason
        seen.add(reason)
    assert len(seen) == len(s.KINDS)
    made.active = 1 << s.NO_SENSOR | 1 << s.DERATE | 1 << s.CONTINUOUS
    assert made.why(rows_of(2, 2, True, True, True, True)) == 0


@given(st.lists(st.tuples(st.integers(-(2**24), 2**24), st.integers(1, 20_000)), max_size=40))
def test_a_row_acts_exactly_when_a_plain_timer_says_so(values: list[tuple[int, int]]) -> None:
    made = Stages(1)
    made.set(s.OVER, 1000, 900, 5000)
    count = 0
    for x, n in values:
        made.feed(s.OVER, x, n)
        held = x > 1000 or (count > 0 and x >= 900)
        count = min(count + n, 5000) if held else 0
        assert bool(made.active) == (count == 5000)


# -- words that survive a reset ----------------------------------------------------------------

STATES = st.sampled_from((o.OFF, o.ON, o.TRIPPED, o.LOCKOUT, o.FAULT, o.SHED))
FACTS = st.lists(
    st.tuples(STATES, st.integers(1, 44), st.integers(0, 2500)), min_size=5, max_size=5
)


def outlets(facts):
    bank = Bank(5, PER_S)
    result = []
    for i, (state, reason, permille) in enumerate(facts):
        bank.elements[i].configure(29_600, 120, 240)
        bank.elements[i].set_permille(permille)
        result.append(
            SimpleNamespace(index=i, state=state, reason=reason, thermal=bank.elements[i])
        )
    return result


@given(FACTS)
def test_what_is_kept_comes_back(facts) -> None:
    words = array("i", [0, 0, 0, 0])
    retained.pack(words, outlets(facts))
    assert all(0 <= word < 1 << 30 for word in words)
    kept = retained.unpack(list(words))
    assert kept is not None
    latched, heats = kept
    for i, (state, reason, permille) in enumerate(facts):
        if state == o.LOCKOUT:
            assert latched[i] == events.LOCKED
        elif state in (o.TRIPPED, o.FAULT):
            assert latched[i] == reason
        else:
            assert i not in latched
        assert min(permille, 1960) - 2 <= heats[i] <= permille + 33, "never colder"


@given(FACTS, st.integers(0, 3), st.integers(0, 29))
def test_a_word_that_changed_is_not_believed(facts, word: int, bit: int) -> None:
    words = array("i", [0, 0, 0, 0])
    retained.pack(words, outlets(facts))
    words[word] ^= 1 << bit
    assert retained.unpack(words) is None


@pytest.mark.parametrize("words", [(0, 0, 0, 0), (2**32 - 1,) * 4, (0x1A5 << 20, 0, 0, 0)])
def test_what_power_on_leaves_is_not_believed(words) -> None:
    assert retained.unpack(words) is None


@pytest.mark.parametrize("name", boards.names())
def test_every_board_fits(name: str) -> None:
    board = boards.load(name)
    # of a gang's poles only that they tripped is kept over a reset of the chip
    assert len([x for x in board.outlets if not x.gang]) <= retained.OUTLETS
    assert s.CONTINUOUS + len(board.outlets) < 30, "active is a small integer"
