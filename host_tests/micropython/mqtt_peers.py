"""The other ends of a connection, for the MQTT tests: a client, a bad server, a bad line."""

from __future__ import annotations

import abc
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho

LOOPBACK = "127.0.0.1"
CONNACK = b"\x20\x02\x00\x00"


class Peer:
    """paho-mqtt, a client that no one here wrote. `messages`: (topic, text, retained) received;
    `qualities`: with which QoS, by topic."""

    def __init__(self, port: int, *topics: str, client_id: str = "", clean: bool = True) -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self.qualities: dict[str, set[int]] = {}
        self._subscribed = threading.Event()
        self._topics = topics
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean
        )
        self.client.reconnect_delay_set(0.1, 0.5)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._message
        self.client.connect(LOOPBACK, port, keepalive=30)
        self.client.loop_start()
        if topics:
            assert self._subscribed.wait(10), "the peer could not subscribe"

    def _connected(self, client: paho.Client, *_: Any) -> None:
        if self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        text = message.payload.decode("utf-8", "replace")
        self.qualities.setdefault(message.topic, set()).add(message.qos)
        self.messages.append((message.topic, text, bool(message.retain)))

    def publish(
        self, topic: str, payload: str | bytes, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish and, with QoS 1, wait for the broker's acknowledgement."""
        self.client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def texts(self, topic: str) -> list[str]:
        """Payloads received on a topic so far."""
        return [text for name, text, _ in list(self.messages) if name == topic]

    def wait(self, good: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """What `good()` returns as soon as that is true."""
        deadline = time.monotonic() + timeout_s
        while True:
            result = good()
            if result:
                return result
            last = [(t, text[:120]) for t, text, _ in self.messages[-10:]]
            assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {last}"
            time.sleep(0.01)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Listener(abc.ABC):
    """A loopback port whose connections are each handled in a thread."""

    def __init__(self) -> None:
        self._server = socket.create_server((LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self._open.append(sock)
            number = self.connections
            self.connections += 1
            threading.Thread(target=self._guard, args=(sock, number), daemon=True).start()

    def _guard(self, sock: socket.socket, number: int) -> None:
        try:
            self.handle(sock, number)
        except OSError:
            sock.close()

    @abc.abstractmethod
    def handle(self, sock: socket.socket, number: int) -> None:
        """Serve one connection."""

    def close(self) -> None:
        for sock in [self._server, *self._open]:
            with contextlib.suppress(OSError):
                sock.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Proxy(_Listener):
    """A line to a broker. `freeze()`: nothing passes any more, in either direction, and nothing is
    closed, as when a router is switched off; connections made later pass. `cut()`: all connections
    are reset, wherever they are just then."""

    def __init__(self, port: int, slow_bytes: int = 0) -> None:
        """`slow_bytes`: pass as many bytes at a time, each after a pause of 1 ms; 0: no limit."""
        self._broker = port
        self._slow = slow_bytes
        self._frozen_below = 0
        super().__init__()

    def freeze(self) -> None:
        self._frozen_below = self.connections

    def cut(self) -> None:
        found, self._open = self._open, []
        for sock in found:
            with contextlib.suppress(OSError):
                # an end without a goodbye: what is on its way is lost
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                sock.close()

    def handle(self, sock: socket.socket, number: int) -> None:
        far = socket.create_connection((LOOPBACK, self._broker))
        self._open.append(far)
        other = threading.Thread(target=self._pass, args=(far, sock, number), daemon=True)
        other.start()
        self._pass(sock, far, number)

    def _pass(self, near: socket.socket, far: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(self._slow or 4096):
                if self._slow:
                    time.sleep(0.001)
                if number >= self._frozen_below:
                    far.sendall(data)
        if number >= self._frozen_below:
            for sock in (near, far):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class Scripted(Proxy):
    """A server that plays `scripts[n]` on its n-th connection, and is a line to a real broker once
    they are used up. A script gets the socket with the client's CONNECT already read into
    `self.hellos`; the connection is closed when it returns, unless it returns True."""

    def __init__(self, port: int, *scripts: Callable[[socket.socket], Any]) -> None:
        self._scripts = scripts
        self.hellos: list[bytes] = []
        super().__init__(port)

    def handle(self, sock: socket.socket, number: int) -> None:
        if number >= len(self._scripts):
            super().handle(sock, number)
            return
        self.hellos.append(sock.recv(1024))
        if not self._scripts[number](sock):
            sock.close()


def say(data: bytes) -> Callable[[socket.socket], Any]:
    """A script that sends `data`, gives the client time to read it, and hangs up."""

    def script(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.settimeout(0.05)
        with contextlib.suppress(OSError):
            while sock.recv(1024):
                pass

    return script


def publish(topic: str, payload: bytes, flags: int = 0, pid: int = 0) -> bytes:
    """A PUBLISH packet: `flags` 8 DUP, 2 QoS 1, 1 retained."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name
    if flags & 6:
        body += pid.to_bytes(2, "big")
    body += payload
    length, start = len(body), bytes([0x30 | flags])
    while length > 127:
        start += bytes([length & 127 | 128])
        length >>= 7
    return start + bytes([length]) + body
