"""What the end-to-end tests ask of the firmware on the emulated chip, in a line each."""

from __future__ import annotations

import json
from typing import Any

from tools.bench.chip import Chip
from tools.emulator import EmulatedPico, NotSeen
from tools.emulator.wiring import Edge

BOOT_S = 1.2  # from any reset until the firmware protects and answers


def booted(seed: int = 0) -> Chip:
    """A chip of its own, protecting."""
    chip = Chip(seed)
    chip.boot(BOOT_S)
    return chip


def outlets(chip: Chip) -> dict[str, dict[str, Any]]:
    """The firmware's view of each outlet."""
    rows: dict[str, dict[str, Any]] = chip.ask("outlets")["outlets"]
    return rows


def verdict(chip: Chip, name: str) -> str:
    """`state/reason` of an outlet, such as tripped/peak."""
    row = outlets(chip)[name]
    return f"{row['state']}/{row['reason']}"


def events(chip: Chip, kind: str, outlet: str | None = None) -> list[dict[str, Any]]:
    """Journal records of a kind (and of an outlet), oldest first."""
    answer = chip.ask(f"events 64 {kind} {outlet or ''}".rstrip())
    rows: list[dict[str, Any]] = answer["events"]
    return rows


def close(chip: Chip, *names: str, settle_s: float = 0.1) -> None:
    """Switch outlets on, and let their contacts settle."""
    for name in names:
        answer = chip.ask(f"on {name}")
        assert answer["ok"], f"on {name} was refused: {answer}"
        until = chip.pico.now_us + 25_000  # at the latest when the voltage is zero again
        while chip.pico.level(chip.relays[name]) != 1:
            assert chip.pico.now_us < until, f"{name}: ok, but its relay is not driven"
            chip.pico.run(0.001)
    chip.pico.run(settle_s)


def opened_us(pico: EmulatedPico, gpio: int, mark: int) -> float | None:
    """When a pin first went low after edge number `mark`; None when it did not."""
    return next((e.t_us for e in pico.edges[mark:] if e.gpio == gpio and e.level == 0), None)


def after(pico: EmulatedPico, t_us: float, gpios: set[int]) -> list[Edge]:
    """Edges of these pins from a time on."""
    return [edge for edge in pico.edges if edge.gpio in gpios and edge.t_us >= t_us]


def short(chip: Chip, name: str, seconds: float = 0.02) -> tuple[float, float]:
    """Short-circuit an outlet for some time; (us from the lasting crossing of its peak limit to
    the relay pin's edge, time of that edge). A touch that two scans meet is cut before it lasts:
    the first figure is negative then."""
    pico = chip.pico
    mark = len(pico.edges)
    at_us = int(pico.now_us)
    chip.truck.command(f"short {name}")
    crossing, _ = chip.crossing_us(name, at_us)
    pico.run(seconds)
    chip.truck.command(f"unshort {name}")
    edge = opened_us(pico, chip.relays[name], mark)
    assert edge is not None, f"{name}: the relay stayed closed on a short circuit"
    assert edge > at_us, f"{name}: the relay opened before there was a short circuit"
    return edge - crossing, edge


def until_reset(chip: Chip, timeout: float) -> float:
    """Run until the chip resets itself; the time of that in us."""
    before = len(chip.pico.resets)
    try:
        chip.pico.run_until(lambda: len(chip.pico.resets) > before, timeout)
    except NotSeen as error:
        raise AssertionError(f"the chip did not reset itself within {timeout:g} s") from error
    return chip.pico.resets[-1]


def energy_mwh(pico: EmulatedPico) -> dict[str, int]:
    """The energy counters as they stand on flash: the newer of two slots."""
    files = pico.files()
    slots = [data for name, data in files.items() if name.startswith("data/energy.")]
    assert slots, f"no energy counters on flash; there is: {sorted(files)}"
    newest = max((json.loads(data.split(b"\n", 1)[1]) for data in slots), key=lambda slot: slot[0])
    counters: dict[str, int] = newest[1]
    return counters


def latched(pico: EmulatedPico) -> dict[str, list[int]]:
    """What the file says has tripped; what is newer may lie in the strip."""
    data = pico.files().get("data/latch.json")
    if data is None:
        return {}
    table: dict[str, list[int]] = json.loads(data.split(b"\n", 1)[1])["latched"]
    return table
