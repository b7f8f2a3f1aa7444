"""Reading the journal from flash on the emulated chip: how long it takes, and that the control
lane has its turns meanwhile. `-s` prints the figures of docs/console.md."""

from __future__ import annotations

import pytest

from host_tests.emulator import rig
from host_tests.fakes.nor_flash import BLOCK, NorFlash
from tools import cpython
from tools.bench.chip import Chip

cpython.install()

from firmware import events  # noqa: E402
from firmware.storage.journal import Journal, JournalStore  # noqa: E402
from firmware.storage.strip import JOURNAL, Strip  # noqa: E402

RECORDS = 600  # the ring in RAM holds 256
_LATE_MS = 50  # the control lane: three windows wait meanwhile, and there is room for four


def history() -> dict[str, bytes]:
    """Files of a strip that alone holds the journal."""
    flash = NorFlash(30)
    log = Strip(flash, flash.numbers())
    journal = Journal(RECORDS)
    store = JournalStore("", journal)
    for i in range(RECORDS):
        journal.add(events.ON, i % 5, events.COMMAND, i, events.BY_CONSOLE)
        log.append(JOURNAL, store.encode(journal.get(i + 1)))
    return {
        f"data/strip/{n}": bytes(flash.data[n * BLOCK : (n + 1) * BLOCK]) for n in flash.numbers()
    }


@pytest.mark.timeout(1800)
def test_a_long_search_of_the_journal_delays_no_window() -> None:
    chip = Chip(files=history())
    pico = chip.pico
    pico.run(rig.BOOT_S + 2)
    before = pico.now_us
    rows = chip.ask("events since 20 40", timeout=30)["events"]
    assert [row["seq"] for row in rows] == list(range(21, 61))
    listed_s = (pico.now_us - before) / 1e6
    before = pico.now_us
    assert chip.ask("events by web", timeout=30)["events"] == []
    searched_s = (pico.now_us - before) / 1e6
    each_ms = searched_s * 1000 / RECORDS
    print(
        f"\n{RECORDS} records searched in {searched_s:.2f} s ({each_ms:.2f} ms each), "
        f"40 of the oldest listed in {listed_s:.2f} s"
    )
    assert 16 * each_ms < _LATE_MS
    assert rig.events(chip, "stall") == []
