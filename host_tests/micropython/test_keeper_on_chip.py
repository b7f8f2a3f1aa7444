"""The storage task of the whole firmware on the simulated chip: FRAM, strip, saving under load."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tools.simulator.device import SimulatedDevice, read_settings


def ask(device: SimulatedDevice, line: str, seconds: float = 2.0) -> dict[str, Any]:
    """The answer to a command, as JSON."""
    device.type(line + " --json")
    answer: dict[str, Any] = json.loads(device.expect(r"^{.*", seconds).group(0))
    return answer


def kwh(device: SimulatedDevice, name: str) -> float:
    return float(ask(device, "status")["outlets"][name]["energy_kwh"])


def flash_row(device: SimulatedDevice) -> str:
    answer = json.dumps(ask(device, "selftest", 1.5))
    return answer[answer.index("unsaved") - 8 :][:120]


@pytest.fixture
def loaded() -> SimulatedDevice:
    return SimulatedDevice("simulated")


def test_energy_under_a_steady_load_survives_a_power_cut(loaded: SimulatedDevice) -> None:
    with loaded as device:
        device.run(2)
        device.command("on bed1")
        device.sim("plug bed1 resistive amps=16")
        device.run(100)
        before = kwh(device, "bed1")
        device.power_cut()
        device.power_on()
        device.run(2)
        assert before - 16 * 120 / 3600 * 62 / 1000 <= kwh(device, "bed1") <= before
        assert "records" in flash_row(device)


def test_save_under_load_is_kept_and_written_later(loaded: SimulatedDevice) -> None:
    with loaded as device:
        device.run(2)
        device.command("on bed1")
        device.sim("plug bed1 resistive amps=15")
        device.run(3)
        ask(device, "set bed2.limit_a 7")
        assert ask(device, "save")["ok"]
        assert read_settings(device.flash) == {}, "no file while more than half its rating flows"
        device.power_cut()
        device.power_on()
        device.run(2)
        assert read_settings(device.flash) == {"bed2.limit_a": 7}
        assert ask(device, "get bed2.limit_a")["settings"] == {"bed2.limit_a": 7}


@pytest.mark.parametrize("fault", ["", "missing"])
def test_fram(tmp_path: Path, fault: str) -> None:
    flash = tmp_path / "flash"
    flash.mkdir()
    if not fault:
        (flash / "fram.bin").write_bytes(bytes(8192))
    settings = {"storage.fram_kb": 8}
    with SimulatedDevice("simulated", flash=flash, settings=settings) as device:
        device.run(2)
        said = "\n".join(x.text for x in device.lines)
        if fault:
            assert "FRAM does not answer" in said and "the flash is used" in said
            return
        assert "storage:" not in said
        device.command("on bed1")
        device.sim("plug bed1 resistive amps=15")
        device.run(31)
        before = kwh(device, "bed1")
        device.sim("plug bed1 resistive amps=200")
        device.run(1)
        chip = (flash / "fram.bin").read_bytes()
        assert struct.unpack_from("<I", chip)[0] > 0
        assert b'"latched": {"bed1": [' in chip
        device.power_cut()
        (flash / "data" / "strip.bin").unlink()
        device.power_on()
        device.run(2)
        outlet = ask(device, "status")["outlets"]["bed1"]
        assert outlet["state"] == "tripped"
        assert outlet["energy_kwh"] >= before - 15 * 120 / 3600 * 6 / 1000
