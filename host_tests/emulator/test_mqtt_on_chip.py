"""lib/mqtt.py on the emulated RP2040: no step of it holds the loop up for a mains cycle."""

from __future__ import annotations

import json
from pathlib import Path

from host_tests.emulator.conftest import Bench
from tools import stage
from tools.emulator import EmulatedPico

ROOT = Path(__file__).resolve().parents[2]
DEVICE = ROOT / "host_tests" / "micropython" / "device"
CYCLE_US = 16_667
SCAN_US = 416
_TIMEOUT_S = 60.0


def test_no_step_takes_a_mains_cycle_nor_delays_a_scan(stock_image: Path) -> None:
    """Whatever is between two turns of the event loop: a message that comes, one that goes, an
    acknowledgement, all of an outage's events at once. Without the application's part."""
    text = (ROOT / "lib" / "mqtt.py").read_text()
    files = {
        "mqtt_steps.py": (DEVICE / "mqtt_steps.py").read_bytes(),
        "socket.py": b"",
        "lib/__init__.py": b"",
        "lib/mqtt.mpy": stage.compiled(text, "lib/mqtt.py", "rp2040"),
    }
    with EmulatedPico(stock_image, Bench(), files) as pico:
        said = pico.execute("import mqtt_steps\nmqtt_steps.main()", timeout=_TIMEOUT_S)
    longest = json.loads(said.strip().splitlines()[-1])
    print("longest steps in us:", longest)
    between_us = longest.pop("between_scans")
    assert len(longest) == 7
    assert max(longest.values()) < CYCLE_US, longest
    assert SCAN_US <= between_us < SCAN_US + 50, "the fast lane must not notice any of it"
