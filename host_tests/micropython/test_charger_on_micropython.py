"""The charger on the real unix port: nothing of it allocates in the control lane."""

from __future__ import annotations

from host_tests.micropython.running import lines


def test_the_charger_allocates_nothing(micropython: str) -> None:
    said = lines(micropython, "charger_heap.py")
    assert said[-1].startswith("done ") and int(said[-1].split()[1]) > 1500
    stages = [line.split(None, 1)[1] for line in said if line.startswith("good ")]
    assert stages == [
        "empty",
        "offered",
        "charging",
        "giving way",
        "cut",
        "charging again",
        "ending",
        "stopped",
        "started",
        "unplugged",
        "before ventilation",
        "ventilation",
        "before shorted",
        "shorted",
        "before no diode",
        "no diode",
        "not followed",
        "ground fault",
        "reset",
        "off by hand",
        "first",
    ]
