"""The firmware and a real Home Assistant core, with a real broker between them.

Home Assistant's own MQTT integration reads the discovery message, so what it accepts, creates,
removes and sends is its own word, not a rule copied here.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import __version__
from tools.runtime import homeassistant
from tools.runtime.broker import Mosquitto
from tools.simulator.device import ROOT, SimulatedDevice
from tools.simulator.port import SimulatedPort

INSTANCE = Path(__file__).with_name("instance.py")
pytestmark = pytest.mark.timeout(900)  # the first run installs it
OUTLETS = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
# field: device class, unit, state class
FIGURES = {
    "power_w": ("power", "W", "measurement"),
    "current_a": ("current", "A", "measurement"),
    "voltage_v": ("voltage", "V", "measurement"),
    "energy_kwh": ("energy", "kWh", "total_increasing"),
    "heat_percent": (None, "%", "measurement"),
}


class HomeAssistant:
    """A Home Assistant core in a process of its own (instance.py)."""

    def __init__(self, python: Path, folder: Path, port: int) -> None:
        folder.mkdir(exist_ok=True)
        self._log = (folder / "stderr.txt").open("a")
        self._process = subprocess.Popen(
            [str(python), str(INSTANCE), str(folder), str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._read()["ready"] == "loaded", "the MQTT integration did not start"

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"Home Assistant ended: {Path(self._log.name).read_text()[-2000:]}"
        said: dict[str, Any] = json.loads(line)
        return said

    def tell(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read()

    @property
    def entities(self) -> dict[str, dict[str, Any]]:
        """Its entity registry, with states, by what follows the device id in the unique id."""
        found: dict[str, dict[str, Any]] = self.tell(do="entities")["entities"]
        return {key.partition("_")[2]: entity for key, entity in found.items()}

    def call(self, domain: str, service: str, key: str, **data: Any) -> str:
        """Call a service for an entity; "" or the error."""
        entity = self.entities[key]["entity_id"]
        said = self.tell(
            do="call", domain=domain, service=service, data={"entity_id": entity} | data
        )
        return str(said["called"])

    def state(self, key: str) -> str:
        return str(self.entities[key]["state"])

    def wait(self, good: Callable[[dict[str, dict[str, Any]]], Any], within: float = 40.0) -> Any:
        """The entities as soon as `good` is content with them."""
        until = time.monotonic() + within
        while True:
            entities = self.entities
            if good(entities):
                return entities
            assert time.monotonic() < until, {k: e["state"] for k, e in entities.items()}
            time.sleep(0.1)

    def stop(self) -> None:
        """As somebody who restarts it: it writes its registry first."""
        self._process.communicate(timeout=30)
        self._log.close()


@pytest.fixture(scope="module")
def python() -> Path:
    return homeassistant.ensure()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def house(
    python: Path, tmp_path: Path, broker: Mosquitto
) -> Iterator[Callable[[], HomeAssistant]]:
    """`house()` starts Home Assistant, each time on the same folder."""
    running: list[HomeAssistant] = []

    def start() -> HomeAssistant:
        running.append(HomeAssistant(python, tmp_path / "house", broker.port))
        return running[-1]

    yield start
    for instance in running:
        if not instance._log.closed:
            instance.stop()


@pytest.fixture
def board(broker: Mosquitto) -> Iterator[Callable[..., SimulatedPort]]:
    """`board(name, **settings)`: the firmware with the simulated truck, at the broker."""
    running: list[SimulatedPort] = []

    def start(name: str = "simulated", **settings: Any) -> SimulatedPort:
        known = {"mqtt.host": "127.0.0.1", "mqtt.port": broker.port, "device.id": "dut"}
        device = SimulatedDevice(name, settings={**known, **settings})
        if "wifi.ssid" in settings:
            device.flash.mkdir(parents=True, exist_ok=True)
            air = {"networks": [{"ssid": settings["wifi.ssid"], "password": "", "rssi": -61}]}
            (device.flash / "radio.json").write_text(json.dumps(air))
        port = SimulatedPort(device)
        running.append(port)
        return port.__enter__()

    yield start
    for port in running:
        port.__exit__(None, None, None)
        assert port.error is None


def command(port: SimulatedPort, line: str) -> str:
    """A line on the board's console; its answer."""
    return str(port.call(lambda: port.device.command(line, 5.0)))


def limit_a(port: SimulatedPort) -> tuple[float, bool]:
    """The board's own word on bed1.limit_a, and whether it is saved."""

    def ask() -> str:
        port.device.type("get bed1.limit_a --json\r")
        return port.device.expect(r"^\{.*\}$", 5.0)[0]

    said = json.loads(port.call(ask))
    return said["settings"]["bed1.limit_a"], "bed1.limit_a" not in said["unsaved"]


def live(entities: dict[str, dict[str, Any]]) -> bool:
    """Discovered, online, and a state message has come."""
    total = entities.get("total_power_w")
    return total is not None and total["state"] not in ("unknown", "unavailable")


def test_what_home_assistant_makes_of_the_device(
    house: Callable[[], HomeAssistant], board: Callable[..., SimulatedPort]
) -> None:
    port = board(**{"mqtt.allow": "all", "device.name": "Truck", "wifi.ssid": "yard"})
    ha = house()
    entities = ha.wait(live)
    said = ha.tell(do="entities")
    assert said["complaints"] == [], "Home Assistant finds nothing wrong"
    assert [(x["name"], x["ids"]) for x in said["devices"]] == [("Truck", ["dut"])]
    for name in OUTLETS:
        assert entities[f"{name}_switch"]["state"] == "off"
        assert entities[f"{name}_state"]["state"] == "off"
        assert entities[f"{name}_problem"]["state"] == "off"
        assert entities[f"{name}_reset"]["entity_id"].startswith("button.")
        for key, (device_class, unit, state_class) in FIGURES.items():
            figure = entities[f"{name}_{key}"]
            assert float(figure["state"]) >= 0
            assert figure["device_class"] == device_class
            assert figure["attributes"]["unit_of_measurement"] == unit
            assert figure["attributes"]["state_class"] == state_class
        limit = entities[f"{name}_limit_a_set"]["attributes"]
        assert (limit["min"], limit["max"]) == (1, 40 if name == "bed240" else 20)
        priority = entities[f"{name}_priority_set"]
        assert (priority["attributes"]["min"], priority["attributes"]["max"]) == (1, 9)
        assert priority["category"] == "config"
    assert entities["mode"]["attributes"]["options"] == ["outlets", "worksite", "camp"]
    assert entities["mode"]["state"] == "outlets"
    for key in ("uptime_s", "last_event", "limits_percent", "contactor", "blind_ms", "selftest"):
        assert entities[key]["category"] == "diagnostic"
        assert entities[key]["state"] not in ("unknown", "unavailable"), key
    assert entities["reset_cause"]["state"] == "power_on"
    assert entities["version"]["state"] == __version__
    assert entities["link_wifi"]["state"] == "up"
    signal = entities["link_rssi_dbm"]
    assert (float(signal["state"]), signal["device_class"]) == (-61, "signal_strength")
    assert signal["attributes"]["unit_of_measurement"] == "dBm"
    for key in ("reset_cause", "version", "link_wifi", "link_rssi_dbm"):
        assert entities[key]["category"] == "diagnostic"
    for key in ("blocked", "derated", "unprotected"):
        assert entities[key]["state"] == "off"
    broken = [
        key
        for key, entity in entities.items()
        if not entity["disabled"]
        and entity["state"] in (None, "unknown", "unavailable")
        and not entity["entity_id"].startswith("button.")
    ]
    assert broken == [], "every entity has a state"
    port.sim("plug bed1 resistive amps=10")
    assert ha.call("switch", "turn_on", "bed1_switch") == ""
    ha.wait(
        lambda e: e["bed1_switch"]["state"] == "on" and float(e["bed1_current_a"]["state"]) > 9
    )
    assert port.call(port.device.truth)["outlets"]["bed1"]["closed"]
    port.sim("short bed1")
    ha.wait(lambda e: e["bed1_state"]["state"] == "tripped" and e["bed1_problem"]["state"] == "on")
    assert ha.entities["bed1_problem"]["attributes"]["reason"] == "peak"
    assert ha.state("bed1_switch") == "off"
    port.sim("unplug bed1")
    assert ha.call("button", "press", "bed1_reset") == ""
    ha.wait(lambda e: e["bed1_state"]["state"] == "off" and e["bed1_problem"]["state"] == "off")
    assert ha.call("number", "set_value", "bed1_limit_a_set", value=12.5) == ""
    assert ha.call("number", "set_value", "bed2_priority_set", value=9) == ""
    assert ha.call("number", "set_value", "total_limit_w_set", value=5000) == ""
    ha.wait(
        lambda e: (
            float(e["bed1_limit_a_set"]["state"]) == 12.5
            and float(e["bed2_priority_set"]["state"]) == 9
            and float(e["total_limit_w_set"]["state"]) == 5000
        )
    )
    assert limit_a(port) == (12.5, False)
    assert "out_of_range" in ha.call("number", "set_value", "bed1_limit_a_set", value=21)
    assert limit_a(port) == (12.5, False)
    assert ha.call("button", "press", "save") == ""
    until = time.monotonic() + 5
    while limit_a(port) != (12.5, True):
        assert time.monotonic() < until
    assert ha.call("select", "select_option", "mode", option="outlets") == ""
    assert ha.tell(do="entities")["complaints"] == []


def test_availability_restart_renaming_permissions_and_removal(
    house: Callable[[], HomeAssistant], board: Callable[..., SimulatedPort]
) -> None:
    port = board(**{"mqtt.allow": "switch settings system", "device.name": "Truck"})
    ha = house()
    before = ha.wait(live)
    assert not [key for key in before if key.endswith(("limit_a_set", "limit_w_set"))]
    ids = {key: entity["entity_id"] for key, entity in before.items()}
    # a name for people: ids and history stay
    command(port, 'set bed1.name "Saw, left"')
    after = ha.wait(lambda e: e["bed1_switch"]["attributes"]["friendly_name"] == "Truck Saw, left")
    assert {key: entity["entity_id"] for key, entity in after.items()} == ids
    # less is allowed: what could not be done any more goes; then it comes back
    command(port, "set mqtt.allow read")
    gone = ha.wait(lambda e: "bed1_switch" not in e)
    assert "bed1_reset" not in gone and "bed1_priority_set" not in gone and "mode" not in gone
    assert "bed1_state" in gone and "bed1_power_w" in gone
    command(port, "set mqtt.allow switch,settings")
    back = ha.wait(lambda e: "bed1_switch" in e and "mode" in e)
    assert back.keys() == ids.keys()
    # Home Assistant has named those that it had to make anew
    assert {k for k in ids if back[k]["entity_id"] != ids[k]} <= ids.keys() - gone.keys()
    ids = {key: entity["entity_id"] for key, entity in back.items()}
    # Home Assistant restarts: everything is there again, under the same ids
    ha.stop()
    ha = house()
    again = ha.wait(live)
    assert {key: entity["entity_id"] for key, entity in again.items()} == ids
    # the board is cut off: the broker says so, and all of it is unavailable
    port.call(port.device.power_cut)
    ha.wait(
        lambda e: e["bed1_switch"]["state"] == e["total_power_w"]["state"] == "unavailable", 60
    )
    port.call(port.device.power_on)
    ha.wait(live, 30)
    assert ha.state("bed1_switch") == "off"
    assert "ok" in command(port, "mqtt forget")
    ha.wait(lambda e: not e)
    assert ha.tell(do="entities")["devices"] == []
    # It clears the topic itself, too, for each entity, and is then surprised to find it empty.
    complaints = ha.tell(do="entities")["complaints"]
    assert {text.partition(": ")[2][:23] for text in complaints} <= {"No device components to"}


def test_power_export_beside_the_outlets(
    house: Callable[[], HomeAssistant], board: Callable[..., SimulatedPort]
) -> None:
    port = board(
        "simulated_home",
        **{"mqtt.allow": "all", "device.name": "Truck", "battery.usable_kwh": 100},
    )
    ha = house()
    entities = ha.wait(live)
    assert ha.tell(do="entities")["complaints"] == [], "Home Assistant finds nothing wrong"
    assert "home_l1_switch" not in entities, "the transfer switch feeds the home, no hand"
    assert entities["home_l1_power_w"]["device_class"] == "power"
    for part in ("home", "vehicle", "grid"):
        assert entities[f"{part}_state"]["state"] not in ("unknown", "unavailable")
        for verb in ("start", "stop", "reset"):
            assert entities[f"{part}_{verb}"]["entity_id"].startswith("button.")
    assert entities["battery_soc_percent"]["state"] == "unknown"
    assert ha.call("number", "set_value", "battery_soc_set", value=73.5) == ""
    ha.wait(lambda e: e["battery_soc_percent"]["state"] == "73.5")
    assert ha.call("number", "set_value", "grid_asked_w_set", value=1200) == ""
    ha.wait(lambda e: float(e["grid_asked_w_set"]["state"]) == 1200)
    assert entities["home_energy_kwh"]["device_class"] == "energy"
    assert entities["grid_exported_kwh"]["state"] not in ("unknown", "unavailable")
    assert port.call(lambda: port.device.command("set gfci.input high", 5.0)).startswith("ok")
    assert port.call(lambda: port.device.command("set vehicle.enabled on", 5.0)).startswith("ok")
    assert ha.call("number", "set_value", "vehicle_limit_a_set", value=16) == ""
    ha.wait(lambda e: float(e["vehicle_limit_a_set"]["state"]) == 16)
    assert ha.call("switch", "turn_on", "storm") == ""
    ha.wait(lambda e: e["storm"]["state"] == "on")
    assert float(ha.state("battery_reserve_percent")) == 60
    assert ha.call("select", "select_option", "mode", option="camp") == ""
    ha.wait(lambda e: e["mode"]["state"] == "camp")
    assert ha.call("switch", "turn_off", "storm") == ""
    ha.wait(lambda e: float(e["battery_reserve_percent"]["state"]) == 30)
    assert port.call(lambda: port.device.command("set home.mode manual", 5.0)).startswith("ok")
    port.sim("grid off")
    assert ha.call("button", "press", "home_start") == ""
    ha.wait(lambda e: e["home_state"]["state"] == "backup")
    command(port, "set battery.usable_kwh 0")
    ha.wait(lambda e: not [key for key in e if key == "storm" or key.startswith("battery_")])
    assert ha.tell(do="entities")["complaints"] == []
