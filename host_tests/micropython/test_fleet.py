"""A fleet at a real mosquitto, and the configuration files of docs/fleet at real brokers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import trustme

from tools.fleet.record import Recording, record
from tools.fleet.run import Fleet, saturated
from tools.fleet.store import Store
from tools.runtime.broker import Mosquitto

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "docs" / "fleet"
HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record()


def until(good: Callable[[], Any], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not good():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Peer:
    """A client with a memory."""

    def __init__(
        self,
        port: int,
        name: str,
        user: str = "",
        topics: tuple[str, ...] = (),
        tls: Path | None = None,
        clean: bool = True,
    ) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.ready = False
        self.known = False  # the broker had a session for it
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=paho.MQTTv311,
            clean_session=clean,
        )
        if user:
            client.username_pw_set(user, user + "-secret")
        if tls:
            own = (tls / f"{name}.crt", tls / f"{name}.key")
            client.tls_set(
                str(tls / "ca.crt"), *(str(path) if path.exists() else None for path in own)
            )
        client.on_message = lambda c, d, m: self.heard.append((m.topic, m.payload))
        client.on_connect = lambda c, d, f, code, p: self._up(c, f, code, topics)
        client.on_subscribe = self._subscribed
        client.connect(HOST, port)
        client.loop_start()
        self.client = client
        until(lambda: self.ready)

    def _up(self, client: paho.Client, flags: Any, code: Any, topics: tuple[str, ...]) -> None:
        assert not code.is_failure, code
        self.known = flags.session_present
        if topics:
            client.subscribe([(topic, 1) for topic in topics])
        else:
            self.ready = True

    def _subscribed(self, *_: Any) -> None:
        self.ready = True

    def say(self, topic: str, payload: str = "x", retain: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain).wait_for_publish(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(*words: Any, **kind: Any) -> Peer:
        made.append(Peer(*words, **kind))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


# -- the fleet itself -------------------------------------------------------------------------


def test_a_recording_is_what_the_firmware_says(recording: Recording) -> None:
    topics = [message.topic for message in recording.greeting]
    assert "availability" in topics and "outlet/bed240/state" in topics
    assert any(topic.startswith("homeassistant/device/") for topic in topics)
    assert recording.state["device"] == recording.device_id
    assert recording.response["id"] == "fleet" and recording.response["ok"]
    # what docs/fleet.md says of a broker's memory
    kept = [len(message.payload) for message in recording.greeting if message.retain]
    assert len(kept) == 8 and 22_000 < sum(kept) < 23_500 and 21_500 < max(kept) < 22_500
    assert 1700 < len(json.dumps(recording.state, separators=(",", ":"))) < 2300
    before, after = recording.switched[1], recording.switched[0]
    assert not json.loads(before.payload)["on"] and json.loads(after.payload)["on"]


def test_fifty_controllers_lose_nothing_are_stored_and_leave_nothing(
    recording: Recording, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path) as own:
        with Store(tmp_path, own.port, scrape_s=1) as store:
            figures = Fleet(50, recording, (HOST, own.port), own, store=store).run(8)
        listener = Peer(own.port, "fleet-judge", topics=("#",), clean=False)
        time.sleep(0.5)
        # it may have been somebody's own broker: nothing is retained, no session waits
        assert not listener.heard and not listener.known
        listener.close()
    assert figures["states"]["sent"] >= 50 * 6 and figures["states"]["lost"] == 0
    assert figures["events"]["sent"] > 0 and figures["events"]["lost"] == 0
    assert figures["events"]["disordered"] == 0
    stored = figures["stored"]
    each = (FILES / "exporter-state.yml").read_text().count("prom_name:") + 1  # and availability
    assert (stored["boards"], stored["online"], stored["series"]) == (50, 50, 50 * each)
    assert figures["prometheus"]["mb"] > 20 and figures["exporter_state"]["cpu_percent"] > 0
    said = sum(figures[kind]["sent"] for kind in ("states", "events", "commands"))
    assert figures["messages_per_s"] * figures["seconds"] == pytest.approx(said, rel=0.05)
    assert figures["commands"]["sent"] > 50
    assert figures["commands"]["answered"] == figures["commands"]["sent"]
    assert figures["state_ms"]["p50"] < 500 and figures["command_ms"]["p50"] < 500


def test_it_says_when_it_measures_itself(recording: Recording, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as own:
        easy = Fleet(5, recording, (HOST, own.port), own).run(2)
        hard = Fleet(100, recording, (HOST, own.port), own, interval_s=0.003).run(2)
    assert not easy["states"]["skipped"] and not saturated(easy)
    assert hard["states"]["skipped"] > 100 and "too slow" in saturated(hard)
    assert "core" in saturated({**easy, "tool_cpu_percent": 95.0})
    assert "late" in saturated({**easy, "late_ms": {"p50": 1.0, "p95": 400.0, "max": 500.0}})


def test_a_restart_of_the_broker_loses_no_event(recording: Recording, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, persistent=True) as own:
        figures = Fleet(30, recording, (HOST, own.port), own, seed=4).run(10, restart=True)
    assert figures["back_after_restart_s"] < 20
    assert figures["states"]["lost"] > 0  # it was really away
    assert figures["events"]["sent"] > 10 and figures["events"]["lost"] == 0
    assert figures["events"]["disordered"] == 0 and figures["broker_cpu_percent"] is None


# -- access list ------------------------------------------------------------------------------


def hashed(password: str) -> str:
    """As mosquitto_passwd writes it: PBKDF2 with SHA-512."""
    salt = os.urandom(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    users = ("tailgate-aaaaaa", "tailgate-bbbbbb", "collector", "operator")
    passwords = tmp_path / "passwords"
    passwords.write_text("".join(f"{user}:{hashed(user + '-secret')}\n" for user in users))
    acl = tmp_path / "acl"
    acl.write_text((FILES / "acl").read_text())
    for path in (passwords, acl):
        path.chmod(0o600)
    with Mosquitto(tmp_path, password_file=passwords, extra=[f"acl_file {acl}"]) as broker:
        yield broker


def in_vain(peer: Peer, topic: str) -> None:
    """Say what must not arrive; mosquitto may close the connection of who tries."""
    with contextlib.suppress(RuntimeError):
        peer.say(topic, "forged")
    peer.close()


def test_a_board_speaks_for_itself_only(guarded: Mosquitto, peers: Callable[..., Peer]) -> None:
    port = guarded.port
    listener = peers(port, "l", "operator", ("tailgate/#", "homeassistant/#"))
    for topic in (
        "tailgate/tailgate-bbbbbb/state",
        "tailgate/tailgate-bbbbbb/outlet/bed1/set",
        "homeassistant/device/tailgate-bbbbbb/config",
    ):
        in_vain(peers(port, "a", "tailgate-aaaaaa"), topic)
    board = peers(port, "a", "tailgate-aaaaaa")
    board.say("tailgate/tailgate-aaaaaa/state", "mine")
    board.say("homeassistant/device/tailgate-aaaaaa/config", "mine")
    until(lambda: len(listener.heard) >= 2)
    time.sleep(0.3)
    assert sorted(listener.heard) == [
        ("homeassistant/device/tailgate-aaaaaa/config", b"mine"),
        ("tailgate/tailgate-aaaaaa/state", b"mine"),
    ]


def test_a_board_hears_only_its_own_commands(
    guarded: Mosquitto, peers: Callable[..., Peer]
) -> None:
    port = guarded.port
    board = peers(port, "a", "tailgate-aaaaaa", ("tailgate/+/command", "tailgate/+/outlet/+/set"))
    other = peers(port, "b", "tailgate-bbbbbb", ("tailgate/tailgate-bbbbbb/command",))
    operator = peers(port, "o", "operator")
    for rest in ("outlet/bed1/set", "command"):
        in_vain(peers(port, "c", "collector"), "tailgate/tailgate-aaaaaa/" + rest)
    operator.say("tailgate/tailgate-bbbbbb/command", "for b")
    operator.say("tailgate/tailgate-aaaaaa/outlet/bed1/set", "OFF")
    until(lambda: board.heard and other.heard)
    time.sleep(0.3)
    assert board.heard == [("tailgate/tailgate-aaaaaa/outlet/bed1/set", b"OFF")]
    assert other.heard == [("tailgate/tailgate-bbbbbb/command", b"for b")]


# -- bridge -----------------------------------------------------------------------------------


def tls_folder(folder: Path, *boards: str) -> Path:
    """Certificates of an authority, a broker on the loopback, and boards by their names."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    for name in ("server", *boards):
        one = authority.issue_cert(HOST, common_name=name)
        one.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
        one.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


def test_a_certificate_makes_a_board_the_user_it_is_named_after(
    tmp_path: Path, peers: Callable[..., Peer]
) -> None:
    tls = tls_folder(tmp_path / "tls", "tailgate-aaaaaa", "tailgate-bbbbbb", "operator")
    acl = tmp_path / "acl"
    acl.write_text((FILES / "acl").read_text())
    acl.chmod(0o600)
    page = (ROOT / "docs" / "fleet.md").read_text()
    assert "`use_identity_as_username true`" in page
    extra = [f"acl_file {acl}", "use_identity_as_username true"]
    with Mosquitto(tmp_path, tls=tls, client_certificate=True, extra=extra) as broker:
        listener = peers(broker.port, "operator", "", ("tailgate/#",), tls=tls)
        board = peers(broker.port, "tailgate-aaaaaa", tls=tls)
        in_vain(board, "tailgate/tailgate-bbbbbb/state")
        peers(broker.port, "tailgate-bbbbbb", tls=tls).say("tailgate/tailgate-bbbbbb/state", "b")
        until(lambda: listener.heard)
        time.sleep(0.3)
        assert listener.heard == [("tailgate/tailgate-bbbbbb/state", b"b")]


def test_a_bridged_site_keeps_its_events_while_the_line_is_down(
    tmp_path: Path, peers: Callable[..., Peer]
) -> None:
    tls = tls_folder(tmp_path / "tls")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"site-7:{hashed('change-me')}\nviewer:{hashed('viewer-secret')}\n")
    passwords.chmod(0o600)
    central = Mosquitto(tmp_path / "central", tls=tls, password_file=passwords)
    text = (FILES / "bridge.conf").read_text()
    text = text.replace("central.example.org:8883", f"{HOST}:{central.port}")
    text = text.replace("/etc/mosquitto/ca.crt", str(tls / "ca.crt"))
    text = text.replace("restart_timeout 5 30", "restart_timeout 3 4")
    assert "example.org" not in text and "/etc/" not in text
    topics = ("tailgate/#", "homeassistant/#", "bridge/#")
    up = ("bridge/site-7/state", b"1")
    with central, Mosquitto(tmp_path / "site", extra=text.splitlines()) as site:
        viewer = peers(central.port, "v", "viewer", topics, tls=tls)
        until(lambda: up in viewer.heard)
        board = peers(site.port, "b", "", ("tailgate/tailgate-aaaaaa/command",))
        board.say("tailgate/tailgate-aaaaaa/state", "s")
        board.say("tailgate/tailgate-aaaaaa/event", "e1")
        board.say("homeassistant/device/tailgate-aaaaaa/config", "c", retain=True)
        board.say("tailgate/tailgate-aaaaaa/energy", "kwh", retain=True)
        until(lambda: len(viewer.heard) >= 5)
        assert ("tailgate/tailgate-aaaaaa/event", b"e1") in viewer.heard
        viewer.say("tailgate/tailgate-aaaaaa/command", "ask")
        until(lambda: board.heard)
        assert board.heard == [("tailgate/tailgate-aaaaaa/command", b"ask")]
        # Home Assistant at the central broker has started: boards announce themselves again
        waiting = peers(site.port, "w", "", ("homeassistant/status",))
        viewer.say("homeassistant/status", "online")
        until(lambda: waiting.heard == [("homeassistant/status", b"online")])
        newcomer = peers(central.port, "n", "viewer", ("tailgate/#",), tls=tls)
        until(lambda: ("tailgate/tailgate-aaaaaa/energy", b"kwh") in newcomer.heard)
        viewer.close()
        central.stop()
        for number in range(2, 12):
            board.say("tailgate/tailgate-aaaaaa/event", f"e{number}")
        central.start()
        viewer = peers(central.port, "v2", "viewer", topics, tls=tls)
        until(lambda: sum(topic.endswith("/event") for topic, _ in viewer.heard) >= 10, 20)
        events = [payload for topic, payload in viewer.heard if topic.endswith("/event")]
        assert events == [f"e{number}".encode() for number in range(2, 12)]


# -- collectors -------------------------------------------------------------------------------


def test_two_collectors_share_the_load(tmp_path: Path, peers: Callable[..., Peer]) -> None:
    topic = telegraf()["inputs"]["mqtt_consumer"][0]["topics"][0]
    assert topic.startswith("$share/")
    with Mosquitto(tmp_path) as broker:
        one = peers(broker.port, "one", "", (topic,))
        two = peers(broker.port, "two", "", (topic,))
        board = peers(broker.port, "board")
        for number in range(60):
            board.say(f"tailgate/board-{number}/state", str(number))
        until(lambda: len(one.heard) + len(two.heard) >= 60)
        time.sleep(0.2)
        numbers = [int(payload) for _, payload in one.heard + two.heard]
        assert sorted(numbers) == list(range(60))
        assert len(one.heard) >= 15 and len(two.heard) >= 15


def telegraf() -> dict[str, Any]:
    return tomllib.loads((FILES / "telegraf.conf").read_text())


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """As Telegraf's json format names what is nested."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}_{key}" if name else key)
    else:
        yield name, value


def test_telegraf_names_fields_that_a_state_message_has(recording: Recording) -> None:
    fields = dict(flat(recording.state))
    inputs = telegraf()["inputs"]["mqtt_consumer"]
    for pattern in inputs[0]["json_string_fields"]:
        found = [name for name in fields if fnmatch(name, pattern)]
        assert found and all(isinstance(fields[name], str) for name in found), pattern
    page = (ROOT / "docs" / "fleet.md").read_text().partition("with Telegraf the fields are")[2]
    named = set(re.findall(r"\b(?:outlets|legs|total|supply)_[a-z0-9_]+", page))
    assert len(named) >= 5
    for name in named:
        assert isinstance(fields[name], int | float), name
    event = dict(flat(recording.event))
    assert set(inputs[1]["tag_keys"]) <= set(event)
    for one in inputs:
        parts = one["topic_parsing"][0]
        assert one["topics"][0].endswith(parts["topic"])
        assert parts["tags"].split("/") == ["_", "device", "_"]
