"""Modes, their profiles, the schedule and the battery's reserve, as parts of a real controller."""

from __future__ import annotations

import calendar
from types import SimpleNamespace
from typing import Any

import pytest

from host_tests.fakes.rig import WindowRig
from tools import cpython

cpython.install()

from firmware import board as boards  # noqa: E402
from firmware import events  # noqa: E402
from firmware.interfaces import modecommand  # noqa: E402
from firmware.power import battery, profile, station  # noqa: E402
from firmware.power.modes import Modes  # noqa: E402
from firmware.power.reserve import Reserve  # noqa: E402
from firmware.storage.settings import SettingError  # noqa: E402

BOARD = boards.load("simulated")
HOME = boards.load("simulated_home")
FRIDAY = calendar.timegm((2026, 11, 27, 21, 30, 0))


# -- profiles ------------------------------------------------------------------------------------


def test_a_profile_changes_what_it_says_and_nothing_else() -> None:
    plain = profile.parse("", 2, BOARD)
    found = profile.parse("reserve=45.5  total_w=3000 priorities=bed1,cabin2", 2, BOARD)
    assert (found.total_w, found.reserve, found.order) == (3000, 455, ("bed1", "cabin2"))
    assert (found.leg_ma, found.quiet, found.quiet_w) == (plain.leg_ma, (1320, 360), plain.quiet_w)


@pytest.mark.parametrize("index", range(len(profile.NAMES)))
def test_no_profile_is_above_the_board(index: int) -> None:
    for board in (BOARD, HOME):
        found = profile.parse("", index, board)
        assert found.total_w <= board.total_w and found.leg_ma <= board.leg_limit_ma
        assert 0 <= found.reserve <= 900


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("total_w=9601", "allowed: 100 to 9600 W"),
        ("total_w=99", "allowed: 100 to 9600 W"),
        ("total_w=lots", "allowed: 100 to 9600 W"),
        ("total_w=nan", "allowed: 100 to 9600 W"),
        ("leg_a=41", "allowed: 1 to 40.0 A"),
        ("reserve=91", "allowed: 0 to 90 %"),
        ("reserve=-1", "allowed: 0 to 90 %"),
        ("quiet=22:00", "allowed: like 22:00-6:00, or none"),
        ("quiet=6:00-6:00", "allowed: like 22:00-6:00, or none"),
        ("quiet=22:00-25:00", "allowed: like 22:00-6:00, or none"),
        ("priorities=bed1,bed9", "some of cabin1,cabin2,bed1,bed2,bed240, each once"),
        ("priorities=bed1,bed1", "each once"),
        ("limit=3", "words like total_w=3000"),
        ("total_w", "words like total_w=3000"),
        ("reserve=3 reserve=4", "reserve is said twice"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(profile.ProfileError) as refused:
        profile.parse(text, 0, BOARD)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("quiet", "minute", "is_quiet"),
    [
        ("22:00-6:00", 1319, False),
        ("22:00-6:00", 1320, True),
        ("22:00-6:00", 0, True),
        ("22:00-6:00", 359, True),
        ("22:00-6:00", 360, False),
        ("1:00-2:00", 60, True),
        ("1:00-2:00", 120, False),
        ("none", 0, False),
    ],
)
def test_quiet_hours_go_over_midnight(quiet: str, minute: int, is_quiet: bool) -> None:
    assert profile.parse("quiet=" + quiet, 0, BOARD).is_quiet(minute) is is_quiet


# -- parts of a station --------------------------------------------------------------------------


class Export:
    """A controller in the simulated truck with a station of modes and battery."""

    def __init__(self, wall: int = FRIDAY, **settings: Any) -> None:
        self.rig = WindowRig(settings={k.replace("__", "."): v for k, v in settings.items()})
        rig = self.rig
        self.app = SimpleNamespace(
            board=rig.board,
            settings=rig.settings,
            controller=rig.controller,
            journal=rig.journal,
            clock=rig.clock,
            fast=rig.lane,
        )
        rig.clock.offset_s = wall
        self.station = station.Station(self.app)
        rig.controller.station = self.station
        self.station.add("battery", Reserve(self.station))
        self.station.add("modes", Modes(self.station))
        rig.controller.configure()
        self.battery: Any = self.station.battery

    def run(self, seconds: float) -> None:
        """Outer lane once a second beside it."""
        whole = int(seconds)
        for _ in range(whole):
            self.rig.run(1.0)
            for part in self.station.parts:
                part.run_s(self.rig.clock.now_s)

    def jump(self, seconds: int) -> None:
        """The time of day goes on, nothing else."""
        self.rig.clock.offset_s += seconds
        for part in self.station.parts:
            part.run_s(60)

    def limit(self) -> tuple[int, int]:
        dispatch = self.rig.controller.dispatch
        return dispatch.total.limit, dispatch.legs[0].limit

    def records(self, kind: int) -> list[tuple[int, int, int]]:
        """(reason, value, source) of a kind."""
        return [(r[3], r[4], r[5]) for r in self.rig.journal.since(0) if r[1] == kind]

    def command(self, line: str) -> dict[str, Any]:
        name, *words = line.split()
        asked = getattr(modecommand, name)
        answer: dict[str, Any] | None = asked(self.app, words, "console")
        self.app.settings.tell()
        return asked(self.app, [], "console") if answer is None else answer


BASE = (9600, 40_000)


def test_a_mode_sets_limits_and_priorities_and_switches_nothing_on() -> None:
    export = Export(mode__camp="total_w=3000 leg_a=20 priorities=bed240,bed1")
    assert export.limit() == BASE
    answer = export.command("mode camp")
    assert export.limit() == (3000, 20_000)
    assert answer["priorities"][:2] == ["bed240", "bed1"]
    assert answer["mode"] == "camp" and "mode.default" in answer["unsaved"]
    assert export.records(events.MODE) == [(events.COMMAND, 2, events.BY_CONSOLE)]
    export.rig.run(5)
    assert all(export.rig.state(x.name) == "off" for x in BOARD.outlets)
    export.command("mode outlets")
    assert export.limit() == BASE
    assert export.command("mode")["priorities"] == ["cabin1", "cabin2", "bed240", "bed1", "bed2"]


def test_outlets_that_a_mode_does_not_name_keep_their_own_order_behind_it() -> None:
    export = Export(
        mode__camp="priorities=bed240,cabin2",
        **{"cabin1.priority": 9, "bed1.priority": 9, "bed2.priority": 8},
    )
    export.command("mode camp")
    assert export.command("mode")["priorities"] == ["bed240", "cabin2", "bed2", "cabin1", "bed1"]
    assert max(export.rig.controller.priorities) <= 9
    export.app.settings.set("bed1.priority", 7)
    assert export.command("mode")["priorities"] == ["bed240", "cabin2", "bed1", "bed2", "cabin1"]


def test_a_mode_is_never_above_what_the_owner_has_set() -> None:
    export = Export(total__limit_w=2000, leg__limit_a=10)
    export.command("mode worksite")
    assert export.limit() == (2000, 10_000)
    export.app.settings.set("total.limit_w", 1500)
    export.rig.controller.configure()
    assert export.limit()[0] == 1500


def test_what_no_longer_fits_is_shed_and_nothing_trips() -> None:
    export = Export(mode__camp="total_w=2000")
    rig = export.rig
    for name in ("cabin1", "bed2"):
        rig.do("on", name)
        rig.load[name] = 12.0
    rig.run(10)
    export.command("mode camp")
    rig.run(400)
    assert (rig.state("cabin1"), rig.state("bed2")) == ("on", "shed")


def test_the_selftest_agrees_with_the_limits_of_a_mode() -> None:
    export = Export(mode__camp="total_w=2000 leg_a=15")
    export.command("mode camp")
    controller = export.rig.controller
    assert all(controller.limits_agree(i) for i in range(6))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("mode grid", "unknown mode 'grid' (there are: outlets worksite camp)"),
        ("mode camp now", "expected: mode <one of outlets worksite camp>"),
        ("battery", "set battery.usable_kwh first"),
        ("storm on", "set battery.usable_kwh first"),
    ],
)
def test_a_command_that_cannot_be_is_refused(line: str, says: str) -> None:
    export = Export()
    with pytest.raises(modecommand.Refused) as refused:
        export.command(line)
    assert says in str(refused.value)


# -- quiet hours and the schedule ----------------------------------------------------------------


def test_quiet_hours_lower_the_total_and_end() -> None:
    export = Export()
    export.command("mode camp")
    export.jump(0)
    assert export.limit()[0] == 5000
    export.jump(1800)  # 22:00
    assert export.limit()[0] == 1500
    assert export.records(events.MODE)[-1] == (events.QUIET, 2, events.BY_SCHEDULE)
    assert export.command("mode")["quiet"] is True
    export.jump(8 * 3600)
    assert export.limit()[0] == 5000


def test_without_the_time_of_day_there_are_no_quiet_hours_and_no_schedule() -> None:
    export = Export(wall=0, mode__schedule="daily 0:00-24:00 camp", mode__camp="quiet=0:00-23:59")
    export.run(3)
    assert export.command("mode")["mode"] == "outlets"
    assert export.command("mode")["next_min"] is None
    assert export.limit() == BASE


def test_the_schedule_changes_the_mode_and_a_command_holds_until_it_does_again() -> None:
    export = Export(mode__schedule="fri 22:00-6:00 camp; sat 8:00-20:00 worksite")
    export.jump(0)
    found = export.command("mode")
    assert (found["mode"], found["next"], found["next_min"]) == ("outlets", "camp", 30)
    export.jump(1800)
    assert export.command("mode")["mode"] == "camp"
    assert export.records(events.MODE)[-1][2] == events.BY_SCHEDULE or export.limit()[0] == 1500
    export.command("mode worksite")
    assert export.app.settings.get("mode.default") == "outlets"
    export.jump(3600)
    assert export.command("mode")["mode"] == "worksite"
    export.jump(7 * 3600)  # sat 6:00: the camp's span ends
    assert export.command("mode")["mode"] == "outlets"
    export.jump(2 * 3600)
    assert export.command("mode")["mode"] == "worksite"


def test_a_schedule_that_is_taken_away_leaves_the_default() -> None:
    export = Export(mode__schedule="daily 0:00-24:00 camp")
    export.jump(0)
    assert export.command("mode")["mode"] == "camp"
    export.app.settings.set("mode.schedule", "")
    assert export.command("mode")["mode"] == "outlets" and export.limit() == BASE


def test_a_schedule_that_is_changed_holds_at_once_over_what_was_chosen() -> None:
    export = Export(mode__schedule="daily 0:00-24:00 camp")
    export.jump(0)
    export.command("mode worksite")
    export.app.settings.set("total.limit_w", 4000)  # nothing of ours: the choice stays
    export.run(1)
    assert export.command("mode")["mode"] == "worksite"
    export.app.settings.set("mode.schedule", "daily 0:00-23:59 camp")
    export.run(1)
    assert export.command("mode")["mode"] == "camp"


def test_the_schedule_goes_by_the_minutes_of_the_clock_and_misses_none() -> None:
    """The task comes once in somewhat more than a second, and may be late: what counts is that a
    minute has begun, not that somebody looked in its first second."""
    export = Export(mode__schedule="fri 22:00-6:00 camp")
    export.jump(0)
    clock = export.app.clock
    modes: Any = export.station.modes
    uptime = 7
    for utc in (FRIDAY + 1798, FRIDAY + 1803):  # nobody looks at 22:00:00
        uptime += 5
        clock.offset_s = utc - clock.now_s
        modes.run_s(uptime)
    assert export.command("mode")["mode"] == "camp"


def test_a_clock_that_steps_back_over_an_edge_follows_the_time_again() -> None:
    export = Export(mode__schedule="fri 22:00-6:00 camp")
    seen = []
    for step in (1800, -10, 10, 3600, -5000):
        export.jump(step)
        seen.append(export.command("mode")["mode"])
    assert seen == ["camp", "outlets", "camp", "camp", "outlets"]


def test_the_hour_that_comes_twice_and_the_one_that_is_missing() -> None:
    """Berlin: 2026-03-29 2:00 is 3:00; 2026-10-25 3:00 is 2:00 again."""
    zone = "CET-1CEST,M3.5.0,M10.5.0/3"
    for day, edge in (((2026, 3, 29), 60), ((2026, 10, 25), 120)):
        utc = calendar.timegm((*day, 0, 0, 0))
        export = Export(wall=utc, time__zone=zone, mode__schedule="sun 3:00-4:00 camp")
        minutes = []
        for minute in range(240):
            export.jump(60 if minute else 0)
            if export.command("mode")["mode"] == "camp":
                minutes.append(minute)
        assert minutes == list(range(edge, edge + 60)), day


def test_a_schedule_that_overlaps_is_refused_and_changes_nothing() -> None:
    settings = Export().app.settings
    with pytest.raises(SettingError) as refused:
        settings.set("mode.schedule", "mon 9:00-12:00 camp; mon 11:00-13:00 worksite")
    assert "overlap on mon" in str(refused.value)
    assert settings.get("mode.schedule") == ""


# -- battery -------------------------------------------------------------------------------------


def watched(**settings: Any) -> Export:
    return Export(battery__usable_kwh=1, mode__outlets="reserve=20", **settings)


def test_the_reserve_warns_sheds_by_priority_and_stops() -> None:
    export = watched(shed__min_off_s=0, shed__restore_s=10)
    rig = export.rig
    export.command("battery soc 26")
    for name in ("cabin1", "cabin2", "bed1", "bed2", "bed240"):
        assert rig.do("on", name) == ""
        rig.load[name] = 5.0
    seen: dict[int, int] = {}
    for _ in range(150):
        export.run(1)
        level = export.battery.level
        seen.setdefault(level, export.battery.permille)
        if level == battery.EMPTY:
            break
    assert list(seen) == [battery.FULL, battery.LOW, battery.SHED, battery.EMPTY]
    assert [seen[x] for x in seen] == pytest.approx([259, 249, 219, 199], abs=2)
    assert all(rig.state(x.name) == "shed" for x in BOARD.outlets)
    assert "20 % are kept back" in rig.do("on", "bed1", force=True)
    log = rig.log()
    assert log.index("bed1 shed reserve") < log.index("cabin1 shed reserve")
    # nothing comes back before the level has risen
    rig.load = dict.fromkeys(rig.load, 0.5)
    export.run(30)
    assert all(rig.state(x.name) == "shed" for x in BOARD.outlets)
    export.command("battery soc 60")
    export.command("battery soc 60")  # believed when it is told twice
    export.run(60)
    assert rig.state("cabin1") == "on"


def test_a_state_of_charge_that_jumps_is_unknown_until_it_is_told_again() -> None:
    export = watched()
    export.command("battery soc 80")
    answer = export.command("battery soc 30")
    assert "unknown until it is told again" in answer["doubt"]
    assert answer["soc_percent"] is None and answer["counted_percent"] == 80
    export.run(2)
    assert export.battery.level == battery.LOW
    assert export.records(events.BATTERY)[-2:] == [
        (events.DOUBT, battery.LOW, events.BY_CONSOLE),
        (events.RESERVE, battery.LOW, events.BY_CONTROL),
    ]
    assert export.command("battery soc 31")["soc_percent"] == 31


def test_a_storm_watch_raises_the_reserve_and_ends() -> None:
    export = watched(battery__storm=70)
    export.command("battery soc 65")
    export.run(2)
    assert export.battery.level == battery.FULL
    on = export.command("storm on")
    assert (on["storm"], on["reserve_percent"]) == (True, 70)
    assert "battery.storm_watch" in on["unsaved"]
    export.run(2)
    assert export.battery.level == battery.EMPTY
    off = export.command("storm off")
    assert (off["storm"], off["reserve_percent"]) == (False, 20)
    assert "battery.storm_watch" not in off["unsaved"]
    export.run(2)
    assert export.battery.level == battery.FULL
    assert [x[0] for x in export.records(events.BATTERY)].count(events.STORM) == 2


def test_a_storm_watch_that_was_saved_outlasts_a_power_cut() -> None:
    """Storms are when the power goes: the reserve is no smaller after it."""
    export = watched(battery__storm=70, battery__storm_watch=True)
    found = export.command("battery")
    assert found["storm"] is True and found["reserve_percent"] == 70
    export.command("battery soc 65")
    export.run(2)
    assert export.battery.level == battery.EMPTY


def test_another_capacity_makes_the_state_of_charge_unknown_until_it_is_told() -> None:
    """Per mille of 1 kWh are not those of 1.5 kWh, and nobody knows what the extender holds."""
    export = watched()
    export.command("battery soc 80")
    export.run(1)
    assert export.battery.level == battery.FULL
    export.app.settings.set("battery.extender_kwh", 0.5)
    export.run(2)
    assert export.command("battery")["soc_percent"] is None
    assert export.battery.level == battery.LOW
    # and the first report is believed, however far it is from what was counted
    answer = export.command("battery soc 30")
    assert "doubt" not in answer and answer["soc_percent"] == 30
    assert answer["capacity_kwh"] == 1.5


@pytest.mark.parametrize("kwh", [0.001, 0.009, 0.5, 500])
def test_any_capacity_that_can_be_set_can_be_counted(kwh: float) -> None:
    """Within 2^30, which the control lane may not leave, and without a division by nothing."""
    export = Export(battery__usable_kwh=kwh, battery__extender_kwh=kwh)
    export.command("battery soc 50")
    found = export.battery.battery
    assert found.capacity_wh * 1000 < 1 << 30
    for _ in range(3600):
        found.second(2 if kwh < 1 else 50_000)
    assert 0 <= found.permille <= 500


def test_a_battery_that_was_never_told_of_warns_and_sheds_nothing() -> None:
    export = watched()
    rig = export.rig
    rig.do("on", "bed1")
    rig.load["bed1"] = 10
    export.run(60)
    assert export.battery.level == battery.LOW
    assert rig.state("bed1") == "on"
    assert export.command("battery")["left_h"] is None


@pytest.mark.parametrize("word", ["-1", "100.1", "nan", "full", "1e3", "80 now"])
def test_a_state_of_charge_that_cannot_be_is_refused(word: str) -> None:
    export = watched()
    with pytest.raises(modecommand.Refused):
        export.command("battery soc " + word)
    assert export.command("battery")["soc_percent"] is None


def test_the_mode_s_reserve_holds() -> None:
    export = watched(mode__camp="reserve=50")
    export.command("battery soc 40")
    export.run(2)
    assert export.battery.level == battery.FULL
    export.command("mode camp")
    export.run(2)
    assert export.battery.level == battery.EMPTY


def test_a_day_of_thirty_kwh_leaves_the_days_that_the_figures_say() -> None:
    """123 kWh at 30 kWh a day, less 8 % of losses: 3.8 days, of which 20 % are kept back."""
    found = battery.Battery()
    found.configure(123_000, 0, 200)
    found.told(1000)
    for second in range(86_400):
        found.second(1250)
        if second % 3600 == 0:
            found.told(found.permille)
    assert found.permille == pytest.approx(1000 - 30_000 * 1.08 / 123, abs=2)
    hours = found.left_s() / 3600
    assert hours == pytest.approx((123 * 0.8 - 32.4) / 1.35, rel=0.02)
