"""Pilot, set point, permit and contacts through firmware/hal/contacts.py on the emulated RP2040,
with the simulated grid, car and transfer switch at its pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firmware import board as boards
from host_tests.micropython.test_core_on_micropython import ROOT
from tools.emulator import EmulatedPico
from tools.simulator.truck import Truck

_TIMEOUT_S = 60.0
BOARD: Any = boards.load("pico_w_home")


def _run(stock_image: Path, truck: Truck, code: str) -> str:
    power = BOARD.power
    start = f"from contacts import Contacts\nimport time\nc = Contacts({power!r})\n"
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
        "c.set_point(250)\nc.permit(True)\ntime.sleep_ms(300)\n",
    )
    assert said.split() == ["0", "1", "4"]
    truth = truck.truth(truck.now_us)
    assert (truth["home"]["grid_closed"], truth["home"]["bond_closed"]) == (False, True)
    assert truth["grid"]["permit"] is True
    assert truth["grid"]["set_point_w"] == pytest.approx(11_500 / 4, rel=0.005)
    assert truth["grid"]["inverter"] == "starting"
