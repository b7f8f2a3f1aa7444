"""lib/mqtt.py on CPython: the ring against a plain model, the parser against any bytes."""

from __future__ import annotations

import os
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import cpython

cpython.install()

from lib import mqtt  # noqa: E402

# TAILGATE_FUZZ=20 before a release: so many times the examples of a normal run
EFFORT = int(os.environ.get("TAILGATE_FUZZ", "1"))


def packet(pid: int, topic: bytes, payload: bytes, dup: bool = False) -> bytes:
    """A PUBLISH as the standard writes it."""
    body = len(topic).to_bytes(2, "big") + topic + (pid.to_bytes(2, "big") if pid else b"")
    body += payload
    length = bytearray()
    n = len(body)
    while True:
        n, low = divmod(n, 128)
        length.append(low | (128 if n else 0))
        if not n:
            break
    first = 0x30 | (2 if pid else 0) | (8 if dup else 0)
    return bytes([first]) + bytes(length) + body


class Model:
    """What Ring promises, without its memory: a deque of [pid, packet, state]."""

    def __init__(self) -> None:
        self.items: deque[list[Any]] = deque()

    def take(self) -> list[Any] | None:
        for item in self.items:
            if item[2] == "new":
                return item
        return None

    def free(self) -> None:
        while self.items and self.items[0][2] == "done":
            self.items.popleft()


@st.composite
def operations(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    operation = st.one_of(
        st.tuples(st.just("put"), st.booleans(), st.integers(0, 60)),
        st.tuples(st.just("take"), st.integers(0, 90)),
        st.tuples(st.just("ack"), st.integers(0, 6)),
        st.just(("rewind",)),
    )
    return draw(st.lists(operation, max_size=80))


@settings(max_examples=1000 * EFFORT, deadline=None)
@given(operations(), st.booleans(), st.integers(40, 300))
def test_ring_does_what_its_model_does(
    script: list[tuple[Any, ...]], lossy: bool, size: int
) -> None:
    ring = mqtt.Ring(size, lossy)
    model = Model()
    out = memoryview(bytearray(128))
    pid = 0
    for step in script:
        if step[0] == "put":
            _, qos, length = step
            pid += 1
            number = pid if qos else 0
            payload = bytes([pid & 255]) * length
            dropped = ring.dropped
            stored = ring.put(0x32 if qos else 0x30, number, b"t", payload)
            if stored:
                # what had to give way were the oldest ones, and only in a lossy ring
                gone = ring.dropped - dropped
                assert lossy or not gone
                for _ in range(gone):
                    model.items.popleft()
                    model.free()
                model.items.append([number, packet(number, b"t", payload), "new"])
            else:
                assert ring.dropped == dropped + 1
                assert not lossy or len(packet(number, b"t", payload)) + 5 > size
        elif step[0] == "take":
            room = step[1]
            n = ring.take(out[:room], 0)
            item = model.take()
            if item is None or len(item[1]) > room:
                assert n == 0
                continue
            assert bytes(out[:n]) == item[1]
            item[2] = "sent" if item[0] else "done"
            if item[0]:
                item[1] = bytes([item[1][0] | 8]) + item[1][1:]
            model.free()
        elif step[0] == "ack":
            known = [item for item in model.items if item[0] and item[2] != "done"]
            if step[1] < len(known):
                assert ring.ack(known[step[1]][0])
                known[step[1]][2] = "done"
                model.free()
            else:
                assert not ring.ack(60_000)
        else:
            ring.rewind()
            for item in model.items:
                if item[2] == "sent":
                    item[2] = "new"
        assert ring.inflight == sum(item[2] == "sent" for item in model.items)
        assert ring.count == len(model.items)


def test_ring_that_keeps_events_refuses_when_full() -> None:
    ring = mqtt.Ring(100, False)
    stored = [ring.put(0x32, i + 1, b"e", b"0123456789") for i in range(10)]
    assert stored == [True] * 4 + [False] * 6
    assert ring.dropped == 6
    assert ring.ack(1)
    assert ring.put(0x32, 11, b"e", b"0123456789")


def test_ring_that_is_lossy_keeps_the_newest() -> None:
    ring = mqtt.Ring(100, True)
    for i in range(50):
        assert ring.put(0x30, 0, b"t", b"%010d" % i)
    out = memoryview(bytearray(200))
    n = ring.take(out, 0)
    last = b""
    while n:
        last = bytes(out[:n])
        n = ring.take(out, 0)
    assert last.endswith(b"49")
    assert ring.dropped > 40


# --- parser


def parsed(chunks: list[bytes], size: int) -> tuple[list[Any], str]:
    """Packets as (first, kept body, length), and the error that ended it or ""."""
    found: list[Any] = []
    parser = mqtt.Parser(
        size, lambda first, buf, kept, n: found.append((first, bytes(buf[:kept]), n))
    )
    try:
        for chunk in chunks:
            parser.feed(memoryview(chunk), len(chunk))
    except mqtt.MqttError as error:
        return found, str(error)
    return found, ""


@settings(max_examples=600 * EFFORT, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(1, 40), max_size=30))
def test_any_bytes_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    chunks, rest = [], data
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    chunks.append(rest)
    assert parsed([data], 64) == parsed(chunks, 64)


@settings(max_examples=300 * EFFORT, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=10))
def test_good_packets_come_out_as_they_went_in(packets: list[tuple[int, bytes]]) -> None:
    stream = b""
    for first, body in packets:
        start = bytearray(6)
        n = mqtt._put_start(start, 0, first, len(body))
        stream += bytes(start[:n]) + body
    found, error = parsed([stream], 128)
    assert error == ""
    assert found == [(first, body[:128], len(body)) for first, body in packets]


def connected_client(**options: Any) -> mqtt.Client:
    client = mqtt.Client("127.0.0.1", 1883, "fuzz", rx_bytes=128, **options)
    client._sock = object()
    client._parser.feed(memoryview(b"\x20\x02\x00\x00"), 4)
    assert client.connected
    return client


def broken_callback(*_: Any) -> None:
    raise RuntimeError("the application is at fault")


# Bytes that look like packets get further into the client than plain noise does.
almost_packets = st.lists(
    st.builds(
        lambda first, body, lie: bytes([first, min(127, max(0, len(body) + lie))]) + body,
        st.sampled_from([0x20, 0x30, 0x31, 0x32, 0x33, 0x3A, 0x34, 0x36, 0x40, 0x90, 0xD0, 0x00]),
        st.one_of(
            st.binary(max_size=100),
            st.builds(
                lambda topic, rest: len(topic).to_bytes(2, "big") + topic + rest,
                st.binary(max_size=20),
                st.binary(max_size=50),
            ),
        ),
        st.sampled_from([0, 0, 0, 0, -1, 1, 60]),
    ),
    max_size=30,
).map(b"".join)


@settings(max_examples=600 * EFFORT, deadline=None)
@given(almost_packets)
def test_client_survives_almost_packets(data: bytes) -> None:
    messages: list[Any] = []
    client = connected_client(
        on_message=lambda *message: messages.append(message), subscribe=[("a", 1)]
    )
    for i in range(0, len(data), mqtt._CHUNK):
        chunk = data[i : i + mqtt._CHUNK]
        try:
            client._parser.feed(memoryview(chunk), len(chunk))
        except mqtt.MqttError:
            break
        client._n_acks = 0  # as the writer would
    assert client.callback_errors == 0
    assert client.received == len(messages)
    for topic, payload, _, _, qos in messages:
        assert isinstance(topic, str)
        assert isinstance(payload, bytes)
        assert qos in (0, 1)


def test_a_hundred_thousand_malformed_packets() -> None:
    """Bulk, where Hypothesis looks for the clever ones: packets changed, cut or stretched."""
    random_ = random.Random(1)
    good = [
        packet(1, b"tailgate/dut/command", b'{"id": 1, "cmd": "status"}'),
        packet(0, b"tailgate/dut/outlet/bed1/set", b"ON"),
        b"\x40\x02\x00\x01",
        b"\x90\x03\x00\x01\x01",
        b"\xd0\x00",
    ]
    client = connected_client(subscribe=[("a", 1)])
    ended = 0
    for _ in range(100_000 * EFFORT):
        data = bytearray(random_.choice(good))
        for _ in range(random_.randrange(4)):
            at = random_.randrange(len(data))
            what = random_.randrange(3)
            if what == 0:
                data[at] = random_.randrange(256)
            elif what == 1 and len(data) > 1:
                del data[max(1, at) :]
            else:
                data[at:at] = random_.randbytes(random_.randrange(9))
        try:
            client._parser.feed(memoryview(data), len(data))
        except mqtt.MqttError:
            ended += 1
        client._parser.reset()  # or a long length swallows all that follows
        client._n_acks = 0
    assert ended > 1000
    assert client.received > 1000
    assert client.callback_errors == 0


@settings(max_examples=300 * EFFORT, deadline=None)
@given(almost_packets)
def test_failing_callbacks_never_get_out(data: bytes) -> None:
    client = connected_client(
        on_message=broken_callback, on_oversize=broken_callback, on_ack=broken_callback
    )
    for i in range(0, len(data), mqtt._CHUNK):
        chunk = data[i : i + mqtt._CHUNK]
        try:
            client._parser.feed(memoryview(chunk), len(chunk))
        except mqtt.MqttError:
            break
        client._n_acks = 0
    assert client.callback_errors >= client.received


def test_as_many_acknowledgements_as_one_read_can_ask_for() -> None:
    client = connected_client()
    smallest = packet(1, b"", b"")
    one_read = smallest * (mqtt._CHUNK // len(smallest))
    # the reader pauses above this many, so one read may find that many waiting
    client._n_acks = mqtt._ACKS - mqtt._ACKS_PER_CHUNK
    client._parser.feed(memoryview(one_read), len(one_read))
    assert client._n_acks <= mqtt._ACKS


def test_publish_refuses_what_does_not_fit() -> None:
    client = mqtt.Client("127.0.0.1", 1883, "x", tx_bytes=200)
    assert client.publish("t", "x" * 180)
    assert client.publish("t", "x" * 200) == 0
    assert client.publish("t", "x", qos=1) == 1
    assert client.publish("t", "x", qos=1, event=True) > 1
    assert client.pending == 3


def test_settings_that_cannot_work_are_refused_at_once() -> None:
    with pytest.raises(mqtt.MqttError, match="tx_bytes"):
        mqtt.Client("127.0.0.1", 1883, "x" * 300, tx_bytes=200)


def test_der_from_pem() -> None:
    pem = b"junk\n-----BEGIN CERTIFICATE-----\nAAEC\nAwQ=\n-----END CERTIFICATE-----\n"
    assert mqtt._der(pem) == bytes(range(5))
    assert mqtt._der(b"\x30\x82") == b"\x30\x82"


def test_name_is_not_resolved_while_that_may_not_block() -> None:
    client = mqtt.Client("broker.example", 1883, "x", may_block=lambda: False)
    with pytest.raises(mqtt.MqttError, match="DNS"):
        client._link().send(None)
    for numeric in ("127.0.0.1", "::1"):
        assert mqtt.Client(numeric, 1, "x")._host_is_numeric()
    assert not mqtt.Client("10.example", 1, "x")._host_is_numeric()
