"""What a fleet says, stored: docs/fleet's files in the programs they are for.

A mosquitto with TLS, passwords and docs/fleet/acl; the firmware with a saw at bed1, and recorded
boards with figures of their own; two MQTT exporters, Prometheus with its alerts, InfluxDB. Only
addresses, paths and the pace of fetching are changed in the files. What comes out is compared with
what a client heard at the broker.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from firmware.protection import outlet as o
from host_tests.micropython.test_fleet import FILES, HOST, ROOT, Peer, hashed, tls_folder
from tools.fleet.record import Recording, record
from tools.runtime.broker import Mosquitto, free_port
from tools.runtime.timeseries import Server, ensure
from tools.simulator.device import SimulatedDevice
from tools.simulator.port import SimulatedPort

LIVE = "tailgate-live"
BOARDS = [f"tailgate-{number:06d}" for number in range(12)]
OUTLETS = ("cabin1", "cabin2", "bed1", "bed2", "bed240")


def ask(address: str, **words: str) -> Any:
    """The JSON that an address answers with."""
    with urllib.request.urlopen(f"{address}?{urllib.parse.urlencode(words)}", timeout=10) as page:
        return json.load(page)


def wait_for(value: Any, within_s: float = 20.0) -> Any:
    """What `value()` returns once it is true."""
    end = time.monotonic() + within_s
    while True:
        found = value()
        if found:
            return found
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


class Site:
    """A broker and what stores its messages, from docs/fleet."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inner = free_port()  # without TLS: the simulated chip has no certificates
        tls = tls_folder(home / "tls")
        users = (LIVE, *BOARDS, "collector", "operator")
        passwords = home / "passwords"
        passwords.write_text("".join(f"{user}:{hashed(user + '-secret')}\n" for user in users))
        acl = home / "acl"
        acl.write_text((FILES / "acl").read_text())
        for path in (passwords, acl):
            path.chmod(0o600)
        self.broker = Mosquitto(
            home,
            tls=tls,
            password_file=passwords,
            extra=[f"acl_file {acl}", "max_queued_messages 1000", f"listener {self.inner} {HOST}"],
        )
        self.ports = {name: free_port() for name in ("state", "availability", "web", "influx")}
        self._changes = {
            "central.example.org:8883": f"{HOST}:{self.broker.port}",
            "127.0.0.1:9641": f"{HOST}:{self.ports['state']}",
            "127.0.0.1:9642": f"{HOST}:{self.ports['availability']}",
            "influx.example.org:8086": f"{HOST}:{self.ports['influx']}",
            "scrape_interval: 10s": "scrape_interval: 1s",
            "evaluation_interval: 10s": "evaluation_interval: 1s",
        }
        self.servers = [self.exporter("state"), self.exporter("availability")]
        self.servers += [self._influx(), self._prometheus()]

    def file(self, name: str, *names: str, **changes: str) -> Path:
        """A file of docs/fleet (or several, one behind the other) with this site's addresses."""
        text = "".join((FILES / one).read_text() for one in (name, *names))
        for old, new in {**self._changes, **changes}.items():
            text = text.replace(old, new)
        assert "example.org" not in text and "/etc/" not in text
        path = self.home / name
        path.write_text(text)
        return path

    def exporter(self, kind: str, port: int = 0, **changes: str) -> Server:
        port = port or self.ports[kind]
        name = f"exporter-{kind}.yml"
        return Server(
            "prometheus-mqtt-exporter",
            ["-config", self.file(name, **changes), "-listen-address", HOST, "-listen-port", port],
            self.home,
            f"http://{HOST}:{port}/metrics",
            {
                "MQTT2PROM_MQTT_PASSWORD": "collector-secret",
                "SSL_CERT_FILE": str(self.home / "tls" / "ca.crt"),
            },
        )

    def _prometheus(self) -> Server:
        self.file("alerts.yml")
        words = [f"--config.file={self.file('prometheus.yml', 'remote-write.yml')}"]
        words += [f"--storage.tsdb.path={self.home / 'prometheus'}"]
        words += [f"--web.listen-address={HOST}:{self.ports['web']}"]
        return Server("prometheus", words, self.home, f"http://{HOST}:{self.ports['web']}/-/ready")

    def _influx(self) -> Server:
        data = self.home / "influx"
        conf = self.home / "influx.conf"
        conf.write_text(
            f'reporting-disabled = true\nbind-address = "{HOST}:{free_port()}"\n'
            f'[meta]\ndir = "{data}/meta"\n[data]\ndir = "{data}/data"\nwal-dir = "{data}/wal"\n'
            f'[http]\nbind-address = "{HOST}:{self.ports["influx"]}"\nlog-enabled = false\n'
        )
        words = ["-config", conf]
        return Server("influxd", words, self.home, f"http://{HOST}:{self.ports['influx']}/ping")

    def __enter__(self) -> Site:
        self.broker.start()
        for server in self.servers:
            server.start()
            if server.name == "influxd":
                self.influx("CREATE DATABASE tailgate")
        return self

    def __exit__(self, *_: object) -> None:
        for server in reversed(self.servers):
            server.stop()
        self.broker.stop()

    # -- questions ---------------------------------------------------------------------------

    def query(self, text: str) -> list[dict[str, Any]]:
        """What Prometheus answers: [{"metric": labels, "value" or "values": ...}]."""
        answer = ask(f"http://{HOST}:{self.ports['web']}/api/v1/query", query=text)
        assert answer["status"] == "success"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, text: str) -> dict[str, float]:
        """The same by device."""
        return {one["metric"]["device"]: float(one["value"][1]) for one in self.query(text)}

    def alerts(self) -> set[tuple[str, str, str, str]]:
        """(alert, device, outlet, state) of all that are not quiet."""
        answer = ask(f"http://{HOST}:{self.ports['web']}/api/v1/alerts")
        return {
            (
                one["labels"]["alertname"],
                one["labels"].get("device", ""),
                one["labels"].get("outlet", ""),
                one["state"],
            )
            for one in answer["data"]["alerts"]
        }

    def influx(self, text: str) -> list[dict[str, Any]]:
        """What InfluxDB answers: its series."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.ports['influx']}/query",
            urllib.parse.urlencode({"db": "tailgate", "q": text}).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as page:
            found: list[dict[str, Any]] = json.load(page)["results"][0].get("series", [])
        return found


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as made:
        yield made


def message(recording: Recording, number: int, more_kwh: float = 0.0) -> dict[str, Any]:
    """A state message of board `number`: the firmware's, with figures of its own."""
    state = copy.deepcopy(recording.state)
    state["device"] = BOARDS[number]
    for place, name in enumerate(OUTLETS):
        figures = state["outlets"][name]
        figures["power_w"] = 100.0 * number + 10 * place + 0.5
        figures["energy_kwh"] = round(10 * number + place + 0.1234 + more_kwh, 4)
        figures["state"] = o.STATES[(number + place) % len(o.STATES)]
        figures["on"] = figures["state"] == "on"
    if number % 2:
        state["temperature_c"] = None
    return state


@pytest.fixture(scope="module")
def boards(site: Site, recording: Recording) -> Iterator[list[Peer]]:
    """Boards with their own users; all of them are there, and have said how they are."""
    made = [Peer(site.inner, name, name) for name in BOARDS]
    for number, board in enumerate(made):
        board.say(f"tailgate/{BOARDS[number]}/availability", "online", retain=True)
        board.say(f"tailgate/{BOARDS[number]}/state", json.dumps(message(recording, number)))
    yield made
    for board in made:
        board.close()


def states_heard(listener: Peer, device: str) -> list[dict[str, Any]]:
    topic = f"tailgate/{device}/state"
    return [json.loads(payload) for name, payload in list(listener.heard) if name == topic]


# -- boards with figures of their own ---------------------------------------------------------


def test_each_boards_figures_are_stored_under_its_name(
    site: Site, boards: list[Peer], recording: Recording
) -> None:
    sent = {name: message(recording, number) for number, name in enumerate(BOARDS)}
    wait_for(lambda: len(site.query("tailgate_outlet_power_w")) == len(BOARDS) * len(OUTLETS))
    for outlet in OUTLETS:
        for metric, field in (
            ("power_w", "power_w"),
            ("energy_kwh_total", "energy_kwh"),
            ("on", "on"),
            ("heat_percent", "heat_percent"),
            ("voltage_v", "voltage_v"),
        ):
            found = site.values(f'tailgate_outlet_{metric}{{outlet="{outlet}"}}')
            assert found == {name: sent[name]["outlets"][outlet][field] for name in BOARDS}, metric
        assert site.values(f'tailgate_outlet_state{{outlet="{outlet}"}}') == {
            name: o.STATES.index(sent[name]["outlets"][outlet]["state"]) for name in BOARDS
        }
    wait_for(lambda: site.values("tailgate_online") == dict.fromkeys(BOARDS, 1.0))
    # a board without a sensor has no figure, and the other ones have theirs
    assert site.values("tailgate_temperature_celsius") == dict.fromkeys(BOARDS[::2], 25.0)
    assert {"device", "instance", "job", "outlet", "__name__"} == set(
        site.query("tailgate_outlet_power_w")[0]["metric"]
    )


def test_influxdb_gets_the_same_from_prometheus(
    site: Site, boards: list[Peer], recording: Recording
) -> None:
    text = (
        "SELECT first(value) FROM tailgate_outlet_energy_kwh_total WHERE outlet = 'bed240' "
        "GROUP BY device"
    )
    found = wait_for(lambda: all_there(site.influx(text)))
    assert found == {
        name: message(recording, number)["outlets"]["bed240"]["energy_kwh"]
        for number, name in enumerate(BOARDS)
    }


def all_there(series: list[dict[str, Any]]) -> dict[str, float]:
    found = {one["tags"]["device"]: one["values"][0][1] for one in series}
    return found if set(found) >= set(BOARDS) else {}


def test_the_energy_of_a_span_is_what_the_counters_have_grown(
    site: Site, boards: list[Peer], recording: Recording
) -> None:
    wait_for(lambda: len(site.values('tailgate_outlet_energy_kwh_total{outlet="bed1"}')) == 12)
    for number, board in enumerate(boards):
        state = message(recording, number, more_kwh=0.25 * number)
        board.say(f"tailgate/{BOARDS[number]}/state", json.dumps(state))
    last = BOARDS[-1]
    span = next(text for text in queries() if "max_over_time" in text)
    wait_for(lambda: dict(by_board(site, span)).get(last))
    assert by_board(site, span) == {
        name: pytest.approx(0.25 * number * len(OUTLETS)) for number, name in enumerate(BOARDS)
    }


def by_board(site: Site, text: str) -> dict[str, float]:
    return {name: kwh for name, kwh in site.values(text).items() if name in BOARDS}


def queries() -> list[str]:
    """The PromQL of the page."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    blocks = re.findall(r"```promql\n(.*?)```", page, re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_queries_of_the_page_have_answers(
    site: Site, boards: list[Peer], recording: Recording
) -> None:
    wait_for(lambda: len(site.values("tailgate_uptime_seconds")) >= len(BOARDS))
    assert len(queries()) >= 4
    for text in queries():
        wait_for(lambda text=text: site.query(text))


def test_alerts_name_the_board_and_the_outlet(
    site: Site, boards: list[Peer], recording: Recording
) -> None:
    sent = {name: message(recording, number)["outlets"] for number, name in enumerate(BOARDS)}
    wait_for(lambda: any(name == "OutletFault" for name, *_ in site.alerts()))
    words = {"OutletTripped": ("tripped", "lockout"), "OutletFault": ("fault",)}
    for alert, states in words.items():
        found = {tuple(rest) for name, *rest in site.alerts() if name == alert}
        assert found == {
            (name, outlet, "firing")
            for name in BOARDS
            for outlet in OUTLETS
            if sent[name][outlet]["state"] in states
        }
    assert {name for name, *_ in site.alerts()} == set(words)


# -- the firmware itself ----------------------------------------------------------------------


def test_what_the_firmware_measures_is_what_is_stored(site: Site) -> None:
    settings = {"mqtt.host": HOST, "mqtt.port": site.inner, "device.id": LIVE}
    settings |= {"mqtt.user": LIVE, "mqtt.password": LIVE + "-secret"}
    device = SimulatedDevice(settings=settings)
    power = f'tailgate_outlet_power_w{{device="{LIVE}",outlet="bed1"}}'
    energy = f'tailgate_outlet_energy_kwh_total{{device="{LIVE}",outlet="bed1"}}'
    with (
        closing(Peer(site.inner, "listener", "collector", ("tailgate/+/state",))) as listener,
        closing(Peer(site.inner, "operator", "operator")) as operator,
        SimulatedPort(device) as port,
    ):
        port.sim("plug bed1 circular_saw")
        wait_for(lambda: site.values(f'tailgate_online{{device="{LIVE}"}}').get(LIVE) == 1)
        wait_for(lambda: any(not state["starting"] for state in states_heard(listener, LIVE)))
        operator.say(f"tailgate/{LIVE}/outlet/bed1/set", "ON")
        wait_for(lambda: site.values(power).get(LIVE, 0) > 1000)
        wait_for(lambda: len(stored(site, power)) >= 4)
        # every stored figure is one that was sent, and they came in this order
        told = iter(
            [state["outlets"]["bed1"]["power_w"] for state in states_heard(listener, LIVE)]
        )
        assert all(watts in told for watts in stored(site, power))
        # a short circuit: the alert is there while the outlet waits for its reset
        port.sim("short bed1")
        tripped = ("OutletTripped", LIVE, "bed1", "firing")
        wait_for(lambda: tripped in site.alerts())
        port.call(device.power_cut)  # its last will says so
        assert port.error is None
        wait_for(lambda: site.values("tailgate_online").get(LIVE) == 0)
        wait_for(lambda: ("BoardOffline", LIVE, "", "pending") in site.alerts())
        heard = [state["outlets"]["bed1"] for state in states_heard(listener, LIVE)]
    assert heard[-1]["state"] == "tripped"
    assert heard[-1]["energy_kwh"] > heard[0]["energy_kwh"] == 0
    wait_for(lambda: site.values(energy) == {LIVE: heard[-1]["energy_kwh"]})


def stored(site: Site, what: str) -> list[float]:
    """The different figures that Prometheus has, in their order."""
    found: list[float] = []
    for one in site.query(what + "[5m]"):
        for _, text in one["values"]:
            if not found or found[-1] != float(text):
                found.append(float(text))
    return found


# -- trouble ----------------------------------------------------------------------------------


def test_the_exporters_come_back_after_a_restart_of_the_broker(
    site: Site, recording: Recording
) -> None:
    topic = f"tailgate/{BOARDS[3]}/state"
    site.broker.stop()
    wait_for(lambda: len(site.query("mqtt2prometheus_connected == 0")) == 2)
    site.broker.start()
    wait_for(lambda: len(site.query("mqtt2prometheus_connected == 1")) == 2, 40)
    with closing(Peer(site.inner, "again", BOARDS[3])) as board:
        state = message(recording, 3, more_kwh=7)
        board.say(topic, json.dumps(state))
        total = f'tailgate_outlet_energy_kwh_total{{device="{BOARDS[3]}",outlet="cabin1"}}'
        new = state["outlets"]["cabin1"]["energy_kwh"]
        wait_for(lambda: site.values(total) == {BOARDS[3]: new})


def test_a_silent_board_has_no_figures_after_a_while(site: Site, recording: Recording) -> None:
    port = free_port()
    address = f"http://{HOST}:{port}/metrics"
    changes = {"timeout: 90s": "timeout: 2s", "exporter-state-1": "exporter-state-2"}
    state = json.dumps(message(recording, 5))

    def there() -> bool:
        with urllib.request.urlopen(address, timeout=5) as page:
            return f'sensor="{BOARDS[5]}"' in page.read().decode()

    with (
        site.exporter("state", port, **changes),
        closing(Peer(site.inner, "five", BOARDS[5])) as board,
    ):
        board.say(f"tailgate/{BOARDS[5]}/state", state)
        wait_for(there)
        wait_for(lambda: not there())


def test_a_board_out_of_service_is_gone_after_a_restart_of_the_exporter(site: Site) -> None:
    port = free_port()
    changes = {"exporter-availability-1": "exporter-availability-2"}
    topic = f"tailgate/{BOARDS[7]}/availability"

    def shown() -> list[str]:
        """`1`: online, `0`: offline; of each board with this name."""
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        name = f'sensor="{BOARDS[7]}"'
        return [line.split()[-1] for line in lines if "tailgate_online{" in line and name in line]

    with closing(Peer(site.inner, "seven", BOARDS[7])) as board:
        with site.exporter("availability", port, **changes):
            board.say(topic, "online", retain=True)
            wait_for(lambda: shown() == ["1"])
            board.say(topic, "", retain=True)
            wait_for(lambda: shown() == ["0"])
        other = f"tailgate/{BOARDS[8]}/availability"
        with (
            closing(Peer(site.inner, "eight", BOARDS[8])) as there,
            site.exporter("availability", port, **changes) as again,
        ):
            there.say(other, "online", retain=True)
            address = f"http://{HOST}:{port}/metrics"
            wait_for(lambda: BOARDS[8] in urllib.request.urlopen(address).read().decode())
            assert shown() == [] and again.pid


def test_events_wait_for_their_collector(site: Site, recording: Recording) -> None:
    changes = {
        "-h central.example.org": f"-h {HOST}",
        "-p 8883": f"-p {site.broker.port}",
        "/etc/mosquitto/ca.crt": str(site.home / "tls" / "ca.crt"),
        "change-me": "collector-secret",
    }
    site.file("mosquitto_sub", **changes)
    log = site.home / "events.jsonl"
    topic = f"tailgate/{BOARDS[0]}/event"

    def kept() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert all(line["topic"] == topic for line in lines)
        return [line["payload"] for line in lines]

    events = [{**recording.event, "seq": number} for number in range(1, 31)]
    with closing(Peer(site.inner, "events", BOARDS[0])) as board:
        for part in (events[:10], events[20:]):
            with log.open("ab") as out:
                collector = subprocess.Popen(
                    ensure("mosquitto_sub"),
                    stdout=out,
                    env={**os.environ, "XDG_CONFIG_HOME": str(site.home)},
                )
            try:
                if part[0] is events[0]:  # its session begins with its first connection
                    wait_for(lambda: " as events-1 " in site.broker.log.read_text())
                    time.sleep(0.2)
                for event in part:
                    board.say(topic, json.dumps(event))
                wait_for(lambda last=part[-1]: kept()[-1:] == [last])
            finally:
                collector.terminate()
                collector.wait(10)
            if part[0] is events[0]:
                for event in events[10:20]:  # while it is away
                    board.say(topic, json.dumps(event))
    assert kept() == events


# -- the files themselves ---------------------------------------------------------------------


def test_the_exporter_names_what_a_state_message_has(recording: Recording) -> None:
    text = (FILES / "exporter-state.yml").read_text()
    names = re.findall(r"mqtt_name: ([a-z0-9_.]+)", text)
    for name in names:
        value: Any = recording.state
        for word in name.split("."):
            value = value[word]
        assert isinstance(value, int | float | str), name
    fields = {outlet: set() for outlet in recording.state["outlets"]}  # type: dict[str, set[str]]
    for name in names:
        if name.startswith("outlets."):
            _, outlet, field = name.split(".")
            fields[outlet].add(field)
    assert all(found == fields["bed1"] for found in fields.values()) and len(fields["bed1"]) >= 9
    states = re.search(r"map: {(off: .*?)}", text)
    assert states and states[1] == ", ".join(f"{s}: {i}" for i, s in enumerate(o.STATES))
    page = (ROOT / "docs" / "fleet.md").read_text()
    assert ", ".join(f"`{s}` {i}" for i, s in enumerate(o.STATES)) in page
    metrics = set(re.findall(r"prom_name: (\w+)", text)) | {"tailgate_online"}
    for where in (page, (FILES / "alerts.yml").read_text()):
        assert set(re.findall(r"tailgate_[a-z_]+", where)) <= metrics


def promtool(*words: object, cwd: Path = FILES) -> subprocess.CompletedProcess[str]:
    command = [*ensure("promtool"), *(str(word) for word in words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stderr
    done = promtool("test", "rules", "alerts-test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    # each rule is under test: without it one fails
    text = (FILES / "alerts.yml").read_text()
    (tmp_path / "alerts-test.yml").write_text((FILES / "alerts-test.yml").read_text())
    rules = re.findall(r"alert: (\w+)\n +expr: (.*)\n", text)
    assert len(rules) == text.count("- alert:") >= 10
    for _, expression in rules:
        text = text.replace(expression, "vector(0) > 1")
    (tmp_path / "alerts.yml").write_text(text)
    done = promtool("test", "rules", "alerts-test.yml", cwd=tmp_path)
    assert done.returncode == 1
    for name, _ in rules:
        assert f"alertname: {name}," in done.stdout + done.stderr
