"""What MQTT costs the other two lanes, on the emulated chip; `python -m tools.bench.lanes`.

The instrumented image with a broker in its own memory (busy_broker.py): 25 messages a second come
in, more than are obeyed; state, outlets, events, answers and discovery go out; the connection ends
every four seconds. The radio's own work is not in it: the Pico has none.

- `mqtt_turn_ms`: the longest that a task of MQTT keeps the control lane waiting, collections of
  the heap apart (they take their time wherever they fall).
- `mqtt_delay_ms`, `console_delay_ms`: for how long a finished window had to wait for the control
  lane at most, beyond the 2 ms that are planned, collections of the heap included, while MQTT, or
  the console, is asked for long answers (status, get, ...). The storage task's own time is
  not in it.
- `mqtt_trip_us`: fast trips as chip.py has them, under all its load and with MQTT busy besides,
  each new connection keeping Python in C for 0.82 s as the Pico W's TLS handshake does.
- `mqtt_control_gap_ms`: the longest time between two steps of the control lane meanwhile. The load
  has blocks of a second of its own, so it is no less.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from typing import Any

from tools.bench import image
from tools.bench.chip import Chip, trip_latencies
from tools.progress import step

TRIPS = 40
CYCLE_MS = 1000 / 60
PLANNED_MS = 2.0  # FastLane.pause_ms()
QUESTIONS = (
    "status",
    "outlets",
    "energy",
    "energy hours",
    "get",
    "events 64",
    "help",
    "selftest",
    "settings export",
    "set bed1.limit_a 12",
    "cal",
    "time",
    "mode",
    "capture bed1",
)
SECONDS = 9.0  # two connections, and what comes with each


def busy(words: str, seed: int = 5) -> Chip:
    """A chip that protects, with MQTT as busy as busy_broker.start() makes it."""
    chip = Chip(seed)
    chip.boot()
    chip.ask("time set 2026-11-22T19:00:00Z")  # no TLS without the time
    chip.ask("busy " + words)
    return chip


def done(chip: Chip) -> dict[str, Any]:
    """What MQTT did since the last call; `turn_us_max` among it."""
    return chip.ask("busy", 20.0)


def turn_ms(words: str, seconds: float = SECONDS) -> float:
    """The longest turn of a task of MQTT, collections apart, once the commands are loaded."""
    chip = busy("apart " + words)
    chip.pico.run(1.0)
    before = done(chip)
    chip.pico.run(seconds)
    after = done(chip)
    assert after["mqtt"]["commands"] > before["mqtt"]["commands"]
    assert after["broker"]["published"] > before["broker"]["published"] + 5 * seconds
    return round(after["turn_us_max"] / 1000, 1)


def _late_ms(stats: dict[str, Any]) -> float:
    """For how much longer than planned a finished window had waited for its step, at most."""
    return round(stats["late_us_max"] / 1000 - PLANNED_MS, 1)


def mqtt_delay_ms(seconds: float = SECONDS) -> float:
    """The control lane's longest delay while MQTT is asked for long answers."""
    chip = busy("look")
    chip.pico.run(1.0)
    before = done(chip)
    chip.ask("stats", 20.0)
    chip.pico.run(seconds)
    late_ms = _late_ms(chip.ask("stats", 20.0))
    after = done(chip)
    assert after["mqtt"]["commands"] > before["mqtt"]["commands"] + seconds
    return late_ms


def console_delays_ms(questions: tuple[str, ...] = QUESTIONS) -> dict[str, float]:
    """The same by what the console is asked, as JSON and in words. Under load: then no flash is
    erased, which holds everything up for a time of its own."""
    chip = Chip(5)
    chip.boot()
    chip.truck.command("plug cabin1 resistive amps=15")
    chip.ask("time set 2026-11-22T19:00:00Z")
    for name in chip.relays:
        chip.ask("on " + name)
    chip.pico.run(3.0)  # what the first time and the relays bring about is over
    found = {}
    for line in questions:
        chip.ask("stats", 20.0)
        chip.ask(line, 20.0)
        chip.pico.send(line + "\r")
        chip.pico.run(0.7)
        found[line] = _late_ms(chip.ask("stats", 20.0))
    return found


def trips(faults: int = TRIPS, seed: int = 9) -> tuple[list[float], dict[str, Any], float]:
    """Latencies in us of so many short circuits with MQTT busy and handshakes, what MQTT did, and
    the longest time in ms between two steps of the control lane."""
    chip = busy("look tls", seed)
    chip.ask("stats", 20.0)
    found = trip_latencies(chip, faults, seed, lambda text: step("MQTT busy: " + text))
    gap_ms = chip.ask("stats", 20.0)["gap_us_max"] / 1000
    return sorted(pair[0] for pair in found), done(chip), gap_ms


def measure(faults: int = TRIPS) -> dict[str, Any]:
    """The `lanes` part of bench.json."""
    image.ensure()
    step(f"turns of MQTT's tasks, and {faults} short circuits with MQTT busy")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        latency = pool.apply_async(trips, (faults,))
        orders = pool.apply_async(turn_ms, ("on",))
        asked = pool.apply_async(mqtt_delay_ms)
        console = pool.apply_async(console_delays_ms)
        latencies, _, gap_ms = latency.get()
        return {
            "mqtt_turn_ms": orders.get(),
            "mqtt_delay_ms": asked.get(),
            "console_delay_ms": max(console.get().values()),
            "mqtt_trip_us": {
                "p50": round(statistics.median(latencies), 1),
                "max": round(latencies[-1], 1),
                "n": len(latencies),
            },
            "mqtt_control_gap_ms": round(gap_ms),
        }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
