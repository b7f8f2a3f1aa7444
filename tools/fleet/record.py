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

_SECONDS = 16.0  # virtual ones, at most
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
        asked = False
        states = 0  # how many messages have been looked at

        def wait(seconds: float) -> bool:
            nonlocal asked, states
            time.sleep(min(seconds, 0.002))
            while states < len(heard):
                message = heard[states]
                states += 1
                if not message.topic.endswith("/state") or message.topic.count("/") != 2:
                    continue
                state = json.loads(message.payload)
                if asked and state["outlets"][_OUTLET]["on"]:
                    return any(m.topic.endswith("/response") for m in heard)
                if not asked and not state["starting"]:
                    asked = True
                    base = f"tailgate/{state['device']}/"
                    client.publish(f"{base}outlet/{_OUTLET}/set", "ON", qos=1)
                    client.publish(f"{base}command", '{"id":"fleet","cmd":"energy"}', qos=1)
            return False

        try:
            with SimulatedDevice(settings=settings) as device:
                device.run_paced(round(_SECONDS * 1e6), wait=wait)
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
            keep = Message(topic, message.payload, message.qos, True)
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
