"""Why the chip started, from the registers that the data sheets name."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from firmware import events

WATCHDOG_REASON = 0x40058008
CHIP_RESET = 0x40064008
RTC_RESET_STATE = 0x3FF48034
PWRON, HARD, WDT, SOFT = 1, 2, 3, 5


@pytest.fixture
def chip(monkeypatch, tmp_path):
    """firmware.hal.system on a chip with these registers; `cause(platform, port's cause, mem)`."""
    machine = SimpleNamespace(
        PWRON_RESET=PWRON, HARD_RESET=HARD, WDT_RESET=WDT, SOFT_RESET=SOFT, mem32={}
    )
    monkeypatch.setitem(sys.modules, "machine", machine)
    (tmp_path / "in").write_text("")
    with (tmp_path / "in").open() as stdin, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        patched.delitem(sys.modules, "firmware.hal.system", raising=False)
        system = importlib.import_module("firmware.hal.system")

        def cause(platform, port_cause, mem):
            machine.reset_cause = lambda: port_cause
            machine.mem32 = mem
            patched.setattr(system, "sys", SimpleNamespace(platform=platform))
            return events.REASONS[system.reset_cause()]

        yield cause
    sys.modules.pop("firmware.hal.system", None)


@pytest.mark.parametrize(
    ("watchdog", "chip_reset", "why"),
    [
        (0b00, 1 << 8, "power_on"),
        (0b00, 1 << 16, "external_reset"),
        (0b00, 1 << 20, "external_reset"),
        (0b01, 1 << 8, "watchdog"),
        (0b10, 1 << 8, "reboot"),
        (0b01, 1 << 16, "watchdog"),  # a watchdog reset leaves CHIP_RESET as it was
        (0b10, 1 << 20, "reboot"),
        (0b11, 1 << 8, "watchdog"),
        (0b00, 0, "power_on"),
        (0b00, 0xFFFFFFFF, "power_on"),  # nobody knows: what is said of a fresh start
    ],
)
def test_rp2040(chip, watchdog, chip_reset, why):
    port_cause = WDT if watchdog else PWRON  # as ports/rp2 has it, whoever forced the watchdog
    assert chip("rp2", port_cause, {WATCHDOG_REASON: watchdog, CHIP_RESET: chip_reset}) == why


@pytest.mark.parametrize(
    ("port_cause", "rtc", "why"),
    [
        (PWRON, 1, "power_on"),
        (PWRON, 15, "brownout"),
        (PWRON, 15 | 14 << 6, "brownout"),  # the other core's cause stands above it
        (PWRON, 1 | 15 << 6, "power_on"),
        (WDT, 8, "watchdog"),
        (HARD, 12, "reboot"),  # machine.reset()
        (SOFT, 12, "reboot"),
    ],
)
def test_esp32(chip, port_cause, rtc, why):
    assert chip("esp32", port_cause, {RTC_RESET_STATE: rtc}) == why


def test_elsewhere_no_register_is_read(chip):
    assert chip("linux", PWRON, {}) == "power_on"
    assert chip("linux", HARD, {}) == "reboot"
