"""`python -m tools.monitor` as a person runs it, on the real firmware: terminal, pipe, files."""

from __future__ import annotations

import csv
import datetime
import fcntl
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.fakes.terminal import Terminal
from tools import client
from tools.runtime.broker import Mosquitto
from tools.simulator.device import ROOT, SimulatedDevice
from tools.simulator.port import SimulatedPort

COMMAND = [sys.executable, "-m", "tools.monitor"]


@pytest.fixture
def port() -> Iterator[SimulatedPort]:
    """A truck with a load on bed1, which is on."""
    with SimulatedPort(SimulatedDevice()) as running:
        running.sim("plug bed1 resistive amps=10")
        with client.connect(running.path) as board:
            board.wait_ready()
            board.outlets["bed1"].on()
            until = time.monotonic() + 10
            while not 9.9 < board.outlets["bed1"].current_a < 10.1:  # readings are averages
                assert time.monotonic() < until
                time.sleep(0.1)
        yield running
        assert running.error is None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


class Pipe:
    """The monitor with its output in a pipe."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def see(self, pattern: str, within: float = 20.0) -> str:
        """The next line that matches; they come one by one, each whole."""
        assert self.process.stdout is not None
        until = time.monotonic() + within
        while time.monotonic() < until:
            line = self.process.stdout.readline()
            assert line, f"it ended before {pattern!r}"
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no {pattern!r}")

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def pipe() -> Iterator[Callable[..., Pipe]]:
    started: list[Pipe] = []

    def start(*arguments: str) -> Pipe:
        started.append(Pipe(*arguments))
        return started[-1]

    yield start
    for found in started:
        if found.process.poll() is None:
            found.process.kill()
        found.process.communicate()


def test_the_clock_is_set_when_asked(port: SimulatedPort) -> None:
    done = run(port.path, "--once", "--set-time", "--json")
    assert done.returncode == 0, done.stderr
    with client.connect(port.path) as board:
        clock = board.clock()
        assert clock.source == "console" and clock.utc is not None
        behind = datetime.datetime.now(datetime.UTC) - clock.utc
        assert abs(behind) < datetime.timedelta(seconds=20)


def test_once(port: SimulatedPort) -> None:
    done = run(port.path, "--once", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    body = json.loads(line)
    assert body["online"] is True and re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["time"]
    )
    assert body["outlets"]["bed1"]["current_a"] == pytest.approx(10, abs=0.1)
    assert client.Status.parse(body).device == "tailgate-210b2f"
    done = run(port.path, "--once")
    (line,) = done.stdout.splitlines()
    assert re.search(r" tailgate-210b2f 1\d{3} W of 9600 \| .*\| bed1 on (10\.0|9\.9)\d A ", line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_lines_in_a_pipe(
    port: SimulatedPort, pipe: Callable[..., Pipe], tmp_path: Path, number: int
) -> None:
    log, picture = tmp_path / "log.csv", tmp_path / "plot.png"
    monitor = pipe(port.path, "--csv", str(log), "--plot", str(picture))
    monitor.see(r"bed1 on (10\.0|9\.9)")
    port.sim("short bed1")
    monitor.see(r"event: \d+ 0:00:\d\d\.\d{3} bed1 tripped peak 2\d\d\.\d A", within=5.0)
    monitor.see("bed1 tripped: peak")
    code, errors = monitor.end(number)
    assert code == 0
    assert errors == f"- {picture} is drawn\n", "no traceback"
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(log.open()))
    assert rows[-1]["bed1_state"] == "tripped" and float(rows[0]["bed1_a"]) > 9.9


def test_json_lines(port: SimulatedPort, pipe: Callable[..., Pipe]) -> None:
    monitor = pipe(port.path, "--json")
    assert json.loads(monitor.see("outlets"))["outlets"]["bed1"]["state"] == "on"
    with pytest.raises(client.NotConnected, match="in use"):
        client.connect(port.path)
    port.sim("short bed1")
    event = json.loads(monitor.see('"event": {'))["event"]
    assert (event["event"], event["reason"]) == ("tripped", "peak")
    assert monitor.end(signal.SIGINT)[0] == 0


def test_a_log_has_a_row_a_second(port: SimulatedPort, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    for _ in range(2):  # it is appended to
        done = run(port.path, "--csv", str(log), "--for", "4.5", "--plain")
        assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(log.open()))
    assert len(rows) == 10
    assert {row["device"] for row in rows} == {"tailgate-210b2f"}
    uptimes = [int(row["uptime_s"]) for row in rows[1:5]]
    steps = [b - a for a, b in itertools.pairwise(uptimes)]
    assert all(step in (0, 1, 2) for step in steps) and sum(steps) >= 2


def test_whoever_reads_may_leave(port: SimulatedPort) -> None:
    command = f"{' '.join(COMMAND)} {port.path} | head -n 2"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


def test_a_board_that_restarts_and_one_that_goes_away(
    port: SimulatedPort, pipe: Callable[..., Pipe], tmp_path: Path
) -> None:
    log = tmp_path / "log.csv"
    monitor = pipe(port.path, "--csv", str(log))
    monitor.see("bed1 on")
    port.call(port.device.power_cut)
    monitor.see("tailgate-210b2f away: no answer for [3-6] s", within=8.0)
    port.call(port.device.power_on)
    monitor.see("event: .* boot power_on 2")
    monitor.see("bed1 off")
    assert monitor.end(signal.SIGINT)[0] == 0
    online = [row["online"] for row in csv.DictReader(log.open())]
    assert "0" in online and online[0] == online[-1] == "1"


class Live(Terminal):
    """The monitor on a terminal of its own, without its colours."""

    def __init__(self, *arguments: str, rows: int = 40, columns: int = 110) -> None:
        # Not the size that a terminal around the tests has.
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        environment["TERM"] = "xterm"
        super().__init__([*COMMAND, *arguments], environment, (rows, columns))

    def shown(self, text: str) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code. What it still draws is read: it cannot end before that is out."""
        os.killpg(self.process.pid, signal.SIGINT)
        until = time.monotonic() + 20.0
        while self.process.poll() is None:
            assert time.monotonic() < until, f"does not end: {self.text[-3000:]!r}"
            self.read(0.1)
        return self.process.wait()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Live]]:
    opened: list[Live] = []

    def start(*arguments: str, **more: Any) -> Live:
        opened.append(Live(*arguments, **more))
        return opened[-1]

    yield start
    for found in opened:
        found.close()


def test_the_live_view(port: SimulatedPort, terminal: Callable[..., Live]) -> None:
    live = terminal(port.path, "--window", "0.5")
    live.see(re.escape("\x1b[?1049h"))
    live.see(r"tailgate-210b2f  v0\.1\.0  mode outlets  up 0:00:")
    live.see(r"supply 2(39|40)\.\d V  (60\.00|59\.99|60\.01) Hz")
    live.see(r"bed1 +on +(10\.0|9\.9)\d +(1199|120\d) +██████ +50%")
    live.see("leg l1")
    live.see("total +of 9600 W")
    live.see("30 s ago")
    live.see(r"bed1 on command")
    port.sim("short bed1")
    live.see(r"bed1 tripped peak 2\d\d\.\d A", within=5.0)
    live.see(r"bed1 +tripped: peak")
    fcntl.ioctl(live.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
    live.process.send_signal(signal.SIGWINCH)
    live.see("board +W +of total")  # no room for a panel any more
    assert live.interrupt() == 0
    live.see(re.escape("\x1b[?1049l"))
    assert "Traceback" not in live.text
    assert termios.tcgetattr(live.slave) == live.before


def test_many_boards(tmp_path: Path, terminal: Callable[..., Live]) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port}
        one = SimulatedDevice(settings={**known, "device.id": "one"})
        two = SimulatedDevice(settings={**known, "device.id": "two", "mqtt.allow": "read"})
        url = f"mqtt://127.0.0.1:{broker.port}"
        with SimulatedPort(one) as first, SimulatedPort(two) as second:
            for port in (first, second):
                until = time.monotonic() + 20
                while not any("broker_up" in line.text for line in port.device.lines):
                    assert time.monotonic() < until
                    time.sleep(0.1)
            done = run("--mqtt", url, "--once", "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            devices = [json.loads(line)["device"] for line in done.stdout.splitlines()]
            assert devices == ["one", "two"]
            live = terminal("--mqtt", url, rows=60)
            live.see(r"─ one  v0\.1\.0")
            live.see(r"1 0:00:00\.000 - boot power_on 1")  # asked for once
            live.see(r"─ two  v0\.1\.0")
            second.call(second.device.power_cut)
            live.see("offline, says the broker")
            assert live.interrupt() == 0
            log = tmp_path / "log.csv"
            done = run("--mqtt", url, "--csv", str(log), "--for", "3.2")
            assert done.returncode == 0 and "two away: offline, says the broker" in done.stdout
            rows = list(csv.DictReader((tmp_path / "log-one.csv").open()))
            assert rows[-1]["online"] == "1" and len(rows) in (3, 4)
            assert (tmp_path / "log-two.csv").read_text() == "", "never heard of its outlets"
            done = run("--mqtt", url, "--once", "--json")
            assert done.returncode == 1
            assert [json.loads(x)["online"] for x in done.stdout.splitlines()] == [True, False]
            done = run(f"{url}/one", "--once")
            assert done.returncode == 0 and done.stdout.count("\n") == 1
