"""A board on a serial port: stopping its firmware safely, and running Python on it.

Built on mpremote's serial transport, which knows MicroPython's raw REPL.
"""

from __future__ import annotations

import ast
import contextlib
import re
import time
from dataclasses import dataclass
from typing import Any

from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from tools.deploy import ports
from tools.progress import ToolError, step

MINIMUM = (1, 26)
_RAW_PROMPT = b"raw REPL; CTRL-B to exit\r\n"
_ANSWER_S = 2.0  # a free REPL answers at once
_OBEY_S = 6.0
_EXIT_S = 15.0  # the firmware saves its counters before it gives the prompt
_RESTART_S = 30.0
_STATUS_S = 20.0

# Index in the upper bits of sys.implementation._mpy -> chip
_CHIPS = {4: "rp2040", 10: "esp32"}

_IDENTIFY = """\
import sys, os
_m = sys.implementation
_s = os.statvfs('/')
_frozen = False
_path = sys.path[:]
sys.path[:] = ['.frozen']
_had = sys.modules.pop('firmware', None)
try:
    import firmware
    _frozen = True
except ImportError:
    pass
sys.path[:] = _path
print(repr((_m.name, tuple(_m.version)[:3], sys.platform, getattr(_m, '_machine', '?'),
            getattr(_m, '_mpy', 0) >> 10, _s[0], _s[3], _frozen)))
"""


@dataclass(frozen=True)
class Identity:
    """What is on the port."""

    name: str
    version: tuple[int, ...]
    platform: str
    machine: str
    architecture: int
    block: int
    free_blocks: int
    frozen: bool

    @property
    def version_text(self) -> str:
        """Version with dots."""
        return ".".join(map(str, self.version))

    @property
    def chip(self) -> str:
        """`rp2040` or `esp32`; ToolError for a chip that Tailgate does not run on."""
        if self.platform == "rp2" and "RP2350" in self.machine:
            raise ToolError(f"this is a {self.machine}: Tailgate runs on the RP2040 and the ESP32")
        chip = _CHIPS.get(self.architecture)
        if chip is None or self.platform not in ("rp2", "esp32"):
            raise ToolError(
                f"this is a {self.machine} ({self.platform}): Tailgate runs on the RP2040 "
                "(Raspberry Pi Pico, Pico W) and the ESP32"
            )
        return chip


class Board:
    """An open connection to a board whose firmware was stopped; use with `with`."""

    def __init__(self, port: str) -> None:
        """Open `port` and get a Python prompt. ToolError says what is in the way."""
        self.port = port
        self._link = _open(port)
        try:
            self._get_prompt()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the port."""
        _close(self._link)

    # -- the prompt --------------------------------------------------------------------------

    def _get_prompt(self) -> None:
        said = self._try_prompt()
        if said is None:
            return
        # Our firmware takes Ctrl-C for an ordinary key. It has a command that opens all relays
        # and leaves for the REPL; other programs will complain, which does no harm.
        step("the firmware is running: asking it to open all relays and stop")
        write = self._link.serial.write
        write(b"\x03")  # and not "\r": a line that somebody left half typed would be obeyed
        time.sleep(0.1)
        write(b"exit yes\r")
        answer = self._read_until((b">>> ", b"ok"), _OBEY_S)
        if answer.endswith(b"ok"):
            answer += self._read_until((b">>> ",), _EXIT_S)
        said += answer
        said_after = self._try_prompt()
        if said_after is None:
            return
        said += said_after
        raise ToolError(
            f"nothing on {self.port} answers like MicroPython"
            + (f"; it said {said[-120:].decode(errors='replace')!r}" if said.strip() else "")
            + ". A new board needs MicroPython first: `make flash` explains."
        )

    def _try_prompt(self) -> bytes | None:
        """Ask for the raw REPL; None when it came, else what came instead."""
        serial = self._link.serial
        # twice Ctrl-C, because the first may be spent on a sleeping program; it also clears what
        # somebody has left half typed, which "\r" would send
        serial.write(b"\x03\x03")
        said = self._read_for(0.3)
        serial.write(b"\r\x01")
        said += self._read_until((_RAW_PROMPT,), _ANSWER_S)
        if not said.endswith(_RAW_PROMPT):
            return said
        self._link.in_raw_repl = True
        return None

    def _read_for(self, seconds: float) -> bytes:
        return self._read_until((), seconds)

    def _read_until(self, endings: tuple[bytes, ...], seconds: float) -> bytes:
        """Read until one of `endings` came or so many s went by without a byte."""
        data = b""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            waiting = self._waiting()
            if not waiting:
                time.sleep(0.005)
                continue
            # byte by byte, so that nothing behind the ending is taken
            data += self._link.serial.read(1)
            if endings and data.endswith(endings):
                break
        return data

    def _waiting(self) -> int:
        try:
            return int(self._link.serial.inWaiting())
        except OSError as error:
            raise ToolError(f"the board on {self.port} went away ({error})") from error

    # -- Python on the board -----------------------------------------------------------------

    def run(self, code: str) -> str:
        """Run code, return what it printed; OSError numbers and tracebacks become ToolError."""
        try:
            return bytes(self._link.exec(code)).decode()
        except TransportExecError as error:
            lines = [x for x in str(error.error_output).strip().splitlines() if x.strip()]
            raise ToolError(f"on the board: {lines[-1] if lines else 'no message'}") from error
        except (TransportError, OSError, IndexError) as error:
            raise ToolError(
                f"the connection to {self.port} broke ({error or type(error).__name__}); the "
                "board is safe, with its relays open: run the same command again"
            ) from error

    def value(self, code: str) -> Any:
        """Run code that prints one literal, and return that."""
        return ast.literal_eval(self.run(code).strip())

    def identify(self) -> Identity:
        """What this board is. ToolError when it is nothing that Tailgate can run on."""
        found = Identity(*self.value(_IDENTIFY))
        if found.name != "micropython":
            raise ToolError(
                f"{self.port} runs {found.name}, and Tailgate needs MicroPython: `make flash` "
                "explains how to change that"
            )
        _ = found.chip  # refuses a chip that it does not run on
        if found.version < MINIMUM:
            raise ToolError(
                f"{self.port} runs MicroPython {found.version_text} and "
                f"{'.'.join(map(str, MINIMUM))} is needed (hard timers): `make flash` explains"
            )
        if found.frozen:
            raise ToolError(
                f"{self.port} runs an image with Tailgate frozen in, which goes before any file: "
                "`make image` and `make flash` replace the whole image"
            )
        return found

    # -- starting again ----------------------------------------------------------------------

    def restart(self) -> None:
        """Reset the chip, and come back when its port does."""
        # it may be gone before it could confirm
        with contextlib.suppress(TransportError, OSError, IndexError):
            self._link.exec_raw_no_follow("import machine\nmachine.reset()")
        _close(self._link)
        time.sleep(0.5)
        until = time.monotonic() + _RESTART_S
        while True:
            try:
                self._link = _open(self.port)
                return
            except ToolError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def first_status(self) -> str:
        """Ask the started firmware for its status; ToolError with what it said instead."""
        said = b""
        until = time.monotonic() + _STATUS_S
        while time.monotonic() < until and said.count(b">>> ") < 2:  # a prompt: it has ended
            try:
                self._link.serial.write(b"status\r")
                said += self._read_until_quiet(1.0)
            except (OSError, ToolError):
                time.sleep(0.2)
            # an answer begins at the start of a line, its other lines are indented or empty
            found = re.search(rb"^ok\b.*(\r?\n([ \t].*)?)*", said, re.M)
            if found:
                return found[0].decode(errors="replace").replace("\r", "").strip()
        last = " / ".join(said.decode(errors="replace").strip().splitlines()[-3:]) or "nothing"
        raise ToolError(f"the firmware was copied and does not answer; it said: {last}")

    def _read_until_quiet(self, gap: float) -> bytes:
        """Read until nothing came for `gap` s, 10 s at most."""
        data = b""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            more = self._read_until((b"\n",), gap)
            if not more:
                break
            data += more
        return data


def _open(port: str) -> SerialTransport:
    try:
        link = SerialTransport(port, baudrate=115200, timeout=10)
    except TransportError as error:
        # it hides the reason: ask the system once more
        try:
            with open(port, "rb", buffering=0):
                pass
        except OSError as reason:
            raise ToolError(ports.why_not(port, reason)) from reason
        raise ToolError(f"{port} is in use: close the other program that has it open") from error
    except (OSError, ValueError) as error:
        raise ToolError(ports.why_not(port, error)) from error
    link.is_pty = False  # its way to read a pty waits for ever when nothing comes
    return link


def _close(link: SerialTransport) -> None:
    with contextlib.suppress(OSError, ports.SerialError):
        link.close()
