"""The firmware on the simulated chip gets the time, and counts energy by hour, day and month."""

from __future__ import annotations

import datetime
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host_tests.fakes.datagram_server import serving
from tools.simulator.device import SimulatedDevice

NOW = 1_795_374_000  # 2026-11-22 19:00 UTC
NTP_EPOCH = 2_208_988_800


def ntp(question: bytes, seconds: int, stratum: int = 2) -> bytes:
    packet = bytearray(48)
    packet[0] = 4 << 3 | 4
    packet[1] = stratum
    packet[24:32] = question[40:48]
    packet[40:44] = struct.pack(">I", seconds + NTP_EPOCH & 0xFFFFFFFF)
    return bytes(packet)


def ask(device: SimulatedDevice, line: str) -> dict[str, Any]:
    first = len(device.lines)
    device.type(line + " --json")
    device.expect(r"^\{", 2.0, first)
    found = next(x.text for x in device.lines[first:] if x.text.startswith("{"))
    answer: dict[str, Any] = json.loads(found)
    return answer


@pytest.mark.parametrize("frozen", [True, False])
def test_the_time_comes_from_the_network(frozen: bool) -> None:
    with (
        serving(lambda question: [ntp(question, NOW)]) as port,
        SimulatedDevice(
            settings={
                "time.servers": f"127.0.0.1:{port}",
                "time.zone": "CET-1CEST,M3.5.0,M10.5.0/3",
            },
            unix_time=0,
            frozen=frozen,
        ) as device,
    ):
        device.run(1.0)
        device.write(b"\r")
        device.run(1.0)
        before = ask(device, "time")
        assert (before["utc"], before["local"], before["source"]) == (None, None, None)
        assert ask(device, "energy")["today_total_kwh"] is None
        first = ask(device, "events 1")["events"][0]
        assert first["boot"] == 1 and "time" not in first
        device.expect("clock set", within=20, since=0)
        after = ask(device, "time")
        assert after["source"] == "ntp" and after["asked"] == "good"
        assert after["utc"].startswith("2026-11-22T19:00:")
        assert after["local"].startswith("2026-11-22 20:00:") and after["local"].endswith("+01:00")
        device.run(0.6)
        assert ask(device, "energy")["today_total_kwh"] == 0
        # what was before has its time, too
        events = ask(device, "events")["events"]
        assert [x["event"] for x in events] == ["boot", "clock"]
        assert events[0]["time"].startswith("2026-11-22T18:59:5")
        assert events[1]["source"] == "ntp" and events[1]["step_s"] == 0
        rows = [x for x in device.console() if "Traceback" in x or "internal error" in x]
        assert rows == []


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (lambda question: [], "no answer from 127.0.0.1"),
        (lambda question: [ntp(bytes(48), NOW), ntp(question, NOW)[:47]], "no answer"),
        (lambda question: [ntp(question, NOW, 0)], "refused (no reason given)"),
        (lambda question: [ntp(question, -NTP_EPOCH)], "no answer from 127.0.0.1"),
        (lambda question: [ntp(question, 1_700_000_000)], "says 2159"),
        (lambda question: [ntp(question, 4_102_444_800)], "says 2100-01-01T00:00:00Z"),
    ],
)
def test_a_hostile_server_sets_nothing(answer: Callable[[bytes], list[bytes]], note: str) -> None:
    with (
        serving(answer) as port,
        SimulatedDevice(settings={"time.servers": f"127.0.0.1:{port}"}, unix_time=0) as device,
    ):
        device.run(14.0)
        state = ask(device, "time")
        assert note in state["asked"]
        assert state["utc"] is None
        assert not any("clock set" in line for line in device.console())


def test_the_time_by_hand_and_what_is_refused() -> None:
    with SimulatedDevice(unix_time=0) as device:
        device.run(1.0)
        assert device.command("time set 2026-11-22 19:00:00Z") == "ok"
        assert ask(device, "time")["source"] == "console"
        for line, why in (
            ("time set yesterday", "'yesterday' is no time"),
            ("time set 5", "allowed: the years 2026 to 2069"),
            ("time set", "usage: time"),
            ("time backwards", "usage: time"),
            ("energy hours 49", "the count is 1 to 48, not '49'"),
            ("energy days -1", "the count is 1 to 366, not '-1'"),
            ("energy months 1 2", "the count is 1 to 120, not '1 2'"),
            ("energy years", "usage: energy"),
            ("set time.zone Europe/Berlin", "allowed: a rule like UTC0"),
            ("set time.servers a b c d e", "allowed: up to 4 names"),
        ):
            assert why in device.command(line)
        device.command("set time.zone EST5EDT,M3.2.0,M11.1.0")
        assert ask(device, "time")["local"].startswith("2026-11-22 14:00:0")


def test_without_the_time_there_are_totals_and_nothing_else() -> None:
    with SimulatedDevice(settings={"time.servers": ""}, unix_time=0) as device:
        device.run(1.0)
        device.command("on bed1")
        device.sim("plug bed1 resistive amps=15")
        device.run(8.0)
        answer = ask(device, "energy")
        assert answer["energy_kwh"]["bed1"] > 0.001
        assert answer["today_kwh"] is None and answer["yesterday_total_kwh"] is None
        state = ask(device, "status")
        assert state["time"] is None and state["total"]["energy_today_kwh"] is None
        assert state["total"]["energy_kwh"] > 0.001
        assert "the time is not known yet" in device.command("energy days")


def test_three_days_add_up_to_the_counters_over_power_cuts(tmp_path: Path) -> None:
    """A load, and the clock set on by an hour less some seconds, 72 times, with power cuts."""
    settings = {"time.zone": "EST5EDT,M3.2.0,M11.1.0", "time.servers": ""}
    utc = 1_793_422_800  # 2026-10-31 05:00 UTC: the clocks go back on the next day
    with SimulatedDevice(flash=tmp_path, settings=settings, unix_time=0) as device:
        device.run(1.0)
        device.command(f"time set {utc}")
        device.sim("plug bed1 resistive amps=15")
        device.sim("plug bed240 resistive amps=20")
        device.command("on bed1")
        device.command("on bed240")
        for hour in range(1, 73):
            device.run(1.5)
            if hour % 24 == 7:
                device.run(1.0)
                device.type("reboot yes")
                device.run(2.5)
                device.command("on bed240")
            utc += 3600
            device.command(f"time set {utc}")
            device.run(0.6)
        totals = ask(device, "energy")
        hours = ask(device, "energy hours 48")
        days = ask(device, "energy days")
        months = ask(device, "energy months 2")
        names = days["outlets"]
        energy = {name: totals["energy_kwh"][name] for name in names}
        assert energy["bed240"] > 0.1
        for table in (days, months):
            for i, name in enumerate(names):
                # the counter goes on between two questions
                whole = sum(row["kwh"][i] for row in table["rows"])
                assert whole == pytest.approx(energy[name], abs=0.004), (name, table)
        assert [row["start"] for row in months["rows"]] == ["2026-10", "2026-11"]
        starts = [row["start"] for row in days["rows"]]
        assert starts == ["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-03"]
        # the hours of the day that has 25 of them are that day
        zone = datetime.timedelta(hours=-5)
        of_day = 0.0
        for row in hours["rows"]:
            at = datetime.datetime.fromisoformat(row["start"])
            if (at + zone).date().isoformat() == "2026-11-02":
                of_day += row["total_kwh"]
        assert of_day == pytest.approx(days["rows"][2]["total_kwh"], abs=0.0005)
        assert totals["yesterday_total_kwh"] == pytest.approx(days["rows"][-2]["total_kwh"])
        assert not any("Traceback" in line for line in device.console())


def test_an_outlet_that_was_hot_has_cooled_once_the_time_is_known() -> None:
    settings = {"bed1.trip_class": "fast", "time.servers": ""}
    with SimulatedDevice(settings=settings, unix_time=0) as device:
        device.run(1.0)
        device.command(f"time set {NOW}")
        device.command("on bed1")
        device.sim("plug bed1 resistive amps=20")
        device.run(75.0)
        hot = ask(device, "status")["outlets"]["bed1"]["heat_percent"]
        assert hot > 60
        device.power_cut()
        device.run(2.0)
        device.power_on()
        device.run(3.0)
        still = ask(device, "status")["outlets"]["bed1"]["heat_percent"]
        assert still > 50, "nobody knows how long it was off"
        device.command(f"time set {NOW + 7200}")
        device.run(1.5)
        assert ask(device, "status")["outlets"]["bed1"]["heat_percent"] < 10
