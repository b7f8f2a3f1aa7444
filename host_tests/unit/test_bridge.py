"""tools.bridge without a board: the command line, the order of commands, what it remembers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tools.bridge import __main__ as command_line
from tools.bridge.app import App, CommandError, Energy, Journal, load_board
from tools.bridge.bridge import Known, Memory
from tools.bridge.streams import Broker, Stream
from tools.client import CommandRefused, NoAnswer
from tools.progress import ToolError

OUTLET = {"state": "off", "reason": "none", "on": False, "priority": 3}


class FakeLink:
    """A board that answers when it is told to. `asked`: (words, repeat) in their order."""

    name = "fake"
    pause_s = 0.0
    back_s = 0.0

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], bool]] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def request(
        self, name: str, args: Sequence[str], timeout_s: float, repeat: bool
    ) -> dict[str, Any]:
        assert name == "--mqtt", "never with the rights of the console"
        self.asked.append((list(args), repeat))
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return {"link": {"wifi": "none", "mqtt": "off"}} if args[0] == "status" else {"did": 1}

    def heard(self) -> tuple[int, int]:
        return 0, 0

    def wait(self, seconds: float, known: tuple[int, int]) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def app(link: FakeLink) -> App:
    names = [outlet.name for outlet in load_board("simulated").outlets]
    status = {
        "device": "dut",
        "version": "1.2.3",
        "uptime_s": 5,
        "last_event": 7,
        "link": {"wifi": "none", "mqtt": "off"},
        "outlets": dict.fromkeys(names, OUTLET),
    }
    return App(link, Broker("broker.test"), status, "simulated", 7)


def until_done(job: Any) -> Any:
    end = time.monotonic() + 10
    while (result := job.poll()) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return result


def test_a_command_has_the_rights_of_mqtt(app: App, link: FakeLink) -> None:
    assert app.commands.run("on", ["bed1"], "mqtt") == {"did": 1}
    assert link.asked == [(["on", "bed1"], False)], "sent once"
    assert app.kicked, "what came of it is asked for at once"
    app.commands.run("off", ["bed1"], "mqtt")
    assert link.asked[-1] == (["off", "bed1"], True)
    assert app.commands.run("status", [], "mqtt")["link"] == {"wifi": "none", "mqtt": "down"}
    for words in (("--mqtt", "on"), ("on", "bed1", "--mqtt")):
        with pytest.raises(CommandError, match="cannot be part of a command"):
            app.commands.run(words[0], list(words[1:]), "mqtt")
    assert len(link.asked) == 3


def test_refusals_and_a_bad_line(app: App, link: FakeLink) -> None:
    link.error = CommandRefused("on all", "bed1: tripped", {"done": ["bed2"]})
    with pytest.raises(CommandError, match="bed1: tripped") as refused:
        app.commands.run("on", ["all"], "mqtt")
    assert refused.value.result == {"done": ["bed2"]}
    link.error = NoAnswer("no answer from fake")
    with pytest.raises(CommandError, match="no answer from fake"):
        app.commands.run("on", ["bed1"], "mqtt")


def test_while_a_long_command_runs_only_off_waits(app: App, link: FakeLink) -> None:
    link.go.clear()
    job = app.commands.run("cal", ["bed1", "10"], "mqtt")
    assert job.poll() is None
    with pytest.raises(CommandError, match="cal is under way: try again when it is done"):
        app.commands.run("on", ["bed1"], "mqtt")
    threading.Timer(0.3, link.go.set).start()
    assert app.commands.run("off", ["bed1"], "mqtt") == {"did": 1}
    assert until_done(job) == {"did": 1}
    assert [words[0] for words, _ in link.asked] == ["cal", "off"]
    assert app.commands.run("on", ["bed1"], "mqtt") == {"did": 1}
    link.go.clear()
    job = app.commands.run("get", [], "mqtt")
    link.error = CommandRefused("get", "no")
    link.go.set()
    with pytest.raises(CommandError, match="no"):
        until_done(job)


def test_forgetting_needs_the_boards_consent(app: App, link: FakeLink) -> None:
    link.error = CommandRefused("mqtt forget", "mqtt forget is not allowed from mqtt")
    with pytest.raises(CommandError, match="is not allowed"):
        app.commands.run("mqtt", ["forget"], "mqtt")
    assert not app.publisher._forget
    link.error = CommandRefused("mqtt forget", "MQTT is off (setting mqtt.host)")
    assert app.commands.run("mqtt", ["forget"], "mqtt") == {"forgotten": True}
    assert app.publisher._forget
    link.error = None
    assert app.commands.run("mqtt", [], "mqtt")["host"] == "broker.test"


def test_settings_are_the_boards_and_the_broker_is_ours(app: App) -> None:
    app.settings.take(
        {
            "mqtt.host": "elsewhere",
            "mqtt.allow": "read",
            "bed1.name": "Saw",
            "device.name": 5,
            "bed9.name": "of another board",
            "bed1.limit_a": 3,
        }
    )
    assert app.settings.get("mqtt.host") == "broker.test"
    assert app.settings.get("mqtt.allow") == "read"
    assert app.settings.get("bed1.name") == "Saw"
    assert app.publisher._announce_at is not None, "names are announced again"


def test_a_board_without_a_table() -> None:
    with pytest.raises(ToolError, match="table 'nothing' is not known here"):
        load_board("nothing")


def rows(*seqs: int) -> list[dict[str, Any]]:
    return [{"seq": seq} for seq in seqs]


def test_the_journal_holds_what_the_broker_lacks(app: App) -> None:
    assert app.publisher.published == 7, "begins after what the broker has"
    journal = Journal(7)
    journal.extend(rows(8, 9, 10))
    assert journal.last_seq == 10
    assert list(journal.since(8)) == rows(9, 10)
    assert journal.trim(9) == {"seq": 9}
    assert journal.trim(9) is None
    assert list(journal.since(0)) == rows(10)


def test_the_energy_is_asked_for_when_an_hour_has_begun() -> None:
    def answer(hour: str) -> dict[str, Any]:
        return {"period": "hours", "rows": [{"start": "2026-01-01T00:00:00Z"}, {"start": hour}]}

    energy = Energy()
    assert not energy.is_due(None), "the board does not know the time"
    assert energy.is_due("2026-11-23T05:51:47Z")
    assert not energy.is_due("2026-11-23T05:51:48Z"), "it was refused: not each second"
    assert energy.is_due("2026-11-23T05:51:51Z"), "a board that has just been told the time"
    assert not energy.is_due("2026-11-23T05:51:58Z"), "less and less often"
    for clock in ("51:59", "52:15", "52:47", "53:47", "54:47"):
        assert energy.is_due(f"2026-11-23T05:{clock}Z")
    assert not energy.is_due("2026-11-23T05:55:46Z")
    assert not energy.is_known
    energy.take(answer("2026-11-23T05:00:00Z"))
    assert energy.is_known
    before = energy.periods
    for quiet in ("05:55:47", "05:57:00", "05:59:59"):
        assert not energy.is_due(f"2026-11-23T{quiet}Z")
    assert energy.is_due("2026-11-23T06:00:00Z")
    energy.take(answer("2026-11-23T06:00:00Z"))
    assert energy.periods != before
    assert energy.is_due("2026-11-22T21:00:00Z"), "the clock was set back"
    # a zone half an hour off
    energy.take(answer("2026-11-22T20:30:00Z"))
    assert not energy.is_due("2026-11-22T21:29:59Z")
    assert energy.is_due("2026-11-22T21:30:00Z")


def test_a_broker_with_several_addresses_is_tried_at_each(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ["2001:db8::7", "192.0.2.7"]
    asked: list[str] = []

    async def look_up() -> list[str]:
        async def names(host: str, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            return [(0, 0, 0, "", (address, 0)) for address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names)
        return [await app.publisher._resolve("nas.local") for _ in range(3)]

    assert asyncio.run(look_up()) == ["2001:db8::7", "192.0.2.7", "2001:db8::7"]
    assert asked == ["nas.local"] * 3


def test_what_the_broker_has_is_remembered(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "new" / "folder")
    assert memory.read("dut") is None
    event = {"seq": 9, "uptime_s": 1.5, "outlet": None, "event": "boot", "reason": "power_on"}
    known = Known(9, {**event, "source": "boot"})
    memory.write("dut", known)
    memory.write("other", Known(3))
    assert memory.read("dut") == known and memory.read("other") == Known(3)
    for text in ("", "{}", '{"seq": "9", "event": null}', '{"seq": 9, "event": {}}', "[]", "\0"):
        (tmp_path / "new" / "folder" / "bridge-dut.json").write_text(text)
        assert memory.read("dut") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/dev/x"], "--broker"),
        (["--broker", "nas"], "PORT"),
        (["/dev/x", "--broker", "nas:x"], "'nas:x' is no HOST or HOST:PORT"),
        (["/dev/x", "--broker", "nas:70000"], "'nas:70000' is no HOST or HOST:PORT"),
        (["/dev/x", "--broker", ":1883"], "':1883' is no HOST or HOST:PORT"),
    ],
)
def test_words_that_are_no_command_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(words)
    assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/dev/x", "/dev/x"], "a port is named twice"),
        (["/dev/x", "--password-file", "/none"], "--password-file: /none cannot be read"),
        (["/dev/x", "--password-file", "/dev/null"], "the first line of /dev/null is empty"),
        (["/dev/x", "--tls-cert", "a"], "--tls-cert and --tls-key go together"),
        (["/dev/x", "--tls-ca", "/none"], "TLS: /none cannot be used"),
    ],
)
def test_options_that_cannot_be_used(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def install(broker: Broker) -> None:
        broker.context()
        raise AssertionError("it would have begun")

    monkeypatch.setattr(command_line, "install", install)
    assert command_line.main([*words, "--broker", "nas"]) == 1
    assert said in capsys.readouterr().err


def test_addresses() -> None:
    assert command_line._address("nas") == ("nas", 0)
    assert command_line._address("10.0.0.1:1884") == ("10.0.0.1", 1884)
    assert command_line._address("[::1]:1884") == ("::1", 1884)
    assert "s3cret" not in repr(Broker("nas", password="s3cret"))


def test_streams_wait_without_blocking() -> None:
    async def body() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        stream = Stream(socket.AF_INET, socket.SOCK_STREAM, 0)
        stream.setblocking(False)
        with pytest.raises(BlockingIOError):
            stream.connect(server.getsockname())
        await asyncio.wait_for(stream.wait(True), 5)
        peer = server.accept()[0]
        data = bytearray(8)
        assert stream.readinto(data) is None
        asyncio.get_running_loop().call_later(0.05, peer.send, b"abc")
        await asyncio.wait_for(stream.wait(False), 5)
        assert stream.readinto(data) == 3 and data[:3] == b"abc"
        taken = 0
        while (size := stream.write(bytes(65536))) is not None:
            taken += size
        assert taken > 0
        waiting = asyncio.create_task(stream.wait(True))
        await asyncio.sleep(0)
        peer.close()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(waiting, 5)
            stream.write(b"x")
        waiting = asyncio.create_task(stream.wait(False))
        await asyncio.sleep(0)
        waiting.cancel()
        stream.close()
        await asyncio.gather(waiting, return_exceptions=True)
        server.close()
        # nobody listens there any more
        stream = Stream(socket.AF_INET, socket.SOCK_STREAM, 0)
        stream.setblocking(False)
        with pytest.raises(BlockingIOError):
            stream.connect(server_name)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.wait_for(stream.wait(True), 5)
        stream.close()

    with socket.create_server(("127.0.0.1", 0)) as unused:
        server_name = unused.getsockname()
    asyncio.run(body())
