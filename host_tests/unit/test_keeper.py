"""What is saved when: the keeper above the real controller, on a fake NOR flash."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.fakes import machine
from host_tests.fakes.nor_flash import NorFlash, PowerCut
from host_tests.fakes.rig import Rig, WindowRig
from tools import cpython

from firmware import events  # isort: skip
from firmware.protection import outlet as o  # isort: skip
from firmware.storage import files, keeper, quiet, retained, strip  # isort: skip
from firmware.storage.energy import Energy  # isort: skip
from firmware.storage.latch import LatchStore  # isort: skip


@pytest.fixture(autouse=True)
def no_files_wait() -> Iterator[None]:
    files.waiting.clear()
    yield
    files.waiting.clear()
    files.defer(None)


class Bench:
    """The firmware without its tasks: `run()` calls the keeper as its task does."""

    def __init__(
        self,
        folder: Path,
        flash: NorFlash | None,
        rig: Any = None,
        kept: list[int] | None = None,
        **settings: Any,
    ) -> None:
        values = {name.replace("__", "."): value for name, value in settings.items()}
        self.rig = rig = rig or WindowRig(settings=values)
        self.flash = flash
        self.folder = str(folder)
        self.board = rig.board
        self.journal = rig.journal
        self.settings = rig.settings
        self.controller = rig.controller
        self.meter = rig.meter
        self.clock = rig.clock
        self.fast = rig.lane
        self.mqtt = None
        self.energy = Energy(self.folder, len(rig.board.outlets))
        files.waiting.clear()
        files.defer(None)
        self.keeper = keeper.Keeper(self, flash)
        # the rig has run already; a start reads the journal before the first record
        rig.journal.last_seq = rig.journal.first_seq = 0
        self.keeper.open()
        self.keeper.load(kept)
        self._next = 0
        self._turns = 0
        self.step = rig.window if isinstance(rig, WindowRig) else rig.scan

    def run(self, seconds: float) -> None:
        end = self.rig.t_us + round(seconds * 1e6)
        while self.rig.t_us < end:
            self.step()
            while self._next <= self.rig.t_us:
                self._next += 50_000
                self._turns += 1
                tidy = self._turns % 10 == 0
                if tidy or self.controller.latch_dirty or self.keeper._fresh:
                    self.keeper.turn(tidy)

    def on(self, name: str, amps: float) -> None:
        self.rig.load[name] = amps
        said = self.rig.do("on", name)
        assert not said, said

    def totals_mwh(self) -> list[int]:
        return [self.meter.energy_mwh(x.index) for x in self.board.outlets]

    def mwh(self, name: str) -> int:
        return int(self.meter.energy_mwh(self.rig.index(name)))

    def busy(self) -> int:
        bits: int = quiet.busy(self.controller)
        return bits

    def again(self, stay: bool = False) -> Bench:
        """A start after a power cut. Unless it shall `stay`, this one can go on afterwards (as if
        the flash had been looked at)."""
        levels = dict(machine.levels)
        new = Bench(Path(self.folder), self.flash)
        if not stay:
            machine.reset(self.rig.on_level)
            machine.levels.update(levels)
            cpython.install(lambda: self.rig.t_us)
            self.rig.lane.attach()
            files.defer(self.keeper.later)
        return new


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, NorFlash())


def test_energy_under_steady_load_above_half_is_saved_without_an_erase(bench: Bench) -> None:
    assert bench.flash is not None
    bench.on("bed1", 16)
    bench.run(5)
    erases = sum(bench.flash.erases)
    writes = bench.keeper.writes
    assert bench.busy() == quiet.HALF
    for _ in range(5):
        bench.run(37)
        new = bench.again()
        lost_s = (bench.mwh("bed1") - new.mwh("bed1")) / (1920 / 3.6)
        assert 0 <= lost_s < 60, lost_s
    assert sum(bench.flash.erases) == erases
    assert bench.keeper.writes == writes
    bench.rig.load["bed1"] = 4
    bench.run(620)
    assert bench.keeper.writes > writes, "the files follow when it is quiet"
    assert new.keeper.strip is not None


def test_a_trip_is_in_the_strip_before_it_is_in_a_file(tmp_path: Path) -> None:
    rig = Rig()  # scan by scan: the waveform after the trip must be over
    bench = Bench(tmp_path, NorFlash(), rig)
    rig.sim("plug cabin2 resistive amps=15")  # no file may be written
    rig.sim("plug bed1 resistive amps=15")
    for name in ("cabin2", "bed1"):
        assert not rig.do("on", name)
    bench.run(1.5)
    assert bench.busy() == quiet.HALF
    rig.sim("plug bed1 resistive amps=200")
    while rig.state("bed1") != "tripped":
        bench.run(0.001)
    at = rig.t_us
    writes = bench.keeper.writes
    while bench.controller.latch_dirty or bench.keeper._fresh:
        bench.run(0.001)
    assert rig.lane.wave_frozen(), "no millisecond of the waveform is missing"
    assert 60_000 <= rig.t_us - at <= 130_000, rig.t_us - at
    assert bench.keeper.writes == writes
    assert LatchStore(bench.folder).load().get("bed1") is None, "not in the file yet"
    new = bench.again()
    assert new.rig.state("bed1") == "tripped"
    assert new.controller.outlets[new.rig.index("bed1")].reason == events.PEAK
    assert "bed1 tripped peak" in new.rig.log()


def test_the_journal_goes_on_over_the_strip_and_the_files(bench: Bench) -> None:
    for i in range(40):
        bench.journal.add(events.ON, 2, events.COMMAND, i, events.BY_CONSOLE)
    bench.run(30)
    bench.on("bed1", 15)
    bench.run(2)
    for i in range(40, 700):  # more than the ring holds, and no file may be written
        bench.journal.add(events.ON, 2, events.COMMAND, i, events.BY_CONSOLE)
        if i % 20 == 0:
            bench.run(2)
    bench.run(30)
    last = bench.journal.last_seq
    new = bench.again(stay=True)
    assert new.journal.last_seq == last
    assert new.journal.boot == bench.journal.boot + 1
    values = [r[4] for r in new.journal.since(last - 200)]
    assert values == list(range(500, 700))
    new.run(40)  # now the files take over, those that the ring has dropped included
    assert new.keeper.journal_store.stored_seq >= last
    only_files = Bench(Path(bench.folder), None)
    values = [r[4] for r in only_files.journal.since(last - 200) if r[0] <= last]
    assert values == list(range(500, 700))
    assert not only_files.keeper.journal_store.note


def test_a_file_saved_under_load_survives_and_is_written_later(
    bench: Bench, tmp_path: Path
) -> None:
    path = bench.folder + "/settings.json"
    files.write(path, '{"v": 1}')
    bench.on("bed1", 15)
    bench.run(2)
    text = '{"v": 2, "long": "%s"}' % ("x" * 2500)
    files.write(path, text)
    assert files.read(path)[0] == text.encode()
    with open(path, "rb") as stream:
        assert b'"v": 1' in stream.read(), "nothing was erased"
    assert bench.again() and files.read(path)[0] == text.encode(), "after a cut"
    with open(path, "rb") as stream:
        assert stream.read().endswith(text.encode())
    # the same without a cut
    other = tmp_path / "other"
    other.mkdir()
    bench = Bench(other, NorFlash())
    path = bench.folder + "/settings.json"
    bench.on("bed1", 15)
    bench.run(2)
    files.write(path, text)
    assert files.waiting
    bench.rig.load["bed1"] = 3
    bench.run(10)
    assert not files.waiting
    files.write(path, '{"v": 3}')
    assert bench.again() and files.read(path)[0] == b'{"v": 3}', "the older one does not return"


def test_nothing_is_written_while_a_stage_counts(bench: Bench) -> None:
    assert bench.flash is not None
    bench.on("bed1", 15)
    bench.run(2)
    bench.rig.volts = 100  # the under-voltage stage counts for 10 s
    bench.run(0.5)
    pages = bench.flash.pages
    assert bench.busy() & quiet.FAST
    with pytest.raises(files.StorageError, match="a protection stage is timing"):
        files.write(bench.folder + "/x", "1")
    bench.journal.add(events.ON, 2, events.COMMAND, 1, events.BY_CONSOLE)
    bench.run(5)
    assert bench.flash.pages == pages
    bench.rig.volts = 120
    bench.run(2)
    assert bench.flash.pages > pages


def test_an_overload_delays_energy_by_a_minute_at_most(bench: Bench) -> None:
    assert bench.flash is not None
    bench.on("bed1", 21.5)  # above its pick-up, for half an hour
    bench.run(2)
    assert bench.busy() & quiet.SLOW
    pages: list[float] = []
    bench.flash.on_page = lambda: pages.append(bench.rig.t_us / 1e6)
    bench.run(240)
    gaps = [b - a for a, b in itertools.pairwise(pages)]
    assert pages and max(gaps) <= 60, gaps
    assert len(pages) < 20


def test_a_full_strip_says_so_keeps_room_for_a_trip_and_recovers(tmp_path: Path) -> None:
    flash = NorFlash(3)
    bench = Bench(tmp_path, flash)
    bench.run(10)
    bench.on("cabin2", 15)
    bench.on("bed1", 15)
    bench.run(2)
    erases = sum(flash.erases)
    warned = False
    for _ in range(80):  # the events of days
        for _ in range(8):
            bench.journal.add(events.ON, 2, events.COMMAND, 0, events.BY_CONSOLE)
        bench.run(10)
        warned = warned or "- warning unsaved" in bench.rig.log()
    assert sum(flash.erases) == erases, "never under such a load"
    assert "no erased flash is left" in bench.keeper.error
    assert "half its rating" in bench.keeper.error
    assert warned
    bench.rig.load["bed1"] = 130
    bench.rig.until(lambda: bench.rig.state("bed1") in ("tripped", "lockout"), 5)
    bench.run(70)
    files.waiting.clear()
    assert bench.again().rig.state("bed1") == "tripped"
    bench.rig.load["cabin2"] = 2
    bench.run(200)
    assert not bench.keeper.error
    assert bench.keeper.log().blanks() >= 1


def fill(bench: Bench) -> None:
    """Nothing is left of the strip, not even for a trip."""
    log = bench.keeper.log()
    with pytest.raises(strip.Full):
        while True:
            log.append(strip.DELTA, b"")


def test_a_trip_that_finds_the_strip_full_goes_to_a_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NorFlash(3))
    bench.run(10)
    bench.on("bed1", 9)
    bench.run(2)
    fill(bench)
    bench.rig.load["bed1"] = 130
    bench.rig.until(lambda: bench.rig.state("bed1") == "tripped", 5)
    bench.run(2)
    assert "bed1" in LatchStore(bench.folder).load()
    bench.run(10)
    assert not bench.keeper.error
    assert bench.keeper.log().blanks() == 2


def kept_words(bench: Bench) -> list[int]:
    """What a reset of the chip leaves."""
    words = [0, 0, 0, 0]
    retained.pack(words, bench.controller.outlets)
    return words


@pytest.mark.parametrize("blocks", [0, 3])
@pytest.mark.parametrize("full", [False, True])
def test_a_trip_that_only_the_kept_words_know_is_in_flash_before_anything_runs(
    tmp_path: Path, blocks: int, full: bool
) -> None:
    flash = NorFlash(blocks) if blocks else None
    bench = Bench(tmp_path, flash)
    bench.run(10)
    bench.on("bed1", 9)
    bench.run(2)
    bench.rig.load["bed1"] = 130
    bench.rig.until(lambda: bench.rig.state("bed1") == "tripped", 5)
    if blocks and full:
        fill(bench)
    Bench(tmp_path, flash, kept=kept_words(bench))
    new = Bench(tmp_path, flash)  # a power cut: there are no such words
    assert new.rig.state("bed1") == "tripped"
    permille = bench.controller.outlets[bench.rig.index("bed1")].thermal.permille()
    now = new.controller.outlets[new.rig.index("bed1")].thermal.permille()
    assert now == pytest.approx(permille, abs=1000 / 32 + 8)


def test_a_strip_that_is_full_at_the_start_has_room_at_once(tmp_path: Path) -> None:
    flash = NorFlash(4)
    bench = Bench(tmp_path, flash)
    bench.run(10)
    bench.on("bed1", 9)
    bench.run(70)
    fill(bench)
    mwh = bench.mwh("bed1")
    new = Bench(tmp_path, flash)
    assert new.keeper.log().blanks() == 3
    assert new.mwh("bed1") >= mwh * 10 // 70
    assert new.keeper.latch_store.on == ["bed1"], "after_boot wants to know"
    assert Bench(tmp_path, flash).keeper.latch_store.on == ["bed1"]


def test_a_start_in_which_nothing_was_written_uses_up_nothing(tmp_path: Path) -> None:
    flash = NorFlash(3)
    Bench(tmp_path, flash).run(10)
    left = Bench(tmp_path, flash).keeper.log().left()
    pages = flash.pages
    for _ in range(5):
        bench = Bench(tmp_path, flash)
    assert bench.keeper.log().left() == left and flash.pages == pages


def test_no_memory_at_any_call_ends_nothing_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.on("bed1", 15)
    bench.run(2)
    bench.rig.load["bed1"] = 130
    bench.rig.until(lambda: bench.rig.state("bed1") == "tripped", 5)

    def no_memory(*args: Any, **named: Any) -> None:
        raise MemoryError

    places = [(json, "dumps"), (strip, "crc32"), (bench.keeper, "part"), (files, "overwrite")]
    for where, name in places:
        with monkeypatch.context() as broken:
            broken.setattr(where, name, no_memory)
            for i in range(300):
                bench.journal.add(events.ON, 2, events.COMMAND, i, events.BY_CONSOLE)
            bench.controller.latch_dirty = True
            bench.run(90)
            assert bench.keeper.error == "not enough memory to save", name
    assert bench.rig.log().count("- storage unsaved") <= len(places)
    bench.run(130)
    assert not bench.keeper.error
    new = bench.again()
    assert new.rig.state("bed1") == "tripped"
    assert new.journal.last_seq == bench.journal.last_seq


def multi(letter: str) -> str:
    return '{"v": "%s"}' % (letter * 2500)


def test_a_long_journal_goes_from_the_strip_to_the_files_in_short_turns(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NorFlash())
    bench.run(10)
    bench.on("bed1", 15)
    bench.run(2)
    for i in range(900):
        bench.journal.add(events.ON, 2, events.COMMAND, i, events.BY_CONSOLE)
        if i % 8 == 0:
            bench.run(0.5)
    bench.run(20)
    last = bench.journal.last_seq
    bench.rig.load["bed1"] = 4
    store = bench.keeper.journal_store
    behind: list[int] = []
    while len(behind) < 1300 and (not behind or behind[-1] > 0):  # files are due each ten minutes
        bench.run(0.5)
        behind.append(last - store.next_seq() + 1)
    steps = [a - b for a, b in itertools.pairwise(behind)]
    assert max(steps) <= 64 + 256, "never more than 64 of the strip and what the ring holds"
    assert steps.count(64) >= 8 and behind[-1] <= 0
    only_files = Bench(Path(bench.folder), None)
    numbers = [r[0] for r in only_files.keeper.journal_store.older(1)]
    assert numbers[-1] >= last
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) > 500


def test_half_of_a_file_in_the_strip_spoils_no_other_version(tmp_path: Path) -> None:
    """The power goes between two parts of a file that has to wait, under load."""
    for parts in range(1, 4):
        flash = NorFlash()
        folder = tmp_path / str(parts)
        folder.mkdir()
        bench = Bench(folder, flash)
        path = bench.folder + "/settings.json"
        bench.run(5)
        bench.on("bed1", 15)
        bench.run(2)
        files.write(path, multi("a"))  # confirmed
        whole = bench.keeper.log().append

        def append(kind: int, payload: bytes, left: list[int] = [parts]) -> None:  # noqa: B006
            if not left[0]:
                raise PowerCut
            left[0] -= 1
            whole(kind, payload)  # noqa: B023

        bench.keeper.log().append = append
        with contextlib.suppress(PowerCut):
            files.write(path, multi("b"))
        expected = multi("a" if parts < 3 else "b").encode()
        bench = Bench(folder, flash)
        assert files.read(path)[0] == expected
        bench.run(5)
        bench.on("bed1", 15)
        bench.run(2)
        files.write(path, multi("c"))
        Bench(folder, flash)
        assert files.read(path)[0] == multi("c").encode()


def test_a_file_that_has_waited_does_not_come_back_over_a_newer_one(tmp_path: Path) -> None:
    """The strip is too full to say that it was written."""
    flash = NorFlash(3)
    bench = Bench(tmp_path, flash)
    path = bench.folder + "/settings.json"
    bench.run(10)
    bench.on("bed1", 15)
    bench.run(2)
    files.write(path, '{"v": 1}')
    fill(bench)
    bench.rig.load["bed1"] = 4
    while not os.path.exists(path):
        bench.run(0.5)
    newest = 1
    with contextlib.suppress(files.StorageError):
        files.write(path, '{"v": 2}')
        newest = 2
    assert bench.again() and files.read(path)[0] == b'{"v": %d}' % newest
    bench.run(20)
    assert not files.waiting and not bench.keeper.error


def test_a_flash_that_refuses_is_said_once_and_nothing_is_lost(bench: Bench) -> None:
    assert bench.flash is not None
    bench.run(10)
    bench.flash.fails = 1 << 30
    bench.on("bed1", 15)
    bench.run(120)
    assert "flash cannot be written" in bench.keeper.error
    assert bench.rig.log().count("- storage unsaved") == 1
    assert bench.rig.state("bed1") == "on", "protection goes on undisturbed"
    bench.flash.fails = 0
    bench.run(130)
    assert not bench.keeper.error
    new = bench.again()
    assert new.journal.last_seq == bench.journal.last_seq
    assert new.keeper.latch_store.on == ["bed1"]


def test_without_a_strip_the_files_are_written_when_it_is_quiet(tmp_path: Path) -> None:
    bench = Bench(tmp_path, None)
    bench.on("bed1", 3)
    bench.run(65)
    writes = bench.keeper.writes
    assert writes
    assert bench.again().mwh("bed1") > 0
    bench.rig.load["bed1"] = 15
    bench.run(130)
    assert bench.keeper.writes == writes
    with pytest.raises(files.StorageError, match="more than half its rating"):
        files.write(bench.folder + "/x", "1")


def test_saved_heat_is_never_colder_than_what_a_cut_leaves(bench: Bench) -> None:
    """Cut at any moment of a warming: what comes back is at most 5 % and 15 s behind."""
    bench.on("bed1", 19)
    for _ in range(12):
        bench.run(9)
        true = bench.controller.outlets[bench.rig.index("bed1")].thermal.permille()
        new = bench.again()
        back = new.controller.outlets[new.rig.index("bed1")].thermal.permille()
        assert back >= true - 180


@pytest.mark.parametrize("seed", range(4))
def test_no_erase_while_anything_is_timing_or_above_half(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random loads, commands and dips: at every erase and every file written, the state."""
    rng = random.Random(seed)
    flash = NorFlash(6)
    bench = Bench(tmp_path, flash)
    seen = {"erase": 0, "page": 0, "file": 0}

    def facts() -> tuple[bool, bool]:
        """(above half or timing, a fast stage), from the rig and the blocks themselves."""
        rig = bench.rig
        controller = bench.controller
        above = timing = False
        for x in controller.outlets:
            if o.energised(x.state):
                above |= rig.load[x.name] > x.outlet.rating_ma / 2000 + 0.2
                timing |= x.state == o.CLOSING
            base = rig.lane.base(x.outlet.channel)
            timing |= rig.lane.st[base + 13] > 0  # short-time
        any_on = any(o.energised(x.state) for x in controller.outlets)
        timing |= any_on and not 104 < rig.volts < 131 and not steady()
        timing |= rig.lane.st[22] > 0  # the waveform
        return above, timing

    def steady() -> bool:
        """The supply's stages have done what they do."""
        return bench.clock.now_s - changed[0] > 12

    changed = [0]

    def erased(what: str) -> None:
        above, timing = facts()
        assert not above and not timing, (what, bench.rig.t_us, bench.rig.load)
        seen[what] += 1

    def page() -> None:
        assert not facts()[1], (bench.rig.t_us, bench.rig.load)
        seen["page"] += 1

    bench.run(1)
    flash.on_erase = lambda block: erased("erase")
    flash.on_page = page
    real = files.overwrite

    def overwrite(path: str, payload: Any) -> None:
        erased("file")
        real(path, payload)

    monkeypatch.setattr(files, "overwrite", overwrite)
    names = [x.name for x in bench.board.outlets]
    for _ in range(160):
        act = rng.random()
        name = rng.choice(names)
        if act < 0.3:
            bench.rig.load[name] = rng.choice((0, 2, 5, 9, 12, 15, 22, 60))
        elif act < 0.6:
            bench.rig.do("on", name)
        elif act < 0.7:
            bench.rig.do("off", name)
        elif act < 0.78:
            bench.rig.do("reset", name, True)
        elif act < 0.85:
            bench.rig.volts = rng.choice((120, 120, 100, 135))
            changed[0] = bench.clock.now_s
        elif act < 0.9:
            for _ in range(60):
                bench.journal.add(events.ON, 2, events.COMMAND, 0, events.BY_CONSOLE)
        elif act < 0.95:
            for other in names:
                bench.rig.load[other] = 2
        bench.run(rng.choice((0.1, 0.5, 3, 20)))
    for name in names:
        bench.rig.load[name] = 1
    bench.rig.volts = 120
    bench.run(30)
    assert seen["page"] > 50 and seen["file"] > 3, seen
    assert strip.BLOCK == 4096
