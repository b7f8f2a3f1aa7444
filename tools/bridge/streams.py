"""What lib/mqtt.py needs of MicroPython, on CPython: non-blocking streams, TLS, sleep_ms.

`install()` puts it in place, once in a process; called by __main__.py before the first client.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tools import cpython
from tools.progress import ToolError

_PLENTY = 1 << 30  # bytes
# A command of 1024 brackets is no JSON; it must not be called a mistake of ours.
_RECURSION = 4000


class Stream:
    """As much of MicroPython's non-blocking socket as lib/mqtt.py uses."""

    def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, raw: Any = None) -> None:
        self._raw = raw if raw is not None else socket.socket(family, kind, proto)
        self._turn: bool | None = None  # TLS waits for another direction than was asked for
        self._fresh = raw is None
        self._waiters: dict[bool, list[asyncio.Future[None]]] = {False: [], True: []}

    def setblocking(self, flag: bool) -> None:
        """See socket."""
        self._raw.setblocking(flag)

    def setsockopt(self, *words: Any) -> None:
        """See socket."""
        self._raw.setsockopt(*words)

    def connect(self, address: Any) -> None:
        """Begin to connect; OSError (in progress) as a rule."""
        self._raw.connect(address)

    def readinto(self, data: Any) -> int | None:
        """Bytes read; None: nothing there yet; 0: the other side has closed."""
        return self._try(self._raw.recv_into, data)

    def write(self, data: Any) -> int | None:
        """Bytes taken; None: none now."""
        return self._try(self._raw.send, data)

    def _try(self, call: Any, data: Any) -> int | None:
        self._turn = None
        try:
            return int(call(data))
        except ssl.SSLWantReadError:
            self._turn = False
        except ssl.SSLWantWriteError:
            self._turn = True
        except ssl.SSLZeroReturnError:
            return 0
        except BlockingIOError:
            pass
        return None

    def close(self) -> None:
        """Let go of it; whoever waits for it is to be cancelled by its owner."""
        for writing, waiters in self._waiters.items():
            if waiters:
                waiters.clear()
                self._unwatch(writing)
        self._raw.close()

    async def wait(self, writing: bool) -> None:
        """Until it can be read or written; OSError when connecting has failed."""
        if self._turn is not None:
            writing, self._turn = self._turn, None
        loop = asyncio.get_running_loop()
        waiters = self._waiters[writing]
        future: asyncio.Future[None] = loop.create_future()
        waiters.append(future)
        if len(waiters) == 1:
            watch = loop.add_writer if writing else loop.add_reader
            watch(self._raw.fileno(), self._wake, writing)
        try:
            await future
        finally:
            if future in waiters:
                waiters.remove(future)
                if not waiters:
                    self._unwatch(writing)
        if self._fresh:
            self._fresh = False
            number = self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))

    def _unwatch(self, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        (loop.remove_writer if writing else loop.remove_reader)(self._raw.fileno())

    def _wake(self, writing: bool) -> None:
        waiters = self._waiters[writing]
        for future in waiters:
            if not future.done():
                future.set_result(None)
        waiters.clear()
        self._unwatch(writing)

    def under(self, context: ssl.SSLContext, server_name: str) -> Stream:
        """The same connection with TLS on top; the handshake comes with the first bytes."""
        raw = context.wrap_socket(
            self._raw, server_hostname=server_name, do_handshake_on_connect=False
        )
        return Stream(raw=raw)


@dataclass(frozen=True)
class Broker:
    """Where the broker is, and who we are there. `tls`: encrypt; `ca`: file with the certificates
    to trust, empty: the system's; `cert` and `key`: files with our own, both or none."""

    host: str
    port: int = 1883
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> TlsContext | None:
        """What encrypts; None without TLS. ToolError when the files cannot be used."""
        if not self.tls:
            return None
        if bool(self.cert) != bool(self.key):
            raise ToolError("--tls-cert and --tls-key go together: one of them is missing")
        try:
            found = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                found.load_cert_chain(self.cert, self.key)
        except (OSError, ValueError) as error:
            names = ", ".join(name for name in (self.ca, self.cert, self.key) if name)
            raise ToolError(f"TLS: {names or 'the system'} cannot be used: {error}") from error
        return TlsContext(found)


class TlsContext:
    """As much of MicroPython's tls.SSLContext as lib/mqtt.py uses."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, stream: Stream, server_hostname: str, **_: Any) -> Stream:
        """See ssl.SSLContext."""
        return stream.under(self._context, server_hostname)


def install(broker: Broker) -> None:
    """Have lib/mqtt.py run here, for this broker. ToolError when its TLS files cannot be used."""
    cpython.install()
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION))
    if not hasattr(asyncio, "sleep_ms"):
        asyncio.sleep_ms = lambda ms: asyncio.sleep(ms / 1000)  # type: ignore[attr-defined]
    from firmware import pieces
    from lib import mqtt as library

    context = broker.context()
    pieces.drop = lambda *names: None  # other boards' threads may be using it
    library.tls_context = lambda *_: context
    library.socket = SimpleNamespace(  # type: ignore[assignment]
        socket=Stream, getaddrinfo=socket.getaddrinfo, SOCK_STREAM=socket.SOCK_STREAM
    )
    library.gc = SimpleNamespace(collect=lambda: 0, mem_free=lambda: _PLENTY)  # type: ignore[assignment]
    library._readable = lambda stream: stream.wait(False)
    library._writable = lambda stream: stream.wait(True)
