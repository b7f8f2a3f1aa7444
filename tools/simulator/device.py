"""The simulated chip with its truck: real MicroPython in a child process, driven by virtual time.

    with SimulatedDevice(board="simulated", flash=folder) as device:
        device.run(2.0)                       # virtual seconds
        device.type("on bed1")
        device.expect(r"^ok", within=1.0)
        device.truck.command("plug bed1 circular_saw")

Between calls the chip stands still: it waits for an answer of the link (see link.py). It runs as
fast as the machine allows; `run_paced()` holds it to the wall clock. Called by the scenario
runner, by `python -m tools.simulator.run`, and by tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.simulator import bytecode, link

ROOT = Path(__file__).resolve().parents[2]
CHIP = Path(__file__).resolve().parent / "chip"
DATA = "data"  # the firmware's folder on its flash

# 2026-01-01 00:00:00 UTC: where the virtual clock starts unless told otherwise
EPOCH_2026 = 1_767_225_600
# Bytes of heap that the firmware does without until it is loaded, see chip/start.py.
_ROOM = 80_000
_BLOCK = 10  # scans fetched together: 4 ms at 416 us
_SLICE_US = 4000
_MAX_LAG_S = 0.5


class DeviceError(Exception):
    """The simulated chip ended or hangs; the text ends with what its console last showed."""


@dataclass(frozen=True)
class Line:
    """One line of the console with the virtual time at which it was complete."""

    t_us: int
    text: str


class SimulatedDevice:
    """A chip that runs `boot.py` and `main.py` of `root` against `truck`.

    `board`: name of a board table, or a Board. `truck`: the plant; made for the board when None.
    `flash`: folder that is the chip's file system, kept over resets (a temporary one when None).
    `settings`: names and values written into it before the start. `heap`: bytes for data (the code
    comes on top, see bytecode.py), the board's own size when None. `ticks_us`: what ticks_us()
    begins with, for tests of its wrap at 2**30. `frozen`: False for a board with a stock
    image, which keeps the modules in its heap. `block`: most scans fetched together. `stall_s`:
    real seconds that the chip may compute without letting time pass. `uart`: path of the terminal
    at the end of its serial pins.
    """

    def __init__(
        self,
        board: Any = "simulated",
        *,
        truck: Any = None,
        flash: str | Path | None = None,
        settings: dict[str, Any] | None = None,
        root: str | Path = ROOT,
        heap: int | None = None,
        seed: int = 0,
        mains_hz: int = 60,
        ticks_us: int = 0,
        unix_time: int = EPOCH_2026,
        unique_id: bytes = b"\xe6\x61\x64\x08\x43\x21\x0b\x2f",
        boot_us: int = 5000,
        block: int = _BLOCK,
        stall_s: float = 10.0,
        interpreter: str | Path | None = None,
        frozen: bool = True,
        uart: str = "",
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        self.board = load_board(board) if isinstance(board, str) else board
        self.truck = truck if truck is not None else make_truck(self.board, seed, mains_hz)
        self.root = Path(root).resolve()
        if heap is None:
            heap = int(getattr(self.board, "heap_bytes", 190_000))
        self.heap = heap
        self.lines: list[Line] = []
        self.resets: list[tuple[int, int]] = []  # (time in us, cause)
        self.on_output = on_output
        self._settings = settings
        self._seed = seed
        self._ticks_us = ticks_us
        self._unix_time = unix_time
        self._unique_id = unique_id
        self._boot_us = boot_us
        self._block = block
        self._stall_s = stall_s
        self._interpreter = interpreter
        self._frozen = frozen
        self._uart = uart
        self._built: bytecode.Built | None = None
        self._keep = contextlib.ExitStack()
        if flash is None:
            flash = self._keep.enter_context(tempfile.TemporaryDirectory(prefix="tailgate-flash-"))
        self.flash = Path(flash).resolve()
        self._child: _Child | None = None
        self._held: link.Request | None = None  # the request that the chip waits for
        self._base_us = 0  # virtual time at the chip's start
        self._now_us = 0
        self._boot_at: int | None = None  # while the chip is down: when it starts again
        self._cause = link.PWRON_RESET
        self._plant_us = 0  # the truck's clock, which never goes back
        self._driven: set[int] = set()
        self._watchdog_us = 0
        self._partial = b""
        self._unread = b""
        self._scan_words = self._block * len(self.board.channels)
        self._readable = set((self.board.inputs or {}).values())
        self._readable |= set((getattr(self.board, "power", None) or {}).get("seen", ()))

    # -- life ----------------------------------------------------------------------------------

    def __enter__(self) -> SimulatedDevice:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Power on. The first code of the chip runs at the next `run`."""
        self.flash.mkdir(parents=True, exist_ok=True)
        name = getattr(self.board, "name", "simulated")
        choice = self.flash / "board.txt"  # see firmware.board.detect()
        if name != "simulated":
            choice.write_text(name)
        else:
            choice.unlink(missing_ok=True)
        if self._settings:
            write_settings(self.flash, self._settings)
        self._boot_at = self._now_us

    def stop(self) -> None:
        """End the chip's process; nothing is left behind."""
        self._end_child()
        self._boot_at = None
        self._keep.close()

    def power_cut(self) -> None:
        """The chip loses its supply now: pins float, RAM is lost, the flash folder stays."""
        self._down(self.now_us, None, link.PWRON_RESET)

    def power_on(self) -> None:
        """Supply the chip again after power_cut()."""
        if self._child is None and self._boot_at is None:
            self._boot_at = self.now_us + self._boot_us

    @property
    def pid(self) -> int | None:
        """Process id of the running chip."""
        return self._child.process.pid if self._child else None

    # -- time ----------------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """Virtual time in us since the first power-on."""
        return self._now_us

    def run(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        self.run_until(self._now_us + round(seconds * 1e6))

    def run_until(self, t_us: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let virtual time pass until `t_us`, or until `stop()` is true (then: True).

        `stop` is asked after each exchange with the chip, at least every few milliseconds.
        """
        while True:
            if self._child is None:
                if self._boot_at is None or self._boot_at > t_us:
                    self._now_us = max(self._now_us, t_us)
                    return False
                self._spawn()
            if self._held is None:
                self._receive()
                if self._held is None:  # the chip has reset itself
                    continue
                if stop is not None and stop():
                    return True
            at = self._base_us + self._held.time_us
            self._now_us = max(self._now_us, at)
            if at >= t_us:
                return False
            request, self._held = self._held, None
            self._answer(request, at, t_us)

    def run_paced(
        self,
        t_us: int,
        speed: float = 1.0,
        wait: Callable[[float], bool] | None = None,
    ) -> bool:
        """As run_until, at `speed` times the wall clock (0: as fast as possible).

        `wait(seconds)` is called whenever the chip is ahead: it may watch for input meanwhile, and
        returns True to end the run (then the result is True).
        """
        sleep = wait or _sleep
        per_us = 1e-6 / speed if speed else 0.0
        origin = time.monotonic() - self._now_us * per_us
        while self._now_us < t_us:
            self.run_until(min(t_us, self._now_us + _SLICE_US))
            ahead = origin + self._now_us * per_us - time.monotonic()
            if ahead < -_MAX_LAG_S:  # a machine that is too slow: do not try to catch up for long
                origin -= ahead
            if sleep(max(0.0, ahead)):
                return True
        return False

    # -- console -------------------------------------------------------------------------------

    def type(self, text: str) -> None:
        """Type `text` and Enter on the console."""
        self.write(text.encode() + b"\r")

    def write(self, data: bytes) -> None:
        """Send bytes to the console as they are."""
        if self._child is not None:
            self._child.type(data)

    def console(self, start_us: int = 0, end_us: int | None = None) -> list[str]:
        """The console's lines between two times."""
        return [
            line.text
            for line in self.lines
            if line.t_us >= start_us and (end_us is None or line.t_us <= end_us)
        ]

    def expect(self, pattern: str, within: float = 1.0, since: int | None = None) -> re.Match[str]:
        """Run until a console line matches `pattern` (re.search); the match.

        Lines from number `since` on count (default: those to come). DeviceError after `within`
        virtual seconds, with what the console showed instead.
        """
        first = len(self.lines) if since is None else since
        found: list[re.Match[str]] = []
        checked = first

        def seen() -> bool:
            nonlocal checked
            while checked < len(self.lines):
                match = re.search(pattern, self.lines[checked].text)
                checked += 1
                if match:
                    found.append(match)
                    return True
            return False

        if not seen():
            self.run_until(self._now_us + round(within * 1e6), seen)
        if found:
            return found[0]
        shown = "\n".join(f"  {line.text}" for line in self.lines[first:]) or "  (nothing)"
        raise DeviceError(f"no line matched {pattern!r} within {within} s; it showed:\n{shown}")

    def command(self, text: str, within: float = 2.0) -> str:
        """Type a console command and return its answer line (`ok ...` or `error: ...`)."""
        self.type(text)
        return self.expect(r"^(ok\b|error:).*", within).group(0)

    # -- the truck -----------------------------------------------------------------------------

    def sim(self, line: str) -> str:
        """Obey a simulator command (`plug bed1 circular_saw`) now; SimError when it cannot be."""
        self.truck.read_pin(-1, self._clamp(self._now_us))  # nothing but the time it carries
        return str(self.truck.command(line))

    def truth(self) -> dict[str, Any]:
        """What really is in the truck now, see Truck.truth."""
        truth: dict[str, Any] = self.truck.truth(self._clamp(self._now_us))
        return truth

    # -- the chip's process --------------------------------------------------------------------

    def _spawn(self) -> None:
        assert self._boot_at is not None
        self._base_us = self._now_us = max(self._now_us, self._boot_at)
        self._boot_at = None
        self._watchdog_us = 0
        if self._built is None:
            interpreter = Path(self._interpreter or find_interpreter())
            self._interpreter = interpreter
            whole = (self.root / "firmware").is_dir()
            name = getattr(self.board, "name", "")
            root = self.root if whole else None
            self._built = bytecode.build(interpreter, root, name, self._frozen)
        heap = self.heap * self._built.scale + self._built.code_bytes
        command: list[Any] = [self._interpreter, "-X", f"heapsize={heap}"]
        command += [CHIP / "start.py", "{down}", "{up}", self.root, self.flash]
        wide = self._frozen and len(self._built.path) > 1 and self.heap >= 2 * _ROOM
        command.append(_ROOM * self._built.scale if wide else 0)
        for name, folder in self._built.files.items():
            link_to = self.flash / name
            link_to.unlink(missing_ok=True)
            link_to.symlink_to(folder)
        words = [str(x) for x in [*command, *self._built.path, self.root]]
        self._child = _Child(words, self._uart)

    def _end_child(self) -> bytes:
        """Kill the chip's process; what its console still held."""
        child, self._child = self._child, None
        self._held = None
        self._unread = b""
        return child.end() if child is not None else b""

    def _down(self, t_us: int, boot_at: int | None, cause: int) -> None:
        """The chip stops at `t_us`: its pins are released."""
        rest = self._end_child()
        self._now_us = max(self._now_us, t_us)
        self._console_bytes(rest)
        if self._partial:
            self._console_bytes(b"\n")
        for gpio in sorted(self._driven):
            self._set_pin(gpio, None, t_us)
        self._driven.clear()
        self._boot_at = boot_at
        self._cause = cause

    def _reset(self, t_us: int, cause: int) -> None:
        self.resets.append((t_us, cause))
        self._down(t_us, t_us + self._boot_us, cause)

    # -- the link ------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Read the chip's requests up to the one it waits for (then in `_held`), or its reset."""
        child = self._child
        assert child is not None
        while True:
            while len(self._unread) >= link.REQUEST_BYTES:
                request = link.Request.parse(self._unread[: link.REQUEST_BYTES])
                self._unread = self._unread[link.REQUEST_BYTES :]
                if request.op not in link.ONE_WAY:
                    self._held = request
                    self._now_us = max(self._now_us, self._base_us + request.time_us)
                    self._console_bytes(child.output())
                    return
                if self._one_way(request):
                    return
            data = child.requests(self._stall_s)
            if data is None:
                self._stalled()
                return
            if not data:
                self._died()
            self._unread += data

    def _one_way(self, request: link.Request) -> bool:
        """Obey a request without answer; True when the chip's process has ended with it."""
        at = self._base_us + request.time_us
        if request.op == link.PIN_OUT:
            gpio, level = request.arg & 0xFF, request.arg >> 8
            self._driven.add(gpio)
            self._set_pin(gpio, None if level == link.RELEASED else level, at)
            return False
        if request.op == link.WATCHDOG:
            self._watchdog_us = request.arg * 1000
            return False
        if request.op in (link.PULSES, link.PULSE_HZ):
            gpio, value = request.arg & 0xFF, request.arg >> 8
            self._driven.add(gpio)
            what = {"duty_u16" if request.op == link.PULSES else "hz": value}
            self.truck.set_pulses(gpio, self._clamp(at), **what)
            return False
        self._reset(at, request.arg)
        return True

    def _stalled(self) -> None:
        """The chip computes without end, its clock stands still. A watchdog would end that."""
        if self._watchdog_us:
            self._reset(self._now_us + self._watchdog_us, link.WDT_RESET)
            return
        self._console_bytes(self._end_child())
        raise DeviceError(
            f"the chip has computed for {self._stall_s:g} s without letting time pass, and no "
            f"watchdog is armed\n{self._tail()}"
        )

    def _died(self) -> None:
        assert self._child is not None
        process = self._child.process
        self._console_bytes(self._end_child())
        raise DeviceError(f"MicroPython ended (exit code {process.returncode})\n{self._tail()}")

    def _tail(self) -> str:
        text = [line.text for line in self.lines[-15:]]
        if self._partial:
            text.append(self._partial.decode(errors="replace"))
        return "\n".join(text)

    def _clamp(self, t_us: int) -> int:
        """`t_us`, but not before the truck's own time, which scans ahead may have moved on."""
        self._plant_us = max(self._plant_us, t_us)
        return self._plant_us

    def _set_pin(self, gpio: int, level: int | None, t_us: int) -> None:
        """An edge keeps its own time where the truck can take it late."""
        if not hasattr(self.truck, "certain_us"):
            t_us = self._clamp(t_us)
        self.truck.set_pin(gpio, level, t_us)

    def _answer(self, request: link.Request, at: int, until: int) -> None:
        child = self._child
        assert child is not None
        limit = until - at
        arg = request.arg
        if request.op == link.SCAN:
            count, codes = self._scan(at, arg, until)
            data = link.head(limit, count, self._inputs(at))
            data += link.rows(codes, self._scan_words)
        elif request.op == link.PIN_IN:
            data = link.head(limit, self._pin(arg & 0xFF, arg >> 8, at), self._inputs(at))
        elif request.op == link.ADC:
            data = link.head(limit, link.u16(self._adc(arg & 0xFF, arg >> 8, at)))
        elif request.op == link.HELLO:
            data = link.table(
                self.board,
                limit_us=limit,
                ticks_us=self._ticks_us,
                unix_time=self._unix_time + at // 1_000_000,
                seed=self._seed + len(self.resets),
                cause=self._cause,
                unique_id=self._unique_id,
                block=self._block,
            )
        else:
            data = link.head(limit, 0, self._inputs(at))
        child.answer(data)

    def _scan(self, at: int, period: int, until: int) -> tuple[int, list[int]]:
        """Codes of the scan at `at`, and of those to follow that nothing can change any more."""
        truck = self.truck
        count = 1
        if period and hasattr(truck, "certain_us"):
            certain = min(until - at, truck.certain_us(at))
            count = max(1, min(self._block, certain // period + 1))
        codes: list[int] = []
        if getattr(truck, "silent", False):
            return 0, codes
        for k in range(count):
            codes += truck.scan(self._clamp(at + k * period))
        return count, codes

    def _inputs(self, at: int) -> int:
        levels = 0
        for bit, gpio in enumerate((self.board.inputs or {}).values()):
            levels |= self.truck.read_pin(gpio, self._clamp(at)) << bit
        return levels

    def _pin(self, gpio: int, pull: int, at: int) -> int:
        if gpio in self._readable:
            return self.truck.read_pin(gpio, self._clamp(at))
        return 1 if pull == 1 else 0

    def _adc(self, gpio: int, address: int, at: int) -> int:
        t_us = self._clamp(at)
        for bit, pin in enumerate(self.board.mux_address or ()):
            self.truck.set_pin(pin, address >> bit & 1, t_us)
        try:
            return self.truck.adc(gpio, t_us)
        except KeyError:
            return 0

    def _console_bytes(self, data: bytes) -> None:
        if not data:
            return
        if self.on_output is not None:
            self.on_output(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            self.lines.append(Line(self._now_us, text))


class _Child:
    """The MicroPython process, its console and its two pipes."""

    def __init__(self, command: list[str], uart: str = "") -> None:
        down, self._answers = os.pipe()
        self._requests, up = os.pipe()
        ends = {"{down}": str(down), "{up}": str(up)}
        try:
            # A session of its own: Ctrl-C in the terminal is the host's matter.
            self.process = subprocess.Popen(
                [ends.get(word, word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(down, up),
                start_new_session=True,
                bufsize=0,
                env={k: v for k, v in os.environ.items() if k != "MICROPYPATH"}
                | {"SIMULATED_UART": uart},
            )
        finally:
            os.close(down)
            os.close(up)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._console_in = self.process.stdin.fileno()
        self._console_out = self.process.stdout.fileno()
        os.set_blocking(self._console_in, False)
        os.set_blocking(self._console_out, False)
        self._early = b""
        self._poll = select.poll()
        self._poll.register(self._requests, select.POLLIN)
        self._poll.register(self._console_out, select.POLLIN)
        self._finalize = weakref.finalize(self, _kill, self.process)

    def requests(self, timeout_s: float) -> bytes | None:
        """Bytes of one or more requests; empty when the process has ended, None after a while."""
        deadline = time.monotonic() + timeout_s
        while True:
            ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                return None
            for fd, _ in ready:
                if fd == self._requests:
                    return os.read(fd, 4096)
            # Only the console has something. It is read so that the chip is not held up by a full
            # pipe, and counted when the chip next waits, so that its time does not depend on ours.
            if self._early and not ready[0][1] & select.POLLIN:
                time.sleep(0.001)
            self._early += self._read()

    def output(self) -> bytes:
        """What the console has shown since the last call. The chip has to be waiting."""
        data, self._early = self._early + self._read(), b""
        return data

    def _read(self) -> bytes:
        data = b""
        while True:
            try:
                more = os.read(self._console_out, 65536)
            except BlockingIOError:
                return data
            if not more:
                return data
            data += more

    def answer(self, data: bytes) -> None:
        """Write an answer; that the process is gone shows at the next read."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._answers, data)

    def type(self, data: bytes) -> None:
        """Put bytes into the console's input; DeviceError when the chip does not read it."""
        try:
            os.write(self._console_in, data)
        except BlockingIOError:
            raise DeviceError("the chip does not read its console") from None
        except BrokenPipeError:
            pass

    def end(self) -> bytes:
        """Kill the process and return what the console still held."""
        self._finalize()
        rest = self.output()
        os.close(self._requests)
        os.close(self._answers)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return rest


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End one child process, whatever it is doing."""
    process.kill()
    process.wait()


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def find_interpreter() -> Path:
    """A MicroPython unix port; fetched when there is none yet."""
    from tools.runtime import unix

    return unix.ensure()


def install_cpython() -> None:
    """Make the firmware's portable modules importable on CPython."""
    from tools import cpython

    if "micropython" not in sys.modules:
        cpython.install()


def load_board(name: str) -> Any:
    """The board table called `name`, as the firmware reads it."""
    install_cpython()
    from firmware import board

    return board.load(name)


def make_truck(board: Any, seed: int = 0, mains_hz: int = 60) -> Any:
    """The simulated truck wired as `board` says."""
    from tools.simulator.truck import Truck

    class ScannedAhead(Truck):
        """A truck that is a few milliseconds ahead of its chip, where nothing can change that.

        A contact moves milliseconds after its coil, so the scans until then are certain, whatever
        the chip does next. Fetching them together is what makes the simulation fast.
        """

        def certain_us(self, t_us: int) -> int:
            """For how long from `t_us` no pin that the chip may drive changes a scan."""
            quickest = min(min(r.operate_us, r.release_us) for r in self.relays.values())
            return max(0, min(quickest, self._next_us - t_us) - 1)

        def set_pin(self, gpio: int, level: int | None, t_us: int) -> None:
            now = self._now
            self._now = min(now, t_us)  # the edge was before the last scan that was fetched
            super().set_pin(gpio, level, t_us)
            self._now = max(now, t_us)

    return ScannedAhead(board, seed=seed, mains_hz=mains_hz)


def read_settings(flash: Path) -> dict[str, Any]:
    """The settings saved in a flash folder; empty when there are none."""
    install_cpython()
    from firmware.storage import files, settings

    data, _, _ = files.read(str(flash / DATA / settings.FILE))
    try:
        stored = json.loads(data) if data is not None else {}
    except ValueError:
        return {}
    return stored if isinstance(stored, dict) else {}


def write_settings(flash: Path, values: dict[str, Any]) -> None:
    """Change settings in a flash folder, as the firmware's console would with `set` and `save`."""
    stored = read_settings(flash) | values
    from firmware.storage import settings

    settings.write_file(str(flash / DATA), stored)
