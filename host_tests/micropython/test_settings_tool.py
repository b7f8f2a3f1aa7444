"""tools/settings against the real firmware, and that no secret ever leaves a board."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from firmware import board as boards
from firmware.storage import settings as schema
from tools import client
from tools.progress import ToolError
from tools.runtime.broker import Mosquitto
from tools.settings import __main__ as command
from tools.settings import backup
from tools.simulator.device import SimulatedDevice
from tools.simulator.port import SimulatedPort

SECRETS = [row[schema.NAME] for row in schema.SCHEMA if row[schema.FLAGS] & schema.SECRET]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[SimulatedPort]:
    device = SimulatedDevice("simulated", flash=tmp_path / "flash", seed=5)
    with SimulatedPort(device, speed=4.0) as served:
        yield served


def test_out_of_one_board_and_into_it_again(port: SimulatedPort, tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    with client.connect(port.path) as board:
        board.wait_ready()
        board.settings["bed1.limit_a"] = 15.5
        board.settings["device.name"] = "Ünser Truck \\ 1"
        board.settings["wifi.password"] = "hush1234"
        board.command("settings", "import", '{"temperature.derate_c":90,"temperature.trip_c":100}')
        saved = backup.save(board, path)
        assert saved["secrets"] == ["wifi.password"] and saved["board"] == "simulated"
        assert "hush" not in path.read_text()
        few = backup.export(board, changed=True)["settings"]
        assert set(few) == {
            "bed1.limit_a",
            "device.name",
            "temperature.derate_c",
            "temperature.trip_c",
        }
        board.settings.defaults()
        done = backup.restore(board, path, dry=True)
        assert set(done.changed) == set(few) and backup.export(board, True)["settings"] == {}
        assert backup.restore(board, path).changed == done.changed
        assert backup.export(board)["settings"] == saved["settings"]
        assert backup.restore(board, path).changed == {}

        # one that the board refuses: what was in force before is in force again
        path.write_text(
            json.dumps({"device.name": "x", "bed2.limit_a": 11, "total.limit_w": 99999})
        )
        with pytest.raises(ToolError, match=r"total.limit_w: .*nothing was changed"):
            backup.restore(board, path)
        assert backup.export(board)["settings"] == saved["settings"]
        path.write_text(json.dumps({"device.name": "x", "future.thing": 1}))
        with pytest.raises(ToolError, match=r"no setting future.thing .*nothing was changed"):
            backup.restore(board, path)
        assert backup.restore(board, path, skip_unknown=True).unknown == ["future.thing"]
        assert board.settings["device.name"] == "x"
        name = 'a "b" {c} \\'  # what `set` cannot say
        path.write_text(json.dumps({"device.name": name}))
        assert backup.restore(board, path).changed == {"device.name": ("x", name)}
        path.write_text(json.dumps({"mqtt.password": "hush5678", "mqtt.user": "me"}))
        done = backup.restore(board, path)
        assert "hush" not in str(done)
        assert done.needs_reboot == ["mqtt.password", "mqtt.user"]
        assert board.settings["mqtt.password"] == "(set)"


def test_the_command_line(
    port: SimulatedPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.json"
    path.write_text('{"bed1.limit_a":12,"mqtt.host":"broker","leg.limit_a":35}')
    asked = ["--port", port.path]
    assert command.main([*asked, "import", str(path), "--dry-run"]) == 0
    out = capsys.readouterr()
    assert "3 settings would change" in out.err and "bed1.limit_a         20 -> 12" in out.out
    assert command.main([*asked, "import", str(path)]) == 0
    said = capsys.readouterr().err
    assert "3 settings changed, in force and saved" in said
    assert "only after a reboot: mqtt.host" in said
    assert command.main([*asked, "show"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == [
        "mqtt.host",
        "leg.limit_a",
        "bed1.limit_a",
    ]
    assert command.main([*asked, "export", str(tmp_path / "out.json"), "--changed"]) == 0
    assert "3 settings saved in" in capsys.readouterr().err
    stored = json.loads((tmp_path / "flash/data/settings.json").read_text().split("\n", 1)[1])
    assert stored["leg.limit_a"] == 35


@pytest.mark.parametrize("name", boards.names())
def test_every_line_of_an_import_fits_the_console(name: str) -> None:
    made = schema.Settings(boards.load(name), "")
    longest = {}
    for setting in made.names():
        entry = made.entry(setting)
        text = entry[schema.TYPE] in (schema.TEXT, schema.IDENT)
        longest[setting] = "x" * min(entry[schema.MAX], 64) if text else made.get(setting)
    tables = list(backup.lines(longest))
    assert {key: value for table in tables for key, value in table.items()} == longest
    for table in tables:
        line = "settings import " + json.dumps(table, separators=(",", ":")) + " --json"
        assert len(line) <= 512
    for group in ("supply", "temperature"):
        holding = [t for t in tables if any(key.startswith(group + ".") for key in t)]
        assert len(holding) == 1, "they have to go with each other"


def test_no_secret_leaves_the_board(tmp_path: Path) -> None:
    """Each is set to a word of its own; then everything is asked for, in every way there is, and
    what came out is searched: console, MQTT, and each file but the settings' own."""
    assert len(SECRETS) >= 2
    words = {name: f"hush{i}Marker{i}" for i, name in enumerate(SECRETS)}
    heard: list[bytes] = []
    flash = tmp_path / "flash"
    listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _c, _d, m: heard.append(m.topic.encode() + b" " + m.payload)
    shown = bytearray()
    with contextlib.ExitStack() as keep:
        broker = keep.enter_context(Mosquitto(tmp_path / "broker"))
        listener.connect("127.0.0.1", broker.port)
        listener.subscribe("#")
        listener.loop_start()
        keep.callback(listener.loop_stop)
        known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": "one"}
        known |= {"mqtt.user": "me", "mqtt.allow": "all"}
        device = keep.enter_context(
            SimulatedDevice(settings=known, flash=flash, on_output=shown.extend)
        )
        device.run_paced(2_500_000)
        for name, word in words.items():
            device.command(f"set {name} {word}")
        device.command("wifi set home " + words["wifi.password"])
        device.command("settings import " + json.dumps(words))
        device.command("save")
        for name, word in words.items():
            device.command(f"set {name} {word * 20}")  # refused: too long
            device.command(f"set {name} {word}\x07")
            device.command("settings import " + json.dumps({name: [word]}))
            device.command("settings import " + json.dumps({name: word, "bed9.x": 1}))
        lines = ("get", "get --changed", "settings", "settings export", "events all", "status")
        more = (
            "outlets",
            "wifi",
            "mqtt",
            "version",
            "selftest",
            "help",
            "settings import x",
            "get w",
        )
        for line in lines + more + tuple(f"get {name}" for name in words):
            device.type(line)
            device.run(0.7)
            device.type(line + " --json")
            device.run(0.7)
            ident = json.dumps({"id": line, "cmd": line.split()[0], "args": line.split()[1:]})
            listener.publish("tailgate/one/command", ident)
            device.run_paced(device.now_us + 400_000)
        for i, (name, word) in enumerate(words.items()):
            for j, value in enumerate((word, word * 20)):
                ident = {"id": f"{i}{j}", "cmd": "set", "args": [name, value]}
                listener.publish("tailgate/one/command", json.dumps(ident))
        device.run_paced(device.now_us + 1_000_000)
        # keys one by one, and back through the lines typed before
        for key in f"set {SECRETS[0]} {words[SECRETS[0]]}":
            device.write(key.encode())
            device.run(0.03)
        device.write(b"\r")
        device.run(0.3)
        typed = len(shown)
        for _ in range(12):
            device.write(b"\x1b[A")
            device.run(0.05)
        device.write(b"\x15")
        device.type("reboot yes")
        device.run(4)
        again = bytes(shown[typed:])
        time.sleep(0.2)
    echoed = bytes(shown[:typed]).replace(f"set {SECRETS[0]} ".encode(), b"")
    asked = [m for m in heard if m.startswith(b"tailgate/one/command ")]
    told = [m for m in heard if not m.startswith(b"tailgate/one/command ")]
    assert len(asked) > 10 and len(told) > 30
    answers = {}
    for message in told:
        if message.startswith(b"tailgate/one/response "):
            answer = json.loads(message.split(b" ", 1)[1])
            answers[answer["id"]] = answer
    assert len(answers["get"]["result"]["settings"]) > 100, "long answers come over MQTT, too"
    assert answers["settings export"]["result"]["export"]["secrets"] == SECRETS
    assert answers["events all"]["result"]["events"][0]["event"] == "boot"
    assert len(answers) > 15
    files = [p for p in flash.rglob("*") if p.is_file() and "settings.json" not in p.name]
    assert any(p.name.startswith("journal") for p in files)
    for name, word in words.items():
        stored = (flash / "data/settings.json").read_bytes()
        assert word.encode() in stored, "the test would find it where it is"
        assert word.encode() not in b"\n".join(told), name
        assert word.encode() not in again, name
        if name != SECRETS[0]:
            assert word.encode() not in echoed, name
        for path in files:
            assert word.encode() not in path.read_bytes(), (name, path)
    # the one that was typed stands on the terminal while it is typed, and nowhere else
    finished = [line for line in echoed.split(b"\r\n") if words[SECRETS[0]].encode() in line]
    assert all(line.startswith((b"\r", b"> ", b"\x1b")) for line in finished)


def test_a_damaged_file_is_said_everywhere_until_the_next_save(tmp_path: Path) -> None:
    flash = tmp_path / "flash"
    with SimulatedDevice(flash=flash) as device:
        device.run(1)
        for line in ("set bed1.limit_a 11", "set bed1.after_boot on", "save"):
            assert device.command(line).startswith("ok")
        device.power_cut()
        (flash / "data/settings.json").write_bytes(b"tailgate1 00000000 9\nrubbish")
        device.power_on()
        device.run(3)
        told = [line.text for line in device.lines]
        assert any(t.startswith("storage: ") and "the defaults are used" in t for t in told)
        assert not any(x["closed"] for x in device.truth()["outlets"].values())

        def ask(line: str) -> str:
            since = len(device.lines)
            device.type(line)
            device.run(1)
            return "\n".join(x.text for x in device.lines[since:])

        assert "storage   stored_fault" in ask("events stored_fault")
        assert "settings damaged=data/settings.json is damaged" in ask("status")
        assert "the defaults are used" in ask("settings")
        assert "FAIL settings" in ask("selftest")
        assert "bed1.limit_a         20 A" in ask("get bed1.limit_a")
        assert ask("save").startswith("ok saved")
        assert "damaged" not in ask("status") + ask("settings")
        assert "ok   settings" in ask("selftest")
        assert ask("status --json").count('"settings": {}') == 1


def test_over_mqtt(tmp_path: Path) -> None:
    """Messages are short there, so it takes several; and names may be of any script."""
    path = tmp_path / "board.json"
    with Mosquitto(tmp_path / "broker") as broker:
        known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": "one"}
        device = SimulatedDevice(settings=known | {"mqtt.allow": "all"})
        with (
            SimulatedPort(device),
            client.connect(f"mqtt://127.0.0.1:{broker.port}/one") as board,
        ):
            board.wait_ready()
            values = backup.export(board)["settings"]
            wanted = {f"{name}.limit_a": 9 for name in board.outlets}
            wanted |= {f"{name}.name": "日本 🔌" for name in board.outlets}
            wanted |= {"supply.over_percent": 107, "supply.high_percent": 109}
            path.write_text(json.dumps(values | wanted))
            done = backup.restore(board, path)
            assert set(done.changed) == set(wanted)
            assert backup.export(board)["settings"] == values | wanted
