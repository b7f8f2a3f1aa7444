"""The control pilot at the chip's pin: frequency and duty cycle of the firmware's own output code
on the emulated RP2040, against the table of SAE J1772."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_tests.emulator.conftest import Bench
from tools.emulator import EmulatedPico

ROOT = Path(__file__).resolve().parents[2]
GPIO = 22

CODE = """\
import time
import contacts, pilot
wiring = {"contacts": (11, 12, 13), "seen": (15, 14, 27), "pilot": 22, "permit": 1, "set_point": 0}
c = contacts.Contacts(wiring)
def at(permyriad):
    c.pilot(permyriad)
    time.sleep_us(8000)
at(10000)
for amps in range(6, 33):
    at(pilot.duty_permyriad(amps * 1000))
at(10000)
at(0)
print("done")
"""


def test_the_pins_duty_is_that_of_the_table(stock_image: Path) -> None:
    files = {
        "contacts.py": (ROOT / "firmware/hal/contacts.py").read_bytes(),
        "pilot.py": (ROOT / "firmware/power/pilot.py").read_bytes(),
    }
    with EmulatedPico(stock_image, Bench(), files) as pico:
        assert pico.execute(CODE).strip() == "done"
        edges = [edge for edge in pico.edges if edge.gpio == GPIO]
    rises = [edge.t_us for edge in edges if edge.level == 1]
    cycles = []  # (begin, period, part that it is high)
    for here, after, end in zip(edges, edges[1:], edges[2:], strict=False):
        if (here.level, after.level, end.level) == (1, 0, 1):
            period = end.t_us - here.t_us
            cycles.append((here.t_us, period, (after.t_us - here.t_us) / period))
    whole = [cycle for cycle in cycles if cycle[1] < 1_500]
    assert len(whole) > 27 * 6 and len(rises) > len(whole)
    assert all(period == pytest.approx(1_000, abs=0.1) for _, period, _ in whole)
    seen = {round(duty, 5) for _, _, duty in whole}
    for amps in range(6, 33):
        wanted = amps / 60  # amperes = per cent x 0.6
        steady = [duty for duty in seen if duty == pytest.approx(wanted, rel=0.005)]
        assert steady, f"{amps} A: {sorted(seen)}"
        assert (
            max(steady) <= wanted + 0.00002
        )  # never more than is meant, but for the timer's step
    assert edges[-1].level == 0
