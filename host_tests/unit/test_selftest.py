"""The self-tests: each check is provoked, and what opens, is recorded and is refused then; that
they cover the limits they should; and that a long busy run raises no false alarm.

The core is the real one in the simulated truck (`rig.Rig`); memory that does not keep what is
written, and files on flash, are fakes.
"""

from __future__ import annotations

import itertools
import random
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tests.fakes import machine
from host_tests.fakes.rig import Rig, WindowRig, events, kernel, o
from tools import stage
from tools.image import build
from tools.simulator.wiring import SimError

from firmware import report, selftest, selftest_report  # isort: skip
from firmware.hal import memory  # isort: skip
from firmware.protection import stages  # isort: skip
from firmware.sensing import reduce  # isort: skip

# the chip under firmware.hal.system, which unit tests have not
SYSTEM = SimpleNamespace(image=lambda: None)
NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
WORDS = [selftest_report.word(i) for i in range(selftest_report._CHECKS)]


@pytest.fixture(autouse=True)
def chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image of its own, unless a test brings one."""
    SYSTEM.image = lambda: None
    monkeypatch.setitem(sys.modules, "firmware.hal.system", SYSTEM)
    monkeypatch.setattr(sys.modules["firmware.hal"], "system", SYSTEM, raising=False)


class Bench:
    """The self-tests of a rig, and the turns of their task."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        self.counts = True  # the watchdog's timer
        self.app = SimpleNamespace(
            controller=rig.controller,
            meter=rig.meter,
            board=rig.board,
            settings=rig.settings,
            folder="data",
            watchdog=SimpleNamespace(runs=lambda: self.counts),
            keeper=SimpleNamespace(error="", text=lambda: "0 s unsaved"),
            supervisor=SimpleNamespace(crashes=0, last_crash=""),
        )
        self.tests = selftest.SelfTest(self.app)
        selftest.parts("slow").start(self.tests)
        self.slow()
        rig.controller.checking = False
        self.turn()

    def slow(self) -> None:
        """What it does each ten seconds."""
        self.memory()
        selftest.parts("slow").turn(self.tests)

    def memory(self) -> int:
        """A march through all of the memory; how many steps it took."""
        return len(list(selftest.parts("slow").memory(self.tests)))

    def rows(self) -> dict[str, str]:
        """The texts of the table."""
        return {row[0]: row[2] for row in selftest_report.rows(self.tests)}

    def turn(self) -> None:
        """What the task does each 100 ms."""
        self.tests.limits()
        self.tests.outputs()

    def run(self, seconds: float) -> None:
        """So much time with the task in it."""
        for i in range(1, round(seconds * 10) + 1):
            self.rig.run(0.1)
            self.turn()
            if i % 100 == 0:
                self.slow()

    def fails(self) -> list[str]:
        """Names of the checks that fail."""
        return [WORDS[i] for i in range(len(WORDS)) if self.tests.bad >> i & 1]

    def records(self) -> list[str]:
        """`kind check outlet` of what the self-tests have recorded."""
        found = []
        for record in self.rig.journal.since(0):
            if record[3] == events.SELFTEST and record[1] != events.REFUSED:
                name = self.rig.board.outlets[record[2]].name if record[2] >= 0 else "-"
                kind = events.name(events.KINDS, record[1])
                found.append(f"{kind} {selftest_report.word(record[4])} {name}")
        return found


def started(**options: Any) -> Bench:
    """A truck with all outlets on."""
    rig = Rig(**options)
    bench = Bench(rig)
    for name in NAMES:
        assert rig.do("on", name) == ""
    rig.run(0.3)
    bench.turn()
    bench.turn()
    assert bench.fails() == []
    return bench


def all_is_open(bench: Bench, check: str) -> None:
    """Every relay is open, the fault is on record, and nothing can be switched on."""
    rig = bench.rig
    assert bench.fails() == [check]
    assert [rig.coil(name) for name in (*NAMES, "contactor")] == [0] * 6
    assert all(rig.state(name) == "fault" and rig.reason(name) == "selftest" for name in NAMES)
    assert bench.records() == [f"fault {check} {name}" for name in (*NAMES, "-")]
    for verb in ("on", "reset"):
        assert f"the self-test failed ({check})" in rig.do(verb, "bed1", force=True)
    rig.run(0.5)
    assert not any(rig.coil(name) for name in (*NAMES, "contactor"))


def flip(block: Any, at: int, bit: int) -> None:
    """One bit of a word of 32."""
    value = (block[at] & 0xFFFFFFFF) ^ 1 << bit
    block[at] = value - (1 << 32) if value >> 31 else value


# -- memory --------------------------------------------------------------------------------------


class Memory:
    """Words of 32 bits with faults: `stuck` {(word, bit): level}; `coupled` {(word, bit): (word,
    bit)}: when the first rises, the second does, too; `slow` {(word, bit)}: cannot fall."""

    def __init__(self, n: int) -> None:
        self.words = [random.Random(n).getrandbits(32) - (1 << 31) for _ in range(n)]
        self.stuck: dict[tuple[int, int], int] = {}
        self.coupled: dict[tuple[int, int], tuple[int, int]] = {}
        self.slow: set[tuple[int, int]] = set()
        self.reads = 0

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, at: int) -> int:
        value = self.words[at] & 0xFFFFFFFF
        for (word, bit), level in self.stuck.items():
            if word == at:
                value = value & ~(1 << bit) | level << bit
        self.reads += 1
        return value - (1 << 32) if value >> 31 else value

    def __setitem__(self, at: int, value: int) -> None:
        before, value = self.words[at] & 0xFFFFFFFF, value & 0xFFFFFFFF
        for word, bit in self.slow:
            if word == at:
                value |= before & 1 << bit
        self.words[at] = value - (1 << 32) if value >> 31 else value
        for (word, bit), (victim, other) in self.coupled.items():
            if word == at and value & ~before & 1 << bit:
                held = (self.words[victim] & 0xFFFFFFFF) | 1 << other
                self.words[victim] = held - (1 << 32) if held >> 31 else held


def both(words: Memory, blocks: int, keep: Any = None) -> list[int]:
    """Results with both patterns."""
    keep = keep or [0] * memory._BLOCK
    return [memory.march(words, 0, odd, blocks, keep) for odd in (0, 1)]


def test_good_memory_passes_and_holds_what_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Memory(60)
    since: list[int] = []

    def off() -> int:
        assert machine.irq_off == 0
        since.append(words.reads)
        return machine.disable_irq()

    monkeypatch.setattr(memory, "disable_irq", off)
    before = list(words.words)
    assert both(words, 10) == [0, 0]
    assert words.words == before
    assert machine.irq_off == 0
    # interrupts come between two blocks
    assert len(since) == 2 * 10
    steps = {later - one for one, later in itertools.pairwise(since)}
    assert max(steps) <= 8 * memory._BLOCK


@pytest.mark.parametrize("bit", [0, 1, 15, 30, 31])
@pytest.mark.parametrize("word", [0, 5, 6, 17])
def test_every_kind_of_fault_is_found_in_its_block(word: int, bit: int) -> None:
    block = word // memory._BLOCK + 1
    for level in (0, 1):
        words = Memory(18)
        words.stuck[word, bit] = level
        assert both(words, 3) == [block, block] or words[word] == words.words[word]
        words.words[word] = words[word]  # what it can hold
        assert both(words, 3) == [block, block], level
    slow = Memory(18)
    slow.slow.add((word, bit))
    assert both(slow, 3) == [block, block]
    for victim in range((block - 1) * memory._BLOCK, block * memory._BLOCK):
        if victim != word:
            coupled = Memory(18)
            coupled.coupled[word, bit] = (victim, bit)
            assert block in both(coupled, 3), f"word {word} pulls {victim} up"


def test_neighbours_in_a_word_need_the_second_pattern() -> None:
    words = Memory(6)
    words.coupled[2, 4] = (2, 5)
    # 0 and -1 hide it: both bits rise together
    assert both(words, 1) == [0, 1]


def test_a_bad_place_to_keep_words_destroys_nothing() -> None:
    words = Memory(6)
    words.words[0] |= 1
    before = list(words.words)
    keep = Memory(6)
    keep.stuck[0, 0] = 0
    assert memory.march(words, 0, 0, 1, keep) == -1
    assert words.words == before and machine.irq_off == 0


def test_all_words_of_all_arrays_are_tested_and_a_bad_one_opens_everything() -> None:
    bench = started()
    tests = bench.tests
    n = len(tests.buffers[1])
    assert bench.rows()["memory"] == f"{sum(map(len, tests.buffers))} words"
    touched: set[int] = set()

    class Watched(Memory):
        def __setitem__(self, at: int, value: int) -> None:
            touched.add(at)
            Memory.__setitem__(self, at, value)

    good = Watched(n)
    tests.buffers = [*tests.buffers[:5], good]
    assert bench.memory() > 10
    assert touched == set(range(n)) and bench.fails() == []
    good.stuck[n - 1, 3] = good.words[n - 1] >> 3 & 1
    opened: list[int] = []
    machine.on_level = lambda gpio, level: opened.append(bench.rig.journal.last_seq)
    was = bench.rig.journal.last_seq
    bench.memory()
    assert len(opened) == 6 and set(opened) == {was}, "open first, record second"
    machine.on_level = bench.rig.on_level
    all_is_open(bench, "memory")
    assert (
        bench.rows()["memory"]
        == f"array 5, word {n - memory._BLOCK} does not keep what is written"
    )


def test_bad_memory_latches_until_a_restart_and_the_trip_is_known_after_it() -> None:
    bench = started()
    bad = Memory(30)
    bad.stuck[7, 7] = 1
    bench.tests.buffers.append(bad)
    bench.memory()
    all_is_open(bench, "memory")
    bad.stuck.clear()  # an intermittent one
    bench.memory()
    bench.run(1.0)
    assert bench.fails() == ["memory"]
    latched = bench.rig.controller.latched()
    again = Rig(boot_s=0)
    again.controller.restore(latched)
    again.run(0.8)
    Bench(again)
    assert again.state("bed1") == "fault" and again.coil("contactor") == 1
    assert "fault (self-test)" in again.do("on", "bed1")
    assert again.do("reset", "bed1") == "" and again.do("on", "bed1") == ""


# -- limits --------------------------------------------------------------------------------------


def guarded(rig: Rig) -> list[tuple[Any, int]]:
    """(array, word) of all that the sum covers, from the layouts' own names."""
    st, block = rig.lane.st, rig.meter.block
    names = "N_CH N_MIN N_MAX N_FREE HYST SLOTS WAVE_SCANS WAVE_POST N_VOLT PEAK_SCANS ALL_MASK"
    names += " ALL_BITS IN_MASK IN_INVERT IN_BITS IN_RELAYS"
    found: list[tuple[Any, int]] = [(st, getattr(kernel, name)) for name in names.split()]
    names = "VSEL BIT MASK MUX SHORT SHORT_MAX BREAK WAIT TWICE FROM VAT ZERO PEAK"
    for channel in rig.board.channels:
        at = rig.lane.base(channel.index)
        found += [(st, at + getattr(kernel, "C_" + name)) for name in names.split()]
        at = rig.meter.channels[channel.index].at
        words = ("VSEL", "W_DIV", "E_UNIT", "WELD", "SKEW", "LEAD", "ZERO")
        found += [(block, at + getattr(reduce, "M_" + name)) for name in words]
    bank = rig.controller.bank
    found += [(bank.block, i * 6 + word) for i in range(bank.count) for word in (3, 4)]
    rows = rig.controller.conditions.stages.block
    for row in range(len(rows) // stages.S_WORDS):
        if row not in (stages.LOW_HZ, stages.HIGH_HZ):
            found += [(rows, row * stages.S_WORDS + word) for word in range(3)]
    return found


def test_any_flipped_bit_of_any_limit_is_found() -> None:
    rig = Rig()
    bench = Bench(rig)
    n = len(rig.board.channels)
    places = guarded(rig)
    assert len(places) > 250
    for array, at in places:
        for bit in range(32):
            flip(array, at, bit)
            for _ in range(n):  # zeros and peaks: a channel each turn
                bench.tests.limits()
            assert bench.fails() == ["limits"], f"word {at}, bit {bit}"
            flip(array, at, bit)
            bench.tests.bad = 0
            rig.controller.mend()
        rig.journal.__init__(64)  # type: ignore[misc]


def test_a_flipped_limit_opens_everything_within_a_turn() -> None:
    bench = started()
    at = bench.rig.lane.base(bench.rig.board.outlets[2].channel) + kernel.C_SHORT
    flip(bench.rig.lane.st, at, 22)
    bench.turn()
    all_is_open(bench, "limits")


@pytest.mark.parametrize("what", ["leg", "total", "pickup", "peak asked for"])
def test_limits_that_are_no_words_of_an_array_are_compared_with_a_copy(what: str) -> None:
    bench = started()
    c = bench.rig.controller
    if what == "leg":
        c.dispatch.legs[1].limit ^= 1 << 14
    elif what == "total":
        c.dispatch.total.limit ^= 1 << 13
    elif what == "pickup":
        c.outlets[3].pickup_sq ^= 1 << 16
    else:
        bench.rig.lane._peak[4] ^= 1 << 9
    for _ in bench.rig.board.channels:
        bench.turn()
    all_is_open(bench, "limits")


SETTINGS = {
    "bed1.limit_a": 12,
    "bed1.trip_class": "slow",
    "bed1.short_x": 3,
    "bed1.short_s": 1,
    "bed1.peak_x": 5,
    "bed1.continuous_x": 0.7,
    "bed1.continuous_h": 1,
    "bed1.breaking_a": 90,
    "supply.under_percent": 80,
    "supply.over_percent": 114,
    "supply.over_s": 4,
    "supply.nominal_v": 127,
    "supply.hz": 50,
    "temperature.trip_c": 80,
    "temperature.derate_c": 55,
    "relay.break_mode": "wait",
    "gfci.input": "high",
    "leg.limit_a": 31,
    "total.limit_w": 7000,
}


def test_changes_of_settings_are_no_fault_and_what_they_change_is_watched() -> None:
    rig = Rig()
    bench = Bench(rig)
    watched = {(id(array), at) for array, at in guarded(rig)}
    rows = rig.controller.conditions.stages.block
    arrays = (rig.lane.st, rig.meter.block, rig.controller.bank.block, rows)
    # what changes with them and is no limit: the length of a window, heat, counters, the band of
    # the frequency, the time constant of an outlet that is open
    free = {(id(arrays[0]), kernel.N_LIMIT)}
    bank = rig.controller.bank
    free |= {(id(bank.block), i * 6 + word) for i in range(bank.count) for word in (1, 2, 5)}
    bands = (stages.LOW_HZ, stages.HIGH_HZ)
    free |= {(id(rows), row * 4 + word) for row in bands for word in range(4)}
    moved = 0
    for name, value in SETTINGS.items():
        before = [list(array) for array in arrays]
        assert rig.settings.get(name) != value, name
        rig.settings.set(name, value)
        for array, old in zip(arrays, before, strict=True):
            for at, (was, now) in enumerate(zip(old, array, strict=True)):
                if was != now and (id(array), at) not in free:
                    assert (id(array), at) in watched, f"{name} changes a word that is not watched"
                    moved += 1
        for _ in rig.board.channels:
            bench.turn()
        assert bench.fails() == [], name
    assert moved > len(SETTINGS)


def test_calibration_and_derating_are_no_fault() -> None:
    bench = started()
    rig = bench.rig
    rig.meter.set_gain(3, 1.02)
    rig.meter.set_phase(3, 0.4)
    rig.controller.configure()  # as `cal` does
    bench.run(0.5)
    rig.controller.conditions._derate(8)
    bench.run(1.0)
    rig.controller.conditions._derate(10)
    bench.run(1.0)
    assert bench.fails() == [] and bench.records() == []


# -- pins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_a_relay_pin_that_does_not_follow_opens_everything(level: int) -> None:
    bench = started()
    rig = bench.rig
    pin = rig.board.outlets[rig.index("bed2")].relay
    if level:
        rig.do("off", "bed2")
        rig.run(0.1)
    machine.levels[pin] = level  # not by the firmware
    bench.turn()
    assert bench.fails() == [], "once may be chance"
    machine.levels[pin] = level
    bench.turn()
    assert bench.fails() == ["outputs"]
    assert rig.coil("contactor") == 0 and "fault outputs -" in bench.records()
    assert bench.rows()["outputs"] == "pins that do not follow: bed2"


def test_a_contactor_pin_that_does_not_follow_opens_everything() -> None:
    bench = started()
    machine.levels[bench.rig.board.contactor] = 0
    bench.turn()
    bench.turn()
    assert bench.fails() == ["outputs"]
    assert not any(bench.rig.coil(name) for name in NAMES)


def test_trips_planned_switching_and_a_lost_lease_are_no_wrong_pins() -> None:
    bench = started()
    rig = bench.rig
    lane = rig.lane
    rig.controlling = False  # the lane has opened it, the control lane has not heard of it
    rig.sim("short bed1")
    rig.run(0.02)
    assert rig.coil("bed1") == 0
    bench.turn()
    bench.turn()
    rig.run(3.2)
    assert lane.lease_lost()
    bench.turn()
    bench.turn()
    rig.controlling = True
    rig.run(0.5)
    bench.run(0.5)
    assert bench.fails() == []
    # switched at the mains' zero: commanded now, done up to 25 ms later
    rig.sim("unshort bed1")
    for verb in ("reset", "on", "off", "on"):
        assert rig.do(verb, "bed1") == ""
        bench.turn()
        bench.turn()
        rig.run(0.05)
    assert bench.fails() == []


# -- clocks, lanes, watchdog ---------------------------------------------------------------------


def stand(bench: Bench, ring: list[int], seconds: float = 0.3) -> None:
    """The rest of ten seconds goes by; what comes then."""
    bench.rig.run(seconds)
    bench.tests.us -= round((10 - seconds) * 1e6)
    bench.tests.scans -= round((10 - seconds) * 1e6) // bench.rig.lane.period_us
    bench.tests.windows -= 60
    bench.slow()


def test_a_clock_that_is_off_by_five_percent_opens_everything_and_mends() -> None:
    bench = started(settings={"supply.hz_percent": 8})
    lane = bench.rig.lane
    ring = [6500]
    lane.ring_khz = lambda: ring[0]
    stand(bench, ring)
    # the crystal runs 5 % fast: the mains and the ring oscillator seem slow
    bench.rig.sim("supply hz=57.1")
    ring[0] = 6190
    stand(bench, ring)
    assert bench.fails() == []
    stand(bench, ring)
    assert bench.fails() == ["clock", "mains clock"]
    assert not any(bench.rig.coil(name) for name in (*NAMES, "contactor"))
    assert "the self-test failed (clock)" in bench.rig.do("on", "bed1")
    bench.rig.sim("supply hz=60")
    ring[0] = 6510
    for _ in range(3):
        stand(bench, ring)
    assert bench.fails() == [] and bench.rig.coil("contactor") == 1
    assert bench.records()[-1] == "cleared clock -"
    assert "fault (self-test)" in bench.rig.do("on", "bed1")
    assert bench.rig.do("reset", "bed1") == "" and bench.rig.do("on", "bed1") == ""


@pytest.mark.parametrize("ring_khz", [0, 6480])
def test_a_mains_that_is_off_by_five_percent_is_a_warning(ring_khz: int) -> None:
    bench = started(settings={"supply.hz_percent": 8})
    ring = [ring_khz]
    bench.rig.lane.ring_khz = lambda: ring[0]
    stand(bench, ring)
    bench.rig.sim("supply hz=63")
    for _ in range(3):
        stand(bench, ring)
    assert bench.fails() == ["mains clock"]
    assert all(bench.rig.coil(name) for name in NAMES)
    assert "- warning clock" in bench.rig.log() and bench.records() == []
    bench.rig.sim("supply hz=60")
    for _ in range(3):
        stand(bench, ring)
    assert bench.fails() == [] and "- cleared clock" in bench.rig.log()


@pytest.mark.parametrize("permille", [700, 1100])
def test_a_sampler_with_another_rhythm_opens_everything(permille: int) -> None:
    bench = started(board="pico_w")
    for _ in range(2):
        bench.rig.run(0.1)
        bench.tests.us -= 9_900_000
        scans = 9_900_000 // bench.rig.lane.period_us
        bench.tests.scans -= scans * permille // 1000
        bench.tests.windows -= 60
        assert bench.fails() == []
        bench.rig.lane.reads_pins = True  # a hard timer
        bench.slow()
    all_is_open(bench, "scans")


def test_windows_that_do_not_come_through_open_everything() -> None:
    bench = started()
    for _ in range(2):
        stand(bench, [])
        bench.tests.windows = bench.rig.controller.windows
        bench.rig.run(0.1)
        bench.tests.windows = bench.rig.controller.windows
        bench.tests.us -= 9_900_000
        bench.tests.scans -= 9_900_000 // bench.rig.lane.period_us
        bench.slow()
        bench.tests.windows = bench.rig.controller.windows
        bench.tests.us -= 10_000_000
        bench.tests.scans -= 10_000_000 // bench.rig.lane.period_us
        bench.slow()
    all_is_open(bench, "flow")


def test_a_watchdog_that_does_not_count_opens_everything() -> None:
    bench = started()
    bench.counts = False
    stand(bench, [])
    all_is_open(bench, "watchdog")


# -- converter -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "good"), [(0, True), (876, True), (610, False), (1150, False)])
def test_the_reference_is_judged_by_the_chips_own_sensor(code: int, good: bool) -> None:
    rig = Rig()
    rig.lane.reference = code
    bench = Bench(rig)
    assert bench.fails() == ([] if good else ["reference"])
    assert (rig.do("on", "bed1") == "") is good
    assert ("reference" in bench.rows()) is (code > 0)


def test_sensors_that_are_off_together_are_a_warning() -> None:
    bench = Bench(Rig())
    for name in NAMES:
        bench.rig.sim(f"sensor {name} offset=140")
    bench.rig.run(3.0)
    for _ in range(2):
        stand(bench, [])
    assert bench.fails() == ["middle"] and bench.records() == ["warning middle -"]


# -- what is stored ------------------------------------------------------------------------------


@pytest.fixture
def flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The chip's file system with a staged tree; `image` in it is the flash of a frozen one."""
    files = {f"firmware/{i}.mpy": bytes([i]) * (400 * i + 1) for i in range(6)}
    stage.write(stage.listed(files | {"main.py": b"pass\n"}), tmp_path)
    monkeypatch.chdir(tmp_path)
    SYSTEM.image = lambda: None
    return tmp_path


def look(bench: Bench) -> int:
    """Everything that is stored; how many steps it took."""
    return len(list(selftest.parts("slow").stored(bench.tests, 1024)))


def test_files_are_compared_with_the_list_that_staging_made(flash: Path) -> None:
    bench = started()
    assert look(bench) >= 2 * 6  # the largest files in several steps
    assert bench.fails() == []
    assert bench.rows()["files"] == "7 checksums are right"
    path = flash / "firmware" / "4.mpy"
    data = bytearray(path.read_bytes())
    data[1300] ^= 4
    path.write_bytes(data)
    look(bench)
    all_is_open(bench, "files")
    assert bench.rows()["files"] == "number 5 is damaged"


@pytest.mark.parametrize("line", [b"00000000", b"\n", b"1 2 3\n", b"\xff\x80 x\n", b"0 \0\n"])
def test_a_damaged_list_is_a_damaged_file(flash: Path, line: bytes) -> None:
    path = flash / stage.MANIFEST
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:2]) + line)
    bench = started()
    look(bench)
    all_is_open(bench, "files")
    assert bench.rows()["files"] == "number 3 is damaged"


def test_a_missing_file_is_a_damaged_one_and_no_list_is_no_check(flash: Path) -> None:
    (flash / "main.py").unlink()
    bench = started()
    look(bench)
    all_is_open(bench, "files")
    (flash / stage.MANIFEST).unlink()
    bench = started()
    look(bench)
    assert bench.fails() == [] and "files" not in bench.rows()


def test_a_read_that_fails_once_is_read_again(flash: Path, monkeypatch: Any) -> None:
    right = zlib.crc32
    wrong = [3]

    def crc32(data: Any, seen: int = 0) -> int:
        wrong[0] -= 1
        return right(data, seen) ^ (wrong[0] == 0)

    monkeypatch.setattr("binascii.crc32", crc32)
    bench = started()
    look(bench)
    assert wrong[0] < 0 and bench.fails() == []


def test_the_image_is_compared_with_its_seal(flash: Path) -> None:
    image = bytearray(random.Random(1).randbytes(50_000))
    seal = build.seal(bytes(image))
    assert len(seal) == 256 and seal[:8] == b"tailgate"
    assert int.from_bytes(seal[8:12], "little") == len(image)
    crc = int.from_bytes(seal[12:16], "little")
    SYSTEM.image = lambda: (image, crc)
    bench = started()
    look(bench)
    assert bench.fails() == []
    assert bench.rows()["image"] == "checksum is right"
    image[33_333] ^= 0x10
    look(bench)
    all_is_open(bench, "image")


def test_a_damaged_settings_file_is_a_warning_and_heals(flash: Path) -> None:
    from firmware.storage import files

    (flash / "data").mkdir()
    path = "data/settings.json"
    files.write(path, b"{}")
    bench = started()
    bench.tests.turns = 60
    bench.slow()
    assert bench.fails() == []
    good = Path(path).read_bytes()
    Path(path).write_bytes(good[:-1])
    bench.tests.turns = 120
    bench.slow()
    assert bench.fails() == ["settings file"] and bench.records() == ["warning settings file -"]
    assert all(bench.rig.coil(name) for name in NAMES)
    Path(path).write_bytes(good)
    for _ in range(3):
        bench.tests.turns = 180
        bench.slow()
    assert bench.fails() == []


# -- the whole -----------------------------------------------------------------------------------


def test_nothing_closes_before_the_first_round_is_over() -> None:
    rig = Rig()
    selftest.parts("slow").start(selftest.SelfTest(Bench(rig).app))
    assert "still being measured" in rig.do("on", "bed1")
    rig.controller.checking = False
    assert rig.do("on", "bed1") == ""


def test_what_is_shed_does_not_come_back_after_a_failure() -> None:
    rig = WindowRig(settings={"shed.restore_s": 10, "shed.min_off_s": 10})
    bench = Bench(rig)
    for name in NAMES:
        rig.load[name] = 15.0
        assert rig.do("on", name) == ""
    rig.run(5.0)
    rig.load["bed240"] = 38.0
    rig.run(5.0)
    shed = [name for name in NAMES if rig.state(name) == "shed"]
    assert shed, rig.log()
    flip(rig.lane.st, kernel.HYST, 4)
    bench.tests.limits()
    rig.load["bed240"] = 0.0
    rig.run(60.0)
    assert not any(rig.coil(name) for name in (*NAMES, "contactor"))
    assert rig.state(shed[0]) == "fault"


def test_a_repaired_weld_does_not_close_the_contactor_of_an_unfit_board() -> None:
    rig = WindowRig()
    bench = Bench(rig)
    rig.load["bed1"] = 10.0
    assert rig.do("on", "bed1") == ""
    rig.run(1.0)
    rig.welded.add("bed1")
    rig.do("off", "bed1")
    rig.run(1.0)
    assert rig.reason("bed1") == "welded"
    flip(rig.lane.st, kernel.HYST, 4)
    bench.tests.limits()
    rig.welded.clear()
    rig.run(1.0)
    assert "the self-test failed" in rig.do("reset", "bed1", force=True)
    rig.run(1.0)
    assert rig.coil("contactor") == 0


def test_the_records_name_the_check() -> None:
    bench = started()
    flip(bench.rig.lane.st, kernel.HYST, 4)
    bench.turn()
    app = SimpleNamespace(**vars(bench.app), journal=bench.rig.journal)
    last = [report.event(app, record) for record in bench.rig.journal.since(0)][-1]
    assert (last["event"], last["reason"], last["check"]) == ("fault", "selftest", "limits")
    assert selftest_report.state(bench.tests) == "limits"


def test_numbers_of_checks_do_not_move() -> None:
    """They stand in records on flash."""
    assert ",".join(WORDS) == (
        ",memory,limits,image,files,outputs,watchdog,clock,scans,flow,reference,mains clock,"
        "middle,settings file,heap"
    )
    assert selftest_report.word(99) == ""
    critical = [w for i, w in enumerate(WORDS) if selftest._CRITICAL >> i & 1]
    assert critical == WORDS[1:11]
    latching = [w for i, w in enumerate(WORDS) if selftest._LATCHES >> i & 1]
    assert latching == ["memory", "limits", "image", "files", "outputs", "watchdog", "reference"]


def test_a_busy_minute_raises_no_alarm() -> None:
    """Motors, trips, shedding, commands, settings, drifting zeros, dips and a generator's sag."""
    rig = Rig(
        seed=3, settings={"shed.restore_s": 10, "shed.min_off_s": 10, "supply.hz_percent": 8}
    )
    bench = Bench(rig)
    rng = random.Random(8)
    for name in NAMES:
        rig.do("on", name)
    lines = (
        "plug {} resistive amps={}",
        "plug {} motor",
        "unplug {}",
        "short {}",
        "unshort {}",
        "sensor {} offset={}",
        "supply hz=57.6",
        "supply hz=60",
    )
    for _ in range(60):
        for _ in range(3):
            name = rng.choice(NAMES)
            line = rng.choice(lines).format(name, rng.randint(1, 15))
            try:
                rig.sim(line)
            except SimError as error:
                assert line.startswith(("un", "plug bed240")), (
                    f"{line}: {error}"
                )  # there was nothing
            rig.do(rng.choice(("on", "off", "reset", "on")), rng.choice(NAMES), force=True)
        if rng.random() < 0.3:
            rig.settings.set(f"{name}.limit_a", rng.randint(5, 18))
        bench.run(1.0)
        assert bench.fails() == [], rig.log()[-10:]
    kinds = {record[1] for record in rig.journal.since(0)}
    assert {events.ON, events.OFF, events.TRIPPED} <= kinds
    assert not [r for r in bench.records() if "fault" in r]
    assert o.energised(o.ON)
