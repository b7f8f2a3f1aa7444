"""Energy by hour, day and month: every Wh in the period it was used in, whatever happens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.storage import files, history
from firmware.timezone import Zone

NEW_YORK = Zone("EST5EDT,M3.2.0,M11.1.0")
START = 1_772_000_000  # February 2026, before the clocks change


class Owner:
    """A device with two counters whose energy is booked here as well, by period."""

    def __init__(self, folder: Path, zone: Zone = NEW_YORK) -> None:
        self.folder = str(folder)
        self.zone = zone
        self.utc = START
        self.mwh = [5_000_000, 0]
        self.saved = (0, 0, list(self.mwh))
        self.truth: dict[tuple[int, int], list[int]] = {}
        self.boot()

    def boot(self) -> None:
        self.history = history.History(self.folder, 2)
        self.history.resume(*self.saved)

    def local(self) -> int:
        return self.zone.local(self.utc)

    def tick(self) -> None:
        self.history.tick(self.utc, self.local(), self.mwh)
        self.saved = (self.utc, self.local(), list(self.mwh))

    def minute(self, wh: tuple[int, int]) -> None:
        """Use energy during a minute, then save."""
        for kind in range(3):
            number = history.period(kind, self.utc, self.local())
            row = self.truth.setdefault((kind, number), [0, 0])
            for i in (0, 1):
                row[i] += wh[i]
        self.utc += 60
        for i in (0, 1):
            self.mwh[i] += wh[i] * 1000
        # A minute's energy is on record before the next period's first tick.
        self.utc -= 1
        self.tick()
        self.utc += 1
        self.tick()

    def rows(self, kind: int, count: int = 0) -> dict[int, list[int]]:
        now = history.period(kind, self.utc, self.local())
        return dict(self.history.rows(kind, now, count))


def test_hours_days_and_months_hold_what_was_used_in_them(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    rng = random.Random(1)
    for _ in range(70 * 24):  # over a month's end and the change to summer time
        owner.minute((rng.randrange(100), rng.randrange(3)))
        owner.utc += 3540
        owner.tick()
    for kind, kept in ((history.HOURS, 48), (history.DAYS, 70), (history.MONTHS, 2)):
        rows = owner.rows(kind)
        assert len(rows) >= kept
        for number, wh in rows.items():
            assert wh == owner.truth.get((kind, number), [0, 0]), (kind, number)


def test_the_running_period_counts_from_its_beginning(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((7, 1))
    owner.minute((2, 0))
    for kind in range(3):
        assert owner.history.running(kind, owner.mwh) == [9, 1]


def test_the_running_day_survives_a_restart(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((7, 1))
    owner.boot()
    owner.utc += 120
    owner.tick()
    owner.minute((1, 1))
    assert owner.history.running(history.DAYS, owner.mwh) == [8, 2]


def test_energy_before_a_pause_counts_on_its_own_day(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((30, 4))
    monday = history.period(history.DAYS, owner.utc, owner.local())
    owner.boot()
    owner.utc += 3 * 86400  # in the garage, switched off
    owner.tick()
    assert owner.rows(history.DAYS)[monday] == [30, 4]
    assert owner.history.running(history.DAYS, owner.mwh) == [0, 0]
    assert sum(wh[0] for wh in owner.rows(history.DAYS).values()) == 30


def test_a_clock_set_back_loses_nothing_but_the_wrong_future(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((5, 0))
    owner.utc += 400 * 86400  # a wrong time server
    owner.tick()
    owner.utc -= 400 * 86400
    owner.tick()
    owner.minute((6, 0))
    today = history.period(history.DAYS, owner.utc, owner.local())
    owner.utc += 86400
    owner.tick()
    assert owner.rows(history.DAYS)[today][0] in (6, 11)


def test_without_a_clock_nothing_is_made_up(tmp_path: Path) -> None:
    lonely = history.History(str(tmp_path), 2)
    assert lonely.running(history.DAYS, [9000, 9000]) == [0, 0]
    assert list(lonely.rows(history.DAYS, 20000)) == []


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_damaged_file_hides_records_but_invents_none(tmp_path: Path, kind: int) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    for _ in range(40):
        owner.minute((3, 1))
        owner.utc += 86400 * (27 if kind == 2 else 1) if kind else 3600
        owner.tick()
    good = owner.rows(kind)
    path = tmp_path / (history.KINDS[kind] + ".dat")
    raw = bytearray(path.read_bytes())
    rng = random.Random(kind)
    for _ in range(30):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    total = sum(wh[0] for wh in good.values())
    for number, wh in owner.rows(kind).items():
        assert number in good
        assert 0 <= wh[0] <= total  # a lost record's energy is in the next one
    path.write_bytes(raw[: len(raw) // 2])
    owner.rows(kind)


def test_a_write_that_fails_is_said_and_tried_again(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "not" / "there")
    (tmp_path / "not").write_text("a file where the folder should be")
    with pytest.raises(files.StorageError):
        owner.tick()
    (tmp_path / "not").unlink()
    owner.tick()
    owner.minute((4, 0))
    assert owner.history.running(history.HOURS, owner.mwh) == [4, 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 4 * 86400), st.booleans()), max_size=40)
)
def test_no_energy_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    owner = Owner(tmp_path_factory.mktemp("history"))
    owner.tick()
    for wh, pause, restart in steps:
        owner.minute((wh, 1))
        if restart:
            owner.boot()
        owner.utc += pause
        owner.tick()
    shown = sum(wh[0] for wh in owner.rows(history.MONTHS).values())
    shown += owner.history.running(history.MONTHS, owner.mwh)[0]
    assert shown == sum(wh for wh, _, _ in steps)


def test_only_the_last_periods_when_asked_for_few(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    for _ in range(10):
        owner.minute((1, 0))
        owner.utc += 3540
        owner.tick()
    assert len(owner.rows(history.HOURS, 3)) == 3
