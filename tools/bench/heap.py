"""What a board needs that keeps the modules in its heap, as one with a stock image does.

The firmware as .mpy files on the i386 unix port (the chip's object sizes to the byte), MQTT
connected to a real broker: the smallest heap in which it reports for some seconds and answers a
command. What a Pico W leaves is 190 KB.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from tools.progress import step
from tools.runtime.broker import Mosquitto
from tools.simulator.device import DeviceError, SimulatedDevice

PICO_W_HEAP = 190_000
_STEP = 2_000
_LEAST, _MOST = 120_000, 260_000
_SECONDS = 4


def measure() -> dict[str, Any]:
    """`mpy_heap_needed_bytes`, reporting; and with a command answered, too."""
    step("smallest heap for the firmware as .mpy with MQTT connected")
    with tempfile.TemporaryDirectory() as home, Mosquitto(Path(home)) as broker:
        reporting = _smallest(lambda heap: _works(broker.port, heap, command=False))
        answering = _smallest(lambda heap: _works(broker.port, heap, command=True))
    return {
        "needed_reporting_bytes": reporting,
        "needed_answering_bytes": answering,
        "spare_of_pico_w_bytes": PICO_W_HEAP - reporting,
    }


def _smallest(works: Any) -> int:
    low, high = _LEAST, _MOST
    while high - low > _STEP:
        middle = (low + high) // 2 // 1000 * 1000
        if works(middle):
            high = middle
        else:
            low = middle
    return high


def _works(port: int, heap: int, command: bool) -> bool:
    """Whether state messages come, and an answer if one is asked for, in a heap of this size."""
    states: list[bytes] = []
    answers: list[bytes] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)

    def received(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/state") and "/outlet/" not in message.topic:
            states.append(message.payload)
            if command and len(states) == 1:
                topic = message.topic.removesuffix("state") + "command"
                client.publish(topic, json.dumps({"id": "1", "cmd": "version"}))
        elif message.topic.endswith("/response"):
            answers.append(message.payload)

    client.on_message = received
    client.connect("127.0.0.1", port)
    client.subscribe("tailgate/#")
    client.loop_start()
    settings = {"mqtt.host": "127.0.0.1", "mqtt.port": port}
    try:
        with SimulatedDevice("simulated", heap=heap, frozen=False, settings=settings) as device:
            device.run_paced(_SECONDS * 1_000_000)
            text = "\n".join(line.text for line in device.lines)
    except DeviceError:
        return False
    finally:
        client.loop_stop()
        client.disconnect()
    good = len(states) >= _SECONDS - 2 and "Error" not in text
    return good and (not command or any(b'"ok":true' in answer for answer in answers))
