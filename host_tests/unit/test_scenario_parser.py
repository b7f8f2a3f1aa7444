"""Scenario files: what is read from them, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.simulator import scenario
from tools.simulator.scenario import ScenarioError, parse

GOOD = """
# a comment
title: two # and this is one too
mains: 50
settings: bed1.limit_a=16 shed.restore_s=10
seed: 7
resets: yes
at 2.5 console on bed1   # typed
at 2.0 sim plug bed1 circular_saw
at 3 chip power_off
expect relay bed1 closed within 2.5 2.6
expect coil contactor on throughout 2 3
expect console "event: \\d+ .*bed1 on" within 2.5 3
expect no console "trip ped" within 0 4
expect state bed1 on at 3
expect reason bed1 command at 3
expect link mqtt off at 3
expect reading l1 current_a 11 12.5 at 3
expect amps bed1 -1 1e3 at 3
end 4
"""


def read(text: str) -> scenario.Scenario:
    return parse(Path("dir/some.txt"), text)


def test_everything_is_read() -> None:
    s = read(GOOD)
    assert s.title == "two"
    assert (s.mains_hz, s.seed, s.resets, s.broker, s.speed) == (50, 7, True, False, 0.0)
    assert s.settings == {"bed1.limit_a": 16, "shed.restore_s": 10}
    assert [(a.t_us, a.kind, a.text) for a in s.actions] == [
        (2_000_000, "sim", "plug bed1 circular_saw"),
        (2_500_000, "console", "on bed1"),
        (3_000_000, "chip", "power_off"),
    ]
    assert s.end_us == 4_000_000
    kinds = [e.kind for e in s.expectations]
    assert kinds == [
        "relay",
        "coil",
        "console",
        "no console",
        "state",
        "reason",
        "link",
        "reading",
        "amps",
    ]
    relay, coil, console, silent, state, _, _, reading, amps = s.expectations
    assert (relay.words, relay.how, relay.start_us, relay.end_us) == (
        ("bed1", "closed"),
        "within",
        2_500_000,
        2_600_000,
    )
    assert coil.how == "throughout"
    assert console.words == (r"event: \d+ .*bed1 on",)
    assert silent.words == ("trip ped",)
    assert (state.start_us, state.end_us) == (3_000_000, 3_000_000)
    assert (reading.words[:2], reading.low, reading.high) == (("l1", "current_a"), 11.0, 12.5)
    assert (amps.low, amps.high) == (-1.0, 1000.0)
    assert relay.text == "relay bed1 closed within 2.5 2.6"


HOME = """
board: simulated_home
at 1 sim grid off
expect feed vehicle within 1 2
expect relay grid open within 1 2
expect relay home_l1 closed within 1 2
expect coil bond on throughout 2 3
expect coil permit off within 2 3
expect inverter off within 2 3
expect truth home.fed_after_ms 100 900 at 3
expect truth grid.inverter off at 3
expect power home.state backup at 3
end 3
"""


def test_home_and_grid_are_read_on_a_board_that_has_them() -> None:
    feed, relay, pole, coil, permit, inverter, figure, word, power = read(HOME).expectations
    assert (feed.words, feed.how, feed.end_us) == (("vehicle",), "within", 2_000_000)
    assert (relay.words[0], pole.words[0], coil.words[0]) == ("grid", "home_l1", "bond")
    assert (figure.words[0], figure.low, figure.high) == ("home.fed_after_ms", 100.0, 900.0)
    assert word.words == ("grid.inverter", "off")
    assert power.words == ("home.state", "backup")
    assert (permit.words, inverter.words) == (("permit", "off"), ("off",))


def test_with_a_broker_time_is_real_unless_said_otherwise() -> None:
    rest = "expect console x within 0 1\nend 1"
    assert read("broker: yes\n" + rest).speed == 1.0
    assert read("broker: yes\nspeed: fast\n" + rest).speed == 0.0
    assert read("speed: paced\n" + rest).speed == 1.0
    assert read("speed: 4\n" + rest).speed == 4.0


MISTAKES = [
    ("", 1, "expected `end <seconds>`"),
    ("end 5", 1, "expected at least one `expect"),
    ("nonsense", 1, "expected `at`, `expect`, `end` or a header, not 'nonsense'"),
    ("colour: red", 1, "expected one of title: board: mains:"),
    ("board: pick_w", 1, "unknown board 'pick_w' (there are: "),
    ("mains: fast", 1, "expected a mains frequency in Hz, not 'fast'"),
    ("mains: 400", 1, "from 45 to 65, not 400"),
    ("broker: maybe", 1, "expected `broker: yes` or `broker: no`"),
    ("speed: slow", 1, "expected a speed, not 'slow'"),
    ("settings: bed1.limit_a", 1, "expected name=value, not 'bed1.limit_a'"),
    ("\nsettings: bed1.limit_a=99\nend 1", 2, "bed1.limit_a: '99' is not allowed (allowed: 1 to"),
    ("\nsettings: bed1.limitt=9\nend 1", 2, "there is no setting 'bed1.limitt' (there are: bed1."),
    ("at 1 on bed1", 1, "expected `at <seconds> sim|console|chip|broker <command>`"),
    ("at soon console on bed1", 1, "expected a time in seconds, not 'soon'"),
    ("at -1 console on bed1", 1, "expected a time in seconds from 0"),
    ("at 1 chip explode", 1, "expected `chip power_off` or `power_on`"),
    ("at 1 broker stop", 1, "expected the header `broker: yes`"),
    ("\n\nexpect rain within 1 2", 3, "expected `expect` and one of: relay, coil, console"),
    ("expect relay bed1 closed", 1, "expected `expect relay <relay> open|closed within|through"),
    ("expect relay bed1 closed at 3", 1, "expected `expect relay"),
    ("expect relay bed9 closed within 1 2", 1, "expected one of cabin1 cabin2 bed1"),
    ("expect relay bed1 shut within 1 2", 1, "expected `expect relay <relay> open|closed"),
    ("expect relay bed1 open within 2 1", 1, "expected the earlier time first"),
    ('expect console "(" within 1 2', 1, "expected a regular expression: "),
    ('expect console "open within 1 2', 1, "expected matching quotes"),
    ("expect reading bed1 current_a 2 1 at 3", 1, "expected a number from 2"),
    ("expect reading bed1 current_a 2 at 3", 1, "expected `expect reading <outlet>|<leg>|total"),
    ("expect state contactor on at 3", 1, "expected one of cabin1"),
    ("expect console x within 0 1\nend 1\nat 2 sim state", 3, "expected nothing after `end`"),
    ("expect feed grid within 1 2", 1, "expected a board with a transfer switch, not simulated"),
    ("expect relay grid open within 1 2", 1, "expected one of cabin1"),
    ("expect coil permit off within 1 2", 1, "expected one of cabin1"),
    ("expect inverter off within 1 2", 1, "expected a board with a transfer switch"),
    ("expect truth watts 5 1 at 2", 1, "expected a number from 5"),
    ("expect truth watts 5 6 7 at 2", 1, "expected `expect truth <name>.<name> <low> <high>|<wo"),
    ("expect power home.state at 2", 1, "expected `expect power <name>.<name>"),
    ("board: simulated_home\nexpect feed sun within 1 2", 2, "expected one of grid vehicle both"),
    ("at 9 sim state\nexpect console x within 0 1\nend 5", 1, "a time up to the end, 5 s"),
    ("expect console x within 0 9\nend 5", 1, "a time up to the end, 5 s"),
]


@pytest.mark.parametrize(("text", "line", "says"), MISTAKES)
def test_a_mistake_names_file_line_and_what_was_expected(text: str, line: int, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read(text)
    assert str(error.value).startswith(f"dir/some.txt:{line}: ")
    assert says in str(error.value)


def test_an_unknown_scenario_names_those_there_are() -> None:
    with pytest.raises(ScenarioError, match=r"no scenario 'nope'; there is: .*short_circuit"):
        scenario.find("nope")


@pytest.mark.parametrize("name", scenario.available())
def test_the_projects_own_files_are_sound_and_have_titles(name: str) -> None:
    assert parse(scenario.find(name)).title
