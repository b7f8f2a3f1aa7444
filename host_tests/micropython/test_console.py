"""The console on real MicroPython: through a pipe for programs, on a terminal for people."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import subprocess
import time
import tty
from collections.abc import Iterator

import pytest

from host_tests.micropython import running
from host_tests.micropython.running import ROOT

SCRIPT = "host_tests/micropython/device/console_stdio.py"


class Session:
    """A process whose console is at the file descriptors `_in` and `_out`."""

    def __init__(self, micropython: str, terminal: bool) -> None:
        env = running.environment()
        command = [micropython, "-X", "heapsize=260k", SCRIPT]  # it compiles the sources, too
        if terminal:
            self._in, end = pty.openpty()
            self._out = self._in
            tty.setraw(end)
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=end, stdout=end)
            os.close(end)
        else:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert self.process.stdin is not None and self.process.stdout is not None
            self._in = self.process.stdin.fileno()
            self._out = self.process.stdout.fileno()
        self.text = ""

    def send(self, data: bytes) -> None:
        os.write(self._in, data)

    def read(self, timeout_s: float) -> bool:
        """Take what has come; False when nothing does within the time."""
        ready, _, _ = select.select([self._out], [], [], timeout_s)
        if not ready:
            return False
        data = os.read(self._out, 65536)
        self.text += data.decode(errors="replace")
        return bool(data)

    def until(self, wanted: str, timeout_s: float = 10.0) -> str:
        """All text up to and with `wanted`, which is taken off."""
        deadline = time.monotonic() + timeout_s
        while wanted not in self.text:
            left = deadline - time.monotonic()
            assert left > 0 and self.read(left), f"no {wanted!r}: {self.text[-500:]!r}"
        at = self.text.index(wanted) + len(wanted)
        taken, self.text = self.text[:at], self.text[at:]
        return taken

    def heap(self) -> tuple[int, int]:
        """(bytes in use, worst delay of the control lane in ms)."""
        self.send(b"selftest --json\n")
        self.until('{"')
        body = json.loads('{"' + self.until("\r\n"))
        rows = {row["name"]: int(row["text"]) for row in body["tests"]}
        return rows["heap"], rows["worst_ms"]

    def close(self) -> None:
        running.close(self.process)


@pytest.fixture
def pipe(micropython: str) -> Iterator[Session]:
    session = Session(micropython, terminal=False)
    session.until("# the console of a test\r\n")
    yield session
    session.close()


@pytest.fixture
def terminal(micropython: str) -> Iterator[Session]:
    session = Session(micropython, terminal=True)
    session.until("# the console of a test\r\n")
    yield session
    session.close()


def test_program(pipe: Session) -> None:
    pipe.send(b"on bed1\n")
    assert pipe.until("\r\n") == "ok bed1\r\n"
    assert pipe.until("\r\n").startswith("event: 1 0:00:00.000 bed1 on command -")
    pipe.send(b"status --json\n")
    assert json.loads(pipe.until("\r\n"))["outlets"]["bed1"]["state"] == "on"
    pipe.send(b"set bed1.limit_a 10\n")
    pipe.until("bed1 setting command bed1.limit_a = 10 A\r\n")
    pipe.send(b"save\n")
    assert pipe.until("\r\n") == "error: cannot create folder /dev/null/data: not a folder\r\n"
    pipe.send(b"reboot yes\n")
    pipe.until("ok")
    assert pipe.process.wait(timeout=5) == 0


def test_terminal(terminal: Session) -> None:
    for key in b"vers":
        terminal.send(bytes([key]))
        time.sleep(0.05)
    terminal.send(b"\t")
    terminal.until("> version \x1b[K")
    terminal.send(b"\x03")
    terminal.until("^C\r\n")
    terminal.until("> ")
    for key in b"mode\r":
        terminal.send(bytes([key]))
        time.sleep(0.05)
    terminal.until("ok\r\n")
    terminal.until("> ")


def test_any_lines_leave_the_console_and_the_heap_as_they_were(pipe: Session) -> None:
    """Junk, floods and every command: no crash, no leak, and the control lane is not held up."""
    rng = random.Random(7)
    words = (
        "status outlets on off reset get set save defaults cal events energy capture selftest "
        "version mqtt wifi mode help bed1 all --force --json yes bed1.limit_a 10 zero"
    ).split()

    def line() -> bytes:
        kind = rng.randrange(8)
        if kind == 0:
            return rng.randbytes(rng.randrange(60)).replace(b"watch", b"") + b"\n"
        if kind == 1:
            return b"x" * rng.randrange(400) + b"\r\n"
        return " ".join(rng.choices(words, k=rng.randrange(1, 5))).encode() + b"\n"

    pipe.send(b"get\nstatus\nevents 64\n")
    pipe.until("\r\n")
    for _ in range(20):
        pipe.send(b"on all\n")
    before, _ = pipe.heap()
    for _ in range(250):
        pipe.send(b"".join(line() for _ in range(20)))
        while pipe.read(0.02):
            pipe.text = pipe.text[-200:]
    pipe.send(b"\n\x03\ndefaults yes\n")
    pipe.until("not saved yet")
    time.sleep(0.3)
    while pipe.read(0.2):
        pipe.text = ""
    after, worst_ms = pipe.heap()
    assert after - before < 2000
    assert worst_ms < 100


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_output_that_nobody_reads(kind: str, request: pytest.FixtureRequest) -> None:
    """The pipe or terminal fills up; answers are given up, no other task is held up, and the next
    reader is served."""
    session: Session = request.getfixturevalue(kind)
    for _ in range(120):
        session.send(b"get --json\n")
        session.send(b"on bed1\noff bed1\n")  # each is an event, too
    time.sleep(6)
    while session.read(0.3):
        session.text = session.text[-200:]
    session.text = ""
    session.send(b"\x03\nmode --json\n")
    session.until('"ok": true')
    _, worst_ms = session.heap()
    assert worst_ms < 100


def test_a_terminal_that_stops_reading_in_the_middle(terminal: Session) -> None:
    """Flow control or a closed window: half an answer stays, events are counted, not kept."""
    terminal.send(b"get\n")
    terminal.until("device.id")
    for _ in range(200):
        terminal.send(b"on bed1\noff bed1\n")
        time.sleep(0.005)
    time.sleep(6)
    terminal.send(b"\x03\n")
    terminal.until("events not shown; see: events")
    terminal.until("bed1 off command")
    _, worst_ms = terminal.heap()
    assert worst_ms < 100
