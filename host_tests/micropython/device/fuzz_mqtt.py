# Feeds lib/mqtt.py with packets that no broker should send, on the real unix port; called by
# test_mqtt_fuzz.py: `fuzz_mqtt.py SEED PACKETS` prints what happened as JSON. Any exception but
# the library's own ends it, and so does memory that grows, or anything that reaches the
# application and is not what a second reading of the same bytes, made for clearness, gives.

import asyncio
import gc
import json
import random
import sys

from lib import mqtt

_RX = 160  # small, so that many packets are longer than the buffer
_CHUNK = 256  # what the client reads at once
_LOOK = 2000  # packets between two looks at the memory
_GROWTH = 2048  # bytes: the text of the last error, holes that a ring leaves
_OUTGOING = (3, 4, 8, 12)  # PUBLISH, PUBACK, SUBSCRIBE, PINGREQ

GOOD = (
    b"\x20\x02\x00\x00",
    b"\x20\x02\x01\x00",
    b"\x20\x02\x00\x05",
    b"\x30\x0b\x00\x03t/abcdefg",
    b"\x31\x08\x00\x03t/aON!",
    b"\x32\x0d\x00\x05t/set\x12\x34ON\x00\xff",
    b"\x3b\x0b\x00\x05t/set\x00\x07{}",
    b'\x32\x20\x00\x05t/cmd\x00\x09{"id":1,"cmd":"status"}',
    b"\x40\x02\x00\x01",
    b"\x90\x04\x00\x01\x01\x80",
    b"\xd0\x00",
    b"\x62\x02\x00\x01",
    b"\x30\x04\x00\x02\xff\xfe",
)
FIRSTS = b"\x00\x10\x20\x30\x31\x32\x33\x34\x36\x38\x3a\x3b"
FIRSTS += b"\x40\x50\x62\x70\x82\x90\xb0\xc0\xd0\xe0\xf0\xff"


def below(n):
    return random.getrandbits(16) % n


def noise(n):
    return bytes(random.getrandbits(8) for _ in range(n))


def varint(n):
    out = bytearray()
    while True:
        out.append(n & 127 | (128 if n > 127 else 0))
        n >>= 7
        if not n:
            return bytes(out)


def mutated():
    """A good packet with some bytes changed, cut, doubled or put in."""
    data = bytearray(GOOD[below(len(GOOD))])
    for _ in range(below(5)):
        at = below(len(data))
        what = below(5)
        if what == 0:
            data[at] = random.getrandbits(8)
        elif what == 1:
            data[at] ^= 1 << below(8)
        elif what == 2 and at:
            data = data[:at]
        elif what == 3:
            data[at:at] = noise(below(6))
        else:
            data[at:at] = data[at : at + below(9)]
    return data


def built():
    """A packet with a right frame and any content, or a length that lies."""
    body = noise(below(40))
    if below(2):
        topic = (b"t/set", b"", b"t/\xc3\xbc", b"\xff\xff", b"x" * 157, b"x" * 200)[below(6)]
        body = bytes((len(topic) >> 8, len(topic) & 255)) + topic + body
    if not below(8):
        body += bytes(below(400))
    length = len(body)
    if not below(4):
        length = (0, 1, length + 1, max(0, length - 1), 65535, 2097152, 268435455)[below(7)]
    return FIRSTS[below(len(FIRSTS)) :][:1] + varint(length) + body


def packet(last_pid):
    """Some that are good in between, so that a connection gets further: a message, or an
    acknowledgement of one of the last publications."""
    what = below(12)
    if what < 2:
        return GOOD[4 + below(3)]
    if what < 4:
        pid = max(0, last_pid - below(4))
        return bytes((0x40, 2, pid >> 8, pid & 255))
    return mutated() if what < 8 else built() if what < 11 else noise(1 + below(60))


def reading(stream):
    """What these bytes of one connection mean: what the application is told, in order, and whether
    the connection has to end with them."""
    told = []
    up = False
    at = 0
    while at < len(stream):
        first = stream[at]
        at += 1
        length = shift = 0
        while True:
            if at >= len(stream):
                return told, False
            byte = stream[at]
            at += 1
            length += (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift == 28:
                return told, True
        if at + length > len(stream):
            return told, False
        body = bytes(stream[at : at + length])
        at += length
        if not up:
            if first != 0x20 or length != 2 or body[1]:
                return told, True
            up = True
            told.append(bool(body[0] & 1))
        elif first & 0xF0 == 0x30:
            qos = first >> 1 & 3
            size = body[0] * 256 + body[1] if length > 1 else 65536
            begin = 2 + size + (2 if qos else 0)
            if qos > 1 or length < 2 or begin > length:
                return told, True
            if begin > _RX:
                continue
            try:
                topic = body[2 : 2 + size].decode()
            except UnicodeError:
                continue
            if length > _RX:
                told.append((topic, length - begin))
            else:
                told.append((topic, body[begin:], first & 1, first & 8, qos))
        elif (first, length) not in ((0x40, 2), (0x90, 4), (0xD0, 0)):
            return told, True
    return told, False


class Fuzz:
    def __init__(self):
        self.client = mqtt.Client(
            "127.0.0.1",
            1883,
            "fuzz",
            subscribe=[("t/set", 1), ("t/cmd", 1)],
            on_message=self.message,
            on_oversize=self.oversize,
            on_connect=self.up,
            on_ack=self.acked,
            telemetry_bytes=600,
            event_bytes=600,
            rx_bytes=_RX,
            tx_bytes=600,
        )
        self.counts = {"messages": 0, "oversize": 0, "up": 0, "acks": 0, "ended": 0, "sent": 0}
        self.fail = 0  # every so many callbacks the application is at fault
        self.out = mqtt.Parser(600, self.outgoing)
        self.rx = memoryview(bytearray(_CHUNK))
        self.stream = bytearray()
        self.told = []

    def called(self, name):
        self.counts[name] += 1
        self.fail += 1
        if self.fail % 50 == 0:
            raise KeyError("the application is at fault")

    def message(self, topic, payload, retained, dup, qos):
        assert isinstance(topic, str) and isinstance(payload, bytes)
        assert len(topic) + len(payload) <= _RX and qos in (0, 1)
        self.told.append((topic, payload, retained, dup, qos))
        self.called("messages")

    def oversize(self, topic, length):
        assert isinstance(topic, str) and length > 0
        self.told.append((topic, length))
        self.called("oversize")

    def up(self, present):
        assert present is True or present is False
        self.told.append(present)
        self.called("up")

    def acked(self, pid):
        assert 0 < pid < 65536
        self.called("acks")

    def outgoing(self, first, buf, kept, length):
        assert first >> 4 in _OUTGOING and kept == length, (first, kept, length)
        self.counts["sent"] += 1

    def connection(self):
        """A new one; three of four times the broker lets it in at once."""
        client = self.client
        ended = client._why is not None
        assert (self.told, ended) == reading(self.stream), (self.stream, self.told, ended)
        self.stream = bytearray()
        self.told = []
        client._fresh()
        client.connected = client.subscribed = False
        client.telemetry.rewind()
        client.events.rewind()
        client._sock = self
        client._asked = True
        if below(4):
            self.feed(b"\x20\x02" + bytes((below(2), 0)))
            if below(2):
                pid = client._fill() and client._sub_pid
                self.feed(b"\x90\x04" + bytes((pid >> 8, pid & 255, 1, 1)))

    def feed(self, data):
        """As the reader does it: a piece at a time, the writer in between."""
        client = self.client
        rx = self.rx
        at = 0
        while at < len(data):
            n = min(len(data) - at, 1 + below(_CHUNK) if below(2) else _CHUNK)
            rx[:n] = data[at : at + n]
            self.stream += data[at : at + n]
            at += n
            done = 0
            while done < n:
                done = client._parser.feed(rx, done, n)
                client._watch()
                if below(3) or client._n_acks > 20:
                    self.written(client._fill())

    def written(self, n):
        """Look at what the writer would send."""
        at = 0
        while at < n:
            at = self.out.feed(self.client._tx, at, n)
        assert not self.out.partial

    def publish(self):
        """Something for an acknowledgement to hit, and to overflow the rings."""
        qos = below(2)
        event = bool(below(2))
        self.client.publish("t/out", bytes(below(100)), qos, False, event and bool(qos))

    def run(self, packets):
        client = self.client
        least = None
        done = 0
        worst = 0
        self.connection()
        while done < packets:
            if not below(8):
                self.publish()
            done += 1
            try:
                self.feed(packet(client._pid))
            except mqtt.MqttError as e:
                self.counts["ended"] += 1
                client._fail(e)
                self.connection()
                continue
            assert client._why is None, client._why
            # A length that promises more than ever comes would swallow all that follows: such a
            # connection ends at its deadline.
            if (client._parser.partial and not below(3)) or len(self.stream) > 2000:
                self.connection()
            if not done % _LOOK:
                gc.collect()
                used = gc.mem_alloc()
                if least is None:
                    least = used
                worst = max(worst, used - least)
                assert worst < _GROWTH, "memory grows: %d bytes" % worst
        self.counts["growth_bytes"] = worst
        self.counts["packets"] = done
        self.counts["parsed"] = client.received
        self.counts["bad"] = client.bad_packets
        self.counts["callback_errors"] = client.callback_errors
        print(json.dumps(self.counts))


async def main():
    random.seed(int(sys.argv[1]))
    Fuzz().run(int(sys.argv[2]))


asyncio.run(main())
