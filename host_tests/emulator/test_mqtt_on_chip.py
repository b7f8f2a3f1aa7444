"""MQTT on the emulated RP2040: what it costs the fast lane and the control lane.

`python -m tools.bench.lanes` measures the same for longer.
"""

from __future__ import annotations

import json
from pathlib import Path

from host_tests.emulator.conftest import Bench
from tools import stage
from tools.bench import lanes, stock
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


def test_no_turn_of_the_whole_of_mqtt_takes_a_mains_cycle() -> None:
    """Commands, refusals, state, events, answers, discovery, and a broker that goes and comes
    back; a collection of the heap has a turn of its own."""
    longest_ms = lanes.turn_ms("on", seconds=5.0)
    print(f"longest turn: {longest_ms} ms")
    assert 1.0 < longest_ms <= lanes.CYCLE_MS


def test_long_answers_delay_the_control_lane_by_less_than_a_mains_cycle() -> None:
    """Collections of the heap included, which take longer than that, but fall between windows."""
    late_ms = lanes.mqtt_delay_ms(3.0)
    print(f"asked by MQTT: a step {late_ms} ms late")
    assert 0.0 < late_ms <= lanes.CYCLE_MS
    late = lanes.console_delays_ms(("get", "outlets", "energy"))
    print(f"asked by the console, ms late: {late}")
    assert len(late) == 3 and 0.0 < max(late.values()) <= lanes.CYCLE_MS, late


def test_commands_at_a_stock_image_hold_the_control_lane_up_for_four_cycles_or_so() -> None:
    """There the modules are read from flash while it works, and a collection takes two cycles."""
    found = stock.measure(("on",), settled_s=8.0, seconds=4)
    print(f"stock image: {found}")
    assert found["messages"] > 20, "the board has to be busy"
    assert found["windows_alone_percent"] >= 40
    assert found["late_ms"] <= 6 * lanes.CYCLE_MS


def test_a_busy_mqtt_delays_no_trip_and_a_handshake_the_control_lane_for_a_second() -> None:
    latencies, told, gap_ms = lanes.trips(15)
    print(f"trips in {latencies[-1]:.0f} us at most, control lane paused {gap_ms:.0f} ms")
    assert told["broker"]["handshakes"] > 1 and told["mqtt"]["connects"] > 1
    assert told["mqtt"]["commands"] > 5
    assert latencies[-1] <= 1000
    assert 820 <= gap_ms < 1500
