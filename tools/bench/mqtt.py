"""Command to relay over MQTT: the firmware on the real unix port, paced to the wall clock.

From the instant at which a client publishes ON or OFF to the relay coil's edge in the simulated
truck, with state messages each second, against mosquitto on the loopback.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from tools.progress import ToolError, step
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice

COMMANDS = 100
_PAUSE_S = 0.25  # the firmware takes five commands a second
_OUTLET = "bed1"
_UNIQUE_ID = bytes.fromhex("e66164084321beef")


def measure(commands: int = COMMANDS) -> dict[str, Any]:
    """The `mqtt` part of bench.json."""
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
        "command_to_relay_ms": {
            "p50": round(statistics.median(latencies), 1),
            "max": round(max(latencies), 1),
            "n": len(latencies),
        }
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
