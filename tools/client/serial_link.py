"""A board on a serial port: USB, a UART, a pseudo-terminal, `socket://` or `rfc2217://`.

The console has no numbers that tell which answer belongs to which command, so order is all there
is. That is safe as long as each command is answered before the next. Whenever that is in doubt
(first contact, time-out, damaged answer, restart, port gone), the link asks for help on a word
that nobody has used before and drops everything up to the refusal that quotes it. Only then are
the two sides known to be in step again.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import serial
from serial.tools import list_ports

from tools.client import framing
from tools.client.errors import (
    BadAnswer,
    CommandRefused,
    LinkError,
    NoAnswer,
    NotConnected,
)
from tools.client.link import BACK_S
from tools.deploy import ports

BAUD = 115200
_READ_S = 0.05
_WRITE_S = 3.0
_PROBE_S = 1.0
_FIRST_S = 8.0  # at first contact; a board that is starting takes three
_RETRY_S = 0.25
_SLICE_S = 0.1
_LOG_LINES = 50
# What pyserial raises when a port goes away: also TypeError when it was closed meanwhile, and the
# error of tcsetattr() and tcdrain(), which is no OSError and is there only where terminals are.
try:
    from termios import error as _terminal_error

    _GONE: tuple[type[Exception], ...] = (OSError, TypeError, _terminal_error)
except ImportError:
    _GONE = (OSError, TypeError)
_UNOPENED: tuple[type[Exception], ...] = (ValueError, *_GONE)  # a name that cannot be one
_UNKNOWN = "whether it was obeyed is not known"


class Port(Protocol):
    """As much of pyserial's Serial as is used here."""

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""

    def read(self, size: int) -> bytes:
        """Up to so many bytes; fewer after the port's own short time-out."""

    def write(self, data: bytes) -> object:
        """Send all of it."""

    def flush(self) -> None:
        """Wait until it is sent."""

    def close(self) -> None:
        """Let go of it."""


class Clock(Protocol):
    """The module `time`, unless a test brings its own."""

    def monotonic(self) -> float:
        """Seconds."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


def open_port(where: str, baud: int) -> Port:
    """Open a port by name or URL; OSError or ValueError when that cannot be."""
    port = serial.serial_for_url(where, do_not_open=True)
    port.baudrate = baud
    port.timeout = _READ_S
    if "://" not in where:
        port.exclusive = True
        port.write_timeout = _WRITE_S
    port.open()
    return cast(Port, port)


class SerialLink:
    """See Link. `on_remark` is called with each `# ` line of the firmware (progress, notes)."""

    pause_s = 0.0

    def __init__(
        self,
        port: str,
        *,
        baud: int = BAUD,
        back_s: float = BACK_S,
        on_remark: Callable[[str], None] | None = None,
        opener: Callable[[str, int], Port] = open_port,
        clock: Clock = time,
    ) -> None:
        """Open `port` and get into step. NotConnected or NoAnswer when there is no board.

        `back_s`: for how long a board that went away is waited for.
        """
        self.name = port
        self.lines: deque[str] = deque(maxlen=_LOG_LINES)  # what came last, for error messages
        self._baud = baud
        self.back_s = back_s
        self._on_remark = on_remark
        self._opener = opener
        self._clock = clock
        self._lock = threading.RLock()
        self._framer = framing.Framer()
        self._port: Port | None = None
        self._usb = _usb_identity(port)
        self._in_step = False
        self._newest = -1
        self._restarts = 0
        self._closed = False
        with self._lock:
            self._open()
            try:
                self._get_in_step(self._clock.monotonic() + min(_FIRST_S, back_s))
            except BaseException:
                self.close()
                raise

    # -- Link --------------------------------------------------------------------------------

    def request(
        self, name: str, args: Sequence[str], timeout_s: float, repeat: bool
    ) -> dict[str, Any]:
        """See Link."""
        line = framing.line(name, args)
        words = " ".join([name, *args])
        with self._lock:
            spoilt = False
            while True:
                self._ready()
                try:
                    return self._ask(line, words, timeout_s)
                except CommandRefused as refused:
                    if spoilt or not _is_spoilt(refused.reason, name):
                        raise
                    # Something else stood on the board's line. It was not obeyed, so sending it
                    # again is no second time.
                    spoilt = True
                    self._in_step = False
                except LinkError:
                    self._in_step = False
                    if not repeat:
                        raise
                    repeat = False

    def heard(self) -> tuple[int, int]:
        """See Link."""
        return self._newest, self._restarts

    def wait(self, seconds: float, known: tuple[int, int]) -> bool:
        """See Link."""
        until = self._clock.monotonic() + seconds
        while self.heard() == known:
            left = until - self._clock.monotonic()
            if left <= 0:
                return False
            with self._lock:
                if self._in_step:
                    try:
                        self._listen(min(left, _SLICE_S), lambda item: self.heard() != known)
                    except NotConnected:
                        self._in_step = False
            if not self._in_step:
                # not for long here: whoever wants something has the patience for a restart
                self._clock.sleep(min(left, _RETRY_S))
                with contextlib.suppress(LinkError), self._lock:
                    self._ready(min(left, 2 * _PROBE_S))
            self._clock.sleep(0.001)  # a thread that wants to ask something gets its turn
        return True

    def close(self) -> None:
        """See Link."""
        with self._lock:
            self._closed = True
            self._drop_port()

    # -- the port ----------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the port; NotConnected with a sentence when that cannot be."""
        where = self._where()
        try:
            self._port = self._opener(where, self._baud)
        except _UNOPENED as error:
            raise NotConnected(ports.why_not(where, error)) from error
        self._framer.forget()

    def _where(self) -> str:
        """The port's name now: a board that restarts may come back under another one."""
        if self._usb is None:
            return self.name
        for found in list_ports.comports():
            if found.device == self.name and _identity_of(found) == self._usb:
                return self.name
        for found in list_ports.comports():
            if _identity_of(found) == self._usb:
                return str(found.device)
        return self.name

    def _drop_port(self) -> None:
        port, self._port = self._port, None
        self._in_step = False
        if port is not None:
            with contextlib.suppress(*_GONE):
                port.close()

    def _gone(self, error: Exception) -> NotConnected:
        self._drop_port()
        return NotConnected(f"the board on {self.name} went away ({error})")

    def _opened(self) -> Port:
        if self._port is None:
            raise NotConnected(f"the connection to {self.name} was closed")
        return self._port

    def _write(self, data: bytes) -> None:
        port = self._opened()
        try:
            port.write(data)
            port.flush()
        except _GONE as error:
            raise self._gone(error) from error

    def _read(self) -> list[framing.Item]:
        """Items of what came within a short while."""
        port = self._opened()
        try:
            data = port.read(1)
            if data:
                data += port.read(port.in_waiting)
        except _GONE as error:
            raise self._gone(error) from error
        items = self._framer.feed(data)
        for item in items:
            self._note(item)
        return items

    def _note(self, item: framing.Item) -> None:
        """Keep what concerns nobody in particular."""
        if isinstance(item, framing.EventLine):
            self._newest = max(self._newest, item.seq)
        elif isinstance(item, framing.Remark):
            self.lines.append("# " + item.text)
            if self._on_remark is not None:
                self._on_remark(item.text)
        elif isinstance(item, (framing.Other, framing.Damaged)):
            self.lines.append(item.text[:200])
        elif isinstance(item, framing.PythonPrompt):
            self.lines.append(">>>")

    def _listen(self, seconds: float, wanted: Callable[[framing.Item], bool]) -> bool:
        """Read for so long, or until an item is the wanted one (then: True)."""
        until = self._clock.monotonic() + seconds
        while True:
            for item in self._read():
                if wanted(item):
                    return True
            if self._clock.monotonic() >= until:
                return False

    # -- in step -----------------------------------------------------------------------------

    def _ready(self, patience_s: float | None = None) -> None:
        """Port open and in step; waits for a board that went away. NotConnected or NoAnswer."""
        if self._closed:
            raise NotConnected(f"the connection to {self.name} was closed")
        until = self._clock.monotonic() + (self.back_s if patience_s is None else patience_s)
        while not self._in_step:
            try:
                if self._port is None:
                    self._open()
                self._get_in_step(until)
            except LinkError:
                if self._clock.monotonic() + _RETRY_S >= until:
                    raise
                self._clock.sleep(_RETRY_S)

    def _get_in_step(self, until: float) -> None:
        """Drop everything up to the answer to a question never asked before."""
        python = 0
        while True:
            nonce = "sync-" + secrets.token_hex(5)
            self._write(framing.CLEAR + framing.line("help", [nonce]))

            def ours(item: framing.Item, nonce: str = nonce) -> bool:
                return isinstance(item, framing.Answer) and nonce in str(item.body.get("error"))

            if self._listen(_PROBE_S, ours):
                break
            if ">>>" in self.lines or self._framer.unfinished.endswith(">>> "):
                python += 1
                self.lines.clear()
            if python >= 2:
                raise NoAnswer(
                    f"the board on {self.name} is at MicroPython's prompt: the firmware is not "
                    "running, and nothing protects. Restart the board."
                )
            if self._clock.monotonic() >= until:
                said = " / ".join(list(self.lines)[-3:])
                raise NoAnswer(
                    f"nothing on {self.name} answers like Tailgate"
                    + (f"; it said: {said[:300]}" if said else "")
                )
        # Numbers of events up to here are old news, also those that the console has yet to show.
        body = self._ask(framing.line("events", ["1"]), "events 1", 2 * _PROBE_S, starting=True)
        newest = body.get("last_seq")
        if not isinstance(newest, int):
            raise BadAnswer(f"{self.name} answers, but not like Tailgate: {body!r:.200}")
        if newest < self._newest:
            self._restarts += 1
        self._newest = newest
        self._in_step = True

    def _ask(
        self, line: bytes, words: str, timeout_s: float, starting: bool = False
    ) -> dict[str, Any]:
        """Send a line and wait for its answer."""
        newest = self._newest
        found: list[framing.Item] = []

        def wanted(item: framing.Item) -> bool:
            kinds = (framing.Answer, framing.Refusal, framing.Damaged)
            if isinstance(item, framing.EventLine):
                restarted = item.kind == "boot" and item.seq > newest and not starting
            else:
                restarted = False
            if restarted or isinstance(item, kinds):
                found.append(item)
            return bool(found)

        self._opened()
        try:
            self._write(framing.CLEAR + line)
            answered = self._listen(timeout_s, wanted)
        except NotConnected as error:
            # from here on "nothing was sent" would be a guess
            raise NoAnswer(f"{error} before it answered `{words}`; {_UNKNOWN}") from error
        if not answered:
            raise NoAnswer(
                f"no answer from {self.name} to `{words}` within {timeout_s:g} s; {_UNKNOWN}"
            )
        item = found[0]
        if isinstance(item, framing.Answer):
            body = dict(item.body)
            if body.pop("ok"):
                return body
            raise CommandRefused(words, str(body.pop("error", "refused without a reason")), body)
        if isinstance(item, framing.Refusal):
            raise CommandRefused(words, item.reason)
        if isinstance(item, framing.EventLine):
            self._restarts += 1
            raise NoAnswer(
                f"the board on {self.name} restarted before it answered `{words}`; "
                "whether that was obeyed is not known"
            )
        raise BadAnswer(
            f"the answer from {self.name} to `{words}` came damaged; it may have been obeyed"
        )


def _is_spoilt(reason: str, name: str) -> bool:
    """Whether a refusal is of something else than the command that was sent."""
    if reason.startswith("unknown command '"):
        return not reason.startswith(f"unknown command '{name[:32]}")
    return reason.startswith("the line ")


def _identity_of(found: Any) -> tuple[Any, ...] | None:
    if found.vid is None or not found.serial_number:
        return None
    return found.vid, found.pid, found.serial_number


def _usb_identity(port: str) -> tuple[Any, ...] | None:
    """What tells a USB device from others, whatever name its port has; None: not known."""
    if "://" in port:
        return None
    for found in list_ports.comports():
        if found.device == port:
            return _identity_of(found)
    return None
