"""tools.client against the real firmware: over a pseudo-terminal, TCP, RFC 2217 and Mosquitto."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
import serial.rfc2217

from tools import client
from tools.client.mqtt_link import Address, Broker
from tools.runtime.broker import Mosquitto
from tools.simulator.device import SimulatedDevice
from tools.simulator.port import SimulatedPort

OUTLETS = ["cabin1", "cabin2", "bed1", "bed2", "bed240"]


@pytest.fixture
def port() -> Iterator[SimulatedPort]:
    with SimulatedPort(SimulatedDevice()) as running:
        yield running
        assert running.error is None


@pytest.fixture
def board(port: SimulatedPort) -> Iterator[client.Board]:
    with client.connect(port.path) as connected:
        connected.wait_ready()
        yield connected


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def start(broker: Mosquitto) -> Iterator[Callable[..., SimulatedPort]]:
    """`start(device_id, **settings)`: a board that is connected to the broker."""
    with contextlib.ExitStack() as keep:

        def go(device_id: str, **settings: Any) -> SimulatedPort:
            known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": device_id}
            device = SimulatedDevice(settings=known | settings)
            return keep.enter_context(SimulatedPort(device))

        yield go


def wait(good: Callable[[], Any], within_s: float = 10.0) -> Any:
    """What `good()` returns as soon as that is true."""
    until = time.monotonic() + within_s
    while True:
        found = good()
        if found:
            return found
        assert time.monotonic() < until, f"still {found!r}"
        time.sleep(0.05)


def online(port: SimulatedPort) -> None:
    """Wait until the board has reached its broker."""
    until = time.monotonic() + 20
    while not any("broker_up" in line.text for line in port.device.lines):
        assert port.error is None, f"the chip ended: {port.error}"
        shown = [line.text for line in port.device.lines]
        assert time.monotonic() < until, f"no broker_up; the console showed {shown}"
        time.sleep(0.05)


def test_a_session(port: SimulatedPort, board: client.Board) -> None:
    assert list(board.outlets) == OUTLETS
    assert board.version().board == "simulated"
    port.sim("plug bed1 resistive amps=10")
    bed1 = board.outlets["bed1"]
    assert (bed1.state, bed1.energised, bed1.current_a) == ("off", False, 0.0)
    bed1.on()
    assert bed1.state in ("closing", "on") and bed1.energised
    wait(lambda: 9.9 < bed1.current_a < 10.1)
    assert bed1.power_w == pytest.approx(1200, rel=0.02)
    assert bed1.apparent_va == pytest.approx(1200, rel=0.02)
    assert (bed1.limit_a, bed1.priority, bed1.trips) == (20, 4, 0)
    status = board.status()
    assert status.contactor == "closed" and status.legs["l1"].current_a > 9.9
    assert status.outlets["bed1"].load_percent == pytest.approx(50, abs=1)
    assert status.supply.frequency_hz == pytest.approx(60, abs=0.02)
    energy = wait(lambda: (found := board.energy()).outlets["bed1"] > 0 and found)
    assert set(energy.outlets) == set(OUTLETS)
    assert board.off() == OUTLETS
    assert not bed1.energised


def test_the_clock_and_the_energy_by_period(port: SimulatedPort, board: client.Board) -> None:
    first = board.clock()
    assert first.source == "boot" and first.utc is not None and first.zone == "UTC0"
    when = datetime.datetime(2027, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)
    told = board.set_time(when)
    assert told.source == "console" and told.utc is not None
    assert abs(told.utc - when) <= datetime.timedelta(seconds=1)
    event = board.recent_events(1, kind="clock")[0]
    assert event.reason == "set" and event.quantity == "step_s" and event.time is not None
    assert abs(event.time - when) <= datetime.timedelta(seconds=1)
    now = datetime.datetime.now(datetime.UTC)
    found = board.set_time().utc
    assert found is not None and abs(found - now) < datetime.timedelta(seconds=5)
    port.sim("plug bed1 resistive amps=15")
    board.outlets["bed1"].on()
    wait(lambda: board.energy().outlets["bed1"] > 0.001)
    energy = board.energy()
    assert energy.today_kwh == energy.total_kwh and energy.yesterday_kwh is None
    hours = board.energy_by("hours", 2)
    assert hours[-1].outlets["bed1"] > 0 and hours[-1].start.endswith(":00:00Z")
    assert board.energy_by("days")[-1].start == now.date().isoformat()
    with pytest.raises(client.CommandRefused, match="the count is 1 to 120, not '121'"):
        board.energy_by("months", 121)


def test_the_example_of_the_documents(
    port: SimulatedPort, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    code = code.replace("/dev/ttyACM0", port.path).replace("timeout_s=60", "timeout_s=1")
    assert port.path in code and "timeout_s=1)" in code
    port.sim("plug bed1 resistive amps=10")
    before = port.device.flash
    exec(code, {})
    first = capsys.readouterr().out.splitlines()[0]
    assert re.match(r"(closing|on) \d+", first)
    # with bed1 at half its rating it may lie in the strip: the file follows in a quiet moment
    port.sim("unplug bed1")
    stored = before / "data" / "settings.json"
    wait(lambda: stored.exists() and "bed1.limit_a" in stored.read_text())


def test_what_the_board_refuses(port: SimulatedPort, board: client.Board) -> None:
    events = board.events(timeout_s=2.0)
    board.outlets["bed1"].on()
    port.sim("short bed1")
    tripped = next(event for event in events if event.kind == "tripped")
    assert (tripped.outlet, tripped.reason, tripped.source) == ("bed1", "peak", "fast")
    assert tripped.quantity == "current_a" and isinstance(tripped.value, float)
    assert tripped.value > 200
    # an event reads as on the console
    wait(lambda: f"event: {tripped}" in [line.text for line in port.device.lines])
    with pytest.raises(client.CommandRefused) as refused:
        board.outlets["bed1"].on()
    assert str(refused.value).startswith("bed1: tripped (short circuit): find the cause")
    assert refused.value.command == "on bed1"
    # for a moment the board's admission still counts the current that has just been cut
    time.sleep(1.0)
    with pytest.raises(client.CommandRefused) as refused:
        board.command("on", "all")
    assert set(refused.value.result["done"]) == set(OUTLETS) - {"bed1"}
    with pytest.raises(client.UnknownOutlet, match=r"no outlet 'bed9' \(there are: cabin1"):
        board.outlets["bed9"]
    with pytest.raises(KeyError):
        board.outlets["bed9"]
    with pytest.raises(client.CommandRefused, match="unknown command 'fly'"):
        board.command("fly")


def test_settings(board: client.Board) -> None:
    settings = board.settings
    settings["bed1.limit_a"] = 15
    settings["device.name"] = "Truck, the 2nd"
    settings["mqtt.discovery"] = False
    assert settings["bed1.limit_a"] == 15
    assert settings["device.name"] == "Truck, the 2nd"
    assert settings["mqtt.discovery"] is False
    assert board.outlets["bed1"].limit_a == 15, "in force at once"
    info = settings.info("bed1.limit_a")
    assert (info.value, info.unit, info.default, info.saved) == (15, "A", 20, False)
    assert "1 to 20 A" in info.allowed
    assert set(settings.unsaved) == {"bed1.limit_a", "device.name", "mqtt.discovery"}
    assert set(settings.save()) == {"bed1.limit_a", "device.name", "mqtt.discovery"}
    assert settings.unsaved == [] and settings.info("bed1.limit_a").saved
    with pytest.raises(client.CommandRefused, match=r"'25' is not allowed \(allowed: 1 to 20 A"):
        settings["bed1.limit_a"] = 25
    assert settings["bed1.limit_a"] == 15
    for name in ("nothing", "bed1.limit"):
        with pytest.raises(client.UnknownSetting):
            settings[name]
        assert name not in settings and "bed1.limit_a" in settings
    with pytest.raises(client.ClientError, match="cannot be deleted"):
        del settings["bed1.limit_a"]
    assert len(settings) == len(settings.all()) > 40
    settings["mqtt.password"] = "a secret"
    assert "a secret" not in str(settings.all())
    settings.defaults()
    assert settings["bed1.limit_a"] == 20


def test_events_go_on_over_restarts(port: SimulatedPort, board: client.Board) -> None:
    events = board.events(timeout_s=3.0)
    board.outlets["bed1"].on()
    assert (next(events).kind, board.outlets["bed1"].energised) == ("on", True)
    board.reboot()
    kinds = [next(events).kind for _ in range(3)]
    assert kinds == ["off", "off", "boot"], "the outlet, all of them, and the new start"
    assert board.wait_ready().uptime_s < 5
    board.outlets["bed1"].on()
    assert next(events).kind == "on"
    # The last event was not on the flash yet: its number is used again.
    port.call(port.device.power_cut)
    time.sleep(0.2)
    port.call(port.device.power_on)
    boot = next(events)
    assert (boot.kind, boot.reason) == ("boot", "power_on")
    assert events.missed == 0


def test_many_events_at_once(board: client.Board) -> None:
    board.settings["events.verbose"] = False  # no line announces them
    events = board.events(timeout_s=4.0)
    for i in range(40):
        board.settings["shed.margin_w"] = 100 + i
    found = [next(events) for _ in range(40)]
    assert [event.setting for event in found] == ["shed.margin_w"] * 40
    assert [event.seq for event in found] == list(range(found[0].seq, found[0].seq + 40))
    assert [e.setting for e in board.recent_events(3, kind="setting")] == ["shed.margin_w"] * 3


def test_a_line_left_at_the_terminal_is_not_run(port: SimulatedPort) -> None:
    with open(port.path, "r+b", buffering=0) as terminal:
        time.sleep(1.5)
        for key in b"on bed2":
            terminal.write(bytes([key]))
            time.sleep(0.03)
    with client.connect(port.path) as board:
        board.wait_ready()
        assert board.outlets["bed2"].state == "off"
        assert [event.kind for event in board.recent_events()] == ["boot"]
    with open(port.path, "r+b", buffering=0) as terminal:
        terminal.write(b"on bed2 " + b"x" * 900)  # longer than any line may be
    with client.connect(port.path) as board:
        assert board.outlets["bed2"].state == "off"


@pytest.mark.parametrize("echo", ["on", "off"])
def test_with_echo_and_without(board: client.Board, echo: str) -> None:
    board.settings["console.echo"] = echo
    for limit in (11, 12, 13):
        board.settings["bed1.limit_a"] = limit
        assert board.outlets["bed1"].limit_a == limit


def test_somebody_else_types_on_the_same_port(port: SimulatedPort, board: client.Board) -> None:
    stop = threading.Event()

    def person() -> None:
        while not stop.wait(0.1):
            # half lines, cursor keys, noise: whatever can get between
            port.call(lambda: port.device.write(b"st\x1b[D\xc3\xff\x1b[A"))

    thread = threading.Thread(target=person)
    thread.start()
    try:
        for limit in range(5, 20):
            # what is typed between may spoil a command: then it says so, and it is given again
            for _ in range(20):
                with contextlib.suppress(client.CommandRefused, client.LinkError):
                    board.command("set", "bed1.limit_a", limit, timeout_s=1.0)
                    break
    finally:
        stop.set()
        thread.join()
    assert board.settings["bed1.limit_a"] == 19


def test_several_threads(board: client.Board) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        for _ in range(15):
            value = board.settings[f"{name}.priority"]
            if value != {"cabin1": 1, "cabin2": 2, "bed1": 4, "bed2": 5, "bed240": 3}[name]:
                wrong.append(f"{name}: {value}")

    events = board.events(timeout_s=2.0)
    listener = threading.Thread(target=lambda: wrong.extend([] if list(events) else ["none"]))
    threads = [threading.Thread(target=ask, args=(name,)) for name in OUTLETS]
    for thread in [listener, *threads]:
        thread.start()
    board.outlets["bed1"].on()
    for thread in [*threads, listener]:
        thread.join(30)
        assert not thread.is_alive()
    assert not wrong


def test_a_port_in_use_and_one_that_is_not_there(board: client.Board, tmp_path: Path) -> None:
    with pytest.raises(client.NotConnected, match="is in use: close the other program"):
        client.connect(board.link.name)
    with pytest.raises(client.NotConnected, match="there is no port"):
        client.connect(str(tmp_path / "tty"))
    with pytest.raises(client.ClientError, match="cannot be opened"):
        client.connect("nonsense://x")


class Bridge:
    """A serial server: TCP on one side, the board's port on the other; one peer at a time."""

    def __init__(self, path: str, rfc2217: bool) -> None:
        self._path = path
        self._rfc2217 = rfc2217
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.settimeout(0.1)
        while not self._stop:
            with contextlib.suppress(OSError):
                peer, _ = self._server.accept()
                with peer, serial.Serial(self._path, timeout=0) as port:
                    self._carry(peer, port)

    def _carry(self, peer: socket.socket, port: Any) -> None:
        peer.settimeout(0.01)
        manager = None
        if self._rfc2217:
            peer_file = peer.makefile("wb", buffering=0)
            # a pseudo-terminal has no modem lines to ask for: those of another port do
            lines = serial.serial_for_url("loop://", timeout=0)
            manager = serial.rfc2217.PortManager(lines, peer_file)
        while not self._stop:
            with contextlib.suppress(TimeoutError):
                data = peer.recv(1024)
                if not data:
                    return
                port.write(b"".join(manager.filter(data)) if manager else data)
            said = port.read(4096)
            if said:
                peer.settimeout(5)
                peer.sendall(b"".join(manager.escape(said)) if manager else said)
                peer.settimeout(0.01)

    def close(self) -> None:
        self._stop = True
        self._thread.join(5)
        self._server.close()


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_over_the_network(port: SimulatedPort, scheme: str) -> None:
    bridge = Bridge(port.path, scheme == "rfc2217")
    try:
        with client.connect(f"{scheme}://127.0.0.1:{bridge.port}") as board:
            board.wait_ready()
            board.outlets["cabin1"].on()
            assert board.outlets["cabin1"].energised
            assert len(board.settings) > 40
    finally:
        bridge.close()


def test_the_wheel_keeps_turning_when_nobody_reads(port: SimulatedPort) -> None:
    with client.connect(port.path) as board:
        board.wait_ready()
        board.outlets["bed1"].on()
        time.sleep(1.0)
    before = port.call(lambda: port.device.now_us)
    time.sleep(0.5)
    assert port.call(lambda: port.device.now_us) > before
    assert port.call(port.device.truth)["outlets"]["bed1"]["closed"], "closing switches nothing"


# -- MQTT ----------------------------------------------------------------------------------------


def test_the_same_over_mqtt(broker: Mosquitto, start: Callable[..., SimulatedPort]) -> None:
    port = start("one", **{"mqtt.allow": "all"})
    url = f"mqtt://127.0.0.1:{broker.port}"
    online(port)
    with client.connect(url) as board:  # the only one there is
        assert board.wait_ready().device == "one"
        port.sim("plug bed1 resistive amps=10")
        events = board.events(timeout_s=4.0)
        board.outlets["bed1"].on()
        event = next(events)
        assert (event.kind, event.outlet, event.source) == ("on", "bed1", "mqtt")
        wait(lambda: 9.9 < board.outlets["bed1"].current_a < 10.1)
        board.settings["bed1.limit_a"] = 15
        assert next(events).setting == "bed1.limit_a"
        assert board.settings["bed1.limit_a"] == 15 and board.settings.save() == ["bed1.limit_a"]
        board.settings["device.name"] = "My truck"
        assert board.settings["device.name"] == "My truck"
        assert board.energy().total_kwh >= 0
        days = board.energy_by("days")  # an answer in pieces
        assert days[-1].total_kwh >= 0 and set(days[-1].outlets) == set(OUTLETS)
        assert board.set_time().source == "mqtt"
        assert next(event for event in events if event.kind == "clock").source == "mqtt"
        with pytest.raises(client.CommandRefused, match="exit is possible on the console only"):
            board.command("exit", "yes")
        for _ in range(25):  # more than the board takes at once: it is asked again
            board.version()
        port.sim("short bed1")
        assert next(event for event in events if event.kind == "tripped").reason == "peak"
        with pytest.raises(client.CommandRefused, match=r"^bed1: tripped \(short circuit\)"):
            board.outlets["bed1"].on()
        board.reboot()
        assert board.wait_ready().uptime_s < 10
        assert any(event.kind == "boot" for event in events)


def test_boards_come_and_go_behind_a_broker(
    broker: Mosquitto, start: Callable[..., SimulatedPort]
) -> None:
    one, two = start("one"), start("two")
    url = f"mqtt://127.0.0.1:{broker.port}"
    for port in (one, two):
        online(port)
    with pytest.raises(client.ClientError, match="knows several boards: one, two; say which"):
        client.connect(url)
    with pytest.raises(client.NotConnected, match="has not heard of three"):
        client.connect(f"{url}/three")
    with client.connect(f"{url}/two", back_s=0.5) as board:
        with pytest.raises(client.CommandRefused, match="not allowed from mqtt"):
            board.settings["bed1.limit_a"] = 15
        two.call(two.device.power_cut)
        with pytest.raises(client.NotConnected, match="two is offline, says the broker"):
            board.outlets["bed1"].on()
        two.call(two.device.power_on)
        assert wait(lambda: _answers(board))
        assert not board.status().outlets["bed1"].energised, "nothing was kept for later"
    with Broker(url) as listener:
        assert listener.devices(wait_s=3.0) == {"one": True, "two": True}
        assert wait(lambda: listener.heard("one").state)["device"] == "one"


def _answers(board: client.Board) -> bool:
    try:
        return not board.status().starting
    except client.LinkError:
        return False


def test_a_broker_that_goes_away(broker: Mosquitto, start: Callable[..., SimulatedPort]) -> None:
    port = start("one")
    online(port)
    with client.connect(f"mqtt://127.0.0.1:{broker.port}/one", back_s=0.5) as board:
        board.wait_ready()
        broker.stop(hard=True)
        with pytest.raises(client.LinkError):
            board.outlets["bed1"].on()
        broker.start()
        # the board makes longer and longer pauses between its attempts
        wait(lambda: _answers(board), 40)
        assert not board.status().outlets["bed1"].energised, "the command did not wait in a queue"
        board.outlets["bed1"].on()
        assert board.outlets["bed1"].energised


def test_brokers_that_let_nobody_in(tmp_path: Path) -> None:
    with pytest.raises(client.NotConnected, match=r"no MQTT broker at 127\.0\.0\.1:1: "):
        client.connect("mqtt://127.0.0.1:1/one")
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    passwords.chmod(0o600)
    with Mosquitto(tmp_path / "closed", password_file=passwords) as closed:
        with pytest.raises(client.NotConnected, match="lets nobody in: Not authorized") as refused:
            client.connect(f"mqtt://me:se%40cret@127.0.0.1:{closed.port}/one")
        assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["mqtt://", "mqtt://host:port/x", "mqtt://host/a/b", "mqtt://host/ü", "mqtt://h?x=1"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(client.ClientError):
        Address.parse(url)


def test_addresses() -> None:
    assert Address.parse("mqtt://nas") == Address("nas", 1883)
    assert Address.parse("mqtts://me:p%40ss@nas/truck?ca=/ca.crt") == Address(
        "nas", 8883, True, "me", "p@ss", "truck", "/ca.crt"
    )
    assert "p@ss" not in repr(Address.parse("mqtts://me:p%40ss@nas/truck"))


def test_the_console_of_the_simulator_as_a_port(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tools.simulator.device import ROOT

    process = subprocess.Popen(
        [sys.executable, "-m", "tools.simulator.port", "--flash", str(tmp_path / "flash")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        path = process.stdout.readline().strip()
        with client.connect(path) as board:
            board.wait_ready()
            process.stdin.write("sim plug bed1 resistive amps=5\nsim nonsense\n")
            process.stdin.flush()
            assert "resistive plugged in" in process.stdout.readline()
            assert re.match("error: no simulator command", process.stdout.readline())
            board.outlets["bed1"].on()
            wait(lambda: 4.9 < board.outlets["bed1"].current_a < 5.1)
    finally:
        process.terminate()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()
