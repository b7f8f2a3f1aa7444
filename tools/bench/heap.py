"""What a board needs that keeps the modules in its heap, as one with a stock image does.

The firmware as tools/stage.py makes it, on the i386 unix port (the chip's object sizes to the
byte), MQTT connected to a real broker: the smallest heap in which it reports for some seconds, in
which it answers a command over MQTT too, and in which it shows `status` on the console too.
What a Pico W leaves is 190 KB. `python -m tools.bench.heap` prints these alone.
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
    """Bytes that each use needs, and what is left of a Pico W's heap."""
    step("smallest heap for the firmware as .mpy with MQTT connected")
    with tempfile.TemporaryDirectory() as home, Mosquitto(Path(home)) as broker:
        reporting = _smallest(lambda heap: works(broker.port, heap))
        answering = _smallest(lambda heap: works(broker.port, heap, command=True))
        console = _smallest(lambda heap: works(broker.port, heap, typed="status"))
    return {
        "needed_reporting_bytes": reporting,
        "needed_answering_bytes": answering,
        "needed_console_bytes": console,
        "spare_of_pico_w_bytes": PICO_W_HEAP - reporting,
        "spare_of_pico_w_console_bytes": PICO_W_HEAP - console,
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


def works(port: int, heap: int, command: bool = False, typed: str = "") -> bool:
    """Whether state messages come in a heap of this size, with the broker at `port`; an answer by
    MQTT, too, if a `command` is to be sent; and one to what is `typed` on the console."""
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
            if typed:
                device.type(typed)
                device.run_paced(device.now_us + 2_000_000)
            text = "\n".join(line.text for line in device.lines)
    except DeviceError:
        return False
    finally:
        client.loop_stop()
        client.disconnect()
    good = len(states) >= _SECONDS - 2 and "Error" not in text
    if typed:
        good &= "\nok" in "\n" + text and "error:" not in text
    return good and (not command or any(b'"ok":true' in answer for answer in answers))


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
