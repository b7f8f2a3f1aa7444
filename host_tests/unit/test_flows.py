"""Energy by direction: saved, found again after a power cut, and drawn hour by hour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host_tests.fakes.fake_console_app import FakeApp
from host_tests.fakes.nor_flash import NorFlash
from host_tests.fakes.rig import WindowRig

from firmware.interfaces import energytable, gridcommand  # isort: skip
from firmware.storage import files, history, keeper  # isort: skip
from firmware.storage.energy import FLOWS, GRID_OUT, HOME_OUT, MONEY, Energy  # isort: skip
from firmware.storage.settings import SettingError  # isort: skip


class Home:
    """The keeper of a home board; `flows`: whether its version counts them."""

    def __init__(self, folder: Path, flash: NorFlash, flows: bool = True) -> None:
        self.rig = rig = WindowRig("simulated_home")
        self.folder = str(folder)
        self.board, self.journal, self.settings = rig.board, rig.journal, rig.settings
        self.controller, self.meter, self.clock = rig.controller, rig.meter, rig.clock
        self.fast, self.mqtt = rig.lane, None
        self.energy = Energy(self.folder, len(self.board.outlets), FLOWS if flows else 0)
        files.waiting.clear()
        files.defer(None)
        self.keeper = keeper.Keeper(self, flash)
        rig.journal.last_seq = rig.journal.first_seq = 0
        self.keeper.open()
        self.keeper.load(None)

    def totals_mwh(self) -> list[int]:
        totals = [self.meter.energy_mwh(x.index) for x in self.board.outlets]
        return totals + self.energy.more

    def pass_s(self, seconds: int) -> None:
        for second in range(2 * seconds):
            self.clock.now_s += second % 2
            self.keeper.turn(True, 0)


@pytest.fixture(autouse=True)
def no_files_wait() -> Any:
    yield
    files.waiting.clear()
    files.defer(None)


@pytest.mark.parametrize("seconds", [130, 700])  # in the strip only; in the file, too
def test_what_flowed_is_there_after_a_power_cut(tmp_path: Path, seconds: int) -> None:
    flash = NorFlash()
    home = Home(tmp_path, flash)
    home.energy.more[:] = [5_000_000_000, 7, 123_456_789, 3, 99, 1_234_567]
    home.pass_s(seconds)
    home.energy.more[GRID_OUT] += 50_000
    home.pass_s(61)
    again = Home(tmp_path, flash)
    assert again.energy.more == [5_000_000_000, 7, 123_506_789, 3, 99, 1_234_567]


def test_what_an_older_version_saved_is_read(tmp_path: Path) -> None:
    flash = NorFlash()
    old = Home(tmp_path, flash, flows=False)
    old.meter.restore_energy(2, 7_654_321)
    old.pass_s(700)
    new = Home(tmp_path, flash)
    assert new.meter.energy_mwh(2) == 7_654_321
    assert new.energy.more == [0] * FLOWS


class Told(FakeApp):
    """A home with a known hour: 22:00 UTC on the second day of 2026."""

    def __init__(self, folder: Path) -> None:
        super().__init__("simulated_home", str(folder))
        self.energy = Energy(str(folder), len(self.board.outlets), FLOWS)
        self.up = 0
        self.utc = 1_767_225_600  # midnight

    def totals_mwh(self) -> list[int]:
        return [0] * len(self.board.outlets) + self.energy.more

    def hours(self, count: int, mwh: int) -> None:
        for _ in range(count * 4):
            self.energy.more[GRID_OUT] += mwh // 4
            self.energy.more[MONEY + 1] += mwh // 40
            self.utc += 900
            self.up += 900
            self.energy.follow(self.utc, self.up, "UTC0", self.totals_mwh)
            while self.energy.waiting:
                self.energy.flush()


def test_today_against_yesterday_and_what_it_earned(tmp_path: Path) -> None:
    app = Told(tmp_path)
    app.energy.follow(app.utc, 0, "UTC0", app.totals_mwh)
    app.hours(24, 2_000_000)
    app.hours(9, 4_000_000)
    chart = energytable.table(app, ["hours", "grid"])
    lines = list(chart.lines())
    assert len(lines) == 27 and lines[0].startswith("hour")
    row = lines[1 + 8].split()
    assert row == ["08:00", "2.000", "#" * 11, "4.000", "#" * 22]
    assert lines[1 + 20].split()[-1] == "-" and all(len(line) <= 80 for line in lines)
    text = "".join(chart.parts())
    assert '"of":"grid_out"' in text
    assert '{"hour":"08:00","yesterday_kwh":2.000,"today_kwh":4.000}' in text
    assert lines[25].split() == ["kWh", "48.000", "36.000"]
    assert lines[26].split() == ["peak", "W", "2000", "4000"]
    assert text.endswith(
        ',"yesterday":{"kwh":48.000,"peak_w":2000,"cost":null}'
        ',"today":{"kwh":36.000,"peak_w":4000,"cost":null}}'
    )
    assert json.loads("{" + text)["today"]["peak_w"] == 4000
    names = energytable.names(app)
    found = history.totals(app.energy, names, app.totals_mwh())
    assert found["today_kwh"]["grid_out"] == pytest.approx(36)
    assert found["yesterday_kwh"]["grid_out"] == pytest.approx(48)
    assert found["today_total_kwh"] == 0, "no outlet has delivered that"
    assert found["today_earned"] == pytest.approx(3.6)
    wide = list(energytable.table(app, ["hours", "3"]).lines())
    assert "home" in wide[0] and "grid" in wide[0] and len(wide[0]) <= 80
    with pytest.raises(ValueError, match=r"neither a count nor one of: cabin1 .*grid_in total"):
        energytable.table(app, ["hours", "garage"])


def test_what_each_feed_costs_by_the_hour(tmp_path: Path) -> None:
    """Exported at 10 ct, and 30 ct from 17:30 to 19:00; taken in at 20 ct."""
    app = Told(tmp_path)
    app.settings.set("tariff.export_ct", 10)
    app.settings.set("tariff.export2_ct", 30)
    app.settings.set("tariff.import_ct", 20)
    app.settings.set("tariff.import2_ct", 20)
    app.settings.set("tariff.peak", "daily 17:30-19:00")
    app.energy.follow(app.utc, 0, "UTC0", app.totals_mwh)
    app.hours(24, 2_000_000)
    app.hours(9, 4_000_000)
    days = json.loads("{" + "".join(energytable.table(app, ["hours", "grid"]).parts()))
    # 48 kWh at 10 ct, and 1.5 hours of 2 kWh at 20 ct more
    assert days["yesterday"]["cost"] == pytest.approx(4.8 + 0.6)
    assert days["today"]["cost"] == pytest.approx(3.6)
    lines = list(energytable.table(app, ["hours", "grid"]).lines())
    assert lines[-1].split() == ["cost", "5.40", "3.60"] and all(len(x) <= 80 for x in lines)
    # what an outlet would have cost from the grid
    app.energy.more[HOME_OUT] += 3_000_000
    app.hours(1, 0)
    home = json.loads("{" + "".join(energytable.table(app, ["hours", "home"]).parts()))
    assert home["of"] == "home_out" and home["today"]["cost"] == pytest.approx(0.6)
    assert home["today"]["kwh"] == pytest.approx(3) and home["yesterday"]["cost"] == 0


def test_peaks_are_of_whole_quarters_and_of_their_day(tmp_path: Path) -> None:
    app = Told(tmp_path)
    app.utc += 300  # in the middle of a quarter: it tells nothing
    app.energy.more[GRID_OUT] += 5_000_000
    app.energy.follow(app.utc, 300, "UTC0", app.totals_mwh)
    app.hours(1, 1_000_000)
    app.hours(1, 3_000_000)
    app.hours(1, 500_000)
    index = len(app.board.outlets) + GRID_OUT

    def peak(day: int) -> Any:
        return app.energy.peaks[day]

    assert peak(0) is None
    assert peak(1)[index] == pytest.approx(3000, abs=5)
    best = peak(1)[index]
    app.hours(22, 0)  # into the next day
    assert peak(0)[index] == best and peak(1)[index] == 0
    app.hours(24, 0)
    assert peak(0)[index] == 0
    # two days without a look: nothing is known of either
    app.utc += 3 * 86_400
    app.up += 5
    app.hours(1, 0)
    assert peak(0) is None


def test_peaks_are_kept_over_a_restart(tmp_path: Path) -> None:
    app = Told(tmp_path)
    app.energy.follow(app.utc, 0, "UTC0", app.totals_mwh)
    app.hours(3, 2_000_000)
    first = list(app.energy.peaks[1])
    app.hours(1, 0)

    def start(utc: int) -> Told:
        again = Told(tmp_path)
        again.energy.more = list(app.energy.more)
        again.utc = utc
        mark = app.energy.mark(app.utc, app.totals_mwh())
        again.energy.accounts().load(again.energy, again.totals_mwh(), mark)
        again.energy.follow(utc, 0, "UTC0", again.totals_mwh)
        return again

    again = start(app.utc + 600)
    assert again.energy.peaks == [None, first]
    again.hours(1, 8_000_000)
    assert again.energy.peaks[1][len(again.board.outlets) + GRID_OUT] > 7900
    app = again
    app.hours(24, 400_000)
    best = list(app.energy.peaks[1])
    before = list(app.energy.peaks[0])
    assert start(app.utc).energy.peaks == [before, best]
    assert start(app.utc + 86_400).energy.peaks == [best, None]
    assert start(app.utc + 3 * 86_400).energy.peaks == [None, None]
    # what is damaged is none
    path = tmp_path / "peaks.dat"
    raw = bytearray(path.read_bytes())
    raw[9] ^= 1
    path.write_bytes(raw)
    assert start(app.utc).energy.peaks == [None, None]
    path.write_bytes(raw[:20])
    assert start(app.utc).energy.peaks == [None, None]


def test_peaks_are_written_only_when_they_change(tmp_path: Path) -> None:
    app = Told(tmp_path)
    app.energy.follow(app.utc, 0, "UTC0", app.totals_mwh)
    app.hours(2, 2_000_000)
    app.hours(2, 0)
    written = (tmp_path / "peaks.dat").stat().st_mtime_ns
    app.hours(10, 1_000_000)
    assert (tmp_path / "peaks.dat").stat().st_mtime_ns == written


def test_a_vehicle_s_hours_are_those_of_its_outlet(tmp_path: Path) -> None:
    app = Told(tmp_path)
    app.energy.follow(app.utc, 0, "UTC0", app.totals_mwh)
    app.hours(2, 0)
    assert '"of":"bed240"' in "".join(energytable.table(app, ["hours", "vehicle"]).parts())


def test_a_board_without_says_so(tmp_path: Path) -> None:
    with pytest.raises(gridcommand.Refused, match="exports nothing to a grid"):
        gridcommand.grid(FakeApp("simulated", str(tmp_path)), [], "console")
    with pytest.raises(SettingError, match="simulated exports nothing"):
        FakeApp("simulated", str(tmp_path)).settings.set("grid.enabled", True)
    settings = FakeApp("simulated_home", str(tmp_path)).settings
    settings.set("tariff.peak", "mon-fri 17:00-21:00")
    with pytest.raises(SettingError, match=r"tariff\.peak: .*mon-fri 17:00-21:00"):
        settings.set("tariff.peak", "at night")
    assert settings.get("tariff.peak") == "mon-fri 17:00-21:00"
    assert HOME_OUT == 0
