"""`python -m tools.docs.settings_table`: the settings' schema as Markdown tables."""

from __future__ import annotations

import sys

from firmware import board as boards
from firmware.storage import settings as s
from tools.docs.blocks import table

_HEADINGS = ("setting", "default", "allowed", "what it does")
# The board whose figures stand in the tables; the other tables have the same.
_BOARD = "pico_w"


def _rows(names: list[str], settings: s.Settings) -> str:
    rows = []
    for name in names:
        entry = settings.entry(name)
        what = settings.help(name)
        if entry[s.FLAGS] & s.SECRET:
            what += "; never shown"
        if entry[s.FLAGS] & s.REBOOT:
            what += " †"
        if entry[s.FLAGS] & s.LIMIT:
            what += " ‡"
        if entry[s.FLAGS] & s.SYSTEM:
            what += " §"
        default = settings.text(name) if not entry[s.FLAGS] & s.SECRET else ""
        rows.append((f"`{name}`", default or "(empty)", s.allowed_text(entry), what))
    return table(_HEADINGS, rows)


def settings() -> str:
    """Every setting of the device as a whole."""
    return _rows([row[s.NAME] for row in s.SCHEMA], s.Settings(boards.load(_BOARD)))


def outlet_settings() -> str:
    """What exists once for each outlet, with the figures of a 120 V and of the 240 V outlet."""
    board = boards.load(_BOARD)
    known = s.Settings(board)
    rows = []
    for row in s.OUTLET_SCHEMA:
        defaults, allowed = [], []
        for outlet in board.outlets:
            entry = known.entry(f"{outlet.name}.{row[s.NAME]}")
            text = known.text(entry[s.NAME]) or "(empty)"
            if text not in defaults:
                defaults.append(text)
            if s.allowed_text(entry) not in allowed:
                allowed.append(s.allowed_text(entry))
        if row[s.NAME] == "priority":
            text = ", ".join(f"{x.name} {x.priority}" for x in board.outlets)
        else:
            text = " / ".join(defaults)
        name = f"`<outlet>.{row[s.NAME]}`"
        what = known.help(entry[s.NAME]) + (" ‡" if row[s.FLAGS] & s.LIMIT else "")
        rows.append((name, text, " / ".join(allowed), what))
    return table(_HEADINGS, rows)


def main() -> int:
    """Print both tables."""
    print(settings())
    print(outlet_settings())
    return 0


if __name__ == "__main__":
    sys.exit(main())
