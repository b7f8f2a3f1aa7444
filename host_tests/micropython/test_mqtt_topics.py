"""The whole firmware at a broker, with the simulated truck: what docs/mqtt.md says is there."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from firmware.interfaces.commands import TABLE
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

    def start(name: str = "simulated", speed: float = 1.0, **settings: Any) -> SimulatedPort:
        known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": "dut"}
        port = SimulatedPort(SimulatedDevice(name, settings={**known, **settings}), speed)
        running.append(port)
        return port.__enter__()

    yield start
    for port in running:
        port.__exit__(None, None, None)
        assert port.error is None


def documented() -> dict[str, tuple[bool, bool, str]]:
    """{topic as a pattern: (the device publishes it, retained, QoS)} of the document's table."""
    table = {}
    for line in DOCUMENT.read_text().splitlines():
        row = re.fullmatch(r"\| `([^`]+)` \| (in|out) \| ?(\d?) ?\| ?(yes|no|) ?\| .* \|", line)
        if row:
            topic = row[1] if row[1].startswith("homeassistant/") else BASE + row[1]
            pattern = re.escape(topic.replace("<device_id>", "dut")).replace("<name>", r"\w+")
            table[pattern] = (row[2] == "out", row[4] == "yes", row[3])
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
        out, is_retained, quality = table[found[0]]
        if out:
            assert (topic in retained) == is_retained, topic
            assert peer.qualities[topic] == {int(quality)}, topic
    for pattern in table:
        found = [topic for topic in seen if re.fullmatch(pattern, topic)]
        assert len(found) == (5 if pattern.endswith("/state") and "w+" in pattern else 1), pattern
    assert {f"{BASE}outlet/{name}/state" for name in outlets} <= retained


def test_make_run_is_in_the_topic_tree_of_its_own_broker(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.simulator.run", "--flash", str(tmp_path / "flash")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin and run.stdout
        run.stdin.write("set device.id dut\nsave\nreboot yes\nsim wait 30\n")
        run.stdin.flush()
        port = 0
        for line in run.stdout:
            if match := re.match(r"MQTT +127\.0\.0\.1:(\d+)$", line):
                port = int(match[1])
                break
        wanted = [topic for topic, (out, *_) in documented().items() if out]
        with Peer(port, "#") as peer:
            peer.wait(
                lambda: (
                    {
                        pattern
                        for topic, _, _ in list(peer.messages)
                        for pattern in wanted
                        if re.fullmatch(pattern, topic)
                    }
                    >= {pattern for pattern in wanted if "response" not in pattern}
                ),
                30,
            )
        sockets = [
            found
            for process in psutil.Process(run.pid).children(recursive=True)
            for found in process.net_connections()
        ]
        listening = {found.laddr.port for found in sockets if found.status == psutil.CONN_LISTEN}
        assert listening == {port}, "the broker does, and nobody else"
        run.terminate()


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


def examples() -> list[dict[str, Any]]:
    """Each JSON object of the document's blocks."""
    found = []
    decoder = json.JSONDecoder()
    for block in re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        text = block.replace("{…}", "{}").removeprefix('"bed1":').strip()
        while text:
            body, end = decoder.raw_decode(text)
            found.append(body)
            text = text[end:].strip()
    return found


def fields(value: Any) -> Any:
    """Names, all the way down."""
    if isinstance(value, dict):
        return {name: fields(inner) for name, inner in value.items() if name != "outlets"}
    return [fields(inner) for inner in value[:1]] if isinstance(value, list) else None


def inform(text: str) -> str:
    """The sentence without its numbers."""
    return re.sub(r"\d+", "0", text)


def test_examples_and_refusals_of_the_document_are_what_a_run_shows(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    with Peer(broker.port, "#") as peer:
        set_bed2 = BASE + "outlet/bed2/set"
        peer.publish(set_bed2, "ON", retain=True)
        port = board(**{"mqtt.allow": "all"})
        ready(peer)
        port.sim("plug bed1 resistive amps=12")
        peer.publish(BASE + "outlet/bed1/set", "ON")
        bed1: dict[str, Any] = {}

        def state() -> dict[str, Any]:
            return dict(json.loads(peer.texts(BASE + "state")[-1]))

        peer.wait(lambda: state()["outlets"]["bed1"]["current_a"] > 11)
        whole = state()
        bed1 = whole["outlets"]["bed1"]
        answered: dict[Any, dict[str, Any]] = {}

        def answers(count: int) -> list[dict[str, Any]]:
            found = [json.loads(text) for text in peer.texts(BASE + "response")]
            answered.update({answer["id"]: answer for answer in found if answer["id"]})
            return found if len(found) >= count else []

        # what takes seconds is answered when it is done, and holds nothing up
        asked = re.findall(r'`(\{"id": .*?\]\})`', DOCUMENT.read_text())
        assert len(asked) == 2
        for text in [*sorted(asked), '{"id": 22, "cmd": "version"}']:
            peer.publish(BASE + "command", text)
        peer.wait(lambda: answers(4))
        assert [answer["id"] for answer in answers(4)] == [None, 22, 8, 21]
        assert answered[21]["ok"] and answered[8]["ok"] and answered[22]["ok"]

        port.sim("short bed1")
        peer.wait(lambda: not shown_on(peer))
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: answers(5))
        assert port.call(lambda: port.device.command("set bed1.limit_a 15", 5.0)).startswith("ok")
        said = examples()
        orders = [example for example in said if "cmd" in example]
        for order in orders:
            peer.publish(BASE + "command", json.dumps(order))
        peer.wait(lambda: answers(5 + len(orders)))

        def told() -> list[dict[str, Any]]:
            return [json.loads(text) for text in peer.texts(BASE + "event")]

        def changed() -> list[str]:
            found = [event for event in told() if event.get("setting") == "bed1.limit_a"]
            return [event["source"] for event in found]

        peer.wait(lambda: changed() == ["console", "mqtt"])
        responses = answers(0)
        outlet_states = [json.loads(text) for text in peer.texts(BASE + "outlet/bed1/state")]
        hours = json.loads(peer.texts(BASE + "energy")[-1])

        # what is refused
        peer.publish(set_bed2, "", retain=True)
        begin = len(responses) + 1
        late_s = int(time.mktime(time.strptime(state()["time"], "%Y-%m-%dT%H:%M:%SZ")))
        late_s -= int(time.mktime(time.gmtime(0))) + 10
        for request in (
            "on bed1",
            '{"id": 41, "cmd": "version"}',
            '{"id": 41, "cmd": "version"}',
            '{"id": 42, "cmd": "version", "colour": 1}',
            '{"id": 43, "cmd": "version", "expires": %d}' % late_s,
            '{"id": 44, "cmd": "%s"}' % ("x" * 1100),
            '{"id": 45, "cmd": "set", "args": ["mqtt.allow", "read switch settings"]}',
            '{"id": 46, "cmd": "set", "args": ["bed1.limit_a", 16]}',
            '{"id": 47, "cmd": "exit", "args": ["yes"]}',
        ):
            peer.publish(BASE + "command", request)
        so_far = begin + 9
        peer.wait(lambda: answers(so_far))
        # in lots: all at once could be more than the ring holds, where the board's process stands
        refused: set[str] = set()
        while not any("too many" in reason for reason in refused) and so_far < 400:
            for n in range(so_far, so_far + 8):
                peer.publish(BASE + "command", '{"id": "m%d", "cmd": "version"}' % n)
            so_far += 8
            peer.wait(lambda count=so_far: answers(count))
            refused = {inform(answer["error"]) for answer in answers(0) if not answer["ok"]}

    table = re.search(r"### What is refused\n(.*?)\n\n", DOCUMENT.read_text(), re.DOTALL)
    assert table
    rows = re.findall(r"^\| (.*) \| `(.*)` \|$", table[1], re.MULTILINE)
    assert len(rows) == 11
    for what, sentence in rows:
        if "DUP" not in what:  # no broker does that to a clean session; see test_mqtt_interface.py
            assert inform(sentence) in refused, (sentence, refused)

    kinds = []
    for example in said:
        if "cmd" in example:
            kinds.append("command")
            assert answered[example["id"]]["ok"]
        elif "event" in example:
            kinds.append("event")
            words = [example[name] for name in ("event", "reason", "source", "outlet")]
            same = [
                e
                for e in told()
                if [e[n] for n in ("event", "reason", "source", "outlet")] == words
            ]
            assert same and fields(same[0]) == fields(example), example
        elif "result" in example:
            kinds.append("result")
            assert fields(answered[example["id"]]) == fields(example)
        elif "error" in example:
            kinds.append("refusal")
            assert example in responses
        elif "period" in example:
            kinds.append("energy")
            assert fields(hours) == fields(example) and hours["outlets"] == example["outlets"]
        elif "device" in example:
            kinds.append("state")
            assert fields(whole) == fields(example)
        elif "heat_percent" in example:
            kinds.append("outlet's row")
            assert bed1.keys() == example.keys()
        else:
            kinds.append("outlet")
            assert example in outlet_states
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "outlet": 2,
        "outlet's row": 1,
        "state": 1,
        "event": 3,
        "energy": 1,
        "refusal": 1,
        "command": 2,
        "result": 2,
    }


# Whatever the console knows, in an order in which it is obeyed; several where a command has
# forms. `!`: not asked again on the console, where it would find another state of things.
_LINES = """status|outlets|version|help|help on|help cal|time|wifi|mqtt|settings|capture|energy
on bed1|on bed2 --force|off bed1|off all|reset all|reset bed1|on all!|off all
get|get bed1.|get mqtt.allow|get wifi.password|get --changed
set bed2.name Fridge!|set bed1.limit_a 18!|set bed1.limit_a 21
set mode.schedule sat 8:00-20:00 camp!
settings export|settings export --changed|settings import {"bed1.priority":7,"leg.limit_a":30}!
save!|defaults|settings import {"total.limit_w":99999}|set mqtt.allow nothing
cal|cal export|cal bed1 zero|cal bed1 clear!|cal bed9 zero|cal import {}
events|events 5|events all trips|events bed1|events since 1 3|events by mqtt
energy hours 3|energy days|energy months 2|energy hours total|energy hours home|energy years
time set 2026-11-23T06:00:00Z!|capture bed1|capture clear|selftest|selftest full
wifi scan|wifi set Yard password1!|wifi forget Yard!|wifi set Yard short
mode|mode camp|mode outlets|mode nothing|battery|battery soc 55|storm|storm on|storm off
home|home start|home stop|home reset|vehicle|vehicle limit 16|vehicle start|vehicle stop
vehicle reset|grid|grid set 1000|grid start|grid stop|grid reset|grid set 99999
mqtt remember|mqtt forget!|watch!|exit yes!|reboot|defaults yes!"""


def test_every_command_of_the_console_is_one_of_mqtts(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    """The same result or the same refusal, by both."""
    lines = [line for row in _LINES.split("\n") for line in row.split("|")]
    assert {line.split(" ")[0].rstrip("!") for line in lines} == {entry[0] for entry in TABLE}
    with Peer(broker.port, BASE + "#") as peer:
        port = board("simulated_home", 4.0, **{"mqtt.allow": "all", "battery.usable_kwh": 100})
        ready(peer)

        def by_console(line: str) -> dict[str, Any]:
            def ask() -> str:
                port.device.type(line + " --json")
                return port.device.expect(r"^\{.*\}$", 10.0)[0]

            return dict(json.loads(port.call(ask)))

        def by_mqtt(number: int | str, line: str) -> dict[str, Any]:
            words = line.split(" ")
            request = {"id": number, "cmd": words[0], "args": words[1:]}
            while True:
                count = len(peer.texts(BASE + "response"))
                peer.publish(BASE + "command", json.dumps(request))
                peer.wait(lambda count=count: len(peer.texts(BASE + "response")) > count, 20)
                answer = dict(json.loads(peer.texts(BASE + "response")[-1]))
                assert answer["id"] == request["id"], answer
                if "too many commands" not in answer.get("error", ""):
                    return answer
                time.sleep(0.3)
                request["id"] = f"{request['id']}+"

        counts = {True: 0, False: 0}
        for number, line in enumerate(lines, 1):
            far = by_mqtt(number, line.rstrip("!"))
            ok = far["ok"]
            counts[ok] += 1
            if line.startswith(("watch", "exit")):
                assert far["error"].endswith("is possible on the console only")
                continue
            if line.endswith("!"):
                assert ok, far
                continue
            near = by_console(line)
            assert near.pop("ok") == ok, (line, far, near)
            if ok:
                assert near.keys() == far["result"].keys(), line
            else:
                assert near["error"] == far["error"], line
        print(counts)
        assert counts[True] > 50
        settings = by_console("get")["settings"]
        assert settings["bed1.limit_a"] == 20, "its rating: no network has raised it"
        assert by_mqtt("last", "reboot yes")["ok"]
        peer.wait(lambda: peer.texts(BASE + "availability")[-1:] == [""], 20)  # forgotten
        peer.wait(lambda: peer.texts(BASE + "availability")[-1:] == ["online"], 20)


def test_a_device_that_is_forgotten_leaves_nothing_with_the_broker(
    broker: Mosquitto, board: Callable[..., SimulatedPort]
) -> None:
    def kept() -> set[str]:
        with Peer(broker.port, "#") as late:
            time.sleep(0.5)
            return {topic.removeprefix(BASE) for topic, _, kept in list(late.messages) if kept}

    with Peer(broker.port, "#") as peer:
        port = board(speed=3.0)
        ready(peer)
        peer.wait(lambda: peer.texts(BASE + "energy"))
        assert len(kept()) == 8
        assert port.call(lambda: port.device.command("mqtt forget", 5.0)).startswith("ok")
        peer.wait(lambda: peer.texts(BASE + "energy")[-1] == "")
        assert kept() == {"availability"}
        # it goes on without leaving anything
        peer.publish(BASE + "outlet/bed1/set", "ON")
        peer.wait(lambda: "on" in peer.texts(BASE + "outlet/bed1/state")[-1])
        peer.publish("homeassistant/status", "online")
        peer.wait(lambda: peer.texts("homeassistant/device/dut/config")[-2:] == ["", ""])
        assert kept() == {"availability"}
        assert port.call(lambda: port.device.command("reboot yes", 5.0)).startswith("ok")
        peer.wait(lambda: peer.texts(BASE + "availability") == ["online", ""])
        peer.wait(lambda: peer.texts(BASE + "availability") == ["online", "", "online"], 20)
        peer.wait(lambda: peer.texts(BASE + "energy")[-1] != "")
        assert len(kept()) == 8, "until the next start"


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
    with Peer(broker.port, "#") as peer:
        known = {"wifi.ssid": "home", "wifi.password": secret, "mqtt.password": secret}
        port = board(**known, **{"mqtt.user": "truck"})
        ready(peer)
        peer.wait(lambda: peer.texts("homeassistant/device/dut/config"))
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
        for line in ("get", "settings export", "events 30", "wifi", "mqtt", "exit"):
            port.call(lambda line=line: port.device.command(line, 5.0))
        assert len(port.device.lines) > 150
        assert secret not in "".join(line.text for line in port.device.lines)
