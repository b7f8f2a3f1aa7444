"""The whole firmware at a broker, with the simulated truck: what docs/mqtt.md says is there."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython.mqtt_peers import Peer
from tools.runtime.broker import Mosquitto
from tools.simulator.device import ROOT, SimulatedDevice
from tools.simulator.port import SimulatedPort

BASE = "tailgate/dut/"
DOCUMENT = ROOT / "docs" / "mqtt.md"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def board(broker: Mosquitto) -> Iterator[Callable[..., SimulatedPort]]:
    running: list[SimulatedPort] = []

    def start(**settings: Any) -> SimulatedPort:
        known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": "dut"}
        port = SimulatedPort(SimulatedDevice(settings={**known, **settings}))
        running.append(port)
        return port.__enter__()

    yield start
    for port in running:
        port.__exit__(None, None, None)
        assert port.error is None


def documented() -> dict[str, tuple[bool, bool]]:
    """{topic as a pattern: (the device publishes it, retained)} of the table in the document."""
    table = {}
    for line in DOCUMENT.read_text().splitlines():
        row = re.fullmatch(r"\| `([^`]+)` \| (in|out) \| ?(\d?) ?\| ?(yes|no|) ?\| .* \|", line)
        if row:
            topic = row[1] if row[1].startswith("homeassistant/") else BASE + row[1]
            pattern = re.escape(topic.replace("<device_id>", "dut")).replace("<name>", r"\w+")
            table[pattern] = (row[2] == "out", row[4] == "yes")
    return table


def ready(peer: Peer) -> None:
    def started() -> bool:
        texts = peer.texts(BASE + "state")
        return bool(texts) and not json.loads(texts[-1])["starting"]

    peer.wait(started, 20)


def shown_on(peer: Peer, outlet: str = "bed1") -> bool:
    texts = peer.texts(f"{BASE}outlet/{outlet}/state")
    return bool(texts) and bool(json.loads(texts[-1])["on"])


def test_the_topic_tree_is_the_documented_one(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    table = documented()
    assert len(table) == 9, "the table's form has changed"
    outlets = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
    with Peer(broker.port, "#") as peer:
        port = board()
        ready(peer)
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.publish(BASE + "command", '{"id": 1, "cmd": "version"}')
        peer.wait(lambda: peer.texts(BASE + "response"))
        peer.wait(lambda: shown_on(peer))
        peer.wait(lambda: peer.texts("homeassistant/device/dut/config"))
        peer.wait(lambda: peer.texts(BASE + "energy"))
        hours = json.loads(peer.texts(BASE + "energy")[0])
        assert hours["outlets"] == list(outlets) and len(hours["rows"][-1]["kwh"]) == 5
        seen = {topic for topic, _, _ in list(peer.messages)}
        with Peer(broker.port, "#") as late:
            time.sleep(1.5)
            retained = {topic for topic, _, kept in list(late.messages) if kept}
        port.call(port.device.power_cut)
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "offline", 60)
    for topic in seen:
        found = [pattern for pattern in table if re.fullmatch(pattern, topic)]
        assert len(found) == 1, f"{topic} is not documented"
        out, is_retained = table[found[0]]
        if out:
            assert (topic in retained) == is_retained, topic
    for pattern in table:
        found = [topic for topic in seen if re.fullmatch(pattern, topic)]
        assert len(found) == (5 if pattern.endswith("/state") and "w+" in pattern else 1), pattern
    assert {f"{BASE}outlet/{name}/state" for name in outlets} <= retained


def test_fields_of_the_state_are_documented(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    text = DOCUMENT.read_text()
    with Peer(broker.port, BASE + "#") as peer:
        board()
        ready(peer)
        state = json.loads(peer.texts(BASE + "state")[-1])

    def names(value: dict[str, Any]) -> Iterator[str]:
        for key, inner in value.items():
            yield key
            if isinstance(inner, dict):
                yield from names(inner)

    # Names of outlets, legs and the like come from the board, not from the firmware.
    unknown = {
        name for name in names(state) if f"`{name}`" not in text and f'"{name}"' not in text
    }
    assert unknown - {"cabin1", "cabin2", "bed1", "bed2", "bed240"} == set()


def test_events_of_an_earlier_start_arrive_after_it(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    """The broker is away, an outlet trips, the power goes: the next start tells what happened."""
    with Peer(broker.port, BASE + "#") as peer:
        port = board()
        ready(peer)
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: shown_on(peer))
        # what the broker has is known on flash after a planned restart
        peer.publish(BASE + "command", '{"id": 1, "cmd": "reboot", "args": ["yes"]}')
        peer.wait(lambda: "power_on" in peer.texts(BASE + "event")[0])
        peer.wait(lambda: peer.texts(BASE + "availability")[-2:] == ["offline", "online"], 60)
        peer.messages.clear()  # what the start before has said
        ready(peer)
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: shown_on(peer))
        broker.stop()
        time.sleep(0.5)
        port.sim("short bed1")
        time.sleep(3.0)
        port.call(port.device.power_cut)
    broker.start()
    with Peer(broker.port, BASE + "#") as peer:
        port.sim("unplug bed1")
        port.call(port.device.power_on)
        ready(peer)

        def told() -> list[dict[str, Any]]:
            return [json.loads(text) for text in peer.texts(BASE + "event")]

        peer.wait(lambda: any(event["event"] == "boot" for event in told()), 20)
        events = told()
    kinds = [(event["event"], event["outlet"]) for event in events]
    assert ("tripped", "bed1") in kinds, kinds
    assert kinds.index(("tripped", "bed1")) < kinds.index(("boot", None)), "in order"
    seqs = [event["seq"] for event in events]
    assert seqs == list(range(seqs[0], seqs[-1] + 1))
    assert ("boot", None) not in kinds[:1], (
        "what the broker had before the restart is not sent again"
    )


def test_hostile_payloads_leave_protection_alone(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    with Peer(broker.port, BASE + "#") as peer:
        port = board(**{"mqtt.allow": "read"})
        ready(peer)
        port.sim("plug bed1 resistive amps=10")
        assert port.call(lambda: port.device.command("on bed1", 5.0)).startswith("ok")
        rng = random.Random(7)
        topics = ("command", "outlet/bed1/set", "outlet/x/set", "outlet/bed1/set")
        for n in range(400):
            payload = rng.choice(
                (
                    "OFF",
                    "RESET",
                    f'{{"id": {n}, "cmd": "off", "args": ["all"]}}',
                    f'{{"id": {n}, "cmd": "set", "args": ["bed1.limit_a", 1]}}',
                    "[" * rng.randrange(3000),
                    '{"a":' * rng.randrange(200),
                    rng.randbytes(rng.randrange(1500)),
                )
            )
            peer.client.publish(BASE + rng.choice(topics), payload, n & 1)
            time.sleep(0.005)
        before = len(peer.texts(BASE + "response"))
        time.sleep(1.0)
        assert before > 50, "refused with a reason"
        assert all(not json.loads(text)["ok"] for text in peer.texts(BASE + "response"))
        assert port.call(port.device.truth)["outlets"]["bed1"]["closed"]
        said = json.loads(peer.texts(BASE + "state")[-1])["outlets"]["bed1"]
        assert said["on"] and 9.5 < said["current_a"] < 10.5
        port.sim("short bed1")
        peer.wait(
            lambda: json.loads(peer.texts(BASE + "outlet/bed1/state")[-1])["reason"] == "peak"
        )
        assert not port.call(port.device.truth)["outlets"]["bed1"]["closed"]


def test_a_capture_comes_and_no_secret_is_in_any_message(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    secret = "hunter2hunter2"
    asked: tuple[tuple[str, ...], ...] = (
        ("get",),
        ("get", "wifi.password"),
        ("settings", "export"),
        ("set", "wifi.password2", secret + "b"),
        ("set", "wifi.password2", "short " + secret * 5),
        ("wifi",),
        ("mqtt",),
        ("capture", "bed1"),
    )
    with Peer(broker.port, BASE + "#") as peer:
        board(**{"wifi.ssid": "home", "wifi.password": secret})
        ready(peer)
        for ident, words in enumerate(asked, 1):
            request = {"id": ident, "cmd": words[0], "args": list(words[1:])}
            peer.publish(BASE + "command", json.dumps(request))
            peer.wait(lambda n=ident: len(peer.texts(BASE + "response")) >= n, 20)
        answers = [json.loads(text) for text in peer.texts(BASE + "response")]
        assert [answer["id"] for answer in answers] == list(range(1, len(asked) + 1))
        assert [answer["ok"] for answer in answers] == [True] * 4 + [False] + [True] * 3
        assert "wifi.password" in answers[2]["result"]["export"]["secrets"]
        assert len(answers[-1]["result"]["channels"][0]["codes"]) > 1000
        for topic, payload, _ in list(peer.messages):
            if topic != BASE + "command":
                assert secret not in str(payload), topic
