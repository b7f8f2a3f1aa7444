"""Home backup, and all of power export at once, on the real unix port: nothing of it allocates in
the control lane."""

from __future__ import annotations

from host_tests.micropython.running import lines


def test_home_backup_allocates_nothing(micropython: str) -> None:
    said = lines(micropython, "home_heap.py")
    assert said[-1].startswith("done ") and int(said[-1].split()[1]) > 700
    stages = [line.split(None, 1)[1] for line in said if line.startswith("good ")]
    assert stages == [
        "on the grid",
        "after dips",
        "backing up",
        "grid back",
        "back on the grid",
        "tripped",
        "started",
        "off by hand",
        "welded source",
        "repaired",
        "dark, as asked for before",
        "stuck source",
        "given back",
        "a sensor at its rail",
        "and sound again",
    ]


def test_all_of_power_export_allocates_nothing(micropython: str) -> None:
    said = lines(micropython, "export_heap.py")
    assert said[-1].startswith("done ") and int(said[-1].split()[1]) > 700
    stages = [line.split(None, 1)[1] for line in said if line.startswith("good ")]
    assert stages == [
        "on the grid",
        "exporting",
        "and a car charges",
        "an outlet waits",
        "and closes",
        "the grid sags",
        "exporting again",
        "a pole trips",
        "exporting after a reset",
        "the inverter goes on",
        "exporting after a fault",
        "backing up",
        "and nothing is exported",
        "the car gives way",
        "the reserve is reached",
        "all is shed",
    ]
