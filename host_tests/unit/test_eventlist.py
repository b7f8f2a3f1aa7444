"""The journal as people ask for it: filters, further back than RAM, and sources that would flood
it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import events, report
from firmware.interfaces import eventlist
from firmware.storage import journal
from firmware.storage.journal import Journal, JournalStore
from firmware.storage.strip import DELTA, JOURNAL, LATCH, Strip
from host_tests.fakes.fake_console_app import FakeApp
from host_tests.fakes.nor_flash import NorFlash


class Keeper:
    def __init__(self, store):
        self.journal_store = store
        self.strip = None

    def log(self):
        return self.strip


class App(FakeApp):
    """With the journal on flash, too. `report`: the real one."""

    def __init__(self, folder, capacity=32, segment_records=64):
        super().__init__(folder=folder)
        self.journal = Journal(capacity)
        self.store = JournalStore(folder, self.journal, segment_records)
        self.store.load()
        self.keeper = Keeper(self.store)

    def add(self, kind, outlet=-1, reason=events.COMMAND, value=0, source=events.BY_CONSOLE):
        self.journal.add(kind, outlet, reason, value, source)

    def ask(self, line, report_module=report):
        """(rows as a program gets them, lines as people do)."""
        found = eventlist.answer(self, report_module, line.split())
        if isinstance(found, dict):
            return found["events"], None
        text, again = ("{" + "".join(found.parts()) for _ in range(2))
        assert text == again
        rows = json.loads(text)["events"]
        lines = list(found.lines())
        assert len(lines) == len(rows) + 1
        assert [int(line.split()[0]) for line in lines[1:]] == [row["seq"] for row in rows]
        return rows, lines

    def seqs(self, line):
        return [row["seq"] for row in self.ask(line)[0]]


@pytest.fixture
def app(tmp_path):
    return App(str(tmp_path / "data"))


def long_history(app, count=150):
    """A trip each tenth record, flushed as the storage task does."""
    for i in range(1, count + 1):
        app.journal.tick(1000)
        if i % 10 == 0:
            app.add(events.TRIPPED, i // 10 % 5, events.PEAK, 250_000, events.BY_FAST)
        else:
            app.add(events.ON, i % 5)
        if i % 4 == 0:
            app.store.flush()


def test_words_of_one_sort_widen_and_of_different_sorts_narrow(app):
    app.add(events.ON, 2)
    app.add(events.TRIPPED, 2, events.PEAK, 1, events.BY_FAST)
    app.add(events.REFUSED, 2, events.LATCHED, 0, events.BY_MQTT)
    app.add(events.TRIPPED, 3, events.THERMAL, 1, events.BY_CONTROL)
    app.add(events.LOCKOUT, 3, events.LOCKED, 1, events.BY_CONTROL)
    app.add(events.LEASE, -1, events.LEASE_LOST, 1, events.BY_FAST)
    assert app.seqs("bed1") == [1, 2, 3]
    assert app.seqs("bed1 bed2 tripped") == [2, 4]
    assert app.seqs("tripped refused") == [2, 3, 4]
    assert app.seqs("tripped peak") == [2]
    assert app.seqs("latched thermal") == [3, 4]
    assert app.seqs("trips") == [2, 4, 5, 6]
    assert app.seqs("trips bed2") == [4, 5]
    assert app.seqs("mqtt") == app.seqs("by mqtt") == [3]
    assert app.seqs("by fast by mqtt") == [2, 3, 6]
    assert app.seqs("lease") == app.seqs("for lease") == [6]
    assert app.seqs("2 bed1") == app.seqs("bed1 2") == [2, 3]
    assert app.seqs("since 4") == [5, 6]
    assert app.seqs("since 1 2") == [2, 3]
    assert app.seqs("shed") == []


def test_since_this_start_and_since_a_time(tmp_path):
    folder = str(tmp_path / "data")
    first = App(folder)
    first.journal.epoch_offset_s = 1_800_000_000
    for hour in range(5):
        first.journal.now_s = hour * 3600
        first.add(events.ON, 0)
    first.store.flush()
    app = App(folder)
    app.add(events.BOOT, -1, events.POWER_ON, 2, events.BY_BOOT)
    assert app.seqs("since boot") == [6]
    assert app.seqs("since 1h") == [6], "of an earlier start only when the clock is set"
    app.journal.epoch_offset_s = 1_800_000_000 + 4 * 3600 + 600
    app.journal.now_s = 60
    app.add(events.OFF, 0)
    assert app.seqs("since 15m") == [5, 6, 7]
    assert app.seqs("since 59s off") == [7]
    assert app.seqs("since 2h on") == [4, 5]
    assert app.seqs("since 9d") == [1, 2, 3, 4, 5, 6, 7]
    assert app.seqs("since 2h 1") == [7]


def test_since_a_day_in_local_time(app):
    app.settings.set("time.zone", "EST5EDT,M3.2.0,M11.1.0")
    app.journal.epoch_offset_s = 1_782_864_000  # 2026-07-01 00:00 UTC, 20:00 there
    for hour in range(8):
        app.journal.now_s = hour * 3600
        app.add(events.ON, hour % 5)
    assert app.seqs("since 2026-07-01") == [5, 6, 7, 8]
    assert app.seqs("since 2026-07-01T01:00:00") == [6, 7, 8]
    assert app.seqs("since 2026-07-01T06:00:00Z") == [7, 8]
    assert app.seqs("since 2026-07-01T06:00:00+01:00") == [6, 7, 8]
    assert app.seqs("since 2026-07-01 1") == [8]
    app.journal.epoch_offset_s = 0
    assert app.seqs("since 2026-07-01") == [], "nobody knows when that was"


def test_further_back_than_the_ring(app):
    long_history(app)
    assert app.journal.first_seq == 119
    assert app.seqs("") == list(range(131, 151))
    assert app.seqs("30") == list(range(121, 151)), "from RAM"
    oldest = app.store.older(0).__next__()[journal.SEQ]
    assert oldest < 119 - 30, "flash has more"
    everything = app.seqs("all")
    assert everything == list(range(oldest, 151)), "no gap where flash ends and RAM begins"
    assert app.seqs("60") == list(range(91, 151))
    assert app.seqs("2000") == everything
    trips = [seq for seq in everything if seq % 10 == 0]
    assert len(trips) > 5
    assert app.seqs("tripped") == trips
    assert app.seqs("3 tripped") == trips[-3:]
    assert app.seqs("trips bed1") == [seq for seq in trips if seq // 10 % 5 == 2]
    assert app.seqs(f"since {oldest + 3} 10") == list(range(oldest + 4, oldest + 14))
    assert app.seqs("since 0") == everything[:64]


def test_a_record_reads_the_same_from_flash_and_from_ram(app):
    long_history(app, 60)
    app.journal.epoch_offset_s = 0
    from_ram = {row["seq"]: row for row in app.ask("32")[0]}
    stored = {row[journal.SEQ]: row for row in app.store.older(0)}
    both = sorted(set(from_ram) & set(stored))
    assert len(both) > 8
    for seq in both:
        assert stored[seq] == app.journal.get(seq)


def test_while_it_is_read_the_journal_goes_on(app):
    """What MQTT sends must have the length that it has announced, whatever happened meanwhile."""
    long_history(app)
    found = eventlist.answer(app, report, ["all"])
    announced = sum(len(part) for part in found.parts())
    parts = found.parts()
    text = "{" + next(parts)
    for i, part in enumerate(parts):
        text += part
        if i == 5:
            long_history(app, 100)  # both segments are written anew
            app.journal.epoch_offset_s = 1_800_000_000  # longer rows
    assert len(text) - 1 == announced
    seqs = [row["seq"] for row in json.loads(text)["events"]]
    assert seqs == sorted(set(seqs)) and seqs[-1] <= 150


def test_damaged_records_on_flash_are_passed_over(app, tmp_path):
    long_history(app)
    path = tmp_path / "data" / "journal.0"
    data = bytearray(path.read_bytes())
    data[28 * 3 + 5] ^= 0x40
    path.write_bytes(data)
    before = app.seqs("all")
    assert before == sorted(before) and len(set(before)) == len(before)
    path.write_bytes(data[:-7])
    assert app.seqs("all")[-1] == 150
    path.unlink()
    assert app.seqs("all")[-20:] == list(range(131, 151))


TROUBLE = ("all", "trips", "since", "by", "for", "boot", "5", "0", "2001", "3h", "h", "", "x²")
WORDS = st.sampled_from((*events.KINDS, *events.REASONS, *events.SOURCES, *TROUBLE, "bed1"))


@given(st.lists(WORDS, max_size=6))
def test_any_words_are_answered_or_refused_in_a_sentence(tmp_path_factory, words):
    app = App(str(tmp_path_factory.mktemp("any")), 8, 16)
    for i in range(30):
        app.add(i % 17, i % 6 - 1, i % 40, i, i % 9)
    try:
        found = eventlist.answer(app, app, words)
    except eventlist.Refused as error:
        assert 10 < len(str(error)) < 700 and "\n" not in str(error)
    else:
        rows = found["events"] if isinstance(found, dict) else list(found.records())
        assert len(rows) <= 30


# -- sources that would flood it -----------------------------------------------------------------


def noted(book):
    return [(record[1], record[3], record[4]) for record in book.since(0)]


def test_a_source_that_is_refused_without_end_leaves_the_trips_where_they_are():
    """100 refusals a second for a day: the trip before them is still in the ring of 256, and the
    records say how many there were."""
    book = Journal(256)
    book.add(events.TRIPPED, 2, events.PEAK, 250_000, events.BY_FAST)
    given_up = 0
    for second in range(0, 86400, 5):
        book.now_s = second
        for _ in range(500):
            book.note(events.REFUSED, 2, events.LATCHED, 0, events.BY_MQTT)
            given_up += 1
    book.now_s += 700
    book.settle()
    rows = noted(book)
    assert rows[0] == (events.TRIPPED, events.PEAK, 250_000)
    assert len(rows) < 20 + 150
    told = sum(row[2] for row in rows if row[1] == events.REPEATED)
    alone = sum(row[1] == events.LATCHED for row in rows)
    assert told + alone == given_up == 8_640_000


def test_a_few_refusals_and_changes_are_all_on_record():
    book = Journal(128)
    for i in range(48):
        if i < 20:
            book.note(events.REFUSED, 2, events.HOT, 0, events.BY_CONSOLE)
        book.note(events.SETTING, 2, events.COMMAND, 7, events.BY_CONSOLE)
    assert book.last_seq == 68
    book.note(events.REFUSED, 2, events.HOT, 0, events.BY_CONSOLE)
    book.note(events.REFUSED, 3, events.HOT, 0, events.BY_CONSOLE)
    assert book.last_seq == 68
    book.settle()
    assert book.last_seq == 68
    book.now_s = 600
    book.settle()
    assert noted(book)[-1] == (events.REFUSED, events.REPEATED, 2)
    book.now_s = 1200
    book.note(events.REFUSED, 2, events.HOT, 0, events.BY_CONSOLE)
    assert noted(book)[-1] == (events.REFUSED, events.HOT, 0)
    assert book.last_seq == 70
    for seq in range(1, 71):
        assert book.get(seq)[journal.SEQ] == seq


def test_what_was_left_out_reaches_flash_without_another_event(tmp_path):
    app = App(str(tmp_path / "data"))
    for _ in range(25):
        app.journal.note(events.REFUSED, 0, events.HOT, 0, events.BY_MQTT)
    app.store.flush()
    assert not app.store.due()
    app.journal.now_s = 700
    assert app.store.due()
    app.store.flush()
    again = App(str(tmp_path / "data"))
    row = again.ask("1")[0][0]
    assert (row["event"], row["reason"], row["number"]) == ("refused", "repeated", 5)


def strip_history(app, first, last):
    """Records that only the strip has so far, between others, as the keeper puts them there."""
    log = app.keeper.strip
    for i in range(first, last + 1):
        app.journal.tick(1000)
        app.add(events.ON, i % 5, value=i)
        log.append(JOURNAL, app.store.encode(app.journal.get(i)))
        if i % 3 == 0:
            log.append(DELTA, bytes(28))
        if i % 7 == 0:
            log.append(LATCH, b"{}")


def test_records_that_only_the_strip_has_are_shown_in_order(app):
    long_history(app, 150)  # the last two are in no file
    app.keeper.strip = log = Strip(NorFlash(6), range(6))
    for seq in (149, 150):
        log.append(JOURNAL, app.store.encode(app.journal.get(seq)))
    strip_history(app, 151, 480)
    assert app.journal.first_seq > 440 and log.seq > 3
    everything = app.seqs("all")
    assert everything == list(range(everything[0], 481)), "no gap at either seam"
    assert everything[0] < 100
    assert app.seqs("since 170 100") == list(range(171, 271))
    assert app.seqs("bed1 60")[-1] <= 480 and len(app.seqs("bed1 60")) == 60
    shown = list(app.store.older(150, log))
    assert [r[journal.VALUE] for r in shown if r[0] > 150] == list(range(151, 481))
    assert app.breaths >= 3 * len(everything) // 16, "the control lane has its turns"


def test_the_strip_is_read_from_the_block_on_that_is_needed(app, monkeypatch):
    flash = NorFlash(12)
    app.keeper.strip = log = Strip(flash, range(12))
    strip_history(app, 1, 900)
    assert log.seq >= 10
    reads = []
    read = flash.readblocks

    def note(block, buffer, offset=0):
        reads.append(block)
        return read(block, buffer, offset)

    monkeypatch.setattr(flash, "readblocks", note)
    assert [r[0] for r in app.store.older(820, log)] == list(range(820, 901))
    assert len(reads) < 600, "two reads for a record, and some to find the block"


def test_blocks_that_are_erased_while_somebody_reads_are_left_out_and_kept_whole(app):
    flash = NorFlash(4)
    app.keeper.strip = log = Strip(flash, range(4))
    strip_history(app, 1, 150)
    rows = app.store.older(1, log)
    seen = [next(rows)[0] for _ in range(10)]
    log.covered = log.seq
    while log.can_erase():
        log.erase()
    strip_history(app, 151, 400)
    seen += [row[0] for row in rows]
    assert seen == sorted(set(seen))
    again = Strip(flash, range(4))
    found = [p for kind, p in again.records() if kind == JOURNAL]
    assert not again.bad and len(found) >= 250, "the reader has marked nothing as damaged"
