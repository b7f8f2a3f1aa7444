"""Calibrating the real firmware on real MicroPython: console, MQTT, and tools/calibrate."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from tools import client
from tools.calibrate import __main__ as command
from tools.calibrate import backup, walk
from tools.progress import ToolError
from tools.runtime.broker import Mosquitto
from tools.simulator.device import DATA, SimulatedDevice
from tools.simulator.port import SimulatedPort

MEASURED = 8.0  # virtual seconds


def prepare(device: SimulatedDevice) -> None:
    """Flawed sensors, and a heater in bed1."""
    for line in (
        "sensor bed1 gain=1.06 phase=2",
        "sensor v_l1 gain=0.96",
        "plug bed1 resistive amps=12",
    ):
        device.sim(line)


def ok(device: SimulatedDevice, line: str) -> str:
    answer = device.command(line, within=MEASURED)
    assert answer.startswith("ok"), answer
    return answer


def number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    assert match, text
    return float(match[1])


def test_a_session_on_the_console(tmp_path: Path) -> None:
    with SimulatedDevice("simulated", flash=tmp_path, seed=2) as device:
        device.run(2)
        prepare(device)
        zero = ok(device, "cal bed1 zero")
        assert 2030 < number(r"zero ([\d.]+) counts", zero) < 2066
        assert number(r"gain ([\d.]+)", ok(device, "cal v_l1 120")) == pytest.approx(
            1 / 0.96, rel=0.005
        )
        ok(device, "on bed1")
        device.run(1)
        before = len(device.lines)
        gain = ok(device, "cal bed1 12")
        assert number(r"gain ([\d.]+)", gain) == pytest.approx(1 / 1.06, rel=0.005)
        assert number(r"reads ([\d.]+) A", gain) == pytest.approx(12, rel=0.005)
        shown = [line.text for line in device.lines[before:]]
        assert "# bed1: measuring, 1 of 3 s" in shown and "# bed1: measuring, 2 of 3 s" in shown
        assert number(r"phase (-?[\d.]+) degrees", ok(device, "cal bed1 phase")) == pytest.approx(
            2, abs=0.2
        )
        assert "is a gain of 0.2" in device.command("cal bed1 3", within=MEASURED)
        before = len(device.lines)
        ok(device, "cal export")
        device.run(0.2)
        export = next(x.text for x in device.lines[before:] if x.text.startswith("  {"))
        ok(device, "cal bed1 clear")
        ok(device, "cal import" + export)
        device.command("reboot yes")
        device.expect("boot reboot", within=5)
        device.run(2)
        before = len(device.lines)
        ok(device, "cal export")
        device.run(0.2)
        assert export in [x.text for x in device.lines[before:]], "it outlives a restart"
        ok(device, "on bed1")
        device.run(6)
        device.type("status --json")
        status = json.loads(device.expect(r"^\{.*").group(0))
        assert status["outlets"]["bed1"]["current_a"] == pytest.approx(12, rel=0.005)
        assert status["outlets"]["bed1"]["power_w"] == pytest.approx(1440, rel=0.01)
        assert not [x.text for x in device.lines if "rror" in x.text and "gain of" not in x.text]


def test_a_trip_while_measuring_is_seen_at_once() -> None:
    with SimulatedDevice("simulated") as device:
        device.run(2)
        prepare(device)
        ok(device, "on bed1")
        device.run(1)
        device.type("cal bed1 12")
        device.run(1)
        device.sim("short bed1")
        device.expect("bed1 tripped peak", within=0.3)
        device.expect("^error: bed1: it is in state tripped", within=1)


def test_an_old_and_a_damaged_file(tmp_path: Path) -> None:
    from firmware.storage import files

    path = tmp_path / DATA / "calibration.json"
    path.parent.mkdir()
    names = ("v_l1", "v_l2", "cabin1", "cabin2", "bed1", "bed2", "bed240", "temperature")
    files.write(str(path), json.dumps(dict.fromkeys(names, 1.0) | {"bed1": 1.05}))
    with SimulatedDevice("simulated", flash=tmp_path) as device:
        device.run(2)
        device.type("cal --json")
        rows = json.loads(device.expect(r"^\{.*").group(0))["channels"]
        assert rows["bed1"]["gain"] == 1.05 and rows["bed1"]["date"] is None
        path.write_bytes(path.read_bytes()[:-4])
        device.type("reboot yes")
        device.expect(r"storage: .*calibration.json is damaged", within=5)
        device.run(2)
        device.type("cal --json")
        rows = json.loads(device.expect(r"^\{.*").group(0))["channels"]
        assert rows["bed1"]["gain"] == 1


def test_over_mqtt_the_answer_comes_when_it_is_done(tmp_path: Path) -> None:
    answers: dict[Any, tuple[float, dict[str, Any]]] = {}
    states: list[bytes] = []

    def received(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/response"):
            said = json.loads(message.payload)
            answers[said["id"]] = (device.now_us / 1e6, said)
        elif message.topic.endswith("/state") and "/outlet/" not in message.topic:
            states.append(message.payload)

    with Mosquitto(tmp_path) as broker:
        peer = paho.Client(paho.CallbackAPIVersion.VERSION2)
        peer.on_message = received
        peer.connect("127.0.0.1", broker.port)
        peer.subscribe("tailgate/#")
        peer.loop_start()
        settings = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "mqtt.allow": "all"}
        try:
            with SimulatedDevice("simulated", settings=settings) as device:

                def pass_(seconds: float, until: Callable[[], object] = lambda: False) -> None:
                    end = device.now_us + round(seconds * 1e6)
                    while device.now_us < end and not until():
                        device.run_paced(device.now_us + 50_000, 3.0)

                pass_(8, lambda: states)
                assert states
                pass_(2)  # it is ready
                prepare(device)
                topic = "tailgate/" + json.loads(states[-1])["device"] + "/command"

                def ask(ident: int, *args: Any) -> None:
                    peer.publish(topic, json.dumps({"id": ident, "cmd": "cal", "args": args}))

                ask(1, "bed1", 12)
                pass_(3, lambda: 1 in answers)
                assert "load is off" in answers[1][1]["error"]
                peer.publish(topic, json.dumps({"id": 2, "cmd": "on", "args": ["bed1"]}))
                pass_(2)
                began = device.now_us / 1e6
                ask(3, "bed1", 12)
                pass_(1)
                ask(4, "v_l1", 120)
                pass_(1, lambda: 4 in answers)
                assert 3 not in answers, answers
                assert "cal bed1 is under way" in answers[4][1]["error"]
                count = len(states)
                pass_(8, lambda: 3 in answers)
                at, said = answers[3]
                assert said["ok"] and at - began > 3
                assert said["result"]["gain"] == pytest.approx(1 / 1.06, rel=0.005)
                assert len(states) > count, "the rest goes on meanwhile"
        finally:
            peer.loop_stop()
            peer.disconnect()


# -- the tool ------------------------------------------------------------------------------------


class Owner:
    """Reads a reference meter, which knows the truth; `answers` come first."""

    def __init__(self, port: SimulatedPort, amps: dict[str, float]) -> None:
        self.port = port
        self.amps = amps
        self.said: list[str] = []
        self.answers: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask(self, question: str, live: Callable[[], str] | None = None) -> str:
        time.sleep(0.4)  # people are slow, and the averages of the readings take a while
        reading = live() if live else ""
        self.said.append(f"{question} [{reading}]")
        if self.answers:
            return self.answers.pop(0)
        if "reference meter shows" not in question:
            return "y" if "heater" in question else ""
        name = reading.split()[0]
        if name.startswith("v_"):
            return "120"
        truth = self.port.call(lambda: self.port.device.truth()["outlets"][name]["amps_rms"])
        assert truth == pytest.approx(self.amps[name], rel=0.01)
        return f"{truth:.3f} A"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[SimulatedPort]:
    device = SimulatedDevice("simulated", flash=tmp_path / "flash", seed=5)
    with SimulatedPort(device, speed=4.0) as served:
        yield served


def test_the_tool_calibrates_every_channel(port: SimulatedPort, tmp_path: Path) -> None:
    gains = {"v_l1": 1.03, "v_l2": 0.95, "cabin1": 0.93, "cabin2": 1.08, "bed1": 1.0}
    gains |= {"bed2": 1.15, "bed240": 0.9}
    amps = {"cabin1": 10.0, "cabin2": 8.0, "bed1": 12.0, "bed2": 5.0, "bed240": 20.0}
    with client.connect(port.path) as board:
        board.wait_ready()
        for name, gain in gains.items():
            port.sim(f"sensor {name} gain={gain}")
        for name, load in amps.items():
            port.sim(f"sensor {name} phase=1.5")
            port.sim(f"plug {name} resistive amps={load}")
        owner = Owner(port, amps)
        outcomes = {x.channel: x for x in walk.walk(board, owner)}
        assert set(outcomes) == set(gains)
        for name, outcome in outcomes.items():
            assert outcome.gain == pytest.approx(1 / gains[name], rel=0.006), name
            assert abs(outcome.after_percent) <= 0.5, name
            assert outcome.before_percent == pytest.approx((gains[name] - 1) * 100, abs=0.6), name
            if name in amps:
                assert outcome.phase_deg == pytest.approx(1.5, abs=0.2), name
        assert not any(x.energised for x in map(board.outlets.__getitem__, board.outlets))
        path = tmp_path / "saved.json"
        saved = backup.save(board, path)
        assert set(saved) == {"board", *gains}
        for name in gains:
            board.command("cal", name, "clear")
        assert backup.export(board) == {"board": "simulated"}
        assert sorted(backup.restore(board, path)) == sorted(gains)
        assert backup.export(board) == saved
    table = walk.report(list(outcomes.values()))
    assert len(table) == 8 and all(len(x) < 80 for x in table)


def test_the_tool_passes_refusals_on_and_lets_go(port: SimulatedPort) -> None:
    with client.connect(port.path) as board:
        board.wait_ready()
        port.sim("plug bed1 resistive amps=10")
        owner = Owner(port, {"bed1": 10.0})
        owner.answers = ["", "", "100", "ten", "0", "10", "n"]
        (outcome,) = walk.walk(board, owner, ["bed1"])
        text = "\n".join(owner.said)
        assert "is a gain of" in text and "'ten' is no number" in text
        assert "outside the sensor's range" in text
        assert outcome.phase_deg == 0
        assert not board.outlets["bed1"].energised
        owner.answers = ["", "s"]
        assert walk.walk(board, owner, ["bed1"]) == []
        with pytest.raises(ToolError, match="no channel bed9"):
            walk.walk(board, owner, ["bed9"])


def test_the_command_line(
    port: SimulatedPort, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    lines = tmp_path / "lines"
    lines.write_text("120\n")
    saved = tmp_path / "v.json"
    with lines.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        arguments = [port.path, "--channel", "v_l1", "--save", str(saved)]
        assert command.main(arguments) == 0
    out, err = capfd.readouterr()
    assert re.search(r"v_l1 reads 1[12]\d\.\d V", out) and "v_l1       120.000 V" in out
    assert f"saved in {saved}" in err
    assert json.loads(saved.read_text())["calibration"].keys() == {"board", "v_l1"}
    assert command.main([port.path, "--restore", str(saved)]) == 0
    assert "is in force: v_l1" in capfd.readouterr().err


def test_no_board_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert command.main(["/dev/nonexistent", "--export"]) == 1
    assert "there is no port /dev/nonexistent" in capsys.readouterr().err
    assert time.monotonic() - start < 30
