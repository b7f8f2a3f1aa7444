"""What one real controller says: the firmware on MicroPython, at a broker of its own for seconds.

Called by __main__.py and the tests, before the fleet starts: its members repeat these messages
under their own names, so they are the firmware's, whatever its version.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from tools.progress import ToolError
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice

_SECONDS = 8.0
_OUTLET = "bed1"


@dataclass(frozen=True)
class Message:
    """One message; `topic` without its `tailgate/<device id>/`, or whole when it has none."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass
class Recording:
    """`device_id`; `greeting`: what it publishes on connecting, in order; `state`, `event`,
    `response`: one of each, as objects; `switched`: outlet state before and after."""

    device_id: str = ""
    greeting: list[Message] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    event: dict[str, Any] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)
    switched: list[Message] = field(default_factory=list)


def _listen(port: int, heard: list[paho.MQTTMessage]) -> paho.Client:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard.append(message)
    client.connect("127.0.0.1", port)
    client.subscribe([("tailgate/#", 1), ("homeassistant/#", 1)])
    client.loop_start()
    return client


def record() -> Recording:
    """Run the firmware, switch an outlet, ask it something; ToolError when it does not answer."""
    heard: list[paho.MQTTMessage] = []
    with tempfile.TemporaryDirectory() as home, Mosquitto(Path(home)) as broker:
        client = _listen(broker.port, heard)
        settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port}
        asked = 0.0
        begin = time.monotonic()

        def wait(seconds: float) -> bool:
            nonlocal asked
            now = time.monotonic() - begin
            if not asked and any(m.topic.endswith("/state") for m in heard) and now > 3:
                asked = now
                own = next(m.topic for m in heard if m.topic.startswith("tailgate/"))
                device_id = own.split("/")[1]
                client.publish(f"tailgate/{device_id}/outlet/{_OUTLET}/set", "ON", qos=1)
                client.publish(
                    f"tailgate/{device_id}/command", '{"id":"fleet","cmd":"energy"}', qos=1
                )
            time.sleep(min(seconds, 0.002))
            return bool(asked) and now > asked + 2

        try:
            with SimulatedDevice(settings=settings) as device:
                device.run_paced(round(_SECONDS * 2e6), wait=wait)
        finally:
            client.loop_stop()
            client.disconnect()
    return _sorted(heard)


def _sorted(heard: list[paho.MQTTMessage]) -> Recording:
    found = Recording()
    outlets: dict[str, bytes] = {}
    for message in heard:
        root, device_id, *rest = message.topic.split("/")
        own = root == "tailgate"
        if own and rest[0] == "state":
            found.device_id = device_id
            found.state = json.loads(message.payload)
        elif own and rest[0] == "event":
            found.event = json.loads(message.payload)
        elif own and rest[0] == "response":
            found.response = json.loads(message.payload)
        elif own and rest[-1] in ("set", "command"):
            continue
        else:
            topic = "/".join(rest) if own else message.topic
            keep = Message(topic, message.payload, 1, True)
            if topic == "availability" and message.payload != b"online":
                continue
            if topic in outlets:
                if topic == f"outlet/{_OUTLET}/state" and message.payload != outlets[topic]:
                    before = Message(topic, outlets[topic], 1, True)
                    found.switched = [keep, before]
                continue
            outlets[topic] = message.payload
            found.greeting.append(keep)
    missing = [name for name, value in vars(found).items() if not value]
    if missing:
        raise ToolError("the firmware has not published: " + ", ".join(missing))
    return found
