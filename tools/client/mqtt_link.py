"""Boards behind an MQTT broker. One `Broker` serves any number of them; topics: docs/mqtt.md.

Commands go out with QoS 0 and only while both the broker and the board are there: nothing may
wait in a queue and switch an outlet on later, when nobody expects it any more. The answer, found
by its id, tells whether the command arrived.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tools.client import framing
from tools.client.errors import ClientError, CommandRefused, NoAnswer, NotConnected
from tools.client.link import BACK_S

_CONNECT_S = 10.0
_KNOWN_S = 3.0  # a retained `availability` comes with the subscription
_BUSY_S = 0.3  # after "too many commands": the board lets one more through each 0.2 s
_ID = re.compile(r"[A-Za-z0-9_-]{1,24}")
_TOPICS = ("availability", "state", "event", "response", "outlet/+/state")
_KEPT = 64


@dataclass(frozen=True)
class Address:
    """The parts of `mqtt://user:password@host:port/device_id?ca=FILE` (`mqtts` for TLS)."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    device_id: str = ""
    ca: str | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """ClientError says what is wrong with an address."""
        wanted = "expected mqtt://[user:password@]host[:port][/device_id], or mqtts://"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ClientError(f"'{url}': {error}; {wanted}") from None
        device_id = parts.path.strip("/")
        options = parse_qs(parts.query)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or set(options) - {"ca"}:
            raise ClientError(f"'{url}' is no address of a broker: {wanted}")
        if device_id and not _ID.fullmatch(device_id):
            raise ClientError(
                f"'{device_id}' is no device id (letters, digits, - and _ of 1 to 24 bytes)"
            )
        tls = parts.scheme == "mqtts"
        return cls(
            host=parts.hostname,
            port=port or (8883 if tls else 1883),
            tls=tls,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            device_id=device_id,
            ca=options["ca"][0] if "ca" in options else None,
        )


@dataclass
class Heard:
    """What was heard of one board; a copy, see Broker.heard()."""

    online: bool | None = None  # None: nothing known yet
    state: dict[str, Any] | None = None  # the last message on `state`
    state_at: float = 0.0  # time.monotonic() of that
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    events_heard: int = 0  # so many in all; the newest of them are in `events`
    newest: int = -1
    restarts: int = 0


class Broker:
    """A connection to a broker and what it says of the boards behind it."""

    def __init__(self, address: Address | str, timeout_s: float = _CONNECT_S) -> None:
        """Connect and subscribe. NotConnected with a sentence when that cannot be.

        With a device id in the address only that board is listened to, else all.
        """
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.name = f"{self.address.host}:{self.address.port}"
        self._changed = threading.Condition()
        self._boards: dict[str, Heard] = {}
        self._waiting: dict[str, dict[str, Any] | None] = {}
        self._up = False
        self._refused = ""
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 8)
        if self.address.user:
            self._client.username_pw_set(self.address.user, self.address.password)
        self._open(timeout_s)

    def _open(self, timeout_s: float) -> None:
        try:
            if self.address.tls:
                self._client.tls_set(ca_certs=self.address.ca)
            self._client.connect_timeout = timeout_s
            self._client.connect(self.address.host, self.address.port, keepalive=30)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise NotConnected(f"no MQTT broker at {self.name}: {error}") from error
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._up or self._refused, timeout_s)
            reason = self._refused or ("" if self._up else "it does not answer")
        if reason:
            self.close()
            raise NotConnected(f"the MQTT broker at {self.name} lets nobody in: {reason}")

    # -- paho's thread -----------------------------------------------------------------------

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            with self._changed:
                self._refused = str(reason)
                self._changed.notify_all()
            return
        who = self.address.device_id or "+"
        client.subscribe([(f"tailgate/{who}/{topic}", 1) for topic in _TOPICS])

    def _on_subscribe(self, *_: Any) -> None:
        with self._changed:
            self._up = True
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self._up = False
            # what they said while nobody listened is not known
            for heard in self._boards.values():
                heard.online = None
            self._changed.notify_all()

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        parts = message.topic.split("/", 2)
        if len(parts) != 3 or parts[0] != "tailgate" or not _ID.fullmatch(parts[1]):
            return
        with self._changed:
            heard = self._boards.setdefault(parts[1], Heard())
            self._take(heard, parts[2], message.payload)
            self._changed.notify_all()

    def _take(self, heard: Heard, topic: str, payload: bytes) -> None:
        if topic == "availability":
            online = payload == b"online"
            if online and heard.online is False:
                heard.restarts += 1
            heard.online = online
            return
        try:
            body = json.loads(payload)
        except (ValueError, RecursionError):
            return  # somebody else's message on a topic of ours
        if not isinstance(body, dict):
            return
        if topic == "state":
            heard.state = body
            heard.state_at = time.monotonic()
            self._newer(heard, body.get("last_event"))
        elif topic == "event":
            heard.events.append(body)
            heard.events_heard += 1
            if body.get("event") == "boot":
                heard.restarts += 1
            self._newer(heard, body.get("seq"))
        elif topic == "response":
            ident = body.get("id")
            if isinstance(ident, str) and ident in self._waiting:
                self._waiting[ident] = body

    @staticmethod
    def _newer(heard: Heard, seq: object) -> None:
        if isinstance(seq, int):
            heard.newest = max(heard.newest, seq)

    # -- everybody's -------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """True while the broker is there."""
        return self._up

    def devices(self, wait_s: float = 0.0) -> dict[str, bool | None]:
        """Boards heard of and whether they are online (None: not known), by id.

        With `wait_s`, waits up to so long for the first one, and a little for the others.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._boards, wait_s)
        if wait_s:
            time.sleep(min(0.5, wait_s))  # retained messages of the others come right behind
        with self._changed:
            return {name: self._boards[name].online for name in sorted(self._boards)}

    def heard(self, device_id: str) -> Heard:
        """A copy of what was heard of a board."""
        with self._changed:
            now = self._boards.get(device_id) or Heard()
            return replace(now, events=deque(now.events, maxlen=_KEPT))

    def wait(self, seconds: float, good: Callable[[], bool]) -> bool:
        """Wait until `good()` is true, which is asked after each message."""
        with self._changed:
            return self._changed.wait_for(good, seconds)

    def ask(self, device_id: str, name: str, args: Sequence[str], timeout_s: float) -> Any:
        """Send a command and return the body of its response, None when none came."""
        ident = "client-" + secrets.token_hex(8)
        # not escaped: MicroPython does not put halves of surrogate pairs together
        request = {"id": ident, "cmd": name, "args": list(args)}
        body = json.dumps(request, ensure_ascii=False)
        with self._changed:
            self._waiting[ident] = None
        try:
            # QoS 0: what cannot go out now must not go out later
            info = self._client.publish(f"tailgate/{device_id}/command", body, qos=0)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                raise NotConnected(f"the MQTT broker at {self.name} is away")
            with self._changed:
                self._changed.wait_for(lambda: self._waiting[ident] is not None, timeout_s)
                return self._waiting[ident]
        finally:
            with self._changed:
                del self._waiting[ident]

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect()
        self._client.loop_stop()


class MqttLink:
    """See Link: one board behind a broker."""

    pause_s = 0.25  # the board obeys five commands a second

    def __init__(
        self, broker: Broker, device_id: str, *, back_s: float = BACK_S, own: bool = False
    ) -> None:
        """`own`: closing the link closes the broker's connection too."""
        self.name = f"{device_id} at {broker.name}"
        self._broker = broker
        self._id = device_id
        self.back_s = back_s
        self._own = own
        self._closed = False
        self._lock = threading.RLock()

    def request(
        self, name: str, args: Sequence[str], timeout_s: float, repeat: bool
    ) -> dict[str, Any]:
        """See Link."""
        framing.line(name, args)  # the same words are possible on both ways, or on neither
        words = " ".join([name, *args])
        with self._lock:
            until = time.monotonic() + timeout_s
            while True:
                self._ready()
                body = self._broker.ask(self._id, name, args, until - time.monotonic())
                if body is None:
                    if repeat:
                        repeat = False
                        until = time.monotonic() + timeout_s
                        continue
                    raise NoAnswer(
                        f"no answer from {self.name} to `{words}` within {timeout_s:g} s; "
                        "whether it was obeyed is not known"
                    )
                result = body.get("result")
                result = result if isinstance(result, dict) else {}
                if body.get("ok") is True:
                    return result
                reason = str(body.get("error", "refused without a reason"))
                if reason.startswith("too many commands") and time.monotonic() + _BUSY_S < until:
                    time.sleep(_BUSY_S)  # it was not looked at: asking again is no second time
                    continue
                raise CommandRefused(words, reason, result)

    def check(self) -> None:
        """NotConnected when the broker has never heard of the board; it may be offline now."""
        if not self._broker.wait(_KNOWN_S, lambda: self._id in self._broker.devices()):
            raise self._unheard()

    def _unheard(self) -> NotConnected:
        broker = self._broker
        boards = ""
        if not broker.address.device_id:
            boards = f" (boards: {', '.join(broker.devices()) or 'none'})"
        return NotConnected(f"the broker at {broker.name} has not heard of {self._id}{boards}")

    def _ready(self) -> None:
        """Broker and board there; waits for either that went away. NotConnected."""
        if self._closed:
            raise NotConnected(f"the connection to {self.name} was closed")
        broker = self._broker

        def there() -> bool:
            return broker.connected and broker.heard(self._id).online is True

        def decided() -> bool:
            return there() or (broker.connected and broker.heard(self._id).online is False)

        if not broker.wait(_KNOWN_S, decided) and broker.connected:
            raise self._unheard()
        if not broker.wait(self.back_s, there):
            if not broker.connected:
                raise NotConnected(f"the MQTT broker at {broker.name} is away")
            raise NotConnected(f"{self._id} is offline, says the broker at {broker.name}")

    def heard(self) -> tuple[int, int]:
        """See Link."""
        heard = self._broker.heard(self._id)
        return heard.newest, heard.restarts

    def wait(self, seconds: float, known: tuple[int, int]) -> bool:
        """See Link."""
        return self._broker.wait(seconds, lambda: self.heard() != known)

    def close(self) -> None:
        """See Link."""
        self._closed = True
        if self._own:
            self._broker.close()
