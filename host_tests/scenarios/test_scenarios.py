"""Every scenario file, as `make run SCENARIO=...` plays it: the firmware on real MicroPython."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tools.simulator import scenario


@pytest.mark.parametrize("name", scenario.available())
def test_scenario(name: str) -> None:
    verdict = scenario.play(scenario.parse(scenario.find(name)))
    text = io.StringIO()
    scenario.report(verdict, text)
    assert verdict.passed, text.getvalue() + "\nconsole:\n" + "\n".join(verdict.console)


def test_the_files_that_the_project_promises_are_there() -> None:
    promised = {
        "normal_day",
        "overload_120v",
        "overload_240v",
        "short_circuit",
        "motor_start_holds",
        "motor_start_45a_trips",
        "two_legs",
        "total_limit",
        "sensor_open",
        "welded_relay",
        "supply_loss",
        "supply_high",
        "frequency_low",
        "gfci_trip",
        "overtemperature",
        "continuous_warn",
        "broker_away",
    }
    assert promised <= set(scenario.available())


def test_a_scenario_is_deterministic() -> None:
    runs = [scenario.play(scenario.parse(scenario.find("welded_relay"))) for _ in range(2)]
    assert runs[0].console == runs[1].console
    assert runs[0].checks == runs[1].checks


FAILING = """
title: nothing of this comes true
at 1.5 console on bed1
at 2 sim plug bed1 resistive amps=10
expect relay bed1 open within 2 3
expect relay bed1 open throughout 1 3
expect coil bed2 on within 0 4
expect console "no such event" within 0 4
expect no console "^ok bed1" within 1 2
expect state bed1 tripped at 3
expect reading bed1 current_a 20 30 at 3
expect reading bed1 nonsense 20 30 at 3
expect amps bed1 0 1 at 3
expect link mqtt up at 3
end 4
"""


def test_expectations_that_are_not_met_say_what_was_found(tmp_path: Path) -> None:
    verdict = scenario.play(scenario.parse(tmp_path / "failing.txt", FAILING))
    assert not verdict.passed
    assert not any(check.passed for check in verdict.checks)
    found = [check.actual for check in verdict.checks]
    assert found[0] == "never"
    assert found[1].startswith("closed at 1.5")
    assert found[2] == "never"
    assert found[3] == "no such line"
    assert found[4].endswith("ok bed1")
    assert found[5] == "on"
    assert 9.5 < float(found[6]) < 10.5
    assert found[7].startswith("no such field; there is: ")
    assert {"state", "current_a"} <= set(found[7].split())  # in no order: a dict of MicroPython
    assert found[8].endswith(" A")
    assert found[9] == "off"
    text = io.StringIO()
    scenario.report(verdict, text)
    assert "FAILED, 10 of 10 expectations" in text.getvalue()


HOME_FAILING = """
board: simulated_home
at 1 sim home load kettle
expect feed vehicle within 0 3
expect feed dark throughout 0 3
expect feed grid throughout 1 3
expect inverter off throughout 0 3
expect coil permit off throughout 0 3
expect inverter connected within 0 3
expect truth home.feed vehicle at 3
expect truth home.watts 100 200 at 3
expect truth home.grid_closed no at 3
expect truth home.colour 1 2 at 3
expect truth battery.percent.more 1 2 at 3
expect truth home.loads 1 2 at 3
expect power grid.state exporting at 3
expect power grid.colour blue at 3
end 3
"""


def test_expectations_of_home_and_grid_say_what_was_found(tmp_path: Path) -> None:
    verdict = scenario.play(scenario.parse(tmp_path / "failing.txt", HOME_FAILING))
    found = {check.text: (check.passed, check.actual) for check in verdict.checks}
    assert found.pop("feed grid throughout 1 3") == (True, "grid all the time")
    assert found.pop("inverter off throughout 0 3") == (True, "off all the time")
    assert found.pop("coil permit off throughout 0 3") == (True, "off all the time")
    assert found.pop("inverter connected within 0 3") == (False, "never")
    assert not any(passed for passed, _ in found.values())
    actual = [text for _, text in found.values()]
    assert actual[0] == "never"
    assert actual[1].startswith("grid at ")
    assert actual[2:5] == ["grid", "0", "yes"]
    assert actual[5].startswith("no such field; there is: feed loads watts grid_closed ")
    assert actual[6].startswith("nothing below ")
    assert actual[7] == "['kettle']"
    assert actual[8] == "off"
    assert actual[9].startswith("no such field; there is: ")


def test_both_contacts_closed_together_fail_any_scenario(tmp_path: Path) -> None:
    text = "board: simulated_home\nexpect console boot within 0 1\nend 1"
    played = scenario._Player(scenario.parse(tmp_path / "both.txt", text), 0.0, lambda *_: None)
    assert all(check.passed for check in played.play())
    played.device.truck.plant.both_closed = 2
    (check,) = played.check_health()
    assert check == scenario.Check("grid and source are never closed together", False, "2 times")


RESTARTS = """
at 1 chip power_off
at 2 chip power_on
at 3 console reboot yes
expect console "boot power_on" within 2 2.5
expect console "boot reboot" within 3 5
end 6
"""


def test_a_restart_fails_a_scenario_that_does_not_allow_it(tmp_path: Path) -> None:
    verdict = scenario.play(scenario.parse(tmp_path / "restarts.txt", RESTARTS))
    failed = [check.text for check in verdict.checks if not check.passed]
    assert failed == ["the chip does not restart"]
    allowed = scenario.parse(tmp_path / "restarts.txt", "resets: yes\n" + RESTARTS)
    assert scenario.play(allowed).passed


def test_a_sim_command_that_is_refused_names_its_line(tmp_path: Path) -> None:
    text = "at 1 sim plug bed1 bogus\nexpect console boot within 0 1\nend 1"
    with pytest.raises(scenario.ScenarioError, match=r"refused\.txt:1: .*bogus.*there is"):
        scenario.play(scenario.parse(tmp_path / "refused.txt", text))


def test_the_command_line_ends_with_the_verdict(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("title: short\nexpect console boot within 0 1\nend 1\n")
    text = io.StringIO()
    assert scenario.run(str(path), out=text) == 0
    assert "pass  console boot within 0 1" in text.getvalue()
    path.write_text("title: short\nexpect console bottom within 0 1\nend 1\n")
    assert scenario.run(str(path), out=text) == 1
    assert scenario.run("no such scenario", out=text) == 2
