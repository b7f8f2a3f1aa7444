"""The chip's USB console, seen from the host: what it printed, and ways to connect a program.

A `Link` carries the console to another program: `PtyLink` looks like a serial port (mpremote,
a terminal program), `TcpLink` serves one connection on this machine, `TerminalLink` is the
terminal that the emulator was started in.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import sys
import tty
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

_FIFO_ROOM = 256  # of the emulated host's 512 bytes, so that it never overflows
_FIRST_BYTE_NS = 100_000
_NEXT_BYTES_NS = 500_000


class Chunk(NamedTuple):
    """Bytes that the chip sent in one go, and when."""

    t_us: float
    data: bytes


class Link(Protocol):
    """A way for another program to use the console."""

    def descriptors(self) -> list[int]:
        """File descriptors that become readable when there is something to do."""

    def receive(self) -> bytes:
        """What the other side typed since the last call."""

    def transmit(self, data: bytes) -> None:
        """Pass on what the chip printed; dropped when the other side does not read."""

    def close(self) -> None:
        """Let go of everything."""


class Console:
    """Everything the chip has printed, and the queue of what is typed to it."""

    def __init__(self, cdc: Any, clock: Any) -> None:
        """`cdc`: the emulated USB host's USBCDC; `clock`: the emulated chip's clock."""
        self.data = bytearray()
        self.chunks: list[Chunk] = []
        self.seen = 0  # how far `expect` has read
        self.on_data: Callable[[], None] | None = None
        self.links: list[Link] = []
        self._cdc = cdc
        self._clock = clock
        self._queue = bytearray()
        self._pump_alarm = clock.create_alarm(self._pump)
        cdc.on_serial_data = self._received

    @property
    def text(self) -> str:
        """All that was printed so far."""
        return self.data.decode(errors="replace")

    def __str__(self) -> str:
        return self.text

    def __contains__(self, text: str | bytes) -> bool:
        return (text.encode() if isinstance(text, str) else text) in self.data

    def forget(self) -> None:
        """Drop what was printed (long runs)."""
        self.data.clear()
        self.chunks.clear()
        self.seen = 0

    def send(self, data: str | bytes) -> None:
        """Type to the chip; takes effect as emulated time goes on, as fast as USB takes it."""
        self._queue += data.encode() if isinstance(data, str) else data
        self._pump_alarm.schedule(_FIRST_BYTE_NS)

    def drop_queue(self) -> None:
        """What was not yet taken is lost: the device left the bus."""
        self._queue.clear()

    def _pump(self) -> None:
        while self._queue and self._cdc.tx_fifo.item_count < _FIFO_ROOM:
            self._cdc.send_serial_byte(self._queue.pop(0))
        if self._queue:
            self._pump_alarm.schedule(_NEXT_BYTES_NS)

    def _received(self, data: bytes | bytearray) -> None:
        data = bytes(data)
        self.data += data
        self.chunks.append(Chunk(self._clock.nanos / 1000, data))
        for link in self.links:
            link.transmit(data)
        if self.on_data is not None:
            self.on_data()

    def descriptors(self) -> list[int]:
        """File descriptors of all links."""
        return [fd for link in self.links for fd in link.descriptors()]

    def take_input(self) -> None:
        """Queue what came in over the links."""
        for link in self.links:
            data = link.receive()
            if data:
                self.send(data)

    def close(self) -> None:
        """Close all links."""
        for link in self.links:
            link.close()
        self.links.clear()


class PtyLink:
    """A pseudo terminal that other programs open like a serial port; its name is `path`."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        # _theirs stays open: reading would fail whenever no other program has it open
        self.path = os.ttyname(self._theirs)

    def descriptors(self) -> list[int]:
        """See Link."""
        return [self._ours]

    def receive(self) -> bytes:
        """See Link."""
        try:
            return os.read(self._ours, 4096)
        except BlockingIOError:
            return b""

    def transmit(self, data: bytes) -> None:
        """See Link."""
        # when nobody reads it is lost, as on a port that is open and not listened to
        with contextlib.suppress(BlockingIOError):
            os.write(self._ours, data)

    def close(self) -> None:
        """See Link."""
        os.close(self._ours)
        os.close(self._theirs)


class TcpLink:
    """A server for one connection at a time on this machine: `socket://127.0.0.1:PORT`."""

    def __init__(self, port: int = 0) -> None:
        """`port` 0 takes any free one; `self.port` tells which."""
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        self._peer: socket.socket | None = None

    def descriptors(self) -> list[int]:
        """See Link."""
        found = [self._server.fileno()]
        return [*found, self._peer.fileno()] if self._peer else found

    def receive(self) -> bytes:
        """See Link."""
        if self._peer is None:
            try:
                self._peer, _ = self._server.accept()
            except BlockingIOError:
                return b""
            self._peer.setblocking(False)
        try:
            data = self._peer.recv(4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        return data

    def transmit(self, data: bytes) -> None:
        """See Link."""
        if self._peer is None:
            return
        try:
            self._peer.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def close(self) -> None:
        """See Link."""
        self._hang_up()
        self._server.close()


class TerminalLink:
    """Standard input by the line and standard output; `special` may take a line for itself."""

    def __init__(self, special: Callable[[str], bool]) -> None:
        """`special(line)` returns True when the line was not meant for the chip."""
        self.ended = False
        self._special = special
        self._fd = sys.stdin.fileno()
        self._line = b""

    def descriptors(self) -> list[int]:
        """See Link."""
        return [] if self.ended else [self._fd]

    def receive(self) -> bytes:
        """See Link. Called only when there is input: a terminal in line mode would block."""
        if self.ended or not select.select([self._fd], [], [], 0)[0]:
            return b""
        data = os.read(self._fd, 4096)
        if not data:
            self.ended = True
            return b""
        *lines, self._line = (self._line + data).split(b"\n")
        wanted = [line for line in lines if not self._special(line.decode(errors="replace"))]
        return b"".join(line.rstrip(b"\r") + b"\r" for line in wanted)

    def transmit(self, data: bytes) -> None:
        """See Link."""
        sys.stdout.write(data.decode(errors="replace").replace("\r\n", "\n"))
        sys.stdout.flush()

    def close(self) -> None:
        """See Link."""
