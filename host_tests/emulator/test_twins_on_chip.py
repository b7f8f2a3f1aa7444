"""Plain kernels and their twins in machine code on the emulated RP2040: equal bit for bit."""

from __future__ import annotations

from pathlib import Path

from host_tests.emulator.conftest import Bench
from host_tests.micropython.running import DEVICE, ROOT
from host_tests.micropython.test_core_on_micropython import record
from tools import stage
from tools.emulator import EmulatedPico

_MODULES = ("sensing/kernel", "sensing/reduce", "protection/thermal")
_SCANS = 180  # of each kind of input; the reader comes after the 168th
_KINDS = 8
_TIMEOUT_S = 60.0


def test_plain_and_machine_code_are_equal_on_the_chip(stock_image: Path) -> None:
    """Compiled as for a board, which is not quite what the chip's own compiler makes; with all
    names, because the script asks for constants by theirs."""
    files = {"twins.py": (DEVICE / "twins.py").read_bytes(), "codes.bin": record(_SCANS + 1)}
    for folder in ("", "sensing/", "protection/"):
        files[f"firmware/{folder}__init__.py"] = b""
    for module in _MODULES:
        for twin in (module, f"{module}_viper"):
            text = (ROOT / "firmware" / f"{twin}.py").read_text()
            files[f"firmware/{twin}.mpy"] = stage.compiled(text, f"firmware/{twin}.py", "rp2040")
    with EmulatedPico(stock_image, Bench(), files) as pico:
        code = f"import twins\ntwins.main(7, 'codes.bin', {_SCANS})"
        said = pico.execute(code, timeout=_TIMEOUT_S)
    assert said.strip() == f"equal {_KINDS * _SCANS + _SCANS // 3}"
