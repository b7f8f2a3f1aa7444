"""Pilot, set point, permit and contacts through firmware/hal/contacts.py on the emulated RP2040,
with the simulated grid, car and transfer switch at its pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firmware import board as boards
from host_tests.emulator.conftest import Bench
from host_tests.micropython.running import ROOT
from tools import stage
from tools.emulator import EmulatedPico
from tools.simulator.truck import Truck

_TIMEOUT_S = 60.0
BOARD: Any = boards.load("pico_w_home")


def _run(stock_image: Path, truck: Truck, code: str) -> str:
    power = BOARD.power
    start = (
        f"from contacts import Contacts\nimport machine\nimport time\nc = Contacts({power!r})\n"
    )
    with EmulatedPico(
        stock_image,
        truck,
        {"contacts.py": (ROOT / "firmware/hal/contacts.py").read_bytes()},
        inputs=[*BOARD.inputs.values(), *power["seen"]],
        quiet=[*BOARD.mux_address, power["pilot"], power["set_point"]],
    ) as pico:
        said = pico.execute(start + code, timeout=_TIMEOUT_S)
    return str(said)


@pytest.mark.parametrize("amps", [6, 16, 32])
def test_a_car_reads_the_offer_from_the_chip_s_pulses(stock_image: Path, amps: int) -> None:
    truck = Truck(BOARD)
    truck.command("car plug")
    permyriad = amps * 1000 // 6
    _run(stock_image, truck, f"c.pilot({permyriad})\ntime.sleep_ms(1400)\n")
    car = truck.truth(truck.now_us)["car"]
    assert car["duty_percent"] == pytest.approx(permyriad / 100, abs=0.5)  # SAE J1772
    assert car["offered_a"] == pytest.approx(amps, abs=0.3)
    assert car["pilot"] == "C"


def test_steady_levels_are_no_pulses(stock_image: Path) -> None:
    pulses = "c.pilot(5000)\ntime.sleep_ms(50)\n"
    _run(stock_image, truck := Truck(BOARD), pulses + "c.pilot(10000)\ntime.sleep_ms(250)")
    assert truck.truth(truck.now_us)["car"]["duty_percent"] == 100.0
    _run(stock_image, truck := Truck(BOARD), pulses + "c.pilot(0)\ntime.sleep_ms(250)")
    assert truck.truth(truck.now_us)["car"]["duty_percent"] == 0.0


def test_contacts_permit_and_set_point(stock_image: Path) -> None:
    truck = Truck(BOARD)
    said = _run(
        stock_image,
        truck,
        "print(c.seen())\nc.drive(1)\ntime.sleep_ms(60)\nprint(c.seen())\n"
        "c.drive(4)\ntime.sleep_ms(60)\nprint(c.seen())\n"
        f"c.set_point(250)\nmachine.Pin({BOARD.power['permit']}, machine.Pin.OUT, value=1)\n"
        "time.sleep_ms(300)\n",
    )
    assert said.split() == ["0", "1", "4"]
    truth = truck.truth(truck.now_us)
    assert (truth["home"]["grid_closed"], truth["home"]["bond_closed"]) == (False, True)
    assert truth["grid"]["permit"] is True
    assert truth["grid"]["set_point_w"] == pytest.approx(11_500 / 4, rel=0.005)
    assert truth["grid"]["inverter"] == "starting"


_TRIP = """
from firmware import board as boards
from firmware.hal.rp2 import Sampler
import machine, time
board = boards.load("pico_w_home")
s = Sampler(board)
pole = board.outlet_index("home_l2")
channel = board.outlets[pole].channel
s.set_peak(channel, 600)
s.renew_lease()
s.start()
time.sleep_ms(5)
print(s.close(pole), s.permit(True), s.permits())
if {wait}:
    s.set_break(channel, 700, 30)
if {lease}:
    s.st[10] = 0
else:
    machine.Pin(28, machine.Pin.OUT, value=1)
time.sleep_ms(50)
print(s.permits(), s.permit(True), s.permits())
s.stop()
"""


@pytest.mark.parametrize("how", ["trip", "wait", "lease"])
def test_the_scan_takes_the_permissive_with_the_pole(stock_image: Path, how: str) -> None:
    """By the same write to the pins; while a trip waits for the breaker, before it."""
    bench = Bench()
    over: list[int] = []

    def code(gpio: int, t_us: int) -> int:
        if not over and any(x[1:] == (28, 1) for x in bench.pins):
            over.append(t_us)
        return 4000 if over else 2048

    bench.code = code
    files = {"firmware/pieces.py": (ROOT / "firmware/pieces.py").read_bytes()}
    for folder in ("", "board/", "hal/", "sensing/"):
        files[f"firmware/{folder}__init__.py"] = b""
    files["firmware/board/__init__.py"] = (ROOT / "firmware/board/__init__.py").read_bytes()
    for name in ("board/pico_w", "board/pico_w_home", "board/validate", "hal/fastlane", "hal/rp2"):
        files[f"firmware/{name}.py"] = (ROOT / f"firmware/{name}.py").read_bytes()
    name = "firmware/sensing/kernel_viper"
    text = (ROOT / f"{name}.py").read_text()
    files[f"{name}.mpy"] = stage.compiled(text, f"{name}.py", "rp2040")
    with EmulatedPico(stock_image, bench, files, quiet=BOARD.mux_address) as pico:
        said = pico.execute(
            _TRIP.format(wait=how == "wait", lease=how == "lease"), timeout=_TIMEOUT_S
        )
        edges = [(e.gpio, e.level, e.t_us) for e in pico.edges]
    first, last = said.splitlines()
    assert first == "True True True" and last == "False False False"
    permit, relay = BOARD.power["permit"], BOARD.outlets[-1].relay
    falls = {
        gpio: [t for pin, level, t in edges if (pin, level) == (gpio, 0)][-1]
        for gpio in (permit, relay)
    }
    if how == "wait":
        assert falls[relay] - falls[permit] == pytest.approx(30_000, abs=1000)
        assert falls[permit] - over[0] < 1000
    else:
        assert falls[relay] == falls[permit]
        if over:
            assert falls[permit] - over[0] < 1000
