"""A day of console use in compressed time, and a counter's minute, on the real unix port."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from tools.simulator.device import SimulatedDevice

_COMMANDS = 8640  # one each ten seconds of a day
# Bytes. A leak of one byte a command would be 8640. Some journal records, and words that the
# collector takes for pointers, may be there the one time and not the other.
_HEAP_BOUND = 2500
_TRIP_US = 12_000  # soft timer, and up to half a cycle until the current reaches the limit

# Lines that are the same every time; `{n}` is a number that no other line has.
_MIX = (
    "status",
    "status --json",
    "outlets",
    "outlets --json",
    "energy",
    "energy --json",
    "events 20",
    "events 5 bed1 --json",
    "events since {n} --json",
    "get",
    "get bed1 --json",
    "get bed1.limit_a",
    "get nothing{n}",
    "set bed2.limit_a {small}",
    "set bed2.limit_a {n} --json",
    'set device.name "Truck {n}"',
    "set device.name\x01 bad{n}",
    "set nothing.{n} 1",
    "save",
    "on bed1",
    "on bed{n}",
    "off bed1 --json",
    "on all --json",
    "off all",
    "reset bed1 --force",
    "reset cabin{n} --json",
    "cal",
    "cal bed1 gain {n}",
    "capture bed1 --json",
    "capture nobody{n}",
    "selftest --json",
    "version",
    "mqtt --json",
    "wifi",
    "mode nonsense{n}",
    "help",
    "help on --json",
    "help word{n}",
    "reboot no{n}",
    "defaults no",
    "word{n} of nobody",
    "--json",
    "   ",
    '"unfinished {n}',
)
# As fingers send them: singly, with completion, history, corrections, and a line given up.
_KEYS = (
    b"sta\t\r",
    b"on be\t1\r",
    b"\x1b[A\r",
    b"vesrion\x7f\x7f\x7f\x7f\x7fsion\r",
    b"set x\x03",
)


def _type_keys(device: SimulatedDevice, keys: bytes) -> None:
    for key in keys:
        device.write(bytes((key,)))
        device.run(0.03)
    device.run(0.05)


def _heap(device: SimulatedDevice) -> int:
    """Free bytes after a collection, as selftest says."""
    device.type("selftest --json")
    answer = json.loads(device.expect(r'^{.*"tests".*}$', within=2.0).group(0))
    row = next(row for row in answer["tests"] if row["name"] == "heap")
    return int(row["text"].split()[0])


def _lines(rng: random.Random) -> Iterator[str]:
    for n in range(_COMMANDS):
        line = rng.choice(_MIX)
        yield line.format(n=100_000 + n, small=1 + n % 20)


def test_a_day_of_console_use_leaves_heap_and_protection_whole() -> None:
    with SimulatedDevice(seed=3) as device:
        device.run(1.5)
        device.sim("plug bed1 resistive amps=8")
        for line in _MIX:  # everything once: what is made at first use is there
            device.type(line.format(n=99_000, small=20))
            device.run(0.05)
        _type_keys(device, b"".join(_KEYS))
        before = _heap(device)
        middle = 0
        for n, line in enumerate(_lines(random.Random(11))):
            device.type(line)
            device.run(0.01)
            if n % 400 == 0:
                _type_keys(device, _KEYS[n // 400 % len(_KEYS)])
            if n == _COMMANDS // 2:
                middle = _heap(device)
        device.run(3.0)
        device.type("off all")
        device.run(0.5)
        after = _heap(device)
        assert abs(after - before) <= _HEAP_BOUND, f"{before} free, then {middle}, then {after}"

        answers = [t for t in device.console() if t.startswith(("ok", "error: ", "{"))]
        assert len(answers) > 0.9 * _COMMANDS, "most lines have an answer"
        internal = [t for t in device.console() if "internal error" in t or "Traceback" in t]
        assert not internal, internal[:3]
        assert not device.resets, "the chip restarted"
        said = device.command("selftest")
        assert said == "ok", said

        device.command("reset all --force")
        assert device.command("on bed1").startswith("ok")
        device.run(0.2)
        assert device.truth()["outlets"]["bed1"]["powered"]
        relay = device.board.outlets[device.board.outlet_index("bed1")].relay
        shorted_us = device.now_us
        device.sim("short bed1")
        device.run(0.1)
        opened = [t for t, gpio, level in device.truck.edges if gpio == relay and not level]
        assert opened and 0 <= opened[-1] - shorted_us <= _TRIP_US, "the short circuit is cut"
        assert not device.truth()["outlets"]["bed1"]["powered"]
        assert any("bed1 tripped peak" in text for text in device.console(shorted_us))


def test_a_power_cut_costs_a_minute_of_energy_at_most() -> None:
    with SimulatedDevice() as device:
        device.run(1.5)
        device.command("on bed1")
        device.sim("plug bed1 resistive amps=18")
        device.run(42.0)
        a_minute_before = device.truth()["outlets"]["bed1"]["energy_wh"]
        device.run(61.0)
        device.power_cut()
        at_the_cut = device.truth()["outlets"]["bed1"]["energy_wh"]
        device.run(0.5)
        device.power_on()
        device.run(1.5)
        device.type("energy --json")
        answer = json.loads(device.expect(r"^{.*}$").group(0))
        counted = answer["energy_kwh"]["bed1"] * 1000
        assert a_minute_before * 0.99 <= counted <= at_the_cut * 1.01
