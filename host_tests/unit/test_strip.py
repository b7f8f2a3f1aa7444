"""The strip on a fake NOR flash: order, torn records and erases, bad cells, wear."""

from __future__ import annotations

import random
from binascii import crc32

import pytest

from host_tests.fakes.nor_flash import BLOCK, NorFlash, PowerCut
from tools import cpython

cpython.install()

from firmware.storage import strip  # noqa: E402
from firmware.storage.files import StorageError  # noqa: E402
from firmware.storage.strip import Strip  # noqa: E402


def start(flash: NorFlash) -> Strip:
    flash.cut_after = None
    return Strip(flash, flash.numbers())


def read(log: Strip) -> list[tuple[int, bytes]]:
    return [(kind, bytes(payload)) for kind, payload in log.records()]


def number(record: tuple[int, bytes]) -> int:
    return int(record[1].split()[0])


def test_records_come_back_in_order_and_padded() -> None:
    flash = NorFlash(4)
    log = start(flash)
    log.append(strip.LATCH, b"{}")
    log.append(strip.JOURNAL, b"abcdefgh")
    log.append(strip.FILE, b"x" * 1000)
    expected = [(4, b"{}  "), (3, b"abcdefgh"), (5, b"x" * 1000)]
    assert read(log) == expected
    again = start(flash)
    assert read(again) == expected
    again.append(strip.DELTA, b"next")
    assert read(start(flash)) == [*expected, (2, b"next")]
    assert not flash.erases[0], "an append erases nothing"
    assert not again.bad


def test_full_and_erased_only_when_covered() -> None:
    flash = NorFlash(4)
    log = start(flash)
    n = 0
    with pytest.raises(StorageError, match="no erased flash is left"):
        while True:
            log.append(strip.DELTA, b"%08d" % n)
            n += 1
    assert not log.can_erase() and not log.erase()
    assert n == 4 * ((BLOCK - 24) // 14)
    log.covered = 3
    assert log.erase() and log.erase() and not log.erase()
    assert log.blanks() == 2
    log.append(strip.DELTA, b"%08d" % n)
    kept = [number(r) for r in read(start(flash))]
    assert kept == list(range(n // 2, n + 1)), "the blocks that were not covered, and the new one"


def test_blocks_wear_evenly() -> None:
    flash = NorFlash(6)
    log = start(flash)
    for i in range(12_000):
        log.append(strip.DELTA, b"%028d" % i)
        log.covered = log.seq
        log.erase()
    assert max(flash.erases) - min(flash.erases) <= 1
    assert sum(flash.erases) == pytest.approx(12_000 / ((BLOCK - 24) // 34), rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_power_cuts_lose_nothing_that_was_confirmed(seed: int) -> None:
    """Records until the power goes in the middle of a page or an erase, 150 times."""
    rng = random.Random(seed)
    flash = NorFlash(5)
    promised: set[int] = set()
    tried = -1
    for _ in range(150):
        log = start(flash)
        found = [number(r) for r in read(log)]
        assert found == sorted(set(found))
        assert promised <= set(found), "a record is lost"
        assert not found or found[-1] <= tried, "a record that nobody wrote"
        flash.cut_after = rng.randrange(1, 30_000)
        try:
            while True:
                size = rng.choice((8, 24, 28, 200))
                if log.left() < size + 6 and not log.blanks():
                    log.covered = log.seq  # from now on the files have them
                    promised.clear()
                    while log.erase():
                        pass
                tried += 1
                log.append(strip.DELTA, b"%08d" % tried + b" " * (size - 8))
                promised.add(tried)
        except PowerCut:
            pass
    assert tried > 1500


def test_cells_that_do_not_hold_are_passed_over() -> None:
    flash = NorFlash(3)
    flash.stuck = {24 + 300, 24 + 301, 600}
    log = start(flash)
    for i in range(60):
        log.append(strip.DELTA, b"%028d" % i)
    assert [number(r) for r in read(start(flash))] == list(range(60))


def test_a_flash_that_refuses_says_so_and_works_again() -> None:
    flash = NorFlash(3)
    log = start(flash)
    log.append(strip.DELTA, b"%08d" % 0)
    flash.fails = 1
    with pytest.raises(StorageError, match="cannot be written"):
        log.append(strip.DELTA, b"%08d" % 1)
    log.append(strip.DELTA, b"%08d" % 2)
    assert [number(r) for r in read(start(flash))] == [0, 2]
    log.covered = 2
    while log.seq == 1:
        log.append(strip.DELTA, b"%08d" % 3)
    flash.fails = 2
    with pytest.raises(StorageError):
        log.erase()
    flash.fails = 0
    assert log.erase()


def test_half_an_erase_revives_no_record() -> None:
    """A file that waits is taken back by a later record: an erase that ends between the two must
    not leave the first one alone."""
    for cut in range(1, BLOCK + 600, 97):
        flash = NorFlash(4)
        log = start(flash)
        log.append(strip.FILE, b"v1")
        while log.seq == 1:
            log.append(strip.FILE, b"done")
        log.covered = log.seq
        flash.cut_after = cut
        try:
            log.erase()
        except PowerCut:
            kinds = [r[1] for r in read(start(flash))]
            assert b"v1  " not in kinds or kinds.count(b"done") > 100, cut


def test_a_record_that_ends_in_what_looks_erased_is_not_written_over() -> None:
    """Two bytes of its checksum lie in the next page, and are 0xFF."""
    flash = NorFlash(2)
    log = start(flash)
    log.append(strip.DELTA, b"first")
    for n in range(1 << 20):
        body = bytes((strip.DELTA, 2)) + b"%08x" % n
        if crc32(body, log.seq) >> 16 & 0xFFFF == 0xFFFF:
            break
    while (log._at + len(body) + 4) % 256 != 2:
        log.append(strip.DELTA, b"")
    log.append(strip.DELTA, body[2:])
    expected = read(log)
    assert log._at % 256 == 2 and flash.data[log._at - 2 : log._at] == b"\xff\xff"
    again = start(flash)
    again.append(strip.DELTA, b"next")
    assert read(start(flash)) == [*expected, (strip.DELTA, b"next")]


def test_a_record_whose_second_page_is_refused_is_left_behind() -> None:
    flash = NorFlash(2)
    log = start(flash)
    log.append(strip.DELTA, b"a" * 200)
    flash.on_page = lambda: setattr(flash, "fails", int(flash.pages % 2 == 1))
    pages = flash.pages
    with pytest.raises(StorageError, match="cannot be written"):
        log.append(strip.DELTA, b"b" * 100)
    assert flash.pages == pages + 1, "one page of two is there"
    flash.on_page = lambda: None
    flash.fails = 0
    log.append(strip.DELTA, b"c" * 100)
    expected = [(strip.DELTA, b"a" * 200), (strip.DELTA, b"c" * 100)]
    assert read(log) == expected and read(start(flash)) == expected


def written_thrice() -> tuple[NorFlash, list[tuple[int, bytes]]]:
    """One block, by three starts; the second has a record of several pages."""
    flash = NorFlash(3)
    for begin, n, size in ((0, 9, 28), (9, 3, 300), (12, 12, 24)):
        log = start(flash)
        for i in range(begin, begin + n):
            log.append(strip.DELTA, b"%08d" % i + b" " * (size - 8))
    return flash, read(start(flash))


@pytest.mark.parametrize("flip", [0xFF, 0x01])
def test_one_wrong_byte_costs_one_record_and_is_said_once(flip: int) -> None:
    whole, expected = written_thrice()
    end = BLOCK - len(bytes(whole.data[:BLOCK]).rstrip(b"\xff"))
    assert [number(r) for r in expected] == list(range(24))
    lost = 0
    for at in range(BLOCK - end + 40):
        flash = NorFlash(3)
        flash.data[:] = whole.data
        flash.data[at] ^= flip
        log = start(flash)
        found = read(log)
        missing = [r for r in expected if r not in found]
        assert [r for r in expected if r in found] == found, f"byte {at}"
        assert len(missing) <= 1, f"byte {at}: {missing}"
        if not missing:
            continue
        lost += 1
        # the last of all may as well have been torn by a power cut
        assert log.bad and (log.torn == log.bad) == (missing == expected[-1:]), f"byte {at}"
        log.append(strip.DELTA, b"next")
        again = start(flash)
        assert read(again) == [*found, (strip.DELTA, b"next")], f"byte {at}"
        assert not again.bad, f"byte {at}: known by now"
    assert lost > 1200, (
        "each byte of a record counts, those of the head and of the blank rest none"
    )


def test_a_wrong_byte_in_the_name_is_put_right_by_the_next_erase() -> None:
    flash = NorFlash(3)
    log = start(flash)
    for i in range(200):
        log.append(strip.DELTA, b"%028d" % i)
    flash.data[1] ^= 4
    log = start(flash)
    assert [number(r) for r in read(log)] == list(range(200))
    log.covered = 2
    assert log.erase() and log.blanks() == 2
    assert flash.data[:4] == b"TGs1" and flash.data[4:16] != b"\xff" * 12


def test_an_erase_that_memory_ends_leaves_no_block_without_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flash = NorFlash(3)
    log = start(flash)
    for i in range(200):
        log.append(strip.DELTA, b"%028d" % i)
    log.covered = log.seq

    def no_memory(block: int) -> None:
        raise MemoryError

    monkeypatch.setattr(log, "_is_blank", no_memory)  # after the erase
    with pytest.raises(MemoryError):
        log.erase()
    monkeypatch.undo()
    flash.data[:16] = b"\xff" * 16  # or just before its name was written again
    assert log.blanks() == 1 and log.can_erase()
    assert log.erase() and log.blanks() == 2
    assert flash.data[:4] == strip.MAGIC and flash.data[4:16] != b"\xff" * 12


def test_a_worn_out_block_is_given_up_until_the_next_start() -> None:
    flash = NorFlash(5)
    log = start(flash)
    for i in range(400):
        log.append(strip.DELTA, b"%028d" % i)
    flash.worn = {BLOCK + 77}
    log.covered = log.seq
    while log.can_erase():
        log.erase()
    assert flash.erases[:4] == [1, 1, 1, 0], "the worn one does not keep the others waiting"
    assert len(log) == 4 and log.blanks() == 3
    found = read(log)
    again = start(flash)
    assert read(again) == found and again.can_erase()
