"""MQTT: command to relay, heap, size of the library; `python -m tools.bench.mqtt` prints them.

Command to relay: the firmware on the real unix port, paced to the wall clock. From the instant at
which a client publishes ON or OFF to the relay coil's edge in the simulated truck, with state
messages each second, against mosquitto on the loopback.

Heap: what the connected firmware has allocated more than one without a broker's name, after a
collection, on the i386 unix port (the chip's object sizes). The code is not in it: it is loaded
either way, and where it is frozen in it lies in flash.

Library: the whole of lib/mqtt.py as a .mpy file, before tools/shrink.py makes it smaller.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from tools import stage
from tools.progress import ToolError, step
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = 100
_SECONDS = 8  # until the heap is looked at: connected, discovery sent, some state messages
_PAUSE_S = 0.25  # the firmware takes five commands a second
_OUTLET = "bed1"
_UNIQUE_ID = bytes.fromhex("e66164084321beef")


# Put before main.py: a task that tells each second what is allocated.
_PROBE = """
import asyncio
import gc
from firmware import app

async def _probe():
    while True:
        await asyncio.sleep(1)
        gc.collect()
        print("allocated", gc.mem_alloc())

_serve = app.App._serve_console

async def _both(self):
    asyncio.create_task(_probe())
    await _serve(self)

app.App._serve_console = _both
"""


def measure(commands: int = COMMANDS) -> dict[str, Any]:
    """The `mqtt` part of bench.json."""
    return {
        "command_to_relay_ms": command_to_relay(commands),
        "mqtt_heap_bytes": heap(),
        "mqtt_library_bytes": library(),
    }


def library() -> int:
    """Bytes of lib/mqtt.py, compiled for the RP2040."""
    return len(stage.compiled((ROOT / "lib/mqtt.py").read_text(), "lib/mqtt.py", "rp2040"))


def heap() -> int:
    """Bytes that MQTT takes of the heap when it is connected, without TLS."""
    step("heap of the connected firmware, and of one that has no broker")
    with tempfile.TemporaryDirectory() as home, Mosquitto(Path(home)) as broker:
        return _allocated({"mqtt.host": "127.0.0.1", "mqtt.port": broker.port}) - _allocated({})


def _allocated(settings: dict[str, Any]) -> int:
    with tempfile.TemporaryDirectory(prefix="tailgate-bench-") as folder:
        tree = Path(folder) / "heap"
        tree.mkdir()
        for name in ("firmware", "lib", "boot.py"):
            (tree / name).symlink_to(ROOT / name)
        (tree / "main.py").write_text(_PROBE + (ROOT / "main.py").read_text())
        with SimulatedDevice(root=tree, settings=settings) as device:
            device.run_paced(_SECONDS * 1_000_000)
            text = "\n".join(device.console())
    found = [int(number) for number in re.findall(r"^allocated (\d+)$", text, re.MULTILINE)]
    if len(found) < _SECONDS // 2 or ("broker_up" in text) != bool(settings):
        raise ToolError("the firmware did not do what its heap was to be measured for:\n" + text)
    return min(found[-3:])


def command_to_relay(commands: int) -> dict[str, Any]:
    """Milliseconds from publishing to the relay's edge: median, worst, number of commands."""
    step(f"{commands} MQTT commands, from publishing to the relay's edge")
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as flash,
        Mosquitto(Path(home)) as broker,
    ):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port}
        try:
            with SimulatedDevice(
                "simulated", flash=flash, settings=settings, unique_id=_UNIQUE_ID
            ) as device:
                latencies = _latencies(device, client, commands)
        finally:
            client.loop_stop()
            client.disconnect()
    return {
        "p50": round(statistics.median(latencies), 1),
        "max": round(max(latencies), 1),
        "n": len(latencies),
    }


def _latencies(device: SimulatedDevice, client: paho.Client, commands: int) -> list[float]:
    truck = device.truck
    relay = next(o.relay for o in device.board.outlets if o.name == _OUTLET)
    topic = f"tailgate/tailgate-{_UNIQUE_ID[-3:].hex()}/outlet/{_OUTLET}/set"
    sent: list[float] = []  # wall clock
    seen: list[float] = []
    known = 0
    words = itertools.cycle(("ON", "OFF"))
    due = time.monotonic() + 3.0  # boot, connection, sensors learnt

    def watch(seconds: float) -> bool:
        """Called every few ms of paced time: look for edges, publish when it is time."""
        nonlocal known, due
        for edge in truck.edges[known:]:
            if edge[1] == relay and len(seen) < len(sent):
                seen.append(time.monotonic())
        known = len(truck.edges)
        now = time.monotonic()
        if len(seen) == len(sent) and now >= due:
            if len(sent) == commands:
                return True
            client.publish(topic, next(words))
            sent.append(now)
            due = now + _PAUSE_S
        elif sent and now - sent[-1] > 5.0:
            return True
        time.sleep(min(seconds, 0.001))
        return False

    device.run_paced(int((commands * 0.5 + 30) * 1e6), wait=watch)
    if len(seen) < commands:
        raise ToolError(f"only {len(seen)} of {commands} MQTT commands reached the relay")
    return [(b - a) * 1000 for a, b in zip(sent, seen, strict=True)]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
