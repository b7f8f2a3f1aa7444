"""What all host tests share: the firmware's portable modules import on CPython."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tools import cpython

cpython.install()

_FOLDER = Path(__file__).resolve().parent

# Files that take half a minute or more, the longest first. Each is played by one process (see
# `make test`): begun last, one of them would run on alone while the other cores wait.
_LONGEST = (
    "scenarios/test_scenarios.py",
    "micropython/test_power_cuts.py",
    "scenarios/test_scenarios_small.py",
    "emulator/test_firmware_on_chip.py",
    "emulator/test_power_cuts_on_chip.py",
    "micropython/test_console_fuzz.py",
    "micropython/test_power_days.py",
    "micropython/test_mqtt_client.py",
    "unit/test_transfer_exploration.py",
    "emulator/test_selftest_on_chip.py",
    "unit/test_keeper.py",
    "unit/test_shrink.py",
    "emulator/test_mqtt_on_chip.py",
    "emulator/test_strip_on_chip.py",
    "unit/test_properties_protection.py",
    "micropython/test_client.py",
    "micropython/test_fleet.py",
    "micropython/test_wifi.py",
    "micropython/test_calibration_on_micropython.py",
    "micropython/test_improv_on_micropython.py",
    "micropython/test_long_console.py",
    "unit/test_dispatch_controller.py",
    "unit/test_home_backup.py",
    "unit/test_calibration.py",
    "unit/test_console.py",
    "emulator/test_events_on_chip.py",
    "emulator/test_deploy.py",
    "homeassistant/test_home_assistant.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; the others stay in their order."""
    places = {_FOLDER / name: place for place, name in enumerate(_LONGEST)}
    gone = [str(path) for path in places if not path.is_file()]
    if gone:
        raise pytest.UsageError(f"{Path(__file__).name} names files that are gone: {gone}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection() -> None:
    """Nothing that loading the tests makes is garbage: a third of its time went into looking."""
    gc.disable()


def pytest_collection_finish() -> None:
    """The firmware collects its heap often. On CPython that would go through all of pytest's
    objects each time, a fifth of a second with all tests loaded: they are left out from here on.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
