"""lib/mqtt.py on the real MicroPython unix port, against mosquitto, amqtt and worse.

TAILGATE_BROKER_RESTARTS: how many broker restarts the event test does (100).
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython import certificates as make_certificates
from host_tests.micropython.conftest import Device
from host_tests.micropython.mqtt_peers import CONNACK, Peer, Proxy, Scripted, publish, say
from host_tests.micropython.test_datagram import dns, name_of, serving
from tools.runtime.broker import Mosquitto
from tools.simulator.broker import EmbeddedBroker

Start = Callable[..., Device]
RESTARTS = int(os.environ.get("TAILGATE_BROKER_RESTARTS", "100"))
# Quick enough for tests; the ratios are those of the defaults.
QUICK: dict[str, Any] = {
    "client_id": "dut",
    "subscribe": [["t/in/#", 1]],
    "will": ["t/availability", "offline", 1, True],
    "keepalive_s": 2,
    "timeout_ms": 800,
    "retry_ms": 50,
    "retry_max_ms": 400,
    "refused_max_ms": 800,
}


@pytest.fixture
def start(start_device: Start) -> Start:
    """`start(port, **options)`: the client on MicroPython, connecting to that port."""

    def go(port: int, heap: str = "256k", **options: Any) -> Device:
        device = start_device("mqtt_device.py", heap=heap)
        device.tell(**{**QUICK, "port": port, **options})
        return device

    return go


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture(params=["mosquitto", "amqtt"])
def any_port(request: pytest.FixtureRequest, mosquitto: Mosquitto) -> Iterator[int]:
    if request.param == "mosquitto":
        yield mosquitto.port
    else:
        with EmbeddedBroker() as broker:
            yield broker.port


@pytest.fixture
def peer(mosquitto: Mosquitto) -> Iterator[Peer]:
    with Peer(mosquitto.port, "t/#") as found:
        yield found


def test_both_ways_and_both_qualities(any_port: int, start: Start) -> None:
    with Peer(any_port, "t/out/#") as peer:
        device = start(any_port)
        device.expect("up")
        device.wait_for(lambda s: s["pending"] == 0)
        for qos in (0, 1):
            topic, text = f"t/out/{qos}", f"grüß {qos}"
            device.tell(do="publish", topic=topic, payload=text, qos=qos)
            peer.wait(lambda topic=topic, text=text: peer.texts(topic) == [text])
            peer.publish(f"t/in/{qos}", text, qos)
            # amqtt delivers with the subscription's QoS, whatever the message was sent with
            said = device.expect("message", payload=text, retained=False, dup=False)
            assert said["qos"] in (qos, 1)
        device.tell(do="stop")
        device.expect("stopped")
        assert device.end() == 0


def test_last_will_after_a_power_cut_and_none_after_a_goodbye(any_port: int, start: Start) -> None:
    with Peer(any_port, "t/#") as peer:
        device = start(any_port)
        device.expect("up")
        device.tell(do="stop")
        device.expect("stopped")
        device.end()
        time.sleep(0.2)
        assert not peer.texts("t/availability")
        device = start(any_port)
        device.expect("up")
        device.kill()
        peer.wait(lambda: peer.texts("t/availability") == ["offline"])


def test_message_longer_than_the_rings_in_parts(any_port: int, start: Start) -> None:
    with Peer(any_port, "t/#") as peer:
        device = start(any_port)
        device.expect("up")
        device.tell(do="parts", topic="t/long", count=100, size=200)
        assert device.expect("parts")["parts"]
        whole = "".join(chr(97 + i % 26) * 200 for i in range(100))
        peer.wait(lambda: peer.texts("t/long") == [whole])
        peer.publish("t/long", b"", retain=True)


def test_no_event_is_lost_over_broker_restarts(tmp_path: Path, start: Start) -> None:
    """The broker ends and comes again while events are on their way; before each second time the
    line is cut at any byte."""
    seed = random.randrange(1_000_000)
    rng = random.Random(seed)
    back_s: list[float] = []
    with Mosquitto(tmp_path, persistent=True) as broker, Proxy(broker.port) as line:
        # The peer's session and what is queued for it survive on the broker's disk.
        with Peer(broker.port, "t/event", client_id="judge", clean=False) as judge:
            device = start(line.port, quiet=True)
            device.expect("up")
            first = device.stats()
            device.tell(do="events", pause_ms=10)
            for turn in range(RESTARTS):
                time.sleep(rng.uniform(0.05, 0.2))
                if turn % 2:
                    line.cut()
                    time.sleep(rng.uniform(0.0, 0.1))
                broker.stop()
                known = device.stats()["connects"]
                time.sleep(rng.uniform(0.0, 0.15))
                began = time.monotonic()
                broker.start()
                device.wait_for(
                    lambda s, known=known: s["connects"] > known, timeout_s=6, pause_s=0.02
                )
                back_s.append(time.monotonic() - began)
            device.tell(do="enough")
            count = device.expect("events_done", timeout_s=30)["events_done"]
            wanted = [str(i) for i in range(count)]
            judge.wait(lambda: set(judge.texts("t/event")) == set(wanted))
            seen = list(dict.fromkeys(judge.texts("t/event")))
            stats = device.stats()
    back_s.sort()
    print(
        f"{RESTARTS} restarts, seed {seed}: {count} events, {stats['resent']} sent again, "
        f"back after {statistics.median(back_s):.2f} s, at worst {back_s[-1]:.2f} s"
    )
    assert seen == wanted, f"events lost or out of order, seed {seed}"
    assert count > 20 * RESTARTS
    assert stats["connects"] > RESTARTS
    assert stats["telemetry_dropped"] == stats["callback_errors"] == 0
    assert back_s[-1] < 5
    assert stats["heap_client"] - first["heap_client"] < 1000, "connections leave something behind"


def test_back_within_five_seconds_of_a_broker_that_was_away(tmp_path: Path, start: Start) -> None:
    """With the pauses of the product, grown as long as they get."""
    with Mosquitto(tmp_path) as broker:
        real = {"retry_ms": 500, "retry_max_ms": 3000, "keepalive_s": 20, "timeout_ms": 10_000}
        devices = [start(broker.port, **real, client_id=f"dut{i}", will=None) for i in range(6)]
        for device in devices:
            device.expect("up")
        broker.stop()
        time.sleep(9)
        began = time.monotonic()
        broker.start()

        def back(device: Device) -> float:
            device.expect("up", timeout_s=6)
            return time.monotonic() - began

        with ThreadPoolExecutor(len(devices)) as pool:
            back_s = list(pool.map(back, devices))
    print(f"back after {min(back_s):.2f} to {max(back_s):.2f} s")
    assert max(back_s) < 5
    assert max(back_s) - min(back_s) > 0.2, "a fleet must not come back in one instant"


def test_unacknowledged_publication_is_repeated_with_dup(
    mosquitto: Mosquitto, peer: Peer, start: Start
) -> None:
    got = bytearray()

    def never_acknowledge(sock: socket.socket) -> None:
        sock.sendall(CONNACK)
        sock.settimeout(0.1)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            try:
                got.extend(sock.recv(1024))
            except TimeoutError:
                if b"t/out" in got:
                    return

    with Scripted(mosquitto.port, never_acknowledge) as line:
        device = start(line.port, subscribe=[])
        device.tell(do="publish", topic="t/out", payload="x", qos=1, event=True)
        device.expect("up")
        device.expect("up")
        device.expect("ack")
        assert device.stats()["resent"] == 1
    assert got.startswith(b"\x32\x0a\x00\x05t/out\x00\x01x")
    peer.wait(lambda: peer.texts("t/out") == ["x"])


def test_event_that_a_broker_passes_over_is_sent_again(
    mosquitto: Mosquitto, peer: Peer, start: Start
) -> None:
    """All but the first are acknowledged: that one must not stay and fill the ring for ever."""

    def forgetful(sock: socket.socket) -> None:
        sock.sendall(CONNACK)
        seen = bytearray()
        while data := sock.recv(4096):
            seen += data
            while len(seen) > 1 and len(seen) >= 2 + seen[1]:
                if seen[0] & 0xF0 == 0x30:
                    pid = seen[4 + seen[3] : 6 + seen[3]]
                    if pid != b"\x00\x01":
                        sock.sendall(b"\x40\x02" + pid)
                elif seen[0] == 0xC0:
                    sock.sendall(b"\xd0\x00")
                del seen[: 2 + seen[1]]

    with Scripted(mosquitto.port, forgetful) as line:
        device = start(line.port, subscribe=[], quiet=True)
        device.tell(do="events", pause_ms=20)
        device.expect("up")
        device.wait_for(lambda s: s["error"] == "publication was not acknowledged")
        device.expect("up")
        device.tell(do="enough")
        count = device.expect("events_done")["events_done"]
    peer.wait(lambda: "0" in peer.texts("t/event"))
    assert count > 50


def test_session_that_lasts_keeps_messages(mosquitto: Mosquitto, start: Start) -> None:
    # not with amqtt, which keeps the subscription and loses the message
    with Peer(mosquitto.port) as peer:
        options = {"client_id": "lasting", "clean": False, "will": None}
        device = start(mosquitto.port, **options)
        assert device.expect("up")["up"] is False
        device.wait_for(lambda s: s["subscribed"])
        device.kill()
        peer.publish("t/in/kept", "while you were out")
        device = start(mosquitto.port, **options)
        assert device.expect("up")["up"] is True
        device.expect("message", message="t/in/kept", payload="while you were out")


def test_retained_messages_are_marked(any_port: int, start: Start) -> None:
    with Peer(any_port) as peer:
        peer.publish("t/in/old", "1", retain=True)
        device = start(any_port)
        device.expect("message", message="t/in/old", retained=True)
        peer.publish("t/in/old", b"", retain=True)


def test_half_open_connection_is_noticed(mosquitto: Mosquitto, peer: Peer, start: Start) -> None:
    with Proxy(mosquitto.port) as line:
        device = start(line.port)
        device.expect("up")
        line.freeze()
        frozen = time.monotonic()
        device.tell(do="publish", topic="t/out", payload="through", qos=1, event=True)
        device.expect("up", timeout_s=8)
        # half the keep-alive in silence, the deadline, one tick, the back-off
        assert time.monotonic() - frozen < 4.0
        device.expect("ack")
        peer.wait(lambda: "through" in peer.texts("t/out"))


_NONSENSE = {
    "hangs up": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "zeros": bytes(3000),
    "ones": b"\xff" * 3000,
    "noise": random.Random(7).randbytes(5000),
    "connack too long": b"\x20\x05\x00\x00\x00\x00\x00",
    "publish before connack": publish("t/in/x", b"early"),
    "length of five bytes": CONNACK + b"\x30\xff\xff\xff\xff\x7f",
    "topic longer than packet": CONNACK + b"\x30\x04\xff\xffab",
    "empty publish": CONNACK + b"\x30\x00",
    "publish of one byte": CONNACK + b"\x32\x01\x00",
    "no room for the packet id": CONNACK + b"\x32\x03\x00\x01a",
    "qos 2": CONNACK + publish("t/in/x", b"x", flags=4, pid=1),
    "qos 3": CONNACK + publish("t/in/x", b"x", flags=6, pid=1),
    "topic not utf-8": CONNACK + b"\x32\x06\x00\x02\xff\xfe\x00\x01" + b"\xd0\x00",
    "unknown acks": CONNACK + b"\x40\x02\x12\x34" * 50 + b"\x90\x03\x00\x63\x00",
    "client's packets": CONNACK + b"\x82\x05\x00\x01\x00\x01a\x00",
    "second connack": CONNACK + CONNACK,
    "noise later": CONNACK + random.Random(8).randbytes(5000),
}


def test_nonsense_is_survived(mosquitto: Mosquitto, peer: Peer, start: Start) -> None:
    scripts = [say(data) for data in _NONSENSE.values()]
    with Scripted(mosquitto.port, *scripts) as line:
        device = start(line.port, retry_max_ms=60, refused_max_ms=60)
        device.tell(do="publish", topic="t/out", payload="still here", qos=1, event=True)
        stats = device.wait_for(
            lambda s: line.connections > len(scripts) and s["connected"] and not s["pending"],
            timeout_s=20,
        )
        peer.wait(lambda: "still here" in peer.texts("t/out"))
        assert line.connections == len(scripts) + 1
        assert stats["callback_errors"] == 0
        assert stats["bad_packets"] > 50
        assert stats["received"] == 0


def test_refusals_are_told_and_the_pause_grows(mosquitto: Mosquitto, start: Start) -> None:
    codes = [say(bytes([0x20, 2, 0, code])) for code in (1, 2, 4, 5, 77)]
    began = time.monotonic()
    with Scripted(mosquitto.port, *codes) as line:
        device = start(line.port)
        stats = device.wait_for(lambda s: "not authorized" in s["error"])
        assert stats["error"] == "refused by the broker: not authorized"
        device.expect("up")
    # 100 + 200 + 400 + 800 + 800 ms, less the jitter
    assert time.monotonic() - began > 1.5


def test_connect_packet(mosquitto: Mosquitto, start: Start) -> None:
    with Scripted(mosquitto.port, say(b"")) as line:
        device = start(line.port, user="ann", password="s3cret", keepalive_s=300)
        device.expect("up")
        hello = line.hellos[0]
    rest = b"\x00\x03dut\x00\x0et/availability\x00\x07offline\x00\x03ann\x00\x06s3cret"
    assert hello == bytes([0x10, 10 + len(rest)]) + b"\x00\x04MQTT\x04\xee\x01\x2c" + rest


def test_user_and_password_and_a_quiet_line(tmp_path: Path, start: Start) -> None:
    """At a broker that lets only a known user in, and nobody who is silent for 3 s."""
    salt = b"twelve bytes"
    key = hashlib.pbkdf2_hmac("sha512", b"s3cr\xc3\xa9t", salt, 101)
    words = [base64.b64encode(part).decode() for part in (salt, key)]
    (tmp_path / "users").write_text(f"ann:$7$101${words[0]}${words[1]}\n")
    with Mosquitto(tmp_path, password_file=tmp_path / "users") as broker:
        device = start(broker.port, user="ann", password="s3crét")
        device.expect("up")
        strangers = [
            start(broker.port, client_id="x", user="ann", password="guess"),
            start(broker.port, client_id="y"),
        ]
        for stranger in strangers:
            stats = stranger.wait_for(lambda s: s["error"])
            assert stats["error"].startswith("refused by the broker: ")
            assert stats["connects"] == 0
        time.sleep(3.5)
        stats = device.stats()
        assert stats["connected"] and stats["connects"] == 1 and stats["error"] == ""


def _connack_only(sock: socket.socket) -> bool:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(CONNACK)
    return True


def test_reader_that_stops_reading_costs_telemetry_not_events(
    mosquitto: Mosquitto, peer: Peer, start: Start
) -> None:
    with Scripted(mosquitto.port, _connack_only) as line:
        device = start(line.port, subscribe=[], timeout_ms=2000, keepalive_s=60, quiet=True)
        device.expect("up")
        device.tell(do="publish", topic="t/out", payload="event", qos=1, event=True)
        device.tell(do="telemetry", size=1900, pause_ms=0)
        stats = device.wait_for(lambda s: s["error"] == "broker takes no data", timeout_s=15)
        device.tell(do="enough")
        last = device.expect("telemetry_done")["telemetry_done"]
        assert stats["telemetry_dropped"] > 100
        assert stats["worst_ms"] < 200, "publishing must not block the loop"
        device.wait_for(lambda s: s["connects"] == 2 and s["pending"] == 0, timeout_s=10)
        peer.wait(lambda: peer.texts("t/out") == ["event"])
        # the newest telemetry was kept
        peer.wait(lambda: any(t.startswith(f"{last}:") for t in peer.texts("t/telemetry")))


def test_packet_that_is_never_completed(mosquitto: Mosquitto, start: Start) -> None:
    half = publish("t/in/x", b"y" * 100)[:50]

    def stall(sock: socket.socket) -> bool:
        sock.sendall(CONNACK + half)
        return True

    def drip(sock: socket.socket) -> None:
        sock.sendall(CONNACK)
        for byte in half:
            sock.sendall(bytes([byte]))
            time.sleep(0.1)

    with Scripted(mosquitto.port, stall, drip) as line:
        device = start(line.port, keepalive_s=60)
        for _ in range(2):
            device.expect("up")
            device.wait_for(lambda s: s["error"] == "packet was not completed", timeout_s=4)
        device.expect("up")


def test_bytes_that_come_and_go_singly(mosquitto: Mosquitto, start: Start) -> None:
    with Proxy(mosquitto.port, slow_bytes=1) as line, Peer(mosquitto.port, "t/out") as peer:
        device = start(line.port, timeout_ms=3000)
        device.expect("up")
        device.tell(do="publish", topic="t/out", payload="a" * 100, qos=1)
        device.expect("ack")
        peer.wait(lambda: peer.texts("t/out") == ["a" * 100])
        peer.publish("t/in/slow", "b" * 100)
        device.expect("message", payload="b" * 100)


def test_oversize_message_is_skipped_and_the_next_one_read(any_port: int, start: Start) -> None:
    with Peer(any_port) as peer:
        device = start(any_port, heap="160k")
        device.wait_for(lambda s: s["subscribed"])
        for size in (1025 - len("t/in/big") - 4, 100_000, 1_000_000):
            peer.publish("t/in/big", b"z" * size)
            assert device.expect("oversize")["length"] == size
        peer.publish("t/in/big", b"z" * (1024 - len("t/in/big") - 4))
        device.expect("message", message="t/in/big")
        stats = device.stats()
        assert stats["oversize"] == 3
        assert stats["connects"] == 1


def test_burst_of_messages_is_all_acknowledged(any_port: int, start: Start) -> None:
    with Peer(any_port) as peer:
        device = start(any_port, quiet=True)
        device.wait_for(lambda s: s["subscribed"])
        infos = [peer.client.publish("t/in/n", "", 1) for _ in range(1000)]
        for info in infos:
            info.wait_for_publish(10)
        stats = device.wait_for(lambda s: s["received"] == 1000)
        assert stats["connects"] == 1
        assert stats["bad_packets"] == 0


def test_callback_that_fails_is_counted(mosquitto: Mosquitto, start: Start) -> None:
    with Peer(mosquitto.port) as peer:
        device = start(mosquitto.port, fail_callback=True)
        device.wait_for(lambda s: s["subscribed"])
        for _ in range(3):
            peer.publish("t/in/x", "y")
        stats = device.wait_for(lambda s: s["callback_errors"] == 3)
        assert stats["connected"]
        assert "ValueError" in stats["error"]


def test_silence_ends_at_the_deadline(mosquitto: Mosquitto, start: Start) -> None:
    """A broker that accepts and says nothing, and a name server that says nothing."""
    names = Names(broker_lan=None)
    silent = [lambda _: True]
    with serving(names.answer) as port, Scripted(mosquitto.port, *silent) as line:
        devices = [start(line.port), start(mosquitto.port, host="broker.lan", dns_port=port)]
        for device in devices:
            stats = device.wait_for(lambda s: s["error"], timeout_s=3)
            assert stats["error"] == "no connection within 800 ms"
            assert stats["worst_ms"] < 200
        names.known["broker.lan"] = "127.0.0.1"
        for device in devices:
            device.expect("up")


def test_nobody_there(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        device = start(taken.getsockname()[1])
        device.tell(do="telemetry", size=500, pause_ms=1)
        device.tell(do="publish", topic="t/out", payload="x", qos=1, event=True)
        stats = device.wait_for(lambda s: s["telemetry_dropped"] > 30 and "111" in s["error"])
        assert not stats["connected"]
        assert stats["events_refused"] == 0
        device.tell(do="stop")
        device.expect("stopped", timeout_s=3)


# --- names


class Names:
    """A DNS server's table: name -> address (None: silent), answered after `delay_s`."""

    def __init__(self, **known: str | None) -> None:
        self.known = {name.replace("_", "."): value for name, value in known.items()}
        self.delay_s = 0.0
        self.asked: list[str] = []

    def answer(self, question: bytes) -> list[bytes]:
        name = name_of(question)
        self.asked.append(name)
        time.sleep(self.delay_s)
        if name not in self.known:
            return [dns(question, code=3)]
        address = self.known[name]
        if address is None:
            return []
        return [dns(question, (1, bytes(int(part) for part in address.split("."))))]


def test_name_is_asked_for_without_stopping_anything(mosquitto: Mosquitto, start: Start) -> None:
    names = Names(broker_lan="127.0.0.1")
    names.delay_s = 0.6
    with serving(names.answer) as port:
        device = start(mosquitto.port, host="broker.lan", dns_port=port, timeout_ms=3000)
        device.expect("up")
        stats = device.stats()
    assert names.asked == ["broker.lan"]
    assert stats["worst_ms"] < 200


def test_name_that_nobody_knows_is_told_and_asked_for_again(
    mosquitto: Mosquitto, start: Start
) -> None:
    names = Names()
    with serving(names.answer) as port:
        device = start(mosquitto.port, host="broker.lan", dns_port=port)
        stats = device.wait_for(lambda s: s["error"])
        reason = "no address of broker.lan (127.0.0.1 knows no address of broker.lan)"
        assert stats["error"] == reason
        names.known["broker.lan"] = "127.0.0.1"
        device.expect("up")


def test_known_address_serves_while_no_name_server_answers(tmp_path: Path, start: Start) -> None:
    names = Names(broker_lan="127.0.0.1")
    with Mosquitto(tmp_path) as broker, serving(names.answer) as port:
        device = start(broker.port, host="broker.lan", dns_port=port)
        device.expect("up")
        names.known["broker.lan"] = None
        broker.stop()
        device.wait_for(lambda s: len(names.asked) > 1)  # it asks whether the broker has moved
        broker.start()
        device.expect("up")


def test_broker_that_moved_is_found_again(mosquitto: Mosquitto, start: Start) -> None:
    names = Names(broker_lan="127.0.0.9")  # where nothing listens
    with serving(names.answer) as port:
        device = start(mosquitto.port, host="broker.lan", dns_port=port)
        device.wait_for(lambda s: "nothing listens on that port" in s["error"])
        names.known["broker.lan"] = "127.0.0.1"
        device.expect("up")


def test_heap(mosquitto: Mosquitto, start: Start) -> None:
    device = start(mosquitto.port)
    device.wait_for(lambda s: s["connected"] and s["pending"] == 0)
    stats = device.stats()
    assert stats["heap_client"] < 20_000, "issue F: the whole of MQTT within 25 KB without TLS"


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates.make(tmp_path_factory.mktemp("tls"))


TLS: dict[str, Any] = {"server_name": "broker.test", "timeout_ms": 3000}


def files(folder: Path, kind: str = "", **names: str) -> dict[str, Any]:
    """The device's `tls` option: ca, cert, key by name; `kind` ".der": the files of that kind."""
    return {"tls": {what: str(folder / (name + kind)) for what, name in names.items()}}


@pytest.mark.parametrize("kind", ["", ".der"])
def test_tls_with_client_certificate(
    kind: str, certificates: Path, tmp_path: Path, start: Start
) -> None:
    both = files(certificates, kind, ca="ca.crt", cert="client.crt", key="client.key")
    forged = files(certificates, ca="ca.crt", cert="forged.crt", key="forged.key")
    with Mosquitto(tmp_path, tls=certificates, client_certificate=True) as broker:
        device = start(broker.port, **both, **TLS, subscribe=[["t/#", 1]])
        device.expect("up")
        device.tell(do="publish", topic="t/x", payload="secret" * 30, qos=1)
        device.expect("message", payload="secret" * 30)
        device.tell(do="parts", topic="t/long", count=100, size=200)
        assert device.expect("parts")["parts"]
        device.expect("oversize")
        broker.stop()
        broker.start()
        device.expect("up")
        # none, and one that an authority signed which the broker does not know
        for wrong in (files(certificates, ca="ca.crt"), forged):
            without = start(broker.port, **wrong, **TLS)
            stats = without.wait_for(lambda s: s["error"] and not s["connects"])
            without.kill()
            assert stats["connects"] == 0


@pytest.mark.parametrize(
    ("server", "ca", "name", "reason"),
    [
        ("server", "stranger.crt", "broker.test", "not correctly signed"),
        ("server", "ca.crt", "other.test", "expected CN"),
        ("expired", "ca.crt", "broker.test", "expired"),
        ("future", "ca.crt", "broker.test", "future"),
        ("named", "ca.crt", "127.0.0.1", "expected CN"),
    ],
)
def test_tls_refuses_a_broker_it_cannot_trust(
    server: str, ca: str, name: str, reason: str, certificates: Path, tmp_path: Path, start: Start
) -> None:
    with Mosquitto(tmp_path, tls=certificates, certificate=server) as broker:
        device = start(broker.port, **files(certificates, ca=ca), **{**TLS, "server_name": name})
        stats = device.wait_for(lambda s: s["error"])
        assert stats["connects"] == 0
        assert stats["error"].startswith("TLS: ")
        assert reason in stats["error"]


def test_tls_is_not_tried_without_the_memory_for_it(
    certificates: Path, tmp_path: Path, start: Start
) -> None:
    with Mosquitto(tmp_path, tls=certificates) as broker:
        device = start(broker.port, **files(certificates, ca="ca.crt"), **TLS, leave=35_000)
        stats = device.wait_for(lambda s: s["error"])
        assert re.match(r"TLS needs 40000 bytes of heap, and \d{4,5} are free", stats["error"])
        assert stats["connects"] == 0


def test_tls_by_a_numeric_address(certificates: Path, tmp_path: Path, start: Start) -> None:
    with Mosquitto(tmp_path, tls=certificates) as broker:
        device = start(broker.port, **files(certificates, ca="ca.crt"), timeout_ms=3000)
        device.expect("up")


def test_tls_and_none_do_not_meet(
    certificates: Path, tmp_path: Path, mosquitto: Mosquitto, start: Start
) -> None:
    """A broker without TLS for a client with it, the other way round, and one that says nothing:
    each ends at a deadline or at once, with a reason."""
    ca = files(certificates, ca="ca.crt")
    options = {**TLS, "timeout_ms": 800}
    with (
        Mosquitto(tmp_path, tls=certificates) as broker,
        Scripted(mosquitto.port, lambda _: True) as silent,
    ):
        devices = [
            start(mosquitto.port, **ca, **options),
            start(broker.port),
            start(silent.port, **ca, **options),
        ]
        for device in devices:
            stats = device.wait_for(lambda s: s["error"])
            assert stats["connects"] == 0
            assert stats["worst_ms"] < 200
        assert "no connection within 800 ms" in devices[2].stats()["error"]


def test_tls_twenty_times_over(certificates: Path, tmp_path: Path, start: Start) -> None:
    with Mosquitto(tmp_path, tls=certificates) as broker, Proxy(broker.port) as line:
        device = start(line.port, **files(certificates, ca="ca.crt"), **TLS, retry_max_ms=60)
        device.expect("up")
        first = device.stats()
        for _ in range(20):
            line.cut()
            device.expect("up")
        stats = device.wait_for(lambda s: s["connected"])
    print(f"longest step of 20 handshakes on this computer: {stats['worst_ms']} ms")
    assert stats["heap_client"] - first["heap_client"] < 2000
    assert stats["worst_ms"] < 500


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"ca": "ca.crt", "cert": "client.crt"}, "go together"),
        ({"ca": "ca.crt", "key": "client.key"}, "go together"),
        ({"ca": "client.key"}, "the CA certificate cannot be read"),
        ({"ca": "junk"}, "the CA certificate cannot be read"),
        ({"ca": "ca.crt", "cert": "junk", "key": "client.key"}, "certificate or key cannot"),
        ({"ca": "ca.crt", "cert": "client.crt", "key": "junk"}, "certificate or key cannot"),
    ],
)
def test_tls_files_that_cannot_be_used(
    names: dict[str, str], reason: str, certificates: Path, start: Start
) -> None:
    (certificates / "junk").write_bytes(b"-----BEGIN junk\x00\xff")
    device = start(1, **files(certificates, **names))
    text = device.expect("text")["text"]
    while "MqttError" not in text:
        text = device.expect("text")["text"]
    assert reason in text
