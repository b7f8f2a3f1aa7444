"""A board at the other end of a bad serial line, with a clock of its own, for the client's tests.

`FakeBoard` behaves as the firmware's console does for programs: a line editor, one JSON answer for
each line, events between answers. `FakePort` is the port: what it does to the bytes, and when the
board restarts or the port goes away, is decided by a list of `Fault`s, one for each command.
Reading from it lets time pass, so that no test waits.
"""

from __future__ import annotations

import json
import termios
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

OUTLETS = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
_READ_S = 0.05


class FakeClock:
    """Stands still unless somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one command and its answer."""

    lost: tuple[int, int] = (0, 0)  # bytes from..to of the command that never arrive
    cut: int | None = None  # so many bytes of the answer arrive, the rest never
    before: bytes = b""  # noise on the line before the answer
    after: bytes = b""
    glued_event: bool = False  # an event follows whose newline before it was lost
    late_s: float = 0.0  # the answer takes so long
    restart: bool = False  # before it is obeyed
    unplug_s: float = 0.0  # the port goes away for so long before the command is read
    unplug_after_s: float = 0.0  # the same once it is obeyed, before its answer is read


class FakeBoard:
    """Outlets that switch at once, a journal, settings; `log` has every command obeyed."""

    def __init__(self) -> None:
        self.on = dict.fromkeys(OUTLETS, False)
        self.settings: dict[str, Any] = {f"{name}.limit_a": 20 for name in OUTLETS}
        self.log: list[str] = []
        self.journal: list[dict[str, Any]] = []
        self.line = b""
        self.boots = 0
        self.restart()

    def restart(self) -> bytes:
        """Start again; what the console shows of it."""
        self.boots += 1
        self.line = b""
        self.on = dict.fromkeys(OUTLETS, False)
        return b"MPY: soft reboot\r\n" + self.add("boot", None, "power_on")

    def add(self, kind: str, outlet: str | None, reason: str) -> bytes:
        """An event; the line that announces it."""
        seq = len(self.journal) + 1
        self.journal.append(
            {
                "seq": seq,
                "uptime_s": seq / 4,
                "outlet": outlet,
                "event": kind,
                "reason": reason,
                "source": "console",
            }
        )
        return f"event: {seq} 0:00:00.000 {outlet or '-'} {kind} {reason} -\r\n".encode()

    def type(self, data: bytes) -> Iterator[bytes]:
        """Bytes come in; the answer to each line that they complete."""
        for value in data:
            if value == 0x15:
                self.line = b""
            elif value in (10, 13):
                line, self.line = self.line, b""
                if line.strip():
                    yield self.answer(line)
            elif value >= 32:
                self.line += bytes([value])

    def answer(self, line: bytes) -> bytes:
        """What the console writes for one line, with its newline."""
        if len(line) > 200:
            return b"error: the line is longer than 200 bytes\r\n"
        try:
            words = [word.strip('"') for word in line.decode().split()]
        except UnicodeDecodeError:
            return b"error: the line is not UTF-8 text\r\n"
        as_json = "--json" in words
        words = [word for word in words if word != "--json"]
        events = b""
        before = len(self.journal)
        body = self.run(words)
        for row in self.journal[before:]:
            events += f"event: {row['seq']} 0:00:01.000 {row['outlet']} on command -\r\n".encode()
        self.log.append(" ".join(words))
        if not as_json:
            return (b"ok\r\n" if body["ok"] else b"error: no\r\n") + events
        return json.dumps(body).encode() + b"\r\n" + events

    def run(self, words: list[str]) -> dict[str, Any]:
        """Obey a command."""
        name, *args = words or [""]
        if name == "help":
            return {"ok": False, "error": f"no help on '{' '.join(args)}' (there are: on off)"}
        if name == "events":
            since = int(args[1]) if args[0] == "since" else len(self.journal) - int(args[0])
            rows = [row for row in self.journal if row["seq"] > since]
            count = int(args[2]) if args[0] == "since" else 64
            last = len(self.journal)
            return {"ok": True, "events": rows[:count], "first_seq": 1, "last_seq": last}
        if name in ("on", "off") and len(args) == 1 and args[0] in self.on:
            self.on[args[0]] = name == "on"
            self.add(name, args[0], "command")
            return {"ok": True, "done": [args[0]]}
        if name == "get" and len(args) == 1 and args[0] in self.settings:
            return {"ok": True, "settings": {args[0]: self.settings[args[0]]}, "unsaved": []}
        return {"ok": False, "error": f"unknown command '{' '.join(words)}'"}


class FakePort:
    """See the module. Used as the client's `opener`: each call opens it again."""

    def __init__(self, board: FakeBoard, clock: FakeClock, faults: Iterable[Fault] = ()) -> None:
        self.board = board
        self.clock = clock
        self.faults = list(faults)
        self.open = False
        self.away_until = 0.0
        self.inbox: list[tuple[float, bytes]] = []  # (when, what) is on its way to the client

    def __call__(self, where: str, baud: int) -> FakePort:
        if self.clock.now < self.away_until:
            raise FileNotFoundError(2, "No such file", where)
        self.open = True
        return self

    def _check(self) -> None:
        if not self.open or self.clock.now < self.away_until:
            self.open = False
            raise OSError(5, "Input/output error")

    def close(self) -> None:
        self.open = False

    def flush(self) -> None:
        try:
            self._check()
        except OSError as error:  # pyserial lets tcdrain()'s through, which is no OSError
            raise termios.error(*error.args) from error

    def _put(self, data: bytes, late_s: float = 0.0) -> None:
        # bytes keep their order: nothing overtakes a late answer, nor comes along with it
        when = max([self.clock.now + late_s] + [when + 0.02 for when, _ in self.inbox])
        if data:
            self.inbox.append((when, data))

    def write(self, data: bytes) -> int:
        self._check()
        # the client's own way back into step is spared, or no test would come to an end
        spared = b"sync-" in data or b"events 1 " in data
        fault = self.faults.pop(0) if self.faults and not spared else Fault()
        if fault.unplug_s:
            self.away_until = self.clock.now + fault.unplug_s
            self.inbox.clear()
            return len(data)
        if fault.restart:
            self._put(self.board.restart())
            return len(data)
        arrived = data[: fault.lost[0]] + data[fault.lost[1] :]
        self._put(fault.before)
        for answer in self.board.type(arrived):
            said = answer if fault.cut is None else answer[: fault.cut]
            if fault.glued_event:
                said = said.rstrip(b"\r\n") + self.board.add("link", None, "broker_up")
            self._put(said, fault.late_s)
        self._put(fault.after)
        if fault.unplug_after_s:
            self.away_until = self.clock.now + fault.unplug_after_s
            self.inbox.clear()
        return len(data)

    @property
    def in_waiting(self) -> int:
        return sum(len(data) for when, data in self.inbox if when <= self.clock.now)

    def read(self, size: int) -> bytes:
        self._check()
        self.clock.now += 0.001
        taken = b""
        while self.inbox and self.inbox[0][0] <= self.clock.now and len(taken) < size:
            when, data = self.inbox.pop(0)
            room = size - len(taken)
            taken += data[:room]
            if data[room:]:
                self.inbox.insert(0, (when, data[room:]))
        if not taken:
            self.clock.now += _READ_S
        return taken
