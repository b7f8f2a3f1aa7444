# A broker in the chip's own memory, for the instrumented image: the Pico has no radio, and what
# MQTT costs the other lanes is the client's work. It stands in for `socket`.
# Loaded by instrumented_main.py when a bench asks for it; never part of what is deployed.
#
# It does what keeps a board busy: more commands than are obeyed, what is no command at all, an
# end of the connection each four seconds; when told so, requests for long answers, and in place
# of TLS a handshake that keeps Python as long as the Pico W's does (0.82 s measured). It also
# takes the time of each turn of MQTT's tasks.

import asyncio
import gc
import io
import sys
import time

_BASE = b"tailgate/"
_CONNECTION_MS = 4000
_COMMAND_MS = 40
_COLLECT_MS = 200
_HANDSHAKE_MS = 820
_OUT = 4096
_LONG = 2048  # what is longer comes in pieces
_POLL = 3  # MP_STREAM_POLL
_IN = 1
_FREE = 4
_ORDERS = (
    b'{"id":%d,"cmd":"set","args":["mqtt.interval_s",1]}',
    b'{"id":%d,"cmd":"on","args":["cabin1"]}',
    b'{"id":%d,"cmd":"off","args":["cabin1"]}',
    b'{"id":%d,"cmd":"on","args":["nothing"]}',
    b'{"id":%d,"cmd":"version"}',
    b'{"id":%d,"cmd":"set","args":["bed1.limit_a",500]}',
    b'{"id":%d,"cmd":"version","args":[[]]}',
    b"[%d, no JSON",
)
_QUESTIONS = (
    b'{"id":%d,"cmd":"status"}',
    b'{"id":%d,"cmd":"energy"}',
    b'{"id":%d,"cmd":"get"}',
    b'{"id":%d,"cmd":"events","args":["16"]}',
    b'{"id":%d,"cmd":"outlets"}',
    b'{"id":%d,"cmd":"settings","args":["export"]}',
    b'{"id":%d,"cmd":"help"}',
    b'{"id":%d,"cmd":"mode"}',
    b'{"id":%d,"cmd":"get","args":["bed1.limit_a"]}',
)

AF_INET = 2
SOCK_STREAM = 1
count = {"connections": 0, "messages": 0, "published": 0, "bytes": 0, "handshakes": 0}
turn_us = 0  # longest turn of one of MQTT's tasks
_since = 0  # when the one began that is under way
_ours = False  # whether one is: others, such as storage, breathe, too
_open = None  # the connection that the user writes to
_device = b""


def getaddrinfo(host, port, family=0, kind=0):
    return [(AF_INET, SOCK_STREAM, 0, "", (host, port))]


class socket(io.IOBase):
    """Both ends of a connection: what is written is answered as a broker would."""

    def __init__(self, *kind):
        self._in = bytearray()
        self._out = bytearray()
        self._skip = 0  # bytes of a long message that are still to come
        self.ready = False  # the client has said CONNECT
        self.ended = False

    def setblocking(self, on):
        pass

    def setsockopt(self, *option):
        pass

    def connect(self, address):
        global _open
        _open = self
        count["connections"] += 1

    def close(self):
        self.ended = True

    def ioctl(self, request, flags):
        if request != _POLL:
            return 0
        return flags & (_FREE | (_IN if self._out or self.ended else 0))

    def readinto(self, buffer):
        if self._out:
            n = min(len(buffer), len(self._out))
            buffer[:n] = self._out[:n]
            self._out = self._out[n:]
            return n
        return 0 if self.ended else None

    def write(self, data):
        count["bytes"] += len(data)
        n = len(data)
        skipped = min(n, self._skip)
        self._skip -= skipped
        self._in.extend(data[skipped:])
        self._serve()
        return n

    def say(self, data):
        if len(self._out) < _OUT:
            self._out.extend(data)

    def _serve(self):
        data = self._in
        at = 0
        while len(data) - at > 1:
            length = shift = 0
            i = at + 1
            while i < len(data):
                length |= (data[i] & 127) << shift
                shift += 7
                i += 1
                if data[i - 1] < 128:
                    break
            else:
                break
            if i + length > len(data):
                if length > _LONG:  # QoS 0, so nobody waits for an answer
                    self._skip = i + length - len(data)
                    count["published"] += 1
                    at = len(data)
                break
            self._packet(data[at], i)
            at = i + length
        self._in = data[at:]

    def _packet(self, first, at):
        data = self._in
        kind = first >> 4
        if kind == 1:
            self.say(b"\x20\x02\x00\x00")
            self.ready = True
        elif kind == 8:
            self.say(b"\x90\x05" + data[at : at + 2] + b"\x01\x01\x00")
        elif kind == 12:
            self.say(b"\xd0\x00")
        elif kind == 3:
            count["published"] += 1
            if first & 6:
                at += 2 + (data[at] << 8 | data[at + 1])
                self.say(b"\x40\x02" + data[at : at + 2])


class _Handshake:
    """A TLS context whose handshake takes as long as one."""

    def wrap_socket(self, sock, **options):
        count["handshakes"] += 1
        time.sleep_ms(_HANDSHAKE_MS)
        return sock


class _Asyncio:
    """asyncio for lib/mqtt.py, with the turns of its tasks timed."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    def create_task(self, coro):
        return asyncio.create_task(_timed(coro))


def _until_now():
    global turn_us
    if _ours:
        turn_us = max(turn_us, time.ticks_diff(time.ticks_us(), _since))


def _breathing(breathe):
    """App.breathe(), which ends a turn as far as the control lane is concerned."""

    def turn():
        global _since
        _until_now()
        breathe()
        _since = time.ticks_us()

    return turn


def _timed(coro):
    global _since, _ours
    error = None
    while True:
        _since = time.ticks_us()
        _ours = True
        try:
            if error is None:
                coro.send(None)
            else:
                coro.throw(error)
        except StopIteration:
            return
        finally:
            _until_now()
            _ours = False
        error = None
        try:
            yield
        except BaseException as e:  # a task that is cancelled
            error = e


def _publish(topic, payload, number):
    topic = _device + topic
    size = 4 + len(topic) + len(payload)
    start = bytes((0x32, size & 127 | 128, size >> 7)) if size > 127 else bytes((0x32, size))
    name = bytes((len(topic) >> 8, len(topic) & 255)) + topic
    return start + name + bytes((number >> 8 & 127, number & 255 | 1)) + payload


async def _user(asks):
    """All that comes in, without a pause, and the restarts of the broker."""
    number = 0
    since = time.ticks_ms()
    while True:
        await asyncio.sleep_ms(_COMMAND_MS)
        line = _open
        if line is None or line.ended or not line.ready:
            since = time.ticks_ms()
            continue
        number += 1
        if number & 3 == 0:
            line.say(_publish(b"outlet/bed2/set", b"RESET", number))
        else:
            line.say(_publish(b"command", asks[number % len(asks)] % number, number))
        count["messages"] += 1
        if time.ticks_diff(time.ticks_ms(), since) > _CONNECTION_MS:
            line.ended = True


async def _collect():
    """So often that none is due in a turn that is timed."""
    while True:
        gc.collect()
        await asyncio.sleep_ms(_COLLECT_MS)


def start(app, words):
    """MQTT at this broker from now on. Words: `on`; `look`: long answers are asked for;
    `tls`: with what stands for TLS; `apart`: collections have their own turns."""
    global _device
    from firmware import pieces
    from firmware.interfaces.mqtt import Mqtt
    from lib import mqtt

    app.breathe = _breathing(app.breathe)
    pieces.serve(app.breathe)
    mqtt.tls_context = lambda *files: _Handshake()
    mqtt.asyncio = _Asyncio()
    _device = _BASE + app.device_id.encode() + b"/"
    app.settings.set("mqtt.host", "127.0.0.1")
    app.settings.set("mqtt.tls", "tls" in words)
    app.mqtt = Mqtt(app)
    asks = _QUESTIONS if "look" in words else _ORDERS
    tasks = [mqtt.asyncio.create_task(app.mqtt.run()), asyncio.create_task(_user(asks))]
    if "apart" in words:
        tasks.append(asyncio.create_task(_collect()))
    return tasks


class _Socket:
    """The module `socket`: the names above. (In main.py of stock.py they are in no module.)"""

    def __getattr__(self, name):
        if name not in globals():
            raise AttributeError(name)
        return globals()[name]


sys.modules["socket"] = _Socket()
