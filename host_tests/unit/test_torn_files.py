"""What storage makes of files and strip that are cut off at every byte, or have any byte wrong:
start never fails, what is read was written once, and damage is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.fakes.nor_flash import BLOCK, NorFlash
from tools import cpython

cpython.install()

from firmware import events  # noqa: E402
from firmware.storage import accounts, history, journal, strip  # noqa: E402
from firmware.storage.counters import CounterStore  # noqa: E402
from firmware.storage.energy import Energy  # noqa: E402
from firmware.storage.journal import Journal, JournalStore  # noqa: E402
from firmware.storage.latch import LatchStore  # noqa: E402
from firmware.storage.strip import Strip  # noqa: E402

_LATCHED = {"bed1": (2, 1, 1000, 0), "cabin2": (3, 2, 40, 0)}
_RECORDS = 40  # 32 in a segment, 8 in the tail
_OTHER = 0xA5  # the byte is changed by


def damaged(path: Path) -> Iterator[int]:
    """The file with each of its bytes wrong in turn; yields the place. Whole again afterwards."""
    whole = path.read_bytes()
    for at in range(len(whole)):
        wrong = bytearray(whole)
        wrong[at] ^= _OTHER
        path.write_bytes(wrong)
        yield at
    path.write_bytes(whole)


def cut_off(path: Path) -> Iterator[int]:
    """The file at every length below its own."""
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        yield length
    path.write_bytes(whole)


# -- trips ----------------------------------------------------------------------------------------


def test_a_latch_with_a_wrong_byte_falls_back_and_closes_nothing(tmp_path: Path) -> None:
    store = LatchStore(str(tmp_path))
    store.save(_LATCHED, ["bed2"])
    store.save({"bed1": (2, 1, 900, 0)}, ["bed2", "cabin1"])
    for at in damaged(tmp_path / "latch.json"):
        again = LatchStore(str(tmp_path))
        assert again.load() == _LATCHED, at
        assert not again.trusted and again.on == [], "nothing is closed on an old version's word"
        assert "previous version" in again.note
    assert LatchStore(str(tmp_path)).load() == {"bed1": (2, 1, 900, 0)}


def test_both_versions_of_the_latch_wrong_is_said(tmp_path: Path) -> None:
    store = LatchStore(str(tmp_path))
    store.save(_LATCHED)
    store.save({})
    (tmp_path / "latch.json.bak").write_bytes(b"junk")
    for _ in damaged(tmp_path / "latch.json"):
        again = LatchStore(str(tmp_path))
        assert again.load() == {} and not again.trusted
        assert "no usable version" in again.note


# -- counters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["energy", "relays"])
def test_a_slot_with_a_wrong_byte_costs_one_save(tmp_path: Path, stem: str) -> None:
    store = CounterStore(str(tmp_path), ("bed1",), stem)
    store.load()
    for value in (10, 20):
        store.save({"bed1": value})
    for _ in damaged(tmp_path / f"{stem}.0"):  # the newer one
        again = CounterStore(str(tmp_path), ("bed1",), stem)
        assert again.load()["bed1"] == 10
        assert "the other slot is used" in again.note
    for _ in damaged(tmp_path / f"{stem}.1"):
        again = CounterStore(str(tmp_path), ("bed1",), stem)
        assert again.load()["bed1"] == 20 and again.note


def test_a_slot_that_was_only_just_created_is_no_damage(tmp_path: Path) -> None:
    """littlefs shows an empty file when the power goes between its creation and its contents."""
    store = CounterStore(str(tmp_path), ("bed1",))
    store.load()
    store.save({"bed1": 10})
    (tmp_path / "energy.0").write_bytes(b"")
    again = CounterStore(str(tmp_path), ("bed1",))
    assert again.load()["bed1"] == 10 and again.note == ""


# -- journal --------------------------------------------------------------------------------------


def reopen(folder: Path) -> tuple[Journal, JournalStore]:
    book = Journal(64)
    store = JournalStore(str(folder), book, 64)
    store.load()
    return book, store


def filled(folder: Path) -> None:
    book, store = reopen(folder)
    for seq in range(1, _RECORDS + 1):
        book.add(events.ON, 2, events.COMMAND, seq * 7, events.BY_MQTT)
    store.flush()


def shown(book: Journal) -> list[int]:
    """Numbers of the records that stand for themselves; the others must say that they do not."""
    good = []
    for record in book.since(0):
        if record[journal.KIND] == events.ON:
            assert record[journal.VALUE] == record[journal.SEQ] * 7
            good.append(record[journal.SEQ])
        else:
            place = (record[journal.KIND], record[journal.REASON])
            assert place == (events.STORAGE, events.STORED_FAULT)
    return good


def test_a_wrong_byte_in_a_segment_costs_one_record_and_leaves_no_gap(tmp_path: Path) -> None:
    filled(tmp_path)
    segment = next(p for p in tmp_path.glob("journal.[01]") if p.stat().st_size)
    for at in damaged(segment):
        book, store = reopen(tmp_path)
        bad = at // 28 + 1
        assert store.bad == 1 and "1 damaged" in store.note
        assert shown(book) == [n for n in range(1, _RECORDS + 1) if n != bad]
        # nothing before the first one can be shown, so its place is not either
        first = 2 if bad == 1 else 1
        assert [r[journal.SEQ] for r in book.since(0)] == list(range(first, _RECORDS + 1))


def test_a_wrong_byte_in_the_tail_costs_the_last_flush(tmp_path: Path) -> None:
    filled(tmp_path)
    tail = next(p for p in tmp_path.glob("journal.t?") if p.stat().st_size)
    for _ in damaged(tail):
        book, store = reopen(tmp_path)
        assert store.note and shown(book) == list(range(1, 33))
        assert book.boot_seq == 33


def test_a_tail_that_was_only_just_created_is_no_damage(tmp_path: Path) -> None:
    filled(tmp_path)
    for name in ("journal.t0", "journal.t1"):
        if not (tmp_path / name).exists():
            (tmp_path / name).write_bytes(b"")
    book, store = reopen(tmp_path)
    assert store.note == "" and shown(book) == list(range(1, _RECORDS + 1))


# -- energy by hour -------------------------------------------------------------------------------


def used(energy: Energy, kind: int, now: int) -> dict[int, list[int]]:
    return dict(history.rows(energy, kind, now))


@pytest.mark.parametrize("how", [damaged, cut_off])
def test_energy_of_an_hour_is_right_or_not_there(tmp_path: Path, how: object) -> None:
    assert how in (damaged, cut_off)
    zero = 1_790_000_000 // 3600 * 3600
    energy = Energy(str(tmp_path), 2)
    accounts.load(energy, [0, 0], None)
    for minute in range(0, 6 * 60, 5):
        total = [minute * 1000, minute * 500]
        energy.follow(zero + minute * 60, minute * 60, "UTC0", lambda total=total: total)
        while accounts.flush(energy):
            pass
    now = zero // 3600 + 6
    good = used(energy, history.HOURS, now)
    assert len(good) >= 5
    lost = 0
    for _ in (
        damaged(tmp_path / "hours.dat") if how is damaged else cut_off(tmp_path / "hours.dat")
    ):
        again = Energy(str(tmp_path), 2)
        accounts.load(again, [360_000, 180_000], None)
        found = used(again, history.HOURS, now)
        assert all(good[number] == wh for number, wh in found.items())
        lost = max(lost, len(good) - len(found))
    assert lost == (1 if how is damaged else len(good))


# -- strip ----------------------------------------------------------------------------------------


def written() -> tuple[NorFlash, list[bytes], list[int]]:
    """A strip with records in two blocks; what they hold, and the place behind each of them."""
    flash = NorFlash(3)
    log = Strip(flash, flash.numbers())
    texts: list[bytes] = []
    places = []
    before = bytes(flash.data)
    while log.blanks() or log.left() > 2000:
        text = b"%04d%s" % (len(texts), b"." * (len(texts) % 9 * 4))
        log.append(strip.DELTA, text)
        texts.append(text)
        changed = bytes(flash.data)
        places.append(max(i for i in range(len(before)) if before[i] != changed[i]) + 1)
        before = changed
        if len(texts) > 60 and log.seq == 2:
            break
    return flash, texts, places


def records(flash: NorFlash) -> tuple[list[bytes], int]:
    log = Strip(flash, flash.numbers())
    return [bytes(payload) for _, payload in log.records()], log.bad


def test_a_strip_cut_off_at_every_byte_shows_all_before_it() -> None:
    flash, texts, places = written()
    assert len(texts) > 60 and places[-1] > BLOCK
    whole = bytes(flash.data)
    for end in range(BLOCK + 24, places[-1]):  # in the second block
        flash.data[end : BLOCK * 2] = b"\xff" * (BLOCK * 2 - end)
        found, _ = records(flash)
        # what ends with bytes of all ones is whole before its last byte
        least = sum(place <= end for place in places)
        assert found[:least] == texts[:least] and len(found) <= least + 1
        assert found == texts[: len(found)]
        flash.data[:] = whole


def test_a_strip_with_any_byte_wrong_shows_nothing_that_was_not_written() -> None:
    flash, texts, places = written()
    whole = bytes(flash.data)
    assert records(flash) == (texts, 0)
    for at in range(places[-1]):
        flash.data[at] ^= _OTHER
        found, _ = records(flash)
        assert [text for text in texts if text in found] == found, "in order, and nothing else"
        if at % BLOCK >= 24 and whole[at : at + 1] != b"\xff":
            # the rest of that block may be passed over, the other block is not touched
            block = at // BLOCK
            kept = [t for t, p in zip(texts, places, strict=True) if (p - 1) // BLOCK != block]
            before = [t for t, p in zip(texts, places, strict=True) if p <= at]
            assert {*kept, *before} <= set(found)
        flash.data[at] = whole[at]


def test_what_is_appended_after_damage_is_found() -> None:
    flash, _, places = written()
    whole = bytes(flash.data)
    for at in range(BLOCK + 24, places[-1] + 300, 7):
        flash.data[at] &= 0x5A
        log = Strip(flash, flash.numbers())
        log.append(strip.DELTA, b"new1")
        assert records(flash)[0][-1] == b"new1"
        flash.data[:] = whole
