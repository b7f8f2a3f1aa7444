"""`make run` by hand: keys and lines in, firmware and truck out, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from host_tests.fakes.terminal import Terminal
from tools.progress import ToolError
from tools.simulator import run
from tools.simulator.run import parse_broker

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tools.simulator.run"]


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    """All of them end within a few seconds (a zombie of a killed parent counts as ended)."""
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=8)
    alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not alive, [p.cmdline() for p in alive]


class Person(Terminal):
    """Somebody at a terminal."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        super().__init__([*COMMAND, *arguments], environment, controls=True)

    def keys(self, text: str) -> None:
        """One key after the other, as fingers do."""
        for key in text:
            os.write(self.master, key.encode())
            self.read(0.03)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    someone = Person("--flash", str(tmp_path / "flash"), "--broker", "none")
    yield someone
    someone.close()


def test_a_session_at_the_terminal(person: Person) -> None:
    person.see("Tailgate: the firmware on real MicroPython")
    person.see("sim plug bed1 circular_saw")
    person.see("event: 1 .*boot power_on")
    person.keys("help on\r")
    person.see(r"ok.*\n")
    time.sleep(0.5)
    person.keys("on be\t1\r")  # the firmware's own completion: `bed`, and two are called so
    person.see("on bed1")
    person.see("ok bed1")
    person.see("bed1 on command")
    person.keys("sim plug bed1 led\t\r")  # and the truck's
    person.see("truck> ")
    person.see("plug bed1 led_light")
    person.see("truck: bed1: led_light plugged in")
    person.keys("sim \x1b[A\r")  # history
    person.see("truck: bed1: led_light_2 plugged in")
    person.keys("sim explode\r")
    person.see("truck: error: no simulator command 'explode'; there is: plug")
    person.keys("si\x7f\x7fstatus\r")  # not a sim line after all
    person.see(r"bed1 +on\b[^\n]* \d+\.\d ")
    person.keys("sim")
    person.keys("\r")
    person.see(r"truck: +sim quit")
    person.keys("sim short bed1\r")
    person.see("bed1 tripped peak")
    person.keys("sim power off\r")
    person.see("truck: the chip's supply is off")
    person.keys("sim power on\r")
    person.see("event: .*boot power_on")


def test_events_do_not_spoil_a_line_being_typed_at_the_truck(person: Person) -> None:
    person.see("boot power_on")
    time.sleep(1.0)
    person.keys("on bed1\r")
    person.see("bed1 on command")
    person.keys("sim plug bed1 resistive amps=190\r")
    person.keys("sim sta")
    person.see(r"event: .*bed1 tripped [^\n]*\n")
    person.see(r"truck> \S*sta")  # the line stands again below the event
    person.keys("te\r")
    person.see(r"truck: +bed1 +coil off contact open")


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-d", "sim quit", "SIGTERM", "SIGHUP"])
def test_leaving_leaves_nothing_behind(tmp_path: Path, how: str) -> None:
    person = Person("--flash", str(tmp_path / "flash"))
    try:
        person.see("event: 1 .*boot power_on")
        processes = children(person.process.pid)
        assert len(processes) >= 2, "the chip and the broker"
        keys = {"ctrl-c": "\x03", "ctrl-d": "\x04", "sim quit": "sim quit\r"}
        if how in keys:
            person.keys(keys[how])
        else:
            person.process.send_signal(getattr(signal, how))
        assert person.process.wait(10) == 0
        assert_gone(processes)
        assert termios.tcgetattr(person.slave)[3] == person.before[3], "the terminal as it was"
    finally:
        person.close()


def test_ctrl_c_in_the_middle_of_a_truck_line(person: Person) -> None:
    person.see("boot power_on")
    person.keys("sim plug ")
    person.see("truck> ")
    person.keys("\x03")
    assert person.process.wait(10) == 0


def test_a_killed_host_takes_chip_and_broker_along(tmp_path: Path) -> None:
    person = Person("--flash", str(tmp_path / "flash"))
    try:
        person.see("event: 1 .*boot power_on")
        processes = children(person.process.pid)
        person.process.kill()
        person.process.wait()
        assert_gone(processes)
    finally:
        person.close()


def piped(lines: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )


def test_lines_from_a_pipe(tmp_path: Path) -> None:
    lines = "on bed1\nsim plug bed1 resistive amps=10\nsim wait 1\nstatus\nfly\nsim fly\n"
    done = piped(lines, "--flash", str(tmp_path), "--broker", "none", "--speed", "0")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert text.index("> on bed1") < text.index("ok bed1") < text.index("truck: bed1: resistive")
    assert re.search(r"bed1 +on\b.* (10\.0|9\.9) ", text)
    assert re.search(r"\n  last .*\n(event: .*\n)*> fly\n", text)  # not into the answer before it
    assert "error: unknown command 'fly' (there are: status " in text
    assert "truck: error: no simulator command 'fly'; there is: plug " in text
    assert "Traceback" not in text + done.stderr


def test_the_board_with_home_and_car_names_its_commands(tmp_path: Path) -> None:
    lines = "sim home load kettle\nsim car plug\nsim wait 1\nsim state\nsim help\nstatus\n"
    arguments = ("--flash", str(tmp_path), "--broker", "none", "--speed", "0")
    text = piped(lines, *arguments, "--board", "simulated_home").stdout
    for said in ("sim grid off", "sim car plug", "sim short bed240 "):
        assert f"  {said}" in text.partition("boot power_on")[0]
    assert "truck: home: kettle on l1" in text
    assert "truck: car: pilot B" in text
    assert re.search(r"truck: +car +pilot B", text)
    assert re.search(r"truck: +sim grid island \[drift=0\.3\] ", text)
    assert "home_l1" in text
    assert "Traceback" not in text
    assert "sim grid" not in piped("sim help\n", *arguments).stdout


def test_words_of_the_new_commands_complete(tmp_path: Path) -> None:
    person = Person("--flash", str(tmp_path), "--broker", "none", "--board", "simulated_home")
    try:
        person.see("boot power_on")
        person.keys("sim home load centr\t\r")
        person.see("truck: home: central_ac_240 on both")
        person.keys("sim lie bo\tcl\t\r")
        person.see("truck: bond: its auxiliary contact says closed")
        person.keys("sim gri\tisl\t\r")
        person.see("truck: grid: 0.0 0.0 V")
    finally:
        person.close()


def test_the_flash_is_kept(tmp_path: Path) -> None:
    arguments = ("--flash", str(tmp_path), "--broker", "none", "--speed", "0")
    first = piped("set bed1.limit_a 12\nsave\n", *arguments)
    assert first.stdout.count("\nok") == 2, first.stdout
    assert "12" in piped("get bed1.limit_a\n", *arguments).stdout


def test_a_fresh_start_empties_its_own_flash_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FLASH", tmp_path / "flash")
    for name in ("flash", "flash-simulated_home"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "latch").write_text("tripped")
    assert run.flash_folder(None, "simulated", False) == tmp_path / "flash"
    assert (tmp_path / "flash" / "latch").exists()
    assert run.flash_folder(None, "simulated", True) == tmp_path / "flash"
    assert not (tmp_path / "flash").exists()
    assert (tmp_path / "flash-simulated_home" / "latch").exists()
    with pytest.raises(ToolError, match="does not go with --flash"):
        run.flash_folder(str(tmp_path / "flash-simulated_home"), "simulated", True)
    assert (tmp_path / "flash-simulated_home" / "latch").exists()


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does
    try:
        done = subprocess.run(
            [*COMMAND, "--list"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_taken_port_moves_the_broker(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken by somebody else is as good
            taken.bind(("127.0.0.1", 1883))
            taken.listen()
        done = piped("sim wait 1\nstatus\n", "--flash", str(tmp_path))
    assert done.returncode == 0
    match = re.search(r"^MQTT +127\.0\.0\.1:(\d+)$", done.stdout, re.MULTILINE)
    assert match and match.group(1) != "1883", done.stdout
    assert f"mosquitto_sub -h 127.0.0.1 -p {match.group(1)} " in done.stdout
    assert "broker_up" in done.stdout


def test_without_a_broker_it_says_so_and_protects(tmp_path: Path) -> None:
    missing = tmp_path / "path" / "amqtt"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('no amqtt here')\n")
    done = piped(
        "on bed1\nsim short bed1\nsim wait 0.5\n",
        "--flash",
        str(tmp_path / "flash"),
        PYTHONPATH=str(missing.parent),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"MQTT +none \(the embedded MQTT broker did not start: .*amqtt", done.stdout)
    assert "The firmware protects all the same" in done.stdout
    assert "bed1 tripped peak" in done.stdout


def test_bad_options_are_one_line(tmp_path: Path) -> None:
    for arguments, says in (
        (("--scenario", "nope"), "error: no scenario 'nope'; there is: "),
        (("--board", "nope"), "error: unknown board 'nope' (there are: "),
        (("--broker", "host:port"), "error: --broker: expected HOST:PORT or none"),
    ):
        done = piped("", "--flash", str(tmp_path), *arguments)
        assert done.returncode != 0
        assert says in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_scenarios_are_listed() -> None:
    done = piped("", "--list")
    assert done.returncode == 0
    assert "welded_relay" in done.stdout


@pytest.mark.parametrize(
    ("text", "result"),
    [("none", None), ("nas", ("nas", 1883)), ("10.0.0.2:8883", ("10.0.0.2", 8883))],
)
def test_broker_option(text: str, result: tuple[str, int] | None) -> None:
    assert parse_broker(text) == result
