"""The whole firmware with a simulated radio: what Wi-Fi costs the lanes, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_tests.fakes import radio
from tools.simulator.device import SimulatedDevice

HOME = ("home", "homeword", -70)
YARD = ("yard", "yardword", -50)
KNOWN = {
    "wifi.ssid": "home",
    "wifi.password": "homeword",
    "wifi.ssid2": "yard",
    "wifi.password2": "not-its-word",
    "time.servers": "",
}


@pytest.mark.parametrize("frozen", [True, False])  # False: as on the Pico W's stock image
def test_networks_come_and_go_while_an_outlet_stays_on(tmp_path: Path, frozen: bool) -> None:
    radio.air(tmp_path, HOME, YARD)
    with SimulatedDevice(flash=tmp_path, settings=KNOWN, frozen=frozen) as device:
        device.run(10.0)  # 2.8 s of them before the lanes start, with every relay open
        device.type("wifi --json")
        answer = device.expect(r'"state": ?"up"')
        for text in ('"ssid": "home"', '"rssi_dbm": -70', "yard: wrong password", "192.168.7.20"):
            assert text.replace(" ", "") in answer.string.replace(" ", "") or text in answer.string
        assert radio.log(tmp_path)[-2:] == ["connect yard", "connect home"]
        device.type("events 10")
        device.expect(r"link +.*wifi_up")
        device.type("wifi scan")
        device.expect(r"rssi_dbm=-50 ssid=yard", within=4)
        device.run(1.0)

        device.truck.command("plug bed1 heater")
        device.type("on bed1")
        device.expect("^ok")
        device.run(1.0)
        scans = radio.log(tmp_path).count("scan")
        device.type("wifi scan")
        device.expect(r"^error: a scan stops the control .* for 2 s: switch bed1 off first")
        assert radio.log(tmp_path).count("scan") == scans

        radio.air(tmp_path)  # everything is lost, then one comes back, then another one
        device.run(80.0)
        radio.air(tmp_path, ("yard", "not-its-word", -60))
        device.run(100.0)
        device.type("wifi --json")
        assert "yard" in device.expect(r'"state": ?"up"').string
        assert radio.log(tmp_path).count("scan") == scans
        device.type("events 20")
        device.expect(r"wifi_down")
        device.expect(r"wifi_up", since=len(device.lines) - 1)
        device.type("outlets --json")
        assert '"on"' in device.expect(r'"bed1"').string
        assert not device.resets
        device.type("events stall")
        device.run(0.5)
        # the one scan that was asked for; connecting and losing cost no window
        stalls = [line for line in device.console(device.now_us - 500_000) if " stall " in line]
        assert len(stalls) <= 1


def test_a_dead_radio_keeps_nothing_from_working(tmp_path: Path) -> None:
    radio.air(tmp_path, HOME, dead=True)
    with SimulatedDevice(flash=tmp_path, settings=KNOWN) as device:
        device.run(3.0)
        device.type("on bed1")
        device.expect("^ok")
        device.run(30.0)
        device.type("wifi")
        device.expect(r"state +(failed|connecting)")
        assert not device.resets
        radio.air(tmp_path, HOME)
        device.run(90.0)
        device.type("wifi")
        device.expect(r"state +up")
        device.type("status --json")
        assert '"rssi_dbm"' in device.expect(r'"link"').string
