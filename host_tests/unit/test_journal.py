"""The event journal: no gaps, in RAM and on flash, whatever was torn."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import events
from firmware.storage import files, journal
from firmware.storage.journal import Journal, JournalStore


def fill(book, count, start=0):
    for i in range(start, start + count):
        book.tick(1234)
        book.add(events.ON, i % 6 - 1, events.COMMAND, i * 7 - 3, events.BY_CONSOLE)


def seqs(book, since=0):
    return [record[journal.SEQ] for record in book.since(since)]


def check(book):
    assert seqs(book) == (list(range(book.first_seq, book.last_seq + 1)) if book.first_seq else [])


def test_empty():
    book = Journal(4)
    assert (book.first_seq, book.last_seq) == (0, 0)
    assert seqs(book) == []
    assert book.get(0) is None and book.get(1) is None


@given(
    st.integers(0, 31),
    st.integers(-1, 14),
    st.integers(0, 127),
    st.integers(-(2**30), 2**30 - 1),
    st.integers(0, 15),
    st.integers(0, 2**30 - 1),
    st.integers(0, 999),
)
def test_record_comes_back(kind, outlet, reason, value, source, now_s, now_ms):
    book = Journal(4)
    book.now_s = now_s
    book.now_ms = now_ms
    book.add(kind, outlet, reason, value, source)
    assert book.get(1) == (1, kind, outlet, reason, value, source, now_s, now_ms, 0)


def test_words_fit_the_packed_record():
    assert len(events.KINDS) <= 32
    assert len(events.REASONS) <= 128
    assert len(events.SOURCES) <= 16
    assert len(set(events.KINDS)) == len(events.KINDS)
    assert len(set(events.REASONS)) == len(events.REASONS)
    assert events.REASONS[events.CLOCK] == "clock"
    assert events.KINDS[events.STORAGE] == "storage"
    assert events.SOURCES[events.BY_WEB] == "web"
    for number, word in ((events.LEASE_LOST, "lease"), (events.MIN_OFF, "min_off")):
        assert events.REASONS[number] == word
    assert events.name(events.KINDS, 99) == "#99"
    assert events.number(events.KINDS, "tripped") == events.TRIPPED
    assert events.number(events.KINDS, "nonsense") == -1
    assert events.value_meaning(events.TRIPPED, events.PEAK)[2] == "A"
    assert events.value_meaning(events.ON, events.COMMAND) is None


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, 100])
def test_oldest_are_dropped(count):
    book = Journal(4)
    fill(book, count)
    assert book.last_seq == count
    assert book.first_seq == max(1, count - 3)
    check(book)
    for seq in seqs(book):
        assert book.get(seq)[journal.VALUE] == (seq - 1) * 7 - 3


def test_since_passes_over_what_was_dropped_meanwhile():
    book = Journal(4)
    fill(book, 4)
    found = []
    for record in book.since(0):
        found.append(record[journal.SEQ])
        if len(found) == 1:
            fill(book, 3)
    assert found == [1, 4, 5, 6, 7]


def test_time_is_known_when_the_clock_was_set():
    book = Journal(4)
    book.now_s = 10
    book.add(events.BOOT, -1, events.POWER_ON, 1, events.BY_BOOT)
    assert journal.when_epoch(book.get(1)) == 0
    book.epoch_offset_s = 1_800_000_000
    assert journal.when_epoch(book.get(1)) == 1_800_000_010
    assert journal.when_boot(book.get(1)) == 0


def reopen(folder, capacity=64, segment_records=512):
    book = Journal(capacity)
    store = JournalStore(folder, book, segment_records)
    store.load()
    check(book)
    return book, store


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "data")


def test_what_was_before_the_clock_was_set_has_its_time_after_a_restart(folder):
    reopen(folder)[1].flush()
    book, store = reopen(folder)
    first = book.boot
    for second in (1, 2, 3):
        book.now_s = second
        book.add(events.ON, 0, events.COMMAND, 0, events.BY_CONSOLE)
        store.flush()
    again, store = reopen(folder)
    assert [journal.when_boot(record) for record in again.since(0)] == [first] * 3
    again.now_s = 5
    again.add(events.ON, 0, events.COMMAND, 0, events.BY_CONSOLE)
    store.flush()
    again.now_s = 9
    again.epoch_offset_s = 1_800_000_000
    again.add(events.CLOCK_SET, -1, events.WAS_SET, 0, events.BY_NTP)
    store.flush()
    last, _ = reopen(folder)
    records = list(last.since(0))
    assert [journal.when_boot(record) for record in records[:3]] == [first] * 3
    assert [journal.when_epoch(x) for x in records[3:]] == [1_800_000_005, 1_800_000_009]


def test_survives_a_restart(folder):
    book, store = reopen(folder)
    assert (book.boot, book.last_seq, store.note) == (1, 0, "")
    fill(book, 5)
    assert store.pending() == 5
    assert store.flush() == 5
    assert store.flush() == 0
    again, other = reopen(folder)
    assert again.boot == 2
    assert again.boot_seq == 6
    assert seqs(again) == [1, 2, 3, 4, 5]
    for seq in range(1, 6):
        old, new = book.get(seq), again.get(seq)
        assert old[:8] == new[:8]
        assert journal.when_boot(new) == 1
    again.add(events.BOOT, -1, events.POWER_ON, again.boot, events.BY_BOOT)
    assert other.flush() == 1
    assert other.note == ""
    third, _ = reopen(folder)
    assert third.boot == 3
    assert journal.when_boot(third.get(5)) == 1
    assert journal.when_boot(third.get(6)) == 2


def test_known_time_is_kept(folder):
    book, store = reopen(folder)
    book.epoch_offset_s = 1_800_000_000
    fill(book, 1)
    store.flush()
    again, _ = reopen(folder)
    assert journal.when_epoch(again.get(1)) == 1_800_000_001


@pytest.mark.parametrize("step", [1, 3, 16, 17, 40])
def test_many_restarts_and_both_segments(folder, step):
    done = 0
    for _ in range(40):
        book, store = reopen(folder, 64, 48)
        assert book.last_seq == done
        fill(book, step, done)
        store.flush()
        done += step
    book, store = reopen(folder, 64, 48)
    assert book.last_seq == done
    assert store.bad == 0
    for seq in seqs(book):
        assert book.get(seq)[journal.VALUE] == (seq - 1) * 7 - 3
    kept = book.last_seq - book.first_seq + 1
    assert kept >= min(done, 32)


def test_log_is_bounded(folder):
    book, store = reopen(folder, 64, 48)
    for i in range(100):
        fill(book, 10, i * 10)
        store.flush()
    total = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    assert total <= 2 * 64 * 28 + 1024


def test_torn_segment_of_every_length(folder):
    book, store = reopen(folder)
    fill(book, 32)
    store.flush()
    path = folder + "/journal.0"
    other = folder + "/journal.1"
    path = path if files.size(path) > 0 else other
    with open(path, "rb") as stream:
        whole = stream.read()
    assert len(whole) == 32 * 28
    for length in range(len(whole)):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        book, store = reopen(folder)
        assert book.last_seq == length // 28
        fill(book, 20, book.last_seq)
        store.flush()
        again, _ = reopen(folder)
        assert again.last_seq == length // 28 + 20
        for seq in seqs(again):
            record = again.get(seq)
            assert record[journal.VALUE] == (seq - 1) * 7 - 3
        for name in ("journal.t0", "journal.t1"):
            files.remove(folder + "/" + name)


def test_damaged_record_leaves_a_marked_place_and_no_gap(folder):
    book, store = reopen(folder)
    fill(book, 32)
    store.flush()
    path = next(p for p in (folder + "/journal.0", folder + "/journal.1") if files.size(p) > 0)
    with open(path, "r+b") as stream:
        stream.seek(5 * 28 + 9)
        stream.write(b"\xaa")
    again, store = reopen(folder)
    assert seqs(again) == list(range(1, 33))
    assert again.get(6)[journal.KIND] == events.STORAGE
    assert again.get(6)[journal.REASON] == events.STORED_FAULT
    assert again.get(7)[journal.VALUE] == 6 * 7 - 3
    assert store.bad == 1
    assert "1 damaged" in store.note


def test_tail_torn_at_every_length_loses_the_last_flush_only(folder):
    book, store = reopen(folder)
    fill(book, 20)
    store.flush()
    fill(book, 3, 20)
    store.flush()
    path = folder + "/journal.t1"
    with open(path, "rb") as stream:
        whole = stream.read()
    for length in range(len(whole)):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        again, store = reopen(folder)
        assert again.last_seq == 20
        # an empty one had just been created when the power went
        assert not length or "damaged" in store.note
    with open(path, "wb") as stream:
        stream.write(whole)
    again, store = reopen(folder)
    assert again.last_seq == 23 and store.note == ""


def test_full_flash_loses_nothing(folder, monkeypatch):
    book, store = reopen(folder)
    fill(book, 10)

    def full(*_):
        raise OSError(28, "full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", full, raising=False)
        patch.setattr(journal, "open", full, raising=False)
        for _ in range(3):
            fill(book, 9, book.last_seq)
            with pytest.raises(files.StorageError, match="no space"):
                store.flush()
    assert store.flush() > 0
    assert store.pending() == 0
    again, _ = reopen(folder)
    assert seqs(again) == list(range(1, 38))


def test_due(folder):
    book, store = reopen(folder)
    assert not store.due()
    fill(book, 1)
    assert not store.due()
    book.now_s = 61
    assert store.due()
    store.flush()
    fill(book, 16, 1)
    assert store.due()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=12),
    st.integers(0, 2000),
    st.sampled_from(["journal.0", "journal.1", "journal.t0", "journal.t1"]),
)
def test_any_history_any_cut(tmp_path_factory, steps, cut, name):
    folder = str(tmp_path_factory.mktemp("any"))
    book, store = reopen(folder, 32, 32)
    for count, restart in steps:
        fill(book, count, book.last_seq)
        store.flush()
        if restart:
            last = book.last_seq
            book, store = reopen(folder, 32, 32)
            assert book.last_seq == last
    path = folder + "/" + name
    if files.size(path) > cut:
        with open(path, "rb") as stream:
            head = stream.read(cut)
        with open(path, "wb") as stream:
            stream.write(head)
    book, store = reopen(folder, 32, 32)
    fill(book, 3, book.last_seq)
    store.flush()
    last = book.last_seq
    book, _ = reopen(folder, 32, 32)
    assert book.last_seq == last
