"""Records in FRAM survive a power cut at every byte."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.storage import files, fram
from host_tests.fakes.fram_bus import FramBus, PowerCut


def area(bus: FramBus, at: int = 0, room: int = 200) -> fram.Area:
    return fram.Area(fram.Fram(bus, len(bus.memory)), at, room)


def test_what_was_saved_last_comes_back() -> None:
    bus = FramBus()
    for n in range(5):
        area_now = area(bus)
        area_now.load()
        area_now.save(b"record %d" % n)
        assert area(bus).load() == b"record %d" % n


def test_a_new_chip_is_empty_and_that_is_no_fault() -> None:
    for fill in (0, 255):
        bus = FramBus()
        bus.memory[:] = bytes([fill]) * len(bus.memory)
        new = area(bus)
        assert new.load() is None
        assert new.note == ""


def test_a_cut_at_any_byte_leaves_one_whole_record() -> None:
    size = len(b"new record, longer") + 12
    for cut in range(size):
        bus = FramBus()
        keeper = area(bus)
        keeper.save(b"oldest")
        keeper.save(b"old record")
        bus.cut_after = cut
        with pytest.raises(PowerCut):
            keeper.save(b"new record, longer")
        bus.cut_after = None
        after = area(bus)
        assert after.load() == b"old record", cut
        after.save(b"next")
        assert area(bus).load() == b"next"


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.integers(0, 100)), max_size=30))
def test_any_history_of_cuts_keeps_the_newest_whole_record(
    steps: list[tuple[bytes, int]],
) -> None:
    bus = FramBus()
    whole = None
    for payload, cut in steps:
        keeper = area(bus, 64, 60)
        keeper.load()
        bus.cut_after = cut
        with contextlib.suppress(PowerCut):
            keeper.save(payload)
            whole = payload
        bus.cut_after = None
        found = area(bus, 64, 60).load()
        # What was not written may have stood there already: then the new record is whole.
        assert found in (whole, payload)
        whole = found


def test_areas_do_not_touch() -> None:
    bus = FramBus()
    one = area(bus, 0, 50)
    two = area(bus, one.end, 50)
    for n in range(4):
        one.save(b"1" * 50)
        two.save(b"%d" % n * 50)
    assert area(bus, 0, 50).load() == b"1" * 50
    assert area(bus, one.end, 50).load() == b"3" * 50


def test_a_chip_that_does_not_answer() -> None:
    bus = FramBus()
    bus.present = False
    gone = area(bus)
    assert gone.load() is None
    assert gone.note == "FRAM does not answer: input/output error"
    with pytest.raises(files.StorageError, match="does not answer"):
        gone.save(b"x")


def test_a_record_that_does_not_fit_is_refused_and_the_old_one_stays() -> None:
    bus = FramBus()
    small = area(bus, 0, 10)
    small.save(b"0123456789")
    for payload in (b"01234567890", b""):
        with pytest.raises(files.StorageError, match="do not fit into 10"):
            small.save(payload)
    assert area(bus, 0, 10).load() == b"0123456789"


def test_the_size_is_checked() -> None:
    assert fram.Fram(FramBus(8192), 8192).check() == ""
    assert "smaller than 32768" in fram.Fram(FramBus(8192), 32768).check()
    locked = FramBus()
    locked.protected = True
    assert "does not hold" in fram.Fram(locked, 8192).check()
    absent = FramBus()
    absent.present = False
    assert "does not answer" in fram.Fram(absent, 8192).check()


def test_the_check_changes_nothing() -> None:
    bus = FramBus()
    bus.memory[:] = bytes(range(256)) * 32
    before = bytes(bus.memory)
    fram.Fram(bus, 8192).check()
    assert bytes(bus.memory) == before
