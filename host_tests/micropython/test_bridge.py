"""tools.bridge: a board on a serial line at a real broker, beside one with MQTT of its own."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython import certificates, mqtt_peers
from host_tests.micropython.mqtt_peers import CONNACK, Scripted, publish, say
from tools import client
from tools.runtime.broker import Mosquitto, free_port
from tools.simulator.device import ROOT, SimulatedDevice
from tools.simulator.port import SimulatedPort

BASE = "tailgate/far/"


class Peer(mqtt_peers.Peer):
    """With patience for a board, a bridge and a broker on a busy machine."""

    def wait(self, good: Callable[[], Any], timeout_s: float = 40.0) -> Any:
        return super().wait(good, timeout_s)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def board() -> Iterator[Callable[..., SimulatedPort]]:
    """`board(device_id, **settings)`: a simulated board on a serial port."""
    running: list[SimulatedPort] = []

    def start(device_id: str = "far", **settings: Any) -> SimulatedPort:
        port = SimulatedPort(SimulatedDevice(settings={"device.id": device_id, **settings}))
        running.append(port)
        return port.__enter__()

    yield start
    for port in running:
        port.__exit__(None, None, None)
        assert port.error is None


class Process:
    """`python -m tools.bridge` as people start it."""

    def __init__(self, log: Path, state: Path, *words: str) -> None:
        self.log = log
        with log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.bridge", "--state", str(state), *words],
                cwd=ROOT,
                stderr=stream,
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text()


@pytest.fixture
def bridge(tmp_path: Path, broker: Mosquitto) -> Iterator[Callable[..., Process]]:
    """`bridge(port, ..., *words)`: started, with the broker above unless words name another."""
    running: list[Process] = []

    def start(*words: Any) -> Process:
        names = [word.path if isinstance(word, SimulatedPort) else str(word) for word in words]
        if "--broker" not in names:
            names += ["--broker", f"127.0.0.1:{broker.port}"]
        process = Process(tmp_path / "bridge.log", tmp_path / "state", *names)
        running.append(process)
        return process

    yield start
    for process in running:
        if process.process.poll() is None:
            process.end()
        assert "internal error" not in process.said()


def ready(peer: Peer, base: str = BASE) -> None:
    def started() -> bool:
        texts = peer.texts(base + "state")
        return bool(texts) and not json.loads(texts[-1])["starting"]

    peer.wait(started)


def shown(peer: Peer, outlet: str = "bed1", base: str = BASE) -> dict[str, Any]:
    texts = peer.texts(f"{base}outlet/{outlet}/state")
    return dict(json.loads(texts[-1])) if texts else {}


def told(peer: Peer, base: str = BASE) -> list[dict[str, Any]]:
    return [json.loads(text) for text in peer.texts(base + "event")]


def ask(peer: Peer, ident: int, *words: Any, base: str = BASE) -> dict[str, Any]:
    """The response to a command."""
    request = {"id": ident, "cmd": words[0], "args": list(words[1:])}
    peer.publish(base + "command", json.dumps(request))

    def answer() -> dict[str, Any] | None:
        found = [json.loads(text) for text in peer.texts(base + "response")]
        return next((body for body in found if body["id"] == ident), None)

    return dict(peer.wait(answer, 20))


def closed(port: SimulatedPort, outlet: str = "bed1") -> bool:
    return bool(port.call(port.device.truth)["outlets"][outlet]["closed"])


def without_gaps(events: list[dict[str, Any]]) -> bool:
    seqs = [event["seq"] for event in events]
    return seqs == list(range(seqs[0], seqs[0] + len(seqs)))


LEARNED = ("operate_ms", "release_ms")  # there as soon as a relay has been timed


def shape(value: Any) -> Any:
    """Fields and types, all the way down."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items() if name not in LEARNED}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def test_the_same_as_the_firmwares_own(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    own = "tailgate/own/"
    settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "bed1.name": "Säge"}
    with Peer(broker.port, "#") as peer:
        near = board("own", **settings)
        far = board("far", **{"bed1.name": "Säge"})
        bridge(far)
        for base, port in ((own, near), (BASE, far)):
            ready(peer, base)
            port.sim("plug bed1 resistive amps=10")
            peer.publish(base + "outlet/bed1/set", "ON")
            peer.wait(lambda base=base: shown(peer, base=base).get("on"))
            port.sim("short bed1")
            peer.wait(lambda base=base: shown(peer, base=base)["state"] == "tripped")
            peer.publish(base + "outlet/bed1/set", "ON")
            peer.wait(lambda base=base: peer.texts(base + "response"))
        pairs = []
        for number, words in enumerate(
            (
                ("status",),
                ("version",),
                ("outlets",),
                ("get",),
                ("get", "mqtt.allow"),
                ("events", 30),
                ("energy",),
                ("selftest",),
                ("mqtt",),
                ("help", "on"),
                ("capture",),
                ("capture", "bed1"),
                ("settings",),
                ("settings", "import", '{"bed1.priority": 7, "device.name": "A b"}'),
                ("set", "bed2.name", "two  words"),
                ("set", "bed1.limit_a", 15),
                ("set", "nothing", 1),
                ("cal", "bed1", "zero"),
                ("fly", "away"),
                ("exit", "yes"),
                ("watch",),
                ("mqtt", "remember"),
            ),
            100,
        ):
            pairs.append([ask(peer, number, *words, base=base) for base in (own, BASE)])
            time.sleep(0.2)  # the command rate
        peer.wait(lambda: len(peer.texts("homeassistant/device/far/config")) > 1)
        peer.wait(lambda: len(peer.texts("homeassistant/device/own/config")) > 1)
        peer.wait(lambda: peer.texts(own + "energy") and peer.texts(BASE + "energy"))
        seen = {(topic, retained) for topic, _, retained in list(peer.messages)}
        with Peer(broker.port, "#") as late:
            time.sleep(1.5)
            kept = {topic for topic, _, retained in list(late.messages) if retained}
    for first, second in pairs:
        assert first["ok"] == second["ok"]
        assert first.get("error") == second.get("error")
        ours, theirs = shape(second.get("result")), shape(first.get("result"))
        if first["id"] == 108:  # `mqtt`: the last error is a text or none
            ours.pop("error", 0), theirs.pop("error", 0)
        if first["id"] == 105:  # `events`: the shape of the first one
            assert set(ours) == set(theirs)
            continue
        assert ours == theirs, first["id"]
    assert {topic for topic in kept if "/far/" in topic} == {
        topic.replace("/own/", "/far/") for topic in kept if "/own/" in topic
    }
    assert BASE + "energy" in kept
    hours = [json.loads(peer.texts(base + "energy")[-1]) for base in (own, BASE)]
    assert shape(hours[0]) == shape(hours[1]) and hours[0]["outlets"] == hours[1]["outlets"]
    assert [row["start"] for row in hours[0]["rows"]] == [row["start"] for row in hours[1]["rows"]]
    topics = {topic for topic, _ in seen}
    assert {topic for topic in topics if "/far/" in topic} == {
        topic.replace("/own/", "/far/") for topic in topics if "/own/" in topic
    }
    discoveries = []
    for name in ("own", "far"):
        text = peer.texts(f"homeassistant/device/{name}/config")[-1]
        discoveries.append(json.dumps(json.loads(text.replace(name, "ID")), sort_keys=True))
    assert discoveries[0] == discoveries[1]
    states = [json.loads(peer.texts(base + "state")[-1]) for base in (own, BASE)]
    assert shape(states[0]) == shape(states[1])
    assert states[0]["link"] == states[1]["link"] == {"wifi": "none", "mqtt": "up"}
    assert shown(peer, base=own) == shown(peer)
    found = {}
    for base in (own, BASE):
        events = [event for event in told(peer, base) if event["event"] != "link"]
        found[base] = [{**shape(event), "is": event["event"]} for event in events]
        assert [event["source"] for event in events if event["event"] == "on"] == ["mqtt"]
        assert ("refused", "not_allowed", "mqtt") in [
            (event["event"], event["reason"], event["source"]) for event in events
        ]
    assert found[own] == found[BASE]


def test_switching_and_what_is_refused(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    with Peer(broker.port, "#") as peer:
        peer.publish(BASE + "outlet/bed2/set", "ON", retain=True)
        port = board()
        bridge(port)
        ready(peer)
        port.sim("plug bed1 resistive amps=10")

        def refusal() -> str:
            peer.wait(lambda: len(peer.texts(BASE + "response")) > len(refusals))
            refusals.append(json.loads(peer.texts(BASE + "response")[-1])["error"])
            return str(refusals[-1])

        refusals: list[str] = []
        assert refusal().startswith("retained messages are not obeyed")
        peer.publish(BASE + "outlet/bed2/set", "", retain=True)
        assert refusal() == "payload must be one of ON OFF RESET"
        assert not closed(port, "bed2")

        def on_record() -> list[tuple[str, str]]:
            events = told(peer, BASE)
            return [(x["event"], x["reason"]) for x in events if x["source"] == "mqtt"]

        peer.wait(lambda: {("link", "broker_up"), ("refused", "retained")} <= set(on_record()))
        order = {"id": 7, "cmd": "mqtt", "args": ["note", "broker_down"]}
        peer.publish(BASE + "command", json.dumps(order))
        assert refusal() == "mqtt note is for the bridge itself"
        assert ("link", "broker_down") not in on_record()
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: shown(peer).get("on"))
        assert closed(port)
        peer.publish(BASE + "outlet/bed1/set", "OFF")
        peer.wait(lambda: shown(peer)["state"] == "off")
        assert not closed(port)
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: shown(peer).get("on"))
        port.sim("short bed1")
        peer.wait(lambda: shown(peer)["reason"] == "peak")
        port.sim("unplug bed1")
        peer.publish(BASE + "outlet/bed1/set", "ON")
        assert refusal().startswith("bed1: tripped (short circuit): find the cause")
        peer.publish(BASE + "outlet/bed1/set", "RESET")
        peer.wait(lambda: shown(peer)["state"] == "off")
        for payload, reason in (
            ('{"id": 1, "cmd": "version", "colour": 1}', "unknown field 'colour'"),
            ("[" * 900, "not a JSON object"),
            (b"\xff\xfe", "not a JSON object"),
            ('{"id": 2, "cmd": "set", "args": ["bed1.limit_a", 1]}', "set bed1.limit_a is not"),
            ('{"id": 3, "cmd": "on", "args": ["bed1", "--force"]}', "on --force is not allowed"),
            ('{"id": 4, "cmd": "exit", "args": ["yes"]}', "exit is possible on the console only"),
            ('{"id": 4, "cmd": "status"}', "id was used before"),
            ('{"id": 5, "cmd": "on", "args": ["bed1", "--mqtt"]}', "--mqtt cannot be part of a"),
        ):
            peer.publish(BASE + "command", payload)
            assert refusal().startswith(reason)
        time.sleep(2)  # the command rate
        for ident, (words, reason) in enumerate(
            (
                (("on", "bed1\ron bed2"), "'bed1\\ron bed2' cannot be sent"),
                (("set", "device.name", 'a" x "b'), "'a\" x \"b' cannot be sent"),
                (("status", "--json"), "--json cannot be"),
                (("on bed1",), "unknown command 'on bed1'"),
                (("set", "device.name", "x" * 600), "the line is longer than 512 bytes"),
                (("settings", "import", '{"bed1.limit_a": 3}', "x}"), "import: expected"),
                (("settings", "import", '{"bed1.limit_a": 3}'), "set bed1.limit_a is not"),
            ),
            20,
        ):
            answer = ask(peer, ident, *words)
            refusals.append("")
            assert answer["error"].startswith(reason), answer
        assert not closed(port) and not closed(port, "bed2")
        assert not ask(peer, 30, "set", "mqtt.allow", "all")["ok"]
        assert ask(peer, 31, "set", "mqtt.allow", "read switch system")["ok"]
        discovery = "homeassistant/device/far/config"
        peer.wait(lambda: '"bed1_priority_set":{"p":"number"}' in peer.texts(discovery)[-1])
        assert ask(peer, 32, "mqtt")["result"]["state"] == "up"
        assert ask(peer, 33, "mqtt", "forget")["result"] == {"forgotten": True}
        peer.wait(lambda: peer.texts(discovery)[-1] == "")
        assert ask(peer, 34, "set", "mqtt.allow", "read")["ok"]
        assert ask(peer, 35, "mqtt", "forget")["error"].startswith("mqtt forget is not allowed")
        assert ask(peer, 36, "on", "bed1")["error"].startswith("on is not allowed from mqtt")
        assert not closed(port)


def test_repeated_delivery(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    again = publish(BASE + "outlet/bed1/set", b"ON", 8 | 2, 7)
    with Scripted(broker.port, say(CONNACK + again)) as line, Peer(broker.port, "#") as peer:
        port = board()
        bridge(port, "--broker", f"127.0.0.1:{line.port}")
        ready(peer)
        assert "repeated delivery (DUP) is not obeyed" in peer.texts(BASE + "response")[0]
        assert not closed(port)


def retained(broker: Mosquitto) -> list[str]:
    """Topics that the broker keeps: what a newcomer is sent, and a little later nothing more."""
    with Peer(broker.port, "#") as newcomer:
        time.sleep(0.3)
        return [topic for topic, _, kept in newcomer.messages if kept]


def test_a_broker_that_restarts(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    port = board()
    bridge(port)
    with Peer(broker.port, BASE + "#") as peer:
        ready(peer)
        port.sim("plug bed1 resistive amps=10")
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: [e["event"] for e in told(peer)][-1] == "on")
        last = told(peer)[-1]["seq"]
        broker.stop(hard=True)
        time.sleep(1.0)
        assert closed(port), "a broker that is away opens nothing"
        port.sim("short bed1")
        time.sleep(4.0)
    broker.start()
    with Peer(broker.port, BASE + "#") as peer:
        peer.wait(lambda: any(event["event"] == "tripped" for event in told(peer)))
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "online")
        assert shown(peer)["reason"] == "peak"
        events = told(peer)
        assert without_gaps(events) and events[0]["seq"] == last + 1
        # it has kept nothing, and has all of it again
        peer.wait(lambda: peer.texts(BASE + "energy"))
        peer.wait(lambda: len(retained(broker)) == 8)


def test_a_board_that_restarts(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    port = board()
    process = bridge(port)
    with Peer(broker.port, BASE + "#") as peer:
        ready(peer)
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: shown(peer).get("on"))
        began = time.monotonic()
        port.call(port.device.power_cut)
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "offline")
        assert time.monotonic() - began < 15
        states = len(peer.texts(BASE + "state"))
        time.sleep(2)
        assert len(peer.texts(BASE + "state")) == states, "nothing is said of what is not known"
        peer.publish(BASE + "outlet/bed1/set", "ON")  # to nobody
        port.call(port.device.power_on)
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "online")
        peer.wait(lambda: [event["event"] for event in told(peer)].count("boot") == 2)
        ready(peer)
        assert not closed(port)
        # one that is asked for
        assert ask(peer, 1, "reboot", "yes")["result"] == {"stopping": "reboot"}
        peer.wait(lambda: [event["event"] for event in told(peer)].count("boot") == 3)
        peer.wait(lambda: peer.texts(BASE + "availability")[-2:] == ["offline", "online"])
        events = told(peer)
        asked = [e for e in events if e["event"] == "off" and e["reason"] == "reboot"]
        assert asked and asked[0]["source"] == "mqtt"
        assert without_gaps(events[[e["event"] for e in events].index("boot", 1) :])
        assert process.end() == 0
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "offline")


class Cable:
    """A line to a board that can be pulled out: `name` is a link to the port it has now."""

    def __init__(self, port: SimulatedPort, name: Path) -> None:
        self._port = port
        self._name = name
        self._ends: list[int] = []
        self._thread: threading.Thread | None = None

    def plug(self) -> None:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        board = os.open(self._port.path, os.O_RDWR | os.O_NOCTTY)
        self._ends = [ours, theirs, board]
        self._name.unlink(missing_ok=True)
        self._name.symlink_to(os.ttyname(theirs))
        self._thread = threading.Thread(target=self._carry, args=(ours, board), daemon=True)
        self._thread.start()

    def _carry(self, ours: int, board: int) -> None:
        while self._ends:
            for end in select.select([ours, board], [], [], 0.05)[0]:
                os.write(board if end == ours else ours, os.read(end, 4096))

    def pull(self) -> None:
        ends, self._ends = self._ends, []
        assert self._thread is not None
        self._thread.join(5)
        for end in ends:
            os.close(end)
        self._name.unlink()


def test_a_line_that_is_pulled_out(
    tmp_path: Path,
    broker: Mosquitto,
    board: Callable[..., SimulatedPort],
    bridge: Callable[..., Process],
) -> None:
    port = board()
    cable = Cable(port, tmp_path / "usb-board")
    process = bridge(tmp_path / "usb-board")
    with Peer(broker.port, BASE + "#") as peer:
        peer.wait(lambda: "usb-board" in process.said())  # not plugged in yet
        cable.plug()
        ready(peer)
        port.sim("plug bed1 resistive amps=10")
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: shown(peer).get("on"))
        peer.publish(BASE + "command", '{"id": "x", "cmd": "version"}')
        peer.wait(lambda: peer.texts(BASE + "response"))
        cable.pull()
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "offline")
        assert closed(port), "it does not need the computer"
        port.sim("short bed1")
        time.sleep(1.0)
        cable.plug()
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "online")
        peer.wait(lambda: shown(peer)["reason"] == "peak")
        peer.wait(lambda: told(peer)[-1]["event"] == "tripped")
        events = told(peer)
        assert without_gaps(events) and events[0]["event"] == "boot"
        assert process.end() == 0
    cable.pull()


def test_hostile_messages(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    with Peer(broker.port, BASE + "#") as peer:
        port = board(**{"mqtt.allow": "read"})
        port.sim("plug bed1 resistive amps=10")
        time.sleep(3.0)
        assert port.call(lambda: port.device.command("on bed1", 5.0)).startswith("ok")
        bridge(port)
        ready(peer)
        settings = (port.device.flash / "data" / "settings.json").read_bytes()
        rng = random.Random(11)
        for n in range(250):
            words = [
                "bed1",
                "--force",
                '"',
                "{",
                "}",
                '{"bed1.limit_a":1}',
                "\r",
                "",
                "ü",
                "--json",
            ]
            name = rng.choice(("on", "off", "set", "exit", "reboot", "settings", "cal", "--mqtt"))
            args = [rng.choice(words) for _ in range(rng.randrange(1, 5))]
            payload: str | bytes = rng.choice(
                (
                    json.dumps({"id": f"{n}", "cmd": name, "args": args}),
                    json.dumps({"id": n, "cmd": "off", "args": ["all"]}),
                    "OFF",
                    "[" * rng.randrange(1200),
                    rng.randbytes(rng.randrange(1500)),
                )
            )
            topic = rng.choice(("command", "command", "outlet/bed1/set", "outlet/x/set"))
            peer.client.publish(BASE + topic, payload, n & 1)
            time.sleep(0.02)
        answer = None
        for ident in range(1000, 1010):  # the rate of commands may be used up
            time.sleep(1.0)
            answer = ask(peer, ident, "version")
            if answer["ok"]:
                break
        assert answer is not None and answer["ok"]
        answers = [json.loads(text) for text in peer.texts(BASE + "response")]
        assert len(answers) > 100
        assert [a for a in answers if a["ok"]] == [answer]
        assert not [a for a in answers if "internal error" in str(a.get("error"))]
        assert closed(port)
        assert (port.device.flash / "data" / "settings.json").read_bytes() == settings


def test_a_bridge_that_is_killed_and_one_that_ends(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    port = board()
    with Peer(broker.port, BASE + "#") as peer:
        first = bridge(port)
        ready(peer)
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: told(peer)[-1]["event"] == "on")
        first.end(signal.SIGKILL)
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "offline")
        assert closed(port), "it is the board that decides"
        port.sim("short bed1")
        time.sleep(1.0)
        second = bridge(port)
        peer.wait(lambda: told(peer)[-1]["event"] == "tripped")
        assert second.end() == 0
        last = told(peer)[-1]["seq"]
        told_before = len(told(peer))
        third = bridge(port)
        peer.wait(lambda: peer.texts(BASE + "availability")[-1] == "online")
        ready(peer)
        assert ask(peer, 1, "reset", "bed1")["ok"]
        peer.wait(lambda: told(peer)[-1]["event"] == "reset")
        fresh = told(peer)[told_before:]
        assert fresh[0]["seq"] == last + 1, "nothing twice after an orderly end"
        assert third.end() == 0
        seqs = {event["seq"] for event in told(peer)}
        assert seqs == set(range(1, max(seqs) + 1)), "none is missing"


def test_more_events_than_the_board_gives_at_once(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    with Peer(broker.port, BASE + "#") as peer:
        port = board()
        first = bridge(port)
        ready(peer)
        assert first.end() == 0
        for _ in range(40):
            for verb in ("on", "off"):
                port.call(lambda verb=verb: port.device.command(f"{verb} bed1", 5.0))
        bridge(port)
        peer.wait(lambda: [event["event"] for event in told(peer)].count("off") == 40)
        events = told(peer)
        assert without_gaps(events) and events[0]["seq"] == 1

        def last() -> int:
            return int(json.loads(peer.texts(BASE + "state")[-1])["last_event"])

        peer.wait(lambda: last() == told(peer)[-1]["seq"])


def test_the_client_and_the_monitor_see_it_as_any_board(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    port = board(**{"mqtt.allow": "all"})
    bridge(port)
    with Peer(broker.port, BASE + "state") as peer:
        ready(peer)
    with client.connect(f"mqtt://127.0.0.1:{broker.port}") as far:
        port.sim("plug bed1 resistive amps=10")
        events = far.events(timeout_s=3.0)
        far.outlets["bed1"].on()
        until = time.monotonic() + 10
        while not 9.9 < far.outlets["bed1"].current_a < 10.1:
            assert time.monotonic() < until
        far.settings["bed1.limit_a"] = 15
        assert far.settings["bed1.limit_a"] == 15
        assert [(e.kind, e.source) for e in events] == [("on", "mqtt"), ("setting", "mqtt")]
        port.sim("short bed1")
        until = time.monotonic() + 10
        while far.outlets["bed1"].state != "tripped":
            assert time.monotonic() < until
        assert far.recent_events(1)[0].kind == "tripped"


def test_several_boards_over_tls(
    tmp_path: Path, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    keys = certificates.make(tmp_path / "keys")
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    plain = free_port()
    extra = (f"listener {plain} 127.0.0.1",)
    with Mosquitto(tmp_path / "tls", tls=keys, client_certificate=True, extra=extra) as safe:
        one, two = board("one"), board("two")
        address = ("--broker", f"127.0.0.1:{safe.port}", "--user", "truck", "--password-file")
        trust = ("--tls-ca", keys / "ca.crt")
        who = ("--tls-cert", keys / "client.crt", "--tls-key", keys / "client.key")
        stranger = bridge(one, *address, secret, "--tls-ca", keys / "stranger.crt", *who)
        with Peer(plain, "#") as peer:
            time.sleep(5.0)
            assert peer.texts("tailgate/one/availability") == [], "that CA has not signed it"
            assert stranger.end() == 0
            process = bridge(one, two, *address, secret, *trust, *who)
            for name in ("one", "two"):
                ready(peer, f"tailgate/{name}/")
            assert ask(peer, 1, "on", "bed1", base="tailgate/two/")["ok"]
            peer.wait(lambda: shown(peer, base="tailgate/two/").get("on"))
            assert closed(two) and not closed(one)
            two.call(two.device.power_cut)
            peer.wait(lambda: peer.texts("tailgate/two/availability")[-1] == "offline")
            assert peer.texts("tailgate/one/availability")[-1] == "online"
            assert ask(peer, 2, "version", base="tailgate/one/")["ok"]
        assert process.end() == 0
        assert "s3cret" not in process.said()


def test_what_stood_on_the_line_is_not_run(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    port = board()
    time.sleep(3.0)
    line = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    for half in (b"on bed1", b"exit yes"):
        os.write(line, half)
        time.sleep(0.3)
        with Peer(broker.port, BASE + "#") as peer:
            process = bridge(port)
            ready(peer)
            assert not closed(port)
            assert ask(peer, 1, "version")["ok"]
            assert process.end() == 0
    os.close(line)


def test_a_board_with_mqtt_of_its_own_is_left_alone(
    broker: Mosquitto, board: Callable[..., SimulatedPort], bridge: Callable[..., Process]
) -> None:
    with Peer(broker.port, BASE + "#") as peer:
        port = board(**{"mqtt.host": "127.0.0.1", "mqtt.port": broker.port})
        ready(peer)
        process = bridge(port, "/dev/no-such-board")
        peer.wait(lambda: "talks to a broker by itself" in process.said())
        peer.wait(lambda: "/dev/no-such-board: " in process.said())
        time.sleep(2)
        assert peer.texts(BASE + "availability") == ["online"]
