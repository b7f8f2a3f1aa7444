"""Sensors that lie, in the simulated truck: which check finds them, how soon, what opens, what is
said, and that what looks odd and is sound (inrushes, dips, drifting zeros) is left alone.

Times are the truck's: from the command that breaks a sensor to the edge of the relay's coil.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from firmware import report
from firmware.interfaces import screens
from firmware.sensing import plausibility as p
from firmware.sensing import reduce
from host_tests.fakes.rig import Rig, events
from tools.simulator import recordings

LIMIT_US = 100_000
NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
ON_L1 = ("cabin1", "bed1", "bed240")


def started(hz: float = 60, board: str = "simulated", amps: float = 10.0) -> Rig:
    """Every outlet on; bed1 draws something."""
    rig = Rig(board, mains_hz=hz, settings={"supply.hz": round(hz)})
    for name in NAMES:
        assert rig.do("on", name) == ""
    if amps:
        rig.sim(f"plug bed1 resistive amps={amps}")
    rig.run(0.3)
    return rig


def codes(rig: Rig, kind: int = events.FAULT) -> list[tuple[str, str]]:
    """(outlet, check) of every sensor record of a kind."""
    found = []
    for record in rig.journal.since(0):
        if record[1] == kind and record[3] == events.SENSOR:
            name = rig.board.outlets[record[2]].name if record[2] >= 0 else "-"
            found.append((name, p.words(rig.board, record[4])))
    return found


def opens(rig: Rig, names: tuple[str, ...]) -> int:
    """Run until these coils are off; us since now. The others must stay on."""
    start = rig.t_us
    while any(rig.coil(name) for name in names):
        rig.scan()
        assert rig.t_us - start <= LIMIT_US, f"not within 100 ms: {rig.log()}"
    took = rig.t_us - start
    rig.run(0.1)
    assert {x for x in NAMES if rig.coil(x)} == set(NAMES) - set(names)
    return took


def repair(rig: Rig, name: str, names: tuple[str, ...]) -> None:
    rig.sim(f"sensor {name} ok clip=0 noise=1.5 offset=0")
    rig.run(0.8)
    for x in names:
        assert rig.do("reset", x, force=True) == ""
        assert rig.do("on", x) == ""
    rig.run(0.15)


# -- current sensors of outlets that are on ------------------------------------------------------

BROKEN = (
    ("open", "rail"),
    ("short", "rail"),
    ("frozen", "frozen"),
    ("ok offset=700", "zero"),
    ("ok offset=-700", "zero"),
    ("ok clip=24", "clipped"),
)


@pytest.mark.parametrize("hz", [50, 60])
@pytest.mark.parametrize(("how", "check"), BROKEN)
def test_a_current_sensor_that_lies_opens_its_outlet_within_100_ms(
    how: str, check: str, hz: float
) -> None:
    rig = started(hz)
    for wait_us in (0, 5000, 11_000, 16_000):  # wherever in the window it begins
        rig.run(wait_us / 1e6)
        rig.sim(f"sensor bed1 {how}")
        opens(rig, ("bed1",))
        assert rig.state("bed1") == "fault" and rig.reason("bed1") == "sensor"
        assert codes(rig)[-1] == ("bed1", check)
        said = "noise" if check == "clipped" else check  # what a loose contact is at rest
        rig.run(0.25)
        assert f"fault (sensor: {said})" in rig.do("on", "bed1")
        assert f"(sensor: {said})" in rig.do("reset", "bed1", force=True)
        repair(rig, "bed1", ("bed1",))
    # 250 A on the leg, or what 700 counts are, if they were believed
    assert rig.controller.outlets[2].thermal.permille() < 250
    assert all(x == "bed1" for x, _ in codes(rig))


@pytest.mark.parametrize("how", ["open", "short", "frozen"])
def test_the_slower_converter_of_the_esp32_is_as_quick(how: str) -> None:
    rig = started(board="esp32")
    for wait_us in (0, 7000, 14_000):
        rig.run(wait_us / 1e6)
        rig.sim(f"sensor bed1 {how}")
        opens(rig, ("bed1",))
        repair(rig, "bed1", ("bed1",))


def test_a_frozen_sensor_heats_nothing_and_loads_no_leg() -> None:
    rig = started(amps=20)
    before = rig.controller.outlets[2].thermal.permille()
    while rig.lane.codes[4] < 2048 + 200:  # at its crest, where it would say 28 A for ever
        rig.scan()
    rig.sim("sensor bed1 frozen")
    rig.run(0.05)  # not opened yet
    assert rig.controller.amps_ma[2] == 0
    rig.run(1)
    assert rig.controller.amps_ma[2] == 0 and rig.controller.power_w[2] == 0
    assert rig.controller.dispatch.legs[0].load <= 250  # another's noise, in single windows
    assert rig.controller.outlets[2].thermal.permille() <= before + 1


def test_noise_under_load_is_seen_as_soon_as_the_outlet_is_at_rest() -> None:
    """A commutator is as noisy; and the reading errs on the safe side meanwhile."""
    rig = started()
    rig.sim("sensor bed1 noise=40")
    rig.run(1)
    assert rig.state("bed1") == "on"
    assert rig.controller.amps_ma[2] >= 9_900
    assert rig.do("off", "bed1") == ""
    rig.run(0.4)
    assert codes(rig) == [("bed1", "noise")]
    assert "noise" in rig.do("on", "bed1") and not rig.coil("bed1")


# -- current sensors of outlets that are off -----------------------------------------------------


@pytest.mark.parametrize("hz", [50, 60])
@pytest.mark.parametrize(
    ("how", "check"),
    [
        ("open", "rail"),
        ("short", "rail"),
        ("frozen", "frozen"),
        ("ok offset=300", "zero"),
        ("ok offset=-300", "zero"),
    ],
)
def test_a_sensor_that_breaks_at_rest_is_reported_and_on_is_refused(
    how: str, check: str, hz: float
) -> None:
    rig = Rig(mains_hz=hz)
    rig.do("on", "bed2")
    rig.run(0.013)
    rig.sim(f"sensor bed1 {how}")
    rig.run(0.1)
    assert codes(rig) == [("bed1", check)]
    assert rig.state("bed1") == "fault" and rig.state("bed2") == "on"
    said = f"(sensor: {check})"
    assert said in rig.do("on", "bed1") and not rig.coil("bed1")
    assert said in rig.do("reset", "bed1") and said in rig.do("reset", "bed1", force=True)
    rig.run(1)
    assert codes(rig) == [("bed1", check)], "recorded once"
    rig.sim("sensor bed1 ok offset=0")
    rig.run(0.1)
    assert said in rig.do("on", "bed1"), "latched until reset"
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""


@pytest.mark.parametrize("sigma", [25, 60, 150])
def test_noise_at_rest_refuses_on_as_long_as_it_lasts(sigma: int) -> None:
    rig = Rig()
    rig.sim(f"sensor bed1 noise={sigma}")
    rig.run(0.1)
    assert codes(rig) == [("bed1", "noise")]
    assert rig.state("bed1") == "off"
    assert "fault (sensor: noise)" in rig.do("on", "bed1") and not rig.coil("bed1")
    rig.run(2)
    assert rig.coil("contactor") and not any("welded" in x for x in rig.log())
    rig.sim("sensor bed1 noise=1.5")
    rig.run(0.7)
    assert codes(rig, events.CLEARED)[-1] == ("bed1", "noise")
    assert rig.do("on", "bed1") == ""


def test_a_loose_contact_at_rest_is_no_weld() -> None:
    rig = Rig()
    rig.sim("sensor bed1 clip=31")
    rig.run(2)
    assert rig.coil("contactor") and ("bed1", "noise") in codes(rig)
    assert rig.do("on", "bed1") != ""


def test_a_weld_is_found_beside_the_noise_that_every_sensor_has() -> None:
    rig = Rig()
    rig.sim("sensor bed1 noise=4")
    rig.do("on", "bed1")
    rig.sim("plug bed1 resistive amps=2")
    rig.sim("weld bed1")
    rig.run(0.2)
    rig.do("off", "bed1")
    rig.until(lambda: not rig.coil("contactor"), 0.5)
    assert rig.reason("bed1") == "welded" and codes(rig) == []


# -- voltage channels ----------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [50, 60])
@pytest.mark.parametrize(
    ("how", "check"),
    [
        ("open", "rail"),
        ("short", "rail"),
        ("frozen", "frozen"),
        ("ok offset=500", "zero"),
        ("ok clip=24", "clipped"),
        ("off", "no voltage"),
    ],
)
@pytest.mark.parametrize(
    ("channel", "names"), [("v_l1", ON_L1), ("v_l2", ("cabin2", "bed2", "bed240"))]
)
def test_a_voltage_sensor_that_lies_opens_what_depends_on_it(
    channel: str, names: tuple[str, ...], how: str, check: str, hz: float
) -> None:
    rig = started(hz)
    rig.sim("plug bed2 resistive amps=6")
    for wait_us in (0, 9000):
        rig.run(wait_us / 1e6)
        first = len(codes(rig))
        rig.sim(f"sensor {channel} {how}")
        opens(rig, names)
        said = f"{channel} {check}"
        new = codes(rig)[first:]
        assert {x for x, _ in new} == {"-", *names} and {x for _, x in new} == {said}
        assert len(new) == 1 + len(names), "once each"
        assert not any("supply" in x for x in rig.log())
        for name in names:
            assert rig.state(name) == "fault"
            assert f"(sensor: {said})" in rig.do("on", name)
            assert f"(sensor: {said})" in rig.do("reset", name, force=True)
        rig.run(1)
        assert len(codes(rig)) == first + len(new) and not any("supply" in x for x in rig.log())
        repair(rig, channel, names)
        assert codes(rig, events.CLEARED)[-1] == ("-", said)


def test_an_outlet_that_is_off_may_not_go_on_without_its_voltage() -> None:
    rig = Rig()
    rig.sim("sensor v_l1 frozen")
    rig.run(0.1)
    assert codes(rig) == [("-", "v_l1 frozen")]
    assert rig.state("bed1") == "off"
    assert "fault (sensor: v_l1 frozen)" in rig.do("on", "bed1") and not rig.coil("bed1")
    assert rig.do("on", "bed2") == ""
    assert "v_l1" in rig.do("on", "bed240")
    rig.sim("sensor v_l1 ok")
    rig.run(0.7)
    assert rig.do("on", "bed1") == ""


def test_a_board_with_one_voltage_sensor_opens_everything_for_it() -> None:
    rig = started(board="esp32")
    rig.sim("sensor v_l1 off")
    opens(rig, NAMES)
    assert codes(rig)[-1][1] == "v_l1 no voltage"


def test_a_short_circuit_that_pulls_the_supply_down_opens_its_own_outlet_only() -> None:
    """An inverter that limits its current: no peak, no voltage, and the sensors are sound."""
    rig = started(amps=3)
    rig.sim("sensor v_l1 off")
    rig.sim("unplug bed1")
    rig.sim("plug bed1 resistive amps=45")
    opens(rig, ("bed1",))
    assert codes(rig) == [("bed1", "no voltage")]
    rig.sim("sensor v_l1 ok")
    rig.sim("unplug bed1")
    rig.run(0.1)
    assert rig.do("reset", "bed1") == "" and rig.do("on", "bed1") == ""


def test_a_voltage_wire_that_comes_off_without_load_is_a_lost_supply() -> None:
    """Nothing can tell the two apart."""
    rig = started(amps=0)
    rig.sim("sensor v_l1 off")
    rig.run(1)
    assert rig.state("bed1") == "fault" and rig.reason("bed1") == "supply"
    assert codes(rig) == []


# -- converter and sampler -----------------------------------------------------------------------


def test_a_converter_that_does_not_answer_opens_everything() -> None:
    rig = started()
    rig.run(0.011)
    rig.sim("converter silent")
    opens(rig, NAMES)
    rig.run(0.05)
    assert ("-", "converter") in codes(rig)
    assert {x for _, x in codes(rig)} == {"converter"}
    for name in NAMES:
        assert "converter" in rig.do("reset", name, force=True)
        assert rig.do("on", name) != ""
    rig.run(1)
    assert len(codes(rig)) == 1 + len(NAMES) and not any("supply" in x for x in rig.log())
    rig.sim("converter ok")
    rig.run(0.7)
    assert codes(rig, events.CLEARED) == [("-", "converter")]
    for name in NAMES:
        assert rig.do("reset", name, force=True) == "" and rig.do("on", name) == "", name


def test_what_looked_like_short_circuits_does_not_lead_to_a_lockout() -> None:
    rig = started()
    for how in ("converter silent", "sensor bed1 open", "converter silent", "sensor bed1 short"):
        rig.sim(how)
        rig.run(0.2)
        assert rig.state("bed1") == "fault" and rig.reason("bed1") == "sensor"
        rig.sim("converter ok")
        rig.sim("sensor bed1 ok")
        rig.run(0.8)
        for name in NAMES:
            assert rig.do("reset", name) == "" and rig.do("on", name) == "", name
        rig.run(0.2)
    rig.sim("short bed1")
    rig.run(0.2)
    assert rig.state("bed1") == "tripped", "the first that was one"


def test_one_late_conversion_is_forgiven() -> None:
    rig = started()
    for _ in range(5):
        rig.sim("converter silent")
        rig.scan()
        rig.sim("converter ok")
        rig.run(0.1)
    assert all(rig.coil(x) for x in NAMES) and codes(rig) == []


def test_a_sampler_that_stands_still_opens_everything_within_100_ms() -> None:
    rig = started()
    for wait_us in (0, 8000):
        rig.run(wait_us / 1e6)
        rig.sampling = False
        opens(rig, NAMES)
        assert not rig.coil("contactor") and codes(rig)[-1][1] == "sampler"
        rig.sampling = True
        rig.run(0.3)
        for name in NAMES:
            assert rig.do("reset", name) == "" and rig.do("on", name) == ""
        rig.run(0.1)


# -- what is sound stays on ----------------------------------------------------------------------


def quiet(rig: Rig) -> bool:
    return codes(rig) == [] and not any("welded" in x for x in rig.log())


@pytest.mark.parametrize(("board", "hz"), [("simulated", 60), ("simulated", 50), ("esp32", 50)])
@pytest.mark.parametrize("cycles", [0.5, 1, 1.5, 2, 7, 20])
@pytest.mark.parametrize("percent", [0, 40, 70])
def test_dips_are_no_sensor_faults(percent: int, cycles: float, board: str, hz: float) -> None:
    rig = started(hz, board)
    rig.sim("plug bed240 motor amps=20")
    for wait_us in (0, 3000, 7000, 12_000):
        rig.run(0.2 + wait_us / 1e6)
        rig.sim(f"supply sag={percent} ms={1000 * cycles / hz}")
        rig.run(0.1 + cycles / hz)
    assert quiet(rig) and all(rig.coil(x) for x in NAMES), rig.log()


@pytest.mark.parametrize("hz", [50, 60])
def test_a_supply_that_goes_and_comes_back_is_no_sensor_fault(hz: float) -> None:
    rig = started(hz)
    for off_s in (0.013, 0.4, 1.0):
        rig.sim(f"supply off ms={off_s * 1000}")
        rig.run(off_s + 0.5)
    assert quiet(rig) and "- fault supply" in rig.log()


@pytest.mark.parametrize("hz", [45, 50, 55, 60, 65])
def test_any_mains_frequency_is_no_fault_from_the_first_window_on(hz: float) -> None:
    rig = Rig(mains_hz=hz, boot_s=0, seed=2)
    rig.run(1.5)
    for name in NAMES:
        assert rig.do("on", name) == ""
        rig.sim(f"plug {name} resistive amps=8")
    rig.run(1)
    assert quiet(rig) and all(rig.coil(x) for x in NAMES)


@pytest.mark.parametrize("name", recordings.available())
@pytest.mark.parametrize("amps", [0.5, 4, 12, 20])
def test_recorded_loads_are_no_sensor_faults(name: str, amps: float) -> None:
    """Whatever else a start-up of that size does to the outlet."""
    rig = started(amps=0)
    rig.sim(f"play bed1 {name} amps={amps}")
    rig.sim(f"play bed240 {name} amps={amps * 2}")
    rig.run(2.5)
    assert quiet(rig), rig.log()


@pytest.mark.parametrize("amps", [170, 185, 250, 400])
def test_an_inrush_beyond_the_range_is_a_trip_and_no_sensor_fault(amps: int) -> None:
    """A transformer that saturates: half-cycles at the end of the range."""
    rig = started(amps=0)
    rig.sim(f"plug bed1 resistive amps={amps}")
    rig.run(0.02)
    rig.sim("unplug bed1")
    rig.run(0.3)
    assert quiet(rig)
    assert rig.state("bed1") == "tripped" and rig.reason("bed1") == "peak"


def test_a_short_circuit_is_a_trip_and_no_sensor_fault() -> None:
    rig = started()
    for name in NAMES:
        rig.sim(f"short {name}")
        rig.run(0.02)
    rig.run(0.5)
    assert quiet(rig) and all(rig.state(x) == "tripped" for x in NAMES)


def test_a_zero_that_drifts_within_its_band_is_no_fault() -> None:
    rig = Rig()
    rig.do("on", "bed2")
    for step in range(1, 170, 4):
        rig.sim(f"sensor bed1 offset={step}")
        rig.sim(f"sensor cabin1 offset={-step}")
        rig.run(0.1)
    assert quiet(rig) and rig.state("bed1") == "off"
    for name in ("bed1", "cabin1"):
        assert rig.do("on", name) == ""
        rig.sim(f"plug {name} resistive amps=5")
    rig.run(1)
    assert rig.controller.amps_ma[2] == pytest.approx(5000, rel=0.03)
    for step in range(170, 190):  # and while it is on
        rig.sim(f"sensor bed1 offset={step}")
        rig.run(0.1)
    assert quiet(rig) and rig.coil("bed1")


def test_a_zero_that_jumps_within_its_band_is_no_fault() -> None:
    rig = Rig()
    for offset in (150, -150, 40):
        rig.sim(f"sensor bed1 offset={offset}")
        rig.run(0.5)
    assert quiet(rig) and rig.do("on", "bed1") == ""


# -- what is said --------------------------------------------------------------------------------


def test_console_and_json_say_which_check_it_was() -> None:
    rig = started()
    app = SimpleNamespace(
        board=rig.board,
        controller=rig.controller,
        settings=rig.settings,
        journal=rig.journal,
    )
    assert "check" not in report.outlet(app, 2)
    rig.sim("sensor bed1 frozen")
    rig.run(0.2)
    assert report.outlet(app, 2)["check"] == "frozen"
    assert report.outlet(app, 2)["reason"] == "sensor"
    rig.sim("sensor bed1 ok")
    rig.run(0.2)
    assert report.outlet(app, 2)["check"] == "frozen", "why it is still open"
    rig.do("reset", "bed1")
    assert "check" not in report.outlet(app, 2)
    rig.sim("sensor v_l2 short")
    rig.run(0.2)
    assert report.outlet(app, 3)["check"] == "v_l2 rail"
    found = [x for x in rig.journal.since(0) if x[1] == events.FAULT]
    said = [screens.event(app, x).split(" ", 2)[2] for x in found]
    assert said[0] == "bed1 fault sensor frozen"
    assert "- fault sensor v_l2 rail" in said and "bed2 fault sensor v_l2 rail" in said
    row = report.event(app, found[0])
    assert (row["code"], row["check"]) == (p._R_FROZEN, "frozen")


def test_a_record_of_an_earlier_version_has_no_words() -> None:
    rig = Rig(boot_s=0)
    rig.journal.add(events.FAULT, 2, events.SENSOR, 0, events.BY_CONTROL)
    app = SimpleNamespace(
        board=rig.board,
        controller=rig.controller,
        settings=rig.settings,
        journal=rig.journal,
    )
    (record,) = rig.journal.since(0)
    assert screens.event(app, record).endswith("bed1 fault sensor -")
    assert "check" not in report.event(app, record)


def test_the_selftest_names_the_channel() -> None:
    rig = started()
    rig.sim("sensor bed1 frozen")
    rig.sim("sensor v_l2 short")
    rig.run(0.2)
    checks = rig.controller.checks
    said = {c.name: checks.of_channel(c.index) for c in rig.board.channels if c.kind != "aux"}
    assert said == dict.fromkeys(said, "") | {"bed1": "frozen", "v_l2": "rail"}


# -- the table -----------------------------------------------------------------------------------


def test_the_table_says_what_the_rows_are_called() -> None:
    """Numbers are on flash: none may move."""
    words = [row[0] for row in p.TABLE]
    assert words == [
        "?",
        "welded",
        "no voltage",
        "clipped",
        "converter",
        "sampler",
        "rail",
        "frozen",
        "zero",
        "noise",
    ]
    assert words[p._R_NO_VOLTAGE] == "no voltage" and words[p._R_SAMPLER] == "sampler"
    assert words[p._R_RAIL] == "rail" and words[p._R_NOISE] == "noise"
    assert len(p.TABLE) <= 16, "four bits of a code"


def test_every_flag_of_a_window_has_a_row() -> None:
    seen = 0
    for row in p.TABLE:
        seen |= row[1]
    for name, flag in vars(reduce).items():
        if name.startswith("F_"):
            assert seen & flag, name


@pytest.mark.parametrize("cycle", [40, 20])
@pytest.mark.parametrize("row", [row for row in p.TABLE if row[1]], ids=lambda row: row[0])
def test_a_row_wants_its_windows_in_succession(row: tuple, cycle: int) -> None:
    check = p.Debounce(2, cycle)
    number = p.TABLE.index(row)
    when = row[2]
    for n in (cycle, cycle * 6 // 5):  # 60 and 50 Hz
        wanted = row[3] if n == cycle or row[3] < 6 else 5
        for _ in range(3):
            for _ in range(wanted - 1):
                assert check.judge(1, row[1], when, n) == 0 and check.active == 2
            assert check.judge(1, 0, when, n) == 0 and not check.active
        for k in range(wanted + 300):
            assert check.judge(1, row[1], when, n) == (number if k >= wanted - 1 else 0)
        for _ in range(0 if row[6] else 29):  # what does not latch lasts for half a second
            assert check.judge(1, 0, when, n) == number and check.active == 2
        assert check.judge(1, 0, when, n) == 0
        assert check.judge(1, 0, when, n) == 0 and not check.active
    for other in {p._REST, p._ON, p._ALWAYS} - {when}:
        for _ in range(row[3]):
            found = check.judge(1, row[1], other, cycle)
        assert found == (number if when == p._ALWAYS else 0)


def test_two_of_the_longest_windows_are_as_good_as_three() -> None:
    """A voltage that is stuck ends no window: they close at 64 scans."""
    check = p.Debounce(1, 40)
    assert check.judge(0, reduce.F_FROZEN, p._ON, 64) == 0
    assert check.judge(0, reduce.F_FROZEN, p._ON, 64) == p._R_FROZEN


def test_a_voltage_or_converter_that_comes_and_goes_is_recorded_once() -> None:
    check = p.Debounce(1, 40, 1)
    found = [check.judge(0, reduce.F_RAIL if k % 20 < 3 else 0, p._ON, 40) for k in range(200)]
    assert found == [0] + [p._R_RAIL] * 199


def test_words_of_a_code() -> None:
    board = Rig(boot_s=0).board
    assert p.words(board, p._R_FROZEN) == "frozen"
    assert p.words(board, p._R_FROZEN | 2 << 4) == "v_l2 frozen"
    assert p.words(board, 0) == "" and p.words(board, 15) == ""
