"""lib/mqtt.py on the real MicroPython unix port, against mosquitto, amqtt and worse.

TAILGATE_BROKER_RESTARTS: how many broker restarts the event test does (5; a release: 100).
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.micropython.conftest import Device
from host_tests.micropython.mqtt_peers import CONNACK, Peer, Proxy, Scripted, publish, say
from tools.runtime.broker import Mosquitto
from tools.simulator.broker import EmbeddedBroker

Start = Callable[..., Device]
RESTARTS = int(os.environ.get("TAILGATE_BROKER_RESTARTS", "5"))
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


def test_last_will_after_a_power_cut_and_none_after_a_goodbye(
    mosquitto: Mosquitto, peer: Peer, start: Start
) -> None:
    device = start(mosquitto.port)
    device.expect("up")
    device.tell(do="stop")
    device.expect("stopped")
    device.end()
    time.sleep(0.2)
    assert not peer.texts("t/availability")
    device = start(mosquitto.port)
    device.expect("up")
    device.kill()
    peer.wait(lambda: peer.texts("t/availability") == ["offline"])


def test_message_longer_than_the_rings_in_parts(
    mosquitto: Mosquitto, peer: Peer, start: Start
) -> None:
    device = start(mosquitto.port)
    device.expect("up")
    device.tell(do="parts", topic="t/long", count=100, size=200)
    assert device.expect("parts")["parts"]
    whole = "".join(chr(97 + i % 26) * 200 for i in range(100))
    peer.wait(lambda: peer.texts("t/long") == [whole])
    peer.publish("t/long", b"", retain=True)


def test_no_event_is_lost_over_broker_restarts(tmp_path: Path, start: Start) -> None:
    with Mosquitto(tmp_path, persistent=True) as broker:
        # The peer's session and what is queued for it survive on the broker's disk.
        with Peer(broker.port, "t/event", client_id="judge", clean=False) as judge:
            device = start(broker.port, quiet=True)
            device.expect("up")
            device.tell(do="events", pause_ms=5)
            for _ in range(RESTARTS):
                time.sleep(random.uniform(0.1, 0.5))
                broker.stop()
                time.sleep(random.uniform(0.0, 0.3))
                broker.start()
                device.expect("up", timeout_s=5)
            device.tell(do="enough")
            count = device.expect("events_done", timeout_s=30)["events_done"]
            wanted = [str(i) for i in range(count)]
            judge.wait(lambda: set(judge.texts("t/event")) == set(wanted))
            seen = list(dict.fromkeys(judge.texts("t/event")))
            stats = device.stats()
    assert seen == wanted, "events arrived out of order"
    assert count > 20 * RESTARTS
    assert stats["connects"] == RESTARTS + 1
    assert stats["telemetry_dropped"] == 0


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


def test_session_that_lasts_keeps_messages(mosquitto: Mosquitto, start: Start) -> None:
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


def test_retained_messages_are_marked(mosquitto: Mosquitto, start: Start) -> None:
    with Peer(mosquitto.port) as peer:
        peer.publish("t/in/old", "1", retain=True)
        device = start(mosquitto.port)
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


def test_oversize_message_is_skipped_and_the_next_one_read(
    mosquitto: Mosquitto, start: Start
) -> None:
    with Peer(mosquitto.port) as peer:
        device = start(mosquitto.port, heap="160k")
        device.wait_for(lambda s: s["subscribed"])
        for size in (1025 - len("t/in/big") - 4, 100_000, 1_000_000):
            peer.publish("t/in/big", b"z" * size)
            assert device.expect("oversize")["length"] == size
        peer.publish("t/in/big", b"z" * (1024 - len("t/in/big") - 4))
        device.expect("message", message="t/in/big")
        stats = device.stats()
        assert stats["oversize"] == 3
        assert stats["connects"] == 1


def test_burst_of_messages_is_all_acknowledged(mosquitto: Mosquitto, start: Start) -> None:
    with Peer(mosquitto.port) as peer:
        device = start(mosquitto.port, quiet=True)
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


def test_heap(mosquitto: Mosquitto, start: Start) -> None:
    device = start(mosquitto.port)
    device.wait_for(lambda s: s["connected"] and s["pending"] == 0)
    stats = device.stats()
    assert stats["heap_client"] < 20_000, "issue F: the whole of MQTT within 25 KB without TLS"


# --- TLS


def _openssl(*args: str, cwd: Path) -> None:
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True, timeout=60)


def _certificate(folder: Path, name: str, subject: str, extension: str, ca: str) -> None:
    """A P-256 key and a certificate signed by `ca`."""
    (folder / f"{name}.ext").write_text(extension)
    key = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key"]
    _openssl(*key, cwd=folder)
    request = ["req", "-new", "-key", f"{name}.key", "-subj", f"/CN={subject}"]
    _openssl(*request, "-out", f"{name}.csr", cwd=folder)
    sign = ["x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", f"{name}.ext"]
    by = ["-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial"]
    _openssl(*sign, *by, "-out", f"{name}.crt", cwd=folder)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for ca in ("ca", "stranger"):
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        files = ["-nodes", "-days", "2", "-keyout", f"{ca}.key", "-out", f"{ca}.crt"]
        _openssl(*new, *files, "-subj", f"/CN={ca}", cwd=folder)
    _openssl("x509", "-in", "ca.crt", "-outform", "DER", "-out", "ca.der", cwd=folder)
    _certificate(folder, "server", "broker.test", "subjectAltName=DNS:broker.test\n", "ca")
    _certificate(folder, "client", "dut", "extendedKeyUsage=clientAuth\n", "ca")
    return folder


@pytest.mark.parametrize("ca", ["ca.crt", "ca.der"])
def test_tls_with_client_certificate(
    ca: str, certificates: Path, tmp_path: Path, start: Start
) -> None:
    tls = {"ca": str(certificates / ca)}
    both = {
        **tls,
        "cert": str(certificates / "client.crt"),
        "key": str(certificates / "client.key"),
    }
    with Mosquitto(tmp_path, tls=certificates, client_certificate=True) as broker:
        options = {"server_name": "broker.test", "timeout_ms": 3000}
        device = start(broker.port, tls=both, **options, subscribe=[["t/#", 1]])
        device.expect("up")
        device.tell(do="publish", topic="t/x", payload="secret" * 30, qos=1)
        device.expect("message", payload="secret" * 30)
        device.tell(do="parts", topic="t/long", count=100, size=200)
        assert device.expect("parts")["parts"]
        device.expect("oversize")
        broker.stop()
        broker.start()
        device.expect("up")
        without = start(broker.port, tls=tls, **options)
        without.wait_for(lambda s: s["error"] and not s["connects"])


@pytest.mark.parametrize(
    ("ca", "name"), [("stranger.crt", "broker.test"), ("ca.crt", "other.test")]
)
def test_tls_refuses_a_broker_it_cannot_trust(
    ca: str, name: str, certificates: Path, tmp_path: Path, start: Start
) -> None:
    with Mosquitto(tmp_path, tls=certificates) as broker:
        tls = {"ca": str(certificates / ca)}
        device = start(broker.port, tls=tls, server_name=name, timeout_ms=3000)
        stats = device.wait_for(lambda s: s["error"])
        assert stats["connects"] == 0
        assert "CERT" in stats["error"] or "certificate" in stats["error"]
