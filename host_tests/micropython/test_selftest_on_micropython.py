"""The self-tests on the real unix port: their twins, and the firmware under them for minutes."""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython.running import lines
from tools import stage
from tools.simulator.device import SimulatedDevice


@pytest.mark.parametrize("seed", [1, 2])
def test_plain_and_machine_code_are_equal(micropython: str, tmp_path: Path, seed: int) -> None:
    # the simulated chip's `machine` wants a host: interrupts are no matter here
    text = "def disable_irq():\n    return 0\n\n\ndef enable_irq(state):\n    pass\n"
    (tmp_path / "machine.py").write_text(text)
    said = lines(micropython, "memory_twins.py", str(seed), timeout_s=60, before=tmp_path)
    assert said == ["equal 400"]


def ask(device: SimulatedDevice, line: str, within: float = 8.0) -> dict[str, Any]:
    """A command's answer."""
    mark = len(device.lines)
    device.type(line + " --json")
    found = device.expect(r"^\{.*\}$", within=within, since=mark)
    answer: dict[str, Any] = json.loads(found[0])
    return answer


def rows(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The table by name."""
    return {row["name"]: row for row in answer["tests"]}


def test_a_minute_of_work_raises_no_alarm_and_the_table_is_filled() -> None:
    with SimulatedDevice(settings={"bed2.short_time": False}) as device:
        device.run(1.0)
        for name in ("cabin1", "bed1", "bed240"):
            device.type(f"on {name}")
            device.run(0.3)
        device.truck.command("plug bed1 motor")
        device.truck.command("plug cabin1 resistive amps=14")
        for turn in range(12):
            device.type(f"set bed1.limit_a {15 + turn % 4}")
            device.run(1.5)
            device.type("save" if turn % 4 == 0 else "status")
            device.run(1.5)
            device.type("off bed240" if turn % 2 else "on bed240")
            device.run(2.0)
        device.truck.command("short bed1")
        device.run(1.0)
        answer = ask(device, "selftest")
        assert answer["passed"], answer
        table = rows(answer)
        quick = ("limits", "outputs")
        slow = ("memory", "watchdog", "scans", "flow", "mains clock", "middle", "heap")
        for name in (*quick, *slow):
            assert table[name]["checked_s"] >= (60 if name in quick else 50), table[name]
        assert table["settings file"]["ok"] and table["windows"]["text"].endswith(" 0 lost")
        events = ask(device, "events 64")["events"]
        assert not [e for e in events if e["reason"] in ("selftest", "clock", "crash")], events
        assert ask(device, "status")["selftest"] == "good"


@pytest.mark.parametrize("frozen", [True, False])
def test_all_of_it_at_once_says_how_far_it_is(frozen: bool) -> None:
    with SimulatedDevice(frozen=frozen) as device:
        device.run(1.5)
        device.type("on bed1")
        mark = len(device.lines)
        device.type("selftest full")
        for text in ("memory, pattern 1 of 2", "memory, pattern 2 of 2", "ok +memory +4[0-9]{3} "):
            device.expect(text, within=5.0, since=mark)
        assert ask(device, "outlets")["outlets"]["bed1"]["on"], "nothing is switched"


def test_files_that_do_not_match_their_list_open_everything(tmp_path: Path) -> None:
    """As on a board with a stock image: the list that tools/stage.py makes, beside the files."""
    flash = tmp_path / "flash"
    files = {f"firmware/{i}.bin": os.urandom(3000) for i in range(4)}
    stage.write(stage.listed(files), flash)
    with SimulatedDevice(flash=flash) as device:
        device.run(1.5)
        device.type("on bed1")
        device.run(6.0)
        table = rows(ask(device, "selftest"))
        assert table["files"]["text"] == "4 checksums are right"
        data = bytearray((flash / "firmware" / "2.bin").read_bytes())
        data[2000] ^= 1
        (flash / "firmware" / "2.bin").write_bytes(data)
        assert zlib.crc32(data) != zlib.crc32(files["firmware/2.bin"])
        mark = len(device.lines)
        device.type("selftest full")
        device.expect("bed1 fault selftest files", within=5.0, since=mark)
        device.expect("^error: failed: files", within=5.0, since=mark)
        state = ask(device, "status")
        assert state["selftest"] == "files" and state["contactor"] == "blocked"
        mark = len(device.lines)
        device.type("on cabin1")
        said = device.expect("^error: cabin1: ", within=2.0, since=mark)
        assert re.search(r"the self-test failed \(files\)", said.string)


def test_a_wrong_mains_is_a_warning_on_a_board_without_a_third_clock() -> None:
    with SimulatedDevice(settings={"supply.hz": 60, "supply.hz_percent": 8}) as device:
        device.run(1.5)
        device.type("on bed1")
        device.truck.command("supply hz=63")
        device.run(25.0)
        assert not rows(ask(device, "selftest"))["mains clock"]["ok"]
        said = [e for e in ask(device, "events 64")["events"] if e["reason"] == "clock"]
        assert [e["event"] for e in said] == ["warning"]
        assert abs(said[0]["frequency_hz"] - 63) < 0.1
        assert ask(device, "outlets")["outlets"]["bed1"]["on"]
