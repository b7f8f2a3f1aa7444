"""A stock image's firmware in less heap than a Pico W leaves, MQTT connected and nobody at the
console: it answers commands over MQTT, switches, trips, and says so."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from tools.bench.heap import PICO_W_HEAP
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice

_MARGIN = 4_000


def test_it_answers_and_trips_in_a_small_heap(tmp_path: Path) -> None:
    answers: list[Any] = []
    happened: list[Any] = []
    known = threading.Event()
    topic: list[str] = []

    def received(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/state") and "/outlet/" not in message.topic:
            topic[:] = [message.topic.removesuffix("state") + "command"]
            known.set()
        elif message.topic.endswith("/response"):
            answers.append(json.loads(message.payload))
        elif message.topic.endswith("/event"):
            happened.append(json.loads(message.payload))

    with Mosquitto(tmp_path) as broker:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_message = received
        client.connect("127.0.0.1", broker.port)
        client.subscribe("tailgate/#")
        client.loop_start()
        settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port}
        heap = PICO_W_HEAP - _MARGIN
        try:
            with SimulatedDevice(heap=heap, frozen=False, settings=settings) as device:
                device.run_paced(4_000_000)
                assert known.is_set(), "\n".join(line.text for line in device.lines)
                for command in ("version", "on", "off", "on"):
                    order: dict[str, Any] = {"id": str(len(answers)), "cmd": command}
                    if command != "version":
                        order["args"] = ["bed1"]
                    client.publish(topic[0], json.dumps(order))
                    device.run_paced(device.now_us + 1_500_000)
                assert [answer["ok"] for answer in answers] == [True] * 4, answers
                device.sim("plug bed1 resistive amps=150")
                device.run_paced(device.now_us + 1_500_000)
        finally:
            client.loop_stop()
            client.disconnect()
    assert ("bed1", "tripped") in [(event["outlet"], event["event"]) for event in happened]
    text = "\n".join(line.text for line in device.lines)
    assert "MemoryError" not in text and "not enough memory" not in text
