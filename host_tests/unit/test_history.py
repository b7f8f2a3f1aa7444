"""Energy by hour, day and month: every Wh in the period it was used in, whatever happens."""

from __future__ import annotations

import datetime
import random
import types
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware.storage import accounts, files, history
from firmware.storage.energy import Energy
from firmware.timezone import Zone

NEW_YORK = Zone("EST5EDT,M3.2.0,M11.1.0")
START = 1_772_000_000  # February 2026, before the clocks change


class Loaded(Energy):
    """With the module that closes periods loaded for good: CPython takes long to do it anew."""

    def accounts(self) -> types.ModuleType:
        return accounts


class Owner:
    """A device with two counters whose energy is booked here as well, by period. It looks at its
    counters as often as the storage task lets time pass."""

    def __init__(self, folder: Path, zone: Zone = NEW_YORK, known: bool = True) -> None:
        self.folder = str(folder)
        self.zone = zone
        self.utc = START
        self.known = known
        self.mwh = [5_000_000, 0]
        self.saved: tuple[list[int], object] = (list(self.mwh), None)
        self.truth: dict[tuple[int, int], list[int]] = {}
        self.boot()

    def boot(self) -> None:
        """The counters are as they were saved last."""
        self.mwh = list(self.saved[0])
        self.up = 0
        self.energy = Loaded(self.folder, 2)
        accounts.load(self.energy, *self.saved)

    def local(self) -> int:
        return self.zone.local(self.utc)

    def period(self, kind: int) -> int:
        return accounts.period(kind, self.utc, self.local())

    def tick(self, flush: bool = True) -> None:
        """What the storage task does each half second, until it has caught up."""
        utc = self.utc if self.known else 0
        for _ in range(2000):
            self.energy.follow(utc, self.up, self.zone.rule, lambda: self.mwh)
            if not flush:
                break
            if not accounts.flush(self.energy) and self.energy.quarter == utc // 900:
                break
        self.saved = (list(self.mwh), self.energy.mark(utc, self.mwh))

    def use(self, seconds: int, wh: tuple[int, int] = (0, 0), flush: bool = True) -> None:
        """So much energy within so long, evenly, looked at each half minute."""
        per_s = [1000 * x / seconds for x in wh]
        start = list(self.mwh)
        for second in range(1, seconds + 1):
            if wh != (0, 0):
                # booked where it is used: by the second before this instant
                for kind in range(3):
                    row = self.truth.setdefault((kind, self.period(kind)), [0, 0])
                    for i in (0, 1):
                        row[i] += round(per_s[i] * second) - round(per_s[i] * (second - 1))
            self.utc += 1
            self.up += 1
            for i in (0, 1):
                self.mwh[i] = start[i] + round(per_s[i] * second)
            if second % 30 == 0 or second == seconds or self.utc % 900 == 0:
                self.tick(flush)

    def pause(self, seconds: int) -> None:
        """Nothing is used, and time passes."""
        while seconds > 0:
            step = min(seconds, 900 - self.utc % 900)
            self.utc += step
            self.up += step
            seconds -= step
            self.tick()

    def minute(self, wh: tuple[int, int]) -> None:
        self.use(60, wh)

    def rows(self, kind: int, count: int = 0) -> dict[int, list[int]]:
        return dict(history.rows(self.energy, kind, self.period(kind), count))

    def running(self, kind: int) -> list[int] | None:
        found = history.running(self.energy, kind, self.mwh)
        if found is None:
            return None
        assert found[0] == self.period(kind)
        return found[1]

    def check(self, kind: int, spare_wh: int = 1) -> None:
        """Every period that is shown holds what was used in it, to one Wh of rounding."""
        for number, wh in self.rows(kind).items():
            booked = [x / 1000 for x in self.truth.get((kind, number), [0, 0])]
            assert wh == pytest.approx(booked, abs=spare_wh), (kind, number)


def test_hours_days_and_months_hold_what_was_used_in_them(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    rng = random.Random(1)
    for _ in range(70 * 24):  # over a month's end and the change to summer time
        owner.minute((rng.randrange(100), rng.randrange(3)))
        owner.pause(3540)
    for kind, kept in ((history.HOURS, 48), (history.DAYS, 70), (history.MONTHS, 2)):
        assert len(owner.rows(kind)) >= kept
        owner.check(kind)


def test_the_sums_of_all_periods_are_the_counters_to_the_wh(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    start = [x // 1000 for x in owner.mwh]
    for _ in range(40):
        owner.use(1200, (777, 13))
    for kind in (history.HOURS, history.DAYS, history.MONTHS):
        running = owner.running(kind)
        assert running is not None
        for i in (0, 1):
            whole = sum(wh[i] for wh in owner.rows(kind).values()) + running[i]
            assert whole == owner.mwh[i] // 1000 - start[i]


def test_the_running_period_counts_from_its_beginning(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((7, 1))
    owner.minute((2, 0))
    for kind in range(3):
        assert owner.running(kind) == [9, 1]


def test_the_running_day_survives_restarts(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((7, 1))
    for _ in range(3):
        owner.boot()
        owner.pause(120)
        owner.minute((1, 1))
    assert owner.running(history.DAYS) == [10, 4]
    assert owner.energy.today_wh(sum(owner.mwh) // 1000) == 14


def test_energy_before_a_pause_counts_on_its_own_day(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((30, 4))
    monday = owner.period(history.DAYS)
    owner.utc += 3 * 86400  # in the garage, switched off
    owner.boot()
    owner.tick()
    assert owner.rows(history.DAYS) == {monday: [30, 4]}
    assert owner.running(history.DAYS) == [0, 0]


@pytest.mark.parametrize(
    ("start", "hours", "days"),
    [
        ("2026-11-01T04:00", 25, 1),  # clocks go back: 25 hours
        ("2026-03-08T05:00", 23, 1),  # and forward
        ("2028-02-29T05:00", 24, 1),  # a leap day
        ("2026-12-31T05:00", 24, 1),  # the last day of a year
    ],
)
def test_days_of_every_length(tmp_path: Path, start: str, hours: int, days: int) -> None:
    owner = Owner(tmp_path)
    owner.utc = int(datetime.datetime.fromisoformat(start + "+00:00").timestamp())
    assert owner.local() % 86400 == 0, "the test begins at midnight in New York"
    day = owner.period(history.DAYS)
    owner.tick()
    for _ in range(hours):
        assert owner.period(history.DAYS) == day
        owner.use(1800, (500, 1))
        owner.pause(1800)
    assert owner.period(history.DAYS) == day + 1
    assert owner.rows(history.DAYS) == {day: [500 * hours, hours]}
    assert [wh[0] for wh in owner.rows(history.HOURS).values()] == [500] * hours
    assert accounts.begin(history.DAYS, day + 1) == owner.local()


def test_a_zone_of_half_hours_begins_its_day_at_its_midnight(tmp_path: Path) -> None:
    owner = Owner(tmp_path, Zone("<+0530>-5:30"))
    owner.utc = START // 86400 * 86400 + 18 * 3600  # an hour before midnight, less 30 minutes
    owner.tick()
    owner.use(1800, (100, 0))
    owner.use(1800, (20, 0))
    owner.check(history.DAYS)
    assert owner.running(history.DAYS) == [20, 0]


def test_years_roll(tmp_path: Path) -> None:
    owner = Owner(tmp_path, Zone("UTC0"))
    owner.utc = int(datetime.datetime(2026, 12, 31, 23, 0, tzinfo=datetime.UTC).timestamp())
    owner.tick()
    owner.use(3600, (60, 0))
    owner.use(60, (5, 0))
    (month,) = owner.rows(history.MONTHS).items()
    assert month == (2026 * 12 + 11, [60, 0])
    assert accounts.begin(history.MONTHS, month[0] + 1) == 1_798_761_600  # 2027-01-01


# -- the clock -----------------------------------------------------------------------------------


def test_while_the_time_is_unknown_nothing_runs(tmp_path: Path) -> None:
    owner = Owner(tmp_path, known=False)
    owner.use(7200, (900, 1))
    assert owner.energy.waiting == []
    assert not list(tmp_path.iterdir())
    for kind in range(3):
        assert owner.running(kind) is None
    assert owner.energy.today_wh(10_000) is None


def test_energy_before_the_time_was_known_is_spread_over_the_time_since_the_start(
    tmp_path: Path,
) -> None:
    owner = Owner(tmp_path, Zone("UTC0"), known=False)
    owner.utc = START // 86400 * 86400 + 22 * 3600  # the first start ever, at 22:00
    day = owner.period(history.DAYS)
    owner.use(4 * 3600, (4000, 40))
    owner.known = True
    owner.tick()
    hours = owner.rows(history.HOURS)
    assert len(hours) == 4
    assert all(wh == pytest.approx([1000, 10], abs=1) for wh in hours.values())
    assert owner.rows(history.DAYS) == {day: [2000, 20]}
    assert owner.running(history.DAYS) == [2000, 20]


def test_a_month_without_the_time_is_made_up_for_in_bounded_memory(tmp_path: Path) -> None:
    owner = Owner(tmp_path, Zone("UTC0"), known=False)
    owner.utc = START // 86400 * 86400
    owner.utc += 40 * 86400
    owner.up += 40 * 86400
    owner.mwh[0] += 40_000_000
    owner.known = True
    most = 0
    for _ in range(2000):
        owner.tick(flush=False)
        most = max(most, len(owner.energy.waiting))
        if owner.energy.is_known:
            break
        accounts.flush(owner.energy)
    assert most <= 56
    owner.tick()
    days = owner.rows(history.DAYS)
    assert len(days) == 40 and all(abs(wh[0] - 1000) <= 1 for wh in days.values())
    assert len(owner.rows(history.HOURS)) == 48


def test_a_start_that_never_knew_the_time_counts_where_it_is_certain(tmp_path: Path) -> None:
    owner = Owner(tmp_path, Zone("UTC0"))
    owner.utc = int(datetime.datetime(2026, 5, 4, 10, 0, tzinfo=datetime.UTC).timestamp())
    owner.tick()
    monday = owner.period(history.DAYS)
    owner.use(600, (100, 0))
    owner.boot()
    owner.known = False  # no network for two days: nobody knows on which of them
    owner.use(600, (70, 0))
    owner.utc += 2 * 86400
    owner.boot()
    owner.use(600, (5, 0))
    owner.known = True
    owner.tick()
    assert owner.running(history.MONTHS) == [175, 0]  # all of it was in May
    assert owner.rows(history.DAYS) == {monday: [100, 0]}
    assert owner.running(history.DAYS) == [5, 0]
    owner.use(600, (6, 0))
    owner.boot()
    owner.tick()
    assert owner.running(history.DAYS) == [11, 0]
    assert owner.running(history.MONTHS) == [181, 0]


def test_a_clock_set_back_loses_nothing(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.minute((5, 0))
    today = owner.period(history.DAYS)
    owner.utc += 400 * 86400  # a wrong time server
    owner.tick()
    owner.minute((3, 0))
    owner.utc -= 400 * 86400
    owner.tick()
    owner.minute((6, 0))
    assert owner.running(history.DAYS) == [14, 0]
    owner.pause(86400)
    assert owner.rows(history.DAYS)[today] == [14, 0]


@pytest.mark.parametrize("step", [-1, 1, -5, 5, -30, 30])
def test_a_clock_that_is_corrected_at_midnight_counts_every_wh_once(
    tmp_path: Path, step: int
) -> None:
    owner = Owner(tmp_path, Zone("UTC0"))
    owner.utc = START // 86400 * 86400 + 86400 - 600
    owner.tick()
    owner.use(602, (602, 0))
    owner.utc += step
    owner.tick()
    owner.use(1200, (1200, 0))
    shown = [wh[0] for wh in owner.rows(history.DAYS).values()]
    running = owner.running(history.DAYS)
    assert running is not None
    assert len(shown) == 1
    assert sum(shown) + running[0] == 1802
    assert shown[0] == pytest.approx(600, abs=abs(step) + 2)


def test_a_clock_set_forward_puts_nothing_into_the_days_between(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.use(600, (50, 0))
    day = owner.period(history.DAYS)
    owner.utc += 5 * 86400
    owner.tick()
    owner.use(600, (7, 0))
    assert owner.rows(history.DAYS) == {day: [50, 0]}
    assert owner.running(history.DAYS) == [7, 0]


# -- flash ---------------------------------------------------------------------------------------


def test_periods_that_close_while_flash_must_wait_are_right(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    for _ in range(5 * 4):  # five hours of a heavy load
        owner.use(900, (1500, 0), flush=False)
    assert not list(tmp_path.iterdir()) or owner.energy.waiting
    assert len(owner.rows(history.HOURS)) == 5, "they are shown before they are written"
    owner.check(history.HOURS)
    before = owner.rows(history.HOURS)
    while accounts.flush(owner.energy):
        pass
    assert owner.energy.waiting == []
    assert owner.rows(history.HOURS) == before
    again = Energy(owner.folder, 2)
    assert dict(history.rows(again, history.HOURS, owner.period(history.HOURS))) == before


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_damaged_file_hides_records_but_invents_none(tmp_path: Path, kind: int) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    for _ in range(40):
        owner.minute((3, 1))
        owner.utc += 86400 * (27 if kind == 2 else 1) if kind else 3600
        owner.boot()
        owner.tick()
    good = owner.rows(kind)
    assert len(good) >= 20
    path = tmp_path / (history.KINDS[kind] + ".dat")
    raw = bytearray(path.read_bytes())
    rng = random.Random(kind)
    for _ in range(30):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    for number, wh in owner.rows(kind).items():
        assert good[number] == wh
    path.write_bytes(raw[: len(raw) // 2])
    assert set(owner.rows(kind)) <= set(good)


def test_a_write_that_fails_is_said_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "not").write_text("a file where the folder should be")
    owner = Owner(tmp_path / "not" / "there")
    with pytest.raises(files.StorageError):
        owner.tick()
    owner.use(1800, (30, 0), flush=False)
    (tmp_path / "not").unlink()
    owner.tick()
    owner.pause(3600)
    assert sum(wh[0] for wh in owner.rows(history.HOURS).values()) == 30


def test_a_flash_that_never_takes_anything_costs_no_memory(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    for _ in range(100):
        owner.use(3600, (10, 0), flush=False)
    assert len(owner.energy.waiting) <= 56
    hours = owner.rows(history.HOURS)
    assert len(hours) == 48 and all(wh == [10, 0] for wh in hours.values()), "all that are kept"
    days = owner.rows(history.DAYS)
    assert len(days) == 4 and all(wh[0] > 0 for wh in days.values()), "days go last"
    owner.check(history.DAYS)


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
            owner.utc += pause
            owner.boot()
        owner.tick()
    for kind in (history.DAYS, history.MONTHS):
        running = owner.running(kind)
        assert running is not None
        shown = sum(wh[0] for wh in owner.rows(kind).values()) + running[0]
        assert shown == sum(wh for wh, _, _ in steps)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 86400), st.booleans(), st.booleans()),
        max_size=20,
    )
)
@example(
    [(0, 921, False, False), (147, 1, True, True), (0, 0, True, True), (0, 121, False, False)]
)
def test_whatever_happens_to_the_clock_nothing_is_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool, bool]]
) -> None:
    owner = Owner(tmp_path_factory.mktemp("history"))
    for wh, step, known, restart in steps:
        owner.known = known or (owner.known and not restart)
        owner.minute((wh, 1))
        owner.utc += step if known else -step
        if restart:
            owner.boot()
            owner.known = known
        owner.tick()
    total = sum(wh for wh, _, _, _ in steps)
    owner.known = True
    owner.tick()
    for kind in range(3):
        running = owner.running(kind)
        assert running is not None
        assert 0 <= running[0] <= total
        assert all(0 <= wh[0] <= total for wh in owner.rows(kind).values())


def test_a_period_entered_again_and_a_restart_in_it(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    owner.utc -= 4461  # an hour back, and later forward again
    owner.minute((152, 0))
    owner.utc += 4461
    owner.tick()
    owner.boot()
    owner.tick()
    assert owner.running(history.HOURS) == [0, 0]
    assert sum(wh[0] for wh in owner.rows(history.HOURS).values()) == 152


def test_only_the_last_periods_when_asked_for_few(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tick()
    for _ in range(10):
        owner.minute((1, 0))
        owner.pause(3540)
    assert len(owner.rows(history.HOURS, 3)) == 3


@pytest.mark.parametrize(
    "mark", [None, 5, "x", [], [1], [0, None], ["x", None], [START, [1]], [START, ["a", "b"]]]
)
def test_a_mark_of_any_shape_is_survived(tmp_path: Path, mark: object) -> None:
    found = Energy(str(tmp_path), 2)
    accounts.load(found, [5_000_000, 0], mark)
    found.follow(START, 10, "UTC0", lambda: [5_000_000, 0])
    assert history.running(found, history.DAYS, [5_001_000, 0]) == (START // 86400, [1, 0])
