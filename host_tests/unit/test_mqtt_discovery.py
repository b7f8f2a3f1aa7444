"""The discovery message against what Home Assistant's MQTT integration demands of it."""

from __future__ import annotations

import json
import re
from typing import Any

from tools import cpython

cpython.install()

from firmware.interfaces import discovery, discovery_exports, mqtt  # noqa: E402
from firmware.power import profile  # noqa: E402
from host_tests.fakes.fake_app import FakeApp  # noqa: E402

BASE = "tailgate/dut/"

# Unit and state classes that Home Assistant accepts for a sensor's device class.
SENSOR_RULES: dict[str, tuple[set[str | None], set[str]]] = {
    "power": ({"W"}, {"measurement"}),
    "apparent_power": ({"VA"}, {"measurement"}),
    "current": ({"A"}, {"measurement"}),
    "voltage": ({"V"}, {"measurement"}),
    "energy": ({"kWh"}, {"total", "total_increasing"}),
    "frequency": ({"Hz"}, {"measurement"}),
    "power_factor": ({None, "%"}, {"measurement"}),
    "temperature": ({"°C"}, {"measurement"}),
    "duration": ({"s", "h"}, {"measurement", "total", "total_increasing"}),
    "data_size": ({"B"}, {"measurement", "total", "total_increasing"}),
    "signal_strength": ({"dBm"}, {"measurement"}),
}
KEYS = {
    "sensor": {"p", "name", "unique_id", "val_tpl"},
    "switch": {"p", "name", "unique_id", "stat_t", "val_tpl", "cmd_t", "dev_cla", "ret", "qos"},
    "binary_sensor": {"p", "name", "unique_id", "val_tpl", "dev_cla"},
    "button": {"p", "name", "unique_id", "cmd_t", "qos"},
    "number": {"p", "name", "unique_id", "val_tpl", "cmd_t", "cmd_tpl", "min", "max", "step"}
    | {"mode", "ent_cat", "qos"},
    "select": {"p", "name", "unique_id", "val_tpl", "cmd_t", "cmd_tpl", "options", "qos"},
}
OPTIONAL = {
    "sensor": {"stat_t", "stat_cla", "dev_cla", "unit_of_meas", "ent_cat", "en", "json_attr_t"},
    "binary_sensor": {"stat_t", "json_attr_t", "ent_cat"},
    "button": {"pl_prs", "cmd_tpl", "ent_cat", "ret"},
    "number": {"unit_of_meas", "dev_cla"},
}


def message(
    app: FakeApp | None = None, allow: str = "read switch settings limits", **names: str
) -> tuple[dict[str, Any], list[str]]:
    """The parsed message and its parts; `names`: names for people by outlet."""
    app = app or FakeApp()
    outlets = [(o.name, names.get(o.name, o.name)) for o in app.board.outlets]
    about = ("dut", "Truck", "simulated", "1.2.3", BASE, outlets, app.state(app))
    parts = list(mqtt.announcement((*about, app.board, allow)))
    whole: dict[str, Any] = json.loads("".join(parts))
    return whole, parts


def resolve(template: str, state: dict[str, Any]) -> Any:
    """What a template `{{ value_json.a['b'].c }}` yields."""
    found = re.fullmatch(r"\{\{ value_json((?:\.\w+|\['\w+'\]|\[\d+\])+) \}\}", template)
    assert found, template
    value: Any = state
    for dotted, named, index in re.findall(r"\.(\w+)|\['(\w+)'\]|\[(\d+)\]", found[1]):
        value = value[int(index)] if index else value[dotted or named]
    return value


def test_frame() -> None:
    whole, _ = message()
    assert set(whole) == {"dev", "o", "avty_t", "stat_t", "qos", "cmps"}
    assert whole["dev"]["ids"] == ["dut"]
    assert whole["dev"]["name"] == "Truck"
    assert whole["o"] == {"name": "Tailgate", "sw": "1.2.3"}
    assert whole["avty_t"] == "tailgate/dut/availability"
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", mqtt.discovery_topic("dut"))


def test_components() -> None:
    whole, _ = message()
    ids = set()
    for key, component in whole["cmps"].items():
        platform = component["p"]
        assert KEYS[platform] <= set(component), key
        assert set(component) <= KEYS[platform] | OPTIONAL.get(platform, set()), key
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", key)
        assert component["unique_id"] == "dut_" + key
        ids.add(component["unique_id"])
        for topic in ("stat_t", "cmd_t", "json_attr_t"):
            assert component.get(topic, BASE).startswith(BASE)
            assert not set("#+") & set(component.get(topic, ""))
    assert len(ids) == len(whole["cmps"])
    platforms = [component["p"] for component in whole["cmps"].values()]
    assert platforms.count("switch") == 5
    assert platforms.count("button") == 6, "a reset for each outlet, and save"
    assert platforms.count("binary_sensor") >= 5
    assert platforms.count("number") == 12, "priority and limit of each outlet, leg, total"
    assert platforms.count("select") == 1


def test_only_what_the_network_may_do_is_announced() -> None:
    def controls(allow: str) -> dict[str, int]:
        whole, _ = message(allow=allow)
        every, _ = message(allow="read switch settings limits")
        assert whole["cmps"].keys() == every["cmps"].keys(), "what is not allowed is removed"
        for key, component in whole["cmps"].items():
            if component != every["cmps"][key]:
                assert component == {"p": every["cmps"][key]["p"]}
        found = [x["p"] for x in whole["cmps"].values() if "cmd_t" in x]
        return {platform: found.count(platform) for platform in set(found)}

    assert controls("read") == {}
    assert controls("read switch") == {"switch": 5, "button": 5, "select": 1}
    assert controls("read settings") == {"number": 5, "button": 1}
    assert controls("read limits") == {"number": 7, "button": 1}
    assert controls(FakeApp().settings.get("mqtt.allow")) == {
        "switch": 5,
        "button": 6,
        "number": 5,
        "select": 1,
    }


def test_numbers_have_the_range_of_their_setting_and_send_a_command() -> None:
    app = FakeApp()
    whole, _ = message(app)
    known = {"priority": (1, 9), "limit_a": (1, 20), "limit_w": (100, 9600)}
    numbers = {k: c for k, c in whole["cmps"].items() if c["p"] == "number"}
    for key, number in numbers.items():
        sent = json.loads(number["cmd_tpl"].replace("{{ value }}", "5"))
        assert sent["cmd"] == "set" and sent["args"][1] == 5
        entry = app.settings.entry(sent["args"][0])
        assert (number["min"], number["max"]) == (entry[3], entry[4]), key
        if "bed240" not in key and "leg" not in key:
            assert (number["min"], number["max"]) == known[sent["args"][0].split(".")[1]]
        assert set(sent) == {"id", "cmd", "args"}
    assert numbers["bed240_limit_a_set"]["max"] == 40
    assert tuple(whole["cmps"]["mode"]["options"]) == profile.NAMES[: profile.PLAIN]


def test_sensors_read_what_is_in_the_state() -> None:
    app = FakeApp()
    state = app.state(app)
    whole, _ = message(app)
    for key, sensor in whole["cmps"].items():
        if sensor["p"] != "sensor":
            continue
        if sensor.get("stat_t", whole["stat_t"]) != whole["stat_t"]:
            continue
        value = resolve(sensor["val_tpl"], state)
        assert isinstance(value, (int, float) if "stat_cla" in sensor else str), key
        device_class = sensor.get("dev_cla")
        if device_class:
            units, classes = SENSOR_RULES[device_class]
            assert sensor.get("unit_of_meas") in units, key
            assert sensor["stat_cla"] in classes, key
    for name in ("cabin1", "bed240"):
        energy = whole["cmps"][name + "_energy_kwh"]
        assert (energy["dev_cla"], energy["stat_cla"]) == ("energy", "total_increasing")
    assert whole["cmps"]["total_power_w"]["stat_cla"] == "measurement"
    for key in ("uptime_s", "reset_cause", "version", "link_wifi", "link_rssi_dbm"):
        assert whole["cmps"][key]["ent_cat"] == "diagnostic"


def test_what_the_state_lacks_is_not_announced() -> None:
    app = FakeApp()
    state = app.state(app)
    for outlet in state["outlets"].values():
        del outlet["heat_percent"]
    state["temperature_c"] = None  # a board without that sensor
    state["link"] = {"wifi": "none", "mqtt": "up"}  # and without a radio
    keys = dict(discovery.components("dut", BASE, [("bed1", "bed1")], state))
    assert "bed1_current_a" in keys
    assert "bed1_heat_percent" not in keys
    assert "temperature_c" not in keys
    assert "link_rssi_dbm" not in keys and "link_wifi" not in keys


def test_renaming_changes_names_only() -> None:
    before, _ = message()
    after, _ = message(bed1='Kühlbox "hinten"')
    assert after["cmps"]["bed1_switch"]["name"] == 'Kühlbox "hinten"'
    for whole in (before, after):
        for component in whole["cmps"].values():
            del component["name"]
    assert before == after


def test_parts_are_small_and_repeatable() -> None:
    _, parts = message()
    assert max(len(part) for part in parts) < 420, "peak heap while it is built"
    assert message()[1] == parts
    assert sum(len(part.encode()) for part in parts) < 250 * len(parts)


POWER = {
    "mode": "camp",
    "battery": {
        "soc_percent": None,
        "counted_percent": 63.0,
        "age_s": 5,
        "capacity_kwh": 123.0,
        "reserve_percent": 30.0,
        "level": "low",
        "storm": False,
        "power_w": 1250,
        "left_h": 34.5,
    },
    "home": {
        "state": "backup",
        "reason": "grid",
        "power_w": 3100,
        "current_a": [14.0, 12.0],
        "grid": {"good": False},
    },
    "vehicle": {
        "state": "charging",
        "offered_a": 24.0,
        "current_a": 23.5,
        "session_kwh": 3.2,
        "limit_a": 32.0,
    },
    "grid": {
        "state": "off",
        "set_point_w": 0,
        "asked_w": 1000,
        "most_w": 5000,
        "frequency_hz": 60.0,
        "l1_v": 120.1,
    },
}


def test_power_export_is_announced_where_it_is() -> None:
    app = FakeApp()
    state = {**app.state(app), "power": POWER}
    found = dict(discovery_exports.components("dut", "tailgate/dut/", state, "read switch"))
    for key, component in found.items():
        if component["p"] != "sensor":
            continue
        resolve(component["val_tpl"], state)  # raises where there is nothing
        if component.get("dev_cla"):
            units, classes = SENSOR_RULES[component["dev_cla"]]
            assert component["unit_of_meas"] in units, key
            assert component["stat_cla"] in classes, key
    assert found["vehicle_session_kwh"]["stat_cla"] == "total_increasing"
    assert {k for k, c in found.items() if c["p"] == "button"} == {
        f"{part}_{verb}"
        for part in ("home", "vehicle", "grid")
        for verb in ("start", "stop", "reset")
    }
    assert found["storm"]["p"] == "switch" and found["battery_soc_set"]["p"] == "number"
    assert "home_current_a" not in found, "a list is no reading"
    numbers = {
        k: (c["min"], c["max"], c["dev_cla"])
        for k, c in found.items()
        if k.endswith("_set") and "dev_cla" in c
    }
    assert numbers == {
        "vehicle_limit_a_set": (6, 32, "current"),
        "grid_asked_w_set": (0, 5000, "power"),
    }
    assert json.loads(found["grid_asked_w_set"]["cmd_tpl"])["args"] == ["set", "{{ value }}"]
    looking = dict(discovery_exports.components("dut", "tailgate/dut/", state, "read"))
    assert looking["storm"] == {"p": "switch"} and looking["home_start"] == {"p": "button"}
    without = dict(discovery_exports.components("dut", "x/", {"power": {"mode": "camp"}}, "read"))
    battery = {k: c["p"] for k, c in found.items() if k == "storm" or k.startswith("battery_")}
    assert without == {k: {"p": platform} for k, platform in battery.items()}, "and no battery"
