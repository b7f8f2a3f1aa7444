"""A stock image's firmware in less heap than a Pico W leaves, MQTT connected and nobody at the
console: it answers commands over MQTT, switches, trips, and says so."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from host_tests.scenarios.test_scenarios_small import HEAP
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


def test_two_hundred_events_of_an_outage_arrive_in_order(tmp_path: Path) -> None:
    """More than the ring in RAM has on such a board: the rest comes from flash."""
    happened: list[Any] = []
    subscribed = threading.Event()

    def received(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/event"):
            happened.append(json.loads(message.payload))

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_message = received
    client.on_connect = lambda *_: client.subscribe("tailgate/#", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.reconnect_delay_set(0.1, 0.3)
    with Mosquitto(tmp_path) as broker:
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port}
        try:
            with SimulatedDevice(heap=HEAP, frozen=False, settings=settings) as device:
                assert subscribed.wait(10)
                device.run_paced(5_000_000)
                assert happened, "\n".join(line.text for line in device.lines)
                broker.stop()
                subscribed.clear()
                for _ in range(21):
                    for verb in ("on", "off"):
                        for outlet in device.board.outlets:
                            assert device.command(f"{verb} {outlet.name}").startswith("ok")
                        device.run(0.5)
                before = len(happened)
                broker.start()
                assert subscribed.wait(10)

                def told(seconds: float) -> bool:
                    time.sleep(min(seconds, 0.01))
                    return len(happened) >= before + 210

                device.run_paced(device.now_us + 60_000_000, wait=told)
                text = "\n".join(line.text for line in device.lines)
        finally:
            client.loop_stop()
            client.disconnect()
    seqs = list(dict.fromkeys(event["seq"] for event in happened))
    missing = [seq for seq in range(1, seqs[-1]) if seq not in seqs]
    assert seqs == list(range(1, seqs[-1] + 1)), (missing[:10], len(missing), text[-800:])
    assert len(seqs) > 210 and "MemoryError" not in text
