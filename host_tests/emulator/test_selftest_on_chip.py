"""The self-tests on the emulated RP2040: registers, the image in flash, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from host_tests.emulator import rig
from host_tests.emulator.conftest import Bench
from host_tests.micropython.running import DEVICE, ROOT
from tools import stage
from tools.bench.chip import Chip
from tools.emulator import EmulatedPico

_TEXT = b"the sensors are still being measured"
_BLIND_US = 20
_TRIP_US = 1000

_TIMES = """
import time
from array import array
from firmware.hal import memory_viper as m
a = array('i', range(100)); keep = array('i', bytes(24))
def us(blocks):
    start = time.ticks_us()
    for _ in range(200): m.march(a, 0, 0, blocks, keep)
    return (time.ticks_us() - start) / 200
none = us(0)
print((us(8) - none) / 8, (us(16) - none) / 16, a == array('i', range(100)))
# a register that cannot be written, one of the watchdog's scratch registers
print(m.march(0x40000000, 0, 0, 1, keep) != 0, m.march(0x20000000 + 0x30000, 0, 1, 1, keep))
"""


def rows(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The table by name."""
    return {row["name"]: row for row in answer["tests"]}


def test_plain_and_machine_code_are_equal_on_the_chip(stock_image: Path) -> None:
    """As on a board: MicroPython's compiler for this chip has traps that others have not."""
    files = {"memory_twins.py": (DEVICE / "memory_twins.py").read_bytes()}
    for folder in ("", "hal/"):
        files[f"firmware/{folder}__init__.py"] = b""
    for module in ("checksum", "memory"):
        for twin in (module, f"{module}_viper"):
            name = f"firmware/hal/{twin}.py"
            files[name.replace(".py", ".mpy")] = stage.compiled(
                (ROOT / name).read_text(), name, "rp2040"
            )
    with EmulatedPico(stock_image, Bench(), files) as pico:
        said = pico.execute("import memory_twins\nmemory_twins.main(5, 60)", timeout=60.0)
    assert said.strip() == "equal 60"


def test_the_table_is_good_and_a_short_circuit_is_cut_while_all_is_tested() -> None:
    chip = rig.booted(seed=6)
    table = rows(chip.ask("selftest"))
    assert all(row["ok"] for row in table.values()), table
    assert {"memory", "limits", "image", "outputs", "watchdog", "reference"} <= set(table)
    assert table["reference"]["text"] == "code 876"
    rig.close(chip, "bed1")
    chip.pico.send("selftest full\r")
    chip.pico.run(0.06)
    latency, _ = rig.short(chip, "bed1")
    assert latency <= _TRIP_US
    chip.pico.expect("ok   memory", timeout=8.0)
    chip.pico.run(0.5)
    assert rig.verdict(chip, "bed1") == "tripped/peak"
    assert not [e for e in rig.events(chip, "fault") if e["reason"] == "selftest"]


def test_a_changed_byte_of_the_image_opens_everything() -> None:
    chip = rig.booted(seed=7)
    rig.close(chip, "bed1")
    memory = chip.pico._mcu.flash
    at = bytes(memory).find(_TEXT)
    assert at > 0
    memory[at] ^= 0x20  # a capital letter: nothing else is different
    answer = chip.ask("selftest full", timeout=20.0)
    assert not answer["ok"] and not rows(answer)["image"]["ok"], answer
    assert rig.verdict(chip, "bed1") == "fault/selftest"
    relays = {*chip.relays.values(), chip.board.contactor}
    assert all(chip.pico.level(gpio) == 0 for gpio in relays if gpio is not None)
    # and after a restart it is found before anything may close
    chip.pico.reset()
    chip.pico.run(rig.BOOT_S)
    answer = chip.ask("on cabin2")
    assert "the self-test failed (image)" in answer["error"]
    assert all(chip.pico.level(gpio) == 0 for gpio in relays if gpio is not None)


def test_a_watchdog_whose_tick_stands_still_opens_everything() -> None:
    chip = rig.booted(seed=8)
    rig.close(chip, "bed1")
    watchdog = chip.pico._mcu.watchdog
    held = watchdog.timer.counter & 0xFFFFFF
    read = watchdog.read_uint32
    watchdog.read_uint32 = lambda offset: (
        read(offset) & ~0xFFFFFF | held if offset == 0 else read(offset)
    )
    answer = chip.ask("selftest full", timeout=20.0)
    assert not answer["ok"] and not rows(answer)["watchdog"]["ok"], answer
    assert rig.verdict(chip, "bed1") == "fault/selftest"


def test_interrupts_are_off_for_no_more_than_twenty_microseconds() -> None:
    """A block with its pair of calls that switch interrupts off and on, of which one half counts;
    the chip's timer is the judge."""
    chip = Chip(seed=9)
    chip.boot()
    chip.pico.send("exit yes\r")
    chip.pico.run(1.0)
    first, second = chip.pico.execute(_TIMES, timeout=30.0).strip().splitlines()
    eight, sixteen, same = first.split()
    assert same == "True"
    assert float(eight) - 2.4 <= _BLIND_US and float(sixteen) - 2.4 <= _BLIND_US
    assert second == "True 0"
