"""Pins, channels and outlets of the boards as Markdown tables, from the board tables."""

from __future__ import annotations

from typing import Any

from firmware import board as boards
from tools.docs.blocks import table

# What can be bought; `simulated` is wired as the Pico W.
HARDWARE = ("pico_w", "pico", "esp32")
_TITLES = {"pico_w": "Pico W", "pico": "Pico", "esp32": "ESP32"}
_VOLTS = ("L1 to neutral", "L2 to neutral", "L1 to L2")


def _uses(board: Any) -> dict[str, str]:
    """What is wired -> pin, as text."""
    uses: dict[str, str] = {}
    if board.mux_address:
        uses["multiplexer output (all sensors)"] = f"GPIO{board.mux_adc}"
        names = ", ".join(f"GPIO{pin}" for pin in board.mux_address)
        uses["multiplexer address A, B, C"] = names
    else:
        for channel in board.channels:
            uses[f"sensor {channel.name}"] = f"GPIO{channel.adc}"
    for outlet in board.outlets:
        uses[f"relay {outlet.name}"] = f"GPIO{outlet.relay}"
    if board.contactor is not None:
        uses["main contactor"] = f"GPIO{board.contactor}"
    if board.uart is not None:
        uses["second console (UART) TX, RX"] = f"GPIO{board.uart[1]}, GPIO{board.uart[2]}"
    for name, pin in board.inputs.items():
        unread = " (not read yet)" if name == "grid" else ""
        uses[f"input {name.replace('_', ' ')}{unread}"] = f"GPIO{pin}"
    return uses


def pins() -> str:
    """One row for each thing that is wired, one column for each board."""
    columns = [_uses(boards.load(name)) for name in HARDWARE]
    order: list[str] = []
    for column in columns:
        order += [what for what in column if what not in order]
    headings = ("what", *(_TITLES[name] for name in HARDWARE))
    return table(headings, [(w, *(c.get(w, "") for c in columns)) for w in order])


def home_pins() -> str:
    """What the home board has wired otherwise than the Pico W, or beside it."""
    board: Any = boards.load("pico_w_home")
    power = board.power
    plain = _uses(boards.load("pico_w"))
    uses = {"multiplexer address A, B, C, D": ", ".join(f"GPIO{x}" for x in board.mux_address)}
    for what, drives, seen in zip(
        ("grid", "source", "bond"), power["contacts"], power["seen"], strict=True
    ):
        poles = " (relay of home_l1 and home_l2)" if what == "source" else ""
        uses[f"{what} contact{poles}"] = f"GPIO{drives}"
        uses[f"auxiliary contact of {what} (low: closed)"] = f"GPIO{seen}"
    uses["control pilot, 1 kHz"] = f"GPIO{power['pilot']}"
    uses["inverter: may export"] = f"GPIO{power['permit']}"
    uses["inverter: set point, duty of 1 kHz"] = f"GPIO{power['set_point']}"
    uses["test of the ground-fault detector (high: test)"] = f"GPIO{power['ground_test']}"
    for name, pin in board.inputs.items():
        uses[f"input {name.replace('_', ' ')}"] = f"GPIO{pin}"
    rows = [(what, pin) for what, pin in uses.items() if plain.get(what) != pin]
    return table(("what", "pin"), rows)


def home_channels() -> str:
    """The channels that the home board has beside the Pico W's."""
    rows = []
    for channel in boards.load("pico_w_home").channels[len(boards.load("pico_w").channels) :]:
        unit = {"current": "A", "sense": "V"}.get(channel.kind)
        shown = "±12 V as ±1 V around 1.65 V"
        if unit:
            scale = channel.full_scale / 1000
            shown = f"±{scale:g} {unit} peak ({scale / 2**0.5:.0f} {unit} RMS of a sine)"
        rows.append((channel.mux, channel.name, channel.kind, shown))
    return table(("multiplexer input", "channel", "kind", "range"), rows)


def summary() -> str:
    """The same without the inputs and the UART, for the README."""
    lines = pins().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("| input ", "| second ")))


def channels() -> str:
    """Every channel with the range that its sensor must have."""
    rows = []
    board = boards.load("pico_w")
    single = [channel.name for channel in boards.load("esp32").channels]
    units = {"voltage": "V", "current": "A", "aux": "mV at the pin"}
    for channel in board.channels:
        unit = units[channel.kind]
        scale = channel.full_scale if channel.kind == "aux" else channel.full_scale / 1000
        if channel.kind == "aux":
            shown = "0 to 3.3 V, ratiometric"
        else:
            shown = f"±{scale:g} {unit} peak ({scale / 2**0.5:.0f} {unit} RMS of a sine)"
        count = "" if channel.kind == "aux" else f"{scale / 2048 * 1000:.0f} m{unit}"
        esp = "yes" if channel.name in single else "no"
        rows.append((channel.mux, channel.name, channel.kind, shown, count, esp))
    headings = ("multiplexer input", "channel", "kind", "range", "one count", "on the ESP32")
    return table(headings, rows)


def outlets() -> str:
    """Ratings, legs and priorities."""
    board = boards.load("pico_w")
    rows = []
    for outlet in board.outlets:
        legs = " and ".join(board.legs[leg].upper() for leg in outlet.legs)
        volts = 240 if outlet.volts == 2 else 120
        rows.append(
            (
                outlet.name,
                f"{outlet.rating_ma // 1000} A, {volts} V",
                _VOLTS[outlet.volts],
                legs,
                outlet.priority,
            )
        )
    return table(("outlet", "rating", "voltage", "loads leg", "priority"), rows)
