"""The console in the terminal programs that people use, each on a screen of its own: what the
screen shows is compared, not the bytes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest
import serial

from tools.runtime import terminals
from tools.simulator.device import SimulatedDevice
from tools.simulator.port import SimulatedPort

_COLUMNS, _ROWS = 80, 24
_KEY_S = 0.03


class Terminal:
    """A program on a pseudo-terminal of 80 x 24, and what its screen shows."""

    def __init__(self, command: list[str], home: Path, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self.screen = pyte.HistoryScreen(_COLUMNS, _ROWS, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        home.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=os.environ | {"TERM": "vt100", "HOME": str(home), "LC_ALL": "C.UTF-8"} | env,
        )
        os.close(theirs)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        os.close(self._ours)

    def run(self, seconds: float) -> None:
        """Show what comes for so long."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._ours], [], [], max(0.0, left))
            if not ready:
                return
            try:
                self._stream.feed(os.read(self._ours, 65536))
            except OSError:  # it has ended
                time.sleep(max(0.0, left))
                return

    def type(self, keys: bytes) -> None:
        for key in keys:
            os.write(self._ours, bytes([key]))
            self.run(_KEY_S)

    @property
    def lines(self) -> list[str]:
        """The screen's rows that are not empty."""
        return [row.rstrip() for row in self.screen.display if row.strip()]

    def until(self, wanted: str, within_s: float = 15.0) -> None:
        """Wait for a text anywhere on the screen."""
        end = time.monotonic() + within_s
        while not any(wanted in row for row in self.screen.display):
            assert time.monotonic() < end, f"no {wanted!r} on:\n" + "\n".join(self.lines)
            self.run(0.05)

    def until_line(self, text: str, column: int, within_s: float = 15.0) -> None:
        """Wait until the cursor's row is `text`, with the cursor in that column."""
        end = time.monotonic() + within_s
        cursor = self.screen.cursor
        while self.screen.display[cursor.y].rstrip() != text or cursor.x != column:
            assert time.monotonic() < end, f"not {text!r}, {column}:\n" + "\n".join(self.lines)
            self.run(0.05)
            cursor = self.screen.cursor


@pytest.fixture(scope="module")
def port() -> Iterator[SimulatedPort]:
    with SimulatedPort(SimulatedDevice()) as running:
        time.sleep(2)  # the outlets can be switched
        yield running
        assert running.error is None


def _command(name: str, path: str, home: Path) -> tuple[list[str], dict[str, str], bytes]:
    """(words, environment, keys that leave it)."""
    if name == "mpremote":
        return [sys.executable, "-m", "mpremote", "connect", path, "repl"], {}, b"\x1d"
    if name == "miniterm":
        return (
            [sys.executable, "-m", "serial.tools.miniterm", "--raw", path, "115200"],
            {},
            b"\x1d",
        )
    words, env = terminals.ensure(name)
    if name == "screen":
        (home / "sockets").mkdir(parents=True)
        (home / "sockets").chmod(0o700)
        env["SCREENDIR"] = str(home / "sockets")
        return [*words, "-S", "console", path, "115200"], env, b""
    if name == "minicom":
        return [*words, "-o", "-D", path, "-b", "115200"], env, b"\x01x\r"
    return [*words, "-b", "115200", path], env, b"\x14q"


def _quit_screen(words: list[str], env: dict[str, str]) -> None:
    """What holds the port is another process than the one on the terminal."""
    command = [*words[:-4], "-S", "console", "-X", "quit"]
    subprocess.run(command, env=os.environ | env, check=False, timeout=10)


@pytest.mark.parametrize("name", ["mpremote", "miniterm", "screen", "minicom", "tio"])
def test_a_session(name: str, port: SimulatedPort, tmp_path: Path) -> None:
    home = tmp_path / "home"
    words, env, leave = _command(name, port.path, home)
    terminal = Terminal(words, home, **env)
    try:
        for _ in range(20):  # until it has its port
            terminal.run(0.5)
            terminal.type(b"\r")
            if "> " in terminal.screen.display[terminal.screen.cursor.y]:
                break
        terminal.type(b"reset bed1 --force\r")  # whatever was before
        terminal.until("ok bed1")
        # a completed command, corrected with the arrow keys
        terminal.type(b"on be\t1x\x7f\r")
        terminal.until("bed1 on command")
        assert port.call(port.device.truth)["outlets"]["bed1"]["powered"]
        # an event comes while a line is typed, and leaves line and cursor alone
        terminal.type(b"vers\x1b[D")
        terminal.until_line("> vers", 5)
        port.sim("short bed1")
        terminal.until("bed1 tripped peak")
        terminal.until_line("> vers", 5)
        port.sim("unshort bed1")
        terminal.type(b"sion\x1b[3~\r")  # ver|s -> version
        terminal.until("micropython")
        # the whole status is on one screen, and no line is too long for it
        terminal.type(b"status\r")
        terminal.until("last ")
        terminal.run(0.3)
        shown = terminal.lines
        starts = [n for n, row in enumerate(shown) if row.endswith("> status")]
        assert starts, "\n".join(shown)
        first = starts[-1]
        assert shown[first + 1] == "ok"
        for outlet in port.device.board.outlets:
            assert any(row.startswith(f"  {outlet.name} ") for row in shown[first:])
        # Ctrl-C is a key: the firmware goes on
        terminal.type(b"half a line\x03")
        terminal.until("half a line^C")
        terminal.type(b"reset bed1 --force\r")
        terminal.until("ok bed1")
        terminal.type(leave)
        if name == "screen":
            _quit_screen(words, env)
        until = time.monotonic() + 10
        while terminal.process.poll() is None and time.monotonic() < until:
            terminal.run(0.1)
        assert terminal.process.poll() is not None, "it does not leave:\n" + "\n".join(
            terminal.lines
        )
    finally:
        if name == "screen" and terminal.process.poll() is None:
            _quit_screen(words, env)
        terminal.close()
    assert not port.device.resets


def test_mpremote_that_wants_a_repl_does_no_harm(port: SimulatedPort) -> None:
    """`mpremote exec` needs MicroPython's prompt, which protection does not give: it is refused,
    outlets stay as they are, and the console works afterwards."""
    with serial.Serial(port.path, 115200, timeout=2) as link:
        link.write(b"\x03\non bed2\n")
        assert b"ok bed2" in link.read_until(b"ok bed2")
        link.write(b"off be")  # somebody was typing
        time.sleep(0.3)
    command = [sys.executable, "-m", "mpremote", "connect", port.path, "exec", "print(1)"]
    # on a pseudo-terminal it may wait for ever; on a real port it gives up after ten seconds
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=13, check=False)
        assert done.returncode != 0
    assert port.call(port.device.truth)["outlets"]["bed2"]["powered"]
    with serial.Serial(port.path, 115200, timeout=2) as link:
        link.write(b"\x03\n")
        time.sleep(0.3)
        link.reset_input_buffer()
        link.write(b"mode --json\n")
        assert b'"mode": "outlets"' in link.read_until(b"}")
    assert not port.device.resets


def test_every_control_key_and_a_pasted_program_do_no_harm(port: SimulatedPort) -> None:
    """Raw REPL, paste mode, soft reset: none of MicroPython's keys means anything here."""
    with serial.Serial(port.path, 115200, timeout=2) as link:
        link.write(b"\x03\non bed2\n")
        time.sleep(0.5)
        for key in range(32):
            link.write(bytes([key]))
            time.sleep(0.03)
        for program in (b"\x05import machine\nmachine.reset()\n\x04", b"\x01raise SystemExit\x04"):
            link.write(b"\r\x03\x03" + program + b"\x02")
            time.sleep(0.5)
        link.write(b"\x03\n")
        time.sleep(0.3)
        link.reset_input_buffer()
        link.write(b"mode --json\n")
        assert b'"ok": true' in link.read_until(b'"ok": true')
    assert port.call(port.device.truth)["outlets"]["bed2"]["powered"]
    assert not port.device.resets
