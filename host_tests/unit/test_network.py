"""firmware/hal/network.py with a simulated radio: which network, when, and what is said of it."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools import cpython

cpython.install()

from firmware import events  # noqa: E402
from firmware.hal import network  # noqa: E402
from firmware.interfaces.commands import CommandError  # noqa: E402
from host_tests.fakes import radio  # noqa: E402
from host_tests.fakes.fake_console_app import FakeApp  # noqa: E402

HOME = ("home", "homeword", -70)
YARD = ("yard", "yardword", -50)
OPEN = ("cafe", "", -80)


class Bench:
    """An app with a radio, its tasks, and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.tasks = radio.Tasks()
        monkeypatch.chdir(folder)
        # put back afterwards: the other tests of this process have the wall clock
        monkeypatch.setattr(cpython, "_now_us", self.tasks.now_us)
        monkeypatch.setattr(time, "sleep_ms", self.tasks.block_ms, raising=False)
        radio.air(folder, HOME, YARD, OPEN)
        monkeypatch.setattr(network, "network", radio.module())
        monkeypatch.setattr(network, "asyncio", self.tasks.asyncio)
        self.app: Any = FakeApp(folder=str(folder / "data"))
        vars(self.app)["watchdog"] = SimpleNamespace(feed=lambda: None)
        self.tasks.tick = self.app.journal.tick
        self.net = self.app.network = network.make(self.app)

    def know(self, *networks: tuple[str, str, int]) -> None:
        for name, word, _ in networks:
            self.command("wifi", "set", name, *([word] if word else []))

    def start(self, *known: tuple[str, str, int]) -> None:
        self.know(*known)
        self.net.begin()
        self.task = self.tasks.start(self.net.run())

    def command(self, name: str, *words: str) -> Any:
        return self.app.commands.run(name, list(words), "console")

    def state(self) -> str:
        return str(self.net.status()["state"])

    def links(self) -> list[str]:
        """The journal's records of the link."""
        records = [row for row in self.app.journal.since(0) if row[1] == events.LINK]
        return [events.REASONS[row[3]] for row in records]

    def tries(self) -> list[str]:
        rows = [line.split(" ", 1) for line in radio.log(self.folder)]
        return [row[1] for row in rows if row[0] == "connect"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_the_strongest_known_network_is_joined(bench: Bench) -> None:
    bench.start(HOME, YARD)
    bench.tasks.run(5)
    assert bench.net.connected
    assert bench.net.status() == {
        "state": "up",
        "ssid": "yard",
        "address": "192.168.7.20",
        "rssi_dbm": -50,
    }
    assert bench.tries() == ["yard"]
    assert bench.links() == ["wifi_up"]


def test_one_network_needs_no_scan(bench: Bench) -> None:
    bench.start(HOME)
    bench.tasks.run(5)
    assert bench.state() == "up"
    assert radio.log(bench.folder) == ["hostname tg-0123456789", "active", "connect home"]


def test_a_hidden_network_is_tried_after_those_that_were_found(bench: Bench) -> None:
    radio.air(bench.folder, OPEN)
    hidden = {"ssid": "cellar", "password": "cellarword", "rssi": -40, "hidden": True}
    text = (bench.folder / "radio.json").read_text()
    bench.know(("cellar", "cellarword", 0), OPEN)
    known = json.loads(text)
    known["networks"].append(hidden)
    (bench.folder / "radio.json").write_text(json.dumps(known))
    bench.start()
    bench.tasks.run(5)
    assert bench.tries() == ["cafe"] and bench.state() == "up"
    known["networks"] = [hidden]
    (bench.folder / "radio.json").write_text(json.dumps(known))
    bench.tasks.run(20)
    assert bench.net.status()["ssid"] == "cellar" and bench.state() == "up"


def test_an_open_network(bench: Bench) -> None:
    bench.start(OPEN)
    bench.tasks.run(5)
    assert bench.net.status()["ssid"] == "cafe" and bench.state() == "up"


def test_without_a_network_the_radio_stays_off(bench: Bench) -> None:
    bench.start()
    bench.tasks.run(60)
    assert bench.state() == "off"
    assert radio.log(bench.folder) == [] and bench.links() == []


def test_a_wrong_password_is_said_and_the_next_one_tried(bench: Bench) -> None:
    bench.start(("yard", "not-its-word", 0), HOME)
    bench.tasks.run(10)
    assert bench.tries() == ["yard", "home"]
    assert bench.net.status()["ssid"] == "home"
    details = bench.command("wifi")
    assert details["last_failure"] == "yard: wrong password"
    assert details["known"] == ["home", "yard"] and details["state"] == "up"


@pytest.mark.parametrize(
    ("known", "more", "word"),
    [
        (("home", "not-its-word", 0), {}, "wrong password"),
        (("attic", "atticword", 0), {}, "no network"),
        (HOME, {"dhcp": False}, "no address"),
        (HOME, {"dead": True}, "failed"),
    ],
)
def test_each_cause_has_its_word(
    bench: Bench, known: tuple[str, str, int], more: dict[str, bool], word: str
) -> None:
    radio.air(bench.folder, HOME, **more)
    bench.start(known)
    seen = set()
    for _ in range(60):
        bench.tasks.run(1)
        seen.add(bench.state())
    assert word in seen and seen <= {word, "connecting"}
    assert not bench.net.connected and bench.links() == []
    radio.air(bench.folder, known)  # what was wrong is put right
    bench.tasks.run(100)
    assert bench.state() == "up" and bench.links() == ["wifi_up"]
    assert "last_failure" not in bench.command("wifi")


def test_attempts_become_rare_but_never_end(bench: Bench) -> None:
    random.seed(5)
    bench.start(("attic", "atticword", 0))
    counts = []
    for _ in range(6):
        before = len(bench.tries())
        bench.tasks.run(600)
        counts.append(len(bench.tries()) - before)
    assert 8 <= counts[0] <= 16
    assert all(6 <= count <= 10 for count in counts[1:])  # each 62 to 92 s
    log = (bench.folder / "radio.log").read_text().splitlines()
    times = [int(line.split()[0]) for line in log if " connect " in line]
    gaps = {(b - a) // 1000 for a, b in itertools.pairwise(times[9:])}
    assert len(gaps) > 5  # with jitter


def test_a_lost_network_is_joined_again_and_first(bench: Bench) -> None:
    bench.start(HOME, YARD)
    bench.tasks.run(10)
    radio.air(bench.folder, HOME)
    bench.tasks.run(8)
    assert bench.net.status()["ssid"] == "home" and bench.state() == "up"
    assert bench.tries() == ["yard", "yard", "home"]
    radio.air(bench.folder, HOME, YARD)
    bench.tasks.run(300)
    assert bench.tries() == ["yard", "yard", "home"]  # a good one is not left
    radio.air(bench.folder)
    bench.tasks.run(5)
    radio.air(bench.folder, HOME, YARD)
    bench.tasks.run(15)
    assert bench.state() == "up"
    assert radio.log(bench.folder).count("scan") == 1  # at the start only


def test_the_journal_has_losses_but_not_each_flap(bench: Bench) -> None:
    bench.start(HOME)
    bench.tasks.run(120)
    radio.air(bench.folder)
    bench.tasks.run(60)
    assert bench.links() == ["wifi_up", "wifi_down"]
    radio.air(bench.folder, HOME)
    bench.tasks.run(120)
    assert bench.links() == ["wifi_up", "wifi_down", "wifi_up"]
    for _ in range(100):  # two minutes of 3 s away, 3 s there
        radio.air(bench.folder)
        bench.tasks.run(3)
        radio.air(bench.folder, HOME)
        bench.tasks.run(9)
    assert len(bench.links()) == 3
    minutes = 30
    for _ in range(minutes * 2):
        radio.air(bench.folder)
        bench.tasks.run(15)
        radio.air(bench.folder, HOME)
        bench.tasks.run(15)
    assert len(bench.links()) <= 3 + 2 * minutes
    bench.tasks.run(120)
    assert bench.links()[-1] == "wifi_up"


def test_hostname(bench: Bench) -> None:
    bench.app.device_id = "my_truck-"
    bench.start(HOME)
    bench.tasks.run(1)
    assert "hostname my-truck" in radio.log(bench.folder)
    bench.app.settings.set("wifi.hostname", "van")
    assert bench.command("wifi")["hostname"] == "van"
    bench.app.settings.set("wifi.hostname", "___")
    assert bench.command("wifi")["hostname"] == "tailgate"


# -- the commands


def test_wifi_set_fills_the_places_and_forget_frees_them(bench: Bench) -> None:
    settings = bench.app.settings
    bench.know(HOME, YARD, OPEN)
    assert [settings.get("wifi.ssid" + n) for n in ("", "2", "3")] == ["home", "yard", "cafe"]
    assert settings.get("wifi.password2") == "yardword" and settings.get("wifi.password3") == ""
    with pytest.raises(CommandError) as caught:
        bench.command("wifi", "set", "attic", "atticword")
    assert (
        str(caught.value)
        == "3 networks are known (there are: cafe, home, yard): first wifi forget <ssid>"
    )
    bench.command("wifi", "set", "yard", "a", "new", "one")  # the one of that name
    assert settings.get("wifi.password2") == "a new one"
    bench.command("wifi", "forget", "home")
    assert settings.get("wifi.ssid") == "" and settings.get("wifi.password") == ""
    bench.command("wifi", "set", "attic", "atticword")
    assert settings.get("wifi.ssid") == "attic"
    shown = str(bench.command("wifi")) + str(list(settings.rows(settings.snapshot(), "none")))
    assert "word" not in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("set", "home", "short"),
            "a network has a name, and a password of 8 to 63 bytes or none",
        ),
        (("set", ""), "a network has a name, and a password of 8 to 63 bytes or none"),
        (("set", "home", "x" * 64), "wifi.password: that value is not allowed"),
        (("set", "x" * 33), "wifi.ssid: 'xxx"),
        (("forget", "attic"), "no network 'attic' is known (there are: none)"),
        (("forget", ""), "no network '' is known (there are: none)"),
        (("forget",), "usage: wifi"),
        (("forget", "a", "b"), "usage: wifi"),
        (("join", "a"), "usage: wifi"),
    ],
)
def test_bad_input_changes_nothing(bench: Bench, words: tuple[str, ...], sentence: str) -> None:
    before = bench.app.settings.snapshot()
    with pytest.raises(CommandError) as caught:
        bench.command("wifi", *words)
    assert str(caught.value).startswith(sentence)
    assert bench.app.settings.snapshot() == before


def test_a_scan_is_refused_while_an_outlet_is_on(bench: Bench) -> None:
    bench.command("on", "bed2")
    with pytest.raises(CommandError) as caught:
        bench.command("wifi", "scan")
    assert (
        str(caught.value)
        == "a scan stops the control of the outlets for 2 s: switch bed2 off first"
    )
    assert radio.log(bench.folder) == []
    bench.command("off", "bed2")
    radio.air(bench.folder, HOME, YARD, ("home", "homeword", -40), ("bad\x1b[2J", "", -20))
    found = bench.command("wifi", "scan")
    assert found == {
        "networks": [{"ssid": "home", "rssi_dbm": -40}, {"ssid": "yard", "rssi_dbm": -50}]
    }


def test_a_radio_that_does_not_answer_is_said(bench: Bench) -> None:
    radio.air(bench.folder, dead=True)
    with pytest.raises(CommandError, match=r"^the radio cannot scan now: try again$"):
        bench.command("wifi", "scan")


# -- join


def test_join_leaves_one_network_for_another(bench: Bench) -> None:
    bench.start(HOME)
    bench.tasks.run(10)
    assert bench.tasks.finish(bench.net.join("yard", "yardword")) == ""
    assert bench.net.status()["ssid"] == "yard" and bench.state() == "up"
    radio.air(bench.folder)
    bench.tasks.run(60)
    radio.air(bench.folder, YARD)  # it is one of the known networks now
    bench.tasks.run(100)
    assert bench.net.status()["ssid"] == "yard" and bench.state() == "up"
    assert bench.app.settings.get("wifi.ssid") == "home"  # it stores nothing


def test_join_without_any_network_known(bench: Bench) -> None:
    bench.start()
    bench.tasks.run(10)
    assert bench.tasks.finish(bench.net.join("home", "homeword")) == ""
    assert bench.state() == "up" and bench.command("wifi")["known"] == ["home"]


@pytest.mark.parametrize(
    ("name", "word", "reason"),
    [
        ("yard", "not-its-word", "wrong password"),
        ("attic", "atticword", "no network"),
        ("", "", "a network's name has 1 to 32 bytes"),
        ("x" * 33, "", "a network's name has 1 to 32 bytes"),
        ("yard", "short", "a Wi-Fi password has 8 to 63 characters"),
        ("yard", "x" * 64, "a Wi-Fi password has 8 to 63 characters"),
    ],
)
def test_a_join_that_fails_brings_the_old_one_back(
    bench: Bench, name: str, word: str, reason: str
) -> None:
    bench.start(HOME)
    bench.tasks.run(10)
    assert bench.tasks.finish(bench.net.join(name, word)) == reason
    bench.tasks.run(6)
    assert bench.net.status()["ssid"] == "home" and bench.state() == "up"
    assert bench.command("wifi")["known"] == ["home"]


@pytest.mark.parametrize("after_s", [0.3, 1.5, 2.6, 5, 9, 31])
def test_join_in_the_midst_of_attempts(bench: Bench, after_s: float) -> None:
    bench.start(("attic", "atticword", 0), ("cellar", "cellarword", 0))
    bench.tasks.run(after_s)
    assert bench.tasks.finish(bench.net.join("yard", "yardword"), within=5) == ""
    bench.tasks.run(60)
    assert bench.state() == "up" and bench.tries()[-1] == "yard"


def test_two_joins_at_once_and_one_that_is_given_up(bench: Bench) -> None:
    bench.start(HOME)
    bench.tasks.run(10)
    first = bench.tasks.start(bench.net.join("yard", "yardword"))
    bench.tasks.run(0.5)
    assert bench.tasks.finish(bench.net.join("cafe", "")) == "another network is being joined"
    bench.tasks.drop(first)
    bench.tasks.run(8)
    assert bench.net.status()["ssid"] == "home" and bench.state() == "up"


def test_a_dead_radio_is_a_reason_of_join(bench: Bench) -> None:
    radio.air(bench.folder, dead=True)
    bench.start()
    assert bench.tasks.finish(bench.net.join("home", "homeword")) == "failed"


def test_nothing_blocks_once_the_radio_is_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(HOME, YARD)

    def stopped(ms: int) -> None:
        raise AssertionError(f"Python stood still for {ms} ms")

    monkeypatch.setattr(time, "sleep_ms", stopped)
    steps: list[Callable[[], None]] = [
        lambda: radio.air(bench.folder),
        lambda: radio.air(bench.folder, YARD),
        lambda: radio.air(bench.folder, HOME),
    ]
    for step in steps * 3:
        step()
        bench.tasks.run(100)
    assert bench.tasks.finish(bench.net.join("attic", "atticword")) == "no network"
    bench.tasks.run(30)
    assert bench.state() == "up"
