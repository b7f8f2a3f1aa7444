"""Export to the grid above the real controller: permissive, set point, what stops it, and an
inverter that does not do as told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from host_tests.fakes import machine
from host_tests.fakes.household import Keeper
from host_tests.fakes.rig import WindowRig, kernel

from firmware import events  # isort: skip
from firmware.power import flows, grid, station  # isort: skip
from firmware.power.export import Exporter  # isort: skip
from firmware.storage.energy import FLOWS, GRID_OUT, Energy  # isort: skip
from firmware.storage.settings import SettingError  # isort: skip

SETTINGS = {
    "grid.enabled": True,
    "grid.profile": "ieee1547",
    "grid.power_w": 4000,
    "grid.rating_w": 10_000,
}
PERMIT = 1
ISLAND = 9


class Sense:
    """The grid as sensing/gridsense.py shows it."""

    def __init__(self) -> None:
        self.permille = [1000, 1000]
        self.low = self.high = 1000
        self.mhz = self.quick_mhz = 60_000
        self.good = True
        self.broken = False

    def window(self, ms: int) -> None:
        """Nothing is measured here."""

    def configure(self) -> None:
        """There is nothing to choose."""

    def volts(self, one: int, two: int) -> None:
        self.permille = [one, two]
        self.low, self.high = min(one, two), max(one, two)


class Contacts:
    """Transfer switch and inverter. `outputs` and `aux` are the grid's contact as told and as it
    is; `point` is the set point in permille."""

    def __init__(self) -> None:
        self.outputs = self.aux = 1
        self.point = 0
        self.log: list[tuple[str, int]] = []

    def seen(self) -> int:
        return self.aux

    @property
    def permitted(self) -> bool:
        return machine.levels.get(PERMIT) == 1

    def set_point(self, permille: int) -> None:
        if permille != self.point:
            self.log.append(("point", permille))
        self.point = permille


class Plant(WindowRig):
    """The controller with an inverter of 10 kW behind the charge port. `stuck_w`: it gives so much
    whatever it is told."""

    def __init__(self, start: bool = True, before: Plant | None = None, **settings: Any) -> None:
        self.station: Any = None
        self.stuck_w = 0
        self.rating_w = 10_000
        self.follows = 1 << 20  # W that its power changes by in a window
        self.gives = 0.0
        named = {name.replace("__", "."): value for name, value in settings.items()}
        both = {**SETTINGS, **named}
        both["grid.power_w"] = both.pop("grid.power_w")  # last: it may not be above the others
        super().__init__("simulated_home", both, before)
        self.energy = Energy("", len(self.board.outlets), FLOWS)
        self.fast = self.lane
        self._ended_badly = False
        self.keeper = Keeper(True)
        self.station = part = station.Station(self)
        self.controller.station = part
        part.contacts = Contacts()
        part.sense = Sense()
        part.add("flows", flows.Flows(part))
        self.export = Exporter(part)
        part.add("grid", self.export)
        self.second = self.half = 0
        if start:
            assert not self.export.start(events.BY_CONSOLE)

    def amps(self, name: str) -> float:
        if name.startswith("home_") and self.station is not None:
            contacts = self.station.contacts
            watts = contacts.point * self.rating_w / 1000
            step = min(max(watts - self.gives, -self.follows), self.follows)
            if name == "home_l1":  # once a window
                self.gives = self.gives + step if contacts.permitted else 0.0
            return max(self.gives, self.stuck_w) / 240 or super().amps(name)
        return super().amps(name)

    def window(self) -> None:
        super().window()
        if self.station is not None and self.t_us // 500_000 != self.half:
            self.half = self.t_us // 500_000
            self.controller.close_next()
        if self.station is not None and self.t_us // 1_000_000 != self.second:
            self.second = self.t_us // 1_000_000
            for part in self.station.parts:
                part.run_s(self.second)

    def soon(self, state: int = grid.EXPORTING) -> Plant:
        """As if it had waited and risen already."""
        self.run(0.1)
        logic = self.export.logic
        logic._good_ms = 299_900
        self.run(0.3)
        if state == grid.EXPORTING:
            logic._ramp_ms = 299_900
            self.run(12)
        assert logic.state == state, self.said()
        return self

    def on_level(self, gpio: int, level: int) -> None:
        if gpio == PERMIT and self.station is not None:
            self.station.contacts.log.append(("permit", level))

    def hurry(self) -> None:
        """As if the grid had been good for nearly 300 s."""
        self.export.logic._good_ms = 299_500
        self.run(2)

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = self.export.report()["grid"]
        return found


def test_it_waits_rises_and_gives_what_is_asked() -> None:
    plant = Plant()
    plant.run(1)
    assert plant.said()["state"] == "waiting" and 297 <= plant.said()["waits_s"] <= 300
    plant.run(301)
    assert plant.station.contacts.permitted
    plant.run(150)
    assert plant.said()["set_point_w"] == pytest.approx(2500, abs=60)
    plant.run(151)
    said = plant.said()
    assert (said["state"], said["set_point_w"]) == ("exporting", 4000)
    assert plant.station.contacts.point == 400
    assert said["power_w"] == pytest.approx(4000, rel=0.02)
    assert "- export none" in plant.log()


def test_it_is_off_unless_enabled_and_started() -> None:
    for settings in ({"grid__enabled": False}, {"grid__profile": "none"}):
        plant = Plant(start=False, **settings)
        assert "export is off" in plant.export.start(events.BY_CONSOLE)
    plant = Plant(start=False)
    plant.hurry()
    assert plant.said()["state"] == "off" and not plant.station.contacts.log
    plant = Plant(start=False, grid__power_w=0)
    assert "grid set" in plant.export.start(events.BY_CONSOLE)


def test_auto_starts_by_itself_but_not_after_a_crash() -> None:
    assert Plant(start=False, grid__start="auto").export.wanted
    crashed = Plant(start=False)
    crashed._ended_badly = True
    crashed.settings.set("grid.start", "auto")
    crashed.settings.set("grid.enabled", False)
    crashed.settings.set("grid.enabled", True)
    assert not crashed.export.wanted


def test_auto_waits_for_its_owner_when_what_was_latched_is_not_known() -> None:
    """The newest record of the latches was damaged: it may have said not_ceased."""
    doubtful = Plant(start=False)
    doubtful.keeper = Keeper(False)
    doubtful.settings.set("grid.start", "auto")
    doubtful.settings.set("grid.enabled", False)
    doubtful.settings.set("grid.enabled", True)
    assert not doubtful.export.wanted
    assert doubtful.export.start(events.BY_CONSOLE) == ""


@pytest.mark.parametrize(
    ("stage", "volts", "mhz", "reason"),
    [
        ("OV2", (1000, 1210), 60_000, "overvoltage"),
        ("UV2", (440, 1000), 60_000, "undervoltage"),
        ("OF2", (1000, 1000), 62_100, "frequency"),
        ("UF2", (1000, 1000), 56_400, "frequency"),
    ],
)
def test_a_bad_grid_takes_the_permission_and_the_set_point(
    stage: str, volts: tuple[int, int], mhz: int, reason: str
) -> None:
    plant = Plant().soon()
    plant.station.sense.volts(*volts)
    plant.station.sense.mhz = plant.station.sense.quick_mhz = mhz
    plant.run(0.16)
    contacts = plant.station.contacts
    assert contacts.log[-2:] == [("permit", 0), ("point", 0)]  # in this order
    assert plant.said()["why"] == stage
    assert plant.log()[-1] == f"- export {reason}"
    plant.station.sense = Sense()
    plant.run(299)
    assert not contacts.permitted
    plant.run(2)
    assert contacts.permitted, "the grid has been good for 300 s"


def test_what_stops_it_within_a_turn() -> None:
    def island(plant: Plant) -> None:
        machine.levels[ISLAND] = 1

    def isolated(plant: Plant) -> None:
        plant.station.contacts.aux = 0

    def unfit(plant: Plant) -> None:
        plant.controller.unfit = 3

    for what, act in (("island", island), ("home", isolated), ("selftest", unfit)):
        plant = Plant(grid__island_input="high").soon()
        act(plant)
        plant.export.turn(8)
        assert not plant.station.contacts.permitted, what
        assert plant.said()["why"] == what
        plant.hurry()
        assert not plant.station.contacts.permitted, "as long as it lasts"


def test_a_dead_sampler_stops_it() -> None:
    plant = Plant().soon()
    plant.sampling = False
    plant.run(0.15)
    assert not plant.station.contacts.permitted and plant.said()["why"] == "sensor"


def test_a_voltage_without_a_frequency_stops_it() -> None:
    plant = Plant().soon()
    plant.station.sense.mhz = 0
    plant.run(0.4)
    assert plant.station.contacts.permitted
    plant.run(0.2)
    assert plant.said()["why"] == "sensor"


def test_the_others_and_the_battery_come_first() -> None:
    plant = Plant(grid__power_w=9000, grid__most_w=9000).soon()
    assert plant.said()["set_point_w"] == 9000
    plant.load["bed240"] = 35.0  # 8400 W of 11 500
    assert not plant.do("on", "bed240")
    plant.run(9)
    said = plant.said()
    assert said["set_point_w"] == pytest.approx(3100, abs=60)
    assert said["power_w"] + 8400 < 11_600
    # 11 500 W, but a leg: 48 A less 25
    plant.do("off", "bed240")
    plant.load["bed1"] = 19.0
    plant.load["cabin1"] = 12.0
    assert not plant.do("on", "bed1") and not plant.do("on", "cabin1")
    plant.run(8)
    assert plant.state("bed1") == plant.state("cabin1") == "on"
    assert plant.said()["room_w"] == pytest.approx((48 - 31) * 240, abs=120)

    class Battery:
        level = 1

    plant.station.battery = Battery()
    plant.run(0.1)
    assert plant.said()["set_point_w"] == 0
    plant.station.battery = None
    plant.run(0.2)
    assert 0 < plant.said()["set_point_w"] < 300, "it rises slowly again"


@pytest.mark.parametrize("known", [True, False])
def test_export_falls_first_and_then_the_outlet_closes(known: bool) -> None:
    """An outlet is never refused for what is exported, nor do both pass the source's limit."""
    plant = Plant(grid__power_w=9600, grid__most_w=9600, grid__rating_w=10_000, leg__limit_a=40)
    plant.load["bed1"] = 18.0
    if known:
        assert not plant.do("on", "bed1")
        plant.run(10)
        assert not plant.do("off", "bed1")
    plant.soon().run(15)
    assert plant.said()["set_point_w"] == 9600  # 40 A on each leg: all of it
    plant.follows = 60  # 3600 W a second
    before = plant.journal.last_seq
    assert not plant.do("on", "bed1")
    assert plant.state("bed1") == "off" and not plant.coil("bed1"), "the inverter needs its time"
    leg = plant.controller.dispatch.legs[0]
    most = 0
    while plant.state("bed1") == "off":
        plant.window()
        most = max(most, leg.load)
        assert plant.journal.last_seq - before < 3
    # as much as it drew before; what nobody has seen yet may be all of its rating
    need = 18 if known else 20
    assert plant.said()["set_point_w"] == pytest.approx((40 - need) * 240, abs=60)
    plant.run(1)
    assert plant.state("bed1") == "on" and max(most, leg.load) < 40_400
    plant.run(20)
    assert plant.said()["set_point_w"] == pytest.approx((40 - 18) * 240, abs=60)
    kinds = [row[1] for row in plant.journal.since(before)]
    assert events.REFUSED not in kinds and events.SHED not in kinds


def test_an_inverter_that_does_not_make_room_does_not_hold_an_outlet_off() -> None:
    plant = Plant(grid__power_w=9600, grid__most_w=9600, leg__limit_a=40).soon()
    plant.run(5)
    plant.load["bed1"] = 10.0
    plant.follows = 0
    assert not plant.do("on", "bed1")
    assert 1.9 < plant.until(lambda: plant.coil("bed1"), 5) < 2.7


def test_off_takes_back_what_waits_for_export_to_fall() -> None:
    plant = Plant(grid__power_w=9600, grid__most_w=9600, leg__limit_a=40).soon()
    plant.run(5)
    plant.follows = 0
    assert not plant.do("on", "bed1") and plant.controller.pending
    assert not plant.do("off", "bed1")
    plant.run(5)
    assert plant.state("bed1") == "off" and not plant.controller.pending


def test_what_still_flows_without_permission_makes_no_room() -> None:
    plant = Plant(grid__power_w=9600, grid__most_w=9600, leg__limit_a=40).soon()
    plant.run(5)
    assert plant.controller.dispatch.yields == 3 << plant.index("home_l1")
    plant.stuck_w = 9600
    plant.export.stop(events.BY_CONSOLE)
    plant.run(0.05)
    assert plant.controller.dispatch.yields == 0
    leg = plant.controller.dispatch.legs[0]
    assert plant.controller.dispatch.expected(leg) == pytest.approx(40_000, rel=0.01)


@pytest.mark.parametrize(
    "settings", [("grid.profile", "supply.hz"), ("supply.hz", "grid.profile")]
)
def test_a_profile_for_60_hz_is_refused_at_50(settings: tuple[str, str]) -> None:
    plant = Plant(start=False, grid__profile="none")
    wanted = {"grid.profile": "ieee1547", "supply.hz": 50}
    plant.settings.set(settings[0], wanted[settings[0]])
    with pytest.raises(SettingError, match=r"ieee1547 is for 60 Hz, and there is no profile"):
        plant.settings.set(settings[1], wanted[settings[1]])
    assert str(plant.settings.get(settings[1])) in ("0", "none")


def test_a_60_hz_profile_is_not_started_on_another_grid() -> None:
    plant = Plant(start=False)
    plant.station.sense.mhz = 49_980
    assert plant.export.start(events.BY_CONSOLE) == (
        "grid.profile ieee1547 is for 60 Hz, and the grid has 50.0 Hz"
    )
    plant.settings._values["supply.hz"] = 50  # stored before anybody looked
    plant.export.configure()
    assert "is for 60 Hz, and supply.hz is 50" in plant.export.start(events.BY_CONSOLE)
    assert not plant.said()["enabled"] and not plant.export.wanted


def test_settings_take_hold_while_it_exports() -> None:
    plant = Plant().soon()
    plant.settings.set("grid.most_w", 1500)
    plant.run(0.1)
    assert plant.said()["set_point_w"] == 1500
    plant.settings.set("grid.enabled", False)
    plant.run(0.1)
    assert plant.said()["state"] == "off" and not plant.station.contacts.permitted


def test_stop_ends_it_at_once_and_says_who() -> None:
    plant = Plant().soon()
    plant.export.stop(events.BY_MQTT)
    plant.run(0.05)
    assert not plant.station.contacts.permitted
    record = plant.journal.get(plant.journal.last_seq)
    assert record[1:6] == (events.EXPORT, -1, events.COMMAND, grid.OFF, events.BY_MQTT)


def test_an_inverter_that_does_not_stop_is_latched_over_a_reset() -> None:
    plant = Plant().soon()
    plant.stuck_w = 4000
    plant.station.sense.volts(0, 0)
    plant.run(0.4)
    export = plant.export
    assert export.stray and plant.said()["state"] == "fault"
    assert plant.said()["why"] == "not_ceased"
    assert plant.state("home_l1") == plant.state("home_l2") == "fault"
    assert plant.reason("home_l1") == "not_ceased"
    assert "home_l1 fault not_ceased" in plant.log()
    assert plant.log().count("- export not_ceased") == 1
    assert plant.state("bed1") == "off" and not plant.controller.contactor_blocked
    plant.station.sense = Sense()
    plant.hurry()
    assert not plant.station.contacts.permitted
    assert "still gives" in export.reset(events.BY_CONSOLE)
    assert "fault" in export.start(events.BY_CONSOLE)
    plant.stuck_w = 0
    plant.run(0.5)
    again = Plant(start=False, before=plant)
    again.run(1.5)
    assert again.said()["state"] == "fault", "it is known after a reset"
    assert not again.export.reset(events.BY_CONSOLE)
    assert again.state("home_l1") == again.state("home_l2") == "off"
    assert not again.export.wanted, "somebody has to start it"
    assert not again.export.start(events.BY_CONSOLE)
    again.soon(grid.RAMP)


def test_an_inverter_that_begins_unasked_is_found() -> None:
    plant = Plant(start=False)
    plant.run(1)
    plant.stuck_w = 2000
    plant.run(0.4)
    assert plant.said()["state"] == "off"
    plant.run(0.4)
    assert plant.said()["state"] == "fault"


@pytest.mark.parametrize("watts", [150, 290])
def test_a_small_one_is_found_by_its_mean(watts: int) -> None:
    plant = Plant(start=False)
    plant.run(1)
    plant.stuck_w = watts
    plant.run(4)
    assert plant.said()["state"] == "off"
    plant.run(12)
    assert plant.said()["state"] == "fault" and plant.said()["power_w"] > 120
    assert "the inverter still gives" in plant.export.reset(events.BY_CONSOLE)
    assert plant.log().count("home_l1 fault not_ceased") == 1
    plant.stuck_w = 0
    plant.run(6)
    assert not plant.export.reset(events.BY_CONSOLE)
    plant.run(60)
    assert plant.said()["state"] == "off"


def test_what_noise_and_crosstalk_show_is_no_inverter() -> None:
    plant = Plant(start=False)
    plant.run(1)
    plant.stuck_w = 80
    plant.run(300)
    assert plant.said()["state"] == "off" and plant.said()["power_w"] == 0
    plant.stuck_w = 2000  # what was large, and has gone, leaves nothing behind in the mean
    plant.run(0.3)
    plant.stuck_w = 80
    plant.run(30)
    assert plant.said()["state"] == "off"


def test_the_end_of_an_export_is_no_stray() -> None:
    plant = Plant().soon()
    plant.export.stop(events.BY_CONSOLE)
    plant.run(60)
    assert plant.said()["state"] == "off" and not plant.export.stray


def test_a_broken_grid_sensor_stops_it_and_is_the_reason() -> None:
    plant = Plant().soon()
    plant.station.sense.broken = True
    plant.run(0.1)
    assert plant.said()["state"] == "ceased" and plant.said()["why"] == "sensor"


def test_an_inverter_above_its_set_point_is_stopped() -> None:
    plant = Plant().soon()
    plant.stuck_w = 5000
    plant.run(9)
    assert plant.station.contacts.permitted
    plant.stuck_w = 4600  # 10 % and 300 W are its own
    plant.run(1)
    plant.stuck_w = 5000
    plant.run(11)
    assert plant.said()["why"] in ("above_set_point", "not_ceased")
    assert not plant.station.contacts.permitted
    assert "- export total" in plant.log()


def test_a_trip_of_the_charge_port_stops_it() -> None:
    plant = Plant().soon()
    plant.controller._trip(plant.controller.outlets[5], events.PEAK, 99_000, events.BY_FAST)
    plant.run(0.05)
    assert plant.said()["why"] == "charge_port"
    plant.hurry()
    assert not plant.station.contacts.permitted


@pytest.mark.parametrize("how", ["peak", "short_time", "waits", "lease", "ground"])
def test_the_fast_lane_takes_the_permissive_away_by_itself(how: str) -> None:
    """In the scan that trips: the control lane need not come round for that."""
    mode = "wait" if how == "waits" else "open"
    plant = Plant(relay__break_mode=mode, relay__wait_ms=100).soon()
    lane, contacts = plant.lane, plant.station.contacts
    assert contacts.permitted and lane.permits()
    plant.controlling = False
    pole = lane.base(plant.board.outlets[plant.index("home_l2")].channel)
    if how == "lease":
        lane.st[kernel.LEASE] = 0
    elif how == "ground":
        lane.reads_pins = True
        lane.watch(8, True, 3 << plant.index("home_l1"))
        lane.st[kernel.PINS] = 1 << 8
    elif how == "short_time":
        lane.st[pole + kernel.C_SHORT] = lane.st[pole + kernel.C_SHORT_MAX] = 1
        lane.st[pole + kernel.C_SQ] = 1 << 20
        kernel._close(lane.st, 1, 0)
    elif how == "waits":
        lane.st[pole + kernel.C_BREAK] = 1000
        lane.set_break(plant.board.outlets[plant.index("home_l2")].channel, 1000, 100)
    if how in ("peak", "waits"):
        lane.codes[plant.board.outlets[plant.index("home_l2")].channel] = 4090
    log = len(contacts.log)
    lane.scan()
    lane.scan()
    assert not contacts.permitted and not lane.permits() and contacts.log[log:] == [("permit", 0)]
    if how != "lease":
        assert not lane.permit(True) and not contacts.permitted, "nor does anybody give it back"
    plant.controlling = True
    plant.controller.step()
    assert plant.said()["state"] == "ceased" and contacts.point == 0
    assert plant.said()["why"] == ("sensor" if how == "lease" else "charge_port")
    plant.hurry()
    assert contacts.permitted == (how == "lease"), plant.log()


def test_what_another_outlet_does_leaves_the_permissive_alone() -> None:
    plant = Plant().soon()
    plant.load["bed1"] = 10.0
    assert not plant.do("on", "bed1")
    plant.run(3)
    plant.load["bed1"] = 500.0
    plant.run(0.1)
    assert plant.state("bed1") == "tripped" and plant.station.contacts.permitted


def test_what_flows_is_no_welded_relay() -> None:
    plant = Plant().soon()
    plant.run(5)
    assert plant.state("home_l1") == "off" and not plant.controller.contactor_blocked


def test_the_energy_goes_to_the_grid_and_is_priced(tmp_path: Path) -> None:
    plant = Plant(tariff__export_ct=12.5, tariff__import_ct=30).soon()
    before = plant.energy.more[GRID_OUT]
    seconds = 90
    plant.run(seconds)
    mwh = plant.energy.more[GRID_OUT] - before
    assert mwh == pytest.approx(4000 * seconds / 3.6, rel=0.02)
    said = plant.said()
    assert said["earned"] == pytest.approx(said["exported_kwh"] * 0.125, abs=0.001)
    assert said["imported_kwh"] == said["paid"] == 0


def test_a_set_point_never_passes_what_the_inverter_can_give() -> None:
    plant = Plant(start=False, grid__rating_w=2000, grid__most_w=5000, grid__power_w=2000)
    plant.rating_w = 2000
    plant.export.start(events.BY_CONSOLE)
    plant.soon()
    assert plant.said()["set_point_w"] == 2000 and plant.station.contacts.point == 1000
