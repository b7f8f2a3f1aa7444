"""The fleet's members: clients that speak as the firmware does, all in one loop.

Called by run.py. Sockets are paho's; one selector serves them all, because a thread for each
would measure Python's threads.
"""

from __future__ import annotations

import contextlib
import json
import random
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho

from tools.fleet.record import Recording

# as lib/mqtt.py: the first pause after a failure, the longest while the broker is away, keep-alive
_RETRY_S = (0.5, 3.0)
_KEEPALIVE_S = 20
_MISC_S = 1.0
_WAIT_S = 0.02
_READS = 200


class Loop:
    """One selector for many paho clients."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._clients: list[paho.Client] = []
        self._progress: dict[paho.Client, Callable[[], int]] = {}
        self._misc_at = 0.0

    def add(self, client: paho.Client, progress: Callable[[], int] | None = None) -> None:
        """`progress()`: how many messages it has received, for one that receives a great many."""
        self._clients.append(client)
        if progress:
            self._progress[client] = progress
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._wants_write
        client.on_socket_unregister_write = self._wants_no_write

    def _opened(self, client: paho.Client, _data: Any, sock: Any) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _closed(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def _wants_write(self, client: paho.Client, _data: Any, sock: Any) -> None:
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        with contextlib.suppress(KeyError, ValueError):
            self._selector.modify(sock, both, client)

    def _wants_no_write(self, client: paho.Client, _data: Any, sock: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.modify(sock, selectors.EVENT_READ, client)

    def turn(self, wait_s: float = _WAIT_S) -> None:
        """Serve whatever is ready; returns after `wait_s` when nothing is."""
        for key, mask in self._selector.select(wait_s):
            client = key.data
            if mask & selectors.EVENT_READ:
                client.loop_read()  # paho takes one packet at a time
                progress = self._progress.get(client)
                if progress:
                    self._read_on(client, progress)
            if mask & selectors.EVENT_WRITE and client.want_write():
                client.loop_write()
        now = time.monotonic()
        if now - self._misc_at > _MISC_S:
            self._misc_at = now
            for client in self._clients:
                client.loop_misc()

    @staticmethod
    def _read_on(client: paho.Client, progress: Callable[[], int]) -> None:
        """All that is there, within reason: else it would wait here, and look like latency."""
        for _ in range(_READS):
            before = progress()
            client.loop_read()
            if progress() == before:
                return

    def close(self) -> None:
        self._selector.close()


class Member:
    """One controller. `sent`: {uptime: when} of its state messages; `late`: how much later than
    they were due, s each; `skipped`: states for which there was no time; `events`: numbers sent.
    """

    def __init__(
        self,
        number: int,
        recording: Recording,
        broker: tuple[str, int],
        interval_s: float,
        chance: random.Random,
    ) -> None:
        self.device_id = f"fleet-{number:05d}"
        self.recording = recording
        self.sent: dict[int, float] = {}
        self.late: list[float] = []
        self.skipped = 0
        self.events = 0
        self.answered = 0
        self.connected = False
        self.connects = 0
        self._broker = broker
        self._interval_s = interval_s
        self._uptime = 0
        self._chance = chance
        self._due = self._event_due = 0.0
        self._retry_at = time.monotonic() + chance.uniform(0, 2)
        self._retry_s = _RETRY_S[0]
        self._on = False
        self._taken_back: list[paho.MQTTMessageInfo] = []
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=self.device_id, clean_session=True
        )
        client.will_set(self._topic("availability"), "offline", 1, True)
        client.max_inflight_messages_set(100)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        self.client = client

    def _topic(self, rest: str) -> str:
        return f"tailgate/{self.device_id}/{rest}"

    def _full(self, topic: str) -> str:
        """A recorded topic as this member's."""
        if topic.startswith("homeassistant/"):
            return topic.replace(self.recording.device_id, self.device_id)
        return self._topic(topic)

    def _own(self, payload: bytes) -> bytes:
        return payload.replace(self.recording.device_id.encode(), self.device_id.encode())

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, code: Any, _p: Any
    ) -> None:
        if code.is_failure:
            return
        self.connected = True
        self.connects += 1
        self._retry_s = _RETRY_S[0]
        own = [(self._topic("command"), 1), (self._topic("outlet/+/set"), 1)]
        client.subscribe([*own, ("homeassistant/status", 0)])
        for message in self.recording.greeting:
            payload = self._own(message.payload)
            client.publish(self._full(message.topic), payload, message.qos, message.retain)

    def _on_disconnect(self, *_: Any) -> None:
        self.connected = False
        self._retry_at = time.monotonic() + self._retry_s * self._chance.uniform(0.75, 1.25)
        self._retry_s = min(self._retry_s * 2, _RETRY_S[1])

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/command"):
            answer = dict(self.recording.response)
            with contextlib.suppress(ValueError, AttributeError):
                answer["id"] = json.loads(message.payload).get("id")
            client.publish(self._topic("response"), json.dumps(answer), 1)
            self.answered += 1

    def begin(self, now: float) -> None:
        """From now on it talks; spread, because boards do not start in the same moment."""
        self._due = now + self._chance.uniform(0, self._interval_s)
        self._event_due = now + self._chance.uniform(1, 20)

    def turn(self, now: float, talking: bool) -> None:
        """Connect, report, and now and then let something happen."""
        if not self.connected:
            if now >= self._retry_at:
                self._retry_at = now + 10  # until it has succeeded or failed
                try:
                    self.client.connect(*self._broker, keepalive=_KEEPALIVE_S)
                except OSError:
                    self._on_disconnect()
            if not talking:
                return
        if not talking:
            return
        if now >= self._due:
            late = now - self._due
            missed = int(late / self._interval_s)
            self._due += self._interval_s * (missed + 1)
            self._uptime += 1
            if self.connected:
                self.late.append(late)
                self.skipped += missed
                state = dict(self.recording.state)
                state["device"] = self.device_id
                state["uptime_s"] = self._uptime
                state["last_event"] = self.events
                payload = json.dumps(state, separators=(",", ":"))
                self.sent[self._uptime] = time.monotonic()
                self.client.publish(self._topic("state"), payload, 0)
        if now >= self._event_due:
            self._event_due = now + self._chance.uniform(5, 20)
            self.events += 1
            event = dict(self.recording.event)
            event["seq"] = self.events
            # QoS 1: kept through an outage, and sent again, by the library
            self.client.publish(self._topic("event"), json.dumps(event, separators=(",", ":")), 1)
            self._on = not self._on
            switched = self.recording.switched[0 if self._on else 1]
            if self.connected:
                self.client.publish(self._topic(switched.topic), switched.payload, 1, True)

    def forget(self) -> None:
        """Take back what the broker has kept: it may be one that is used for something else."""
        if self.connected:
            self._taken_back = [
                self.client.publish(self._full(message.topic), b"", 1, True)
                for message in self.recording.greeting
                if message.retain
            ]

    def forgotten(self) -> bool:
        """Whether the broker has acknowledged that."""
        return not self.connected or all(said.is_published() for said in self._taken_back)

    def leave(self) -> None:
        """As a planned end."""
        if self.connected:
            self.client.disconnect()


def serve(loop: Loop, seconds: float, turn: Callable[[float], bool]) -> None:
    """Run the loop for `seconds`, or until `turn(now)` is true."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if turn(now):
            return
        loop.turn()
