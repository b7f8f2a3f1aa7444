"""lib/mqtt.py on CPython: the ring against a plain model, the parser against any bytes."""

from __future__ import annotations

import ast
import asyncio
import os
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import cpython, stage

cpython.install()

from lib import mqtt  # noqa: E402

# TAILGATE_FUZZ=20 before a release: so many times the examples of a normal run
ROOT = Path(__file__).resolve().parents[2]
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
            has_room = ring.has_room(1 + length)
            stored = ring.put(0x32 if qos else 0x30, number, b"t", payload)
            if stored:
                # what had to give way were the oldest ones, and only in a lossy ring
                gone = ring.dropped - dropped
                assert lossy or not gone
                assert not (has_room and gone)
                for _ in range(gone):
                    model.items.popleft()
                    model.free()
                model.items.append([number, packet(number, b"t", payload), "new"])
            else:
                assert ring.dropped == dropped + 1 and not has_room
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
    assert ring.dropped == 6 and not ring.has_room(11)
    assert ring.ack(1) and ring.has_room(8)
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


def feed(parser: mqtt.Parser, data: bytes | bytearray) -> None:
    """All of `data`, a packet at a time, as the reader does."""
    at = 0
    while at < len(data):
        new = parser.feed(memoryview(data), at, len(data))
        assert new > at
        at = new


def parsed(chunks: list[bytes], size: int) -> tuple[list[Any], str]:
    """Packets as (first, kept body, length), and the error that ended it or ""."""
    found: list[Any] = []
    parser = mqtt.Parser(
        size, lambda first, buf, kept, n: found.append((first, bytes(buf[:kept]), n))
    )
    try:
        for chunk in chunks:
            feed(parser, chunk)
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
    feed(client._parser, b"\x20\x02\x00\x00")
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
            feed(client._parser, chunk)
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
            feed(client._parser, data)
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
            feed(client._parser, chunk)
        except mqtt.MqttError:
            break
        client._n_acks = 0
    assert client.callback_errors >= client.received


def test_message_beyond_the_last_room_for_an_acknowledgement_ends_the_connection() -> None:
    client = connected_client()
    # the reader waits when there is no room, so this takes a defect
    for _ in range(mqtt._ACKS):
        feed(client._parser, packet(1, b"t", b""))
    assert client._n_acks == mqtt._ACKS
    with pytest.raises(mqtt.MqttError, match="too many"):
        feed(client._parser, packet(1, b"t", b""))


def test_reader_gives_way_after_each_message() -> None:
    messages: list[Any] = []
    client = connected_client(on_message=lambda *message: messages.append(message))
    three = memoryview(packet(0, b"t", b"1") + packet(0, b"t", b"2") + packet(0, b"t", b"3"))
    at = client._parser.feed(three, 0, len(three) - 1)
    assert (at, len(messages)) == (len(three) // 3, 1)
    at = client._parser.feed(three, at, len(three) - 1)
    at = client._parser.feed(three, at, len(three) - 1)
    assert (at, len(messages)) == (len(three) - 1, 2)
    assert client._parser.partial == 1
    assert client._parser.feed(three, at, len(three)) == len(three)
    assert [payload for _, payload, *_ in messages] == [b"1", b"2", b"3"]


def test_publish_refuses_what_does_not_fit() -> None:
    client = mqtt.Client("127.0.0.1", 1883, "x", tx_bytes=200)
    assert client.publish("t", "x" * 180)
    assert client.publish("t", "x" * 200) == 0
    assert client.publish("t", "x", qos=1) == 1
    assert client.publish("t", "x", qos=1, event=True) > 1
    assert client.pending == 3


def test_der_from_pem() -> None:
    pem = b"junk\n-----BEGIN CERTIFICATE-----\nAAEC\nAwQ=\n-----END CERTIFICATE-----\n"
    assert mqtt._der(pem) == bytes(range(5))
    assert mqtt._der(b"\x30\x82") == b"\x30\x82"


class Dns:
    """A resolver: what it answers next, or the exception it raises; counts the questions."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def resolve(self, host: str) -> str:
        self.asked.append(host)
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(self.answer, str)
        return self.answer


def address_of(client: mqtt.Client) -> Any:
    """Host and port that it would connect to."""
    assert client._addr is not None
    return client._addr[-1]


def test_name_is_asked_of_the_resolver_and_its_last_answer_serves() -> None:
    dns = Dns(OSError("no answer from 10.0.0.1"))
    client = mqtt.Client("broker.example", 1883, "x", resolve=dns.resolve)
    with pytest.raises(mqtt.MqttError, match=r"no address of broker\.example \(no answer from"):
        asyncio.run(client._find())
    dns.answer = "127.0.0.7"
    asyncio.run(client._find())
    assert address_of(client) == ("127.0.0.7", 1883)
    dns.answer = OSError("no answer")
    asyncio.run(client._find())
    assert address_of(client) == ("127.0.0.7", 1883), "an old address is better than none"
    dns.answer = "127.0.0.8"
    asyncio.run(client._find())
    assert address_of(client) == ("127.0.0.8", 1883)
    assert dns.asked == ["broker.example"] * 4


def test_name_that_the_system_does_not_know_is_told_in_words() -> None:
    client = mqtt.Client("a..b", 1883, "x")
    with pytest.raises(mqtt.MqttError, match=r"no address of a\.\.b \("):
        asyncio.run(client._find())


def test_numeric_address_is_not_asked_for() -> None:
    dns = Dns(OSError("nobody may be asked"))
    client = mqtt.Client("127.0.0.1", 1883, "x", resolve=dns.resolve)
    asyncio.run(client._find())
    assert address_of(client) == ("127.0.0.1", 1883)
    assert mqtt.Client("::1", 1, "x")._host_is_numeric()
    assert not mqtt.Client("10.example", 1, "x")._host_is_numeric()


def test_longest_pause_leaves_time_to_be_back_within_five_seconds() -> None:
    client = mqtt.Client("127.0.0.1", 1883, "x")
    for fails in range(40):
        client._fails = fails
        pauses = [client._backoff_ms() for _ in range(200)]
        # the pause, the look at it each 100 ms, and a second for a TLS handshake on a Pico W
        assert max(pauses) + 100 + 1000 < 5000
        assert min(pauses) >= 375, "never a storm"
    client._refusals = 12
    assert 45_000 <= client._backoff_ms() <= 75_000
    # one refusal (a broker that was cut off while it started) is not held against it
    client._refusals = 1
    assert client._backoff_ms() < 5000


class Line:
    """A connection in a time of its own: `takes(now_ms)` bytes go out each 100 ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: Callable[[int], int]) -> None:
        self.now_ms = cpython.TICKS_PERIOD - 700  # the clock wraps in the midst of it
        self.began_ms = self.now_ms
        self._takes = takes
        monkeypatch.setattr(mqtt, "ticks_ms", lambda: self.now_ms % cpython.TICKS_PERIOD)
        monkeypatch.setattr(mqtt, "_writable", self.writable)
        monkeypatch.setattr(asyncio, "sleep_ms", lambda ms: asyncio.sleep(0), raising=False)
        self.client = connected_client(timeout_ms=1000)
        self.client._fresh()
        self.client._sock = self
        self._may = True

    def write(self, data: memoryview) -> int | None:
        """See socket."""
        if not self._may:
            return None
        self._may = False
        return min(len(data), self._takes(self.now_ms - self.began_ms))

    async def writable(self, sock: object) -> None:
        """The next 100 ms."""
        self.now_ms += 100
        self._may = True
        self.client._watch()
        if self.client._why is not None:
            raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("takes", "given_up"),
    [
        (lambda ms: 30, False),
        (lambda ms: 1, True),  # a byte now and then is no progress
        (lambda ms: 0, True),
        (lambda ms: 90 if ms < 200 else 0, True),
    ],
)
def test_what_goes_out_has_a_deadline_however_slowly_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, takes: Callable[[int], int], given_up: bool
) -> None:
    line = Line(monkeypatch, takes)
    if not given_up:
        asyncio.run(line.client._flush(200))
        assert line.client._why is None
        return
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(line.client._flush(200))
    assert line.client.error == "broker takes no data"
    assert line.now_ms - line.began_ms <= 1100


@pytest.mark.parametrize(
    ("lasted_s", "fails"), [(2, 4), (6, 0), (8 * 86_400, 0), (12 * 86_400, 0), (13 * 86_400, 0)]
)
def test_a_connection_that_lasted_starts_the_pauses_afresh(
    monkeypatch: pytest.MonkeyPatch, lasted_s: int, fails: int
) -> None:
    """However long it was, although the clock wraps after 12.4 days."""
    line = Line(monkeypatch, lambda ms: 1000)
    client = line.client
    client._fails = 3

    async def lives() -> None:
        """In place of the socket's tasks."""
        client.connected = client._asked = True

    async def passes(ms: int) -> None:
        left = line.began_ms + 1000 * lasted_s - line.now_ms
        line.now_ms += min(3_600_000 if left > 60_000 else 100, max(left, 1))
        # nobody is there who would answer to a ping
        client._t_rx = client._t_tx = line.now_ms % cpython.TICKS_PERIOD
        if left <= 0:
            client._fail("closed by the broker")
        await asyncio.sleep(0)

    monkeypatch.setattr(client, "_link", lives)
    monkeypatch.setattr(client, "_writer", lives)
    monkeypatch.setattr(asyncio, "sleep_ms", passes, raising=False)
    asyncio.run(client._session())
    assert client.error == "closed by the broker"
    assert client._fails == fails


def test_number_of_a_waiting_packet_is_not_given_again() -> None:
    client = mqtt.Client("127.0.0.1", 1883, "x")
    first = client.publish("t/event", "waits", qos=1, event=True)
    second = client.publish("t/telemetry", "waits", qos=1)
    given = {client._next_pid() for _ in range(65_535 - 2)}
    assert given == set(range(1, 65_536)) - {first, second}
    assert client._next_pid() not in (first, second)
    assert client.events.ack(first)
    assert not client.events.ack(second)
    assert client.telemetry.ack(second)


def test_acknowledgement_of_nothing_is_nothing() -> None:
    ring = mqtt.Ring(200, True)
    ring.put(0x30, 0, b"t", b"QoS 0 has no number")
    assert not ring.ack(0)
    assert ring.count == 1


@pytest.mark.parametrize(
    ("topic", "qos"), [("", 0), ("a/+", 0), ("#", 1), ("a\0b", 0), ("a", 2), ("a", -1)]
)
def test_publication_that_every_broker_would_hang_up_on_is_refused(topic: str, qos: int) -> None:
    client = mqtt.Client("127.0.0.1", 1883, "x")
    with pytest.raises(mqtt.MqttError, match="QoS"):
        client.publish(topic, "x", qos=qos, event=True)
    assert client.pending == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"host": ""}, "host"),
        ({"port": 0}, "1 to 65535"),
        ({"port": 65536}, "1 to 65535"),
        ({"keepalive_s": 0}, "2 to 65535"),
        ({"keepalive_s": 70_000}, "2 to 65535"),
        ({"client_id": "", "clean": False}, "client_id"),
        ({"will": ("t", "x", 2, True)}, "QoS 0 or 1"),
        ({"will": ("", "x", 0, True)}, "topic ''"),
        ({"subscribe": [("a", 1), ("b", 2)]}, "'b' with QoS 2"),
        ({"password": "x" * 65_536, "user": "u"}, "65536 bytes"),
        ({"client_id": "x" * 3000}, "tx_bytes"),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(
    wrong: dict[str, Any], reason: str
) -> None:
    arguments = {"host": "127.0.0.1", "port": 1883, "client_id": "x", **wrong}
    with pytest.raises(mqtt.MqttError, match=reason):
        mqtt.Client(**arguments)


def test_reasons_are_words() -> None:
    def reason(error: Exception) -> str:
        return str(mqtt._reason(error))

    assert reason(OSError(111, "x")) == "nothing listens on that port (error 111)"
    assert reason(OSError(-9984, "VERIFY")) == "TLS: VERIFY"
    assert reason(ValueError("The certificate is bad\n")) == "TLS: The certificate is bad"
    assert reason(MemoryError("x")) == "MemoryError('x')"


def test_whole_library_as_a_file_for_the_board() -> None:
    text = (ROOT / "lib" / "mqtt.py").read_text()
    size = len(stage.compiled(text, "lib/mqtt.py", "rp2040"))
    print(f"lib/mqtt.py, pieces on demand included: {size} bytes as .mpy")
    assert size <= 12 * 1024
    tree = ast.parse(text)
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    own = {"asyncio", "gc", "random", "socket", "time", "micropython", "tls", "binascii"}
    assert set(modules) == own, "it knows nothing of the product"
